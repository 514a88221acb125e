//! When an open batch is due. Pure: the clock comes by argument.

use std::time::{Duration, Instant};

/// What a batch may grow to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows, rejected ones included.
    pub rows: u64,
    /// Bytes of the data files, about.
    pub bytes: u64,
    /// Age of the first row.
    pub age: Duration,
}

/// What a batch has grown to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows, rejected ones included.
    pub rows: u64,
    /// Bytes of the data files, about.
    pub bytes: u64,
    /// When its first message came.
    pub since: Instant,
}

impl Limits {
    /// True when the batch has grown to a limit, whatever its age.
    pub fn is_full(&self, size: &Size) -> bool {
        size.rows >= self.rows || size.bytes >= self.bytes
    }

    /// When the batch has to be committed: at once when it is full.
    pub fn due(&self, size: &Size) -> Instant {
        if self.is_full(size) {
            size.since
        } else {
            size.since + self.age
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        rows: 10,
        bytes: 1000,
        age: Duration::from_secs(5),
    };

    #[test]
    fn a_batch_is_due_by_rows_bytes_or_age_whichever_comes_first() {
        let since = Instant::now();
        let due = |rows, bytes| LIMITS.due(&Size { rows, bytes, since });
        assert_eq!(due(9, 999), since + Duration::from_secs(5));
        assert_eq!(due(10, 0), since);
        assert_eq!(due(0, 1000), since);
        assert!(!LIMITS.is_full(&Size {
            rows: 9,
            bytes: 999,
            since
        }));
    }
}
