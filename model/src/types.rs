//! The one table of type mappings: PostgreSQL -> Arrow -> JSON -> Parquet.
//!
//! A type that has no row here is read as its text (cast in the SELECT), so no table is refused and no column dropped.

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::table::Column;

/// What a column becomes on the way to the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// `boolean`.
    Bool,
    /// `smallint`.
    Int16,
    /// `integer`.
    Int32,
    /// `bigint`.
    Int64,
    /// `real`.
    Float32,
    /// `double precision`.
    Float64,
    /// `numeric(p,s)` with `0 <= s <= p <= 76`: 128 bits up to 38 digits, 256 above.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: i8,
    },
    /// `text`, `varchar(n)`, `char(n)` (padded, as PostgreSQL shows it), and every type read as its text.
    Text,
    /// `json` and `jsonb`, the text unchanged.
    Json,
    /// `uuid`.
    Uuid,
    /// `bytea`.
    Bytes,
    /// `date`: days since 1970-01-01.
    Date,
    /// `time`: microseconds since midnight.
    Time,
    /// `timestamp`: microseconds since 1970-01-01 of a wall clock without zone.
    Timestamp,
    /// `timestamptz`: microseconds since 1970-01-01 UTC.
    TimestampTz,
}

/// A type of the catalog, as far as the mapping asks.
#[derive(Debug, Clone, Copy)]
pub struct CatalogType<'a> {
    /// `pg_type.typname` of the base type (domains resolved), in schema `pg_catalog`; anything else is read as text.
    pub name: &'a str,
    /// `pg_attribute.atttypmod`, -1 for none.
    pub modifier: i32,
}

impl ColumnType {
    /// The mapping; `None` means: read it as its text.
    pub fn of(catalog: CatalogType<'_>) -> Option<Self> {
        Some(match catalog.name {
            "bool" => Self::Bool,
            "int2" => Self::Int16,
            "int4" => Self::Int32,
            "int8" => Self::Int64,
            "float4" => Self::Float32,
            "float8" => Self::Float64,
            "numeric" => return Self::decimal(catalog.modifier),
            "text" | "varchar" | "bpchar" => Self::Text,
            "json" | "jsonb" => Self::Json,
            "uuid" => Self::Uuid,
            "bytea" => Self::Bytes,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            _ => return None,
        })
    }

    /// `numeric`'s modifier is `((precision << 16) | (scale & 0x7ff)) + 4`. Source: PostgreSQL, `numeric.c`, `make_numeric_typmod`.
    fn decimal(modifier: i32) -> Option<Self> {
        let packed = modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
        let precision = (packed >> 16) & 0xffff;
        let scale = ((packed & 0x7ff) ^ 1024) - 1024;
        if !(0..=precision).contains(&scale) || precision > 76 {
            return None;
        }
        Some(Self::Decimal { precision: u8::try_from(precision).ok()?, scale: i8::try_from(scale).ok()? })
    }

    /// The Arrow type.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } if precision <= 38 => DataType::Decimal128(precision, scale),
            Self::Decimal { precision, scale } => DataType::Decimal256(precision, scale),
            Self::Text | Self::Json => DataType::Utf8,
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// A column's Arrow field; nullable whatever the catalog says, because a later schema may allow it.
pub fn field(column: &Column) -> Field {
    let field = Field::new(&column.name, column.column_type.arrow(), true);
    match column.column_type {
        ColumnType::Uuid => field.with_extension_type(arrow_schema::extension::Uuid),
        ColumnType::Json => field.with_extension_type(arrow_schema::extension::Json::default()),
        _ => field,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(modifier: i32) -> Option<ColumnType> {
        ColumnType::of(CatalogType { name: "numeric", modifier })
    }

    #[test]
    fn numeric_10_2_is_a_decimal() {
        assert_eq!(numeric(((10 << 16) | 2) + 4), Some(ColumnType::Decimal { precision: 10, scale: 2 }));
    }

    #[test]
    fn numeric_without_precision_with_negative_scale_or_too_many_digits_is_text() {
        assert_eq!(numeric(-1), None);
        assert_eq!(numeric(((5 << 16) | (-2 & 0x7ff)) + 4), None);
        assert_eq!(numeric(((77 << 16) | 2) + 4), None);
        assert_eq!(numeric(((2 << 16) | 5) + 4), None);
    }
}
