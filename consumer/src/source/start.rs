//! Where reading of a kafka_partition begins.

use inlet_model::Offset;

/// The offsets that a kafka_partition has at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// The first offset that still exists.
    pub low: Offset,
    /// The end of what is committed.
    pub end: Offset,
}

/// The offset that the lake waits for does not exist any more, or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// Where to begin: where the lake's log ends, or at the topic's beginning for a lake that has
/// nothing of this kafka_partition.
///
/// Every transaction ends with a marker that takes an offset and is never seen. The lake's end lies
/// before the marker of its last transaction, so a topic whose records have all expired begins one
/// further; the sequence proves that no record was there.
pub fn start(next: Option<Offset>, marks: Marks) -> Result<Offset, Gone> {
    match next {
        None => Ok(marks.low),
        Some(next) if next.next() == marks.low => Ok(marks.low),
        Some(next) if next < marks.low || next > marks.end => Err(Gone),
        Some(next) => Ok(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks {
        low: Offset(10),
        end: Offset(20),
    };

    #[test]
    fn reading_begins_where_the_log_ends() {
        assert_eq!(start(Some(Offset(10)), MARKS), Ok(Offset(10)));
        assert_eq!(start(Some(Offset(20)), MARKS), Ok(Offset(20)));
    }

    #[test]
    fn an_empty_lake_begins_at_the_first_offset_that_exists() {
        assert_eq!(start(None, MARKS), Ok(Offset(10)));
    }

    #[test]
    fn a_truncated_or_re_created_topic_is_never_jumped_into() {
        assert_eq!(start(Some(Offset(8)), MARKS), Err(Gone));
        assert_eq!(start(Some(Offset(21)), MARKS), Err(Gone));
    }

    #[test]
    fn the_marker_of_the_last_transaction_may_have_expired() {
        assert_eq!(start(Some(Offset(9)), MARKS), Ok(Offset(10)));
    }
}
