//! Versions that PostgreSQL has counted and no scan has found, such as updates that leave the
//! cursor unchanged. They make a deeper scan due soon, instead of after `streaming.sweep_interval`.
//!
//! The server counts each version that is written, and a scan finds each version once. What was
//! counted and not found is either hidden from the scan by its timestamp, or harmless: an aborted
//! transaction wrote it, or it was replaced or deleted before a scan saw it. Only a sweep can tell.
//! A sweep that finds nothing makes the pause before the next one longer, so a table whose cursor
//! moves is hardly swept more often than without this. Counters arrive seconds late, so scans are
//! ahead of them most of the time: then nothing is missing.
//!
//! Pure. Source: PostgreSQL manual, "The Cumulative Statistics System".

use std::time::Duration;

use inlet_model::Progress;
use inlet_postgres::ServerTime;
use serde::{Deserialize, Serialize};

use super::census::rest;
use super::tiers::LastScan;

pub(super) const UNSEEN: &str = "unseen";

/// The pause after the first sweep that found nothing; each further one makes it longer.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
const PAUSE_GROWTH: u32 = 4;
/// The default interval of sweeps: a longer pause would never end before the next one.
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// This many times as many versions as a sweep has found harmless end the pause.
const OUT_OF_PROPORTION: i64 = 10;
/// After this many looks at an unchanged counter, no count is on its way any more.
const UNCHANGED_LOOKS_MAX: u32 = 30;

/// What is known of one table's unseen versions. Stored with the rows that it counts as found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unseen {
    /// The versions that the server had counted at the last look; `None` before the first one.
    counted: Option<i64>,
    /// Those that no scan has found; negative while counts are on their way.
    missing: i64,
    /// The least time from one sweep to the next that is due because of missing versions.
    pause: Duration,
    /// The most versions that were missing when a sweep found none.
    harmless: i64,
    /// True once the wide scan was asked for: it costs less than a sweep, so it goes first.
    #[serde(skip)]
    widened: bool,
    /// Looks at a counter that did not change.
    #[serde(skip)]
    unchanged: u32,
}

/// A scan that is due because of missing versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deeper {
    Wide,
    Sweep,
}

impl Unseen {
    /// What is stored; a part that cannot be read counts as none.
    pub fn decode(progress: &Progress) -> Self {
        let text = progress.0.get(UNSEEN);
        text.and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// A base for the versions that the server counts from here on.
    pub fn from(counted: i64) -> Self {
        Self {
            counted: Some(counted),
            ..Self::default()
        }
    }

    /// False before the first look.
    pub fn has_base(&self) -> bool {
        self.counted.is_some()
    }

    /// Looks at the server's counter. The sweeps take `percent` of the time at most.
    pub fn look(
        &mut self,
        counted: i64,
        sweep: LastScan,
        now: ServerTime,
        percent: u8,
    ) -> Option<Deeper> {
        // The versions that were counted now may have been committed after the last cycle. So a
        // look decides by those that had been counted at the look before.
        let deeper = self.decide(sweep, now, percent);
        match self.counted {
            // What was counted before is unknown here.
            None => {}
            Some(before) if counted < before => {
                // The counters were reset, so the number of versions since is unknown.
                self.missing = self.missing.max(1);
            }
            Some(before) => self.missing = self.missing.saturating_add(counted - before),
        }
        self.unchanged = match self.counted == Some(counted) {
            true => self.unchanged.saturating_add(1),
            false => 0,
        };
        // Versions that were found and never counted would hide as many missing ones for ever.
        if self.unchanged > UNCHANGED_LOOKS_MAX {
            self.missing = self.missing.max(0);
        }
        self.counted = Some(counted);
        deeper
    }

    fn decide(&mut self, sweep: LastScan, now: ServerTime, percent: u8) -> Option<Deeper> {
        if self.missing <= 0 {
            self.widened = false;
            return None;
        }
        if !self.widened {
            self.widened = true;
            return Some(Deeper::Wide);
        }
        let pause = match self.is_usual(self.missing) {
            true => self.pause,
            false => Duration::ZERO,
        };
        let due = sweep.at.plus(pause.max(rest(sweep.took, percent)));
        // A clock that was moved back does not delay a sweep.
        (now >= due || now < sweep.at).then_some(Deeper::Sweep)
    }

    /// Records versions that a scan has found.
    pub fn found(&mut self, versions: u64) {
        // They belong to what was counted before the first look.
        if self.counted.is_none() {
            return;
        }
        let versions = i64::try_from(versions).unwrap_or(i64::MAX);
        self.missing = self.missing.saturating_sub(versions);
    }

    /// Records a sweep, after the versions that it has found; `late` of them had been hidden from
    /// shallower scans. What is missing now is harmless.
    pub fn swept(&mut self, late: u64) {
        if late > 0 {
            self.pause = Duration::ZERO;
            self.harmless = 0;
        } else if self.missing > 0 {
            let longer = self.pause.saturating_mul(PAUSE_GROWTH);
            self.pause = longer.clamp(PAUSE_FIRST, PAUSE_MAX);
            self.harmless = self.harmless.max(self.missing);
        }
        self.missing = self.missing.min(0);
        self.widened = false;
    }

    /// The versions that are missing if the server has counted this many, and whether earlier
    /// sweeps have found about as many harmless.
    pub fn missing(&self, counted: i64) -> (u64, bool) {
        let since = match self.counted {
            Some(before) => counted.saturating_sub(before).max(0),
            None => 0,
        };
        let missing = self.missing.saturating_add(since).max(0);
        (missing.unsigned_abs(), self.is_usual(missing))
    }

    fn is_usual(&self, missing: i64) -> bool {
        missing <= self.harmless.saturating_mul(OUT_OF_PROPORTION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERCENT: u8 = 2;

    fn at(seconds: i64) -> ServerTime {
        ServerTime(seconds * 1_000_000)
    }

    fn swept(seconds: i64, took: Duration) -> LastScan {
        LastScan {
            at: at(seconds),
            took,
        }
    }

    /// Looks once a second, from this second on, until a sweep is due; brings the second of it.
    fn until_sweep(unseen: &mut Unseen, counted: i64, sweep: LastScan, from: i64) -> Option<i64> {
        (from..from + 10_000)
            .find(|now| unseen.look(counted, sweep, at(*now), PERCENT) == Some(Deeper::Sweep))
    }

    /// A table with no missing version, at a count of 100.
    fn rested() -> Unseen {
        Unseen::from(100)
    }

    #[test]
    fn counted_versions_that_no_scan_finds_ask_for_a_wide_scan_and_then_for_a_sweep() {
        let (mut unseen, sweep) = (rested(), swept(0, Duration::ZERO));
        assert_eq!(unseen.look(103, sweep, at(2), PERCENT), None);
        assert_eq!(
            unseen.look(103, sweep, at(3), PERCENT),
            Some(Deeper::Wide),
            "a cycle has run since they were counted"
        );
        assert_eq!(unseen.look(103, sweep, at(4), PERCENT), Some(Deeper::Sweep));
        unseen.found(3);
        unseen.swept(3);
        assert_eq!(
            until_sweep(&mut unseen, 103, swept(4, Duration::ZERO), 5),
            None
        );
    }

    #[test]
    fn versions_that_scans_find_ask_for_nothing_however_late_they_are_counted() {
        let (mut unseen, sweep) = (rested(), swept(0, Duration::ZERO));
        let mut found = 100;
        for now in 2..200 {
            unseen.found(7);
            found += 7;
            let counted = found - 7 * (now % 9);
            let counted = counted.max(unseen.counted.unwrap());
            assert_eq!(unseen.look(counted, sweep, at(now), PERCENT), None, "{now}");
        }
    }

    #[test]
    fn a_wide_scan_that_finds_them_spares_the_sweep() {
        let (mut unseen, sweep) = (rested(), swept(0, Duration::ZERO));
        unseen.look(105, sweep, at(2), PERCENT);
        assert_eq!(unseen.look(105, sweep, at(3), PERCENT), Some(Deeper::Wide));
        unseen.found(5);
        assert_eq!(until_sweep(&mut unseen, 105, sweep, 4), None);
    }

    #[test]
    fn sweeps_that_find_nothing_become_rare() {
        let mut unseen = rested();
        let (mut counted, mut last, mut sweeps) = (100, 0, 0);
        for now in 2..7200 {
            counted += 1;
            let sweep = swept(last, Duration::ZERO);
            if unseen.look(counted, sweep, at(now), PERCENT) == Some(Deeper::Sweep) {
                unseen.swept(0);
                (last, sweeps) = (now, sweeps + 1);
            }
        }
        assert!(sweeps <= 7, "{sweeps} sweeps in two hours");
        counted += 1_000_000;
        let due = until_sweep(&mut unseen, counted, swept(last, Duration::ZERO), 7200);
        assert_eq!(due, Some(7201), "many more than ever are no longer usual");
        unseen.swept(1);
        counted += 1;
        let due = until_sweep(&mut unseen, counted, swept(7201, Duration::ZERO), 7202);
        assert!(
            due.unwrap() <= 7205,
            "a sweep that finds some ends the pause"
        );
    }

    #[test]
    fn sweeps_that_find_some_take_their_share_of_the_time() {
        let (mut unseen, sweep) = (rested(), swept(0, Duration::from_secs(10)));
        let due = until_sweep(&mut unseen, 200, sweep, 2);
        assert_eq!(due, Some(490), "10 s are 2 % of 500 s");
    }

    #[test]
    fn counters_that_were_reset_ask_for_one_sweep() {
        let (mut unseen, sweep) = (rested(), swept(0, Duration::ZERO));
        assert!(until_sweep(&mut unseen, 3, sweep, 2).is_some());
        unseen.swept(0);
        assert_eq!(
            until_sweep(&mut unseen, 3, swept(9, Duration::ZERO), 10),
            None
        );
    }

    #[test]
    fn versions_that_are_never_counted_hide_no_missing_one_for_long() {
        let (mut unseen, sweep) = (rested(), swept(0, Duration::ZERO));
        unseen.found(50);
        for now in 2..40 {
            assert_eq!(unseen.look(100, sweep, at(now), PERCENT), None);
        }
        assert!(until_sweep(&mut unseen, 101, sweep, 40).is_some());
    }

    #[test]
    fn what_is_stored_goes_on_after_a_restart() {
        let mut unseen = rested();
        unseen.look(120, swept(0, Duration::ZERO), at(2), PERCENT);
        unseen.found(5);
        let text = serde_json::to_string(&unseen).unwrap();
        let progress = Progress([(UNSEEN.to_owned(), text)].into());
        let mut stored = Unseen::decode(&progress);
        assert_eq!((stored.missing(120).0, stored.missing(130).0), (15, 25));
        assert!(until_sweep(&mut stored, 120, swept(0, Duration::ZERO), 3).is_some());
    }
}
