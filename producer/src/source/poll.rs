//! The cycle. The order of its steps is what makes it lossless:
//!
//! 1. Probe: compare the snapshot's text with that of the last cycle that had nothing to do. Equal
//!    texts mean that no transaction with an xid has ended, and the cycle is left out.
//! 2. Read the activity, in a statement of its own: sessions first, then prepared transactions. A
//!    transaction that is prepared in between is then seen in at least one of the two.
//! 3. Plan, per table: what ended since its last scan decides how far back the scan must look.
//! 4. Lock the tables that have a plan, then take the snapshot. A snapshot that is older than a
//!    lock we waited for would miss what the lock's owner committed.
//! 5. Compare the tables' structure with the catalog reading, then scan every table in this one
//!    snapshot, so that they are consistent with each other.
//! 6. End the transaction. Its log position is the flush gate: a crash before that position is
//!    flushed takes back rows that the snapshot showed.
//! 7. Pass the gate, and only then hand out the progress that covers the rows.
//!
//! The state of a table changes only after the whole cycle has succeeded, so a failed cycle is
//! simply repeated. Source: docs/polling.md, "The order of a cycle".

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use inlet_model::ProgressDelta;
use inlet_model::TableName;
use inlet_model::{Request, Xid};
use inlet_postgres::Captured;
use inlet_postgres::server::Counted;
use inlet_postgres::{Block, Gate};
use inlet_postgres::{Dropped, Error, Postgres, Reading, Seen, ServerTime, server};
use sqlx::postgres::PgConnection;
use tracing::{info, warn};

use super::activity::Activity;
use super::carry_out::carry_out;
use super::census::compare_next;
use super::control::Asked;
use super::error::PollError;
use super::load;
use super::notice;
use super::out::Out;
use super::phase::{Phase, Reload};
use super::plan::Plan;
use super::recorded::{HandedOn, Named, Recorded, recorded_by};
use super::resume::{PollSettings, accepts};
use super::scan::Scanned;
use super::table::PolledTable;

/// While times of other sessions are hidden from us, every table is swept at least this often.
const BLIND_SWEEP: Duration = Duration::from_secs(60);

/// A poll of captured tables. [`Poll::resume`] makes one.
#[derive(Debug)]
pub struct Poll {
    pub(super) postgres: Postgres,
    pub(super) tables: Vec<PolledTable>,
    /// Tables that were dropped: they are looked for from time to time.
    pub(super) dropped: Vec<Dropped>,
    /// How tables are loaded, and deletes are looked for.
    pub(super) settings: PollSettings,
    /// The table whose keys are compared next: one chunk of each in turn.
    pub(super) turn: usize,
    /// The activity's snapshot when nothing was left to do.
    pub(super) quiet: Option<String>,
    /// What must be flushed before anything of the last snapshot becomes durable.
    pub(super) gate: Option<Gate>,
    /// True while times of other sessions are hidden from us.
    pub(super) blind: bool,
}

/// What is due in a step. The caller owns the clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Due {
    /// Run the cycle also when the snapshot has not moved: a message that ended may have left rows
    /// behind.
    pub cycle: bool,
    /// Look for tables that were dropped, and for deletes that PostgreSQL has counted.
    pub dropped: bool,
    /// Compare a chunk of keys, where a pass is under way.
    pub census: bool,
    /// Hand out the progress of every table, also of those without new rows.
    pub heartbeat: bool,
}

/// What a step did.
#[derive(Debug, Default)]
pub struct Step {
    /// True when a cycle ran.
    pub cycled: bool,
    /// Changes that were emitted.
    pub rows: u64,
    /// Those of a cycle whose timestamp was below the floor of the fast scan: backdated, rounded,
    /// or from another zone.
    pub late: u64,
    /// Deletes that were emitted.
    pub deletes: u64,
    /// How long a chunk of keys took to compare.
    pub compared: Option<Duration>,
    /// True when the last table has joined the cycles in this step.
    pub joined: bool,
    /// The progress that covers everything emitted so far. The gate was passed for it.
    pub progress: BTreeMap<TableName, ProgressDelta>,
}

impl Poll {
    /// One cycle over the tables that are loaded, one chunk of a table that is not, and the
    /// progress that covers both. After an error the poll must be thrown away: its connection may
    /// be in the middle of a transaction.
    pub async fn step(&mut self, due: Due, out: &mut impl Out) -> Result<Step, PollError> {
        let was_tailing = self.is_tailing();
        let mut step = Step::default();
        if due.cycle || !self.is_quiet().await? {
            self.count_from_join().await?;
            // The cycle goes before the chunk: tables that are loaded stay fresh while another one
            // loads.
            self.cycle(&mut step, out).await?;
            if due.dropped {
                self.look_for_dropped().await?;
            }
        }
        let tables = &mut self.tables;
        let chunk = load::load_chunk(&mut self.postgres, tables, self.settings, out).await?;
        match chunk {
            Some(chunk) => {
                step.rows += chunk.rows;
                self.gate = Some(chunk.gate);
                let named = chunk.named.into_iter().collect();
                self.look_for_recorded(named, &mut step, out).await?;
            }
            // Every table is loaded, so the connections are not needed again.
            None => self.postgres.close_helpers().await,
        }
        if due.dropped {
            self.look_at_counters().await?;
        }
        if due.census {
            self.compare(&mut step, out).await?;
        }
        step.progress = self.progress(due.heartbeat).await?;
        step.joined = self.is_tailing() && !was_tailing;
        Ok(step)
    }

    /// A table whose cursor column changed. When its progress is durable, a new session polls by
    /// the new column.
    pub fn with_next_cursor(&self) -> Option<&TableName> {
        let table = self.tables.iter().find(|table| table.has_next_cursor());
        table.map(PolledTable::name)
    }

    /// True while a chunk of some table is due.
    pub fn is_loading(&self) -> bool {
        self.tables.iter().any(|table| table.due_load().is_some())
    }

    /// True while a chunk of some table's keys is due.
    pub fn is_comparing(&self) -> bool {
        self.tables.iter().any(PolledTable::compares)
    }

    /// Makes a pass over the keys of every table due.
    pub fn compare_now(&mut self) {
        for table in &mut self.tables {
            table.compare_at_once();
        }
    }

    /// True once every table is loaded and has joined the cycles, and no table is loaded again.
    pub fn is_tailing(&self) -> bool {
        self.tables
            .iter()
            .all(|table| table.is_tailing() && table.reload.is_none())
    }

    pub fn tables(&self) -> &[PolledTable] {
        &self.tables
    }

    /// The connection to the primary, between two steps.
    pub fn primary(&mut self) -> &mut PgConnection {
        self.postgres.primary()
    }

    /// The servers' processes that answer.
    pub fn backends(&self) -> (i32, Option<i32>) {
        self.postgres.backends()
    }

    /// Loads tables again while their polls go on.
    pub async fn load_again(&mut self) -> Result<(), PollError> {
        let begin = self.oldest_open_xid().await?;
        let now = self.postgres.read_activity().await?.read_at;
        for table in &mut self.tables {
            if table.is_tailing() {
                table.load_again(Reload::starting(begin), now);
            }
        }
        Ok(())
    }

    /// Follows what users ask of tables, as far as it is new.
    pub async fn follow(
        &mut self,
        requests: &BTreeMap<TableName, Request>,
    ) -> Result<(), PollError> {
        let mut asked = Vec::new();
        for (at, table) in self.tables.iter().enumerate() {
            if let Some(request) = requests.get(table.name()) {
                asked.extend(
                    table
                        .asked(request)
                        .into_iter()
                        .map(|asked| (at, request, asked)),
                );
            }
        }
        // Most looks find nothing new, and ask the server nothing.
        if asked.is_empty() {
            return Ok(());
        }
        let begin = self.oldest_open_xid().await?;
        let now = self.postgres.read_activity().await?.read_at;
        for (at, request, asked) in asked {
            let table = &mut self.tables[at];
            let captured = &table.table.captured;
            notice::asked(captured, &asked);
            let condition = match &asked {
                Asked::Reload(reload) => reload.condition.as_deref(),
                Asked::Pause | Asked::Resume | Asked::Sweep(_) | Asked::Repair(_) => None,
            };
            // It was accepted when it was asked for, and the table may have been altered since.
            let accepted = accepts(&mut self.postgres, captured, condition).await?;
            table.follow(request, asked, accepted, begin, now);
        }
        // A table that goes on has something to read also on a quiet server.
        self.quiet = None;
        Ok(())
    }

    async fn oldest_open_xid(&mut self) -> Result<Xid, PollError> {
        let begin = server::oldest_open_xid(self.postgres.primary()).await;
        Ok(begin.map_err(Error::server("snapshot could not be read"))?)
    }

    /// Makes the sweep of every table due in the next cycle.
    pub fn sweep_now(&mut self) {
        for table in &mut self.tables {
            table.tiers.sweep_now();
        }
    }

    async fn cycle(&mut self, step: &mut Step, out: &mut impl Out) -> Result<(), PollError> {
        step.cycled = true;
        let reading = self.read_activity().await?;
        let mut activities = Activities::default();
        let mut plans = Vec::new();
        for (at, table) in self.tables.iter().enumerate() {
            let last = match &table.phase {
                Phase::Tailing(last) => Some(last),
                Phase::Loading(_) | Phase::Joining(_) => None,
            };
            // Each table compares with the reading of its own last scan; a tier that was not due
            // may have waited for several readings.
            let activity = activities.next(last, &reading);
            plans.extend(table.plan(&activity).map(|plan| (at, plan)));
        }
        if plans.is_empty() {
            self.quiet = Some(reading.snapshot);
            return Ok(());
        }
        self.quiet = None;
        // Journals go first: of the rows that they name, those that the scan of the table emits
        // need no look.
        plans.sort_by_key(|(at, _)| !self.tables[*at].is_journal());
        // All scans succeed before the state of any table changes.
        let (scans, named) = self.scan_all(&plans, out).await?;
        for ((at, plan), scan) in plans.into_iter().zip(scans) {
            let table = &mut self.tables[at];
            if scan.late > 0 {
                notice::late(&table.table.captured, scan.late, !table.late_noticed);
                table.late_noticed = true;
            }
            step.rows += scan.rows;
            step.late += scan.late;
            step.deletes += scan.deletes;
            table.scanned(plan, scan);
        }
        // The keys of this cycle's rows are among the published ones now.
        self.look_for_recorded(named, step, out).await
    }

    /// True when nothing can have become visible since the last cycle: one statement of 16 us.
    async fn is_quiet(&mut self) -> Result<bool, PollError> {
        // A table whose load has ended joins at once, also while no transaction ends.
        let joins = self
            .tables
            .iter()
            .any(|table| matches!(table.phase, Phase::Joining(_)));
        let Some(quiet) = self.quiet.as_ref().filter(|_| !joins) else {
            return Ok(false);
        };
        let snapshot = server::snapshot(self.postgres.primary())
            .await
            .map_err(Error::server("snapshot could not be read"))?;
        Ok(snapshot == *quiet)
    }

    /// Reads the counters of tables that are about to join the cycles. Everything that is counted
    /// before the scan that joins them is visible to it.
    async fn count_from_join(&mut self) -> Result<(), PollError> {
        let joins = |table: &PolledTable| matches!(table.phase, Phase::Joining(_));
        for (at, counted, _) in self.counters(joins).await? {
            self.tables[at].count_from(counted.written);
        }
        Ok(())
    }

    /// What PostgreSQL has counted in some of the tables, with the time.
    async fn counters(
        &mut self,
        wanted: impl Fn(&PolledTable) -> bool,
    ) -> Result<Vec<(usize, Counted, ServerTime)>, PollError> {
        let tables = self.tables.iter().enumerate();
        let (places, oids): (Vec<_>, Vec<_>) = tables
            .filter(|(_, table)| wanted(table))
            .map(|(at, table)| (at, table.table.captured.oids()))
            .unzip();
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let counted = server::counters(self.postgres.primary(), &oids).await;
        let (now, counted) =
            counted.map_err(Error::server("counters of the tables could not be read"))?;
        let counted = places.into_iter().zip(counted);
        Ok(counted.map(|(at, counted)| (at, counted, now)).collect())
    }

    /// Looks at what PostgreSQL has counted: starts a pass over the keys of tables with deletes
    /// that no pass has seen, and asks for a deeper scan where versions were written that no scan
    /// has found.
    async fn look_at_counters(&mut self) -> Result<(), PollError> {
        let census = self.settings.census;
        let wanted = |table: &PolledTable| table.is_comparable() || table.is_countable();
        for (at, counted, now) in self.counters(wanted).await? {
            let table = &mut self.tables[at];
            table.look_at_deletes(counted.deleted, now, census.interval);
            if table.look_at_writes(counted.written, now, census.percent) {
                // The scan has something to read although no transaction has ended since the last
                // cycle.
                self.quiet = None;
            }
        }
        Ok(())
    }

    /// Compares a chunk of the next table's keys.
    async fn compare(&mut self, step: &mut Step, out: &mut impl Out) -> Result<(), PollError> {
        let count = self.tables.len();
        let mut order = (0..count).map(|place| (self.turn + place) % count);
        let Some(at) = order.find(|at| self.tables[*at].compares()) else {
            return Ok(());
        };
        self.turn = at + 1;
        let (postgres, table) = (&mut self.postgres, &mut self.tables[at]);
        if let Some(compared) = compare_next(postgres, table, &self.settings.census, out).await? {
            step.rows += compared.deletes;
            step.deletes += compared.deletes;
            step.compared = Some(compared.took);
            self.gate = Some(compared.gate);
        }
        Ok(())
    }

    /// Fails when a dropped table exists again: then the catalog has to be read again.
    async fn look_for_dropped(&mut self) -> Result<(), PollError> {
        for dropped in &self.dropped {
            if dropped.exists(self.postgres.primary()).await? {
                return Err(PollError::Returned(dropped.table.clone()));
            }
        }
        Ok(())
    }

    /// The progress of the tables that had rows, or of all.
    async fn progress(
        &mut self,
        all: bool,
    ) -> Result<BTreeMap<TableName, ProgressDelta>, PollError> {
        if !all && !self.tables.iter().any(|table| table.unsaved) {
            return Ok(BTreeMap::new());
        }
        // A progress without rows needs the gate too: after a crash its xids would be handed out
        // again.
        if let Some(gate) = self.gate.take() {
            gate.pass(self.postgres.primary()).await?;
        }
        let identity = &self.postgres.greeting().identity;
        let changed = self.tables.iter_mut().filter(|table| all || table.unsaved);
        Ok(changed
            .map(|table| (table.name().clone(), table.take_delta(identity)))
            .collect())
    }

    async fn read_activity(&mut self) -> Result<Reading, PollError> {
        let reading = self.postgres.read_activity().await?;
        let is_hidden = |seen: &Seen| matches!(seen, Seen::Hidden { .. });
        let sessions = reading.sessions.iter();
        let hidden = sessions.filter(|session| is_hidden(&session.seen)).count();
        // Only the change is logged; a reading happens many times a second.
        if (hidden > 0) != self.blind {
            self.blind = hidden > 0;
            if self.blind {
                let sweep_seconds = BLIND_SWEEP.as_secs();
                warn!(
                    sessions = hidden,
                    sweep_seconds,
                    "times of other sessions are hidden: polling by virtual xids, with frequent \
                        sweeps"
                );
            } else {
                info!("times of all sessions are visible again");
            }
        }
        if self.blind {
            for table in &mut self.tables {
                table.tiers.sweep_at_least(BLIND_SWEEP);
            }
        }
        Ok(reading)
    }

    /// Carries out every plan in one snapshot.
    async fn scan_all(
        &mut self,
        plans: &[(usize, Plan)],
        out: &mut impl Out,
    ) -> Result<(Vec<Scanned>, BTreeMap<usize, Named>), PollError> {
        self.postgres.catch_up().await?;
        let connection = self.postgres.reader();
        let captured: Vec<&Captured> = plans
            .iter()
            .map(|(at, _)| &self.tables[*at].table.captured)
            .collect();
        let block = Block::begin(connection, &captured).await?;
        let mut scans = Vec::with_capacity(plans.len());
        let mut named = BTreeMap::new();
        for (at, plan) in plans {
            let table = &self.tables[*at];
            let scanned = if let Some(of) = recorded_by(&self.tables, *at) {
                let schema = &self.tables[of].table.captured.schema;
                let named = named.entry(of).or_insert_with(|| Named::of(schema));
                let named = Some(named);
                let mut out = Recorded { out, named };
                carry_out(connection, &block, table, plan, &mut out).await?
            } else if let Some(named) = named.get_mut(at) {
                let mut out = HandedOn { out, named };
                carry_out(connection, &block, table, plan, &mut out).await?
            } else {
                carry_out(connection, &block, table, plan, out).await?
            };
            scans.push(scanned);
        }
        // A later position covers the earlier one, so the new gate may replace one that was not
        // passed yet.
        self.gate = Some(block.end(connection).await?);
        Ok((scans, named))
    }
}

/// The activity after one reading, for tables whose last scans differ: most tables share it.
#[derive(Default)]
struct Activities(Vec<(Option<Arc<Activity>>, Arc<Activity>)>);

impl Activities {
    fn next(&mut self, last: Option<&Arc<Activity>>, reading: &Reading) -> Arc<Activity> {
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
