//! The columns of a data file: the table's own, then `_op`, `_xid`, `_kafka_partition`, `_offset`,
//! `_detected_at`.
//!
//! The date is in the folder's name alone: a reader's Hive key hides a column of the same name in
//! the file.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Decimal256Type, Field, Schema, SchemaRef, UInt8Type, UInt64Type};
use inlet_model::change::{
    DETECTED_AT, KAFKA_PARTITION, OFFSET, OP, XID, is_reserved, positioned_schema,
};
use inlet_model::{ColumnType, Scalar, TableSchema};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::footer::SCHEMA_KEY;
use super::names::{DATE_KEY, DATE_KEY_BESIDE_COLUMN};
use crate::error::LakeError;
use crate::options::LakeOptions;

/// The columns of a data file after the table's own, and their types in DuckDB's SQL.
pub const CHANGE_COLUMNS: [(&str, &str); 5] = [
    (OP, "VARCHAR"),
    (XID, "BIGINT"),
    (KAFKA_PARTITION, "INTEGER"),
    (OFFSET, "BIGINT"),
    (DETECTED_AT, "TIMESTAMPTZ"),
];
const ROW_GROUP_BYTES: usize = 32 << 20;
const ZSTD_LEVEL: i32 = 1;

/// How rows of one schema are written.
#[derive(Debug)]
pub(super) struct Columns {
    pub table: Arc<TableSchema>,
    pub arrow: SchemaRef,
    pub properties: WriterProperties,
    /// The key of the date_partition folders.
    pub date_key: String,
    /// The position of the column that holds a row's date.
    pub date_column: usize,
    positioned: SchemaRef,
}

impl Columns {
    /// The columns of a schema, under these names in files. `date_key` is the key that the table's
    /// folders have already.
    pub fn new(
        table: &Arc<TableSchema>,
        options: &LakeOptions,
        date_key: Option<&str>,
        names: &[&str],
    ) -> Result<Self, LakeError> {
        let positioned = positioned_schema(table);
        check_names(table)?;
        let arrow = schema_in_file(table, &positioned, names);
        Ok(Self {
            date_key: date_key.map_or_else(|| first_date_key(table), str::to_owned),
            date_column: date_column_of(table, options, &positioned)?,
            properties: properties(table, names)?,
            table: table.clone(),
            arrow,
            positioned,
        })
    }

    /// Converts a positioned batch to the columns of the file. The only cost per row is an offset
    /// of `_op`.
    pub fn in_file(&self, rows: &RecordBatch) -> Result<RecordBatch, LakeError> {
        let wrong = |reason: String| LakeError::batch(&self.table.table, reason);
        let types = |schema: &Schema| {
            schema
                .fields()
                .iter()
                .map(|field| (field.name().clone(), field.data_type().clone()))
                .collect::<Vec<_>>()
        };
        // Names and types decide what is written; metadata and nullability may differ.
        if types(&rows.schema()) != types(&self.positioned) {
            return Err(wrong(format!(
                "its columns are {:?}",
                types(&rows.schema())
            )));
        }
        let columns = self
            .positioned
            .fields()
            .iter()
            .zip(rows.columns())
            .map(|(field, column)| match field.name().as_str() {
                // Readers see `u` and `d`; in the batch the operation is one byte.
                OP => op_as_text(column),
                // A 64-bit xid stays below 2^63 for as long as any server runs, and Parquet readers
                // handle signed integers best.
                XID => Arc::new(Int64Array::new(
                    ScalarBuffer::from(
                        column.as_primitive::<UInt64Type>().values().inner().clone(),
                    ),
                    None,
                )),
                _ => wide_as_text(column),
            });
        RecordBatch::try_new(self.arrow.clone(), columns.collect())
            .map_err(|error| wrong(error.to_string()))
    }
}

/// How rows of a schema are written that were read from other data files of it.
pub(super) fn merged(
    table: &TableSchema,
    names: &[&str],
) -> Result<(SchemaRef, WriterProperties), LakeError> {
    let arrow = schema_in_file(table, &positioned_schema(table), names);
    Ok((arrow, properties(table, names)?))
}

fn schema_in_file(table: &TableSchema, positioned: &Schema, names: &[&str]) -> SchemaRef {
    let fields = positioned.fields().iter().enumerate();
    let fields = fields.map(|(at, field)| match names.get(at) {
        Some(name) => field_in_file(field, name, table.columns[at].number),
        None => field_in_file(field, field.name(), None),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Each operation is one ASCII letter, so the bytes of the column are already the text.
fn op_as_text(column: &ArrayRef) -> ArrayRef {
    let letters = column.as_primitive::<UInt8Type>().values().inner().clone();
    Arc::new(StringArray::new(
        OffsetBuffer::from_repeated_length(1, letters.len()),
        letters,
        None,
    ))
}

/// A decimal of more than 38 digits becomes text: DuckDB would read it as an inexact double.
fn wide_as_text(column: &ArrayRef) -> ArrayRef {
    let Some(decimals) = column.as_primitive_opt::<Decimal256Type>() else {
        return column.clone();
    };
    let text = |row| {
        decimals
            .is_valid(row)
            .then(|| decimals.value_as_string(row))
    };
    Arc::new((0..decimals.len()).map(text).collect::<StringArray>())
}

/// The Arrow type of a table's column in a data file.
pub(crate) fn in_file(column_type: ColumnType) -> DataType {
    match column_type.arrow() {
        DataType::Decimal256(..) => DataType::Utf8,
        data_type => data_type,
    }
}

fn field_in_file(field: &Field, name: &str, number: Option<i16>) -> Field {
    let field = match (field.name().as_str(), field.data_type()) {
        (OP, _) | (_, DataType::Decimal256(..)) => field.clone().with_data_type(DataType::Utf8),
        (XID, _) => field.clone().with_data_type(DataType::Int64),
        _ => field.clone(),
    };
    let field = field.with_name(name);
    let Some(number) = number else { return field };
    // Parquet's field id identifies a column whatever it is called, as PostgreSQL's number does.
    let mut metadata = field.metadata().clone();
    metadata.insert(PARQUET_FIELD_ID_META_KEY.to_owned(), number.to_string());
    field.with_metadata(metadata)
}

/// Refuses a table whose column has the name of a change column.
fn check_names(table: &TableSchema) -> Result<(), LakeError> {
    match table
        .columns
        .iter()
        .find(|column| is_reserved(&column.name))
    {
        Some(column) => Err(refused(
            table,
            &column.name,
            "has the name of a column that the lake adds itself",
        )),
        None => Ok(()),
    }
}

/// The key of the first folders by date. A column of the same name gets another one in the files of
/// a table whose folders exist (`commit/naming`): readers see only the folder's.
fn first_date_key(table: &TableSchema) -> String {
    let is_taken = |key: &str| {
        let mut columns = table.columns.iter();
        columns.any(|column| column.name.eq_ignore_ascii_case(key))
    };
    let key = if is_taken(DATE_KEY) {
        DATE_KEY_BESIDE_COLUMN
    } else {
        DATE_KEY
    };
    key.to_owned()
}

fn date_column_of(
    table: &TableSchema,
    options: &LakeOptions,
    positioned: &Schema,
) -> Result<usize, LakeError> {
    let Some(name) = &options.date_column else {
        // Without a configured column the event's own time dates a row; without such a time the
        // moment at which it was found does.
        if let Some(position) = table.event_time() {
            return Ok(position);
        }
        return Ok(positioned
            .index_of(DETECTED_AT)
            .expect("a positioned batch has this column"));
    };
    let position = table
        .resolve(name)
        .ok_or_else(|| refused(table, name, "does not exist, but `date_column` names it"))?;
    match table.columns[position].column_type {
        ColumnType::Scalar(Scalar::Date | Scalar::Timestamp | Scalar::TimestampTz) => Ok(position),
        _ => Err(refused(
            table,
            name,
            &format!(
                "is of type {}, which holds no date",
                table.columns[position].postgres_type
            ),
        )),
    }
}

fn refused(table: &TableSchema, column: &str, reason: &str) -> LakeError {
    LakeError::Column {
        table: table.table.clone(),
        column: column.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Zstd and statistics for every column. Values that grow (offsets, xids, keys, times) are stored
/// as differences, and columns whose values rarely repeat get no dictionary.
fn properties(table: &TableSchema, names: &[&str]) -> Result<WriterProperties, LakeError> {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("the level is one that zstd has");
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        // Statistics per row group are enough to skip files; those per page would make small files
        // larger.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_key_value_metadata(Some(vec![KeyValue::new(
            SCHEMA_KEY.to_owned(),
            table.fingerprint().to_string(),
        )]))
        .set_created_by(concat!("inlet ", env!("CARGO_PKG_VERSION")).to_owned());
    // Both grow steadily within a file, so their differences take a few bits.
    for ours in [OFFSET, XID] {
        builder = as_differences(builder, ours);
    }
    for (position, column) in table.columns.iter().enumerate() {
        let key = table.key.contains(&position);
        builder = match column.column_type {
            ColumnType::Scalar(Scalar::Timestamp | Scalar::TimestampTz) => {
                as_differences(builder, names[position])
            }
            // Keys are mostly serial numbers; a dictionary of unique values would only grow.
            ColumnType::Scalar(Scalar::Int32 | Scalar::Int64) if key => {
                as_differences(builder, names[position])
            }
            _ if key => builder.set_column_dictionary_enabled(path(names[position]), false),
            _ => builder,
        };
    }
    Ok(builder.build())
}

fn as_differences(builder: WriterPropertiesBuilder, column: &str) -> WriterPropertiesBuilder {
    builder
        .set_column_dictionary_enabled(path(column), false)
        .set_column_encoding(path(column), Encoding::DELTA_BINARY_PACKED)
}

fn path(column: &str) -> ColumnPath {
    ColumnPath::new(vec![column.to_owned()])
}
