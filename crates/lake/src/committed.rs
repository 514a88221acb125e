//! What a commit did: for the log line, the metrics and the group's offsets.

use std::time::Duration;

use inlet_model::Offsets;

use crate::commit::Entry;

/// What a commit made durable and visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The number of the log's entry.
    pub seq: u64,
    /// Rows that became visible.
    pub rows: u64,
    /// Rows that went to quarantine.
    pub quarantined: u64,
    /// The number of data files.
    pub files: u64,
    /// The size of the data files.
    pub bytes: u64,
    /// The next offset to read of every covered kafka_partition.
    pub offsets: Offsets,
    /// The time from the poll that found its newest row to the commit; `None` without rows.
    pub freshness: Option<Duration>,
}

impl Committed {
    /// A commit that had nothing to write; the log still ends at `seq`.
    pub(crate) fn nothing(seq: u64) -> Self {
        Self {
            seq,
            rows: 0,
            quarantined: 0,
            files: 0,
            bytes: 0,
            offsets: Offsets::new(),
            freshness: None,
        }
    }

    pub(crate) fn of(entry: &Entry) -> Self {
        let next = entry
            .offsets
            .iter()
            .map(|(partition, covered)| (*partition, covered.next));
        Self {
            seq: entry.seq,
            rows: entry.rows,
            quarantined: entry.quarantined,
            files: entry.files.len() as u64,
            bytes: entry.files.iter().map(|file| file.bytes).sum(),
            offsets: next.collect(),
            freshness: None,
        }
    }
}
