//! Days and dates: the proleptic Gregorian calendar, years counted astronomically (0 is 1 BC).
//!
//! Source of the arithmetic: Howard Hinnant, "chrono-compatible low-level date algorithms"
//! (`civil_from_days`, `days_from_civil`).

/// Microseconds of one day.
pub const DAY_MICROS: i64 = 86_400_000_000;

/// Days from 0000-03-01 to 1970-01-01. The arithmetic counts years from March, so that the leap day
/// is the last of its year.
const EPOCH_DAYS: i64 = 719_468;
/// Days of 400 years.
const ERA_DAYS: i64 = 146_097;

/// Returns year, month and day of a day since 1970-01-01.
pub fn civil_from_days(days: i64) -> (i64, u32, u32) {
    // Years start in March here, so that the leap day is the last day of a year. Source: Howard
    // Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let shifted = days + EPOCH_DAYS;
    let era = shifted.div_euclid(ERA_DAYS);
    let day_of_era = shifted.rem_euclid(ERA_DAYS) as u32;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (
        i64::from(year_of_era) + era * 400 + i64::from(month <= 2),
        month,
        day,
    )
}

/// Returns days since 1970-01-01 of a valid date.
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let shifted = year - i64::from(month <= 2);
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let shifted_month = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    era * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - EPOCH_DAYS
}

/// Returns the number of days of a month.
pub fn month_days(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, NaiveDate};
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn a_day_and_its_date_are_each_others_inverse(days in -1_000_000_000_i64..1_000_000_000) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
            assert!((1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day));
        }

        #[test]
        fn the_calendar_is_that_of_chrono(days in -90_000_000_i32..90_000_000) {
            let date = NaiveDate::from_epoch_days(days).expect("inside chrono's range");
            let expected = (i64::from(date.year()), date.month(), date.day());
            prop_assert_eq!(civil_from_days(i64::from(days)), expected);
        }

        #[test]
        fn the_day_after_a_months_last_is_the_next_months_first(
            year in -5_000_i64..5_000, month in 1_u32..12
        ) {
            let last = days_from_civil(year, month, month_days(year, month));
            prop_assert_eq!(civil_from_days(last + 1), (year, month + 1, 1));
        }
    }
}
