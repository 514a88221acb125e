//! What the poller knows about one table between two cycles.
//!
//! Pure. All of it follows from the last durable cycle: a restart is only a later next cycle.

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use inlet_model::ProgressDelta;
use inlet_model::Request;
use inlet_model::TableName;
use inlet_model::Xid;
use inlet_postgres::Captured;
use inlet_postgres::server::Identity;
use inlet_postgres::{Floor, Reading, ServerTime, Table};

use super::activity::Activity;
use super::bounds::{ScanBounds, scan_bounds};
use super::census::Census;
use super::control::{Asked, Control, Repaired};
use super::coverage::Coverage;
use super::detection::Detection;
use super::held::HeldKeys;
use super::journal::Swept;
use super::keys::{Chunk, NewKeys, PublishedKeys};
use super::notice;
use super::phase::{Joined, Load, Phase, Position, Reload};
use super::plan::{Bounds, Plan};
use super::progress::{Parts, Relation, Stored};
use super::repair::Repair;
use super::scan::Scanned;
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

    /// The next sweep is the last scan by its present cursor: what it returns is emitted whatever the
    /// next cursor contains.
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

    /// Holds the keys of its rows from now on, to compare them with the table.
    pub fn with_keys(&mut self, keys: PublishedKeys, census: Census, memory: usize) {
        self.held = HeldKeys::new(self.name().clone(), keys, census, memory);
    }

    /// Holds no keys; those of the progress are removed.
    pub fn without_keys(&mut self, removed: ProgressDelta) {
        self.unsaved |= !removed.0.is_empty();
        self.held = HeldKeys::none(self.name().clone(), removed);
    }

    /// True when the progress describes the table as it is now.
    pub fn relation_is_stored(&self) -> bool {
        self.relation_stored
    }

    /// Starts a pass over the keys as soon as one can be made.
    pub fn compare_at_once(&mut self) {
        self.unsaved |= self.held.compare_at_once();
    }

    /// True once it is loaded and has joined the cycles.
    pub fn is_tailing(&self) -> bool {
        matches!(self.phase, Phase::Tailing(_))
    }

    /// True while the keys of its rows can be compared: a load brings rows in other snapshots'
    /// order, so it ends first.
    pub fn is_comparable(&self) -> bool {
        self.held.keys.is_some() && self.is_tailing() && !self.control.paused
    }

    /// True while a chunk of its keys is due.
    pub fn compares(&self) -> bool {
        self.is_comparable() && self.held.has_due_chunk()
    }

    /// Looks at the deletes that the server has counted in it.
    pub fn look_at_deletes(&mut self, counted: i64, now: ServerTime, interval: Duration) {
        if self.is_comparable() {
            self.held.look(counted, now, interval);
        }
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

    /// Records keys of rows that were handed on.
    pub fn published(&mut self, new: NewKeys) {
        self.unsaved |= self.held.published(new);
    }

    /// Records keys of rows that were published before keys were held, read up to this key; `None`
    /// after the last row.
    pub fn adopted(&mut self, new: NewKeys, until: Option<Vec<String>>) {
        self.held.adopt(new, until);
        self.unsaved = true;
    }

    /// Records a chunk of the pass: how many keys it had, and the deletes that were handed on.
    pub fn compared(&mut self, keys: u64, gone: &Chunk, until: Option<String>, detected_at: i64) {
        if !gone.is_empty() {
            self.detection.record(detected_at);
        }
        self.unsaved |= self
            .held
            .compared(keys, gone, until, ServerTime(detected_at));
    }

    /// What a request asks beyond what was followed.
    pub fn asked(&self, request: &Request) -> Vec<Asked> {
        let mut asked = self.control.asked(request);
        // A load or a pause goes first: a repair reads beside a scan, which there is none of.
        let waits = self.repair.is_some() || !self.is_tailing() || self.control.paused;
        asked.retain(|asked| !waits || !matches!(asked, Asked::Repair(_)));
        asked
    }

    /// The repair that the next cycle makes.
    pub fn repairs(&self) -> Option<&Repair> {
        self.repair.as_ref()
    }

    /// True while it is left out of the polls.
    pub fn is_paused(&self) -> bool {
        self.control.paused
    }

    /// Follows one thing that a request asks; a load is left out unless its condition is accepted.
    /// All transactions below `begin` have ended at `now`.
    pub fn follow(
        &mut self,
        request: &Request,
        asked: Asked,
        accepted: bool,
        begin: Xid,
        now: ServerTime,
    ) {
        let is_tailing = self.is_tailing();
        let keyed = !self.table.captured.schema.key.is_empty();
        self.control.request.clone_from(&request.id);
        (self.control_stored, self.unsaved) = (false, true);
        match asked {
            Asked::Pause => self.control.paused = true,
            Asked::Resume => self.control.paused = false,
            Asked::Reload(asked) => {
                // A table that is being loaded brings every row anyway, and one without a key would
                // only get each row another time.
                if is_tailing && keyed && accepted {
                    let reload = Reload {
                        condition: asked.condition,
                        ..Reload::starting(begin)
                    };
                    self.load_again(reload, now);
                }
                self.control.reload = Some(asked.id);
            }
            Asked::Sweep(id) => {
                self.tiers.sweep_now();
                self.compare_at_once();
                self.control.sweep = Some(id);
            }
            Asked::Repair(asked) => {
                let schema = &self.table.captured.schema;
                let keys = keyed.then(|| Chunk::read(schema, &asked.keys)).flatten();
                match keys {
                    Some(keys) => {
                        self.repair = Some(Repair { id: asked.id, keys });
                        // It brings versions that were published before.
                        self.note_load(now);
                    }
                    None => {
                        notice::refused_repair(&self.table.captured);
                        self.control.repair = Some(Repaired {
                            id: asked.id,
                            refused: true,
                            ..Repaired::default()
                        });
                    }
                }
            }
        }
    }

    /// The table was set aside, and is polled again: the next checkpoint stores that.
    pub fn was_set_aside(&mut self) {
        (self.aside_stored, self.unsaved) = (true, true);
    }

    /// Loads the table again while its polls go on. All transactions below `begin` have ended, so
    /// every version below it is visible: the chunks emit these, and scans leave them out.
    ///
    /// A load with a condition emits only some of them, so its opening sweep emits the others
    /// before.
    pub fn load_again(&mut self, reload: Reload, now: ServerTime) {
        if reload.condition.is_none() {
            self.loaded = self.loaded.max(reload.load.begin);
        }
        self.reload = Some(reload);
        self.note_load(now);
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

    /// What this table needs after a reading; `None` when nothing can be new, or it is not due.
    pub fn plan(&self, activity: &Arc<Activity>) -> Option<Plan> {
        if self.control.paused {
            return None;
        }
        match &self.phase {
            Phase::Loading(_) => None,
            Phase::Joining(joined) => Some(Plan::Join {
                bounds: Bounds {
                    floor: None,
                    xid: joined.begin,
                },
                activity: Arc::clone(activity),
            }),
            Phase::Tailing(last) => self.plan_tier(last, activity),
        }
    }

    fn plan_tier(&self, last: &Activity, activity: &Arc<Activity>) -> Option<Plan> {
        let now = activity.read_at;
        // The plan changes a copy: a cycle that fails leaves the table as it was.
        let mut tiers = self.tiers.clone();
        // Every reading that moved is added to all tiers, also to those that are not due: their
        // bounds grow until they are scanned.
        if moved(last, activity) {
            tiers.add(scan_bounds(last, activity));
        }
        if self.swept.is_asked() {
            // The sweep comes also where nothing was written since the last one.
            tiers.add(ScanBounds {
                floor: now,
                xid: activity.xid_end,
            });
        }
        if self.next_cursor.is_some() {
            // Every xid that a later scan may ask for is read: the coverage of the others is in the
            // unit of the present cursor.
            tiers.add(ScanBounds {
                floor: now,
                xid: activity.xid_bound().min(tiers.xid_bound()),
            });
        }
        let is_deep = !self.attached.is_empty()
            || self.opens().is_some()
            || self.next_cursor.is_some()
            || self.repair.is_some();
        if is_deep || self.columns_unseen {
            // A scan needs something to read.
            tiers.add(ScanBounds {
                floor: now,
                xid: activity.xid_end,
            });
        }
        let depth = if is_deep {
            // An attached table is read beside the deepest scan, another load opens with one, and
            // with one a repair knows what is left to it.
            tiers.deepest()
        } else if self.columns_unseen {
            tiers.due(now).unwrap_or(tiers.shallowest())
        } else {
            tiers.due(now)?
        };
        let (floor, xid) = tiers.bounds(depth);
        // The load emitted what is older, or its chunks do: a scan would emit it another time, and
        // without the order that one load keeps.
        let xid = xid.max(self.loaded);
        let late_below = if depth > tiers.shallowest() {
            self.floor(tiers.bounds(tiers.shallowest()).0, now)
        } else {
            None
        };
        Some(Plan::Tier {
            depth,
            bounds: Bounds {
                floor: self.floor(floor, now),
                xid,
            },
            late_below: late_below.unwrap_or(Floor::MIN),
            tiers,
            activity: Arc::clone(activity),
        })
    }

    /// A floor in the unit of the cursor.
    fn floor(&self, floor: Option<ServerTime>, now: ServerTime) -> Option<Floor> {
        let cursor = self.table.captured.cursor?;
        Some(cursor.kind.floor(floor?, now, self.zone))
    }

    /// Records a cycle that carried out the plan.
    pub fn scanned(&mut self, plan: Plan, mut scanned: Scanned) {
        let bounds = plan.bounds();
        self.published(std::mem::take(&mut scanned.keys));
        for left in std::mem::take(&mut scanned.left) {
            self.held.left(&left);
        }
        let scanned = &scanned;
        if let Some(repair) = self.repair.take() {
            self.control.repair = Some(Repaired {
                id: repair.id,
                rows: scanned.repaired.rows,
                found: scanned.found,
                deletes: scanned.repaired.deletes,
                refused: false,
            });
            (self.control_stored, self.unsaved) = (false, true);
        }
        self.count_found(&plan, scanned);
        // A scan without rows only moves the floor. A restart without it reads a little more and
        // emits the same rows.
        self.unsaved |= scanned.rows > 0;
        self.detected(scanned);
        let read = match plan.reads_attached() {
            true => std::mem::take(&mut self.attached),
            false => Vec::new(),
        };
        let unseen = std::mem::take(&mut self.columns_unseen);
        if unseen || !read.is_empty() {
            self.relation = relation(&self.table.captured, &self.attached);
            (self.relation_stored, self.unsaved) = (false, true);
        }
        // All their rows were emitted just now, the old ones too.
        if let Some(reload) = &mut self.reload {
            reload.without.extend(read);
        }
        let activity = match plan {
            Plan::Join { activity, bounds } => {
                self.unsaved = true;
                self.loaded = bounds.xid;
                activity
            }
            Plan::Tier {
                depth,
                tiers,
                activity,
                ..
            } => {
                self.tiers = tiers;
                // A sweep is stored also when it found nothing, so that a restart does not repeat
                // it. Where every poll is a sweep, that would be a checkpoint for every poll.
                self.unsaved |= depth > self.tiers.shallowest() && self.tiers.is_sweep(depth);
                self.tiers.done(depth, activity.read_at, scanned.took);
                activity
            }
        };
        if bounds.floor.is_none()
            && let Some(next) = self.next_cursor.take()
        {
            // What the sweep did not return is not visible, and never will be again.
            self.coverage.forget();
            self.swept_for = Some(next);
            self.unsaved = true;
        }
        if bounds.floor.is_none() && self.is_journal() {
            self.swept.done(activity.snapshot.clone());
        }
        self.coverage
            .add(bounds.floor.unwrap_or(Floor::MIN), &scanned.returned);
        // No later scan asks for xids below both bounds, so their coverage is not needed any more.
        self.coverage
            .prune(activity.xid_bound().min(self.tiers.xid_bound()));
        self.phase = Phase::Tailing(activity);
        if let Some(reload) = self.reload.as_mut().filter(|_| bounds.floor.is_none()) {
            self.unsaved |= !reload.started;
            reload.started = true;
            self.loaded = self.loaded.max(reload.load.begin);
        }
    }

    /// Records what a scan has found of the versions that the server counts.
    fn count_found(&mut self, plan: &Plan, scanned: &Scanned) {
        if !self.is_countable() {
            return;
        }
        self.unseen_stored = false;
        self.unseen.found(scanned.found);
        if plan.reads_attached() {
            self.unseen.swept(scanned.late);
        }
    }

    /// Records when the rows of a scan were detected.
    pub fn detected(&mut self, scanned: &Scanned) {
        if scanned.rows > 0 {
            self.detection.record(scanned.detected_at);
        }
    }

    /// Records the next chunk of this load. It was read in a snapshot with this end, up to this
    /// key; `None` when it was the last chunk.
    pub fn loaded(&mut self, load: Load, xid_end: Xid, until: Option<Vec<String>>) {
        self.unsaved = true;
        let begin = load.begin;
        let xid_end = load.xid_end.max(xid_end);
        let next = until.map(|values| Load {
            begin,
            xid_end,
            after: Some(Position {
                key: Some(self.table.captured.ordered_key()),
                values,
            }),
        });
        match (next, &mut self.phase, &mut self.reload) {
            (Some(load), Phase::Tailing(_), Some(reload)) => reload.load = load,
            // Its cycles have read what was written meanwhile, so there is no joining scan.
            (None, Phase::Tailing(_), _) => self.reload = None,
            (Some(load), phase, _) => *phase = Phase::Loading(load),
            (None, phase, _) => *phase = Phase::Joining(Joined { begin, xid_end }),
        }
    }

    /// The load whose next chunk is due: the first one, or the one beside the polls.
    pub fn due_load(&self) -> Option<&Load> {
        if self.control.paused {
            return None;
        }
        match &self.phase {
            Phase::Loading(load) => Some(load),
            Phase::Joining(_) => None,
            Phase::Tailing(_) => {
                let reload = self.reload.as_ref().filter(|reload| reload.started)?;
                Some(&reload.load)
            }
        }
    }

    /// The tables below it whose rows a chunk leaves out.
    pub fn left_out_of_chunks(&self) -> Vec<u32> {
        let without = self.reload.iter().flat_map(|reload| &reload.without);
        self.attached.iter().chain(without).copied().collect()
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

/// False when nothing new can be visible: the snapshot's text is the same and no holder has ended.
fn moved(last: &Activity, now: &Activity) -> bool {
    last.snapshot != now.snapshot || last.holders.keys().any(|id| !now.holders.contains_key(id))
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
