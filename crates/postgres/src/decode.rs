//! PostgreSQL's binary rows into Arrow columns.
//!
//! Promises: a value is exact, or it is null and its PostgreSQL text is in `_unfit`, or, where the
//! configuration asks for it, it is null and counted; it is never rounded or wrapped. Leaves to
//! others: which columns are read and how (`catalog`), which rows are new and their 64-bit xid (the
//! poll). Budget: 250 ns a row of 8 columns; one copy of each value, from the connection's buffer
//! into the column; no allocation a row. Formats: PostgreSQL manual, "Frontend/Backend Protocol",
//! and each type's send function.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, RecordBatch, StringBuilder, UInt8Builder, UInt64Builder, new_null_array,
};
use arrow::datatypes::{DataType, SchemaRef};
use inlet_model::Xid;
use inlet_model::change::{ChangeBatch, DELETE, Origin, polled_schema};
use inlet_model::{TableName, TableSchema, quote};
use inlet_service::error::{Explain, Kind};
use sqlx::postgres::PgRow;
use sqlx::{Row, ValueRef};

use self::column::ColumnBuilder;
use self::value::Misfit;
use crate::catalog::{Cursor, CursorKind, MASK};
use crate::hash::ValueHasher;
use crate::text::text_of;

mod array_text;
mod column;
mod list;
mod numeric;
mod value;

/// Where the table's columns begin in a row: [`crate::Captured::select_list`] puts `xmin` first.
const FIRST_COLUMN: usize = 1;
/// A decoder that holds this much must be finished before it takes more: Arrow's text columns end
/// at 2 GiB, a row of PostgreSQL at 1 GiB.
const DECODER_BYTES_MAX: usize = 1 << 30;
/// Arrow's bytes for a value beside its own: an offset or padding.
const VALUE_BYTES: usize = 4;
/// `_op` and `_xid`.
const CHANGE_BYTES: usize = 9;

/// The row's `xmin`, then the columns, those without a mapping as their text. `identities` are the
/// SQL of the schema's last columns, which the table does not have.
pub(crate) fn select_list(
    schema: &TableSchema,
    masked: impl Fn(usize) -> bool,
    identities: &[String],
) -> String {
    let own = schema.columns.len() - identities.len();
    let mut list = "xmin".to_owned();
    for (at, column) in schema.columns[..own].iter().enumerate() {
        let name = quote(&column.name);
        list.push_str(", ");
        if masked(at) {
            // The value stays in the server; only whether there is one leaves it.
            write!(
                list,
                "CASE WHEN {name} IS DISTINCT FROM NULL THEN '{MASK}' END"
            )
            .expect("a string takes all");
        } else if column.as_text {
            // The server makes the text: only it knows that of every type.
            list.push_str(&text_of(&name));
        } else {
            list.push_str(&name);
        }
    }
    for identity in identities {
        list.push_str(", ");
        list.push_str(identity);
    }
    list
}

/// A row whose values are in PostgreSQL's binary format.
pub trait BinaryRow {
    /// The number of its columns.
    fn columns(&self) -> usize;

    /// The bytes of a column's value; `None` for NULL.
    fn value(&self, column: usize) -> Option<&[u8]>;
}

impl BinaryRow for PgRow {
    fn columns(&self) -> usize {
        self.len()
    }

    #[inline]
    fn value(&self, column: usize) -> Option<&[u8]> {
        let value = self
            .try_get_raw(column)
            .expect("a row has the columns of its select list");
        if value.is_null() {
            None
        } else {
            Some(value.as_bytes().expect("the value is not null"))
        }
    }
}

/// The 32-bit `xmin` of a row that was read with [`crate::Captured::select_list`].
#[inline]
pub fn xmin(row: &impl BinaryRow) -> u32 {
    let bytes = row.value(0).and_then(|bytes| bytes.try_into().ok());
    u32::from_be_bytes(bytes.expect("the select list begins with xmin, 4 bytes and never null"))
}

/// A row's cursor in microseconds since 1970-01-01 (of its wall clock, for a type without zone);
/// infinity, and what lies beyond 64 bits, is the number at that end.
#[inline]
pub fn cursor_value(row: &impl BinaryRow, cursor: &Cursor) -> Option<i64> {
    let bytes = row.value(FIRST_COLUMN + cursor.column)?;
    let micros = match cursor.kind {
        CursorKind::Timestamptz | CursorKind::Timestamp => value::cursor_micros(bytes),
        CursorKind::Date => value::cursor_date_micros(bytes),
    };
    Some(micros.expect("a cursor column is a timestamp or a date in binary"))
}

/// Collects rows of one table into batches.
pub struct RowDecoder {
    schema: Arc<TableSchema>,
    arrow: SchemaRef,
    columns: Vec<ColumnBuilder>,
    op: UInt8Builder,
    xid: UInt64Builder,
    /// Row number and JSON of the few rows with a value that fits no column.
    unfit: Vec<(usize, String)>,
    impossible_as_null: bool,
    /// Values read as null because no Arrow value can hold them.
    nulled: u64,
    rows: usize,
    bytes: usize,
}

impl RowDecoder {
    /// A decoder with room for `capacity` rows; it grows, and later batches get the room that the
    /// one before took.
    pub fn new(schema: Arc<TableSchema>, capacity: usize) -> Self {
        let columns = schema
            .columns
            .iter()
            .map(|column| ColumnBuilder::new(column.column_type, capacity, 0))
            .collect();
        Self {
            arrow: polled_schema(&schema),
            schema,
            columns,
            op: UInt8Builder::with_capacity(capacity),
            xid: UInt64Builder::with_capacity(capacity),
            unfit: Vec::new(),
            impossible_as_null: false,
            nulled: 0,
            rows: 0,
            bytes: 0,
        }
    }

    /// Whether a value that no Arrow value can hold is read as null, and counted, instead of
    /// stored in `_unfit`. A key's value is always stored there: two keys must not become one.
    #[must_use]
    pub fn impossible_as_null(self, impossible_as_null: bool) -> Self {
        Self {
            impossible_as_null,
            ..self
        }
    }

    /// Stores the hashes of the values of some columns, instead of the values.
    #[must_use]
    pub(crate) fn hashing(mut self, hasher: &ValueHasher, of: impl Fn(usize) -> bool) -> Self {
        for (at, builder) in self.columns.iter_mut().enumerate() {
            if of(at) {
                *builder = ColumnBuilder::hashed(hasher.clone(), 0);
            }
        }
        self
    }

    /// Values that were read as null because no Arrow value can hold them, since this was asked
    /// last.
    pub fn take_nulled(&mut self) -> u64 {
        std::mem::take(&mut self.nulled)
    }

    /// Appends a row that was read with [`crate::Captured::select_list`]. After an error the
    /// decoder holds half a row: it must be thrown away.
    #[inline]
    pub fn append(&mut self, row: &impl BinaryRow, xid: Xid, op: u8) -> Result<(), DecodeError> {
        if row.columns() != FIRST_COLUMN + self.columns.len() {
            let (table, expected) = (self.schema.table.clone(), FIRST_COLUMN + self.columns.len());
            return Err(DecodeError::Columns {
                table,
                expected,
                got: row.columns(),
            });
        }
        self.append_values(|column| row.value(FIRST_COLUMN + column), xid, op)
    }

    /// Appends a row that has more columns after those of [`select_list`].
    pub fn append_first(
        &mut self,
        row: &impl BinaryRow,
        xid: Xid,
        op: u8,
    ) -> Result<(), DecodeError> {
        if row.columns() < FIRST_COLUMN + self.columns.len() {
            return self.append(row, xid, op);
        }
        self.append_values(|column| row.value(FIRST_COLUMN + column), xid, op)
    }

    /// Appends the delete of a row that was read with [`crate::Captured::select_list`], and may
    /// have more columns after these: the columns of the key, and nulls.
    pub fn append_delete(&mut self, row: &impl BinaryRow, xid: Xid) -> Result<(), DecodeError> {
        let schema = Arc::clone(&self.schema);
        let value = |column: usize| {
            // A column that identifies a key's values is in the key of the schema, the column of
            // the table beside it.
            let is_key = schema.key.contains(&column) || schema.own_key().any(|at| at == column);
            is_key.then(|| row.value(FIRST_COLUMN + column)).flatten()
        };
        self.append_values(value, xid, DELETE)
    }

    /// Rows since the last [`RowDecoder::finish`].
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// About the bytes that these rows take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The rows so far as a batch; the decoder is empty afterwards and can be used again.
    pub fn finish(&mut self, detected_at: i64) -> ChangeBatch {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len() + 3);
        for (builder, column) in self.columns.iter_mut().zip(&self.schema.columns) {
            // The next batch is likely to be like this one, so its builders start with the same
            // capacity.
            let next = builder.next(column.column_type, rows);
            arrays.push(std::mem::replace(builder, next).finish());
        }
        arrays.push(Arc::new(self.op.finish()));
        arrays.push(Arc::new(self.xid.finish()));
        arrays.push(unfit_column(rows, &std::mem::take(&mut self.unfit)));
        let batch = RecordBatch::try_new(Arc::clone(&self.arrow), arrays)
            .expect("the builders are made from this schema");
        assert!(
            batch.num_rows() == rows,
            "a batch of {} rows from {rows} appended",
            batch.num_rows()
        );
        ChangeBatch {
            schema: Arc::clone(&self.schema),
            rows: batch,
            detected_at,
            origin: Origin::Poll,
        }
    }

    /// The hot loop: `value` gives the bytes of a column, `None` for NULL.
    #[inline]
    fn append_values<'a>(
        &mut self,
        value: impl Fn(usize) -> Option<&'a [u8]>,
        xid: Xid,
        op: u8,
    ) -> Result<(), DecodeError> {
        assert!(
            self.bytes < DECODER_BYTES_MAX,
            "a decoder of {} bytes was not finished",
            self.bytes
        );
        let mut bytes = CHANGE_BYTES + VALUE_BYTES * self.columns.len();
        let mut unfit = String::new();
        for (index, builder) in self.columns.iter_mut().enumerate() {
            let Some(value) = value(index) else {
                builder.append_null();
                continue;
            };
            bytes += value.len();
            match builder.append(value) {
                Ok(()) => {}
                Err(Misfit::Unfit(text)) => {
                    builder.append_null();
                    // A key stays exact in every mode: a null in it would merge different rows.
                    if self.impossible_as_null && !self.schema.key.contains(&index) {
                        self.nulled += 1;
                    } else {
                        push_unfit(&mut unfit, &self.schema.columns[index].name, &text);
                    }
                }
                Err(Misfit::Malformed) => {
                    return Err(DecodeError::malformed(&self.schema, index, value.len()));
                }
            }
        }
        if !unfit.is_empty() {
            unfit.push('}');
            bytes += unfit.len();
            self.unfit.push((self.rows, unfit));
        }
        self.op.append_value(op);
        self.xid.append_value(xid.0);
        self.rows += 1;
        self.bytes += bytes;
        Ok(())
    }
}

/// Adds a member to an open JSON object.
#[cold]
fn push_unfit(object: &mut String, column: &str, text: &str) {
    let json = |text: &str| serde_json::to_string(text).expect("a string is JSON");
    object.push(if object.is_empty() { '{' } else { ',' });
    object.push_str(&json(column));
    object.push(':');
    object.push_str(&json(text));
}

/// The `_unfit` column from the few rows that have something to say.
fn unfit_column(rows: usize, unfit: &[(usize, String)]) -> ArrayRef {
    if unfit.is_empty() {
        return new_null_array(&DataType::Utf8, rows);
    }
    let mut builder =
        StringBuilder::with_capacity(rows, unfit.iter().map(|(_, json)| json.len()).sum());
    for (row, json) in unfit {
        // There is one more offset than there are values. So this fills up to the row, and leaves
        // the row itself.
        builder.append_nulls(row + 1 - builder.offsets_slice().len());
        builder.append_value(json);
    }
    builder.append_nulls(rows + 1 - builder.offsets_slice().len());
    let column = builder.finish();
    assert!(
        column.len() == rows,
        "an `_unfit` of {} for {rows} rows",
        column.len()
    );
    Arc::new(column)
}

/// A row that differs from the catalog's description.
#[allow(missing_docs)] // Each message names its fields.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Another number of columns than the select list has.
    #[error("a row of table `{table}` has {got} columns, the select list has {expected}")]
    Columns {
        table: TableName,
        /// Columns of the select list.
        expected: usize,
        /// Columns of the row.
        got: usize,
    },
    /// A value that is not in its type's binary format.
    #[error(
        "a value of column `{column}` of table `{table}` has {bytes} bytes that are not \
            PostgreSQL's format of {postgres_type}"
    )]
    Malformed {
        table: TableName,
        column: String,
        /// Its type in the catalog.
        postgres_type: String,
        /// How long the value is.
        bytes: usize,
    },
}

impl DecodeError {
    #[cold]
    fn malformed(schema: &TableSchema, index: usize, bytes: usize) -> Self {
        let column = &schema.columns[index];
        Self::Malformed {
            table: schema.table.clone(),
            column: column.name.clone(),
            postgres_type: column.postgres_type.clone(),
            bytes,
        }
    }
}

impl Explain for DecodeError {
    fn kind(&self) -> Kind {
        Kind::Bug
    }
}

#[cfg(test)]
mod tests;
