//! One value of PostgreSQL's binary format into the number or slice that an Arrow column holds.
//!
//! Free functions over slices: no allocation but for a value that no Arrow column can hold.
//! Formats: each type's `*send` function in PostgreSQL's source, and the manual, chapter "Date/Time
//! Types", for the ranges.

use inlet_model::calendar::{DAY_MICROS, civil_from_days};
use inlet_model::has_lone_surrogate;

/// Days from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
const EPOCH_DAYS: i32 = 10_957;
/// Microseconds from 1970-01-01 to 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// PostgreSQL's timestamps from here on leave 64 bits when counted from 1970. The largest number
/// itself is left out as well: readers (DuckDB among them) take it for infinity.
const TIMESTAMP_END: i64 = i64::MAX - EPOCH_MICROS;

/// Why a value did not go into its column.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// No Arrow value can hold it; this is PostgreSQL's text of it.
    Unfit(String),
    /// The bytes are not of the type's binary format.
    Malformed,
}

impl Misfit {
    fn unfit(text: &str) -> Self {
        Self::Unfit(text.to_owned())
    }
}

/// The bytes of a value of fixed width.
#[inline]
pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Misfit> {
    bytes.try_into().map_err(|_| Misfit::Malformed)
}

#[inline]
pub(super) fn boolean(bytes: &[u8]) -> Result<bool, Misfit> {
    fixed::<1>(bytes).map(|[byte]| byte != 0)
}

#[inline]
pub(super) fn int16(bytes: &[u8]) -> Result<i16, Misfit> {
    fixed(bytes).map(i16::from_be_bytes)
}

#[inline]
pub(super) fn int32(bytes: &[u8]) -> Result<i32, Misfit> {
    fixed(bytes).map(i32::from_be_bytes)
}

#[inline]
pub(super) fn int64(bytes: &[u8]) -> Result<i64, Misfit> {
    fixed(bytes).map(i64::from_be_bytes)
}

/// `oid`, without a sign.
#[inline]
pub(super) fn oid(bytes: &[u8]) -> Result<i64, Misfit> {
    fixed(bytes).map(|bytes| i64::from(u32::from_be_bytes(bytes)))
}

#[inline]
pub(super) fn float32(bytes: &[u8]) -> Result<f32, Misfit> {
    fixed(bytes).map(f32::from_be_bytes)
}

#[inline]
pub(super) fn float64(bytes: &[u8]) -> Result<f64, Misfit> {
    fixed(bytes).map(f64::from_be_bytes)
}

/// Text in UTF-8. A `SQL_ASCII` database may hold other bytes: these are unfit, shown as `bytea`
/// shows them.
#[inline]
pub(super) fn text(bytes: &[u8]) -> Result<&str, Misfit> {
    std::str::from_utf8(bytes).map_err(|_| Misfit::Unfit(hex(bytes)))
}

/// `json`, and `jsonb` with its version byte 1 in front, which no JSON text starts with. A `json`
/// with half a surrogate pair is unfit: readers refuse it.
#[inline]
pub(super) fn json(bytes: &[u8]) -> Result<&str, Misfit> {
    match bytes {
        // `jsonb` begins with its version, 1; `json` begins with a character, which is never below
        // 9.
        [1, json @ ..] => text(json),
        [0..=8, ..] => Err(Misfit::Malformed),
        json => match text(json)? {
            // `jsonb` has replaced its escapes by their characters, `json` keeps them as written.
            json if has_lone_surrogate(json) => Err(Misfit::unfit(json)),
            json => Ok(json),
        },
    }
}

/// `date`: days since 1970-01-01.
#[inline]
pub(super) fn date(bytes: &[u8]) -> Result<i32, Misfit> {
    match int32(bytes)? {
        i32::MAX => Err(Misfit::unfit("infinity")),
        i32::MIN => Err(Misfit::unfit("-infinity")),
        days => days.checked_add(EPOCH_DAYS).ok_or(Misfit::Malformed),
    }
}

/// `time`: microseconds since midnight. PostgreSQL knows `24:00:00`, Arrow does not.
#[inline]
pub(super) fn time(bytes: &[u8]) -> Result<i64, Misfit> {
    match int64(bytes)? {
        // PostgreSQL allows 24:00:00, which Arrow's time does not.
        micros @ 0..DAY_MICROS => Ok(micros),
        DAY_MICROS => Err(Misfit::unfit("24:00:00")),
        _ => Err(Misfit::Malformed),
    }
}

/// `timestamp`, and `timestamptz` (`zoned`): microseconds since 1970-01-01.
#[inline]
pub(super) fn timestamp(bytes: &[u8], zoned: bool) -> Result<i64, Misfit> {
    let micros = int64(bytes)?;
    if micros < TIMESTAMP_END && micros != i64::MIN {
        Ok(micros + EPOCH_MICROS)
    } else {
        Err(unfit_timestamp(micros, zoned))
    }
}

/// A cursor's timestamp in microseconds since 1970-01-01; what lies beyond 64 bits, and infinity,
/// is the number at that end.
pub(super) fn cursor_micros(bytes: &[u8]) -> Result<i64, Misfit> {
    match int64(bytes)? {
        // -infinity stays below every floor; adding the epoch would make it an ordinary time.
        i64::MIN => Ok(i64::MIN),
        micros => Ok(micros.saturating_add(EPOCH_MICROS)),
    }
}

/// A cursor's date as the microseconds of its midnight since 1970-01-01, with the same ends as
/// [`cursor_micros`].
pub(super) fn cursor_date_micros(bytes: &[u8]) -> Result<i64, Misfit> {
    match int32(bytes)? {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        days => Ok((i64::from(days) + i64::from(EPOCH_DAYS)).saturating_mul(DAY_MICROS)),
    }
}

#[cold]
fn unfit_timestamp(micros: i64, zoned: bool) -> Misfit {
    match micros {
        i64::MAX => Misfit::unfit("infinity"),
        i64::MIN => Misfit::unfit("-infinity"),
        // It leaves 64 bits when counted from 1970, so its days are shifted, not its microseconds.
        _ => Misfit::Unfit(moment_text(
            micros.div_euclid(DAY_MICROS) + i64::from(EPOCH_DAYS),
            micros.rem_euclid(DAY_MICROS),
            zoned,
        )),
    }
}

/// PostgreSQL's text (`DateStyle` ISO, `TimeZone` UTC) of microseconds since 1970-01-01.
#[cold]
pub(super) fn timestamp_text(micros: i64, zoned: bool) -> String {
    moment_text(
        micros.div_euclid(DAY_MICROS),
        micros.rem_euclid(DAY_MICROS),
        zoned,
    )
}

/// PostgreSQL's text of a day since 1970-01-01.
#[cold]
pub(super) fn date_text(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    let (shown, era) = era(year);
    format!("{shown:04}-{month:02}-{day:02}{era}")
}

/// PostgreSQL's text of microseconds since midnight.
#[cold]
pub(super) fn time_text(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let mut text = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    );
    if fraction != 0 {
        text.push_str(format!(".{fraction:06}").trim_end_matches('0'));
    }
    text
}

fn moment_text(days: i64, of_day: i64, zoned: bool) -> String {
    let (year, month, day) = civil_from_days(days);
    let (shown, era) = era(year);
    let zone = if zoned { "+00" } else { "" };
    format!(
        "{shown:04}-{month:02}-{day:02} {}{zone}{era}",
        time_text(of_day)
    )
}

/// The year as people count it, without a year 0.
fn era(year: i64) -> (i64, &'static str) {
    if year > 0 {
        (year, "")
    } else {
        (1 - year, " BC")
    }
}

/// `bytea` as PostgreSQL shows it.
#[cold]
pub(super) fn hex(bytes: &[u8]) -> String {
    format!("\\x{}", hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_counts_from_1970() {
        assert_eq!(timestamp(&0_i64.to_be_bytes(), true), Ok(EPOCH_MICROS));
        assert_eq!(timestamp(&(-EPOCH_MICROS).to_be_bytes(), false), Ok(0));
    }

    #[test]
    fn infinity_is_unfit_and_never_shifted() {
        assert_eq!(
            timestamp(&i64::MAX.to_be_bytes(), true),
            Err(Misfit::unfit("infinity"))
        );
        assert_eq!(
            timestamp(&i64::MIN.to_be_bytes(), true),
            Err(Misfit::unfit("-infinity"))
        );
        assert_eq!(
            date(&i32::MAX.to_be_bytes()),
            Err(Misfit::unfit("infinity"))
        );
        assert_eq!(
            date(&i32::MIN.to_be_bytes()),
            Err(Misfit::unfit("-infinity"))
        );
    }

    #[test]
    fn the_last_timestamp_of_postgresql_is_unfit_with_its_text() {
        // 294276-12-31 23:59:59.999999, the manual's upper bound, fits 64 bits only when counted
        // from 2000.
        let last = 9_223_371_331_199_999_999_i64.to_be_bytes();
        assert_eq!(
            timestamp(&last, false),
            Err(Misfit::unfit("294276-12-31 23:59:59.999999"))
        );
        assert_eq!(
            timestamp(&last, true),
            Err(Misfit::unfit("294276-12-31 23:59:59.999999+00"))
        );
    }

    #[test]
    fn the_number_that_readers_take_for_infinity_is_unfit() {
        let before = TIMESTAMP_END - 1;
        assert_eq!(timestamp(&before.to_be_bytes(), false), Ok(i64::MAX - 1));
        assert_eq!(
            timestamp(&TIMESTAMP_END.to_be_bytes(), false),
            Err(Misfit::unfit("294247-01-10 04:00:54.775807"))
        );
    }

    #[test]
    fn the_first_and_the_last_date_of_postgresql_fit() {
        assert_eq!(
            date(&(-2_451_545_i32).to_be_bytes()),
            Ok(-2_440_588),
            "4714-11-24 BC"
        );
        assert_eq!(
            date(&2_145_031_948_i32.to_be_bytes()),
            Ok(2_145_042_905),
            "5874897-12-31"
        );
    }

    #[test]
    fn the_time_24_00_is_unfit() {
        assert_eq!(time(&(DAY_MICROS - 1).to_be_bytes()), Ok(DAY_MICROS - 1));
        assert_eq!(
            time(&DAY_MICROS.to_be_bytes()),
            Err(Misfit::unfit("24:00:00"))
        );
        assert_eq!(time(&(-1_i64).to_be_bytes()), Err(Misfit::Malformed));
    }

    #[test]
    fn jsonb_loses_its_version_byte_and_json_nothing() {
        assert_eq!(json(b"\x01{\"a\": 1}"), Ok("{\"a\": 1}"));
        assert_eq!(json(b" {\"a\":1}"), Ok(" {\"a\":1}"));
        assert_eq!(
            json(br#"["\udc00"]"#),
            Err(Misfit::unfit(r#"["\udc00"]"#)),
            "half a pair"
        );
        assert_eq!(
            json(b"\x02{}"),
            Err(Misfit::Malformed),
            "a version that does not exist"
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_are_unfit_in_hex() {
        assert_eq!(text(b"caf\xe9"), Err(Misfit::unfit("\\x636166e9")));
    }

    #[test]
    fn a_value_of_another_width_is_malformed() {
        assert_eq!(int32(&[0; 8]), Err(Misfit::Malformed));
        assert_eq!(boolean(&[]), Err(Misfit::Malformed));
    }

    #[test]
    fn a_cursor_beyond_64_bits_is_at_the_end_of_its_side() {
        assert_eq!(cursor_micros(&i64::MAX.to_be_bytes()), Ok(i64::MAX));
        assert_eq!(cursor_micros(&i64::MIN.to_be_bytes()), Ok(i64::MIN));
        assert_eq!(cursor_micros(&TIMESTAMP_END.to_be_bytes()), Ok(i64::MAX));
        assert_eq!(
            cursor_date_micros(&1_i32.to_be_bytes()),
            Ok(EPOCH_MICROS + DAY_MICROS)
        );
        assert_eq!(cursor_date_micros(&i32::MAX.to_be_bytes()), Ok(i64::MAX));
        assert_eq!(
            cursor_date_micros(&2_145_031_948_i32.to_be_bytes()),
            Ok(i64::MAX)
        );
    }
}
