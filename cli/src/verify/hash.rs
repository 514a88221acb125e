//! Two hashes for each row of either side: one of its key, one of its values.
//!
//! A key is hashed as the bytes of its record in the topic, so that a key in quarantine has the
//! same hash. Values are hashed in Arrow's row format, which is independent of the topic's JSON, so
//! that a value changed by the JSON becomes visible. With 128 bits, two different rows among 10^9
//! have the same hash with a chance of 10^-20. Budget: 400 ns a row of 8 columns; no allocation a
//! row.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, UInt8Array};
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use arrow::row::{RowConverter, SortField};
use inlet_model::TableSchema;
use inlet_model::change::{DELETE, UNFIT, UPSERT, XID};
use inlet_model::record::Rows;
use inlet_model::record::json::{encode_keys, encode_values};
use xxhash_rust::xxh3::xxh3_128;

use super::fit::{Fitted, all_valid, changes, columns};

/// 128 bits; an array, because `u128` would align a row's record to 16 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u64; 2]);

impl Hash {
    pub fn of(bytes: &[u8]) -> Self {
        let hash = xxh3_128(bytes);
        Self([(hash >> 64) as u64, hash as u64])
    }

    /// A hash that a server made, in its 32 hexadecimal digits.
    pub fn of_hex(text: &str) -> Option<Self> {
        let hash = u128::from_str_radix(text, 16)
            .ok()
            .filter(|_| text.len() == 32)?;
        Some(Self([(hash >> 64) as u64, hash as u64]))
    }

    /// Its 32 hexadecimal digits.
    pub fn hex(&self) -> String {
        format!("{:016x}{:016x}", self.0[0], self.0[1])
    }
}

/// The keys whose hash starts with a number of this range, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRange {
    first: u64,
    last: u64,
}

impl KeyRange {
    pub const ALL: Self = Self {
        first: 0,
        last: u64::MAX,
    };

    pub fn holds(&self, key: &Hash) -> bool {
        (self.first..=self.last).contains(&key.0[0])
    }

    /// Halves the range; returns false if it holds one number only.
    pub fn narrow(&mut self) -> bool {
        let width = self.last - self.first;
        self.last = self.first + width / 2;
        width > 0
    }

    /// Returns the keys after this range; `None` at the end.
    pub fn after(&self) -> Option<Self> {
        let first = self.last.checked_add(1)?;
        Some(Self {
            first,
            last: u64::MAX,
        })
    }
}

/// A batch's hashes, row by row.
#[derive(Debug)]
pub struct Hashed {
    pub keys: Vec<Hash>,
    pub values: Vec<Hash>,
    pub xids: Vec<u64>,
    /// False for a row without one of its key's columns that are never null: it is older than the
    /// key's present columns.
    pub is_of_key: BooleanArray,
}

/// Turns columns of a schema into rows that can be hashed: equal values have equal bytes.
pub fn row_converter(schema: &TableSchema) -> RowConverter {
    let fields = schema
        .columns
        .iter()
        .map(|column| SortField::new(column.column_type.arrow()));
    RowConverter::new(fields.collect()).expect("every type of a column has a row format")
}

/// Hashes rows of both sides by PostgreSQL's schema.
pub struct Hasher {
    schema: Arc<TableSchema>,
    converter: RowConverter,
    values: Rows,
    keys: Rows,
}

impl Hasher {
    pub fn new(schema: Arc<TableSchema>) -> Self {
        let converter = row_converter(&schema);
        Self {
            schema,
            converter,
            values: Rows::default(),
            keys: Rows::default(),
        }
    }

    /// Hashes polled rows, or rows of a file of the lake.
    pub fn hash(&mut self, rows: &RecordBatch) -> Hashed {
        let columns = columns(&self.schema, rows);
        let values = self.hash_values(&columns, rows.num_rows());
        let key: Vec<_> = self
            .schema
            .key
            .iter()
            .filter(|at| self.schema.columns[**at].not_null)
            .map(|at| &columns[*at])
            .collect();
        let is_of_key = all_valid(&key, rows.num_rows()).expect("both sides have all rows");
        self.encode_keys(rows, columns);
        let keys = (0..rows.num_rows())
            .map(|row| Hash::of(self.keys.get(row).expect("every row has a key")));
        Hashed {
            keys: keys.collect(),
            values,
            xids: xids(rows),
            is_of_key,
        }
    }

    /// Returns the keys of rows as JSON text.
    pub fn key_texts(&mut self, rows: &RecordBatch) -> Vec<String> {
        self.encode_keys(rows, columns(&self.schema, rows));
        let text = |row| {
            String::from_utf8_lossy(self.keys.get(row).expect("every row has a key")).into_owned()
        };
        (0..rows.num_rows()).map(text).collect()
    }

    fn hash_values(&self, columns: &[Fitted], rows: usize) -> Vec<Hash> {
        if columns.is_empty() {
            return vec![Hash::default(); rows];
        }
        let values: Vec<_> = columns.iter().map(|column| column.values.clone()).collect();
        let converted = self
            .converter
            .convert_columns(&values)
            .expect("the columns are of the schema's types");
        let misfit = |row| {
            let bytes = columns.iter().filter_map(|column| column.misfit_bytes(row));
            bytes.collect::<Vec<_>>().concat()
        };
        let hash = |(row, values): (usize, arrow::row::Row<'_>)| {
            // A value that does not fit is null in the converted row, and is no null.
            if columns.iter().any(|column| column.is_misfit(row)) {
                return Hash::of(&[values.as_ref(), misfit(row).as_slice()].concat());
            }
            Hash::of(values.as_ref())
        };
        converted.iter().enumerate().map(hash).collect()
    }

    fn encode_keys(&mut self, rows: &RecordBatch, columns: Vec<Fitted>) {
        // The values of deletes are not encoded: a key does not need them.
        let op = if self.schema.key.is_empty() {
            UPSERT
        } else {
            DELETE
        };
        let ops = UInt8Array::from_value(op, rows.num_rows());
        let batch = changes(&self.schema, columns, ops, rows.column_by_name(UNFIT));
        encode_values(&batch, &mut self.values);
        encode_keys(&batch, &self.values, &mut self.keys);
    }
}

fn xids(rows: &RecordBatch) -> Vec<u64> {
    let column = rows
        .column_by_name(XID)
        .expect("rows of either side have an xid");
    match column.data_type() {
        DataType::UInt64 => column.as_primitive::<UInt64Type>().values().to_vec(),
        // The lake's column is signed, for readers that know no other; no xid comes near its end.
        _ => column
            .as_primitive::<Int64Type>()
            .values()
            .iter()
            .map(|xid| xid.cast_unsigned())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_the_keys_follow_each_other_without_a_gap() {
        let mut range = KeyRange::ALL;
        assert!(range.narrow());
        let after = range.after().unwrap();
        let (low, high) = (Hash([u64::MAX / 2, 7]), Hash([u64::MAX / 2 + 1, 0]));
        assert!(range.holds(&low) && !range.holds(&high));
        assert!(!after.holds(&low) && after.holds(&high));
        assert_eq!(after.after(), None);
    }

    #[test]
    fn a_range_of_one_number_cannot_be_halved() {
        let mut range = KeyRange { first: 5, last: 5 };
        assert!(!range.narrow());
        assert!(range.holds(&Hash([5, 0])));
    }
}
