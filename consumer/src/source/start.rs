//! Where reading of a kafka_partition starts.

use inlet_kafka::Marks;
use inlet_model::Offset;

/// The offset that the lake waits for does not exist any more, or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing;

/// Where to start: at `next`, where the lake's log ends, or at the topic's beginning for a lake
/// that has nothing of this kafka_partition.
pub fn start(next: Option<Offset>, marks: Marks) -> Result<Offset, Missing> {
    match next {
        None => Ok(marks.low),
        // Every transaction ends with a marker, which takes an offset that no reader sees. The log
        // ends before the marker of its last transaction. So when all records have expired, the
        // topic starts one offset later; the sequence proves that it was no record.
        Some(next) if next.next() == marks.low => Ok(marks.low),
        Some(next) if next < marks.low || next > marks.end => Err(Missing),
        Some(next) => Ok(next),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARKS: Marks = Marks {
        low: Offset(10),
        end: Offset(20),
    };

    #[test]
    fn reading_starts_where_the_log_ends() {
        assert_eq!(start(Some(Offset(10)), MARKS), Ok(Offset(10)));
        assert_eq!(start(Some(Offset(20)), MARKS), Ok(Offset(20)));
    }

    #[test]
    fn an_empty_lake_starts_at_the_first_offset_that_exists() {
        assert_eq!(start(None, MARKS), Ok(Offset(10)));
    }

    #[test]
    fn reading_never_jumps_into_a_truncated_or_re_created_topic() {
        assert_eq!(start(Some(Offset(8)), MARKS), Err(Missing));
        assert_eq!(start(Some(Offset(21)), MARKS), Err(Missing));
    }

    #[test]
    fn the_marker_of_the_last_transaction_may_have_expired() {
        assert_eq!(start(Some(Offset(9)), MARKS), Ok(Offset(10)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn a_start_skips_no_offset_but_a_marker_and_lies_in_the_topic(
            next in proptest::option::of(0..60_i64),
            low in 0..40_i64,
            length in 0..20_i64,
        ) {
            let marks = Marks { low: Offset(low), end: Offset(low + length) };
            let started = start(next.map(Offset), marks);
            match (next, started) {
                (None, started) => prop_assert_eq!(started, Ok(marks.low)),
                (Some(next), Ok(start)) => {
                    prop_assert!(marks.low <= start && start <= marks.end);
                    prop_assert!(start.0 - next == 0 || (start.0 - next == 1 && start == marks.low));
                }
                (Some(next), Err(Missing)) => {
                    prop_assert!(next + 1 < low || next > low + length);
                }
            }
        }
    }
}
