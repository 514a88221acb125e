//! Escapes in a JSON text that name no character.
//!
//! PostgreSQL's type `json` keeps a text as it was written, and its input does not ask whether the
//! escape of a surrogate is one of a pair. Source: PostgreSQL manual, "JSON Types". RFC 8259,
//! section 8.2, calls the behaviour of readers unpredictable: DuckDB refuses the text, and with it
//! the whole column.

/// Returns whether a text that PostgreSQL accepted as JSON has an escape of half a surrogate pair,
/// such as `\ud800` alone.
pub fn has_lone_surrogate(json: &str) -> bool {
    // Few texts have an escape, and this search reads 16 bytes a step.
    json.as_bytes().contains(&b'\\') && has_lone_escape(json.as_bytes())
}

fn has_lone_escape(mut rest: &[u8]) -> bool {
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        rest = &rest[at..];
        let length = match (unit(rest), rest.get(6..).and_then(unit)) {
            // Another escape has two characters; the second may be a backslash.
            (None, _) => 2,
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(0xd800..0xe000), _) => return true,
            (Some(_), _) => 6,
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    false
}

/// The code unit of an escape `\uXXXX` at the start.
fn unit(text: &[u8]) -> Option<u32> {
    let [b'\\', b'u', digits @ ..] = text.first_chunk::<6>()? else {
        return None;
    };
    let digits = std::str::from_utf8(digits).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_a_pair_is_found_wherever_it_is() {
        for lone in [
            r#""\ud800""#,
            r#""\uDFFF""#,
            r#"{"a\udc00":1}"#,
            r#"["\ud83d\ud83d\ude00"]"#,
            r#""\ud83dx\ude00""#,
            r#""\ud83d\u0041""#,
            r#""\\\ud800""#,
        ] {
            assert!(has_lone_surrogate(lone), "{lone}");
        }
        for whole in [
            r#""\ud83d\ude00""#,
            r#""\\ud800""#,
            r#""\u0000\u00e4\"\\""#,
            "\"\u{1f600}\"",
            "{}",
        ] {
            assert!(!has_lone_surrogate(whole), "{whole}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_strict_reader_agrees(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    r"\ud83d", r"\ude00", r"\u0041", r"\\", r#"\""#, r"\n", "u", "d800", "\u{e9}",
                ]),
                0..12,
            ),
        ) {
            let text = format!("[\"{}\"]", parts.concat());
            let read = serde_json::from_str::<Vec<String>>(&text);
            prop_assert_eq!(has_lone_surrogate(&text), read.is_err(), "{}", text);
        }
    }
}
