//! Texts into numbers, durations, sizes, zones and names; what is wrong with them in a user's
//! words.

use std::str::FromStr;
use std::time::Duration;

use chrono_tz::Tz;
use inlet_model::nearest;

use super::file::{Problem, Text};

/// One of these words, in any case.
pub(super) fn choice<T: Copy>(key: &str, text: &Text, all: &[(&str, T)]) -> Result<T, Problem> {
    let mut all_words = all.iter().map(|(word, _)| *word);
    let found = all
        .iter()
        .find(|(word, _)| text.value.eq_ignore_ascii_case(word));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let what = format!("`{key}` is not known: `{}`", text.value);
        let problem = Problem::at(&text.place, what);
        match nearest(&text.value, all_words.clone()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => {
                let last = all_words.next_back().unwrap_or_default();
                let others = all_words.collect::<Vec<_>>().join(", ");
                problem.hint(format!("write {others} or {last}"))
            }
        }
    })
}

/// A duration of whole days: `30d`.
pub(super) fn days(key: &str, text: &Text) -> Result<u32, Problem> {
    const DAY_SECONDS: u64 = 86_400;
    let time = duration(key, text)?;
    let days = time.as_secs() / DAY_SECONDS;
    if time != Duration::from_secs(days * DAY_SECONDS) {
        let what = format!("`{key}` is not a number of whole days: `{}`", text.value);
        let problem = Problem::at(&text.place, what);
        return Err(problem.hint("a day leaves as a whole: write 1d, 30d, 365d"));
    }
    Ok(u32::try_from(days).expect("a duration is a century at most"))
}

/// A duration with its unit: `5ms`, `2s`, `10m`, `1h`, `1d`; at least 1 ms.
pub(super) fn duration(key: &str, text: &Text) -> Result<Duration, Problem> {
    span(&text.value).map_err(|(what, hint)| {
        let problem = format!("`{key}` {what}: `{}`", text.value);
        Problem::at(&text.place, problem).hint(hint)
    })
}

/// A duration as the configuration writes it, such as `10s`; or what is wrong with it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    span(text).map_err(|(what, hint)| format!("it {what}; {hint}"))
}

/// A duration, or what is wrong and how it is written.
fn span(text: &str) -> Result<Duration, (&'static str, String)> {
    let form = "write a whole number and a unit: 500ms, 2s, 10m, 1h, 1d";
    let (number, unit) = number_and_unit(text);
    let milliseconds_each = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" if !number.is_empty() => {
            let hint = format!("write `{number}s` or `{number}ms`; the units are ms, s, m, h, d");
            return Err(("needs a unit", hint));
        }
        _ => return Err(("is not a duration", form.to_owned())),
    };
    let milliseconds = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(milliseconds_each));
    match milliseconds {
        Some(0) => Err(("must be more than 0", "the shortest is 1ms".to_owned())),
        // Times longer than a century would overflow when they are added to a clock.
        Some(milliseconds) if milliseconds <= 100 * 365 * 86_400_000 => {
            Ok(Duration::from_millis(milliseconds))
        }
        _ => Err(("is not a duration", form.to_owned())),
    }
}

/// A size in bytes with its unit: `64MiB`; at least one byte.
pub(super) fn size(key: &str, text: &Text) -> Result<u64, Problem> {
    let problem =
        |what: &str| Problem::at(&text.place, format!("`{key}` {what}: `{}`", text.value));
    let (number, unit) = number_and_unit(&text.value);
    let bytes_each: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" if !number.is_empty() => {
            return Err(problem("needs a unit").hint(format!(
                "write `{number}MiB`; the units are B, KiB, MiB, GiB"
            )));
        }
        _ => {
            return Err(problem("is not a size")
                .hint("write a whole number and a unit: 512KiB, 64MiB, 1GiB"));
        }
    };
    match number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(bytes_each))
    {
        Some(0) => Err(problem("must be more than 0").hint("write for example 64MiB")),
        Some(bytes) => Ok(bytes),
        None => {
            Err(problem("is not a size")
                .hint("write a whole number and a unit: 512KiB, 64MiB, 1GiB"))
        }
    }
}

/// A whole number from `least` on; `_` may group its digits.
pub(super) fn count<N: FromStr + PartialOrd + std::fmt::Display>(
    key: &str,
    text: &Text,
    least: N,
) -> Result<N, Problem> {
    match text.value.replace('_', "").parse::<N>() {
        Ok(count) if count >= least => Ok(count),
        _ => {
            let problem = Problem::at(
                &text.place,
                format!(
                    "`{key}` must be a whole number from {least} on, not `{}`",
                    text.value
                ),
            );
            Err(problem.hint("write digits only; `_` may group them: 1_000_000"))
        }
    }
}

/// A whole number from 1 to 100.
pub(super) fn percent(key: &str, text: &Text) -> Result<u8, Problem> {
    let percent = count(key, text, 1)?;
    if percent > 100 {
        let problem = Problem::at(
            &text.place,
            format!("`{key}` must be at most 100, not `{percent}`"),
        );
        return Err(problem.hint("write a share in percent, from 1 to 100"));
    }
    Ok(percent)
}

/// `true` or `false`, or YAML's older words for them.
pub(super) fn boolean(key: &str, text: &Text) -> Result<bool, Problem> {
    match text.value.as_str() {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        other => Err(Problem::at(
            &text.place,
            format!("`{key}` is neither true nor false: `{other}`"),
        )),
    }
}

pub(super) fn port(key: &str, text: &Text) -> Result<u16, Problem> {
    let port = text.value.parse::<u16>().ok().filter(|port| *port > 0);
    port.ok_or_else(|| {
        Problem::at(
            &text.place,
            format!(
                "`{key}` must be a port from 1 to 65535, not `{}`",
                text.value
            ),
        )
    })
}

/// A time zone by its IANA name.
pub(super) fn timezone(key: &str, text: &Text) -> Result<Tz, Problem> {
    Tz::from_str(&text.value).map_err(|_| {
        let problem = Problem::at(
            &text.place,
            format!("`{key}` is not a time zone: `{}`", text.value),
        );
        let names = || chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        // A city alone, as `Berlin`.
        let city = names().find(|name| {
            name.rsplit('/')
                .next()
                .is_some_and(|city| city.eq_ignore_ascii_case(&text.value))
        });
        match city.or_else(|| nearest(&text.value, names())) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint("write an IANA name, for example Europe/Berlin, or UTC"),
        }
    })
}

fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}
