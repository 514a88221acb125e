//! An entry of the log, for people who look at it.

use chrono::{DateTime, Utc};
use inlet_model::{KafkaPartition, OffsetRange};

use crate::commit::Entry;

/// What an entry of the log did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedEntry {
    /// The time of the commit by the writer's clock.
    pub committed_at: DateTime<Utc>,
    /// The writer: process id, start time and a random part.
    pub writer: String,
    /// Rows that became visible.
    pub rows: u64,
    /// Rows that went to quarantine.
    pub quarantined: u64,
    /// Data files and files of rejected rows that it added.
    pub files: u64,
    /// Rows in all of them, also where they replace others.
    pub file_rows: u64,
    /// Files whose rows are in those files.
    pub replaced: u64,
    /// The date_partition that left, or none for rejected rows, with its files and rows.
    pub expired: Option<(Option<String>, u64, u64)>,
    /// The offsets that it covers.
    pub offsets: Vec<(KafkaPartition, OffsetRange)>,
    /// The offsets of rows that a repair brought.
    pub repaired: Vec<(KafkaPartition, OffsetRange)>,
    /// The kafka_partitions that its writer took over, with their new epochs.
    pub acquired: Vec<(KafkaPartition, u64)>,
    /// Schemas that the log did not have.
    pub schemas: u64,
    /// True when columns got other names in files.
    pub renames: bool,
    /// Parts of the poller's progress that changed.
    pub progress: u64,
}

impl LoggedEntry {
    pub(crate) fn of(entry: Entry) -> Self {
        let files = entry.files.iter().chain(&entry.quarantine);
        let range = |covered: &crate::commit::Covered| OffsetRange {
            from: covered.from,
            next: covered.next,
        };
        Self {
            files: files.clone().count() as u64,
            file_rows: files.map(|file| file.rows).sum(),
            replaced: entry.replaced.len() as u64,
            expired: entry.expired.as_ref().map(|of| {
                let rows = of.files.iter().map(|file| file.rows).sum();
                (of.date.clone(), of.files.len() as u64, rows)
            }),
            offsets: entry
                .offsets
                .iter()
                .map(|(partition, covered)| (*partition, range(covered)))
                .collect(),
            repaired: entry.repaired.ranges().collect(),
            acquired: entry.acquired.into_iter().collect(),
            schemas: entry.schemas.len() as u64,
            renames: !entry.names.is_empty(),
            progress: entry.progress.0.len() as u64,
            committed_at: entry.committed_at,
            writer: entry.writer,
            rows: entry.rows,
            quarantined: entry.quarantined,
        }
    }
}
