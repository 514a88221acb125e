//! An entry of the log: the one thing that makes data files and the offsets they cover durable
//! together.
//!
//! Stored as `_log/<seq>.json`, numbered from 1 without a gap, and never changed. Paths in it are
//! relative to the table's folder.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use inlet_model::{Fingerprint, KafkaPartition, Offset, ProgressDelta, TableName, TableSchema};
use serde::{Deserialize, Serialize};

use super::naming::ColumnNames;
use super::numbering::Numbering;
use super::repaired::Repaired;
use crate::files::ColumnStatistics;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The number of the entry, which is also its name.
    pub seq: u64,
    /// Chosen by the writer before it commits: tells its own entry from another one when an answer
    /// is lost.
    pub commit_id: String,
    /// The writer, as in the names of its lock and its staging files.
    pub writer: String,
    /// The time of the commit by the writer's clock; shown, never compared.
    pub committed_at: DateTime<Utc>,
    pub table: TableName,
    /// The schemas of the files, by fingerprint, except those that an earlier entry names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schemas: BTreeMap<Fingerprint, TableSchema>,
    /// The schema of the rows that were found last; none without rows, and in what 0.1.0 stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<LatestSchema>,
    /// Names of columns in files that this entry changes; see `commit/naming`.
    #[serde(default, skip_serializing_if = "ColumnNames::is_empty")]
    pub names: ColumnNames,
    /// The key of the date_partition folders, in the first entry that has files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_key: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<DataFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<DataFile>,
    /// Files of earlier entries whose rows are in the files of this one; see `commit/replace`.
    /// Such an entry has no rows of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<ReplacedFile>,
    /// Files of earlier entries that leave, because they are older than the table keeps; see
    /// `commit/expire`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired: Option<Expired>,
    /// The offsets that the rows and the rejected rows cover.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub offsets: BTreeMap<KafkaPartition, Covered>,
    /// The offsets of rows that a repair brought.
    #[serde(default, skip_serializing_if = "Repaired::is_empty")]
    pub repaired: Repaired,
    /// The kafka_partitions that the writer takes over, with their new epochs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acquired: BTreeMap<KafkaPartition, u64>,
    /// Who numbers the rows, in every entry that takes kafka_partitions over; 0.1.0 stored none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numbering: Option<Numbering>,
    #[serde(default, skip_serializing_if = "is_empty")]
    pub progress: ProgressDelta,
    /// Rows in `files`; 0 where they replace others.
    pub rows: u64,
    /// Rows in `quarantine`; 0 where they replace others.
    pub quarantined: u64,
}

/// Files that leave together, with their rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Expired {
    /// The date_partition; none for rejected rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// An empty file that exists until they have left.
    pub staged: String,
    pub files: Vec<ReplacedFile>,
}

/// A file that readers no longer see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplacedFile {
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
}

/// The schema of the rows that a poll found last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LatestSchema {
    /// Server time of the snapshot that found them, microseconds since 1970-01-01 UTC.
    pub detected_at: i64,
    pub fingerprint: Fingerprint,
}

impl LatestSchema {
    /// The later one. Rows of one kafka_partition may arrive after newer rows of another one, so
    /// the time decides and not the order of the entries; at the same time the order does.
    pub fn later(earlier: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (earlier, other) {
            (Some(one), Some(two)) if two.detected_at < one.detected_at => Some(one),
            (one, two) => two.or(one),
        }
    }
}

/// A file of an entry, and the invisible name under which it waits to be published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataFile {
    /// The place where readers find it.
    pub path: String,
    /// The place where it was written.
    pub staged: String,
    pub rows: u64,
    pub bytes: u64,
    /// Its date_partition; null for rows without a date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<String>,
    /// The schema of its rows; none for rejected rows, and in what 0.1.0 stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Fingerprint>,
    /// Bytes of the metadata in its footer when it was written: the bytes before it never change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footer: Option<u32>,
    /// How often its rows were merged into a larger file; 0 for the file of a commit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub level: u32,
    /// Statistics by the names of its schema.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, ColumnStatistics>,
}

/// The offsets of a kafka_partition that an entry covers, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Covered {
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
    pub fn new(table: &TableName, writer: &str, commit_id: &str) -> Self {
        Self {
            seq: 0,
            commit_id: commit_id.to_owned(),
            writer: writer.to_owned(),
            committed_at: Utc::now(),
            table: table.clone(),
            schemas: BTreeMap::new(),
            latest: None,
            names: ColumnNames::default(),
            date_key: None,
            files: Vec::new(),
            quarantine: Vec::new(),
            replaced: Vec::new(),
            expired: None,
            offsets: BTreeMap::new(),
            repaired: Repaired::default(),
            acquired: BTreeMap::new(),
            numbering: None,
            progress: ProgressDelta::default(),
            rows: 0,
            quarantined: 0,
        }
    }

    /// The files that readers no longer see after this entry.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        let expired = self.expired.iter().flat_map(|of| &of.files);
        let left = self.replaced.iter().chain(expired);
        left.map(|file| file.path.as_str())
    }

    /// The entry as it is stored.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry of strings and numbers is JSON")
    }

    /// Reads a stored entry; the error explains why it is unreadable.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        // A power cut may keep the name of a file and lose its bytes.
        if bytes.is_empty() {
            return Err("it is empty, as after a power cut".to_owned());
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// The table of a stored entry, without reading the rest of it.
    pub fn decode_table(bytes: &[u8]) -> Option<TableName> {
        #[derive(Deserialize)]
        struct OfTable {
            table: TableName,
        }
        serde_json::from_slice::<OfTable>(bytes)
            .ok()
            .map(|found| found.table)
    }
}

fn is_empty(delta: &ProgressDelta) -> bool {
    delta.0.is_empty()
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(level: &u32) -> bool {
    *level == 0
}

#[cfg(test)]
mod tests {
    use inlet_model::{Column, ColumnType, Scalar};
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn statistics() -> impl Strategy<Value = ColumnStatistics> {
        let bounds = (option::of(".*"), option::of(".*"));
        (any::<[u64; 2]>(), option::of(any::<u64>()), bounds).prop_map(
            |([values, bytes], nulls, (min, max))| ColumnStatistics {
                values,
                nulls,
                bytes,
                min,
                max,
            },
        )
    }

    fn file() -> impl Strategy<Value = DataFile> {
        let place = (".*", ".*", any::<u64>(), any::<u64>(), option::of(".*"));
        let schema = option::of(any::<u64>().prop_map(Fingerprint));
        let columns = btree_map(".*", statistics(), 0..3);
        (place, schema, option::of(any::<u32>()), 0..3_u32, columns).prop_map(
            |((path, staged, rows, bytes, date), schema, footer, level, columns)| DataFile {
                path,
                staged,
                rows,
                bytes,
                date,
                schema,
                footer,
                level,
                columns,
            },
        )
    }

    fn replaced() -> impl Strategy<Value = ReplacedFile> {
        (".*", any::<u64>(), any::<u64>()).prop_map(|(path, rows, bytes)| ReplacedFile {
            path,
            rows,
            bytes,
        })
    }

    fn expired() -> impl Strategy<Value = Expired> {
        let files = vec(replaced(), 0..3);
        (option::of(".*"), ".*", files).prop_map(|(date, staged, files)| Expired {
            date,
            staged,
            files,
        })
    }

    fn covered() -> impl Strategy<Value = Covered> {
        (0..i64::MAX, 0..i64::MAX, any::<u64>(), any::<u64>()).prop_map(
            |(from, next, epoch, sequence)| Covered {
                from: Offset(from),
                next: Offset(next),
                epoch,
                sequence,
            },
        )
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let partition = || (0..=i32::MAX).prop_map(KafkaPartition);
        let of_files = (
            vec(file(), 0..4),
            vec(file(), 0..2),
            vec(replaced(), 0..3),
            option::of(".*"),
            option::of(expired()),
        );
        let of_log = (
            btree_map(partition(), covered(), 0..4),
            btree_map(partition(), any::<u64>(), 0..4),
            btree_map(".*", option::of(".*"), 0..4),
            option::of(prop_oneof![Just(Numbering::Topic), Just(Numbering::Local)]),
        );
        let of_writer = (".*", ".*", ".*", any::<u64>(), any::<bool>());
        let counts = (any::<u64>(), any::<u64>(), 0..4_000_000_000_i64);
        (of_files, of_log, of_writer, counts).prop_map(|(files, log, writer, counts)| {
            let table = TableName::new("public", writer.2);
            let mut entry = Entry::new(&table, &writer.0, &writer.1);
            entry.seq = writer.3;
            if writer.4 {
                let id = Column {
                    name: "id".to_owned(),
                    column_type: ColumnType::Scalar(Scalar::Decimal {
                        precision: 10,
                        scale: 2,
                    }),
                    postgres_type: "numeric(10,2)".to_owned(),
                    as_text: false,
                    not_null: true,
                    generated: false,
                    number: None,
                };
                let schema = TableSchema::new(table.clone(), vec![id], vec![0]);
                let fingerprint = schema.fingerprint();
                entry.latest = Some(LatestSchema {
                    detected_at: counts.2,
                    fingerprint,
                });
                entry.schemas.insert(fingerprint, schema);
            }
            (
                entry.files,
                entry.quarantine,
                entry.replaced,
                entry.date_key,
                entry.expired,
            ) = files;
            (entry.offsets, entry.acquired) = (log.0, log.1);
            entry.progress = ProgressDelta(log.2);
            entry.numbering = log.3;
            (entry.rows, entry.quarantined) = (counts.0, counts.1);
            entry.committed_at = DateTime::from_timestamp(counts.2, 123_456_000).unwrap();
            entry
        })
    }

    #[test]
    fn entries_of_other_versions_are_read() {
        let of_first = r#"{"seq":7,"commit_id":"c","writer":"w","committed_at":"2026-11-20T00:00:00Z","table":{"schema":"public","name":"orders"},"files":[{"path":"date=2026-11-20/0-00000000000000000000-1.parquet","staged":"_staging/w.0.staged","rows":3,"bytes":900,"date":"2026-11-20"}],"rows":3,"quarantined":0}"#;
        let read = Entry::decode(of_first.as_bytes()).unwrap();
        let file = DataFile {
            path: "date=2026-11-20/0-00000000000000000000-1.parquet".to_owned(),
            staged: "_staging/w.0.staged".to_owned(),
            rows: 3,
            bytes: 900,
            date: Some("2026-11-20".to_owned()),
            ..DataFile::default()
        };
        assert_eq!(read.files, [file]);
        assert_eq!(
            read.encode(),
            of_first.as_bytes(),
            "and written as they were"
        );

        let of_later = of_first
            .replace(
                r#""rows":3,"bytes""#,
                r#""deletes":{"path":"x"},"rows":3,"bytes""#,
            )
            .replace(r#""quarantined":0"#, r#""quarantined":0,"merged":[1,2]"#);
        assert_eq!(Entry::decode(of_later.as_bytes()), Ok(read));
    }

    proptest! {
        #[test]
        fn an_entry_reads_back(entry in entry()) {
            let bytes = entry.encode();
            prop_assert_eq!(Entry::decode_table(&bytes), Some(entry.table.clone()));
            prop_assert_eq!(Entry::decode(&bytes), Ok(entry));
        }

        #[test]
        fn a_torn_entry_is_unreadable(entry in entry(), part in 0.0..1.0_f64) {
            let bytes = entry.encode();
            let torn = &bytes[..(bytes.len() as f64 * part) as usize];
            prop_assert!(Entry::decode(torn).is_err());
        }
    }
}
