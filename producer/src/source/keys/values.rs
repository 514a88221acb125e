//! Values of key columns as texts that PostgreSQL reads, to compare them in the server. Pure.
//!
//! Where PostgreSQL's own text of a value depends on settings, or does not exist for far years, the
//! text is a number that SQL turns into the value.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Decimal256Type, DecimalType, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use inlet_model::{ColumnType, Scalar};

/// The SQL of a value, of which `text` is the SQL of what [`texts`] gives; `None` where that is the
/// input of the column's own type.
pub fn value(column_type: ColumnType, text: &str) -> Option<String> {
    let ColumnType::Scalar(scalar) = column_type else {
        return None;
    };
    // An interval of days and seconds is exact: an interval of microseconds would be counted in a
    // float.
    let timestamp = format!(
        "(timestamp 'epoch' + make_interval(days => (div(({text})::numeric, 86400000000))::integer, \
         secs => (mod(({text})::numeric, 86400000000) / 1000000)::float8))"
    );
    match scalar {
        Scalar::Timestamp => Some(timestamp),
        Scalar::TimestampTz => Some(format!("({timestamp} AT TIME ZONE 'UTC')")),
        Scalar::Date => Some(format!("(date 'epoch' + ({text})::integer)")),
        Scalar::Time => Some(format!(
            "(time '00:00' + make_interval(secs => ({text})::float8 / 1000000))"
        )),
        _ => None,
    }
}

/// The texts of a column's values, null for null.
///
/// # Panics
///
/// For a list: a key column of arrays is identified by a column of texts.
pub fn texts(column_type: ColumnType, column: &ArrayRef) -> Vec<Option<String>> {
    let ColumnType::Scalar(scalar) = column_type else {
        unreachable!("a key column of arrays is identified by its text");
    };
    (0..column.len())
        .map(|row| column.is_valid(row).then(|| text(scalar, column, row)))
        .collect()
}

fn text(scalar: Scalar, column: &ArrayRef, row: usize) -> String {
    match scalar {
        Scalar::Bool => column.as_boolean().value(row).to_string(),
        Scalar::Int16 => column.as_primitive::<Int16Type>().value(row).to_string(),
        Scalar::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        Scalar::Int64 | Scalar::Oid => column.as_primitive::<Int64Type>().value(row).to_string(),
        // The shortest text that reads back the same; PostgreSQL knows `inf` and `NaN`.
        Scalar::Float32 => column.as_primitive::<Float32Type>().value(row).to_string(),
        Scalar::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
        Scalar::Decimal { precision, scale } if precision <= 38 => {
            let value = column.as_primitive::<Decimal128Type>().value(row);
            Decimal128Type::format_decimal(value, precision, scale)
        }
        Scalar::Decimal { precision, scale } => {
            let value = column.as_primitive::<Decimal256Type>().value(row);
            Decimal256Type::format_decimal(value, precision, scale)
        }
        Scalar::Text | Scalar::Json => column.as_string::<i32>().value(row).to_owned(),
        Scalar::Uuid => hex(column.as_fixed_size_binary().value(row), ""),
        Scalar::Bytes => hex(column.as_binary::<i32>().value(row), "\\x"),
        Scalar::Date => column.as_primitive::<Date32Type>().value(row).to_string(),
        Scalar::Time => {
            let value = column.as_primitive::<Time64MicrosecondType>().value(row);
            value.to_string()
        }
        Scalar::Timestamp | Scalar::TimestampTz => {
            let value = column.as_primitive::<TimestampMicrosecondType>().value(row);
            value.to_string()
        }
    }
}

fn hex(bytes: &[u8], prefix: &str) -> String {
    let mut text = prefix.to_owned();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes every text");
    }
    text
}
