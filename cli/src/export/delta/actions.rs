//! The actions of a version, as the protocol writes them. Pure.

use std::collections::BTreeMap;

use chrono::Utc;
use inlet_lake::{Act, ColumnStatistics};
use inlet_model::{ColumnType, Scalar, TableName};
use serde_json::{Map, Value, json};

use super::APPLICATION;
use crate::export::error::ExportError;
use crate::export::shape::{Field, InFile, Shape};
use crate::export::step::{AddedFile, State, Step};

/// The bytes from which on a bound of a text may be cut.
const CUT_BYTES: usize = 64;

/// The columns of a table, with their types in Delta.
pub struct Schema<'a> {
    shape: &'a Shape,
    table: &'a TableName,
    lake: &'a str,
    /// The type of each field, then that of the date.
    types: Vec<Value>,
    has_local_times: bool,
}

/// What a version states about the log that it is of.
pub fn state(bytes: &[u8]) -> Result<State, String> {
    let mut found: BTreeMap<&str, Value> = BTreeMap::new();
    for line in bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let action: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        for name in ["commitInfo", "txn"] {
            if let Some(value) = action.get(name) {
                found.insert(name, value.clone());
            }
        }
    }
    let ours = found.get("commitInfo").map(|info| &info[APPLICATION]);
    let transaction = found
        .get("txn")
        .filter(|txn| txn["appId"] == APPLICATION)
        .and_then(|txn| txn["version"].as_u64());
    let (Some(ours), Some(seq)) = (ours, transaction) else {
        return Err("another program wrote it".to_owned());
    };
    let text = |key: &str| ours[key].as_str().map(str::to_owned);
    let lake = text("lake").ok_or("it names no log")?;
    let shape = text("shape").and_then(|shape| u64::from_str_radix(&shape, 16).ok());
    Ok(State {
        lake,
        seq,
        shape: shape.unwrap_or_default(),
    })
}

/// The first action of a version: who wrote it, and of what.
pub fn commit_info(step: &Step<'_>) -> Value {
    let State { lake, seq, shape } = &step.state;
    let operation = match step.act {
        Act::Append => "WRITE",
        Act::Merge => "OPTIMIZE",
        Act::Expire => "DELETE",
    };
    json!({ "commitInfo": {
        "timestamp": Utc::now().timestamp_millis(),
        "operation": operation,
        "operationParameters": {},
        "engineInfo": concat!("inlet ", env!("CARGO_PKG_VERSION")),
        APPLICATION: { "lake": lake, "seq": seq, "shape": format!("{shape:016x}") },
    } })
}

impl<'a> Schema<'a> {
    /// Fails where a column has a type that Delta lacks.
    pub fn new(table: &'a TableName, step: &'a Step<'_>) -> Result<Self, ExportError> {
        let shape = step.shape;
        let lacking = lacking(
            shape
                .fields
                .iter()
                .map(|of| (of.name.as_str(), of.column_type)),
        );
        if let Some(columns) = lacking {
            let table = table.clone();
            return Err(ExportError::NoDeltaType { table, columns });
        }
        let types = shape.fields.iter().map(|field| type_of(field.column_type));
        let is_local = |field: &Field| field.column_type.scalar() == Scalar::Timestamp;
        Ok(Self {
            types: types.chain([json!("date")]).collect(),
            has_local_times: shape.fields.iter().any(is_local),
            lake: &step.state.lake,
            shape,
            table,
        })
    }

    /// What a reader must know to read the table, and its columns.
    pub fn actions(&self) -> [Value; 2] {
        let names = self.shape.fields.iter().map(|field| field.name.as_str());
        let names = names.chain([self.shape.date.as_str()]);
        let fields = names.zip(&self.types).map(
            |(name, of)| json!({ "name": name, "type": of, "nullable": true, "metadata": {} }),
        );
        let fields: Vec<Value> = fields.collect();
        let schema = json!({ "type": "struct", "fields": fields });
        let protocol = match self.has_local_times {
            false => json!({ "minReaderVersion": 1, "minWriterVersion": 2 }),
            // The feature that a time without a zone needs is of these versions.
            true => json!({
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": ["timestampNtz"],
                "writerFeatures": ["timestampNtz"],
            }),
        };
        let protocol = json!({ "protocol": protocol });
        let metadata = json!({ "metaData": {
            "id": self.lake,
            "name": self.table.name,
            "format": { "provider": "parquet", "options": {} },
            "schemaString": schema.to_string(),
            "partitionColumns": [self.shape.date],
            "configuration": {},
            "createdTime": 0,
        } });
        [protocol, metadata]
    }
}

/// A file that the table has from this version on.
pub fn add(
    schema: &Schema<'_>,
    AddedFile { path, file, extent }: &AddedFile,
    has_changed: bool,
) -> Result<Value, ExportError> {
    let in_file = file.schema.and_then(|of| schema.shape.in_files.get(&of));
    let Some(in_file) = in_file else {
        let path = file.path.clone();
        return Err(ExportError::UnknownSchema { path });
    };
    let date = &schema.shape.date;
    Ok(json!({ "add": {
        "path": path,
        "partitionValues": { date: file.date },
        "size": extent.bytes,
        // No reader compares it, and a file of the lake has no other time that is stored.
        "modificationTime": 0,
        "dataChange": has_changed,
        "stats": statistics(schema.shape, in_file, file.rows, &file.columns).to_string(),
    } }))
}

/// A file that the table no longer has.
pub fn remove(path: &str, has_changed: bool) -> Value {
    json!({ "remove": {
        "path": path,
        "deletionTimestamp": Utc::now().timestamp_millis(),
        "dataChange": has_changed,
    } })
}

/// Rows, and of columns nulls and bounds, as far as every reader compares these in the same way.
fn statistics(
    shape: &Shape,
    in_file: &[InFile],
    rows: u64,
    found: &BTreeMap<String, ColumnStatistics>,
) -> Value {
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    for (at, field) in shape.fields.iter().enumerate() {
        let Some(of_file) = in_file.iter().find(|of| of.field == at) else {
            nulls.insert(field.name.clone(), json!(rows));
            continue;
        };
        let Some(of_column) = found.get(&of_file.own) else {
            continue;
        };
        if let Some(count) = of_column.nulls {
            nulls.insert(field.name.clone(), json!(count));
        }
        let bound = |text: &Option<String>| {
            let is_same = of_file.column_type == field.column_type;
            text.as_deref()
                .filter(|_| is_same)
                .and_then(|text| bound(field, text))
        };
        if let (Some(lowest), Some(highest)) = (bound(&of_column.min), bound(&of_column.max)) {
            min.insert(field.name.clone(), lowest);
            max.insert(field.name.clone(), highest);
        }
    }
    json!({ "numRecords": rows, "minValues": min, "maxValues": max, "nullCount": nulls })
}

fn bound(field: &Field, text: &str) -> Option<Value> {
    match field.column_type {
        ColumnType::Scalar(Scalar::Int16 | Scalar::Int32 | Scalar::Int64 | Scalar::Oid) => {
            text.parse::<i64>().ok().map(Value::from)
        }
        ColumnType::Scalar(Scalar::Date) => Some(json!(text)),
        // Longer ones may be cut.
        ColumnType::Scalar(Scalar::Text) if text.len() < CUT_BYTES => Some(json!(text)),
        _ => None,
    }
}

/// The columns whose type Delta lacks, in words; `None` without any.
pub fn lacking<'a>(columns: impl Iterator<Item = (&'a str, ColumnType)>) -> Option<String> {
    let lacking = columns.filter_map(|(name, of)| {
        let word = match of.scalar() {
            Scalar::Time => "time",
            Scalar::Uuid => "uuid",
            _ => return None,
        };
        Some(format!("`{name}` is a {word}"))
    });
    let lacking: Vec<String> = lacking.collect();
    (!lacking.is_empty()).then(|| lacking.join(", "))
}

fn type_of(column_type: ColumnType) -> Value {
    match column_type {
        ColumnType::Scalar(scalar) => json!(name_of(scalar)),
        ColumnType::List(element) => json!({
            "type": "array",
            "elementType": name_of(element),
            "containsNull": true,
        }),
    }
}

fn name_of(scalar: Scalar) -> String {
    let name = match scalar {
        Scalar::Bool => "boolean",
        Scalar::Int16 => "short",
        Scalar::Int32 => "integer",
        Scalar::Int64 | Scalar::Oid => "long",
        Scalar::Float32 => "float",
        Scalar::Float64 => "double",
        Scalar::Decimal { precision, scale }
            if ColumnType::Scalar(scalar).duckdb() != "VARCHAR" =>
        {
            return format!("decimal({precision},{scale})");
        }
        // More digits than a reader has are text in the files.
        Scalar::Decimal { .. } | Scalar::Text | Scalar::Json => "string",
        Scalar::Bytes => "binary",
        Scalar::Date => "date",
        Scalar::Timestamp => "timestamp_ntz",
        Scalar::TimestampTz => "timestamp",
        Scalar::Uuid | Scalar::Time => unreachable!("`lacking` has named these columns"),
    };
    name.to_owned()
}
