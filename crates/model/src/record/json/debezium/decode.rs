//! The envelopes that our producer writes, back into columns.

use std::sync::Arc;

use arrow::array::ArrayRef;

use super::super::error::RowError;
use super::super::nested::Checker;
use super::super::wire::Wire;
use super::envelope::{Envelope, Unwrapper};
use super::row::RowReader;
use crate::TableSchema;
use crate::record::encoding::DebeziumModes;
use crate::record::format::{self, Changes, Record};

/// The format's side of the consumer.
#[derive(Debug)]
pub struct Decoder {
    rows: RowReader,
    unwrapper: Unwrapper,
    checker: Checker,
}

impl Decoder {
    /// A decoder of records of a schema that were written with these settings.
    pub fn new(schema: Arc<TableSchema>, modes: DebeziumModes, capacity: usize) -> Self {
        let wires = schema
            .columns
            .iter()
            .map(|column| Wire::of(column, modes))
            .collect();
        Self {
            rows: RowReader::new(schema, wires, capacity),
            unwrapper: Unwrapper::default(),
            checker: Checker::default(),
        }
    }
}

impl format::Decoder for Decoder {
    fn schema(&self) -> &Arc<TableSchema> {
        self.rows.schema()
    }

    fn decode(&mut self, record: &Record<'_>, changes: &mut Changes) -> Result<(), RowError> {
        let value = record.value.ok_or(RowError::NoValue)?;
        let wrapped = self.unwrapper.unwrap(value, &mut self.checker)?;
        let no_envelope = |what: &str| RowError::NoEnvelope {
            what: what.to_owned(),
        };
        let envelope = Envelope::read(wrapped.payload, &mut self.checker)?
            .ok_or_else(|| no_envelope("it is about no row"))?;
        let change = envelope.change()?;
        if change.op != record.op {
            return Err(no_envelope("its `op` is not that of its header"));
        }
        self.rows.read(change.op, change.row)?;
        changes.push(record.op, record.xid);
        Ok(())
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        self.rows.finish()
    }
}
