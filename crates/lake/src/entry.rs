//! A log entry: the one thing that makes data files and the offsets they cover durable together.
//!
//! Paths are relative to the table's folder, so that a lake can be moved or copied whole.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use inlet_model::ProgressDelta;
use inlet_model::{KafkaPartition, Offset};
use inlet_model::{TableName, TableSchema};
use serde::{Deserialize, Serialize};

use super::store::LOG;

/// One commit, `_log/<seq>.json`. Entries are numbered from 1 without a gap and never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, as in its name.
    pub seq: u64,
    /// Chosen by the writer before it commits: tells its own entry from another's when an answer
    /// was lost.
    pub commit_id: String,
    /// Who wrote it: the name of its lock and its staging files.
    pub writer: String,
    /// When it was written, by the writer's clock; shown, never compared.
    pub committed_at: DateTime<Utc>,
    /// The table that the folder holds.
    pub table: TableName,
    /// The schemas of the files that no entry before named, by fingerprint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schemas: BTreeMap<String, TableSchema>,
    /// The key of the date_partition folders, in the first entry that has files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_key: Option<String>,
    /// Data files that become visible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<DataFile>,
    /// Files of rejected rows that become visible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<DataFile>,
    /// What the rows and rejected rows cover.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub offsets: BTreeMap<KafkaPartition, Covered>,
    /// Kafka_partitions that the writer takes, with their new epoch.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acquired: BTreeMap<KafkaPartition, u64>,
    /// Parts of the poller's progress that this commit sets or removes.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub progress: ProgressDelta,
    /// Rows in `files`.
    pub rows: u64,
    /// Rows in `quarantine`.
    pub quarantined: u64,
}

/// A file of an entry, and the invisible name under which it waits to be published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Where readers find it.
    pub path: String,
    /// Where it was written.
    pub staged: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its date_partition; null for the rows without a date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
}

/// The offsets of a kafka_partition that an entry covers, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// The first offset covered: where the log ended.
    pub from: Offset,
    /// The next offset to read.
    pub next: Offset,
    /// The epoch under which the writer owned the kafka_partition.
    pub epoch: u64,
    /// The sequence that the next record must carry.
    pub sequence: u64,
}

impl Entry {
    /// An entry that changes nothing yet.
    pub(super) fn new(table: &TableName, writer: &str, commit_id: &str) -> Self {
        Self {
            seq: 0,
            commit_id: commit_id.to_owned(),
            writer: writer.to_owned(),
            committed_at: Utc::now(),
            table: table.clone(),
            schemas: BTreeMap::new(),
            date_key: None,
            files: Vec::new(),
            quarantine: Vec::new(),
            offsets: BTreeMap::new(),
            acquired: BTreeMap::new(),
            progress: ProgressDelta::default(),
            rows: 0,
            quarantined: 0,
        }
    }

    /// Its place in the table's folder.
    pub(super) fn name(seq: u64) -> String {
        format!("{LOG}/{seq:020}.json")
    }

    /// Data files and quarantine files: what has to be published.
    pub fn published(&self) -> impl Iterator<Item = &DataFile> {
        self.files.iter().chain(&self.quarantine)
    }
}

fn is_empty(delta: &ProgressDelta) -> bool {
    delta.0.is_empty()
}
