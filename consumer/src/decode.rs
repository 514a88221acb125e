//! A slab of messages -> batches of changes with their position, and rejected messages with the
//! reason.
//!
//! Every message becomes its rows or is rejected, whole and in order. A message is rejected when it
//! lacks Inlet's header, names an unknown schema or another table, or has a value that does not
//! read back exactly. What a value means is the format's part (`inlet_model::record::format`).
//! Budget: that of the format and 30 ns; no allocation per row.

mod debezium;
mod ours;
mod run;

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use bytes::Bytes;
use inlet_model::change::{ChangeBatch, polled_schema};
use inlet_model::record::Rows;
use inlet_model::record::debezium::Declared;
use inlet_model::record::json::{encode_keys, encode_values};
use inlet_model::{Fingerprint, TableName, TableSchema};

use crate::error::ConsumerError;
use crate::source::{Message, Slab};
use debezium::DebeziumDecoders;
use inlet_lake::Rejected;
use ours::OurDecoders;

/// The decoders of one table's messages, which live from slab to slab.
#[derive(Debug)]
pub enum Decoders {
    /// Of our producer.
    Ours(OurDecoders),
    /// Of Debezium's connector.
    Debezium(DebeziumDecoders),
}

impl Decoders {
    /// `debezium` is set for a topic that Debezium's connector writes.
    pub fn new(table: TableName, debezium: Option<Declared>) -> Self {
        match debezium {
            None => Self::Ours(OurDecoders::new(table)),
            Some(declared) => Self::Debezium(DebeziumDecoders::new(table, declared)),
        }
    }

    /// Decodes the messages of `slab` whose numbers are `kept`.
    pub fn decode(
        &mut self,
        slab: &Slab,
        kept: &[u32],
        schema: impl Fn(Fingerprint) -> Option<Arc<TableSchema>>,
    ) -> Result<Decoded, ConsumerError> {
        match self {
            Self::Ours(decoders) => Ok(decoders.decode(slab, kept, schema)),
            Self::Debezium(decoders) => decoders.decode(slab, kept),
        }
    }
}

/// The content of a slab.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Runs of rows of one schema, in the messages' order.
    pub batches: Vec<DecodedBatch>,
    /// Messages that could not be decoded.
    pub rejected: Vec<Rejected>,
    /// How many messages are in the batches; one may have several rows.
    messages: usize,
}

/// Consecutive rows of one schema.
#[derive(Debug)]
pub struct DecodedBatch {
    /// The rows, with their position.
    pub changes: ChangeBatch,
    /// The message of each row.
    pub messages: Vec<u32>,
}

/// Copies a message for quarantine.
pub fn rejected(slab: &Slab, message: &Message<'_>, reason: String) -> Rejected {
    Rejected {
        reason,
        topic: slab.topic().to_string(),
        kafka_partition: message.partition,
        offset: message.offset,
        key: message.key.map(Bytes::copy_from_slice),
        value: message.value.map(Bytes::copy_from_slice),
    }
}

/// Rows of messages that hold several, for quarantine: each with the key and the value that a
/// message of its own would have in the format `json`. `broken` are rows of the batch, with the
/// reason.
pub fn rejected_rows(
    slab: &Slab,
    batch: &DecodedBatch,
    broken: Vec<(usize, String)>,
) -> Vec<Rejected> {
    let changes = &batch.changes;
    let numbers = broken.iter().map(|(row, _)| *row as u32);
    let rows = take_record_batch(&changes.rows, &UInt32Array::from_iter_values(numbers))
        .expect("the rows are in the batch");
    // The position columns are not those of a message; an unfit value is in no batch of a decoder.
    let mut columns = rows.columns()[..changes.schema.columns.len() + 2].to_vec();
    columns.push(Arc::new(StringArray::new_null(broken.len())));
    let rows = ChangeBatch {
        rows: RecordBatch::try_new(polled_schema(&changes.schema), columns)
            .expect("the columns are those of the schema"),
        ..changes.clone()
    };
    let (mut keys, mut values) = (Rows::default(), Rows::default());
    encode_values(&rows, &mut values);
    encode_keys(&rows, &values, &mut keys);
    let row = |(at, (row, reason)): (usize, (usize, String))| {
        let message = slab.message(batch.messages[row] as usize);
        let alone = Message {
            key: keys.get(at),
            value: values.get(at),
            ..message
        };
        rejected(slab, &alone, reason)
    };
    broken.into_iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests;
