//! Messages of many rows back into Arrow columns, without looking at their values.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_empty_array};
use arrow::buffer::Buffer;
use arrow::compute::concat;
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;

use super::message_schema;
use crate::change::{DELETE, UPSERT};
use crate::record::format::{self, Changes, Record};
use crate::record::json::RowError;
use crate::{TableSchema, Xid};

/// What a message of a stream begins with.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The format's side of the consumer.
#[derive(Debug)]
pub struct Decoder {
    table: Arc<TableSchema>,
    expected: SchemaRef,
    taken: Vec<RecordBatch>,
}

impl Decoder {
    /// A decoder of the messages of a schema.
    pub fn new(table: Arc<TableSchema>) -> Self {
        Self {
            expected: message_schema(&table),
            table,
            taken: Vec::new(),
        }
    }

    /// The one batch of a message.
    fn read(&self, value: &[u8]) -> Result<RecordBatch, String> {
        // Arrow's reader panics where a damaged length leads out of the message. A message that
        // stops the consumer would hold up all messages after it.
        let read = AssertUnwindSafe(|| read(value, &self.expected));
        catch_unwind(read).unwrap_or_else(|_| Err("the stream is damaged".to_owned()))
    }
}

fn read(value: &[u8], expected: &Schema) -> Result<RecordBatch, String> {
    if !value.starts_with(&CONTINUATION) {
        return Err("the value is no stream of the Arrow IPC format".to_owned());
    }
    let in_words = |error: ArrowError| error.to_string();
    // The columns share the memory of this copy.
    let mut bytes = Buffer::from(value);
    let mut stream = StreamDecoder::new();
    let rows = stream.decode(&mut bytes).map_err(in_words)?;
    let found = stream.schema().ok_or("the stream has no schema")?;
    if let Some(differs) = differs(expected, &found) {
        return Err(differs);
    }
    let rows = rows.ok_or("the stream has no batch")?;
    if stream.decode(&mut bytes).map_err(in_words)?.is_some() {
        return Err("the stream has more than one batch".to_owned());
    }
    stream.finish().map_err(in_words)?;
    Ok(rows)
}

impl format::Decoder for Decoder {
    fn schema(&self) -> &Arc<TableSchema> {
        &self.table
    }

    fn decode(&mut self, record: &Record<'_>, changes: &mut Changes) -> Result<(), RowError> {
        let value = record.value.ok_or(RowError::NoValue)?;
        let refused = |what: String| RowError::NoBatch { what };
        let rows = self.read(value).map_err(refused)?;
        if rows.num_rows() != record.rows as usize {
            let what = format!(
                "it has {} rows, and its header {}",
                rows.num_rows(),
                record.rows
            );
            return Err(refused(what));
        }
        let (ops, xids) = changes_of(&rows, self.table.columns.len()).map_err(refused)?;
        changes.ops.extend(ops);
        changes.xids.extend(xids.iter().map(|xid| xid.0));
        self.taken.push(rows);
        Ok(())
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        let taken = std::mem::take(&mut self.taken);
        let columns = self.expected.fields().iter().enumerate();
        let columns = columns.take(self.table.columns.len());
        columns
            .map(|(at, field)| match taken.as_slice() {
                [] => new_empty_array(field.data_type()),
                // One message needs no copy.
                [rows] => rows.column(at).clone(),
                several => {
                    let parts: Vec<&dyn Array> = several
                        .iter()
                        .map(|rows| rows.column(at).as_ref())
                        .collect();
                    concat(&parts).expect("the messages of a slab are below Arrow's limits")
                }
            })
            .collect()
    }
}

/// What is different in the columns of a message, in words.
fn differs(expected: &Schema, found: &Schema) -> Option<String> {
    let (wanted, got) = (expected.fields(), found.fields());
    if wanted.len() != got.len() {
        return Some(format!(
            "it has {} columns instead of {}",
            got.len(),
            wanted.len()
        ));
    }
    let mut pairs = wanted.iter().zip(got);
    let (wanted, got) = pairs.find(|(wanted, got)| {
        wanted.name() != got.name() || wanted.data_type() != got.data_type()
    })?;
    Some(format!(
        "it has a column `{}` of type {} instead of `{}` of type {}",
        got.name(),
        got.data_type(),
        wanted.name(),
        wanted.data_type()
    ))
}

/// The change columns of a message, which follow those of the table.
fn changes_of(rows: &RecordBatch, at: usize) -> Result<(Vec<u8>, Vec<Xid>), String> {
    let ops = rows.column(at).as_string::<i32>();
    let xids = rows.column(at + 1).as_primitive::<Int64Type>();
    if ops.null_count() + xids.null_count() > 0 {
        return Err("a row has no operation or no xid".to_owned());
    }
    let op = |word: Option<&str>| match word {
        Some("u") => Ok(UPSERT),
        Some("d") => Ok(DELETE),
        other => Err(format!("a row has operation {other:?}")),
    };
    let ops = ops.iter().map(op).collect::<Result<_, _>>()?;
    let xids = xids.values().iter().map(|xid| Xid(xid.cast_unsigned()));
    Ok((ops, xids.collect()))
}
