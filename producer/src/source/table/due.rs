//! What a table needs next: the scan that is due, and the chunk of its load.

use std::sync::Arc;

use inlet_postgres::{Floor, ServerTime};

use super::super::activity::Activity;
use super::super::bounds::{ScanBounds, scan_bounds};
use super::super::phase::{Load, Phase};
use super::super::plan::{Bounds, Plan};
use super::PolledTable;

impl PolledTable {
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
}

/// False when nothing new can be visible: the snapshot's text is the same and no holder has ended.
fn moved(last: &Activity, now: &Activity) -> bool {
    last.snapshot != now.snapshot || last.holders.keys().any(|id| !now.holders.contains_key(id))
}
