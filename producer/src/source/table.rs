//! What the poller knows about one table between two cycles.
//!
//! Pure. All of it follows from the last durable cycle: a restart is only a later next cycle.

mod asked;
mod due;
mod keys;
mod outcome;

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use inlet_model::{ProgressDelta, TableName, Xid};
use inlet_postgres::server::Identity;
use inlet_postgres::{Captured, Reading, ServerTime, Table};

use super::activity::Activity;
use super::bounds::ScanBounds;
use super::control::Control;
use super::coverage::Coverage;
use super::detection::Detection;
use super::held::HeldKeys;
use super::journal::Swept;
use super::phase::{Load, Phase, Reload};
use super::progress::{Parts, Relation, Stored};
use super::repair::Repair;
use super::tiers::{Slack, Tier, Tiers};
use super::unseen::{Deeper, Unseen};

/// The starts of other loads that the progress keeps.
const LOADS_MAX: usize = 64;

#[derive(Debug, Clone)]
pub struct PolledTable {
    /// Its configuration, and its columns, key and cursor as of the last reading of the catalog.
    pub table: Table,
    /// The time zone of its cursor's wall clock.
    pub zone: Tz,
    /// How far it is.
    pub phase: Phase,
    /// The load that runs beside its polls.
    pub reload: Option<Reload>,
    /// Every version with a smaller xid was emitted, or is read by the load beside the polls: scans
    /// leave them out.
    loaded: Xid,
    /// When other loads than the first one started.
    loads: Vec<ServerTime>,
    /// What each depth of scan has pending.
    pub tiers: Tiers,
    /// Which versions were emitted.
    pub coverage: Coverage,
    /// When its latest rows were detected.
    pub detection: Detection,
    /// What PostgreSQL has counted and no scan has found.
    unseen: Unseen,
    /// True when the durable progress contains this.
    unseen_stored: bool,
    /// True once the log has named what makes its rows late.
    pub late_noticed: bool,
    /// The keys of its published rows, and what was compared of them.
    pub held: HeldKeys,
    /// Attached tables whose rows are not read yet, though they may be older than everything that
    /// the polls ask for.
    pub attached: Vec<u32>,
    /// The rows that PostgreSQL expected in it when its load started or resumed.
    pub expected_rows: Option<u64>,
    /// True when a restart from the durable progress would emit rows again.
    pub unsaved: bool,
    /// True when its columns were altered, and no row has brought the new ones to the readers.
    columns_unseen: bool,
    /// What of it was read, or will be read by scans that are already pending.
    relation: Relation,
    /// True when the durable progress contains this relation.
    relation_stored: bool,
    /// True when the durable progress contains these starts of loads.
    loads_stored: bool,
    /// True when the durable progress contains a load beside the polls.
    reload_stored: bool,
    /// True when the durable progress tells why the table was set aside.
    aside_stored: bool,
    /// The cursor that it is polled by after its next sweep, if that is another one.
    next_cursor: Option<String>,
    /// The same once that sweep was done: the progress from here on belongs to this cursor.
    swept_for: Option<String>,
    /// What was followed of users' requests.
    control: Control,
    control_stored: bool,
    /// What a sweep of a journal has read.
    pub(super) swept: Swept,
    /// Rows that the next cycle publishes another time.
    repair: Option<Repair>,
}

/// How often a table is scanned at which depth.
#[derive(Debug, Clone, Copy)]
pub struct Depths {
    /// Time between two scans that allow for skewed clocks and zones.
    pub wide_interval: Duration,
    /// Time between two sweeps.
    pub sweep_interval: Duration,
}

impl PolledTable {
    /// A table whose load starts with what was written below `begin`, whatever its stored progress
    /// contains.
    pub fn fresh(
        table: Table,
        zone: Tz,
        depths: Depths,
        begin: Xid,
        now: ServerTime,
        before: Option<Stored>,
    ) -> Self {
        // The stored coverage is kept for one delta, which removes its parts from the progress:
        // they would otherwise return at the next start.
        let again = before.is_some();
        let (mut coverage, loads, detection) = before.map_or_else(Default::default, |stored| {
            (stored.coverage, stored.loads, stored.detection)
        });
        coverage.forget();
        let name = table.captured.schema.table.clone();
        let held = HeldKeys::none(name, ProgressDelta::default());
        let mut fresh = Self {
            zone,
            phase: Phase::Loading(Load::starting(begin)),
            reload: None,
            loaded: Xid(0),
            loads,
            tiers: Tiers::new(tiers(&table.captured, depths), now),
            coverage,
            detection,
            unseen: Unseen::default(),
            unseen_stored: false,
            late_noticed: false,
            held,
            attached: Vec::new(),
            expected_rows: None,
            columns_unseen: false,
            unsaved: false,
            relation: relation(&table.captured, &[]),
            relation_stored: false,
            loads_stored: true,
            reload_stored: false,
            aside_stored: false,
            next_cursor: None,
            swept_for: None,
            control: Control::default(),
            control_stored: true,
            swept: Swept::default(),
            repair: None,
            table,
        };
        if again {
            fresh.note_load(now);
        }
        fresh
    }

    /// A table that resumes from its stored progress.
    pub fn resumed(
        table: Table,
        zone: Tz,
        depths: Depths,
        stored: Stored,
        now: ServerTime,
    ) -> Self {
        let has_no_scans = stored.scans.is_empty() && matches!(stored.phase, Phase::Tailing(_));
        let attached = attached(&table.captured, stored.relation.as_ref());
        let relation = relation(&table.captured, &attached);
        // The rows of tables that were attached or detached are counted elsewhere.
        let before = stored.relation.as_ref().map(|before| &before.descendants);
        let unseen = match before == Some(&relation.descendants) && attached.is_empty() {
            true => stored.unseen,
            false => Unseen::default(),
        };
        // A relation that changed while the service was down is stored with the next checkpoint,
        // also without new rows.
        let relation_stored = stored.relation.as_ref() == Some(&relation);
        let mut tiers = Tiers::new(tiers(&table.captured, depths), now);
        tiers.restore(&stored.pending, &stored.scans);
        let name = table.captured.schema.table.clone();
        let held = HeldKeys::none(name, ProgressDelta::default());
        Self {
            table,
            zone,
            phase: stored.phase,
            reload_stored: stored.reload.is_some(),
            reload: stored.reload,
            loaded: stored.loaded,
            loads: stored.loads,
            tiers,
            coverage: stored.coverage,
            detection: stored.detection,
            unseen,
            unseen_stored: false,
            late_noticed: false,
            held,
            attached,
            expected_rows: None,
            columns_unseen: false,
            // Sessions that end before their first checkpoint would otherwise delay the sweep for
            // ever.
            unsaved: !relation_stored || has_no_scans,
            relation,
            relation_stored,
            loads_stored: true,
            aside_stored: false,
            next_cursor: None,
            swept_for: None,
            control: Control::default(),
            control_stored: true,
            swept: Swept::default(),
            repair: None,
        }
    }

    /// The next sweep is the last scan by its present cursor: what it returns is emitted whatever
    /// the next cursor contains.
    pub fn poll_by(&mut self, next: String, now: ServerTime) {
        if self.table.captured.cursor_name() == Some(next.as_str()) {
            // The former cursor does not exist any more, so which versions were emitted by it is
            // unknown.
            self.coverage.forget();
            self.note_load(now);
        }
        self.next_cursor = Some(next);
    }

    /// True once its next cursor counts, and the durable progress has to belong to it.
    pub fn has_next_cursor(&self) -> bool {
        self.swept_for.is_some()
    }

    /// Goes on with what was followed of users' requests.
    pub fn controlled(&mut self, control: Control) {
        self.control = control;
    }

    /// True when the progress describes the table as it is now.
    pub fn relation_is_stored(&self) -> bool {
        self.relation_stored
    }

    /// True once it is loaded and has joined the cycles.
    pub fn is_tailing(&self) -> bool {
        matches!(self.phase, Phase::Tailing(_))
    }

    /// True while PostgreSQL's counters tell what its scans miss.
    pub fn is_countable(&self) -> bool {
        // Where every scan is a sweep, they miss nothing.
        self.is_tailing() && self.tiers.has_depths() && !self.control.paused
    }

    /// The server has counted this before the scan that joins it to the cycles.
    pub fn count_from(&mut self, counted: i64) {
        self.unseen = Unseen::from(counted);
        self.unseen_stored = false;
    }

    /// Looks at the versions that the server has counted in it; true when a deeper scan is due now.
    pub fn look_at_writes(&mut self, counted: i64, now: ServerTime, percent: u8) -> bool {
        if !self.is_countable() {
            return false;
        }
        let sweep = self.tiers.last_sweep();
        self.unseen_stored = false;
        // A restart without the first count would not know what is written meanwhile.
        self.unsaved |= !self.unseen.has_base();
        match self.unseen.look(counted, sweep, now, percent) {
            None => return false,
            Some(Deeper::Wide) => self.tiers.ask(self.tiers.wide()),
            Some(Deeper::Sweep) => self.tiers.ask(self.tiers.deepest()),
        }
        true
    }

    /// True when readers who know the table as it was before see something else than it is.
    pub fn is_shown_otherwise(&self, before: &Relation) -> bool {
        let shape = before.shape();
        shape.is_some_and(|shape| self.relation.shape() != Some(shape))
    }

    /// Its columns were altered since `before` was stored, and no row has to be read again for
    /// that. Readers know columns by rows, so the next cycle emits one row if it finds no new one.
    pub fn show_columns(&mut self, before: Relation, now: ServerTime) {
        self.note_load(now);
        // A restart before that cycle, or while the table is paused, has to find the difference.
        let descendants = std::mem::take(&mut self.relation.descendants);
        self.relation = Relation {
            descendants,
            ..before
        };
        self.columns_unseen = true;
    }

    /// True when its readers see other columns than it has.
    pub fn has_unseen_columns(&self) -> bool {
        self.columns_unseen
    }

    /// True while every row is read another time, beside its polls.
    pub fn loads_all(&self) -> bool {
        let reload = self.reload.as_ref();
        reload.is_some_and(|reload| reload.condition.is_none())
    }

    /// The load whose opening sweep is due.
    pub fn opens(&self) -> Option<&Reload> {
        self.reload.as_ref().filter(|reload| !reload.started)
    }

    /// Remembers that versions which were emitted before `now` may be emitted again.
    fn note_load(&mut self, now: ServerTime) {
        let old = (self.loads.len() + 1).saturating_sub(LOADS_MAX);
        self.loads.drain(..old);
        self.loads.push(now);
        (self.loads_stored, self.unsaved) = (false, true);
    }

    pub fn name(&self) -> &TableName {
        &self.table.captured.schema.table
    }

    /// The xid below which it may have seen every transaction end.
    pub fn xid_end(&self) -> Xid {
        let reload = self.reload.as_ref().map(|reload| reload.load.xid_end);
        // A scan's snapshot is younger than its activity, so it may have emitted a later xid.
        let phase = self.phase.xid_end().max(reload.unwrap_or(self.loaded));
        phase.max(self.coverage.xid_end())
    }

    /// Starts over from an earlier moment, because the stored xids belong to another lineage: all
    /// rows from `span` before the last scan become pending for every tier. A table that has not
    /// joined the cycles is loaded again from `begin`.
    pub fn rewind(&mut self, span: Duration, begin: Xid, reading: &Reading) {
        self.coverage.forget();
        // Another server has counters of its own, and everything is swept.
        self.unseen = Unseen::default();
        // The next start may come when the server's xids have passed the stored ones again, and
        // could not tell. So the first checkpoint stores the new lineage, also without rows.
        self.unsaved = true;
        self.loaded = Xid(0);
        // Rows that were published may not exist in this lineage.
        self.compare_at_once();
        // Every row comes again, so a load that was under way starts over.
        let reload = self.reload.take().map(|reload| reload.restarted(begin));
        self.note_load(reading.read_at);
        self.phase = match &self.phase {
            // What was written to the part that is read already has xids below the stored `begin`
            // now, and neither a chunk nor the joining scan would read it.
            Phase::Loading(_) | Phase::Joining(_) => Phase::Loading(Load::starting(begin)),
            Phase::Tailing(last) => {
                self.tiers.add(ScanBounds {
                    floor: last.read_at.minus(span),
                    xid: Xid::FIRST_NORMAL,
                });
                // The holders of the other lineage mean nothing here. Those of this reading are
                // known from now on, and what was visible before it is pending.
                Phase::Tailing(Arc::new(Activity::next(None, reading)))
            }
        };
        if let Some(reload) = reload {
            self.load_again(reload, reading.read_at);
        }
    }

    /// True for a table that holds the changes of another one.
    pub fn is_journal(&self) -> bool {
        self.table.config.journal_of.is_some()
    }

    /// Asks for a sweep, which comes as soon as sweeps may take the time.
    pub(super) fn ask_sweep(&mut self) {
        self.tiers.ask(self.tiers.deepest());
        self.swept.ask();
    }

    /// The changes to the stored progress. The caller makes them durable.
    pub fn take_delta(&mut self, identity: &Identity) -> ProgressDelta {
        self.unsaved = false;
        self.swept.handed_over();
        let parts = Parts {
            identity,
            relation: (!self.relation_stored).then_some(&self.relation),
            phase: &self.phase,
            reload: self.reload.as_ref(),
            had_reload: self.reload_stored,
            was_aside: std::mem::take(&mut self.aside_stored),
            control: (!self.control_stored).then_some(&self.control),
            census: self.held.unstored_census(),
            loads: (!self.loads_stored).then_some(self.loads.as_slice()),
            loaded: self.loaded,
            pending: self.tiers.pending(),
            scans: self.tiers.last_scans(),
            cursor: self
                .swept_for
                .as_deref()
                .or(self.table.captured.cursor_name()),
            detection: self.detection,
            unseen: (!self.unseen_stored).then_some(&self.unseen),
        };
        let mut delta = parts.encode(self.coverage.take_delta());
        self.held.take_delta(&mut delta);
        // The caller either makes the delta durable or throws the poll away, so this may count as
        // stored.
        (self.relation_stored, self.loads_stored) = (true, true);
        self.reload_stored = self.reload.is_some();
        (self.control_stored, self.unseen_stored) = (true, true);
        delta
    }
}

/// What of a table was read, or will be read by scans that are already pending.
fn relation(captured: &Captured, attached: &[u32]) -> Relation {
    let descendants = captured.descendants.iter().map(|table| table.oid);
    let columns = captured.schema.columns.iter().map(|column| &column.name);
    let numbers = captured.numbers.iter().copied();
    Relation {
        oid: captured.oid,
        descendants: descendants.filter(|oid| !attached.contains(oid)).collect(),
        columns: numbers.zip(columns.cloned()).collect(),
        key: Some(captured.key_numbers()),
        values: Some(captured.values.as_ref().clone()),
        identities: captured.identities.clone(),
        membership: captured.membership.as_deref().map(str::to_owned),
    }
}

/// The tables that were attached since the progress was stored.
fn attached(captured: &Captured, stored: Option<&Relation>) -> Vec<u32> {
    let Some(stored) = stored else {
        return Vec::new();
    };
    captured
        .descendants
        .iter()
        .filter(|table| table.attached && !stored.descendants.contains(&table.oid))
        .map(|table| table.oid)
        .collect()
}

/// The depths at which a table is scanned. Without an index on a cursor a scan reads the whole
/// table anyway: then every scan is a sweep, throttled, and finds what a floor would hide.
fn tiers(captured: &Captured, depths: Depths) -> Vec<Tier> {
    let sweep = Tier {
        slack: Slack::Everything,
        every: depths.sweep_interval,
        throttled: true,
    };
    let Some(cursor) = captured.cursor.filter(|cursor| cursor.indexed) else {
        return vec![Tier {
            every: Duration::ZERO,
            ..sweep
        }];
    };
    let fast = Tier {
        slack: Slack::Span(Duration::ZERO),
        every: Duration::ZERO,
        throttled: false,
    };
    let wide = Tier {
        slack: Slack::Span(cursor.kind.zone_slack()),
        every: depths.wide_interval,
        throttled: true,
    };
    vec![fast, wide, sweep]
}
