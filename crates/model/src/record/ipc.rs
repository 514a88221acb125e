//! The format `arrow`: many rows a message, as an Arrow IPC stream of one batch. This page is the
//! format's definition.
//!
//! A **value** is a stream of the Arrow IPC format (schema, one record batch, end of stream; no
//! dictionaries, no compression of its own: Kafka compresses messages). Its columns are those of
//! the table in table order, with the types that they have in the lake ([`crate::types`]), then
//! `_op` (Utf8, `u` or `d`) and `_xid` (Int64). A delete has the values of its key, and nulls. A
//! message has **no key**: its rows have one each.
//!
//! A message has at most [`ROWS_MAX`] rows and about [`BYTES_MAX`] bytes; a larger row has a
//! message of its own. All rows of a message are of one kafka_partition, which the text of each
//! row's key chooses as in [`super::json`], so that a key stays where it is when a topic changes
//! its format. No two rows of a message have one key: offsets order the versions of a key.
//!
//! A row with a value that no column can hold ([`crate::change::UNFIT`]) is a message of its own in
//! the format [`super::json`], in its place among the others.
//!
//! Promises: what the encoder writes, the decoder reads back to the same arrays, and a value of
//! another schema, a torn one and one with another number of rows than its header counts are
//! refused. Budget on one core, for a row of 8 columns: 150 ns encoded, of which the key's text is
//! most, and 50 ns decoded.

mod decode;
mod encode;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::TableSchema;
use crate::change::{OP, XID};
use crate::column::Column;

pub use decode::Decoder;
pub use encode::Encoder;

/// Rows of a message, at most.
pub const ROWS_MAX: usize = 4096;
/// Bytes of a message of several rows, at most: half of what a topic takes by default, so that a
/// message also fits where it cannot be compressed.
pub const BYTES_MAX: usize = 512 << 10;

/// The columns of a message.
fn message_schema(table: &TableSchema) -> SchemaRef {
    let change = [
        Field::new(OP, DataType::Utf8, false),
        Field::new(XID, DataType::Int64, false),
    ];
    let columns = table.columns.iter().map(Column::field);
    Arc::new(Schema::new(columns.chain(change).collect::<Vec<_>>()))
}
