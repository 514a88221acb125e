//! Whether the text in a column of JSON is JSON.
//!
//! A reader of the lake parses every text of such a column, and one text that is none makes the
//! whole column unreadable. PostgreSQL has checked its own texts, other producers may send any.
//! Without recursion: time and memory are linear in the text, however deep it is nested.

use super::error::{RowError, ValueKind};
use super::token::Cursor;

/// What the check of one text leaves for the next one: its memory.
#[derive(Debug, Default)]
pub(super) struct Checker {
    scratch: Vec<u8>,
    /// The bytes that end the values which the cursor has entered.
    open: Vec<u8>,
}

impl Checker {
    /// Reads a text to its end.
    pub(super) fn check(&mut self, text: &[u8]) -> Result<(), RowError> {
        let mut cursor = Cursor::new(text);
        self.skip(&mut cursor)?;
        cursor.finish()
    }

    /// Takes one value, whatever it is, and returns its bytes.
    pub(super) fn skip<'a>(&mut self, cursor: &mut Cursor<'a>) -> Result<&'a [u8], RowError> {
        cursor.next();
        let from = cursor.rest();
        self.open.clear();
        loop {
            let kind = cursor.token(&mut self.scratch)?.kind();
            let entered = match kind {
                ValueKind::Object => self.enter(cursor, b'{', b'}')?,
                ValueKind::Array => self.enter(cursor, b'[', b']')?,
                _ => false,
            };
            if !entered && self.leave(cursor)? {
                return Ok(&from[..from.len() - cursor.rest().len()]);
            }
            // Here a member or an element starts.
            if self.open.last() == Some(&b'}') {
                cursor.string(&mut self.scratch)?;
                cursor.expect(b':', "a colon is expected")?;
            }
        }
    }

    /// Enters a nested value; false when it is empty, which ends it.
    fn enter(&mut self, cursor: &mut Cursor<'_>, start: u8, end: u8) -> Result<bool, RowError> {
        cursor.expect(start, "a nested value is expected")?;
        if cursor.next() == Some(end) {
            cursor.take(&[end]);
            return Ok(false);
        }
        self.open.push(end);
        Ok(true)
    }

    /// Leaves the values that end here; true when none is left, false when another member or
    /// element follows.
    fn leave(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, RowError> {
        while let Some(end) = self.open.last() {
            if !cursor.ends(*end)? {
                return Ok(false);
            }
            self.open.pop();
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn is_json(text: &str) -> bool {
        Checker::default().check(text.as_bytes()).is_ok()
    }

    #[test]
    fn every_form_of_json_is_accepted() {
        for text in [
            "null",
            " [ ] ",
            "{}",
            r#"{"a":[1,{"b":null,"b":[[],{}]},"x"],"":-1.5e+400}"#,
            r#""\ud83d\ude00\u0000""#,
            "[[1],[2,[3]]]",
            "12345678901234567890123456789012345678901234567890",
        ] {
            assert!(is_json(text), "{text}");
        }
    }

    #[test]
    fn what_a_reader_would_refuse_is_refused() {
        for text in [
            "",
            " ",
            "[1,]",
            "[1 2]",
            "{1:2}",
            r#"{"a"}"#,
            r#"{"a":1,}"#,
            r#"{"a":1]"#,
            "[1}",
            "[",
            "]",
            "1 1",
            "nul",
            "NaN",
            "'a'",
            "01",
            "\u{feff}1",
            r#""\ud800""#,
            "\"a\nb\"",
        ] {
            assert!(!is_json(text), "{text}");
        }
    }

    #[test]
    fn deep_values_are_read_without_recursion() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert!(is_json(&deep));
        assert!(!is_json(&deep[1..]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn another_reader_agrees(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "[", "]", "{", "}", ",", ":", "\"a\"", "\"\\ud83d\"", "1", "-0.5", "null", " ", "\n",
                ]),
                0..10,
            ),
        ) {
            let text = parts.concat();
            let read = serde_json::from_str::<serde_json::Value>(&text).is_ok()
                && serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(is_json(&text), read, "{}", text);
        }
    }
}
