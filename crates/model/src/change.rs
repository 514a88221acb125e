//! The change batch, which all stages exchange.
//!
//! An Arrow [`RecordBatch`] of one table: the table's columns in table order, then the change
//! columns. On the way to the sink these are [`OP`], [`XID`] and [`UNFIT`]; after the topic (or
//! after the poll, without a broker) they are [`OP`], [`XID`], [`KAFKA_PARTITION`], [`OFFSET`] and
//! [`DETECTED_AT`].

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::column::Column;
use crate::schema::TableSchema;

/// Change column: [`UPSERT`] or [`DELETE`], `UInt8`.
pub const OP: &str = "_op";
/// Change column: the 64-bit xid that wrote the version, `UInt64`.
pub const XID: &str = "_xid";
/// Change column: null, or a JSON object of the row's values that no Arrow value can hold, column
/// -> PostgreSQL's text; such a column is null in the batch. `Utf8`.
pub const UNFIT: &str = "_unfit";
/// Position column: the kafka_partition, `Int32`.
pub const KAFKA_PARTITION: &str = "_kafka_partition";
/// Position column: the offset in the kafka_partition, `Int64`. It orders the versions of one
/// key as PostgreSQL committed them.
pub const OFFSET: &str = "_offset";
/// Position column: server time of the snapshot in which the poller found the version, microseconds
/// UTC.
pub const DETECTED_AT: &str = "_detected_at";

/// What the name of a column begins with that identifies the values of a key column: see
/// [`crate::Identity`].
pub const IDENTITY_PREFIX: &str = "_key_";

/// Returns whether the change columns already use this name. Names are compared without case, as
/// DuckDB and Spark read them.
pub fn is_reserved(column: &str) -> bool {
    const RESERVED: [&str; 6] = [OP, XID, UNFIT, KAFKA_PARTITION, OFFSET, DETECTED_AT];
    RESERVED
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(column))
}

/// A row was inserted or updated.
pub const UPSERT: u8 = b'u';
/// A row was deleted.
pub const DELETE: u8 = b'd';

/// Changes of one table, one row a change.
#[derive(Debug, Clone)]
pub struct ChangeBatch {
    /// The table as it was when the rows were read.
    pub schema: Arc<TableSchema>,
    /// Table columns, then change columns (see the module).
    pub rows: RecordBatch,
    /// Server time of the snapshot, microseconds since 1970-01-01 UTC.
    pub detected_at: i64,
    /// Why the rows were read.
    pub origin: Origin,
}

/// Why rows were read. A format may write it into its records; the lake's log stores it for repairs
/// only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Origin {
    /// A poll has found that they changed.
    #[default]
    Poll,
    /// A load reads a whole table.
    Load,
    /// A comparison has found that they differ from the lake's.
    Repair,
}

/// The Arrow schema of a polled batch: table columns, `_op`, `_xid`, `_unfit`.
pub fn polled_schema(table: &TableSchema) -> SchemaRef {
    with_columns(
        table,
        [op(), xid(), Field::new(UNFIT, DataType::Utf8, true)],
    )
}

/// The Arrow schema of a batch with its position: table columns, `_op`, `_xid`, `_kafka_partition`,
/// `_offset`, `_detected_at`.
pub fn positioned_schema(table: &TableSchema) -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    with_columns(
        table,
        [
            op(),
            xid(),
            Field::new(KAFKA_PARTITION, DataType::Int32, false),
            Field::new(OFFSET, DataType::Int64, false),
            Field::new(DETECTED_AT, utc, false),
        ],
    )
}

fn op() -> Field {
    Field::new(OP, DataType::UInt8, false)
}

fn xid() -> Field {
    Field::new(XID, DataType::UInt64, false)
}

fn with_columns<const N: usize>(table: &TableSchema, change: [Field; N]) -> SchemaRef {
    Arc::new(Schema::new(
        table
            .columns
            .iter()
            .map(Column::field)
            .chain(change)
            .collect::<Vec<_>>(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_reserved_in_any_case_and_only_as_a_whole() {
        for name in [
            "_op",
            "_Op",
            "_XID",
            "_unfit",
            "_Kafka_Partition",
            "_OFFSET",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["op", "_op2", "offset", "_op "] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
