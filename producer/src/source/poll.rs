//! The cycle: probe, activity, snapshot, scans, flush gate, and the progress that covers what was
//! found.
//!
//! The order of its statements is what makes it lossless: activity first and in a statement of its
//! own, then prepared transactions, then the locks, then the snapshot. Nothing of a table's state
//! changes before the whole cycle has succeeded, so a cycle that fails is simply repeated. Source:
//! docs/polling.md, "The order of a cycle".

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use inlet_model::{Progress, ProgressDelta, TableName, quote};
use inlet_postgres::block::{Block, Gate};
use inlet_postgres::catalog::{self, Captured, CatalogError, Overrides, read_table};
use inlet_postgres::server::{self, Identity};
use inlet_postgres::{Error, Floor, Reading, Seen, connect};
use inlet_service::bar::Bar;
use inlet_service::config::ImpossibleValues;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tracing::{info, warn};

use super::activity::Activity;
use super::coverage::Coverage;
use super::error::PollError;
use super::explain;
use super::load;
use super::scan::{Condition, Scan, Scanned, scan};
use super::table::{Depths, Phase, Plan, Restored, Table};
use inlet_service::sink::Sink;

/// While times of other sessions are hidden from us, the table is swept at least this often.
const BLIND_SWEEP: Duration = Duration::from_secs(60);
/// What a promotion or a restore may have taken back is younger than this.
const LINEAGE_REWIND: Duration = Duration::from_secs(3600);

/// Where and what to poll.
#[derive(Debug, Clone)]
pub struct SourceSettings {
    /// The primary.
    pub primary: PgConnectOptions,
    /// A hot standby to read rows from.
    pub standby: Option<PgConnectOptions>,
    /// The tables, as the user names them.
    pub tables: Vec<TableSettings>,
    /// Time between two sweeps of a table.
    pub sweep_interval: Duration,
    /// Time between two scans of a table that allow for skewed clocks and zones.
    pub wide_interval: Duration,
    /// Rows of a chunk of the initial load.
    pub chunk_rows: u32,
}

/// One table to poll.
#[derive(Debug, Clone, Default)]
pub struct TableSettings {
    /// Its name: `orders`, `shop.orders`, `"Shop"."Orders"`.
    pub name: String,
    /// The cursor column, where it shall not be chosen.
    pub cursor: Option<String>,
    /// The key columns, where the primary key shall not be used.
    pub key: Option<Vec<String>>,
    /// The zone of a cursor without zone.
    pub zone: Option<chrono_tz::Tz>,
    /// What becomes of values that the lake's type cannot hold.
    pub impossible_values: ImpossibleValues,
    /// The column that dates a row, where it shall not be chosen.
    pub date_column: Option<String>,
}

impl TableSettings {
    /// What they say in place of the catalog.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            cursor: self.cursor.clone(),
            key: self.key.clone(),
            impossible_values: self.impossible_values,
            date_column: self.date_column.clone(),
        }
    }
}

/// Tables that were polled, by their configured names.
pub type Known = BTreeMap<String, Polled>;

/// What a configured name meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// Its object id.
    pub oid: u32,
    /// Its name in the catalog.
    pub table: TableName,
}

/// A connected poller.
pub struct Source {
    settings: SourceSettings,
    pub(super) primary: PgConnection,
    pub(super) standby: Option<PgConnection>,
    /// The process of the server that our session is.
    backend: i32,
    pub(super) identity: Identity,
    /// The tables, in the order of the settings.
    pub tables: Vec<Table>,
    /// The activity's snapshot when nothing was left to do.
    quiet: Option<String>,
    /// Tables that were polled before: one of these may be gone.
    known: Known,
    /// Those of them that are gone, by their configured names.
    absent: Vec<String>,
    /// What must be flushed before anything of the last snapshot becomes durable.
    pub(super) gate: Option<Gate>,
    blind: bool,
    /// The table that is being loaded, and how far that is.
    pub(super) loading: Option<(TableName, Bar)>,
}

/// What a cycle found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Changes handed to the sink.
    pub rows: u64,
    /// Those among them whose timestamp lay below the floor of the fast scan: backdated, rounded,
    /// or from another zone.
    pub late: u64,
}

impl Source {
    /// Connects, finds the tables, and goes on from their progress.
    pub async fn open(settings: SourceSettings) -> Result<Self, PollError> {
        let mut primary = connect(&settings.primary).await?;
        let greeting = server::greet(&mut primary)
            .await
            .map_err(Error::server("identity of the server could not be read"))?;
        if greeting.standby {
            return Err(Error::Standby.into());
        }
        let standby = match &settings.standby {
            Some(options) => Some(connect(options).await?),
            None => None,
        };
        if !greeting.sees_all {
            warn!(
                role = %greeting.user,
                "role may not see other sessions' activity: rows of long transactions may wait for the next sweep; run: GRANT pg_read_all_stats TO {}",
                quote(&greeting.user)
            );
        }
        let backend = greeting.backend;
        Ok(Self {
            settings,
            primary,
            standby,
            backend,
            identity: greeting.identity,
            tables: Vec::new(),
            known: Known::new(),
            absent: Vec::new(),
            quiet: None,
            gate: None,
            blind: false,
            loading: None,
        })
    }

    /// Goes on without tables that were polled before, should they be gone: the others must not
    /// wait for them.
    pub fn knowing(self, known: Known) -> Self {
        Self { known, ..self }
    }

    /// The tables that are polled, for [`Source::knowing`].
    pub fn known(&self) -> Known {
        let configured = self
            .settings
            .tables
            .iter()
            .filter(|table| !self.absent.contains(&table.name));
        let polled = |table: &Table| Polled {
            oid: table.captured.oid,
            table: table.captured.schema.table.clone(),
        };
        configured
            .zip(&self.tables)
            .map(|(settings, table)| (settings.name.clone(), polled(table)))
            .collect()
    }

    /// The names of the tables, as the catalog spells them.
    pub async fn table_names(&mut self) -> Result<Vec<TableName>, PollError> {
        let mut names = Vec::new();
        for table in &self.settings.tables {
            match capture(&mut self.primary, table, None).await {
                Ok(captured) => names.push(captured.schema.table.clone()),
                Err(PollError::Postgres(Error::Catalog(CatalogError::NotFound { .. })))
                    if self.known.contains_key(&table.name) =>
                {
                    explain::absence(&mut self.primary, &self.known[&table.name]).await?;
                    self.absent.push(table.name.clone());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(names)
    }

    /// Fails when a table is back that was gone; then the catalog has to be read again.
    pub async fn look_for_absent(&mut self) -> Result<(), PollError> {
        for name in &self.absent {
            if catalog::is_there(&mut self.primary, name).await? {
                return Err(PollError::Returned(self.known[name].table.clone()));
            }
        }
        Ok(())
    }

    /// Reads the catalog and goes on from what the sink has durably.
    pub async fn restore(
        &mut self,
        mut progress: BTreeMap<TableName, Progress>,
    ) -> Result<(), PollError> {
        let reading = server::read_activity(&mut self.primary)
            .await
            .map_err(Error::server("activity could not be read"))?;
        let zone = server::writers_zone(&mut self.primary)
            .await
            .map_err(Error::server("time zone could not be read"))?;
        let begin = load::begin(&mut self.primary).await?;
        let depths = Depths {
            wide_interval: self.settings.wide_interval,
            sweep_interval: self.settings.sweep_interval,
        };
        self.tables.clear();
        self.quiet = None;
        let there = self
            .settings
            .tables
            .iter()
            .filter(|table| !self.absent.contains(&table.name))
            .cloned();
        for settings in there.collect::<Vec<_>>() {
            let captured = match capture(&mut self.primary, &settings, None).await {
                // It was there a moment ago.
                Err(PollError::Postgres(Error::Catalog(CatalogError::NotFound { .. }))) => {
                    return Err(Error::Dropped(format!("`{}`", settings.name)).into());
                }
                captured => captured?,
            };
            let table = captured.schema.table.clone();
            let zone = settings.zone.unwrap_or(zone);
            let restored = progress
                .remove(&table)
                .map(|progress| Restored::read(&progress))
                .transpose();
            let restored = restored
                .map_err(|source| PollError::Progress {
                    table: table.clone(),
                    source,
                })?
                .flatten();
            let again = match &restored {
                None => {
                    info!(%table, "no progress: the initial load begins");
                    true
                }
                Some(restored) if is_another(&captured, restored, &self.identity)? => {
                    warn!(%table, "another table has this name than before (dropped and made anew, or one took the other's place): it is loaded from the beginning");
                    true
                }
                Some(restored) => self.is_unwritten(&captured, restored).await?,
            };
            let table = match restored {
                Some(restored) if !again => {
                    self.resumed(&settings, captured, zone, depths, restored, &reading)
                        .await?
                }
                before => Table::fresh(captured, zone, depths, begin, reading.read_at, before),
            };
            explain::cursor(&table.captured);
            self.tables.push(table);
        }
        Ok(())
    }

    /// True when rows have values in columns that have come since the progress was written, and
    /// another load brings them: nobody wrote these rows.
    async fn is_unwritten(
        &mut self,
        captured: &Captured,
        restored: &Restored,
    ) -> Result<bool, PollError> {
        let come = restored
            .relation
            .as_ref()
            .map(|relation| relation.come(captured))
            .unwrap_or_default();
        let mut columns: Vec<String> = come.renamed.iter().map(ToString::to_string).collect();
        if !come.added.is_empty() {
            columns.extend(catalog::unwritten(&mut self.primary, captured, &come.added).await?);
        }
        let table = &captured.schema.table;
        if columns.is_empty() {
            return Ok(false);
        }
        if captured.schema.key.is_empty() {
            explain::unwritten(table, &columns);
            return Ok(false);
        }
        let columns = columns.join(", ");
        warn!(%table, columns, "rows have values in new columns without having been written: the table is loaded again");
        Ok(true)
    }

    async fn resumed(
        &mut self,
        settings: &TableSettings,
        mut captured: Captured,
        zone: chrono_tz::Tz,
        depths: Depths,
        restored: Restored,
        reading: &Reading,
    ) -> Result<Table, PollError> {
        let table = captured.schema.table.clone();
        match (&restored.cursor, &settings.cursor) {
            (Some(theirs), Some(_)) => check_cursor(&captured, theirs)?,
            (Some(theirs), None) => {
                captured = capture(&mut self.primary, settings, Some(theirs)).await?
            }
            _ => {}
        }
        let broken = lineage_broken(&table, restored.identity.as_ref(), &self.identity)?;
        let mut resumed = Table::restored(captured, zone, depths, restored, reading.read_at);
        if !resumed.captured.unread.is_empty() {
            info!(%table, tables = resumed.captured.unread.len(), "tables were attached to it: all their rows are read in the next cycle");
        }
        let ahead = resumed
            .activity
            .as_ref()
            .is_some_and(|activity| activity.xid_end > reading.xid_end);
        if broken || ahead {
            warn!(%table, "xids were taken back (promotion, restore or lost commits): the last hour is read again, and all of it swept");
            resumed.rewind(LINEAGE_REWIND);
        }
        let read_at = resumed.activity.as_ref().map(|activity| activity.read_at.0);
        info!(%table, phase = resumed.phase.name(), xids = resumed.coverage.xids(), read_at, "progress found: resuming");
        Ok(resumed)
    }

    /// One cycle over all tables that are due.
    pub async fn cycle<S: Sink>(&mut self, sink: &mut S) -> Result<Found, PollError> {
        let reading = self.read_activity().await?;
        let mut activities = Activities::default();
        let plan = |(at, table): (usize, &Table)| {
            Some((
                at,
                table.plan(&activities.after(table.activity.as_ref(), &reading))?,
            ))
        };
        let plans: Vec<(usize, Plan)> = self.tables.iter().enumerate().filter_map(plan).collect();
        if plans.is_empty() {
            self.quiet = Some(reading.snapshot);
            return Ok(Found::default());
        }
        self.quiet = None;
        let scans = self.scan_all(&plans, sink).await?;
        let found = scans.iter().fold(Found::default(), |sum, scan| Found {
            rows: sum.rows + scan.rows,
            late: sum.late + scan.late,
        });
        for ((at, plan), scan) in plans.into_iter().zip(scans) {
            let table = &mut self.tables[at];
            if scan.late > 0 {
                warn!(table = %table.captured.schema.table, rows = scan.late, "rows were older than their transactions: a deeper scan found them");
            }
            table.scanned(plan, &scan);
        }
        Ok(found)
    }

    /// True when nothing can have become visible since the last cycle: one statement of 16 us.
    pub async fn is_quiet(&mut self) -> Result<bool, PollError> {
        // A table that is loaded joins the others at once, whatever the server does.
        let joins = self
            .tables
            .iter()
            .any(|table| matches!(table.phase, Phase::Joining { .. }));
        let Some(quiet) = self.quiet.as_ref().filter(|_| !joins) else {
            return Ok(false);
        };
        let snapshot = server::snapshot(&mut self.primary)
            .await
            .map_err(Error::server("snapshot could not be read"))?;
        Ok(snapshot == *quiet)
    }

    /// True while a table is not loaded yet.
    pub fn is_loading(&self) -> bool {
        self.tables
            .iter()
            .any(|table| matches!(table.phase, Phase::Loading(_)))
    }

    /// True once every table is loaded and joined to the cycles.
    pub fn is_tailing(&self) -> bool {
        self.tables
            .iter()
            .all(|table| table.phase == Phase::Tailing)
    }

    /// What the sink has to learn with what was written: the progress of the tables that had rows,
    /// or of all.
    ///
    /// Both are behind the flush gate then. Without rows the progress needs it too: its xids would
    /// be handed out again after a crash.
    pub async fn progress(
        &mut self,
        all: bool,
    ) -> Result<BTreeMap<TableName, ProgressDelta>, PollError> {
        if !all && !self.tables.iter().any(|table| table.unsaved) {
            return Ok(BTreeMap::new());
        }
        if let Some(gate) = self.gate.take() {
            gate.pass(&mut self.primary).await?;
        }
        let identity = &self.identity;
        let told = self.tables.iter_mut().filter(|table| all || table.unsaved);
        Ok(told
            .map(|table| {
                (
                    table.captured.schema.table.clone(),
                    table.take_delta(identity),
                )
            })
            .collect())
    }

    /// Sweeps every table in the next cycle, whatever the interval says.
    pub fn sweep_now(&mut self) {
        self.tables
            .iter_mut()
            .for_each(|table| table.tiers.sweep_now());
    }

    /// Rows of a chunk of the initial load.
    pub(super) fn chunk_rows(&self) -> u32 {
        self.settings.chunk_rows
    }

    /// Waits until the standby that rows are read from shows all that the primary had committed.
    pub(super) async fn catch_up(&mut self) -> Result<(), PollError> {
        let Some(standby) = &mut self.standby else {
            return Ok(());
        };
        let act = || Error::server("standby could not be awaited");
        let position = server::insert_position(&mut self.primary)
            .await
            .map_err(act())?;
        Ok(server::replayed(standby, &position).await.map_err(act())?)
    }

    async fn read_activity(&mut self) -> Result<Reading, PollError> {
        let reading = server::read_activity(&mut self.primary)
            .await
            .map_err(Error::server("activity could not be read"))?;
        if reading.backend != self.backend {
            return Err(Error::Pooled {
                host: self.settings.primary.get_host().to_owned(),
                port: self.settings.primary.get_port(),
            }
            .into());
        }
        let hidden = reading
            .sessions
            .iter()
            .filter(|session| matches!(session.seen, Seen::Hidden { .. }))
            .count();
        if (hidden > 0) != self.blind {
            self.blind = hidden > 0;
            if self.blind {
                let sweep_seconds = BLIND_SWEEP.as_secs();
                warn!(
                    sessions = hidden,
                    sweep_seconds,
                    "times of other sessions are hidden: polling by virtual xids, with frequent sweeps"
                );
            } else {
                info!("times of all sessions are visible again");
            }
        }
        if self.blind {
            self.tables
                .iter_mut()
                .for_each(|table| table.tiers.sweep_at_least(BLIND_SWEEP));
        }
        Ok(reading)
    }

    /// Every plan in one snapshot, so that the tables are consistent with each other.
    async fn scan_all<S: Sink>(
        &mut self,
        plans: &[(usize, Plan)],
        sink: &mut S,
    ) -> Result<Vec<Scanned>, PollError> {
        self.catch_up().await?;
        let tables = &self.tables;
        let connection = self.standby.as_mut().unwrap_or(&mut self.primary);
        let captured: Vec<&Captured> = plans.iter().map(|(at, _)| &tables[*at].captured).collect();
        let block = Block::begin(connection, &captured).await?;
        let mut scans = Vec::with_capacity(plans.len());
        for (at, plan) in plans {
            let table = &tables[*at];
            let condition = Condition::Since {
                floor: plan.floor,
                xid: plan.xid,
            };
            let snapshot = block.snapshot;
            let (captured, bar) = (&table.captured, explain::scanning(table, plan));
            let known = Scan {
                captured,
                coverage: &table.coverage,
                condition: &condition,
                snapshot,
                late_below: table.late_below(plan),
                bar: &bar,
            };
            let mut scanned = scan(connection, known, sink).await?;
            if plan.reads_unread() && !captured.unread.is_empty() {
                let unread = Scan {
                    coverage: &Coverage::default(),
                    condition: &Condition::Unread,
                    late_below: Floor::MIN,
                    ..known
                };
                let unread = scan(connection, unread, sink).await?;
                info!(table = %captured.schema.table, rows = unread.rows, "rows of what was attached to the table are read");
                scanned = scanned.and(unread);
            }
            scans.push(scanned);
        }
        self.gate = Some(block.end(connection).await?);
        Ok(scans)
    }
}

/// The holders after one reading, for tables whose last scans differ: most share them.
#[derive(Default)]
struct Activities(Vec<(Option<Arc<Activity>>, Arc<Activity>)>);

impl Activities {
    fn after(&mut self, last: Option<&Arc<Activity>>, reading: &Reading) -> Arc<Activity> {
        let same = |known: &Option<Arc<Activity>>| match (known, last) {
            (Some(known), Some(last)) => Arc::ptr_eq(known, last),
            (None, None) => true,
            _ => false,
        };
        if let Some((_, next)) = self.0.iter().find(|(known, _)| same(known)) {
            return Arc::clone(next);
        }
        let next = Arc::new(Activity::next(last.map(Arc::as_ref), reading));
        self.0.push((last.cloned(), Arc::clone(&next)));
        next
    }
}

/// The table as the catalog has it; the cursor of its progress stays unless the configuration names
/// another one.
pub(super) async fn capture(
    connection: &mut PgConnection,
    table: &TableSettings,
    polled_by: Option<&str>,
) -> Result<Captured, PollError> {
    // The progress spells the column as the catalog does; unquoted it would be folded.
    let cursor = table.cursor.clone().or_else(|| polled_by.map(quote));
    let overrides = Overrides {
        cursor,
        ..table.overrides()
    };
    Ok(read_table(connection, &table.name, &overrides).await?)
}

/// Refuses a configured cursor that is not the progress's; both as the catalog spells them, because
/// `cursor: Created_At` means `created_at`.
pub fn check_cursor(captured: &Captured, theirs: &str) -> Result<(), PollError> {
    let ours = captured
        .cursor
        .map(|cursor| captured.schema.columns[cursor.column].name.as_str())
        .unwrap_or_default();
    if ours == theirs {
        return Ok(());
    }
    Err(PollError::OtherCursor {
        table: captured.schema.table.clone(),
        theirs: theirs.to_owned(),
        ours: ours.to_owned(),
    })
}

/// True when the progress is of another table that had this name.
pub(super) fn is_another(
    captured: &Captured,
    restored: &Restored,
    ours: &Identity,
) -> Result<bool, PollError> {
    lineage_broken(&captured.schema.table, restored.identity.as_ref(), ours)?;
    Ok(restored
        .relation
        .as_ref()
        .is_some_and(|relation| relation.oid != captured.oid))
}

/// True when the xids of the progress mean nothing any more; an error when they were another
/// database's.
pub fn lineage_broken(
    table: &TableName,
    theirs: Option<&Identity>,
    ours: &Identity,
) -> Result<bool, PollError> {
    let Some(theirs) = theirs else {
        return Ok(false);
    };
    if (theirs.system, &theirs.database) != (ours.system, &ours.database) {
        let name =
            |identity: &Identity| format!("`{}` of cluster {}", identity.database, identity.system);
        return Err(PollError::Foreign {
            table: table.clone(),
            theirs: name(theirs),
            ours: name(ours),
        });
    }
    Ok(theirs.timeline != ours.timeline)
}
