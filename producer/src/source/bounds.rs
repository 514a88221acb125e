//! What a scan has to read: its floor and its xid bound.
//!
//! Pure. Source: docs/polling.md, "The floor".

use std::time::Duration;

use inlet_model::Xid;
use inlet_postgres::ServerTime;
use serde::{Deserialize, Serialize};

use super::activity::Activity;

/// A session publishes its times this much later than it read them from the clock, at most.
pub const PUBLICATION_GAP: Duration = Duration::from_secs(1);

/// A scan reads the rows with `cursor >= floor` and `xmin >= xid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanBounds {
    pub floor: ServerTime,
    pub xid: Xid,
}

impl ScanBounds {
    /// Bounds without any row.
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
/// Such a row was written by a transaction that was open at `last` and has ended, or by one that
/// started after `last` was read. When the server's clock was moved back, the floor is lowered by
/// the jump.
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
    // A clock that was moved back gives new rows timestamps below the last reading.
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
    use inlet_postgres::{Reading, Seen, Session};
    use proptest::prelude::*;

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
    fn a_clock_that_was_moved_back_lowers_the_floor_by_the_jump() {
        let bounds = scan_bounds(&activity(5_000, 50, &[]), &activity(2_000, 60, &[]));
        assert_eq!(bounds.floor, ServerTime(2_000 - GAP));
    }

    /// One transaction of a simulated server: when it started, got its xid and committed. Its rows
    /// carry its start as their timestamp.
    #[derive(Debug, Clone)]
    struct Simulated {
        start: i64,
        assigned: i64,
        committed: i64,
    }

    /// The simulation counts in seconds, so that the gap of publication is small beside it.
    fn time(seconds: i64) -> ServerTime {
        ServerTime(seconds * 1_000_000)
    }

    fn simulated() -> impl Strategy<Value = Simulated> {
        (0..1000_i64, 0..300_i64, 1..300_i64).prop_map(|(start, until_xid, until_commit)| {
            Simulated {
                start,
                assigned: start + until_xid,
                committed: start + until_xid + until_commit,
            }
        })
    }

    /// The xid that a transaction gets: they are given out in the order of their assignment.
    fn xid(all: &[Simulated], of: usize) -> u64 {
        let earlier =
            |(at, other): &(usize, &Simulated)| (other.assigned, *at) < (all[of].assigned, of);
        3 + all.iter().enumerate().filter(earlier).count() as u64
    }

    /// What a reading at this time shows. A transaction that is older than `patience` has received
    /// another message since its first one.
    fn reading(all: &[Simulated], at: i64, patience: i64) -> Reading {
        let is_open = |t: &Simulated| t.start <= at && at < t.committed;
        let sessions = (0..all.len()).filter(|of| is_open(&all[*of])).map(|of| {
            let t = &all[of];
            let later = t.start + patience;
            Session {
                pid: i32::try_from(of).unwrap(),
                seen: Seen::Open {
                    backend_start: ServerTime(0),
                    xact_start: Some(time(t.start)),
                    query_start: Some(time(if later < at { later } else { t.start })),
                    running: false,
                },
                xid: (t.assigned <= at).then(|| u32::try_from(xid(all, of)).unwrap()),
            }
        });
        let given = all.iter().filter(|t| t.assigned <= at).count();
        Reading {
            read_at: time(at),
            xid_end: Xid(3 + given as u64),
            snapshot: String::new(),
            backend: 1,
            sessions: sessions.collect(),
            prepared: Vec::new(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn every_version_that_committed_between_two_readings_lies_within_the_bounds(
            all in prop::collection::vec(simulated(), 1..12),
            pauses in prop::collection::vec(1..200_i64, 2..12),
            patience in 1..200_i64,
        ) {
            let mut now = 0;
            let mut last: Option<(Activity, i64)> = None;
            for pause in pauses {
                let next = now + pause;
                let reading = reading(&all, next, patience);
                let activity = Activity::next(last.as_ref().map(|(last, _)| last), &reading);
                if let Some((before, at)) = &last {
                    let bounds = scan_bounds(before, &activity);
                    let ended = |t: &Simulated| *at < t.committed && t.committed <= next;
                    for of in (0..all.len()).filter(|of| ended(&all[*of])) {
                        prop_assert!(time(all[of].start) >= bounds.floor, "{:?}", all[of]);
                        prop_assert!(Xid(xid(&all, of)) >= bounds.xid, "{:?}", all[of]);
                    }
                }
                last = Some((activity, next));
                now = next;
            }
        }

        #[test]
        fn a_holder_that_stays_open_never_moves_the_bounds(
            (read_at, xid_end, later) in (any::<i32>(), 3..1_u64 << 40, 0..1_i64 << 30),
            open in prop::collection::vec((any::<u64>(), any::<i32>(), any::<u64>()), 0..5),
        ) {
            let open: Vec<_> = open
                .into_iter()
                .map(|(id, start, bound)| (id, i64::from(start), bound))
                .collect();
            let read_at = i64::from(read_at);
            let bounds = |holders: &[(u64, i64, u64)]| {
                let last = activity(read_at, xid_end, holders);
                scan_bounds(&last, &activity(read_at + later, xid_end, holders))
            };
            prop_assert_eq!(bounds(&open), bounds(&[]));
        }
    }
}
