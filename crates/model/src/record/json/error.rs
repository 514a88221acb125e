//! Why bytes are no row of the table.

use std::fmt;

/// Why a key or value is refused. The message is the reason that stands in quarantine: it names the
/// column and shows the value, cut at [`SHOWN_CHARS`] characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The bytes are not UTF-8.
    #[error("byte {at}: no UTF-8")]
    Utf8 {
        /// The first wrong byte.
        at: usize,
    },
    /// The bytes are not one flat JSON object.
    #[error("byte {at}: {what}")]
    Syntax {
        /// Where reading ended.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The table has no such column, or the key does not.
    #[error("column `{column}` is unknown")]
    Unknown {
        /// The name in the object.
        column: String,
    },
    /// The column comes a second time.
    #[error("column `{column}` comes twice")]
    Twice {
        /// The column.
        column: String,
    },
    /// The column does not come at all; a null would be written.
    #[error("column `{column}` is missing")]
    Missing {
        /// The column.
        column: String,
    },
    /// Another kind of JSON value than the column's.
    #[error("column `{column}`: {kind} where {expected} is expected")]
    Kind {
        /// The column.
        column: String,
        /// What is there.
        kind: ValueKind,
        /// PostgreSQL's name of the column's type.
        expected: String,
    },
    /// The right kind, but not a value of the type.
    #[error("column `{column}`: {value} {why} {expected}")]
    Value {
        /// The column.
        column: String,
        /// The value's text.
        value: String,
        /// The kind that the text stood in.
        kind: ValueKind,
        /// What is wrong with it.
        why: Why,
        /// PostgreSQL's name of the column's type.
        expected: String,
    },
    /// PostgreSQL holds a value that the lake's type cannot hold.
    #[error(
        "column `{column}`: {value} is a value of PostgreSQL that the lake's type does not hold"
    )]
    Unfit {
        /// The column.
        column: String,
        /// The object that says so.
        value: String,
    },
    /// A delete in a table that has no key.
    #[error("a delete of a table without a key names no row")]
    NoKey,
}

/// Characters of a value that a [`RowError`] shows.
pub const SHOWN_CHARS: usize = 80;

/// A kind of JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// `[…]`.
    Array,
    /// `{…}`.
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
    /// Its text is not a text of the type.
    Malformed,
    /// It lies outside the type's range.
    OutOfRange,
    /// Taking it would mean to round it.
    Decimals,
    /// The batch holds 2 GiB of this column.
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
    let text = String::from_utf8_lossy(text.get(..SHOWN_CHARS * 4).unwrap_or(text));
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
