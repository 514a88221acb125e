//! Rejected rows, whole and with the reason, as JSON lines.
//!
//! Not Parquet: a reader's `**/*.parquet` enters folders whose name starts with an underscore.

use std::fs::File;
use std::io::{BufWriter, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use inlet_model::{KafkaPartition, Offset};
use serde::Serialize;

use super::error::LakeError;
use super::store::Litter;

/// A row that the lake does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Why: the rule, or the column and value.
    pub reason: String,
    /// The topic; empty without a broker.
    pub topic: String,
    /// Where it was.
    pub kafka_partition: KafkaPartition,
    /// Where it was.
    pub offset: Offset,
    /// The record's key, byte for byte.
    pub key: Option<Bytes>,
    /// The record's value, byte for byte.
    pub value: Option<Bytes>,
}

/// A line of the file. Bytes are given twice: as they are, and as text where they are UTF-8.
#[derive(Serialize)]
struct Line<'a> {
    reason: &'a str,
    topic: &'a str,
    kafka_partition: i32,
    offset: i64,
    key: Option<&'a str>,
    value: Option<&'a str>,
    key_base64: Option<String>,
    value_base64: Option<String>,
}

impl Rejected {
    fn line(&self) -> Line<'_> {
        Line {
            reason: &self.reason,
            topic: &self.topic,
            kafka_partition: self.kafka_partition.0,
            offset: self.offset.0,
            key: self
                .key
                .as_deref()
                .and_then(|bytes| std::str::from_utf8(bytes).ok()),
            value: self
                .value
                .as_deref()
                .and_then(|bytes| std::str::from_utf8(bytes).ok()),
            key_base64: self.key.as_deref().map(|bytes| STANDARD.encode(bytes)),
            value_base64: self.value.as_deref().map(|bytes| STANDARD.encode(bytes)),
        }
    }
}

/// A staged file of rejected rows.
#[derive(Debug)]
pub(super) struct QuarantineFile {
    pub staged: String,
    pub first: (KafkaPartition, Offset),
    pub rows: u64,
    pub litter: Litter,
    file: BufWriter<File>,
}

impl QuarantineFile {
    pub fn new(
        staged: String,
        path: std::path::PathBuf,
        first: (KafkaPartition, Offset),
    ) -> Result<Self, LakeError> {
        let file =
            File::create_new(&path).map_err(|source| LakeError::io("creation", &path, source))?;
        Ok(Self {
            staged,
            first,
            rows: 0,
            litter: Litter::new(path),
            file: BufWriter::new(file),
        })
    }

    pub fn write(&mut self, rejected: &Rejected) -> Result<(), LakeError> {
        let mut line =
            serde_json::to_vec(&rejected.line()).expect("a line of text and numbers is JSON");
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(|source| LakeError::io("writing", &self.staged, source))?;
        self.rows += 1;
        Ok(())
    }

    /// Makes the file durable; returns its size.
    pub fn finish(&mut self) -> Result<u64, LakeError> {
        let failed = |source| LakeError::io("sync", &self.staged, source);
        self.file.flush().map_err(failed)?;
        let file = self.file.get_ref();
        file.sync_all().map_err(failed)?;
        Ok(file.metadata().map_err(failed)?.len())
    }
}
