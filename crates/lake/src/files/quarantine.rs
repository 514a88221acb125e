//! Rejected rows, whole and with the reason, as JSON lines.
//!
//! They are not Parquet, because a reader's `**/*.parquet` enters folders whose name starts with an
//! underscore. Key and value are stored as base64, exactly, and as text where they are UTF-8, for
//! people.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use inlet_model::{KafkaPartition, Offset};
use serde::{Deserialize, Serialize};

use super::opened::Opened;
use super::store::{StagedPath, Store};
use crate::error::{LakeError, READING};

/// The fields of a line and their types in DuckDB's SQL.
pub const COLUMNS: [(&str, &str); 8] = [
    ("reason", "VARCHAR"),
    ("topic", "VARCHAR"),
    ("kafka_partition", "INTEGER"),
    ("offset", "BIGINT"),
    ("key", "VARCHAR"),
    ("value", "VARCHAR"),
    ("key_base64", "VARCHAR"),
    ("value_base64", "VARCHAR"),
];

/// A row that the lake rejects: a rule is false for it, or it cannot be decoded or stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The broken rules, or the column and value that do not fit.
    pub reason: String,
    /// The topic; empty without a broker.
    pub topic: String,
    /// The kafka_partition of the record.
    pub kafka_partition: KafkaPartition,
    /// The offset of the record.
    pub offset: Offset,
    /// The record's key, byte for byte.
    pub key: Option<Bytes>,
    /// The record's value, byte for byte.
    pub value: Option<Bytes>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    reason: String,
    topic: String,
    kafka_partition: KafkaPartition,
    offset: Offset,
    key: Option<String>,
    value: Option<String>,
    key_base64: Option<String>,
    value_base64: Option<String>,
}

impl Rejected {
    /// The row as a line of the file, with its line break.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let text = |bytes: &Option<Bytes>| {
            let bytes = bytes.as_deref()?;
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        };
        let base64 = |bytes: &Option<Bytes>| bytes.as_deref().map(|bytes| STANDARD.encode(bytes));
        let line = Line {
            reason: self.reason.clone(),
            topic: self.topic.clone(),
            kafka_partition: self.kafka_partition,
            offset: self.offset,
            // Readable text is for people; the base64 form holds the exact bytes, also those that
            // are not UTF-8.
            key: text(&self.key),
            value: text(&self.value),
            key_base64: base64(&self.key),
            value_base64: base64(&self.value),
        };
        let mut bytes = serde_json::to_vec(&line).expect("a line of text and numbers is JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a line of the file.
    pub(crate) fn decode(line: &str) -> Result<Self, String> {
        let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let bytes = |base64: Option<String>| {
            base64
                .map(|base64| STANDARD.decode(base64).map(Bytes::from))
                .transpose()
                .map_err(|error| error.to_string())
        };
        Ok(Self {
            reason: line.reason,
            topic: line.topic,
            kafka_partition: line.kafka_partition,
            offset: line.offset,
            key: bytes(line.key_base64)?,
            value: bytes(line.value_base64)?,
        })
    }
}

/// Reads the rows of a published file of rejected rows.
pub(crate) fn read(path: &Path, mut take: impl FnMut(Rejected)) -> Result<(), LakeError> {
    let failed = |source| LakeError::io(READING, path, source);
    let file = Opened::open(path).and_then(|file| file.reader(0));
    for line in BufReader::new(file.map_err(failed)?).lines() {
        let rejected = Rejected::decode(&line.map_err(failed)?).map_err(|reason| {
            failed(std::io::Error::new(std::io::ErrorKind::InvalidData, reason))
        })?;
        take(rejected);
    }
    Ok(())
}

/// A staged file of rejected rows.
#[derive(Debug)]
pub(super) struct QuarantineFile {
    pub staged: String,
    pub first: (KafkaPartition, Offset),
    pub rows: u64,
    pub path: StagedPath,
    file: BufWriter<File>,
}

impl QuarantineFile {
    pub fn new(
        store: &Store,
        staged: String,
        first: (KafkaPartition, Offset),
    ) -> Result<Self, LakeError> {
        let (file, path) = store.stage(&staged)?;
        Ok(Self {
            staged,
            first,
            rows: 0,
            path,
            file: BufWriter::new(file),
        })
    }

    pub fn write(&mut self, rejected: &Rejected) -> Result<(), LakeError> {
        self.file
            .write_all(&rejected.encode())
            .map_err(|source| LakeError::io("writing", &self.staged, source))?;
        self.rows += 1;
        Ok(())
    }

    /// Makes the file durable; returns its size.
    pub fn finish(&mut self, store: &Store) -> Result<u64, LakeError> {
        let failed = |source| LakeError::io("sync", &self.staged, source);
        self.file.flush().map_err(failed)?;
        let file = self.file.get_ref();
        let second = file.try_clone().map_err(failed)?;
        // The bytes are durable before the entry names the file.
        store.make_durable(&[(&self.staged, second)])?;
        Ok(file.metadata().map_err(failed)?.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_rejected_row_reads_back_byte_for_byte(
            reason in ".*", topic in ".*", partition in 0..=i32::MAX, offset in 0..=i64::MAX,
            key in option::of(vec(any::<u8>(), 0..40)),
            value in option::of(vec(any::<u8>(), 0..40)),
        ) {
            let rejected = Rejected {
                reason,
                topic,
                kafka_partition: KafkaPartition(partition),
                offset: Offset(offset),
                key: key.map(Bytes::from),
                value: value.map(Bytes::from),
            };
            let line = String::from_utf8(rejected.encode()).unwrap();
            prop_assert_eq!(line.matches('\n').count(), 1, "one line a row");
            prop_assert_eq!(Rejected::decode(&line), Ok(rejected));
        }
    }

    #[test]
    fn a_line_has_the_fields_that_readers_know() {
        let rejected = Rejected {
            reason: "amount >= 0".to_owned(),
            topic: "orders".to_owned(),
            kafka_partition: KafkaPartition(1),
            offset: Offset(7),
            key: Some(Bytes::from_static(b"{}")),
            value: Some(Bytes::from_static(&[0xff])),
        };
        assert_eq!(
            String::from_utf8(rejected.encode()).unwrap(),
            "{\"reason\":\"amount >= 0\",\"topic\":\"orders\",\"kafka_partition\":1,\"offset\":7,\
             \"key\":\"{}\",\"value\":null,\"key_base64\":\"e30=\",\"value_base64\":\"/w==\"}\n"
        );
        let line: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&rejected.encode()).unwrap();
        let names: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
        assert!(names.iter().all(|name| line.contains_key(*name)) && line.len() == names.len());
    }
}
