//! What commits have brought, for readers that follow the log.
//!
//! The rows of a commit are those of its offsets. A merge moves rows to another file and keeps
//! their offsets, so they are looked for in the files that readers see now: in its own files as
//! long as these exist, in a merged one afterwards.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use chrono::{DateTime, Utc};
use inlet_model::change::{KAFKA_PARTITION, OFFSET};
use inlet_model::{KafkaPartition, Offset, OffsetRange, TableSchema};

use crate::commit::{Covered, Entries, Entry, Head, LakeFile, has_entry};
use crate::error::LakeError;
use crate::files::{ColumnStatistics, Store};
use crate::reader::TableReader;

/// An entry of the log, as far as a reader of its rows needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The number of the entry.
    pub seq: u64,
    /// The time of the commit by the writer's clock.
    pub committed_at: DateTime<Utc>,
    /// Rows that became visible; 0 for an entry that merges or removes files.
    pub rows: u64,
    offsets: BTreeMap<KafkaPartition, OffsetRange>,
}

/// Rows of commits from one data file.
#[derive(Debug)]
pub struct CommittedRows {
    /// The table as it was when they were read.
    pub schema: Arc<TableSchema>,
    /// Its columns and the change columns.
    pub rows: RecordBatch,
    /// The commit of each row, as its position among those that were asked for.
    pub commits: Vec<usize>,
}

impl Commit {
    fn of(entry: &Entry) -> Self {
        let range = |(partition, covered): (&KafkaPartition, &Covered)| {
            let range = OffsetRange {
                from: covered.from,
                next: covered.next,
            };
            (*partition, range)
        };
        Self {
            seq: entry.seq,
            committed_at: entry.committed_at,
            rows: entry.rows,
            offsets: entry.offsets.iter().map(range).collect(),
        }
    }

    fn holds(&self, partition: KafkaPartition, offset: Offset) -> bool {
        let range = self.offsets.get(&partition);
        range.is_some_and(|range| (range.from..range.next).contains(&offset))
    }
}

impl TableReader {
    /// True when the log has an entry of this number. Asks for one name.
    pub fn has_entry(&self, seq: u64) -> Result<bool, LakeError> {
        let store = Store::existing(self.folder())?;
        has_entry(&store, seq)
    }

    /// The commits with rows from one entry to another one, which the log must have; no more of
    /// them once they have this many rows. Returns the entry after the last one that was read as
    /// well.
    pub fn commits(
        &self,
        entries: RangeInclusive<u64>,
        rows_max: u64,
    ) -> Result<(Vec<Commit>, u64), LakeError> {
        let store = Store::existing(self.folder())?;
        // One reader for all of them: a pack of old entries is then read once.
        let mut found = Entries::find(&store)?;
        let (mut commits, mut rows, mut next) = (Vec::new(), 0, *entries.start());
        while next <= *entries.end() && rows < rows_max {
            let commit = Commit::of(&found.expect(next)?);
            next += 1;
            if commit.rows > 0 {
                rows += commit.rows;
                commits.push(commit);
            }
        }
        Ok((commits, next))
    }

    /// The entry with which the last rows of the log start, this many of them or a few more.
    pub fn start_of_last(&self, head: &Head, rows: u64) -> Result<u64, LakeError> {
        let store = Store::existing(self.folder())?;
        let mut found = Entries::find(&store)?;
        let (mut first, mut counted) = (head.seq + 1, 0);
        while first > 1 && counted < rows {
            first -= 1;
            counted += found.expect(first)?.rows;
        }
        Ok(first)
    }

    /// Reads the rows of commits, which follow each other in the log up to the head at most. Rows
    /// that have left because of their age are left out. Fails where a file of the last commit is
    /// not visible yet, as it is within milliseconds.
    pub fn rows_of(
        &self,
        head: &Head,
        commits: &[Commit],
        mut take: impl FnMut(CommittedRows),
    ) -> Result<(), LakeError> {
        let Some(first) = commits.iter().find(|commit| commit.rows > 0) else {
            return Ok(());
        };
        // A merge would remove the files between their listing and their opening.
        let _held = self.hold();
        let latest = self.latest_schema(head).map(Arc::new);
        for file in self.files(head)? {
            if file.seq < first.seq || !may_hold(&file, commits) {
                continue;
            }
            let own = file.schema.and_then(|schema| head.schemas.get(&schema));
            let Some(schema) = own.cloned().map(Arc::new).or_else(|| latest.clone()) else {
                continue;
            };
            Self::rows_as(&file.path, Some(head), &schema, |rows| {
                if let Some((rows, commits)) = of_commits(rows, commits) {
                    take(CommittedRows {
                        schema: schema.clone(),
                        rows,
                        commits,
                    });
                }
            })?;
        }
        Ok(())
    }
}

/// False when the statistics of a file show that it has no row of these commits.
fn may_hold(file: &LakeFile, commits: &[Commit]) -> bool {
    let bound = |text: &Option<String>| text.as_ref()?.parse::<i64>().ok();
    let bounds = file.columns.get(OFFSET);
    let bounds = bounds.and_then(|ColumnStatistics { min, max, .. }| bound(min).zip(bound(max)));
    // 0.1.0 stored no statistics.
    let Some((min, max)) = bounds else {
        return true;
    };
    let mut ranges = commits.iter().flat_map(|commit| commit.offsets.values());
    ranges.any(|range| min < range.next.0 && range.from.0 <= max)
}

/// The rows of a batch that these commits have brought; `None` without one.
fn of_commits(rows: &RecordBatch, commits: &[Commit]) -> Option<(RecordBatch, Vec<usize>)> {
    let column = |name| {
        rows.column_by_name(name)
            .expect("a data file has the change columns")
    };
    let partitions = column(KAFKA_PARTITION).as_primitive::<Int32Type>().values();
    let offsets = column(OFFSET).as_primitive::<Int64Type>().values();
    let mut last = 0;
    let found = partitions.iter().zip(offsets).map(|(partition, offset)| {
        let (partition, offset) = (KafkaPartition(*partition), Offset(*offset));
        // Rows of one commit are beside each other in most files.
        if !commits[last].holds(partition, offset) {
            let holds = |commit: &Commit| commit.holds(partition, offset);
            last = commits.iter().position(holds)?;
        }
        Some(last)
    });
    // A row of no commit must not end the search for the others.
    let found: Vec<Option<usize>> = found.collect();
    let mask: BooleanArray = found.iter().map(|at| Some(at.is_some())).collect();
    if mask.true_count() == 0 {
        return None;
    }
    let kept = filter_record_batch(rows, &mask).expect("the mask has the length of the rows");
    Some((kept, found.into_iter().flatten().collect()))
}
