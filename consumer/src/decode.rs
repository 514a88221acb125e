//! A slab of messages -> batches of changes with their position, and rejected messages with the
//! reason.
//!
//! Every message becomes one row or one rejected row, whole and in order. A message is rejected
//! when it lacks Inlet's header, names an unknown schema or another table, or has a value that does
//! not read back exactly. Budget: that of the format (`inlet_model::record::json`) and 30 ns; no
//! allocation per row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, RecordBatch, TimestampMicrosecondBuilder, UInt8Builder,
    UInt64Builder,
};
use bytes::Bytes;
use inlet_model::change::{ChangeBatch, DELETE, positioned_schema};
use inlet_model::record::header::Header;
use inlet_model::record::json::Decoder;
use inlet_model::{Fingerprint, TableName, TableSchema};

use crate::source::{Headed, Message, Slab};
use inlet_lake::Rejected;

/// Rows for which a decoder allocates at first.
const CAPACITY: usize = 1024;

/// The decoders of one table's schemas, which live from slab to slab.
#[derive(Debug)]
pub struct Decoders {
    table: TableName,
    by_fingerprint: HashMap<Fingerprint, Decoder>,
}

/// The content of a slab.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Runs of rows of one schema, in the messages' order.
    pub batches: Vec<DecodedBatch>,
    /// Messages that could not be decoded.
    pub rejected: Vec<Rejected>,
}

/// Consecutive rows of one schema.
#[derive(Debug)]
pub struct DecodedBatch {
    /// The rows, with their position.
    pub changes: ChangeBatch,
    /// The message of each row.
    pub messages: Vec<u32>,
}

impl Decoders {
    pub fn new(table: TableName) -> Self {
        Self {
            table,
            by_fingerprint: HashMap::new(),
        }
    }

    /// Decodes the messages of `slab` whose numbers are `kept`.
    pub fn decode(
        &mut self,
        slab: &Slab,
        kept: &[u32],
        schema: impl Fn(Fingerprint) -> Option<Arc<TableSchema>>,
    ) -> Decoded {
        let mut decoded = Decoded::default();
        let mut run: Option<Run> = None;
        for number in kept {
            let message = slab.message(*number as usize);
            match self.decode_message(&message, &mut run, &mut decoded, &schema) {
                Ok(header) => run
                    .as_mut()
                    .expect("a decoded row is in a run")
                    .position(*number, &message, &header),
                Err(reason) => decoded.rejected.push(rejected(slab, &message, reason)),
            }
        }
        self.end(run, &mut decoded);
        let rows: usize = decoded
            .batches
            .iter()
            .map(|batch| batch.messages.len())
            .sum();
        assert_eq!(
            rows + decoded.rejected.len(),
            kept.len(),
            "every message is a row or is rejected"
        );
        decoded
    }

    /// Adds a message to the run of its schema; `Err` is the reason of its rejection.
    fn decode_message(
        &mut self,
        message: &Message<'_>,
        run: &mut Option<Run>,
        decoded: &mut Decoded,
        schema: &impl Fn(Fingerprint) -> Option<Arc<TableSchema>>,
    ) -> Result<Header, String> {
        let header = match message.headed {
            Headed::Ours(header) => header,
            Headed::Missing => return Err("the message has no header `inlet`".to_owned()),
            Headed::Unknown(error) => return Err(error.to_string()),
        };
        let fingerprint = header.fingerprint;
        // A run ends where the schema changes, so that a batch has one schema and the order of the
        // messages is kept.
        if run
            .as_ref()
            .is_none_or(|run| run.fingerprint != fingerprint)
        {
            self.add_decoder(fingerprint, schema)?;
            self.end(run.take(), decoded);
        }
        let decoder = self
            .by_fingerprint
            .get_mut(&fingerprint)
            .expect("its schema has a decoder");
        // An upsert is read from its value alone, which also holds the key. A delete has only a
        // key.
        let added = match (header.op == DELETE, message.key, message.value) {
            (false, _, Some(value)) => decoder.decode_value(value),
            (true, Some(key), None) => decoder.decode_delete(key),
            (true, None, None) => {
                return Err("the message deletes a row without its key".to_owned());
            }
            (true, _, Some(_)) => {
                return Err("the message deletes a row and has a value".to_owned());
            }
            (false, _, None) => return Err("the message has a row without its value".to_owned()),
        };
        added.map_err(|error| error.to_string())?;
        run.get_or_insert_with(|| Run::new(fingerprint));
        Ok(header)
    }

    fn add_decoder(
        &mut self,
        fingerprint: Fingerprint,
        schema: &impl Fn(Fingerprint) -> Option<Arc<TableSchema>>,
    ) -> Result<(), String> {
        if self.by_fingerprint.contains_key(&fingerprint) {
            return Ok(());
        }
        let schema = schema(fingerprint)
            .ok_or_else(|| format!("schema `{fingerprint}` is not in the control topic"))?;
        // Another table in this topic would be written into the wrong folder, so its rows are
        // rejected.
        if schema.table != self.table {
            return Err(format!("the message is of table `{}`", schema.table));
        }
        self.by_fingerprint
            .insert(fingerprint, Decoder::new(schema, CAPACITY));
        Ok(())
    }

    fn end(&mut self, run: Option<Run>, decoded: &mut Decoded) {
        let Some(run) = run else { return };
        let decoder = self
            .by_fingerprint
            .get_mut(&run.fingerprint)
            .expect("a run has a decoder");
        decoded.batches.push(run.finish(decoder));
    }
}

/// The change and position columns of rows of one schema.
struct Run {
    fingerprint: Fingerprint,
    messages: Vec<u32>,
    op: UInt8Builder,
    xid: UInt64Builder,
    kafka_partition: Int32Builder,
    offset: Int64Builder,
    detected_at: TimestampMicrosecondBuilder,
    newest: i64,
}

impl Run {
    fn new(fingerprint: Fingerprint) -> Self {
        Self {
            fingerprint,
            messages: Vec::new(),
            op: UInt8Builder::new(),
            xid: UInt64Builder::new(),
            kafka_partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            detected_at: TimestampMicrosecondBuilder::new(),
            newest: i64::MIN,
        }
    }

    fn position(&mut self, number: u32, message: &Message<'_>, header: &Header) {
        self.messages.push(number);
        self.op.append_value(header.op);
        self.xid.append_value(header.xid.0);
        self.kafka_partition.append_value(message.partition.0);
        self.offset.append_value(message.offset.0);
        self.detected_at.append_value(header.detected_at);
        // Messages of several snapshots share a batch; the latest one dates it.
        self.newest = self.newest.max(header.detected_at);
    }

    fn finish(mut self, decoder: &mut Decoder) -> DecodedBatch {
        let schema = decoder.schema().clone();
        let mut columns = decoder.finish();
        let change: [ArrayRef; 5] = [
            Arc::new(self.op.finish()),
            Arc::new(self.xid.finish()),
            Arc::new(self.kafka_partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.detected_at.finish().with_timezone("UTC")),
        ];
        columns.extend(change);
        let rows = RecordBatch::try_new(positioned_schema(&schema), columns)
            .expect("the decoder's columns are those of its schema");
        assert_eq!(
            rows.num_rows(),
            self.messages.len(),
            "a row for every message"
        );
        DecodedBatch {
            changes: ChangeBatch {
                schema,
                rows,
                detected_at: self.newest,
            },
            messages: self.messages,
        }
    }
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
