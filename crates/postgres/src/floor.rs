//! Floors in the unit of a cursor column.
//!
//! Pure. A floor is a whole second (a whole day for `date`), so that scans of one second share one
//! entry of the coverage. A wall clock without zone is read in the zone that the table is
//! configured with; where the offset changes between the floor and now, the lower one holds.

use std::time::Duration;

use chrono::{DateTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;

use crate::catalog::CursorKind;
use crate::reading::ServerTime;

/// A floor in the unit of the table's cursor: microseconds, whole seconds. `i64::MIN` is "no
/// floor".
pub type Floor = i64;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

impl CursorKind {
    /// The greatest floor in the cursor's unit that is not above this server time, whatever the
    /// zone's offset was since.
    ///
    /// Before every time there is no floor: such a scan returns rows without a stamp as well, and
    /// has to cover them.
    pub fn floor(self, at: ServerTime, now: ServerTime, zone: Tz) -> Floor {
        if at == ServerTime::MIN {
            return Floor::MIN;
        }
        // A wall clock may be ahead or behind by a change of the zone in between; the lower one
        // reads a little more.
        let local = || at.0.saturating_add(offset(zone, at).min(offset(zone, now)));
        match self {
            Self::Timestamptz => round_down(at.0, SECOND),
            Self::Timestamp => round_down(local(), SECOND),
            Self::Date => round_down(local(), DAY),
        }
    }

    /// The slack of the tier that allows for the writers' time zones. A column with a zone needs
    /// only the slack of skewed clocks.
    pub fn zone_slack(self) -> Duration {
        match self {
            Self::Timestamptz => Duration::from_secs(300),
            Self::Timestamp | Self::Date => Duration::from_secs(26 * 3600),
        }
    }

    /// A floor as text that PostgreSQL casts to the column's type; `None` below the years that it
    /// knows.
    pub fn text(self, floor: Floor) -> Option<String> {
        // Such an early floor would exclude no row, so the statement leaves it out.
        let time = DateTime::from_timestamp_micros(floor)
            .filter(|time| *time >= DateTime::UNIX_EPOCH - chrono::TimeDelta::days(365_000))?;
        Some(match self {
            Self::Timestamptz => time.format("%Y-%m-%d %H:%M:%S+00").to_string(),
            Self::Timestamp => time.format("%Y-%m-%d %H:%M:%S").to_string(),
            Self::Date => time.format("%Y-%m-%d").to_string(),
        })
    }

    /// The column's type, for the cast.
    pub fn sql_type(self) -> &'static str {
        match self {
            Self::Timestamptz => "timestamptz",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
        }
    }
}

/// The zone's offset from UTC at a time, microseconds.
fn offset(zone: Tz, at: ServerTime) -> i64 {
    let time = DateTime::<Utc>::from_timestamp_micros(at.0).unwrap_or(DateTime::UNIX_EPOCH);
    i64::from(
        zone.offset_from_utc_datetime(&time.naive_utc())
            .fix()
            .local_minus_utc(),
    ) * SECOND
}

fn round_down(value: i64, unit: i64) -> i64 {
    value.saturating_sub(value.rem_euclid(unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn utc(text: &str) -> ServerTime {
        ServerTime(
            text.parse::<DateTime<Utc>>()
                .expect("a time")
                .timestamp_micros(),
        )
    }

    fn text(kind: CursorKind, at: &str, now: &str, zone: Tz) -> String {
        kind.text(kind.floor(utc(at), utc(now), zone))
            .expect("a floor")
    }

    #[test]
    fn floors_are_whole_seconds_rounded_down_also_before_1970() {
        let kind = CursorKind::Timestamptz;
        assert_eq!(
            text(
                kind,
                "2026-11-20T10:00:00.9Z",
                "2026-11-20T10:00:01Z",
                Tz::UTC
            ),
            "2026-11-20 10:00:00+00"
        );
        assert_eq!(
            text(
                kind,
                "1969-12-31T23:59:59.5Z",
                "2026-11-20T10:00:01Z",
                Tz::UTC
            ),
            "1969-12-31 23:59:59+00"
        );
    }

    #[test]
    fn a_wall_clock_that_was_set_back_in_between_lowers_the_floor_by_an_hour() {
        let zone = Tz::Europe__Berlin;
        // 00:59:59Z is 02:59:59 in summer time; a second later the clock shows 02:00:00.
        assert_eq!(
            text(
                CursorKind::Timestamp,
                "2026-10-25T00:59:59Z",
                "2026-10-25T01:00:01Z",
                zone
            ),
            "2026-10-25 01:59:59"
        );
        assert_eq!(
            text(
                CursorKind::Timestamp,
                "2026-10-24T00:59:59Z",
                "2026-10-24T01:00:01Z",
                zone
            ),
            "2026-10-24 02:59:59"
        );
    }

    #[test]
    fn a_date_is_the_day_in_the_zone() {
        assert_eq!(
            text(
                CursorKind::Date,
                "2026-11-20T20:00:00Z",
                "2026-11-20T20:00:01Z",
                Tz::Asia__Kolkata
            ),
            "2026-11-21"
        );
    }

    #[test]
    fn before_every_time_there_is_no_floor_in_any_zone() {
        for zone in [Tz::Asia__Tokyo, Tz::America__New_York] {
            assert_eq!(
                CursorKind::Timestamp.floor(ServerTime::MIN, utc("2026-11-20T10:00:00Z"), zone),
                Floor::MIN
            );
        }
    }

    #[test]
    fn no_floor_has_no_text() {
        assert_eq!(CursorKind::Timestamptz.text(i64::MIN), None);
    }

    fn kinds() -> impl Strategy<Value = CursorKind> {
        prop_oneof![
            Just(CursorKind::Timestamptz),
            Just(CursorKind::Timestamp),
            Just(CursorKind::Date),
        ]
    }

    fn zones() -> impl Strategy<Value = Tz> {
        (0..chrono_tz::TZ_VARIANTS.len()).prop_map(|at| chrono_tz::TZ_VARIANTS[at])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        /// Between 1900 and 2100; the row was stamped at or after `at`, and not after `now`.
        #[test]
        fn no_stamp_of_the_zone_since_then_lies_below_the_floor(
            kind in kinds(),
            zone in zones(),
            at in -2_208_988_800_000_000..4_102_444_800_000_000_i64,
            later in 0..40 * DAY,
        ) {
            let now = ServerTime(at + later);
            let floor = kind.floor(ServerTime(at), now, zone);
            for stamped in [ServerTime(at), now] {
                let wall = match kind {
                    CursorKind::Timestamptz => stamped.0,
                    CursorKind::Timestamp => stamped.0 + offset(zone, stamped),
                    CursorKind::Date => round_down(stamped.0 + offset(zone, stamped), DAY),
                };
                prop_assert!(floor <= wall, "{floor} > {wall}");
            }
        }

        #[test]
        fn an_earlier_time_never_has_a_higher_floor(
            kind in kinds(),
            zone in zones(),
            at in 0..4_102_444_800_000_000_i64,
            earlier in 0..DAY,
            now in 0..4_102_444_800_000_000_i64,
        ) {
            let floor = |at| CursorKind::Timestamptz.floor(ServerTime(at), ServerTime(now), zone);
            prop_assert!(floor(at - earlier) <= floor(at));
            let text = kind.text(kind.floor(ServerTime(at), ServerTime(now), zone));
            prop_assert!(text.is_some());
        }
    }
}
