//! The one table of type mappings: PostgreSQL -> Arrow -> JSON -> Parquet.
//!
//! A type that has no row here is read as its text (cast in the SELECT), so no table is refused and
//! no column dropped. docs/types.md is rendered from this table by
//! `crates/model/tests/types_page.rs`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

/// What a column becomes on the way to the lake.
///
/// Stored as the scalar's own name, or as `{"list":..}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// An array of one dimension, counted from 1, of a type that is not read as its text; any value
    /// and any element may be null.
    List(Scalar),
    /// A column that holds one value a row, of any type that is not an array.
    #[serde(untagged)]
    Scalar(Scalar),
}

/// The type of a single value: of a column, or of the elements of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scalar {
    /// `boolean`.
    Bool,
    /// `smallint`.
    Int16,
    /// `integer`.
    Int32,
    /// `bigint`.
    Int64,
    /// `oid`: 32 bits without sign, carried in 64 with one, because not every reader of Parquet
    /// knows numbers without.
    Oid,
    /// `real`.
    Float32,
    /// `double precision`.
    Float64,
    /// `numeric(p,s)` of at most 76 digits: 128 bits up to 38 digits, 256 above.
    Decimal {
        /// The number of digits, before and after the point together.
        precision: u8,
        /// The number of digits after the point.
        scale: i8,
    },
    /// `text`, `varchar(n)`, `char(n)` (padded, as PostgreSQL shows it), and every type read as its
    /// text.
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

/// Digits up to which every reader of the lake knows a decimal.
const DECIMAL_DIGITS_MAX: u8 = 38;

/// A type of the catalog, as far as the mapping asks.
#[derive(Debug, Clone, Copy)]
pub struct CatalogType<'a> {
    /// `pg_type.typname` of the base type (domains resolved), in schema `pg_catalog`; of an array,
    /// its element's. Anything else is read as text.
    pub name: &'a str,
    /// `pg_attribute.atttypmod`, -1 for none; an array's is that of its elements.
    pub modifier: i32,
    /// True for an array of the type.
    pub array: bool,
}

impl CatalogType<'_> {
    /// Returns whether the type has values that the lake's type does not have. Text that is not
    /// UTF-8 (of a `SQL_ASCII` database) does not count.
    pub fn has_impossible_values(self) -> bool {
        use Scalar::{Date, Decimal, Time, Timestamp, TimestampTz};
        match ColumnType::of(self) {
            None => false,
            Some(ColumnType::List(_)) => true,
            // A `json` may have half a surrogate pair; `jsonb` has only whole characters.
            Some(ColumnType::Scalar(Scalar::Json)) => self.name == "json",
            Some(ColumnType::Scalar(scalar)) => matches!(
                scalar,
                Decimal { .. } | Time | Date | Timestamp | TimestampTz
            ),
        }
    }
}

impl From<Scalar> for ColumnType {
    fn from(scalar: Scalar) -> Self {
        Self::Scalar(scalar)
    }
}

impl ColumnType {
    /// Returns the mapping; `None` means: read it as its text.
    pub fn of(catalog: CatalogType<'_>) -> Option<Self> {
        let scalar = Scalar::of(catalog)?;
        if !catalog.array {
            return Some(Self::Scalar(scalar));
        }
        // A list of longer decimals would have a type that readers do not know.
        let is_long =
            matches!(scalar, Scalar::Decimal { precision, .. } if precision > DECIMAL_DIGITS_MAX);
        (!is_long).then_some(Self::List(scalar))
    }

    /// Returns the scalar itself, or the one that a list's elements have.
    pub fn scalar(self) -> Scalar {
        match self {
            Self::Scalar(scalar) | Self::List(scalar) => scalar,
        }
    }

    /// Returns the Arrow type.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Scalar(scalar) => scalar.arrow(),
            Self::List(element) => DataType::List(Arc::new(named_field(
                Field::LIST_FIELD_DEFAULT_NAME,
                element.into(),
            ))),
        }
    }

    /// Returns the type that DuckDB shows for the lake's column. Decimals of more than 38 digits
    /// are text in the lake: DuckDB would read
    /// inexact floating-point numbers.
    pub fn duckdb(self) -> String {
        match self {
            Self::Scalar(scalar) => scalar.duckdb(),
            Self::List(element) => format!("{}[]", element.duckdb()),
        }
    }

    /// Returns whether a value has a date: it can be a cursor, and choose a folder.
    pub fn is_time(self) -> bool {
        use Scalar::{Date, Timestamp, TimestampTz};
        matches!(self, Self::Scalar(Date | Timestamp | TimestampTz))
    }
}

impl Scalar {
    fn of(catalog: CatalogType<'_>) -> Option<Self> {
        Some(match catalog.name {
            "bool" => Self::Bool,
            "int2" => Self::Int16,
            "int4" => Self::Int32,
            "int8" => Self::Int64,
            "oid" => Self::Oid,
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

    /// `numeric`'s modifier is `((precision << 16) | (scale & 0x7ff)) + 4`. Source: PostgreSQL,
    /// `numeric.c`, `make_numeric_typmod`.
    ///
    /// A negative scale (`numeric(5,-2)`: hundreds) makes longer whole numbers, one above the
    /// precision (`numeric(3,5)`: zeros after the point) longer fractions.
    fn decimal(modifier: i32) -> Option<Self> {
        // PostgreSQL packs precision and scale into the modifier, 4 above: `((precision << 16) |
        // (scale & 0x7ff)) + 4`. Without a modifier it is -1.
        let packed = modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
        let precision = (packed >> 16) & 0xffff;
        let scale = ((packed & 0x7ff) ^ 1024) - 1024;
        // A negative scale rounds to tens or hundreds; as a decimal without fraction it needs that
        // many more digits.
        let digits = if scale < 0 {
            precision - scale
        } else {
            precision.max(scale)
        };
        // Arrow's 256 bits hold 76 digits.
        if digits > 76 {
            return None;
        }
        Some(Self::Decimal {
            precision: u8::try_from(digits).ok()?,
            scale: i8::try_from(scale.max(0)).ok()?,
        })
    }

    /// Returns the Arrow type.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 | Self::Oid => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } if precision <= DECIMAL_DIGITS_MAX => {
                DataType::Decimal128(precision, scale)
            }
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

    fn duckdb(self) -> String {
        let name = match self {
            Self::Bool => "BOOLEAN",
            Self::Int16 => "SMALLINT",
            Self::Int32 => "INTEGER",
            Self::Int64 | Self::Oid => "BIGINT",
            Self::Float32 => "FLOAT",
            Self::Float64 => "DOUBLE",
            Self::Decimal { precision, scale } if precision <= DECIMAL_DIGITS_MAX => {
                return format!("DECIMAL({precision}, {scale})");
            }
            Self::Text | Self::Decimal { .. } => "VARCHAR",
            Self::Json => "JSON",
            Self::Uuid => "UUID",
            Self::Bytes => "BLOB",
            Self::Date => "DATE",
            Self::Time => "TIME",
            Self::Timestamp => "TIMESTAMP",
            Self::TimestampTz => "TIMESTAMPTZ",
        };
        name.to_owned()
    }
}

pub(crate) fn named_field(name: &str, column_type: ColumnType) -> Field {
    let field = Field::new(name, column_type.arrow(), true);
    match column_type {
        // Readers that know the extension show a UUID; others see 16 bytes.
        ColumnType::Scalar(Scalar::Uuid) => {
            field.with_extension_type(arrow_schema::extension::Uuid)
        }
        ColumnType::Scalar(Scalar::Json) => {
            field.with_extension_type(arrow_schema::extension::Json::default())
        }
        _ => field,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn numeric(modifier: i32) -> Option<ColumnType> {
        ColumnType::of(CatalogType {
            name: "numeric",
            modifier,
            array: false,
        })
    }

    #[test]
    fn numeric_10_2_is_a_decimal() {
        assert_eq!(
            numeric(((10 << 16) | 2) + 4),
            Some(ColumnType::Scalar(Scalar::Decimal {
                precision: 10,
                scale: 2
            }))
        );
    }

    #[test]
    fn numeric_without_precision_or_with_too_many_digits_is_text() {
        assert_eq!(numeric(-1), None);
        assert_eq!(numeric(((77 << 16) | 2) + 4), None);
        assert_eq!(numeric(((2 << 16) | 77) + 4), None);
        assert_eq!(numeric(((70 << 16) | (-7 & 0x7ff)) + 4), None);
    }

    #[test]
    fn a_scale_outside_the_precision_makes_longer_decimals() {
        assert_eq!(
            numeric(((5 << 16) | (-2 & 0x7ff)) + 4),
            Some(ColumnType::Scalar(Scalar::Decimal {
                precision: 7,
                scale: 0
            }))
        );
        assert_eq!(
            numeric(((3 << 16) | 5) + 4),
            Some(ColumnType::Scalar(Scalar::Decimal {
                precision: 5,
                scale: 5
            }))
        );
    }

    #[test]
    fn an_array_is_a_list_of_what_its_element_is() {
        let array = |name, modifier| {
            ColumnType::of(CatalogType {
                name,
                modifier,
                array: true,
            })
        };
        assert_eq!(array("int4", -1), Some(ColumnType::List(Scalar::Int32)));
        assert_eq!(
            array("numeric", ((10 << 16) | 2) + 4),
            Some(ColumnType::List(Scalar::Decimal {
                precision: 10,
                scale: 2
            }))
        );
        assert_eq!(
            array("numeric", ((39 << 16) | 2) + 4),
            None,
            "a list of decimals that readers do not know"
        );
        assert_eq!(array("numeric", -1), None);
        assert_eq!(array("inet", -1), None);
    }

    #[test]
    fn a_type_is_stored_as_the_first_release_stored_it() {
        for (column_type, text) in [
            (Scalar::TimestampTz.into(), r#""timestamp_tz""#),
            (
                Scalar::Decimal {
                    precision: 10,
                    scale: 2,
                }
                .into(),
                r#"{"decimal":{"precision":10,"scale":2}}"#,
            ),
            (ColumnType::List(Scalar::Int32), r#"{"list":"int32"}"#),
            (
                ColumnType::List(Scalar::Decimal {
                    precision: 5,
                    scale: 0,
                }),
                r#"{"list":{"decimal":{"precision":5,"scale":0}}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&column_type).unwrap(), text);
            assert_eq!(
                serde_json::from_str::<ColumnType>(text).unwrap(),
                column_type
            );
        }
        assert!(serde_json::from_str::<ColumnType>("\"int65\"").is_err());
    }
}
