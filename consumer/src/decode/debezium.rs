//! The messages of Debezium's connector: no header, the envelope tells everything.

use inlet_model::TableName;
use inlet_model::change::Origin;
use inlet_model::record::debezium::{Declared, OpenError, Opened, Topic};
use inlet_model::record::format::Changes;

use super::run::Run;
use super::{Decoded, rejected};
use crate::error::ConsumerError;
use crate::source::{Message, Slab};

/// The topic of one table, read from slab to slab.
#[derive(Debug)]
pub struct DebeziumDecoders(Topic);

impl DebeziumDecoders {
    pub fn new(table: TableName, declared: Declared) -> Self {
        Self(Topic::new(table, declared))
    }

    /// Decodes the messages of `slab` whose numbers are `kept`.
    pub fn decode(&mut self, slab: &Slab, kept: &[u32]) -> Result<Decoded, ConsumerError> {
        let mut decoded = Decoded::default();
        let mut run: Option<Run<usize>> = None;
        for number in kept {
            let message = slab.message(*number as usize);
            match self.decode_message(*number, &message, &mut run, &mut decoded) {
                Ok(()) => decoded.messages += 1,
                Err(OpenError::Row(reason)) => {
                    let reason = reason.to_string();
                    decoded.rejected.push(rejected(slab, &message, reason));
                }
                // No message of the topic can be read before the configuration is changed.
                Err(error) => return Err(ConsumerError::Undeclared(error)),
            }
        }
        self.end(run, &mut decoded);
        assert_eq!(
            decoded.messages + decoded.rejected.len(),
            kept.len(),
            "every message is decoded or rejected"
        );
        Ok(decoded)
    }

    fn decode_message(
        &mut self,
        number: u32,
        message: &Message<'_>,
        run: &mut Option<Run<usize>>,
        decoded: &mut Decoded,
    ) -> Result<(), OpenError> {
        let opened = self.0.open(message.partition, message.key, message.value)?;
        let Opened::Row {
            reader,
            op,
            xid,
            found_at,
            row,
        } = opened
        else {
            return Ok(());
        };
        // A run ends where the schema changes, so that a batch has one schema and the order of the
        // messages is kept.
        if run.as_ref().is_none_or(|run| run.layout != reader) {
            self.end(run.take(), decoded);
        }
        let run = run.get_or_insert_with(|| Run::new(reader, Origin::Poll));
        self.0.reader(reader).read(op, row)?;
        let changes: &mut Changes = &mut run.changes;
        changes.push(op, xid);
        run.position(number, message, found_at);
        Ok(())
    }

    fn end(&mut self, run: Option<Run<usize>>, decoded: &mut Decoded) {
        let Some(run) = run.filter(|run| !run.is_empty()) else {
            return;
        };
        let reader = self.0.reader(run.layout);
        let (schema, columns) = (reader.schema().clone(), reader.finish());
        decoded.batches.push(run.finish(schema, columns));
    }
}
