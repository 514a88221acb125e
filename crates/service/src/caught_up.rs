//! When the log states that a service has caught up: once after its start, and again only after it
//! was noticeably behind. Pure: the caller owns the clock.

use std::time::{Duration, Instant};

/// A shorter delay is no news.
const NOTICEABLE: Duration = Duration::from_secs(30);
/// A service that asks rarely is late by the time between two questions, as configured.
const INTERVALS: u32 = 3;

/// What was carried until it caught up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    pub rows: u64,
    /// Since the start, or since it fell behind.
    pub time: Duration,
    /// True for the first time since the start.
    pub first: bool,
}

impl Carried {
    /// The time in seconds, with tenths.
    pub fn seconds(&self) -> f64 {
        (self.time.as_secs_f64() * 10.0).round() / 10.0
    }

    pub fn rows_per_second(&self) -> u64 {
        let seconds = self.time.as_secs_f64().max(0.001);
        (self.rows as f64 / seconds).round() as u64
    }
}

/// Whether a service is behind.
#[derive(Debug, Clone)]
pub struct CaughtUp {
    noticeable: Duration,
    /// Since when it is behind; `None` once it has caught up.
    behind_since: Option<Instant>,
    rows: u64,
    first: bool,
}

impl CaughtUp {
    /// A service that starts now, and that looks for rows at least once in this time.
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self {
            noticeable: NOTICEABLE.max(interval * INTERVALS),
            behind_since: Some(now),
            rows: 0,
            first: true,
        }
    }

    /// Rows have become durable.
    pub fn add(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// True until it has caught up.
    pub fn is_behind(&self) -> bool {
        self.behind_since.is_some()
    }

    /// What became durable at this moment is this old. Returns the figures when it has caught up
    /// with that.
    pub fn observe(&mut self, lag: Duration, now: Instant) -> Option<Carried> {
        if lag > self.noticeable {
            if self.behind_since.is_none() {
                self.behind_since = Some(now.checked_sub(lag).unwrap_or(now));
            }
            return None;
        }
        let since = self.behind_since.take()?;
        Some(Carried {
            rows: std::mem::take(&mut self.rows),
            time: now.saturating_duration_since(since),
            first: std::mem::take(&mut self.first),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_stated_once_after_the_start_and_again_after_a_noticeable_delay() {
        let start = Instant::now();
        let mut caught_up = CaughtUp::new(SECOND, start);
        caught_up.add(500);
        assert_eq!(caught_up.observe(40 * SECOND, start + 2 * SECOND), None);
        let first = caught_up.observe(SECOND, start + 5 * SECOND).unwrap();
        assert_eq!(
            (first.rows, first.time, first.first),
            (500, 5 * SECOND, true)
        );
        assert_eq!(first.rows_per_second(), 100);
        for lag in [0, 1, 29, 30] {
            assert_eq!(caught_up.observe(lag * SECOND, start + 60 * SECOND), None);
        }
        caught_up.add(7);
        assert_eq!(caught_up.observe(31 * SECOND, start + 100 * SECOND), None);
        assert_eq!(caught_up.observe(99 * SECOND, start + 110 * SECOND), None);
        let again = caught_up.observe(SECOND, start + 120 * SECOND).unwrap();
        assert_eq!((again.time, again.first), (51 * SECOND, false));
        assert_eq!(caught_up.observe(SECOND, start + 121 * SECOND), None);
    }

    #[test]
    fn a_service_that_asks_rarely_is_not_behind_between_two_questions() {
        let start = Instant::now();
        let mut caught_up = CaughtUp::new(60 * SECOND, start);
        assert!(caught_up.observe(60 * SECOND, start).is_some());
        assert!(caught_up.observe(179 * SECOND, start).is_none() && !caught_up.is_behind());
        assert!(caught_up.observe(181 * SECOND, start).is_none() && caught_up.is_behind());
    }
}
