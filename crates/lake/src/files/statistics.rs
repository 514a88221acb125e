//! What a data file contains, column by column, as the log's entry stores it.
//!
//! Taken from the metadata that the Parquet writer returns, so that a reader of the log can leave
//! files out and hand them to a catalog without opening one. The layout is that of
//! [`ColumnStatistics`] as JSON; a later version may add fields.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime};
use inlet_model::change::{DETECTED_AT, OFFSET};
use inlet_model::{ColumnType, Scalar, TableSchema};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use serde::{Deserialize, Serialize};

/// Columns that have statistics in the log, beside those of the key: the first ones, as readers of
/// other logs expect it.
const COLUMNS_MAX: usize = 32;
/// Digits up to which a decimal is a number in a data file; longer ones are text there.
const DECIMAL_DIGITS_MAX: u8 = 38;
/// Years that are written with four digits by every reader.
const YEARS: std::ops::RangeInclusive<i32> = 1..=9999;

/// The values of one column in one data file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnStatistics {
    /// The number of values, nulls included; of a list, that of its elements.
    pub values: u64,
    /// The number of nulls; `None` for a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nulls: Option<u64>,
    /// Compressed bytes.
    pub bytes: u64,
    /// A value that is not above any value, as PostgreSQL writes it (times in UTC); a text may be
    /// cut. `None` without values, and for types without an order that all readers share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<String>,
    /// A value that is not below any value; see [`Self::min`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
}

/// A bound before it is text. Bounds of one column are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Number(i128),
    Bytes(Vec<u8>),
}

/// The statistics of a file's first columns, its key and its position, by the names of its schema.
pub(crate) fn of(
    metadata: &ParquetMetaData,
    table: &TableSchema,
) -> BTreeMap<String, ColumnStatistics> {
    let columns = table.columns.iter().enumerate();
    let mut found: BTreeMap<_, _> = columns
        .filter(|(at, _)| *at < COLUMNS_MAX || table.key.contains(at))
        // A column of ours has exactly one leaf, also a list, so leaves are numbered as columns.
        .map(|(at, column)| {
            (
                column.name.clone(),
                of_leaf(metadata, at, column.column_type),
            )
        })
        .collect();
    let leaves = metadata.file_metadata().schema_descr().columns().iter();
    for (at, leaf) in leaves.enumerate().skip(table.columns.len()) {
        let column_type = match leaf.name() {
            OFFSET => Scalar::Int64,
            DETECTED_AT => Scalar::TimestampTz,
            _ => continue,
        };
        let statistics = of_leaf(metadata, at, column_type.into());
        found.insert(leaf.name().to_owned(), statistics);
    }
    found
}

fn of_leaf(metadata: &ParquetMetaData, leaf: usize, column_type: ColumnType) -> ColumnStatistics {
    let mut found = ColumnStatistics {
        nulls: Some(0),
        ..ColumnStatistics::default()
    };
    let mut bounds: Option<(Bound, Bound)> = None;
    let mut has_bounds = true;
    for chunk in metadata.row_groups().iter().map(|group| group.column(leaf)) {
        let values = chunk.num_values().unsigned_abs();
        found.values += values;
        found.bytes += chunk.compressed_size().unsigned_abs();
        let statistics = chunk.statistics();
        let nulls = statistics.and_then(Statistics::null_count_opt);
        found.nulls = found.nulls.zip(nulls).map(|(sum, nulls)| sum + nulls);
        match statistics.and_then(|statistics| bounds_of(statistics, column_type)) {
            Some((min, max)) => {
                bounds = Some(match bounds {
                    Some((lowest, highest)) => (lowest.min(min), highest.max(max)),
                    None => (min, max),
                });
            }
            // A row group of nulls alone has no bounds and changes none.
            None => has_bounds &= nulls == Some(values),
        }
    }
    let ColumnType::Scalar(scalar) = column_type else {
        // A leaf counts an empty list and a null one as a null of its elements.
        found.nulls = None;
        return found;
    };
    if let Some((min, max)) = bounds.filter(|_| has_bounds) {
        (found.min, found.max) = (text(&min, scalar), text(&max, scalar));
    }
    found
}

fn bounds_of(statistics: &Statistics, column_type: ColumnType) -> Option<(Bound, Bound)> {
    let ColumnType::Scalar(scalar) = column_type else {
        return None;
    };
    let is_decimal = matches!(scalar, Scalar::Decimal { .. });
    let bytes = |bytes: &[u8]| {
        if is_decimal {
            big_endian(bytes).map(Bound::Number)
        } else {
            Some(Bound::Bytes(bytes.to_vec()))
        }
    };
    match statistics {
        Statistics::Boolean(of) => Some((number(*of.min_opt()?), number(*of.max_opt()?))),
        Statistics::Int32(of) => Some((number(*of.min_opt()?), number(*of.max_opt()?))),
        Statistics::Int64(of) => Some((number(*of.min_opt()?), number(*of.max_opt()?))),
        Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_) => Some((
            bytes(statistics.min_bytes_opt()?)?,
            bytes(statistics.max_bytes_opt()?)?,
        )),
        // The bounds of floating-point numbers leave NaN out, which readers sort above all others.
        _ => None,
    }
}

fn number(value: impl Into<i128>) -> Bound {
    Bound::Number(value.into())
}

fn big_endian(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [sign; 16];
    let start = wide.len().checked_sub(bytes.len())?;
    wide[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

fn text(bound: &Bound, scalar: Scalar) -> Option<String> {
    match (bound, scalar) {
        (Bound::Number(value), Scalar::Bool) => Some((*value != 0).to_string()),
        (Bound::Number(value), Scalar::Int16 | Scalar::Int32 | Scalar::Int64 | Scalar::Oid) => {
            Some(value.to_string())
        }
        (Bound::Number(value), Scalar::Decimal { precision, scale })
            if precision <= DECIMAL_DIGITS_MAX =>
        {
            Some(decimal(*value, usize::try_from(scale).ok()?))
        }
        (Bound::Number(days), Scalar::Date) => {
            let days = i64::try_from(*days).ok()?;
            let date = NaiveDate::default().checked_add_signed(chrono::Duration::days(days))?;
            YEARS.contains(&date.year()).then(|| date.to_string())
        }
        (Bound::Number(micros), Scalar::Time) => {
            let (seconds, micros) = (*micros / 1_000_000, *micros % 1_000_000);
            let (seconds, micros) = (u32::try_from(seconds).ok()?, u32::try_from(micros).ok()?);
            let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, micros * 1_000)?;
            Some(time.format("%H:%M:%S%.6f").to_string())
        }
        (Bound::Number(micros), Scalar::Timestamp | Scalar::TimestampTz) => {
            let time = DateTime::from_timestamp_micros(i64::try_from(*micros).ok()?)?;
            let zone = if scalar == Scalar::Timestamp {
                ""
            } else {
                "+00"
            };
            let text = || format!("{}{zone}", time.format("%Y-%m-%d %H:%M:%S%.6f"));
            YEARS.contains(&time.year()).then(text)
        }
        (Bound::Bytes(bytes), Scalar::Uuid) => {
            let bytes = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
            Some(uuid::Uuid::from_bytes(bytes).to_string())
        }
        (Bound::Bytes(bytes), Scalar::Text) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    }
}

fn decimal(digits: i128, scale: usize) -> String {
    if scale == 0 {
        return digits.to_string();
    }
    let sign = if digits < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", digits.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_written_as_postgresql_writes_the_value() {
        let number = |value: i128, scalar| text(&Bound::Number(value), scalar);
        let decimal = |scale| Scalar::Decimal {
            precision: 10,
            scale,
        };
        for (value, scalar, expected) in [
            (-5, decimal(2), Some("-0.05")),
            (12345, decimal(2), Some("123.45")),
            (-12, decimal(0), Some("-12")),
            (1, Scalar::Bool, Some("true")),
            (0, Scalar::Date, Some("1970-01-01")),
            (-719_163, Scalar::Date, None),
            (i128::from(i32::MAX), Scalar::Date, None),
            (3_723_000_004, Scalar::Time, Some("01:02:03.000004")),
            (86_400_000_000, Scalar::Time, None),
            (-1, Scalar::Timestamp, Some("1969-12-31 23:59:59.999999")),
            (
                0,
                Scalar::TimestampTz,
                Some("1970-01-01 00:00:00.000000+00"),
            ),
            (i128::from(i64::MAX), Scalar::Timestamp, None),
            (7, Scalar::Json, None),
        ] {
            assert_eq!(number(value, scalar).as_deref(), expected, "{scalar:?}");
        }
    }

    #[test]
    fn a_negative_decimal_keeps_its_sign_in_fewer_bytes() {
        assert_eq!(big_endian(&[0xff, 0xfe]), Some(-2));
        assert_eq!(big_endian(&[0x00, 0x80]), Some(128));
        assert_eq!(big_endian(&[0; 17]), None);
        assert_eq!(big_endian(&[]), None);
    }
}
