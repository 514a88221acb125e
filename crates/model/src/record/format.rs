//! The interface between the formats of a topic's records and everything else.
//!
//! A format defines how rows become keys and values. The rest is the same for every format: the
//! header, the sequences, the transactions, the schemas in the control topic. So delivery is
//! exactly once whatever the format, and a format is code without I/O: an [`Encoder`] for the
//! producer and a [`Decoder`] for the consumer.
//!
//! # The contract
//!
//! 1. The header ([`super::header`]) names the [`Encoding`] of its record. The consumer reads what
//!    the header names, and no key of the configuration. So a topic may hold records of several
//!    formats, and a producer may change the format between two runs.
//! 2. A message holds one row or several. The header counts them, and its sequence is that of the
//!    first row: a message of `n` rows uses `n` sequences. A message is new as a whole or a
//!    duplicate as a whole.
//! 3. All rows of a message are of one kafka_partition, and have its offset. Offsets order the
//!    versions of a key, so a message holds at most one row of each key.
//! 4. Operation and xid in the header are those of the first row. A format with several rows a
//!    message stores both for each row in the value.
//! 5. The kafka_partition of a row follows from a key by [`partition_of`]: the row's own key, or
//!    the columns of the [`TopicKey`]. A delete has the values of its own key only, so its own key
//!    always chooses.
//! 6. [`Decoder::decode`] appends all rows of a message or none. For each row it adds one entry to
//!    [`Changes`], in the order of the rows.
//! 7. What an encoder writes, its decoder reads back to the same Arrow arrays. An unfit value
//!    ([`crate::change::UNFIT`]) is refused by the decoder, never read as null.
//!
//! Not in the contract: other programs that write a topic. They have no header and no sequences;
//! `inlet_model::record::debezium` reads those of Debezium.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{UInt8Type, UInt64Type};

use super::encoding::Encoding;
use super::json::RowError;
use super::partition::partition_of;
use super::rows::Rows;
use crate::change::ChangeBatch;
use crate::{KafkaPartition, TableName, TableSchema, Xid};

/// Rows that a row format encodes at a time: enough to pay for the call, few enough that their text
/// stays in the processor's cache.
const ROWS_AT_A_TIME: usize = 4096;

/// The columns that a user chose for the keys of a topic's messages; without any, a message has the
/// key of its row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicKey(pub Vec<String>);

impl TopicKey {
    /// Returns the positions of the columns; `None` where the key is that of the row.
    pub fn resolve(&self, schema: &TableSchema) -> Result<Option<Vec<usize>>, EncodeError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let position = |column: &String| {
            schema.resolve(column).ok_or_else(|| EncodeError::TopicKey {
                table: schema.table.clone(),
                column: column.clone(),
            })
        };
        self.0
            .iter()
            .map(position)
            .collect::<Result<_, _>>()
            .map(Some)
    }
}

/// The topic that an encoder writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The topic's name.
    pub topic: String,
    /// The columns of the keys.
    pub topic_key: TopicKey,
    /// The name of the pipeline.
    pub pipeline: String,
    /// The name of the database.
    pub database: String,
}

/// Explains why a batch cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A column of the topic's key is not in the table.
    #[error("table `{table}` has no column `{column}` for the keys of its messages")]
    TopicKey {
        /// The table of the batch.
        table: TableName,
        /// The column as the user wrote it.
        column: String,
    },
}

/// Encodes the batches of one table for its topic.
pub trait Encoder: std::fmt::Debug + Send {
    /// How many rows one call gets at most.
    fn rows_at_a_time(&self) -> usize {
        ROWS_AT_A_TIME
    }

    /// Writes the messages of a polled batch over `messages`, for a topic with this many
    /// kafka_partitions.
    fn encode(
        &mut self,
        batch: &ChangeBatch,
        kafka_partitions: u32,
        messages: &mut Messages,
    ) -> Result<(), EncodeError>;
}

/// The messages of a batch, in the order in which they are sent; the memory is used again.
#[derive(Debug, Default)]
pub struct Messages {
    /// The keys; an absent one is Kafka's null.
    pub keys: Rows,
    /// The values; an absent one is Kafka's null.
    pub values: Rows,
    /// What the headers need, one entry a message.
    pub facts: Vec<Facts>,
}

/// What the header of a message needs to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// How its value is encoded.
    pub encoding: Encoding,
    /// Where the message goes.
    pub kafka_partition: KafkaPartition,
    /// The operation of its first row.
    pub op: u8,
    /// The xid of its first row.
    pub xid: Xid,
    /// How many rows it holds, at least one.
    pub rows: u32,
}

impl Messages {
    /// Forgets the messages and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.values.clear();
        self.facts.clear();
    }

    /// Adds the messages of `other` after these.
    pub(super) fn append(&mut self, other: &Self) {
        for (message, facts) in other.facts.iter().enumerate() {
            let both = [
                (&mut self.keys, &other.keys),
                (&mut self.values, &other.values),
            ];
            for (rows, others) in both {
                rows.bytes
                    .extend_from_slice(others.get(message).unwrap_or_default());
                rows.end();
            }
            self.facts.push(*facts);
        }
    }

    /// Fills the facts of a format with one row a message, whose keys and values are encoded. The
    /// key of each message chooses its kafka_partition.
    pub(super) fn set_facts_of_rows(
        &mut self,
        encoding: Encoding,
        batch: &ChangeBatch,
        kafka_partitions: u32,
    ) {
        let columns = batch.schema.columns.len();
        let rows = batch.rows.num_rows();
        assert_eq!(
            (self.keys.len(), self.values.len()),
            (rows, rows),
            "one key and one value a row"
        );
        // The change columns follow the table's: operation, then xid.
        let ops = batch.rows.column(columns).as_primitive::<UInt8Type>();
        let xids = batch.rows.column(columns + 1).as_primitive::<UInt64Type>();
        self.facts.clear();
        for row in 0..rows {
            let key = self.keys.get(row).expect("a key is never empty");
            self.facts.push(Facts {
                encoding,
                kafka_partition: partition_of(key, kafka_partitions),
                op: ops.value(row),
                xid: Xid(xids.value(row)),
                rows: 1,
            });
        }
    }
}

/// A record as its decoder gets it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The operation in the header.
    pub op: u8,
    /// The xid in the header.
    pub xid: Xid,
    /// How many rows the header counts.
    pub rows: u32,
    /// Kafka's key.
    pub key: Option<&'a [u8]>,
    /// Kafka's value; `None` is its null.
    pub value: Option<&'a [u8]>,
}

/// Operation and xid of decoded rows.
#[derive(Debug, Default)]
pub struct Changes {
    /// The operations.
    pub ops: Vec<u8>,
    /// The xids.
    pub xids: Vec<u64>,
}

impl Changes {
    /// Appends the operation and the xid of one row.
    pub fn push(&mut self, op: u8, xid: Xid) {
        self.ops.push(op);
        self.xids.push(xid.0);
    }
}

/// Decodes the records of one schema into columns.
pub trait Decoder {
    /// The table as it was when the records were written.
    fn schema(&self) -> &Arc<TableSchema>;

    /// Appends the rows of a record, all or none, and an entry of `changes` for each; the error is
    /// the reason for which the record goes to quarantine.
    fn decode(&mut self, record: &Record<'_>, changes: &mut Changes) -> Result<(), RowError>;

    /// The rows' columns in table order, and an empty decoder.
    fn finish(&mut self) -> Vec<ArrayRef>;
}
