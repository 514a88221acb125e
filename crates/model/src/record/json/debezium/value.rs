//! One value of a row into its column.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::super::column::{ColumnBuilder, Refusal, integer};
use super::super::decimal;
use super::super::decode::explain;
use super::super::error::{RowError, ValueKind, Why};
use super::super::nested::Checker;
use super::super::token::{Cursor, Token};
use super::super::wire::{Wire, is_numeric};
use crate::record::encoding::DecimalMode;
use crate::{Column, ColumnType, Scalar};

/// What the connector sends in place of a value that it did not get.
const UNAVAILABLE: &[u8] = b"__debezium_unavailable_value";
/// The same in a column of bytes.
const UNAVAILABLE_BYTES: &[u8] = b"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==";

/// The memory of reading, which is used again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub text: Vec<u8>,
    pub decimal: Vec<u8>,
    pub checker: Checker,
}

/// Appends the value that the cursor is at to its column.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    column: &Column,
    builder: &mut ColumnBuilder,
    wire: Wire,
    scratch: &mut Scratch,
) -> Result<(), RowError> {
    let next = cursor.next();
    if next == Some(b'[') && builder.holds_lists() {
        return read_list(cursor, column, builder, wire, scratch);
    }
    let is_nested = matches!(next, Some(b'{' | b'['));
    if is_nested && matches!(wire, Wire::Raw | Wire::Variable) {
        let raw = scratch.checker.skip(cursor)?;
        let pushed = match wire {
            Wire::Raw => builder.push(Token::Text(raw)),
            _ => push_variable(builder, raw, &mut scratch.decimal),
        };
        let token = Token::Nested(ValueKind::Object);
        return pushed.map_err(|refusal| explain(refusal, column, token, cursor));
    }
    let token = cursor.token(&mut scratch.text)?;
    let unavailable = match column.column_type.scalar() {
        Scalar::Bytes => UNAVAILABLE_BYTES,
        _ => UNAVAILABLE,
    };
    if token == Token::Text(unavailable) {
        return Err(RowError::Unavailable {
            column: column.name.clone(),
        });
    }
    push(builder, wire, token, &mut scratch.decimal)
        .map_err(|refusal| explain(refusal, column, token, cursor))
}

fn read_list(
    cursor: &mut Cursor<'_>,
    column: &Column,
    lists: &mut ColumnBuilder,
    wire: Wire,
    scratch: &mut Scratch,
) -> Result<(), RowError> {
    cursor.expect(b'[', "an array is expected")?;
    if cursor.next() == Some(b']') {
        cursor.take(b"]");
    } else {
        loop {
            read(cursor, column, lists.elements(), wire, scratch)?;
            if cursor.ends(b']')? {
                break;
            }
        }
    }
    let token = Token::Nested(ValueKind::Array);
    lists
        .end_list()
        .map_err(|refusal| explain(refusal, column, token, cursor))
}

fn push(
    builder: &mut ColumnBuilder,
    wire: Wire,
    token: Token<'_>,
    decimal: &mut Vec<u8>,
) -> Result<(), Refusal> {
    decimal.clear();
    match (wire, token) {
        (Wire::Days, Token::Number(text)) => builder.push_count(integer::<i64>(text)?.into()),
        (Wire::Millis, Token::Number(text)) => {
            builder.push_count(i128::from(integer::<i64>(text)?) * 1_000)
        }
        (Wire::Micros, Token::Number(text)) => builder.push_count(integer::<i64>(text)?.into()),
        (Wire::Nanos, Token::Number(text)) => {
            let nanos = integer::<i64>(text)?;
            // Microseconds are what PostgreSQL has; a finer value would be rounded.
            if nanos % 1_000 != 0 {
                return Err(Why::Decimals.into());
            }
            builder.push_count((nanos / 1_000).into())
        }
        (Wire::Unscaled(scale), Token::Text(text)) => push_unscaled(builder, text, scale, decimal),
        // A connector may also write numbers (`decimal.format=NUMERIC`).
        (Wire::Unscaled(_) | Wire::Number, Token::Number(text)) => {
            decimal::write_plain(decimal, text)?;
            builder.push(Token::Text(decimal))
        }
        (Wire::NumberText, Token::Number(text)) => builder.push(Token::Text(text)),
        _ => builder.push(token),
    }
}

fn push_unscaled(
    builder: &mut ColumnBuilder,
    base64: &[u8],
    scale: i32,
    decimal: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let bytes = BASE64_STANDARD.decode(base64).map_err(|_| Why::Malformed)?;
    decimal::write_unscaled(decimal, &bytes, scale);
    // The column may have a smaller scale by now; zeros at the end are no digits.
    let own = builder.scale().and_then(|scale| i32::try_from(scale).ok());
    if own.is_some_and(|own| own < scale) {
        let written = std::mem::take(decimal);
        decimal::write_plain(decimal, &written)?;
    }
    builder.push(Token::Text(decimal))
}

/// Debezium's `VariableScaleDecimal`.
#[derive(Deserialize)]
struct Variable<'a> {
    scale: i32,
    #[serde(borrow)]
    value: &'a str,
}

/// Zeros at the end of a whole number that are written out.
const ZEROS_MAX: i32 = 131_072;

fn push_variable(
    builder: &mut ColumnBuilder,
    raw: &[u8],
    decimal: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let Variable { scale, value } = serde_json::from_slice(raw).map_err(|_| Why::Malformed)?;
    if !(-ZEROS_MAX..=ZEROS_MAX).contains(&scale) {
        return Err(Why::OutOfRange.into());
    }
    decimal.clear();
    push_unscaled(builder, value.as_bytes(), scale, decimal)
}

/// A declared column as it can be read from such messages: a double carries fewer digits than many
/// a numeric has, and what it carries is then a double.
pub(super) fn carried(column: &Column, decimals: DecimalMode) -> Column {
    let scalar = column.column_type.scalar();
    let is_long = matches!(scalar, Scalar::Decimal { precision, .. } if precision > DOUBLE_DIGITS);
    if decimals != DecimalMode::Double || !(is_long || is_numeric(column)) {
        return column.clone();
    }
    let column_type = match column.column_type {
        ColumnType::Scalar(_) => Scalar::Float64.into(),
        ColumnType::List(_) => ColumnType::List(Scalar::Float64),
    };
    Column {
        column_type,
        postgres_type: "double precision".to_owned(),
        ..column.clone()
    }
}

/// Digits of a decimal that a double always carries exactly.
const DOUBLE_DIGITS: u8 = 15;
