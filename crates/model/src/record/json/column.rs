//! One column under construction: values are checked while they are appended, and the last row can
//! be taken back.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Date32Array, Decimal128Array,
    Decimal256Array, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, ListArray, NullBufferBuilder, StringArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, i256};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::error::Why;
use super::nested::Checker;
use super::style::Style;
use super::token::Token;
use super::{calendar, decimal, text};
use crate::{ColumnType, Scalar};

/// Why a token does not go into a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another kind of value is expected.
    Kind,
    /// The kind is right.
    Value(Why),
}

impl From<Why> for Refusal {
    fn from(why: Why) -> Self {
        Self::Value(why)
    }
}

#[derive(Debug)]
pub(super) struct ColumnBuilder {
    values: Values,
    nulls: NullBufferBuilder,
}

#[derive(Debug)]
enum Values {
    Bool(BooleanBufferBuilder),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal128(Vec<i128>, Digits),
    Decimal256(Vec<i256>, Digits),
    Text(Strings),
    Json(Strings, Checker),
    Uuid(Vec<u8>),
    Bytes(Strings),
    Date(Vec<i32>),
    Time(Vec<i64>),
    Timestamp(Vec<i64>),
    /// A timestamp without zone that is written as one of UTC.
    TimestampAsUtc(Vec<i64>),
    TimestampTz(Vec<i64>),
    List(Box<Lists>),
}

/// Lists back to back; `offsets` has one entry more than there are lists.
#[derive(Debug)]
struct Lists {
    /// The lists' Arrow type.
    arrow: DataType,
    offsets: Vec<i32>,
    elements: ColumnBuilder,
}

impl Lists {
    /// Ends the list whose elements were appended.
    fn end(&mut self) -> Result<(), Why> {
        self.offsets
            .push(i32::try_from(self.elements.len()).map_err(|_| Why::Full)?);
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        let end = self.offsets.last().copied().unwrap_or_default();
        self.elements
            .truncate(usize::try_from(end).expect("an offset is not negative"));
    }

    fn finish(self, nulls: Option<NullBuffer>) -> ListArray {
        let DataType::List(field) = self.arrow else {
            unreachable!("lists have a list's type")
        };
        ListArray::new(
            field,
            OffsetBuffer::new(ScalarBuffer::from(self.offsets)),
            self.elements.finish(),
            nulls,
        )
    }
}

/// A decimal type, in the widths that Arrow asks for and those that we count in.
#[derive(Debug, Clone, Copy)]
struct Digits {
    arrow: (u8, i8),
    precision: usize,
    scale: usize,
}

/// Strings back to back; `offsets` has one entry more than there are strings.
#[derive(Debug)]
struct Strings {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl Strings {
    /// Ends the string that was appended to `bytes`.
    fn end(&mut self) -> Result<(), Why> {
        self.offsets
            .push(i32::try_from(self.bytes.len()).map_err(|_| Why::Full)?);
        Ok(())
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        let end = self.offsets.last().copied().unwrap_or_default();
        self.bytes
            .truncate(usize::try_from(end).expect("an offset is not negative"));
    }

    fn finish(self) -> (OffsetBuffer<i32>, Buffer) {
        (
            OffsetBuffer::new(ScalarBuffer::from(self.offsets)),
            Buffer::from_vec(self.bytes),
        )
    }
}

impl Values {
    fn of_scalar(scalar: Scalar, style: Style, capacity: usize) -> Self {
        let strings = || {
            let mut offsets = Vec::with_capacity(capacity + 1);
            offsets.push(0);
            Strings {
                offsets,
                // 16 bytes a text are a guess; the buffer grows as needed.
                bytes: Vec::with_capacity(capacity * 16),
            }
        };
        match scalar {
            Scalar::Bool => Self::Bool(BooleanBufferBuilder::new(capacity)),
            Scalar::Int16 => Self::Int16(Vec::with_capacity(capacity)),
            Scalar::Int32 => Self::Int32(Vec::with_capacity(capacity)),
            Scalar::Int64 | Scalar::Oid => Self::Int64(Vec::with_capacity(capacity)),
            Scalar::Float32 => Self::Float32(Vec::with_capacity(capacity)),
            Scalar::Float64 => Self::Float64(Vec::with_capacity(capacity)),
            Scalar::Decimal { precision, scale } => {
                let own = usize::try_from(scale).expect("a scale is not negative");
                let digits = Digits {
                    arrow: (precision, scale),
                    precision: usize::from(precision),
                    scale: own,
                };
                if precision <= 38 {
                    Self::Decimal128(Vec::with_capacity(capacity), digits)
                } else {
                    Self::Decimal256(Vec::with_capacity(capacity), digits)
                }
            }
            Scalar::Text => Self::Text(strings()),
            Scalar::Json => Self::Json(strings(), Checker::default()),
            Scalar::Uuid => Self::Uuid(Vec::with_capacity(capacity * 16)),
            Scalar::Bytes => Self::Bytes(strings()),
            Scalar::Date => Self::Date(Vec::with_capacity(capacity)),
            Scalar::Time => Self::Time(Vec::with_capacity(capacity)),
            Scalar::Timestamp => match style {
                Style::Json => Self::Timestamp(Vec::with_capacity(capacity)),
                Style::Plain => Self::TimestampAsUtc(Vec::with_capacity(capacity)),
            },
            Scalar::TimestampTz => Self::TimestampTz(Vec::with_capacity(capacity)),
        }
    }
}

impl ColumnBuilder {
    pub(super) fn new(column_type: ColumnType, style: Style, capacity: usize) -> Self {
        let values = match column_type {
            ColumnType::Scalar(scalar) => Values::of_scalar(scalar, style, capacity),
            ColumnType::List(element) => Values::List(Box::new(Lists {
                arrow: column_type.arrow(),
                offsets: vec![0],
                elements: Self::new(element.into(), style, capacity),
            })),
        };
        Self {
            values,
            nulls: NullBufferBuilder::new(capacity),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Appends a value; after a refusal the column must be cut with [`Self::truncate`], or, when it
    /// holds lists and an array begins, the array's elements be appended to [`Self::elements`].
    // Called of objects and of lists, and inlined in both: an object's loop is as tight as with one
    // caller.
    #[inline(always)]
    pub(super) fn push(&mut self, token: Token<'_>) -> Result<(), Refusal> {
        match (&mut self.values, token) {
            (_, Token::Null) => {
                self.push_null();
                return Ok(());
            }
            (Values::Bool(values), Token::Bool(value)) => values.append(value),
            (Values::Int16(values), Token::Number(text)) => values.push(integer(text)?),
            (Values::Int32(values), Token::Number(text)) => values.push(integer(text)?),
            (Values::Int64(values), Token::Number(text)) => values.push(integer(text)?),
            (Values::Float32(values), Token::Number(text)) => values.push(float(text)?),
            (Values::Float64(values), Token::Number(text)) => values.push(float(text)?),
            (Values::Float32(values), Token::Text(text)) => values.push(not_finite(text)?),
            (Values::Float64(values), Token::Text(text)) => values.push(not_finite(text)?.into()),
            (Values::Decimal128(values, digits), Token::Text(text) | Token::Number(text)) => {
                values.push(decimal::parse_i128(text, digits.precision, digits.scale)?);
            }
            (Values::Decimal256(values, digits), Token::Text(text) | Token::Number(text)) => {
                values.push(decimal::parse_i256(text, digits.precision, digits.scale)?);
            }
            (Values::Text(strings), Token::Text(text)) => {
                strings.bytes.extend_from_slice(text);
                strings.end()?;
            }
            (Values::Json(strings, checker), Token::Text(text)) => {
                checker.check(text).map_err(|_| Why::Malformed)?;
                strings.bytes.extend_from_slice(text);
                strings.end()?;
            }
            (Values::Bytes(strings), Token::Text(text)) => {
                BASE64_STANDARD
                    .decode_vec(text, &mut strings.bytes)
                    .map_err(|_| Why::Malformed)?;
                strings.end()?;
            }
            (Values::Uuid(values), Token::Text(text)) => {
                values.extend_from_slice(&text::parse_uuid(text).ok_or(Why::Malformed)?)
            }
            (Values::Date(values), Token::Text(text)) => values.push(calendar::parse_date(text)?),
            (Values::Time(values), Token::Text(text)) => values.push(calendar::parse_time(text)?),
            (Values::Timestamp(values), Token::Text(text)) => {
                values.push(calendar::parse_timestamp(text)?)
            }
            (Values::TimestampTz(values) | Values::TimestampAsUtc(values), Token::Text(text)) => {
                values.push(calendar::parse_timestamptz(text)?)
            }
            _ => return Err(Refusal::Kind),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// Appends a date as its days, a time or timestamp as its microseconds.
    pub(super) fn push_count(&mut self, count: i128) -> Result<(), Refusal> {
        match &mut self.values {
            Values::Date(values) => {
                let days = i64::try_from(count).map_err(|_| Why::OutOfRange)?;
                values.push(calendar::date(days)?);
            }
            Values::Time(values) => values.push(calendar::time(count)?),
            Values::Timestamp(values) | Values::TimestampTz(values) => {
                values.push(calendar::timestamp(count)?);
            }
            _ => return Err(Refusal::Kind),
        }
        self.nulls.append_non_null();
        Ok(())
    }

    /// The scale of its decimals; `None` when it holds others.
    pub(super) fn scale(&self) -> Option<usize> {
        match &self.values {
            Values::Decimal128(_, digits) | Values::Decimal256(_, digits) => Some(digits.scale),
            _ => None,
        }
    }

    /// Whether its values are lists.
    pub(super) fn holds_lists(&self) -> bool {
        matches!(self.values, Values::List(_))
    }

    /// The elements of the list that is under construction.
    pub(super) fn elements(&mut self) -> &mut Self {
        let Values::List(lists) = &mut self.values else {
            unreachable!("asked of a column of lists alone")
        };
        &mut lists.elements
    }

    /// Ends a list: what was appended to its elements since the last one is its.
    pub(super) fn end_list(&mut self) -> Result<(), Refusal> {
        let Values::List(lists) = &mut self.values else {
            unreachable!("asked of a column of lists alone")
        };
        lists.end()?;
        self.nulls.append_non_null();
        Ok(())
    }

    pub(super) fn push_null(&mut self) {
        match &mut self.values {
            Values::Bool(values) => values.append(false),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) | Values::Date(values) => values.push(0),
            Values::Int64(values)
            | Values::Time(values)
            | Values::Timestamp(values)
            | Values::TimestampAsUtc(values)
            | Values::TimestampTz(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal128(values, _) => values.push(0),
            Values::Decimal256(values, _) => values.push(i256::ZERO),
            Values::Text(strings) | Values::Json(strings, _) | Values::Bytes(strings) => {
                strings.end().expect("a null has no bytes")
            }
            Values::Uuid(values) => values.extend_from_slice(&[0; 16]),
            Values::List(lists) => lists.end().expect("a null has no elements"),
        }
        self.nulls.append_null();
    }

    /// Removes what was appended after the first `rows` values, whole or in part.
    pub(super) fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Bool(values) => values.truncate(rows),
            Values::Int16(values) => values.truncate(rows),
            Values::Int32(values) | Values::Date(values) => values.truncate(rows),
            Values::Int64(values)
            | Values::Time(values)
            | Values::Timestamp(values)
            | Values::TimestampAsUtc(values)
            | Values::TimestampTz(values) => values.truncate(rows),
            Values::Float32(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Decimal128(values, _) => values.truncate(rows),
            Values::Decimal256(values, _) => values.truncate(rows),
            Values::Text(strings) | Values::Json(strings, _) | Values::Bytes(strings) => {
                strings.truncate(rows);
            }
            Values::Uuid(values) => values.truncate(rows * 16),
            Values::List(lists) => lists.truncate(rows),
        }
        self.nulls.truncate(rows);
    }

    pub(super) fn finish(mut self) -> ArrayRef {
        let nulls = self.nulls.finish();
        match self.values {
            Values::Bool(mut values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int16(values) => Arc::new(Int16Array::new(values.into(), nulls)),
            Values::Int32(values) => Arc::new(Int32Array::new(values.into(), nulls)),
            Values::Int64(values) => Arc::new(Int64Array::new(values.into(), nulls)),
            Values::Float32(values) => Arc::new(Float32Array::new(values.into(), nulls)),
            Values::Float64(values) => Arc::new(Float64Array::new(values.into(), nulls)),
            Values::Decimal128(
                values,
                Digits {
                    arrow: (precision, scale),
                    ..
                },
            ) => {
                let array = Decimal128Array::new(values.into(), nulls)
                    .with_precision_and_scale(precision, scale);
                Arc::new(array.expect("the type was mapped"))
            }
            Values::Decimal256(
                values,
                Digits {
                    arrow: (precision, scale),
                    ..
                },
            ) => {
                let array = Decimal256Array::new(values.into(), nulls)
                    .with_precision_and_scale(precision, scale);
                Arc::new(array.expect("the type was mapped"))
            }
            Values::Text(strings) | Values::Json(strings, _) => {
                let (offsets, bytes) = strings.finish();
                Arc::new(
                    StringArray::try_new(offsets, bytes, nulls).expect("each message was UTF-8"),
                )
            }
            Values::Uuid(values) => Arc::new(FixedSizeBinaryArray::new(
                16,
                Buffer::from_vec(values),
                nulls,
            )),
            Values::Bytes(strings) => {
                let (offsets, bytes) = strings.finish();
                Arc::new(BinaryArray::new(offsets, bytes, nulls))
            }
            Values::Date(values) => Arc::new(Date32Array::new(values.into(), nulls)),
            Values::Time(values) => Arc::new(Time64MicrosecondArray::new(values.into(), nulls)),
            Values::Timestamp(values) | Values::TimestampAsUtc(values) => {
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls))
            }
            Values::TimestampTz(values) => {
                Arc::new(TimestampMicrosecondArray::new(values.into(), nulls).with_timezone("UTC"))
            }
            Values::List(lists) => Arc::new(lists.finish(nulls)),
        }
    }
}

/// A JSON number as an integer.
pub(super) fn integer<T: TryFrom<i64>>(text: &[u8]) -> Result<T, Why> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    // Summed below zero, where one number more lies.
    let mut sum = 0_i64;
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                let next = sum
                    .checked_mul(10)
                    .and_then(|sum| sum.checked_sub(i64::from(byte - b'0')));
                sum = next.ok_or(Why::OutOfRange)?;
            }
            b'.' => return Err(Why::Decimals),
            _ => return Err(Why::Malformed),
        }
    }
    let value = if negative {
        Some(sum)
    } else {
        sum.checked_neg()
    };
    value
        .and_then(|value| T::try_from(value).ok())
        .ok_or(Why::OutOfRange)
}

/// A JSON number as the nearest float; one beyond the largest is refused.
fn float<T: FromStr + Copy + Into<f64>>(text: &[u8]) -> Result<T, Why> {
    // The standard parser rounds correctly, so a text that was written as the shortest one reads
    // back the same.
    let text = std::str::from_utf8(text).map_err(|_| Why::Malformed)?;
    let value: T = text.parse().map_err(|_| Why::Malformed)?;
    if value.into().is_infinite() {
        Err(Why::OutOfRange)
    } else {
        Ok(value)
    }
}

/// The floats that JSON has no number for.
fn not_finite(text: &[u8]) -> Result<f32, Why> {
    match text {
        b"NaN" => Ok(f32::NAN),
        b"Infinity" => Ok(f32::INFINITY),
        b"-Infinity" => Ok(f32::NEG_INFINITY),
        _ => Err(Why::Malformed),
    }
}
