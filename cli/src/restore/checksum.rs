//! The number and the sum of rows, whatever their order: equal tables have the same.
//!
//! Both sides are hashed in Arrow's row format, in the types of the lake's latest schema: the
//! lake's rows as they were read from the files, the restored ones as PostgreSQL sends them in
//! binary. The text that COPY has read is on neither side, so what it changed becomes visible.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::row::RowConverter;
use inlet_model::TableSchema;
use xxhash_rust::xxh3::xxh3_128;

use crate::verify::{columns, row_converter};

pub struct Checksum {
    converter: RowConverter,
    pub rows: u64,
    sum: u128,
}

impl Checksum {
    pub fn new(schema: &TableSchema) -> Self {
        Self {
            converter: row_converter(schema),
            rows: 0,
            sum: 0,
        }
    }

    /// Adds columns in the types of the schema.
    pub fn add(&mut self, columns: &[ArrayRef], rows: usize) {
        self.rows += rows as u64;
        if columns.is_empty() {
            return;
        }
        let converted = self
            .converter
            .convert_columns(columns)
            .expect("the columns are of the schema's types");
        for row in &converted {
            // A sum has no order. Equal rows do not cancel each other, as they would by XOR.
            self.sum = self.sum.wrapping_add(xxh3_128(row.as_ref()));
        }
    }

    /// Adds rows as PostgreSQL has them; a value that the schema's type cannot hold makes the sum
    /// another one.
    pub fn add_rows(&mut self, schema: &TableSchema, rows: &RecordBatch) {
        let fitted = columns(schema, rows);
        let count = rows.num_rows();
        for column in &fitted {
            let misfits = (0..count).filter(|row| column.is_misfit(*row)).count();
            self.sum = self.sum.wrapping_add(misfits as u128);
        }
        let values: Vec<_> = fitted.into_iter().map(|column| column.values).collect();
        self.add(&values, count);
    }

    pub fn equals(&self, other: &Self) -> bool {
        (self.rows, self.sum) == (other.rows, other.sum)
    }
}
