//! When an open batch is due. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// The size at which an open batch is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows, rejected ones included.
    pub rows: u64,
    /// The approximate size of the data files.
    pub bytes: u64,
    /// The age of the first row.
    pub age: Duration,
}

/// The size of an open batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows, rejected ones included.
    pub rows: u64,
    /// The approximate size of the data files.
    pub bytes: u64,
    /// When its first row arrived.
    pub since: Instant,
}

impl Limits {
    /// True when the batch has reached the limit of rows or bytes.
    pub fn is_full(&self, size: &Size) -> bool {
        size.rows >= self.rows || size.bytes >= self.bytes
    }

    /// The time at which the batch is committed. A full batch is due since its first row arrived,
    /// so that the oldest one goes first.
    pub fn due(&self, size: &Size) -> Instant {
        // A full batch is due since it was opened, so it goes before every batch that only waits
        // for its age.
        if self.is_full(size) {
            size.since
        } else {
            size.since + self.age
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_batch_is_due_by_rows_bytes_or_age_whichever_comes_first(
            limits in (1..20_u64, 1..20_u64, 0..100_u64),
            size in (0..40_u64, 0..40_u64),
            age in 0..200_u64,
        ) {
            let limits = Limits {
                rows: limits.0,
                bytes: limits.1,
                age: Duration::from_secs(limits.2),
            };
            let since = Instant::now();
            let size = Size { rows: size.0, bytes: size.1, since };
            let is_due = limits.due(&size) <= since + Duration::from_secs(age);
            let expected = size.rows >= limits.rows
                || size.bytes >= limits.bytes
                || Duration::from_secs(age) >= limits.age;
            prop_assert_eq!(is_due, expected);
        }

        #[test]
        fn a_batch_that_grows_is_never_due_later(
            limits in (1..20_u64, 1..20_u64),
            size in (0..40_u64, 0..40_u64),
            more in (0..9_u64, 0..9_u64),
        ) {
            let limits = Limits { rows: limits.0, bytes: limits.1, age: Duration::from_secs(5) };
            let since = Instant::now();
            let before = Size { rows: size.0, bytes: size.1, since };
            let after = Size { rows: size.0 + more.0, bytes: size.1 + more.1, since };
            prop_assert!(limits.due(&after) <= limits.due(&before));
            prop_assert!(limits.is_full(&after) || !limits.is_full(&before));
        }
    }
}
