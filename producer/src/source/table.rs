//! What the poller knows about one table between two cycles.
//!
//! Pure. All of it follows from the last durable cycle: a restart is only a later next cycle.

use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use inlet_model::ProgressDelta;
use inlet_model::TableName;
use inlet_model::Xid;
use inlet_postgres::Captured;
use inlet_postgres::server::Identity;
use inlet_postgres::{Floor, Reading, ServerTime, Table};

use super::activity::Activity;
use super::bounds::{ScanBounds, scan_bounds};
use super::coverage::Coverage;
use super::phase::{Joined, Load, Phase, Position};
use super::plan::{Bounds, Plan};
use super::progress::{Parts, Relation, Stored};
use super::scan::Scanned;
use super::tiers::{Slack, Tier, Tiers};

#[derive(Debug, Clone)]
pub struct PolledTable {
    /// Its configuration, and its columns, key and cursor as of the last reading of the catalog.
    pub table: Table,
    /// The time zone of its cursor's wall clock.
    pub zone: Tz,
    /// How far it is.
    pub phase: Phase,
    /// What each depth of scan has pending.
    pub tiers: Tiers,
    /// Which versions were emitted.
    pub coverage: Coverage,
    /// Attached tables whose rows are not read yet, though they may be older than everything that
    /// the polls ask for.
    pub attached: Vec<u32>,
    /// The rows that PostgreSQL expected in it when its load started or resumed.
    pub expected_rows: Option<u64>,
    /// True when a restart from the durable progress would emit rows again.
    pub unsaved: bool,
    /// The relation as the durable progress contains it.
    stored: Option<Relation>,
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
        let mut coverage = before.map(|stored| stored.coverage).unwrap_or_default();
        coverage.forget();
        Self {
            zone,
            phase: Phase::Loading(Load::starting(begin)),
            tiers: Tiers::new(tiers(&table.captured, depths), now),
            coverage,
            attached: Vec::new(),
            expected_rows: None,
            unsaved: false,
            stored: None,
            table,
        }
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
        let mut tiers = Tiers::new(tiers(&table.captured, depths), now);
        tiers.restore(&stored.pending, &stored.scans);
        let mut resumed = Self {
            table,
            zone,
            phase: stored.phase,
            tiers,
            coverage: stored.coverage,
            attached,
            expected_rows: None,
            unsaved: false,
            stored: stored.relation,
        };
        // A relation that changed while the service was down is stored with the next checkpoint,
        // also without new rows.
        resumed.unsaved = resumed.stored.as_ref() != Some(&resumed.relation());
        // Sessions that end before their first checkpoint would otherwise delay the sweep for ever.
        resumed.unsaved |= has_no_scans;
        resumed
    }

    pub fn name(&self) -> &TableName {
        &self.table.captured.schema.table
    }

    /// The xid below which it may have seen every transaction end.
    pub fn xid_end(&self) -> Xid {
        // A scan's snapshot is younger than its activity, so it may have emitted a later xid.
        self.phase.xid_end().max(self.coverage.xid_end())
    }

    /// Starts over from an earlier moment, because the stored xids belong to another lineage: all
    /// rows from `span` before the last scan become pending for every tier. A table that has not
    /// joined the cycles is loaded again from `begin`.
    pub fn rewind(&mut self, span: Duration, begin: Xid, reading: &Reading) {
        self.coverage.forget();
        // The next start may come when the server's xids have passed the stored ones again, and
        // could not tell. So the first checkpoint stores the new lineage, also without rows.
        self.unsaved = true;
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
    }

    /// What this table needs after a reading; `None` when nothing can be new, or it is not due.
    pub fn plan(&self, activity: &Arc<Activity>) -> Option<Plan> {
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
        let depth = if self.attached.is_empty() {
            tiers.due(now)?
        } else {
            // An attached table is read beside the deepest scan, which needs something to read.
            tiers.add(ScanBounds {
                floor: now,
                xid: activity.xid_end,
            });
            tiers.deepest()
        };
        let (floor, xid) = tiers.bounds(depth);
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

    /// What of the table was read, or will be read by scans that are already pending.
    fn relation(&self) -> Relation {
        let captured = &self.table.captured;
        let descendants = captured.descendants.iter().map(|table| table.oid);
        let columns = captured.schema.columns.iter().map(|column| &column.name);
        Relation {
            oid: captured.oid,
            descendants: descendants
                .filter(|oid| !self.attached.contains(oid))
                .collect(),
            columns: captured
                .numbers
                .iter()
                .copied()
                .zip(columns.cloned())
                .collect(),
        }
    }

    /// Records a cycle that carried out the plan.
    pub fn scanned(&mut self, plan: Plan, scanned: &Scanned) {
        let bounds = plan.bounds();
        // A scan without rows only moves the floor. A restart without it reads a little more and
        // emits the same rows.
        self.unsaved |= scanned.rows > 0;
        if plan.reads_attached() {
            self.unsaved |= !self.attached.is_empty();
            self.attached.clear();
        }
        let activity = match plan {
            Plan::Join { activity, .. } => {
                self.unsaved = true;
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
        self.coverage
            .add(bounds.floor.unwrap_or(Floor::MIN), &scanned.returned);
        // No later scan asks for xids below both bounds, so their coverage is not needed any more.
        self.coverage
            .prune(activity.xid_bound().min(self.tiers.xid_bound()));
        self.phase = Phase::Tailing(activity);
    }

    /// Records the next chunk of this load. It was read in a snapshot with this end, up to this
    /// key; `None` when it was the last chunk.
    pub fn loaded(&mut self, load: Load, xid_end: Xid, until: Option<Vec<String>>) {
        self.unsaved = true;
        let begin = load.begin;
        let xid_end = load.xid_end.max(xid_end);
        self.phase = match until {
            Some(values) => Phase::Loading(Load {
                begin,
                xid_end,
                after: Some(Position {
                    key: Some(self.table.captured.ordered_key()),
                    values,
                }),
            }),
            None => Phase::Joining(Joined { begin, xid_end }),
        };
    }

    /// The changes to the stored progress. The caller makes them durable.
    pub fn take_delta(&mut self, identity: &Identity) -> ProgressDelta {
        self.unsaved = false;
        let relation = self.relation();
        let is_new = self.stored.as_ref() != Some(&relation);
        let parts = Parts {
            identity,
            relation: is_new.then_some(&relation),
            phase: &self.phase,
            pending: self.tiers.pending(),
            scans: self.tiers.last_scans(),
            cursor: self.table.captured.cursor_name(),
        };
        let delta = parts.encode(self.coverage.take_delta());
        // The caller either makes the delta durable or throws the poll away, so this may count as
        // stored.
        self.stored = Some(relation);
        delta
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
