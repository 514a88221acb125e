//! The schemas that go with a message, as Debezium's connector and Kafka Connect's `JsonConverter`
//! write them.

use serde_json::{Map, Value, json};

use super::super::wire::Wire;
use crate::record::encoding::TimeMode;
use crate::{Column, ColumnType, Scalar, TableSchema};

/// The schema of a key.
pub(super) fn key(topic: &str, columns: &[(&Column, Wire)], times: TimeMode) -> Value {
    json!({
        "type": "struct",
        "fields": fields(columns, true, times),
        "optional": false,
        "name": format!("{topic}.Key"),
    })
}

/// The schema of the key of a row that has none.
pub(super) fn row_hash(topic: &str) -> Value {
    json!({
        "type": "struct",
        "fields": [{"type": "string", "optional": false, "field": "_row"}],
        "optional": false,
        "name": format!("{topic}.Key"),
    })
}

/// The schema of a value: the envelope.
pub(super) fn envelope(
    topic: &str,
    schema: &TableSchema,
    wires: &[Wire],
    times: TimeMode,
) -> Value {
    let columns: Vec<_> = schema.columns.iter().zip(wires.iter().copied()).collect();
    let row = |field: &str| {
        json!({
            "type": "struct",
            "fields": fields(&columns, false, times),
            "optional": true,
            "name": format!("{topic}.Value"),
            "field": field,
        })
    };
    json!({
        "type": "struct",
        "fields": [
            row("before"),
            row("after"),
            source(),
            transaction(),
            plain("string", false, "op"),
            plain("int64", true, "ts_ms"),
            plain("int64", true, "ts_us"),
            plain("int64", true, "ts_ns"),
        ],
        "optional": false,
        "name": format!("{topic}.Envelope"),
        "version": 2,
    })
}

fn plain(kind: &str, optional: bool, field: &str) -> Value {
    json!({"type": kind, "optional": optional, "field": field})
}

fn source() -> Value {
    let snapshot = json!({
        "type": "string",
        "optional": true,
        "name": "io.debezium.data.Enum",
        "version": 1,
        "parameters": {"allowed": "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},
        "default": "false",
        "field": "snapshot",
    });
    json!({
        "type": "struct",
        "fields": [
            plain("string", false, "version"),
            plain("string", false, "connector"),
            plain("string", false, "name"),
            plain("int64", false, "ts_ms"),
            snapshot,
            plain("string", false, "db"),
            plain("string", true, "sequence"),
            plain("int64", true, "ts_us"),
            plain("int64", true, "ts_ns"),
            plain("string", false, "schema"),
            plain("string", false, "table"),
            plain("int64", true, "txId"),
            plain("int64", true, "lsn"),
            plain("int64", true, "xmin"),
            plain("string", true, "origin"),
            plain("int64", true, "origin_lsn"),
        ],
        "optional": false,
        "name": "io.debezium.connector.postgresql.Source",
        "version": 1,
        "field": "source",
    })
}

fn transaction() -> Value {
    json!({
        "type": "struct",
        "fields": [
            plain("string", false, "id"),
            plain("int64", false, "total_order"),
            plain("int64", false, "data_collection_order"),
        ],
        "optional": true,
        "name": "event.block",
        "version": 1,
        "field": "transaction",
    })
}

fn fields(columns: &[(&Column, Wire)], is_key: bool, times: TimeMode) -> Vec<Value> {
    let field = |(column, wire): &(&Column, Wire)| {
        let mut field = match column.column_type {
            ColumnType::Scalar(scalar) => scalar_schema(scalar, *wire, times),
            ColumnType::List(element) => {
                let mut items = scalar_schema(element, *wire, times);
                items.insert("optional".to_owned(), true.into());
                let mut list = Map::new();
                list.insert("type".to_owned(), "array".into());
                list.insert("items".to_owned(), items.into());
                list
            }
        };
        // A deleted row's `before` has its key alone, so only a key is never null.
        field.insert("optional".to_owned(), (!is_key).into());
        field.insert("field".to_owned(), column.name.as_str().into());
        Value::Object(field)
    };
    columns.iter().map(field).collect()
}

fn scalar_schema(scalar: Scalar, wire: Wire, times: TimeMode) -> Map<String, Value> {
    let (kind, name) = match (scalar, wire) {
        (Scalar::Decimal { .. }, Wire::Unscaled(_)) => {
            ("bytes", "org.apache.kafka.connect.data.Decimal")
        }
        (Scalar::Decimal { .. } | Scalar::Text, Wire::Number | Wire::NumberText) => ("double", ""),
        (Scalar::Text, Wire::Variable) => ("struct", "io.debezium.data.VariableScaleDecimal"),
        (Scalar::Decimal { .. } | Scalar::Text, _) => ("string", ""),
        (Scalar::Date, _) => ("int32", "io.debezium.time.Date"),
        (Scalar::Time, Wire::Millis) => ("int32", "io.debezium.time.Time"),
        (Scalar::Time, _) => ("int64", "io.debezium.time.MicroTime"),
        (Scalar::Timestamp, Wire::Millis) => ("int64", "io.debezium.time.Timestamp"),
        (Scalar::Timestamp, _) => ("int64", "io.debezium.time.MicroTimestamp"),
        (Scalar::TimestampTz, _) => ("string", "io.debezium.time.ZonedTimestamp"),
        (Scalar::Json, _) => ("string", "io.debezium.data.Json"),
        (Scalar::Uuid, _) => ("string", "io.debezium.data.Uuid"),
        (Scalar::Bool, _) => ("boolean", ""),
        (Scalar::Int16, _) => ("int16", ""),
        (Scalar::Int32, _) => ("int32", ""),
        (Scalar::Int64 | Scalar::Oid, _) => ("int64", ""),
        (Scalar::Float32, _) => ("float", ""),
        (Scalar::Float64, _) => ("double", ""),
        (Scalar::Bytes, _) => ("bytes", ""),
    };
    // In this mode the types are Kafka Connect's own, which have no microseconds.
    let name = match name.strip_prefix("io.debezium.time.") {
        Some(of_time @ ("Date" | "Time" | "Timestamp")) if times == TimeMode::Connect => {
            format!("org.apache.kafka.connect.data.{of_time}")
        }
        _ => name.to_owned(),
    };
    let mut schema = Map::new();
    schema.insert("type".to_owned(), kind.into());
    if !name.is_empty() {
        schema.insert("name".to_owned(), name.into());
        schema.insert("version".to_owned(), 1.into());
    }
    if let (Scalar::Decimal { precision, scale }, Wire::Unscaled(_)) = (scalar, wire) {
        let parameters = json!({
            "scale": scale.to_string(),
            "connect.decimal.precision": precision.to_string(),
        });
        schema.insert("parameters".to_owned(), parameters);
    }
    if wire == Wire::Variable {
        let members = [
            plain("int32", false, "scale"),
            plain("bytes", false, "value"),
        ];
        schema.insert("fields".to_owned(), members.to_vec().into());
    }
    schema
}
