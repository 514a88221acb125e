//! Why bytes are no row of the table.

use std::fmt;

/// Explains why a key or value is refused. Quarantine stores the message as the reason: it names
/// the
/// column and shows the value, cut at [`SHOWN_CHARS`] characters.
#[allow(missing_docs)] // Each message names its fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// `at` is the position of the first wrong byte, counted from 0.
    #[error("byte {at}: no UTF-8")]
    Utf8 { at: usize },
    /// The bytes are not one flat JSON object.
    #[error("byte {at}: {what}")]
    Syntax { at: usize, what: &'static str },
    /// The table has no such column, or the key does not.
    #[error("column `{column}` is unknown")]
    Unknown { column: String },
    /// JSON allows a repeated name; which of the two values counts would be a guess.
    #[error("column `{column}` is repeated")]
    Repeated { column: String },
    /// The object lacks the column. A null in its place would be a value that the source never
    /// held.
    #[error("column `{column}` is missing")]
    Missing { column: String },
    /// The JSON value has another kind than the column's type needs.
    #[error("column `{column}`: {kind} where {expected} is expected")]
    Kind {
        column: String,
        kind: ValueKind,
        /// PostgreSQL's name of the column's type.
        expected: String,
    },
    /// The JSON value has the right kind, but is not a value of the type.
    #[error("column `{column}`: {value} {why} {expected}")]
    Value {
        column: String,
        value: String,
        kind: ValueKind,
        why: Why,
        /// PostgreSQL's name of the column's type.
        expected: String,
    },
    /// PostgreSQL holds a value that the lake's type cannot hold.
    #[error(
        "column `{column}`: {value} is a value of PostgreSQL that the lake's type does not hold"
    )]
    Unfit { column: String, value: String },
    /// The header has a delete, and the record no key.
    #[error("the message deletes a row without its key")]
    DeleteWithoutKey,
    /// The header has a delete, and the record a value.
    #[error("the message deletes a row and has a value")]
    DeleteWithValue,
    /// The header has a row, and the record no value.
    #[error("the message has a row without its value")]
    NoValue,
    /// Debezium did not get the value: it was stored outside the row and has not changed.
    #[error(
        "column `{column}`: Debezium sends no value of it, because an update left it as it was; \
         `ALTER TABLE .. REPLICA IDENTITY FULL` makes PostgreSQL send it"
    )]
    Unavailable { column: String },
    /// The value is no batch of Arrow with the table's columns.
    #[error("no batch of Arrow: {what}")]
    NoBatch { what: String },
    /// The value is no envelope of Debezium.
    #[error("no envelope of Debezium: {what}")]
    NoEnvelope { what: String },
    /// Rows were removed without a message for each.
    #[error(
        "the table was truncated: the rows that the lake had before are no longer in PostgreSQL"
    )]
    Truncated,
    /// A delete in a table that has no key.
    #[error("a delete of a table without a key names no row")]
    NoKey,
}

/// Characters of a value that a [`RowError`] shows.
pub const SHOWN_CHARS: usize = 80;

/// A kind of JSON value, by the names of RFC 8259.
#[allow(missing_docs)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl fmt::Display for ValueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

/// What is wrong with a value of the right kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The text does not have the type's form.
    Malformed,
    /// The value is outside the type's range.
    OutOfRange,
    /// The type has fewer decimals, so the value would be rounded.
    Decimals,
    /// The batch already holds 2 GiB of this column, the limit of Arrow's 32-bit offsets.
    Full,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "is no",
            Self::OutOfRange => "is out of the range of",
            Self::Decimals => "has more decimals than",
            Self::Full => "exceeds what one batch holds of",
        })
    }
}

/// A value's text, cut to what an error shows.
pub(super) fn shown(text: &[u8]) -> String {
    // A character has four bytes at most, so this cut never loses one that is shown.
    let text = String::from_utf8_lossy(text.get(..SHOWN_CHARS * 4).unwrap_or(text));
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
