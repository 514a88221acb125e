//! The rows of a statement in COPY's binary format, one by one and without a copy.
//!
//! Reads the answers of long statements. The driver's own rows cost each value a check of its
//! column, a clone of its type and a reference to its row; here a value is a slice of the message.
//! A statement has no parameters in COPY, so [`literal`] writes them into it. Format: PostgreSQL
//! manual, "COPY", "Binary Format"; that a message is one row: "Message Formats", `CopyData`.
//!
//! Budget: 120 ns a row of 8 columns beside the connection; no allocation a row.

use bytes::{Buf, Bytes};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use sqlx::postgres::PgConnection;

use crate::decode::BinaryRow;

/// What the first message begins with, before its flags and the length of its extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, and the length of the extension.
const HEADER_BYTES: usize = SIGNATURE.len() + 8;
/// The number of columns of what ends the rows.
const TRAILER: i16 = -1;

/// Text as a literal of SQL, as `quote_literal` writes it.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        // A backslash has a meaning only in this form, whatever the session's settings are.
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// The rows of a statement, while they arrive.
pub struct CopyRows<'c> {
    messages: BoxStream<'c, Result<Bytes, sqlx::Error>>,
    message: Bytes,
    fields: Vec<Field>,
    is_started: bool,
}

/// A row of the message that arrived last.
#[derive(Debug)]
pub struct CopyRow<'a> {
    bytes: &'a [u8],
    fields: &'a [Field],
}

/// Where a value is in its message.
#[derive(Debug, Clone, Copy)]
enum Field {
    Null,
    At { start: u32, end: u32 },
}

impl<'c> CopyRows<'c> {
    /// Starts a SELECT. Its rows must be read to their end, or the connection be closed: the driver
    /// would read the rest before the next statement.
    pub async fn start(
        connection: &'c mut PgConnection,
        select: &str,
    ) -> Result<Self, sqlx::Error> {
        let statement = format!("COPY ({select}) TO STDOUT (FORMAT BINARY)");
        Ok(Self {
            messages: connection.copy_out_raw(&statement).await?,
            message: Bytes::new(),
            fields: Vec::new(),
            is_started: false,
        })
    }

    /// The next row; `None` after the last one.
    #[inline]
    pub async fn try_next(&mut self) -> Result<Option<CopyRow<'_>>, sqlx::Error> {
        let Some(mut message) = self.messages.try_next().await? else {
            return Err(malformed("it ends without its trailer"));
        };
        if !std::mem::replace(&mut self.is_started, true) {
            message.advance(header(&message).ok_or_else(|| malformed("its header"))?);
        }
        self.message = message;
        let bytes = &*self.message;
        if bytes == TRAILER.to_be_bytes() {
            // The server confirms the end after the trailer, and an error may still arrive there.
            return match self.messages.try_next().await? {
                None => Ok(None),
                Some(_) => Err(malformed("it continues after its trailer")),
            };
        }
        find_fields(bytes, &mut self.fields).ok_or_else(|| malformed("a row"))?;
        Ok(Some(CopyRow {
            bytes,
            fields: &self.fields,
        }))
    }
}

impl BinaryRow for CopyRow<'_> {
    fn columns(&self) -> usize {
        self.fields.len()
    }

    #[inline]
    fn value(&self, column: usize) -> Option<&[u8]> {
        match self.fields[column] {
            Field::Null => None,
            Field::At { start, end } => Some(&self.bytes[start as usize..end as usize]),
        }
    }
}

/// The length of the header that a message begins with.
fn header(message: &[u8]) -> Option<usize> {
    let extension = message.get(SIGNATURE.len() + 4..HEADER_BYTES)?;
    let extension = u32::from_be_bytes(extension.try_into().ok()?);
    let length = HEADER_BYTES.checked_add(usize::try_from(extension).ok()?)?;
    (message.starts_with(SIGNATURE) && message.len() >= length).then_some(length)
}

/// Finds the values of a row; `None` when the bytes are not exactly one row.
#[inline]
fn find_fields(row: &[u8], fields: &mut Vec<Field>) -> Option<()> {
    fields.clear();
    let (columns, _) = row.split_first_chunk::<2>()?;
    let columns = u16::try_from(i16::from_be_bytes(*columns)).ok()?;
    let mut at = 2_usize;
    for _ in 0..columns {
        let length = i32::from_be_bytes(*row.get(at..)?.first_chunk::<4>()?);
        at += 4;
        // Only NULL has a length below zero.
        let Ok(length) = u32::try_from(length) else {
            fields.push(Field::Null);
            continue;
        };
        let start = u32::try_from(at).ok()?;
        let end = start.checked_add(length)?;
        at = end as usize;
        if at > row.len() {
            return None;
        }
        fields.push(Field::At { start, end });
    }
    (at == row.len()).then_some(())
}

#[cold]
fn malformed(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{what} is not in COPY's binary format").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut bytes = i16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
            bytes.extend(length.to_be_bytes());
            bytes.extend(value.unwrap_or_default());
        }
        bytes
    }

    #[test]
    fn values_are_found_and_null_is_not_empty() {
        let bytes = row(&[Some(b"ab"), None, Some(b""), Some(b"c")]);
        let mut fields = Vec::new();
        find_fields(&bytes, &mut fields).expect("a row");
        let row = CopyRow {
            bytes: &bytes,
            fields: &fields,
        };
        assert_eq!(row.columns(), 4);
        let values: Vec<_> = (0..4).map(|column| row.value(column)).collect();
        assert_eq!(
            values,
            [Some(&b"ab"[..]), None, Some(&b""[..]), Some(&b"c"[..])]
        );
    }

    #[test]
    fn bytes_that_are_not_exactly_one_row_are_refused() {
        let bytes = row(&[Some(b"ab"), None]);
        let mut longer = bytes.clone();
        longer.push(0);
        let mut fields = Vec::new();
        for length in 0..bytes.len() {
            assert_eq!(find_fields(&bytes[..length], &mut fields), None, "{length}");
        }
        assert_eq!(find_fields(&longer, &mut fields), None);
        assert_eq!(find_fields(&[0xff, 0xfe], &mut fields), None, "-2 columns");
    }

    #[test]
    fn a_header_may_have_an_extension() {
        let mut message = SIGNATURE.to_vec();
        message.extend([0, 0, 0, 0, 0, 0, 0, 3, 7, 7, 7]);
        assert_eq!(header(&message), Some(22));
        assert_eq!(header(&message[..21]), None);
        assert_eq!(header(&[0; 22]), None);
    }

    #[test]
    fn a_literal_ends_where_its_text_ends() {
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal("a\\'; DROP"), "E'a\\\\''; DROP'");
        assert_eq!(literal(""), "''");
    }
}
