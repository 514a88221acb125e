//! What a scan has to read: its floor and its xid bound.
//!
//! Pure. Source: docs/polling.md, "The floor".

use std::time::Duration;

use inlet_model::Xid;
use inlet_postgres::ServerTime;
use serde::{Deserialize, Serialize};

use super::activity::Activity;

/// Times may be published this much later than they were read from the clock.
pub const PUBLICATION_GAP: Duration = Duration::from_secs(1);

/// A scan reads the rows with `cursor >= floor` and `xmin >= xid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanBounds {
    /// The lowest timestamp.
    pub floor: ServerTime,
    /// The lowest xid.
    pub xid: Xid,
}

impl ScanBounds {
    /// Bounds that ask for nothing.
    pub const NOTHING: Self = Self {
        floor: ServerTime(i64::MAX),
        xid: Xid::MAX,
    };

    /// Bounds that ask for what either asks for.
    pub fn or(self, other: Self) -> Self {
        Self {
            floor: self.floor.min(other.floor),
            xid: self.xid.min(other.xid),
        }
    }
}

/// Bounds of the scan that follows a reading: everything that became visible since the scan after
/// `last` lies within them.
///
/// It was written by a holder of `last` that is gone now, or by a transaction that started after
/// `last` was read. A clock that was set back lowers the floor by the jump.
pub fn scan_bounds(last: &Activity, now: &Activity) -> ScanBounds {
    let ended = last
        .holders
        .iter()
        .filter(|(id, _)| !now.holders.contains_key(id))
        .map(|(_, holder)| holder);
    let started = ScanBounds {
        floor: last.read_at,
        xid: last.xid_end,
    };
    let bounds = ended.fold(started, |bounds, holder| {
        bounds.or(ScanBounds {
            floor: holder.start,
            xid: holder.xid_bound,
        })
    });
    let jump = Duration::from_micros(
        u64::try_from(last.read_at.0.saturating_sub(now.read_at.0)).unwrap_or(0),
    );
    ScanBounds {
        floor: bounds.floor.minus(PUBLICATION_GAP).minus(jump),
        ..bounds
    }
}

#[cfg(test)]
mod tests {
    use super::super::activity::{Holder, HolderId};
    use super::*;
    use std::collections::BTreeMap;

    const GAP: i64 = 1_000_000;

    fn activity(read_at: i64, xid_end: u64, holders: &[(u64, i64, u64)]) -> Activity {
        let holder = |&(id, start, bound): &(u64, i64, u64)| {
            (
                HolderId::Prepared { xid: Xid(id) },
                Holder {
                    start: ServerTime(start),
                    xid_bound: Xid(bound),
                    xidless: false,
                },
            )
        };
        let holders: BTreeMap<_, _> = holders.iter().map(holder).collect();
        Activity {
            read_at: ServerTime(read_at),
            xid_end: Xid(xid_end),
            snapshot: String::new(),
            holders,
        }
    }

    #[test]
    fn without_holders_the_scan_starts_at_the_last_reading() {
        let bounds = scan_bounds(&activity(100, 50, &[]), &activity(200, 60, &[]));
        assert_eq!(
            bounds,
            ScanBounds {
                floor: ServerTime(100 - GAP),
                xid: Xid(50)
            }
        );
    }

    #[test]
    fn a_holder_that_ended_pulls_the_floor_back_to_its_start() {
        let bounds = scan_bounds(
            &activity(100, 50, &[(1, 10, 20), (2, 30, 15)]),
            &activity(200, 60, &[]),
        );
        assert_eq!(
            bounds,
            ScanBounds {
                floor: ServerTime(10 - GAP),
                xid: Xid(15)
            }
        );
    }

    #[test]
    fn a_holder_that_is_still_open_costs_nothing() {
        let open = [(1, 10, 20)];
        let bounds = scan_bounds(&activity(100, 50, &open), &activity(200, 60, &open));
        assert_eq!(
            bounds,
            ScanBounds {
                floor: ServerTime(100 - GAP),
                xid: Xid(50)
            }
        );
    }

    #[test]
    fn a_clock_that_was_set_back_lowers_the_floor_by_the_jump() {
        let bounds = scan_bounds(&activity(5_000, 50, &[]), &activity(2_000, 60, &[]));
        assert_eq!(bounds.floor, ServerTime(2_000 - GAP));
    }
}
