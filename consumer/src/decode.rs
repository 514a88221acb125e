//! A slab of messages -> batches of changes with their position, and rejected messages with the
//! reason.
//!
//! Every message becomes its rows or is rejected, whole and in order. A message is rejected when it
//! lacks Inlet's header, names an unknown schema or another table, or has a value that does not read
//! back exactly. What a value means is the format's part (`inlet_model::record::format`). Budget:
//! that of the format and 30 ns; no allocation per row.

mod debezium;
mod ours;
mod run;

use std::sync::Arc;

use bytes::Bytes;
use inlet_model::change::ChangeBatch;
use inlet_model::record::debezium::Declared;
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

#[cfg(test)]
mod tests;
