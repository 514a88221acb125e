//! The objects around a row: the schema and payload of Kafka Connect, and Debezium's envelope.

use serde::Deserialize;

use super::super::error::{RowError, shown};
use super::super::nested::Checker;
use super::super::token::Cursor;
use crate::Xid;
use crate::change::{DELETE, UPSERT};

/// The parts of a message that may have its schema with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wrapped<'a> {
    /// `None` for a message without schemas, and for a null schema.
    pub schema: Option<&'a [u8]>,
    pub payload: &'a [u8],
}

/// Separates schema and payload. The schema of a topic's messages is nearly always the same bytes,
/// and is then compared instead of read.
#[derive(Debug, Default)]
pub(super) struct Unwrapper {
    /// The last message up to its payload.
    prefix: Vec<u8>,
    /// Where the schema is in it.
    schema: std::ops::Range<usize>,
}

impl Unwrapper {
    pub fn unwrap<'a>(
        &mut self,
        bytes: &'a [u8],
        checker: &mut Checker,
    ) -> Result<Wrapped<'a>, RowError> {
        if !self.prefix.is_empty() && bytes.starts_with(&self.prefix) {
            let mut cursor = Cursor::new(&bytes[self.prefix.len()..]);
            let payload = checker.skip(&mut cursor)?;
            cursor.expect(b'}', "the end of the message is expected")?;
            cursor.finish()?;
            return Ok(Wrapped {
                schema: Some(&bytes[self.schema.clone()]),
                payload,
            });
        }
        let (mut schema, mut payload, mut others) = (None, None, false);
        members(bytes, checker, |name, at, value| match name {
            b"schema" => schema = Some((at, value)),
            b"payload" => payload = Some((at, value)),
            _ => others = true,
        })?;
        let (Some((at, schema)), Some((payload_at, payload)), false) = (schema, payload, others)
        else {
            return Ok(Wrapped {
                schema: None,
                payload: bytes,
            });
        };
        if at < payload_at {
            self.prefix = bytes[..payload_at].to_vec();
            self.schema = at..at + schema.len();
        }
        Ok(Wrapped {
            schema: (schema != b"null").then_some(schema),
            payload,
        })
    }
}

/// The parts of an envelope, each as its JSON; an absent one and a null are the same.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Envelope<'a> {
    op: Option<&'a [u8]>,
    before: Option<&'a [u8]>,
    after: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    ts_ms: Option<&'a [u8]>,
    ts_us: Option<&'a [u8]>,
}

/// What an envelope has of its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change<'a> {
    /// [`UPSERT`] or [`DELETE`].
    pub op: u8,
    /// The row, or the row before it was deleted.
    pub row: &'a [u8],
}

/// The parts of `source` that we use.
#[derive(Debug, Default, Deserialize)]
struct Source {
    #[serde(rename = "txId")]
    tx_id: Option<u64>,
}

impl<'a> Envelope<'a> {
    /// Reads a payload; `None` for one that is not about a row: a heartbeat.
    pub fn read(payload: &'a [u8], checker: &mut Checker) -> Result<Option<Self>, RowError> {
        let mut envelope = Self::default();
        let mut count = 0;
        members(payload, checker, |name, _, value| {
            count += 1;
            let value = (value != b"null").then_some(value);
            match name {
                b"op" => envelope.op = value,
                b"before" => envelope.before = value,
                b"after" => envelope.after = value,
                b"source" => envelope.source = value,
                b"ts_ms" => envelope.ts_ms = value,
                b"ts_us" => envelope.ts_us = value,
                _ => {}
            }
        })?;
        let is_heartbeat = count == 1 && envelope.ts_ms.is_some();
        Ok((!is_heartbeat).then_some(envelope))
    }

    /// The row that it is about, and what became of it.
    pub fn change(&self) -> Result<Change<'a>, RowError> {
        let no_envelope = |what: &str| RowError::NoEnvelope {
            what: what.to_owned(),
        };
        let op = self.op.ok_or_else(|| no_envelope("it has no `op`"))?;
        match op {
            b"\"c\"" | b"\"u\"" | b"\"r\"" => Ok(Change {
                op: UPSERT,
                row: self
                    .after
                    .ok_or_else(|| no_envelope("`after` of its row is missing"))?,
            }),
            b"\"d\"" => Ok(Change {
                op: DELETE,
                row: self
                    .before
                    .ok_or_else(|| no_envelope("`before` of its deleted row is missing"))?,
            }),
            b"\"t\"" => Err(RowError::Truncated),
            other => Err(no_envelope(&format!("its `op` is {}", shown(other)))),
        }
    }

    /// The xid in `source`; 0 without one.
    pub fn xid(&self) -> Xid {
        let source = self
            .source
            .and_then(|source| serde_json::from_slice(source).ok());
        Xid(source.and_then(|source: Source| source.tx_id).unwrap_or(0))
    }

    /// When the connector has found the change, microseconds since 1970-01-01 UTC.
    ///
    /// The time in `source` would not do: a snapshot has there the time at which it read the row,
    /// which may be later than that of a change that follows.
    pub fn found_at(&self) -> Option<i64> {
        let number = |text: Option<&[u8]>| std::str::from_utf8(text?).ok()?.parse::<i64>().ok();
        let from_millis = || number(self.ts_ms)?.checked_mul(1_000);
        number(self.ts_us).or_else(from_millis)
    }
}

/// The names of an object's members, in their order.
pub(super) fn names(object: &[u8], checker: &mut Checker) -> Result<Vec<String>, RowError> {
    let mut names = Vec::new();
    members(object, checker, |name, _, _| {
        names.push(String::from_utf8_lossy(name).into_owned());
    })?;
    Ok(names)
}

/// Calls `each` with name, place and JSON of every member of an object.
pub(super) fn members<'a>(
    bytes: &'a [u8],
    checker: &mut Checker,
    mut each: impl FnMut(&[u8], usize, &'a [u8]),
) -> Result<(), RowError> {
    // The whole message is checked once; afterwards the columns may take bytes without looking.
    std::str::from_utf8(bytes).map_err(|error| RowError::Utf8 {
        at: error.valid_up_to(),
    })?;
    let mut name = Vec::new();
    let mut cursor = Cursor::new(bytes);
    cursor.expect(b'{', "an object is expected")?;
    if cursor.next() == Some(b'}') {
        cursor.take(b"}");
        return cursor.finish();
    }
    loop {
        cursor.next();
        let name = cursor.string(&mut name)?;
        cursor.expect(b':', "a colon is expected")?;
        cursor.next();
        let at = cursor.at();
        each(name, at, checker.skip(&mut cursor)?);
        if cursor.ends(b'}')? {
            return cursor.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(u8, String, u64, Option<i64>), String> {
        let mut checker = Checker::default();
        let envelope = Envelope::read(text.as_bytes(), &mut checker)
            .map_err(|error| error.to_string())?
            .ok_or("a heartbeat")?;
        let change = envelope.change().map_err(|error| error.to_string())?;
        let row = String::from_utf8(change.row.to_vec()).expect("text");
        Ok((change.op, row, envelope.xid().0, envelope.found_at()))
    }

    #[test]
    fn a_change_has_its_row_xid_and_time() {
        let text =
            r#"{"before":null,"after":{"a":"}"},"source":{"txId":7,"x":[{}]},"op":"c","ts_ms":5}"#;
        let expected = (UPSERT, r#"{"a":"}"}"#.to_owned(), 7, Some(5_000));
        assert_eq!(read(text), Ok(expected));
        let text = r#" { "op" : "d" , "before" : {"a":1} , "after":null, "ts_ms":5,"ts_us":5001}"#;
        assert_eq!(
            read(text),
            Ok((DELETE, r#"{"a":1}"#.to_owned(), 0, Some(5_001)))
        );
    }

    #[test]
    fn other_messages_are_refused_with_the_reason() {
        for (text, reason) in [
            (r#"{"a":1}"#, "no envelope of Debezium: it has no `op`"),
            (
                r#"{"op":"c"}"#,
                "no envelope of Debezium: `after` of its row is missing",
            ),
            (
                r#"{"op":"d","after":{}}"#,
                "no envelope of Debezium: `before` of its deleted row is missing",
            ),
            (
                r#"{"op":"m"}"#,
                "no envelope of Debezium: its `op` is \"m\"",
            ),
            (r#"{"ts_ms":1}"#, "a heartbeat"),
            (r#"[1]"#, "byte 0: an object is expected"),
            (
                r#"{"op":"c""#,
                "byte 9: a comma or the object's end is expected",
            ),
        ] {
            assert_eq!(read(text), Err(reason.to_owned()), "{text}");
        }
        assert!(read(r#"{"op":"t","before":null,"after":null}"#).is_err());
    }

    #[test]
    fn a_schema_is_separated_once_and_compared_after_that() {
        let (mut unwrapper, mut checker) = (Unwrapper::default(), Checker::default());
        for payload in ["{\"op\":\"c\"}", "null", "{}"] {
            let text = format!(r#"{{"schema":{{"type":"struct"}},"payload":{payload}}}"#);
            let wrapped = unwrapper.unwrap(text.as_bytes(), &mut checker).unwrap();
            assert_eq!(wrapped.schema, Some(&b"{\"type\":\"struct\"}"[..]));
            assert_eq!(wrapped.payload, payload.as_bytes());
        }
        let cut = br#"{"schema":{"type":"struct"},"payload":{"#;
        assert!(unwrapper.unwrap(cut, &mut checker).is_err());
        let more = br#"{"schema":{"type":"struct"},"payload":{},"op":"c"}"#;
        assert!(unwrapper.unwrap(more, &mut checker).is_err());
        let bare = br#"{"schema":1,"payload":2,"op":"c"}"#;
        let wrapped = unwrapper.unwrap(bare, &mut checker).unwrap();
        assert_eq!((wrapped.schema, wrapped.payload), (None, &bare[..]));
    }
}
