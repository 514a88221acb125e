//! Rows of one schema, as they are in an envelope, into columns.

use std::sync::Arc;

use arrow::array::ArrayRef;

use super::super::column::ColumnBuilder;
use super::super::decode::Fields;
use super::super::error::RowError;
use super::super::style::Style;
use super::super::token::Cursor;
use super::super::wire::Wire;
use super::value::{self, Scratch};
use crate::TableSchema;
use crate::change::DELETE;

/// Collects the rows of one table.
#[derive(Debug)]
pub struct RowReader {
    schema: Arc<TableSchema>,
    columns: Vec<ColumnBuilder>,
    wires: Vec<Wire>,
    fields: Fields,
    /// True for the columns of the key.
    is_key: Vec<bool>,
    rows: usize,
    scratch: Scratch,
}

impl RowReader {
    /// A reader of columns that are written so, with room for `capacity` rows.
    pub(super) fn new(schema: Arc<TableSchema>, wires: Vec<Wire>, capacity: usize) -> Self {
        assert_eq!(
            schema.columns.len(),
            wires.len(),
            "each column is written somehow"
        );
        let mut is_key = vec![false; wires.len()];
        for at in &schema.key {
            is_key[*at] = true;
        }
        Self {
            columns: builders(&schema, capacity),
            fields: Fields::new(&schema, (0..schema.columns.len()).collect()),
            schema,
            wires,
            is_key,
            rows: 0,
            scratch: Scratch::default(),
        }
    }

    /// The table that the rows are of.
    pub fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// Appends a row; a delete keeps the key's columns alone. After an error nothing of it is
    /// taken.
    pub fn read(&mut self, op: u8, row: &[u8]) -> Result<(), RowError> {
        let read = self.read_object(op == DELETE, row);
        match &read {
            Ok(()) => self.rows += 1,
            Err(_) => self
                .columns
                .iter_mut()
                .for_each(|column| column.truncate(self.rows)),
        }
        read
    }

    /// The rows' columns in table order, and an empty reader.
    pub fn finish(&mut self) -> Vec<ArrayRef> {
        let columns = std::mem::replace(&mut self.columns, builders(&self.schema, self.rows));
        self.rows = 0;
        columns.into_iter().map(ColumnBuilder::finish).collect()
    }

    fn read_object(&mut self, is_delete: bool, row: &[u8]) -> Result<(), RowError> {
        if is_delete && self.schema.key.is_empty() {
            return Err(RowError::NoKey);
        }
        let mut cursor = Cursor::new(row);
        cursor.expect(b'{', "an object is expected")?;
        let mut count = 0;
        if cursor.next() == Some(b'}') {
            cursor.take(b"}");
        } else {
            loop {
                let index = self
                    .fields
                    .take(count, &mut cursor, &mut self.scratch.text)?;
                self.read_column(index, is_delete, &mut cursor)?;
                count += 1;
                if cursor.ends(b'}')? {
                    break;
                }
            }
        }
        cursor.finish()?;
        for (at, builder) in self.columns.iter_mut().enumerate() {
            if builder.len() > self.rows {
                continue;
            }
            // A null in place of a value that is missing would be one that the source never held.
            if !is_delete || self.is_key[at] {
                return Err(RowError::Missing {
                    column: self.schema.columns[at].name.clone(),
                });
            }
            builder.push_null();
        }
        Ok(())
    }

    fn read_column(
        &mut self,
        index: usize,
        is_delete: bool,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), RowError> {
        let (column, builder) = (&self.schema.columns[index], &mut self.columns[index]);
        if builder.len() > self.rows {
            return Err(RowError::Repeated {
                column: column.name.clone(),
            });
        }
        // PostgreSQL logs the key of a deleted row alone. What the connector writes for the other
        // columns are no values of the row.
        if is_delete && !self.is_key[index] {
            self.scratch.checker.skip(cursor)?;
            builder.push_null();
            return Ok(());
        }
        value::read(
            cursor,
            column,
            builder,
            self.wires[index],
            &mut self.scratch,
        )
    }
}

fn builders(schema: &TableSchema, capacity: usize) -> Vec<ColumnBuilder> {
    let builder =
        |column: &crate::Column| ColumnBuilder::new(column.column_type, Style::Json, capacity);
    schema.columns.iter().map(builder).collect()
}
