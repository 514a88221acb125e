//! JSON strings: escaping, and finding where they need it.

use uuid::Uuid;
use uuid::fmt::Hyphenated;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes from `start` on that stand for themselves in a JSON string: up to the next `"`, `\` or
/// byte below 0x20, or the end.
///
/// Eight bytes a step: most strings are too short for a vectorised search to pay for its call.
pub(super) fn plain_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        // Eight bytes a step: each expression sets the high bit of a byte that is a quote, a
        // backslash or a control character.
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        // A borrow can mark a byte above the first marked one, never below it: the lowest mark is
        // exact.
        let marks = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        if marks & HIGHS != 0 {
            return at + (marks & HIGHS).trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes
        .get(at)
        .is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20))
    {
        at += 1;
    }
    at
}

/// Writes a string with its quotes.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut start = 0;
    loop {
        let end = plain_end(bytes, start);
        out.extend_from_slice(&bytes[start..end]);
        let Some(byte) = bytes.get(end) else { break };
        write_escape(out, *byte);
        start = end + 1;
    }
    out.push(b'"');
}

fn write_escape(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            write_hex(out, byte);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Writes a byte as two lower-case hex digits.
pub(super) fn write_hex(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Writes a uuid with hyphens, with its quotes.
pub(super) fn write_uuid(out: &mut Vec<u8>, uuid: &[u8]) {
    let uuid = Uuid::from_slice(uuid).expect("a uuid has 16 bytes");
    let mut text = [b'"'; Hyphenated::LENGTH + 2];
    uuid.hyphenated()
        .encode_lower(&mut text[1..=Hyphenated::LENGTH]);
    out.extend_from_slice(&text);
}

/// Reads a uuid with hyphens, in either case.
pub(super) fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    // The library also reads uuids without hyphens and in braces; only this form has 36 characters.
    if text.len() != Hyphenated::LENGTH {
        return None;
    }
    Uuid::try_parse_ascii(text).ok().map(Uuid::into_bytes)
}

/// The value of a hex digit.
pub(super) fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use proptest::prop_assert_eq;

    use super::*;

    #[test]
    fn only_a_uuid_with_hyphens_is_read() {
        let uuid = *b"0b0e7a52-1234-4abc-8def-0123456789AB";
        assert!(parse_uuid(&uuid).is_some());
        for wrong in [
            &b"0b0e7a5212344abc8def0123456789ab"[..],
            b"0b0e7a521234-4abc-8def-0123456789ab-",
            b"0b0e7a52-1234-4abc-8def-0123456789ag",
            b"{0b0e7a52-1234-4abc-8def-0123456789ab}",
            b"",
        ] {
            assert_eq!(parse_uuid(wrong), None);
        }
    }

    proptest! {
        #[test]
        fn a_uuid_reads_back(bytes in any::<[u8; 16]>()) {
            let mut text = Vec::new();
            write_uuid(&mut text, &bytes);
            prop_assert_eq!(parse_uuid(&text[1..37]), Some(bytes));
            prop_assert_eq!(parse_uuid(&text[1..37].to_ascii_uppercase()), Some(bytes));
        }

        #[test]
        fn eight_bytes_a_step_find_what_one_byte_a_step_finds(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let expected = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len());
            prop_assert_eq!(plain_end(&bytes, 0), expected);
        }

        #[test]
        fn long_plain_text_is_plain_to_its_end(text in "[ -!#-\\[\\]-~äé€𝄞]{0,99}") {
            prop_assert_eq!(plain_end(text.as_bytes(), 0), text.len());
        }
    }
}
