//! What a table records of a cycle that has been carried out.

use inlet_model::Xid;
use inlet_postgres::Floor;

use super::super::control::Repaired;
use super::super::phase::{Joined, Load, Phase, Position};
use super::super::plan::Plan;
use super::super::scan::Scanned;
use super::{PolledTable, relation};

impl PolledTable {
    /// Records a cycle that carried out the plan.
    pub fn scanned(&mut self, plan: Plan, mut scanned: Scanned) {
        let bounds = plan.bounds();
        self.published(std::mem::take(&mut scanned.keys));
        for left in std::mem::take(&mut scanned.deleted_keys) {
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
}
