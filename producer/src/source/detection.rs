//! The time at which versions were detected, which never goes back. Pure.
//!
//! Where a key's type is changed, its later versions may be in another kafka_partition than the
//! earlier ones, and offsets of two kafka_partitions have no order. Then `_detected_at` orders
//! them. The time of a snapshot is the server's, whose clock may be set to an earlier time, and a
//! promoted standby has another one. So the rows of a snapshot get a later time than those of all
//! snapshots before, and the last time is stored with the progress that covers its rows.

use inlet_postgres::Snapshot;

/// The latest time that rows of a table were detected at, in microseconds since 1970-01-01 UTC;
/// `None` before the first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Detection(pub Option<i64>);

impl Detection {
    /// The snapshot with the time that its rows are detected at.
    pub fn of(self, snapshot: Snapshot) -> Snapshot {
        let earliest = self.0.map_or(i64::MIN, |last| last.saturating_add(1));
        Snapshot {
            taken_at: snapshot.taken_at.max(earliest),
            ..snapshot
        }
    }

    /// Records that rows of a snapshot were emitted.
    pub fn record(&mut self, detected_at: i64) {
        assert!(
            self.0.is_none_or(|last| last < detected_at),
            "a snapshot is detected after those before it"
        );
        self.0 = Some(detected_at);
    }
}

#[cfg(test)]
mod tests {
    use inlet_model::Xid;
    use proptest::prelude::*;

    use super::*;

    fn snapshot(taken_at: i64) -> Snapshot {
        Snapshot {
            xid_end: Xid(7),
            taken_at,
        }
    }

    #[test]
    fn a_snapshot_keeps_its_time_while_the_clock_goes_on() {
        let mut detection = Detection::default();
        for taken_at in [i64::MIN, -5, 0, 10] {
            assert_eq!(detection.of(snapshot(taken_at)).taken_at, taken_at);
            detection.record(taken_at);
        }
    }

    proptest! {
        #[test]
        fn every_snapshot_is_later_than_those_before_whatever_the_clock_shows(
            times in prop::collection::vec((-20..20_i64, any::<bool>()), 1..50),
        ) {
            let mut detection = Detection::default();
            let mut detected = Vec::new();
            for (taken_at, has_rows) in times {
                let at = detection.of(snapshot(taken_at)).taken_at;
                prop_assert!(at >= taken_at);
                if has_rows {
                    detection.record(at);
                    detected.push(at);
                }
            }
            prop_assert!(detected.is_sorted_by(|a, b| a < b), "{:?}", detected);
        }
    }
}
