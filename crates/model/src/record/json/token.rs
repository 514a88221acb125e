//! Reads a JSON text token by token, forward only, without recursion: a nested value is named, not
//! entered.

use super::error::{RowError, ValueKind};
use super::text::{hex_digit, plain_end};

/// A scalar, or the kind of a value that is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    Null,
    Bool(bool),
    /// A number's text, of JSON's grammar.
    Number(&'a [u8]),
    /// A string's text without quotes and escapes.
    Text(&'a [u8]),
    /// An array or object, which the cursor has not entered.
    Nested(ValueKind),
}

impl Token<'_> {
    pub(super) fn kind(&self) -> ValueKind {
        match self {
            Self::Null => ValueKind::Null,
            Self::Bool(_) => ValueKind::Boolean,
            Self::Number(_) => ValueKind::Number,
            Self::Text(_) => ValueKind::String,
            Self::Nested(kind) => *kind,
        }
    }
}

/// A place in a JSON text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Takes these bytes if they come next, to the letter.
    pub(super) fn take(&mut self, bytes: &[u8]) -> bool {
        let next = self.rest().starts_with(bytes);
        if next {
            self.at += bytes.len();
        }
        next
    }

    /// Takes a byte, with space before it.
    pub(super) fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), RowError> {
        if self.next() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.fault(what))
    }

    /// True when `byte` comes next, which is taken; false when a comma was taken instead.
    pub(super) fn ends(&mut self, byte: u8) -> Result<bool, RowError> {
        let next = self.next();
        if next != Some(byte) && next != Some(b',') {
            return Err(self.fault("a comma or the object's end is expected"));
        }
        self.at += 1;
        Ok(next == Some(byte))
    }

    /// Only space is left.
    pub(super) fn finish(&mut self) -> Result<(), RowError> {
        if self.next().is_none() {
            Ok(())
        } else {
            Err(self.fault("nothing may follow the object"))
        }
    }

    /// The next byte that is no space; it is not taken.
    pub(super) fn next(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                byte => return byte.copied(),
            }
        }
    }

    /// Takes a value; a string with escapes is written out to `scratch`.
    #[inline(always)]
    pub(super) fn token<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Result<Token<'s>, RowError>
    where
        'a: 's,
    {
        match self.next() {
            Some(b'"') => self.string(scratch).map(Token::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Token::Number),
            Some(b'n') if self.take(b"null") => Ok(Token::Null),
            Some(b't') if self.take(b"true") => Ok(Token::Bool(true)),
            Some(b'f') if self.take(b"false") => Ok(Token::Bool(false)),
            Some(b'[') => Ok(Token::Nested(ValueKind::Array)),
            Some(b'{') => Ok(Token::Nested(ValueKind::Object)),
            _ => Err(self.fault("a value is expected")),
        }
    }

    /// Takes a string with its quotes; one with escapes is written out to `scratch`.
    pub(super) fn string<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], RowError>
    where
        'a: 's,
    {
        self.expect(b'"', "a string is expected")?;
        let start = self.at;
        self.at = plain_end(self.bytes, start);
        // A text without escapes is borrowed from the message and not copied.
        if self.bytes.get(self.at) == Some(&b'"') {
            self.at += 1;
            return Ok(&self.bytes[start..self.at - 1]);
        }
        scratch.clear();
        scratch.extend_from_slice(&self.bytes[start..self.at]);
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(scratch);
                }
                Some(b'\\') => self.escape(scratch)?,
                Some(_) => return Err(self.fault("a string holds a control character")),
                None => return Err(self.fault("a string does not end")),
            }
            let end = plain_end(self.bytes, self.at);
            scratch.extend_from_slice(&self.bytes[self.at..end]);
            self.at = end;
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), RowError> {
        let byte = match self.bytes.get(self.at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'u') => return self.unicode_escape(out),
            _ => return Err(self.fault("a string holds an unknown escape")),
        };
        out.push(byte);
        self.at += 2;
        Ok(())
    }

    fn unicode_escape(&mut self, out: &mut Vec<u8>) -> Result<(), RowError> {
        let first = self
            .unit(self.at)
            .ok_or_else(|| self.fault("an escape has four hex digits"))?;
        // Characters beyond 16 bits are written as two escapes, a surrogate pair.
        let second = if (0xd800..0xdc00).contains(&first) {
            self.unit(self.at + 6)
        } else {
            None
        };
        let (code, length) = match second {
            Some(second @ 0xdc00..0xe000) => {
                (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12)
            }
            _ => (first, 6),
        };
        let character =
            char::from_u32(code).ok_or_else(|| self.fault("a lone surrogate is no character"))?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += length;
        Ok(())
    }

    /// The code unit of an escape `\uXXXX` at a place.
    fn unit(&self, at: usize) -> Option<u32> {
        let [b'\\', b'u', digits @ ..] = self.bytes.get(at..)?.first_chunk::<6>()? else {
            return None;
        };
        digits.iter().try_fold(0, |unit, digit| {
            Some(unit << 4 | u32::from(hex_digit(*digit)?))
        })
    }

    fn number(&mut self) -> Result<&'a [u8], RowError> {
        let start = self.at;
        self.take(b"-");
        // JSON allows no further digit after a zero in front.
        if !self.take(b"0") {
            self.digits()?;
        }
        if self.take(b".") {
            self.digits()?;
        }
        if self.take(b"e") || self.take(b"E") {
            if !self.take(b"+") {
                self.take(b"-");
            }
            self.digits()?;
        }
        Ok(&self.bytes[start..self.at])
    }

    fn digits(&mut self) -> Result<(), RowError> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > start {
            Ok(())
        } else {
            Err(self.fault("a digit is expected"))
        }
    }

    #[cold]
    pub(super) fn fault(&self, what: &'static str) -> RowError {
        RowError::Syntax { at: self.at, what }
    }
}
