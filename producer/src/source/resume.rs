//! How a poll starts: from what the sink has durably, or with the initial load.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;
use inlet_model::Progress;
use inlet_model::TableName;
use inlet_model::Xid;
use inlet_postgres::server::{self, Identity};
use inlet_postgres::{Captured, Change, check_condition, expected_rows};
use inlet_postgres::{Error, Postgres, Reading, Table, Tables};
use inlet_service::config::Deletes;
use inlet_service::error::{Explain, Kind, chain};
use tracing::{info, warn};

use super::census::{Census, CensusSettings};
use super::control::Control;
use super::error::PollError;
use super::keys::{self, PublishedKeys};
use super::notice;
use super::phase::{Phase, Reload};
use super::poll::Poll;
use super::progress::{Stored, aside, is_started};
use super::table::{Depths, PolledTable};

/// What a promotion or a restore may have taken back is younger than this.
const LINEAGE_REWIND: Duration = Duration::from_secs(3600);

/// How tables are polled.
#[derive(Debug, Clone, Copy)]
pub struct PollSettings {
    /// Times between two scans of the deeper tiers.
    pub depths: Depths,
    /// Rows of a chunk of the initial load, for each connection that reads it.
    pub chunk_rows: u32,
    /// Connections that read a chunk side by side.
    pub load_connections: usize,
    /// A chunk of fewer rows than this is read over one connection.
    pub side_by_side_rows_min: u64,
    /// A table of this many blocks at most is one chunk, which is read without an index.
    pub whole_blocks_max: u32,
    /// How deletes are looked for.
    pub census: CensusSettings,
}

/// The server's state when a poll starts: every table resumes as of this moment.
struct Start {
    settings: PollSettings,
    reading: Reading,
    /// The time zone of wall clocks.
    zone: Tz,
    /// The xid below which every transaction has ended.
    begin: Xid,
}

impl Poll {
    /// Resumes the tables from the progress that the sink has durably. A table without progress
    /// starts with the initial load.
    pub async fn resume(
        mut postgres: Postgres,
        found: Tables,
        settings: PollSettings,
        mut progress: BTreeMap<TableName, Progress>,
    ) -> Result<Self, PollError> {
        notice::role(postgres.greeting());
        found.dropped.iter().for_each(notice::dropped);
        // The activity is read before `begin`: a transaction that ends in between is then still
        // among the holders.
        let reading = postgres.read_activity().await?;
        let primary = postgres.primary();
        let start = Start {
            settings,
            reading,
            zone: server::writers_zone(primary)
                .await
                .map_err(Error::server("time zone could not be read"))?,
            begin: server::oldest_open_xid(primary)
                .await
                .map_err(Error::server("snapshot could not be read"))?,
        };
        let mut tables = Vec::with_capacity(found.captured.len());
        for table in found.captured {
            let stored = progress.remove(&table.captured.schema.table);
            let mut table = start.table(&mut postgres, table, stored.as_ref()).await?;
            hold_keys(&mut table, stored.as_ref(), settings.census.memory)?;
            if let Some(stored) = &stored {
                table.controlled(Control::decode(stored));
                if aside(stored).is_some() {
                    table.was_set_aside();
                }
            }
            if matches!(table.phase, Phase::Loading(_)) {
                table.expected_rows = expected_rows(postgres.primary(), table.name()).await;
            }
            notice::cursor(&table.table.captured);
            notice::unknown_equalities(&table.table.captured);
            tables.push(table);
        }
        Ok(Self {
            postgres,
            tables,
            dropped: found.dropped,
            settings,
            turn: 0,
            quiet: None,
            gate: None,
            blind: false,
        })
    }
}

/// Holds the keys of a table's rows where its deletes are looked for, as the progress has them.
fn hold_keys(
    table: &mut PolledTable,
    stored: Option<&Progress>,
    memory: usize,
) -> Result<(), PollError> {
    let schema = &table.table.captured.schema;
    if schema.key.is_empty() || table.table.config.deletes == Deletes::Ignored {
        table.without_keys(stored.map(keys::removed).unwrap_or_default());
        return Ok(());
    }
    let Some(stored) = stored.filter(|stored| is_started(stored)) else {
        let keys = PublishedKeys::starting(schema, true);
        table.with_keys(keys, Census::default(), memory);
        return Ok(());
    };
    let keys = PublishedKeys::from_progress(schema, stored);
    let keys = keys.map_err(|source| PollError::Progress {
        table: schema.table.clone(),
        source,
    })?;
    table.with_keys(keys, Census::decode(stored), memory);
    if !table.relation_is_stored() {
        // Rows vanish uncounted when a table is truncated, loses a partition, or is another one.
        table.compare_at_once();
    }
    Ok(())
}

impl Start {
    async fn table(
        &self,
        postgres: &mut Postgres,
        table: Table,
        progress: Option<&Progress>,
    ) -> Result<PolledTable, PollError> {
        let name = table.captured.schema.table.clone();
        let damaged = |source| PollError::Progress {
            table: name.clone(),
            source,
        };
        let stored = progress.map(Stored::decode).transpose().map_err(damaged)?;
        match stored.flatten() {
            None => {
                info!(table = %name, "no progress: the initial load begins");
                Ok(self.fresh(table, None))
            }
            Some(stored) if is_another(&table.captured, &stored, identity(postgres))? => {
                warn!(table = %name, "another table has this name than before (dropped and created \
                    again, or one took the other's place): it is loaded from the beginning");
                Ok(self.fresh(table, Some(stored)))
            }
            Some(stored) if has_another_key(&table.captured, &stored) => {
                warn!(table = %name, "the key was changed while the table was loaded: it is loaded \
                    from the beginning");
                Ok(self.fresh(table, Some(stored)))
            }
            Some(mut stored) => {
                // A condition that names a dropped column would fail every cycle from here on.
                if let Some(reload) = &stored.reload
                    && !accepts(postgres, &table.captured, reload.condition.as_deref()).await?
                {
                    stored.reload = None;
                }
                notice::key(&table.captured, stored.relation.as_ref());
                let stale = Stale::find(postgres, &table.captured, &stored).await?;
                self.stored(postgres, table, stored, &stale)
            }
        }
    }

    /// A table that resumes, and is loaded again where values of its rows changed without a write.
    fn stored(
        &self,
        postgres: &Postgres,
        table: Table,
        stored: Stored,
        stale: &Stale,
    ) -> Result<PolledTable, PollError> {
        let name = table.captured.schema.table.clone();
        let is_loaded = matches!(stored.phase, Phase::Tailing(_));
        let before = stored.relation.clone();
        let keyed = !table.captured.schema.key.is_empty();
        if stale.is_any() && keyed && !is_loaded {
            notice::stale(&table.captured, stale, "it is loaded from the beginning");
            return Ok(self.fresh(table, Some(stored)));
        }
        let mut resumed = self.resumed(postgres, table, stored)?;
        let now = self.reading.read_at;
        if stale.is_any() && keyed {
            let then = "it is loaded again, beside its new changes";
            notice::stale(&resumed.table.captured, stale, then);
            resumed.load_again(Reload::starting(self.begin), now);
        } else if stale.rewritten {
            // Every row has a new xid, so a sweep finds them all; without a key they are new rows
            // of the history in any case.
            let then = "all its rows are read again and become new rows of its history";
            notice::stale(&resumed.table.captured, stale, then);
            resumed.tiers.sweep_now();
        } else if stale.is_any() {
            // Without a key another load would only duplicate every row.
            notice::unwritten(&resumed.table.captured, stale);
        } else if let Some(before) = before
            && keyed
            && is_loaded
            && !resumed.loads_all()
            && resumed.is_shown_otherwise(&before)
        {
            resumed.show_columns(before, now);
        }
        let Some(reload) = resumed.reload.clone() else {
            return Ok(resumed);
        };
        if !keyed {
            warn!(table = %name, "the key was dropped while the table was loaded again: the load \
                ends, because it would duplicate every row");
            resumed.reload = None;
        } else if !reload.load.follows(&resumed.table.captured.ordered_key()) {
            warn!(table = %name, "the key was changed while the table was loaded again: the load \
                starts over");
            resumed.load_again(reload.restarted(self.begin), now);
        }
        Ok(resumed)
    }

    fn fresh(&self, table: Table, before: Option<Stored>) -> PolledTable {
        let (depths, now) = (self.settings.depths, self.reading.read_at);
        PolledTable::fresh(table, self.zone, depths, self.begin, now, before)
    }

    fn resumed(
        &self,
        postgres: &Postgres,
        table: Table,
        stored: Stored,
    ) -> Result<PolledTable, PollError> {
        let theirs = stored.cursor.clone();
        let (table, ours) = with_stored_cursor(table, &stored)?;
        let (depths, now) = (self.settings.depths, self.reading.read_at);
        let name = table.captured.schema.table.clone();
        let broken = lineage_broken(&name, stored.identity.as_ref(), identity(postgres))?;
        let mut resumed = PolledTable::resumed(table, self.zone, depths, stored, now);
        if let Some(ours) = ours {
            notice::another_cursor(&resumed.table.captured, theirs.as_deref(), &ours);
            resumed.poll_by(ours, now);
        }
        if !resumed.attached.is_empty() {
            info!(table = %name, tables = resumed.attached.len(), "tables were attached to it: all \
                their rows are read in the next cycle");
        }
        // A server that was restored within one timeline hands out xids that we have seen already.
        let ahead = resumed.xid_end() > self.reading.xid_end;
        let read_at = match &resumed.phase {
            Phase::Tailing(activity) => Some(activity.read_at.0),
            Phase::Loading(_) | Phase::Joining(_) => None,
        };
        if broken || ahead {
            let then = match &resumed.phase {
                Phase::Loading(_) | Phase::Joining(_) => "the table is loaded from the beginning",
                Phase::Tailing(_) => "the last hour is read again, and all of it swept",
            };
            warn!(table = %name, "xids were taken back (promotion, restore or lost commits): {then}");
            resumed.rewind(LINEAGE_REWIND, self.begin, &self.reading);
        }
        info!(table = %name, phase = resumed.phase.name(), xids = resumed.coverage.xids(), read_at, "progress found: resuming");
        Ok(resumed)
    }
}

/// False, with a warning, when PostgreSQL does not accept the condition of a load any more.
pub(super) async fn accepts(
    postgres: &mut Postgres,
    captured: &Captured,
    condition: Option<&str>,
) -> Result<bool, PollError> {
    let table = &captured.schema.table;
    let Some(condition) = condition else {
        return Ok(true);
    };
    match check_condition(postgres.primary(), table, condition).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == Kind::Config => {
            warn!(%table, condition, reason = chain(&error), "the condition of a load is not valid \
                any more: the load ends");
            Ok(false)
        }
        Err(error) => Err(Error::from(error).into()),
    }
}

fn identity(postgres: &Postgres) -> &Identity {
    &postgres.greeting().identity
}

/// True when a load has read its chunks along another key than the table has now.
fn has_another_key(captured: &Captured, stored: &Stored) -> bool {
    match &stored.phase {
        Phase::Loading(load) => !load.follows(&captured.ordered_key()),
        Phase::Joining(_) | Phase::Tailing(_) => false,
    }
}

/// What changed the values of rows that were read before, although they were not written since:
/// only another load brings these values.
#[derive(Debug, Default)]
pub(super) struct Stale {
    /// Columns that old rows have only under another name, or that were added with a value.
    pub(super) columns: Vec<String>,
    /// What else changed: each in words, with the column if it is one.
    pub(super) changes: Vec<(String, Option<String>)>,
    /// True when every row was written again, with a timestamp that no scan but a sweep looks at.
    pub(super) rewritten: bool,
}

impl Stale {
    pub(super) fn is_any(&self) -> bool {
        !self.columns.is_empty() || !self.changes.is_empty()
    }

    async fn find(
        postgres: &mut Postgres,
        captured: &Captured,
        stored: &Stored,
    ) -> Result<Self, PollError> {
        let Some(relation) = &stored.relation else {
            return Ok(Self::default());
        };
        let new = relation.new_columns(captured);
        let mut columns: Vec<String> = new.renamed.iter().map(ToString::to_string).collect();
        if !new.added.is_empty() {
            let unwritten = captured.unwritten(postgres.primary(), &new.added).await?;
            // A renamed column has its values in old rows under the old name, an added one may have
            // a default in them.
            columns.extend(unwritten);
        }
        // The first versions did not store what the values depend on: then it counts as unchanged.
        let before = relation.values.as_ref();
        let changes = before.map_or_else(Vec::new, |before| before.changes(&captured.values));
        let rewritten = before.is_some_and(|before| before.is_rewritten(&captured.values));
        let words = |change: Change| {
            let column = match change {
                Change::Column(number, _) => Some(captured.column_name(number).to_owned()),
                Change::Labels | Change::Attributes => None,
            };
            (change.words(column.as_deref().unwrap_or_default()), column)
        };
        let rewritten = rewritten && !changes.is_empty();
        let mut changes: Vec<_> = changes.into_iter().map(words).collect();
        // Rows so far have other texts for the values of the key than those to come: two versions
        // of one row would be two rows.
        if !captured.key.is_empty() && relation.identities != captured.identities {
            changes.push((notice::identities(captured), None));
        }
        // Rows that belong from now on were left out before. Those that belong no more are found by
        // the census, which a changed relation starts at once.
        if relation.membership.as_deref() != captured.membership.as_deref() {
            let words = "the configuration chooses other rows (`where`, `deleted_when`)";
            changes.push((words.to_owned(), None));
        }
        Ok(Self {
            columns,
            rewritten,
            changes,
        })
    }
}

/// The table, polled by the cursor of its progress. The second is the name of the configured cursor
/// where that is another one: the table is swept once before it is polled by this.
///
/// Fails where the configuration names no cursor and the former one does not exist any more.
pub(super) fn with_stored_cursor(
    table: Table,
    stored: &Stored,
) -> Result<(Table, Option<String>), PollError> {
    let Some(theirs) = stored.cursor.as_deref() else {
        return Ok((table, None));
    };
    // Both are spelled as in the catalog, because `cursor: Created_At` means `created_at`.
    let ours = table.captured.cursor_name();
    if ours == Some(theirs) {
        return Ok((table, None));
    }
    let polled = table.polled_by(theirs);
    match (&table.config.cursor, ours, polled) {
        (Some(_), Some(ours), Ok(polled)) => Ok((polled, Some(ours.to_owned()))),
        // The column was dropped, or is no time any more.
        (Some(_), Some(ours), Err(_)) => {
            let ours = ours.to_owned();
            Ok((table, Some(ours)))
        }
        (_, _, polled) => Ok((polled?, None)),
    }
}

/// True when the progress belongs to another table that had this name.
pub(super) fn is_another(
    captured: &Captured,
    stored: &Stored,
    ours: &Identity,
) -> Result<bool, PollError> {
    // The database is checked first: an oid identifies a table only within its own database.
    lineage_broken(&captured.schema.table, stored.identity.as_ref(), ours)?;
    let relation = stored.relation.as_ref();
    Ok(relation.is_some_and(|relation| relation.oid != captured.oid))
}

/// True when the xids of the progress mean nothing any more, because the server has another
/// timeline. Fails when the progress belongs to another database.
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
