//! The schema that Kafka Connect's `JsonConverter` writes with a message, as columns.
//!
//! Source: Kafka Connect, `JsonSchema`; Debezium's documentation, "Data type mappings".

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::wire::Wire;
use crate::{CatalogType, Column, ColumnType, Scalar};

/// A schema of Kafka Connect.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Schema {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    optional: bool,
    name: Option<String>,
    /// The name of the field that it describes.
    field: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    #[serde(default)]
    fields: Vec<Schema>,
    items: Option<Box<Schema>>,
}

/// Digits of a decimal whose schema does not tell: the most that every reader of the lake knows.
const DIGITS_MAX: u8 = 38;

impl Schema {
    pub fn read(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The schema of a member.
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.fields
            .iter()
            .find(|member| member.field.as_deref() == Some(name))
    }

    /// The columns of a row, and how the values of each are written.
    pub fn columns(&self) -> Vec<(Column, Wire)> {
        let members = self.fields.iter();
        members
            .filter_map(|member| Some((member.field.as_ref()?, member)))
            .map(|(name, member)| {
                let (column_type, postgres_type) = member.column_type();
                let column = Column {
                    name: name.clone(),
                    column_type,
                    postgres_type,
                    as_text: false,
                    not_null: !member.optional,
                    generated: false,
                    number: None,
                };
                let wire = member.wire(column.column_type);
                (column, wire)
            })
            .collect()
    }

    /// True when a double carries its values.
    pub fn is_double(&self) -> bool {
        match &self.items {
            Some(items) => items.is_double(),
            None => self.kind == "double",
        }
    }

    /// How its values are written, for a column of this type.
    pub fn wire(&self, column_type: ColumnType) -> Wire {
        if let ("array", Some(items)) = (self.kind.as_str(), &self.items) {
            return items.wire(column_type);
        }
        match self.name.as_deref() {
            Some("org.apache.kafka.connect.data.Decimal") => Wire::Unscaled(self.scale()),
            Some("io.debezium.data.VariableScaleDecimal") => Wire::Variable,
            Some("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date") => Wire::Days,
            Some(
                "io.debezium.time.Time"
                | "io.debezium.time.Timestamp"
                | "org.apache.kafka.connect.data.Time"
                | "org.apache.kafka.connect.data.Timestamp",
            ) => Wire::Millis,
            Some("io.debezium.time.MicroTime" | "io.debezium.time.MicroTimestamp") => Wire::Micros,
            Some("io.debezium.time.NanoTime" | "io.debezium.time.NanoTimestamp") => Wire::Nanos,
            _ => match self.kind.as_str() {
                "double" => match column_type.scalar() {
                    Scalar::Decimal { .. } => Wire::Number,
                    _ => Wire::Same,
                },
                "struct" | "map" => Wire::Raw,
                _ => Wire::Same,
            },
        }
    }

    fn scale(&self) -> i32 {
        let scale = self.parameters.get("scale");
        scale.and_then(|scale| scale.parse().ok()).unwrap_or(0)
    }

    fn column_type(&self) -> (ColumnType, String) {
        if let ("array", Some(items)) = (self.kind.as_str(), &self.items) {
            return match items.column_type() {
                (ColumnType::Scalar(element), name) => {
                    (ColumnType::List(element), format!("{name}[]"))
                }
                // Arrays of arrays have no type of the lake.
                (ColumnType::List(_), _) => (Scalar::Text.into(), "text".to_owned()),
            };
        }
        let (scalar, name) = self.scalar();
        (scalar.into(), name.to_owned())
    }

    fn scalar(&self) -> (Scalar, String) {
        if let Some(decimal) = self.decimal() {
            return decimal;
        }
        let (scalar, name) = match self.name.as_deref().unwrap_or_default() {
            "io.debezium.data.VariableScaleDecimal" => (Scalar::Text, "numeric"),
            "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => {
                (Scalar::Date, "date")
            }
            "io.debezium.time.Time"
            | "io.debezium.time.MicroTime"
            | "io.debezium.time.NanoTime"
            | "org.apache.kafka.connect.data.Time" => (Scalar::Time, "time without time zone"),
            "io.debezium.time.Timestamp"
            | "io.debezium.time.MicroTimestamp"
            | "io.debezium.time.NanoTimestamp"
            | "org.apache.kafka.connect.data.Timestamp" => {
                (Scalar::Timestamp, "timestamp without time zone")
            }
            "io.debezium.time.ZonedTimestamp" => (Scalar::TimestampTz, "timestamp with time zone"),
            "io.debezium.data.Json" => (Scalar::Json, "jsonb"),
            "io.debezium.data.Uuid" => (Scalar::Uuid, "uuid"),
            _ => match self.kind.as_str() {
                "boolean" => (Scalar::Bool, "boolean"),
                "int8" | "int16" => (Scalar::Int16, "smallint"),
                "int32" => (Scalar::Int32, "integer"),
                "int64" => (Scalar::Int64, "bigint"),
                "float" => (Scalar::Float32, "real"),
                "double" => (Scalar::Float64, "double precision"),
                "bytes" => (Scalar::Bytes, "bytea"),
                _ => (Scalar::Text, "text"),
            },
        };
        (scalar, name.to_owned())
    }

    /// The decimal that it is, or that the connector's `column.propagate.source.type` names.
    fn decimal(&self) -> Option<(Scalar, String)> {
        let number = |name: &str| self.parameters.get(name)?.parse::<i32>().ok();
        let is_decimal = self.name.as_deref() == Some("org.apache.kafka.connect.data.Decimal");
        let (precision, scale) = if is_decimal {
            let precision = number("connect.decimal.precision");
            (precision.unwrap_or(DIGITS_MAX.into()), self.scale())
        } else {
            let source = self.parameters.get("__debezium.source.column.type")?;
            if !source.eq_ignore_ascii_case("numeric") {
                return None;
            }
            (
                number("__debezium.source.column.length")?,
                number("__debezium.source.column.scale")?,
            )
        };
        // The catalog's own packing, so that the types are those of a table that is polled.
        let modifier = (precision.checked_shl(16)? | (scale & 0x7ff)).checked_add(4)?;
        let catalog = CatalogType {
            name: "numeric",
            modifier,
            array: false,
        };
        let name = format!("numeric({precision},{scale})");
        Some((ColumnType::of(catalog)?.scalar(), name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(schema: &str) -> Vec<(ColumnType, String, Wire)> {
        let text = format!(r#"{{"type":"struct","fields":[{schema}]}}"#);
        let columns = Schema::read(text.as_bytes()).unwrap().columns();
        columns
            .into_iter()
            .map(|(column, wire)| (column.column_type, column.postgres_type, wire))
            .collect()
    }

    #[test]
    fn a_schema_tells_type_and_way_of_writing() {
        let decimal = r#"{"type":"bytes","optional":true,"field":"a",
            "name":"org.apache.kafka.connect.data.Decimal","version":1,
            "parameters":{"scale":"2","connect.decimal.precision":"10"}}"#;
        let scalar = Scalar::Decimal {
            precision: 10,
            scale: 2,
        };
        let expected = (scalar.into(), "numeric(10,2)".to_owned(), Wire::Unscaled(2));
        assert_eq!(types(decimal), [expected]);
        let propagated = r#"{"type":"string","optional":false,"field":"a","parameters":
            {"__debezium.source.column.type":"NUMERIC","__debezium.source.column.length":"10",
            "__debezium.source.column.scale":"2"}}"#;
        let expected = (scalar.into(), "numeric(10,2)".to_owned(), Wire::Same);
        assert_eq!(types(propagated), [expected]);
        let list = r#"{"type":"array","items":{"type":"int32","optional":true,
            "name":"io.debezium.time.Date","version":1},"optional":true,"field":"a"}"#;
        let expected = (
            ColumnType::List(Scalar::Date),
            "date[]".to_owned(),
            Wire::Days,
        );
        assert_eq!(types(list), [expected]);
        let point = r#"{"type":"struct","fields":[],"optional":true,"field":"a",
            "name":"io.debezium.data.geometry.Point"}"#;
        let expected = (Scalar::Text.into(), "text".to_owned(), Wire::Raw);
        assert_eq!(types(point), [expected]);
    }
}
