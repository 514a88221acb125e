//! Dates and times as text (ISO 8601, years counted astronomically).

use std::ops::{Range, RangeInclusive};

use super::error::Why;
use crate::calendar::{DAY_MICROS, civil_from_days, days_from_civil, month_days};

/// The days of PostgreSQL's `date`, from 4714-11-24 BC to 5874897-12-31, counted from 1970-01-01.
/// Readers (DuckDB among them) take the largest 32-bit numbers for infinity. Source: PostgreSQL
/// manual, "Date/Time Types".
const DAYS: RangeInclusive<i64> = -2_440_588..=2_145_042_905;
/// The microseconds of `timestamp` that 64 bits hold when counted from 1970-01-01, but for the
/// largest, which readers take for infinity.
const MICROS: Range<i128> = -2_440_588 * DAY_MICROS as i128..i64::MAX as i128;
/// Digits of a year at most: what `i32` days and `i64` microseconds reach has seven.
const YEAR_DIGITS_MAX: usize = 7;

/// Writes `2026-11-20`.
pub(super) fn write_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil_from_days(days);
    // ISO 8601: years of four digits have no sign, all others have one.
    let mut text = *b"0000-00-00";
    if let Ok(year @ 0..=9999) = u32::try_from(year) {
        text[..2].copy_from_slice(&pair(year / 100));
        text[2..4].copy_from_slice(&pair(year % 100));
    } else {
        out.push(if year < 0 { b'-' } else { b'+' });
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(year.unsigned_abs()).as_bytes();
        if digits.len() > 4 {
            out.extend_from_slice(&digits[..digits.len() - 4]);
        }
        let last = &digits[digits.len().saturating_sub(4)..];
        text[4 - last.len()..4].copy_from_slice(last);
    }
    text[5..7].copy_from_slice(&pair(month));
    text[8..10].copy_from_slice(&pair(day));
    out.extend_from_slice(&text);
}

/// Writes `12:34:56.000001`; a time is 0..24 hours.
pub(super) fn write_time(out: &mut Vec<u8>, micros: i64) {
    assert!(
        (0..DAY_MICROS).contains(&micros),
        "a time lies within one day"
    );
    let mut text = *b"00:00:00.000000";
    let (seconds, fraction) = ((micros / 1_000_000) as u32, (micros % 1_000_000) as u32);
    text[..2].copy_from_slice(&pair(seconds / 3600));
    text[3..5].copy_from_slice(&pair(seconds / 60 % 60));
    text[6..8].copy_from_slice(&pair(seconds % 60));
    text[9..11].copy_from_slice(&pair(fraction / 10_000));
    text[11..13].copy_from_slice(&pair(fraction / 100 % 100));
    text[13..15].copy_from_slice(&pair(fraction % 100));
    out.extend_from_slice(&text);
}

/// Writes `2026-11-20T12:34:56.000001`, without a zone.
pub(super) fn write_timestamp(out: &mut Vec<u8>, micros: i64) {
    write_date(out, micros.div_euclid(DAY_MICROS));
    out.push(b'T');
    write_time(out, micros.rem_euclid(DAY_MICROS));
}

/// Reads a date to days since 1970-01-01.
pub(super) fn parse_date(text: &[u8]) -> Result<i32, Why> {
    let (days, rest) = split_date(text).ok_or(Why::Malformed)?;
    if !rest.is_empty() {
        return Err(Why::Malformed);
    }
    date(days)
}

/// The date of this many days since 1970-01-01, if PostgreSQL has it.
pub(super) fn date(days: i64) -> Result<i32, Why> {
    if !DAYS.contains(&days) {
        return Err(Why::OutOfRange);
    }
    i32::try_from(days).map_err(|_| Why::OutOfRange)
}

/// The time of this many microseconds since midnight, if Arrow has it.
pub(super) fn time(micros: i128) -> Result<i64, Why> {
    let micros = i64::try_from(micros).map_err(|_| Why::OutOfRange)?;
    if (0..DAY_MICROS).contains(&micros) {
        Ok(micros)
    } else {
        Err(Why::OutOfRange)
    }
}

/// The timestamp of this many microseconds since 1970-01-01, if PostgreSQL has it.
pub(super) fn timestamp(micros: i128) -> Result<i64, Why> {
    if !MICROS.contains(&micros) {
        return Err(Why::OutOfRange);
    }
    i64::try_from(micros).map_err(|_| Why::OutOfRange)
}

/// Reads a time to microseconds since midnight.
pub(super) fn parse_time(text: &[u8]) -> Result<i64, Why> {
    let (micros, rest) = split_time(text)?;
    match micros {
        _ if !rest.is_empty() => Err(Why::Malformed),
        // PostgreSQL's 24:00 is no time of Arrow's; our producer writes it as unfit.
        DAY_MICROS => Err(Why::OutOfRange),
        _ => Ok(micros),
    }
}

/// Reads a timestamp without zone to microseconds since 1970-01-01.
pub(super) fn parse_timestamp(text: &[u8]) -> Result<i64, Why> {
    let (days, micros, rest) = split_timestamp(text)?;
    if rest.is_empty() {
        instant(days, micros, 0)
    } else {
        Err(Why::Malformed)
    }
}

/// Reads a timestamp with `Z` or an offset such as `+02:00` to microseconds since 1970-01-01 UTC.
pub(super) fn parse_timestamptz(text: &[u8]) -> Result<i64, Why> {
    let (days, micros, zone) = split_timestamp(text)?;
    let (east, offset) = match zone {
        b"Z" => return instant(days, micros, 0),
        [b'+', offset @ ..] => (1, offset),
        [b'-', offset @ ..] => (-1, offset),
        _ => return Err(Why::Malformed),
    };
    let &[h1, h2, b':', m1, m2] = offset else {
        return Err(Why::Malformed);
    };
    let (hours, minutes) = (
        number([h1, h2]).ok_or(Why::Malformed)?,
        number([m1, m2]).ok_or(Why::Malformed)?,
    );
    if hours > 23 || minutes > 59 {
        return Err(Why::Malformed);
    }
    instant(
        days,
        micros,
        east * i64::from(hours * 60 + minutes) * 60_000_000,
    )
}

fn instant(days: i64, micros: i64, offset: i64) -> Result<i64, Why> {
    // 128 bits hold every sum, so that the range is checked once, at the end.
    timestamp(i128::from(days) * i128::from(DAY_MICROS) + i128::from(micros - offset))
}

fn split_timestamp(text: &[u8]) -> Result<(i64, i64, &[u8]), Why> {
    let Some((days, [b'T', time @ ..])) = split_date(text) else {
        return Err(Why::Malformed);
    };
    let (micros, rest) = split_time(time)?;
    // 24:00 is a time of its own, but in a timestamp a second name of the next day's first moment.
    if micros == DAY_MICROS {
        return Err(Why::Malformed);
    }
    Ok((days, micros, rest))
}

fn split_date(text: &[u8]) -> Option<(i64, &[u8])> {
    let (year, rest) = match text {
        [sign @ (b'+' | b'-'), digits @ ..] => {
            let length = digits
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if !(4..=YEAR_DIGITS_MAX).contains(&length) {
                return None;
            }
            let year = digits[..length]
                .iter()
                .fold(0, |year, digit| year * 10 + i64::from(digit - b'0'));
            // -0000 would be a second spelling of the year 0.
            if *sign == b'-' && year == 0 {
                return None;
            }
            (if *sign == b'-' { -year } else { year }, &digits[length..])
        }
        [y1, y2, y3, y4, rest @ ..] => (
            i64::from(number([*y1, *y2])? * 100 + number([*y3, *y4])?),
            rest,
        ),
        _ => return None,
    };
    let [b'-', m1, m2, b'-', d1, d2, rest @ ..] = rest else {
        return None;
    };
    let (month, day) = (number([*m1, *m2])?, number([*d1, *d2])?);
    if !(1..=12).contains(&month) || !(1..=month_days(year, month)).contains(&day) {
        return None;
    }
    Some((days_from_civil(year, month, day), rest))
}

fn split_time(text: &[u8]) -> Result<(i64, &[u8]), Why> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = text else {
        return Err(Why::Malformed);
    };
    let part = |digits| number(digits).map(i64::from).ok_or(Why::Malformed);
    let (hours, minutes, seconds) = (part([*h1, *h2])?, part([*m1, *m2])?, part([*s1, *s2])?);
    let (fraction, rest) = match rest {
        [b'.', digits @ ..] => split_fraction(digits)?,
        _ => (0, rest),
    };
    let micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction;
    if minutes > 59 || seconds > 59 || micros > DAY_MICROS {
        return Err(Why::Malformed);
    }
    Ok((micros, rest))
}

fn split_fraction(text: &[u8]) -> Result<(i64, &[u8]), Why> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let missing = match length {
        0 => return Err(Why::Malformed),
        1..=6 => 6 - length,
        _ => return Err(Why::Decimals),
    };
    let digits = text[..length]
        .iter()
        .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Ok((
        (0..missing).fold(digits, |sum, _| sum * 10),
        &text[length..],
    ))
}

/// Two digits of a number below 100.
fn pair(number: u32) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

/// The number that two digits are.
fn number([tens, ones]: [u8; 2]) -> Option<u32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit())
        .then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(micros: i64) -> String {
        let mut out = Vec::new();
        write_timestamp(&mut out, micros);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn moments_at_the_edges_are_written_and_read_exactly() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000"),
            (-1, "1969-12-31T23:59:59.999999"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999"),
            (253_402_300_800_000_000, "+10000-01-01T00:00:00.000000"),
            (-62_167_219_200_000_000, "0000-01-01T00:00:00.000000"),
            (-62_167_219_200_000_001, "-0001-12-31T23:59:59.999999"),
            (i64::MAX - 1, "+294247-01-10T04:00:54.775806"),
            (-210_866_803_200_000_000, "-4713-11-24T00:00:00.000000"),
        ] {
            assert_eq!(timestamp(micros), text);
            assert_eq!(parse_timestamp(text.as_bytes()), Ok(micros), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused_with_its_reason() {
        for text in [
            "infinity",
            "",
            "2026-02-29T00:00:00",
            "2026-13-01T00:00:00",
            "2026-01-00T00:00:00",
            "2026-01-01 00:00:00",
            "2026-01-01T24:00:00",
            "2026-01-01T00:60:00",
            "2026-01-01T00:00:60",
            "2026-01-01T00:00:00.",
            "2026-01-01T00:00:00Z",
            "-0000-01-01T00:00:00",
            "+123-01-01T00:00:00",
        ] {
            assert_eq!(
                parse_timestamp(text.as_bytes()),
                Err(Why::Malformed),
                "{text}"
            );
        }
        assert_eq!(
            parse_timestamp(b"2026-01-01T00:00:00.0000001"),
            Err(Why::Decimals)
        );
        for beyond in [
            "+294247-01-10T04:00:54.775807",
            "+294247-01-10T04:00:54.775808",
            "-4713-11-23T23:59:59.999999",
        ] {
            assert_eq!(
                parse_timestamp(beyond.as_bytes()),
                Err(Why::OutOfRange),
                "{beyond}"
            );
        }
        for beyond in ["+9999999-01-01", "+5874898-01-01", "-4713-11-23"] {
            assert_eq!(
                parse_date(beyond.as_bytes()),
                Err(Why::OutOfRange),
                "{beyond}"
            );
        }
        assert_eq!(parse_date(b"+5874897-12-31"), Ok(2_145_042_905));
        assert_eq!(parse_date(b"-4713-11-24"), Ok(-2_440_588));
        assert_eq!(
            parse_timestamptz(b"2026-01-01T00:00:00"),
            Err(Why::Malformed)
        );
    }

    #[test]
    fn an_offset_moves_the_moment_to_utc() {
        assert_eq!(
            parse_timestamptz(b"1970-01-01T02:30:00.5+02:30"),
            Ok(500_000)
        );
        assert_eq!(parse_timestamptz(b"1969-12-31T22:00:00-02:00"), Ok(0));
        assert_eq!(
            parse_timestamptz(b"1970-01-01T00:00:00+24:00"),
            Err(Why::Malformed)
        );
    }

    #[test]
    fn the_end_of_a_day_is_no_time() {
        assert_eq!(parse_time(b"24:00:00.000000"), Err(Why::OutOfRange));
        assert_eq!(parse_time(b"24:00:00"), Err(Why::OutOfRange));
        assert_eq!(parse_time(b"23:59:59.999999"), Ok(DAY_MICROS - 1));
        assert_eq!(parse_time(b"24:00:00.000001"), Err(Why::Malformed));
        assert_eq!(parse_time(b"12:34:56.000001"), Ok(45_296_000_001));
    }
}
