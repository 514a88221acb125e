//! The text of an array that no list can hold: PostgreSQL's own form (`[0:1]={1,2}`,
//! `{{1,NULL},{3,4}}`), which it reads back as the same value.
//!
//! Cold: asked of unfit arrays alone. Source: PostgreSQL manual, "Arrays", section "Array Input and
//! Output Syntax".

use std::fmt::Write;

use inlet_model::Scalar;
use uuid::Uuid;

use super::list::{ArrayReader, Dimension};
use super::numeric;
use super::value::{self, Misfit};

/// The text of an array in PostgreSQL's binary format.
#[cold]
pub(super) fn array_text(bytes: &[u8], element: Scalar) -> Result<String, Misfit> {
    let mut reader = ArrayReader::new(bytes)?;
    let dimensions = reader.dimensions;
    let mut elements = Vec::new();
    while let Some(value) = reader.element()? {
        elements.push(match value {
            None => "NULL".to_owned(),
            Some(value) => quoted(&text(element, value)?),
        });
    }
    let mut out = String::new();
    // PostgreSQL writes the bounds only when one of them is not 1.
    if dimensions.iter().any(|dimension| dimension.first != 1) {
        for Dimension { length, first } in dimensions.iter() {
            let last =
                i64::from(*first) + i64::try_from(*length).map_err(|_| Misfit::Malformed)? - 1;
            write!(out, "[{first}:{last}]").expect("a string takes all");
        }
        out.push('=');
    }
    nested(&mut out, &dimensions, &mut elements.into_iter());
    Ok(out)
}

fn nested(out: &mut String, dimensions: &[Dimension], elements: &mut impl Iterator<Item = String>) {
    let Some((outer, inner)) = dimensions.split_first() else {
        return;
    };
    out.push('{');
    for at in 0..outer.length {
        if at > 0 {
            out.push(',');
        }
        if inner.is_empty() {
            out.push_str(&elements.next().unwrap_or_default());
        } else {
            nested(out, inner, elements);
        }
    }
    out.push('}');
}

/// An element, in quotes where it needs them.
fn quoted(text: &str) -> String {
    let special = |c: char| {
        matches!(c, '"' | '\\' | '{' | '}' | ',') || c.is_ascii_whitespace() || c == '\x0b'
    };
    // An empty text and the word NULL would be read back as something else.
    if !text.is_empty() && !text.eq_ignore_ascii_case("null") && !text.contains(special) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A value in PostgreSQL's binary format as its text.
fn text(scalar: Scalar, bytes: &[u8]) -> Result<String, Misfit> {
    let shown = match scalar {
        Scalar::Bool => Ok(if value::boolean(bytes)? { "t" } else { "f" }.to_owned()),
        Scalar::Int16 => value::int16(bytes).map(|number| number.to_string()),
        Scalar::Int32 => value::int32(bytes).map(|number| number.to_string()),
        Scalar::Int64 => value::int64(bytes).map(|number| number.to_string()),
        Scalar::Oid => value::oid(bytes).map(|number| number.to_string()),
        Scalar::Float32 => value::float32(bytes).map(|number| float(number.into(), &number)),
        Scalar::Float64 => value::float64(bytes).map(|number| float(number, &number)),
        Scalar::Decimal { .. } => numeric::text(bytes),
        Scalar::Text => value::text(bytes).map(str::to_owned),
        Scalar::Json => value::json(bytes).map(str::to_owned),
        Scalar::Uuid => uuid(bytes),
        Scalar::Bytes => Ok(value::hex(bytes)),
        Scalar::Date => value::date(bytes).map(|days| value::date_text(days.into())),
        Scalar::Time => value::time(bytes).map(value::time_text),
        Scalar::Timestamp => {
            value::timestamp(bytes, false).map(|micros| value::timestamp_text(micros, false))
        }
        Scalar::TimestampTz => {
            value::timestamp(bytes, true).map(|micros| value::timestamp_text(micros, true))
        }
    };
    match shown {
        Err(Misfit::Unfit(text)) => Ok(text),
        shown => shown,
    }
}

/// The shortest text that reads back the same.
fn float(wide: f64, number: &impl serde::Serialize) -> String {
    if wide.is_nan() {
        return "NaN".to_owned();
    }
    if wide.is_infinite() {
        return if wide > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let text = serde_json::to_string(number).expect("a finite number is JSON");
    // PostgreSQL writes whole numbers without decimals.
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn uuid(bytes: &[u8]) -> Result<String, Misfit> {
    Ok(Uuid::from_bytes(value::fixed::<16>(bytes)?).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An array of dimensions (length, first index) and elements.
    fn array(dimensions: &[(i32, i32)], elements: &[Option<&[u8]>]) -> Vec<u8> {
        let mut bytes = [dimensions.len() as i32, 1, 25]
            .map(i32::to_be_bytes)
            .concat();
        for (length, first) in dimensions {
            bytes.extend([*length, *first].map(i32::to_be_bytes).concat());
        }
        for element in elements {
            bytes.extend(element.map_or(-1, |value| value.len() as i32).to_be_bytes());
            bytes.extend(element.unwrap_or_default());
        }
        bytes
    }

    #[test]
    fn dimensions_bounds_nulls_and_quotes_are_as_postgresql_writes_them() {
        let texts = array(
            &[(2, 1), (2, 1)],
            &[Some(b"a"), None, Some(b""), Some(b"b \"\\")],
        );
        assert_eq!(
            array_text(&texts, Scalar::Text),
            Ok(r#"{{a,NULL},{"","b \"\\"}}"#.to_owned())
        );
        let numbers = [1_i32.to_be_bytes(), (-2_i32).to_be_bytes()];
        let bounded = array(&[(2, 0)], &[Some(&numbers[0]), Some(&numbers[1])]);
        assert_eq!(
            array_text(&bounded, Scalar::Int32),
            Ok("[0:1]={1,-2}".to_owned())
        );
    }

    #[test]
    fn values_of_other_types_are_as_postgresql_writes_them() {
        let one = |element, value: &[u8]| {
            array_text(&array(&[(1, 1)], &[Some(value)]), element).expect("a text")
        };
        assert_eq!(
            one(Scalar::TimestampTz, &i64::MAX.to_be_bytes()),
            "{infinity}"
        );
        assert_eq!(
            one(Scalar::TimestampTz, &0_i64.to_be_bytes()),
            "{\"2000-01-01 00:00:00+00\"}"
        );
        assert_eq!(
            one(Scalar::Date, &(-2_451_545_i32).to_be_bytes()),
            "{\"4714-11-24 BC\"}"
        );
        assert_eq!(
            one(Scalar::Time, &1_500_000_i64.to_be_bytes()),
            "{00:00:01.5}"
        );
        assert_eq!(one(Scalar::Bool, &[1]), "{t}");
        assert_eq!(one(Scalar::Float64, &f64::NAN.to_be_bytes()), "{NaN}");
        assert_eq!(one(Scalar::Bytes, &[0, 255]), "{\"\\\\x00ff\"}");
        assert_eq!(
            one(Scalar::Uuid, &[0xab; 16]),
            "{abababab-abab-abab-abab-abababababab}"
        );
    }

    #[test]
    fn an_array_that_ends_early_or_late_is_malformed() {
        let whole = array(&[(1, 1)], &[Some(b"a")]);
        assert_eq!(
            array_text(&whole[..whole.len() - 1], Scalar::Text),
            Err(Misfit::Malformed)
        );
        assert_eq!(
            array_text(&[&whole[..], b"x"].concat(), Scalar::Text),
            Err(Misfit::Malformed)
        );
        assert_eq!(
            array_text(&array(&[(1, 1); 7], &[Some(b"a")]), Scalar::Text),
            Err(Misfit::Malformed)
        );
    }
}
