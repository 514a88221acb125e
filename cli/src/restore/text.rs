//! Values as PostgreSQL's COPY reads them, in its text format.
//!
//! Text, because one way serves every type: a column that the lake holds as PostgreSQL's text (an
//! enum, a range, an interval) has no other form, and COPY's binary format cannot be mixed with it.
//! Each text is read back as the same value. Source: PostgreSQL manual, "COPY", "Text Format";
//! "Date/Time Input"; "Array Input and Output Syntax".

use std::fmt::Write as _;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, ListArray,
    PrimitiveArray, StringArray,
};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Decimal256Type, DecimalType, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use inlet_model::calendar::{DAY_MICROS, civil_from_days};
use inlet_model::{ColumnType, Scalar};

/// The lines of a batch.
pub struct Lines<'a> {
    columns: Vec<Values<'a>>,
}

impl<'a> Lines<'a> {
    /// `columns` have these types; the lines have those of them that are wanted.
    pub fn new(columns: &'a [ArrayRef], types: &[ColumnType], is_wanted: &[bool]) -> Self {
        let columns = columns.iter().zip(types).zip(is_wanted);
        let wanted = columns.filter(|(_, is_wanted)| **is_wanted);
        Self {
            columns: wanted
                .map(|((column, column_type), _)| Values::new(column, *column_type))
                .collect(),
        }
    }

    /// Writes one row.
    pub fn write(&self, row: usize, out: &mut String, value: &mut String) {
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                out.push('\t');
            }
            value.clear();
            if column.write(row, value) {
                escape(value, out);
            } else {
                out.push_str("\\N");
            }
        }
        out.push('\n');
    }
}

/// What would end a value or a line, and what marks that.
fn escape(value: &str, out: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other => out.push(other),
        }
    }
}

/// The values of a column.
enum Values<'a> {
    Bool(&'a BooleanArray),
    Int16(&'a PrimitiveArray<Int16Type>),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    Decimal(&'a PrimitiveArray<Decimal128Type>),
    WideDecimal(&'a PrimitiveArray<Decimal256Type>),
    Text(&'a StringArray),
    Uuid(&'a FixedSizeBinaryArray),
    Bytes(&'a BinaryArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time64MicrosecondType>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>, &'static str),
    List(&'a ListArray, Box<Values<'a>>),
}

impl<'a> Values<'a> {
    fn new(column: &'a ArrayRef, column_type: ColumnType) -> Self {
        let scalar = match column_type {
            ColumnType::Scalar(scalar) => scalar,
            ColumnType::List(element) => {
                let list = column.as_list::<i32>();
                let elements = Self::new(list.values(), ColumnType::Scalar(element));
                return Self::List(list, Box::new(elements));
            }
        };
        match scalar {
            Scalar::Bool => Self::Bool(column.as_boolean()),
            Scalar::Int16 => Self::Int16(column.as_primitive()),
            Scalar::Int32 => Self::Int32(column.as_primitive()),
            Scalar::Int64 | Scalar::Oid => Self::Int64(column.as_primitive()),
            Scalar::Float32 => Self::Float32(column.as_primitive()),
            Scalar::Float64 => Self::Float64(column.as_primitive()),
            Scalar::Decimal { precision, .. } if precision <= 38 => {
                Self::Decimal(column.as_primitive())
            }
            Scalar::Decimal { .. } => Self::WideDecimal(column.as_primitive()),
            Scalar::Text | Scalar::Json => Self::Text(column.as_string()),
            Scalar::Uuid => Self::Uuid(column.as_fixed_size_binary()),
            Scalar::Bytes => Self::Bytes(column.as_binary()),
            Scalar::Date => Self::Date(column.as_primitive()),
            Scalar::Time => Self::Time(column.as_primitive()),
            Scalar::Timestamp => Self::Timestamp(column.as_primitive(), ""),
            Scalar::TimestampTz => Self::Timestamp(column.as_primitive(), "+00"),
        }
    }

    fn array(&self) -> &dyn Array {
        match self {
            Self::Bool(array) => *array,
            Self::Int16(array) => *array,
            Self::Int32(array) => *array,
            Self::Int64(array) => *array,
            Self::Float32(array) => *array,
            Self::Float64(array) => *array,
            Self::Decimal(array) => *array,
            Self::WideDecimal(array) => *array,
            Self::Text(array) => *array,
            Self::Uuid(array) => *array,
            Self::Bytes(array) => *array,
            Self::Date(array) => *array,
            Self::Time(array) => *array,
            Self::Timestamp(array, _) => *array,
            Self::List(array, _) => *array,
        }
    }

    /// Writes the value of a row; false for null.
    fn write(&self, row: usize, out: &mut String) -> bool {
        if self.array().is_null(row) {
            return false;
        }
        let written = match self {
            Self::Bool(array) => out.write_str(if array.value(row) { "t" } else { "f" }),
            Self::Int16(array) => write!(out, "{}", array.value(row)),
            Self::Int32(array) => write!(out, "{}", array.value(row)),
            Self::Int64(array) => write!(out, "{}", array.value(row)),
            // The shortest digits that mean this value, in a form of bounded length.
            Self::Float32(array) => write!(out, "{:e}", array.value(row)),
            Self::Float64(array) => write!(out, "{:e}", array.value(row)),
            Self::Decimal(array) => {
                let (precision, scale) = (array.precision(), array.scale());
                let text = Decimal128Type::format_decimal(array.value(row), precision, scale);
                out.write_str(&text)
            }
            Self::WideDecimal(array) => {
                let (precision, scale) = (array.precision(), array.scale());
                let text = Decimal256Type::format_decimal(array.value(row), precision, scale);
                out.write_str(&text)
            }
            Self::Text(array) => out.write_str(array.value(row)),
            Self::Uuid(array) => write_hex(array.value(row), out),
            Self::Bytes(array) => {
                out.push_str("\\x");
                write_hex(array.value(row), out)
            }
            Self::Date(array) => {
                let days = i64::from(array.value(row));
                write_date(days, "", out)
            }
            Self::Time(array) => write_time(array.value(row), out),
            Self::Timestamp(array, zone) => {
                let micros = array.value(row);
                let mut time = " ".to_owned();
                write_time(micros.rem_euclid(DAY_MICROS), &mut time)
                    .and_then(|()| time.write_str(zone))
                    .and_then(|()| write_date(micros.div_euclid(DAY_MICROS), &time, out))
            }
            Self::List(array, elements) => {
                write_list(array.value_offsets(), elements, row, out);
                Ok(())
            }
        };
        written.expect("a string takes every text");
        true
    }
}

/// Every element is quoted, so that none is taken for another syntax.
fn write_list(offsets: &[i32], elements: &Values<'_>, row: usize, out: &mut String) {
    let place = |at: usize| usize::try_from(offsets[at]).expect("offsets of a list grow from 0");
    let (start, end) = (place(row), place(row + 1));
    let mut element = String::new();
    out.push('{');
    for at in start..end {
        if at > start {
            out.push(',');
        }
        element.clear();
        if !elements.write(at, &mut element) {
            out.push_str("NULL");
            continue;
        }
        out.push('"');
        for character in element.chars() {
            if matches!(character, '"' | '\\') {
                out.push('\\');
            }
            out.push(character);
        }
        out.push('"');
    }
    out.push('}');
}

fn write_hex(bytes: &[u8], out: &mut String) -> std::fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
}

/// Writes a date with what follows it, and the era at the end. The year 0 is 1 BC.
fn write_date(days: i64, rest: &str, out: &mut String) -> std::fmt::Result {
    let (year, month, day) = civil_from_days(days);
    let (year, era) = match year {
        1.. => (year, ""),
        _ => (1 - year, " BC"),
    };
    write!(out, "{year:04}-{month:02}-{day:02}{rest}{era}")
}

fn write_time(micros: i64, out: &mut String) -> std::fmt::Result {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    write!(
        out,
        "{hours:02}:{minutes:02}:{:02}.{micros:06}",
        seconds % 60
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Float64Array, TimestampMicrosecondArray};
    use arrow::datatypes::Int32Type;
    use inlet_model::calendar::days_from_civil;

    use super::*;

    fn lines(column: ArrayRef, column_type: impl Into<ColumnType>) -> Vec<String> {
        let (columns, types) = ([column], [column_type.into()]);
        let lines = Lines::new(&columns, &types, &[true]);
        let line = |row| {
            let (mut out, mut value) = (String::new(), String::new());
            lines.write(row, &mut out, &mut value);
            out.trim_end_matches('\n').to_owned()
        };
        (0..columns[0].len()).map(line).collect()
    }

    #[test]
    fn what_would_end_a_value_is_escaped_and_null_is_no_text() {
        let texts = StringArray::from(vec![Some("a\tb\\N\r\n"), None, Some(""), Some("\\.")]);
        assert_eq!(
            lines(Arc::new(texts), Scalar::Text),
            ["a\\tb\\\\N\\r\\n", "\\N", "", "\\\\."]
        );
    }

    #[test]
    fn dates_before_christ_and_after_the_year_9999_are_in_postgresqls_words() {
        let day = |year| i32::try_from(days_from_civil(year, 3, 9)).unwrap();
        let dates = Date32Array::from(vec![day(2026), day(0), day(-4712), day(5_874_897)]);
        assert_eq!(
            lines(Arc::new(dates), Scalar::Date),
            [
                "2026-03-09",
                "0001-03-09 BC",
                "4713-03-09 BC",
                "5874897-03-09"
            ]
        );
        let times = TimestampMicrosecondArray::from(vec![-1, -62_167_219_200_000_001]);
        let times: ArrayRef = Arc::new(times.with_timezone("UTC"));
        assert_eq!(
            lines(times, Scalar::TimestampTz),
            [
                "1969-12-31 23:59:59.999999+00",
                "0002-12-31 23:59:59.999999+00 BC"
            ]
        );
    }

    #[test]
    fn numbers_that_are_none_and_the_zero_below_zero_keep_their_form() {
        let values = vec![
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            5e-324,
            0.1,
        ];
        assert_eq!(
            lines(Arc::new(Float64Array::from(values)), Scalar::Float64),
            ["NaN", "inf", "-inf", "-0e0", "5e-324", "1e-1"]
        );
    }

    #[test]
    fn elements_are_quoted_and_null_is_not() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
            Some(vec![Some(1), None]),
            Some(vec![]),
            None,
        ]);
        assert_eq!(
            lines(Arc::new(list), ColumnType::List(Scalar::Int32)),
            ["{\"1\",NULL}", "{}", "\\N"]
        );
    }
}
