//! How deep and how often a table is scanned: the same scan with more and more slack below the
//! floor.
//!
//! Pure. Every cycle's bounds are added to what each tier still owes; a scan of a tier pays its own
//! debt and that of all shallower tiers. So a row whose timestamp is older than its transaction is
//! found by the first tier that is deep enough, and by the sweep at the latest. Source:
//! docs/polling.md, "Tiers and the sweep".

use std::time::Duration;

use inlet_model::Xid;
use inlet_postgres::ServerTime;

use super::bounds::ScanBounds;

/// How far below the floor a tier looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slack {
    /// This span.
    Span(Duration),
    /// No floor: the whole table (the sweep).
    Everything,
}

/// One depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// How far below the floor.
    pub slack: Slack,
    /// The least time between two scans.
    pub every: Duration,
    /// True when a scan has no index to use: then it takes at most a twentieth of the time.
    pub throttled: bool,
}

/// A table's tiers, from shallow to deep, and what each still owes.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiers {
    states: Vec<State>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct State {
    tier: Tier,
    owed: ScanBounds,
    due: ServerTime,
}

/// A throttled scan that took `t` is repeated after this many `t`.
const REST: u32 = 20;

impl Tiers {
    /// Tiers that owe nothing; the first is due at once, the others after their interval.
    pub fn new(tiers: Vec<Tier>, now: ServerTime) -> Self {
        let due = |tier: &Tier| ServerTime(now.0.saturating_add(micros(tier.every)));
        Self {
            states: tiers
                .into_iter()
                .map(|tier| State {
                    tier,
                    owed: ScanBounds::NOTHING,
                    due: due(&tier),
                })
                .collect(),
        }
    }

    /// After a reading: what its cycle has to read is owed by every tier.
    pub fn owe(&mut self, bounds: ScanBounds) {
        for state in &mut self.states {
            state.owed = state.owed.or(bounds);
        }
    }

    /// The deepest tier that owes something and is due.
    pub fn due(&self, now: ServerTime) -> Option<usize> {
        self.states
            .iter()
            .rposition(|state| state.due <= now && state.owed != ScanBounds::NOTHING)
    }

    /// The floor (`None`: no floor) and the xid bound of a tier's scan.
    pub fn bounds(&self, tier: usize) -> (Option<ServerTime>, Xid) {
        let State {
            tier: Tier { slack, .. },
            owed,
            ..
        } = self.states[tier];
        match slack {
            Slack::Span(span) => (Some(owed.floor.minus(span)), owed.xid),
            Slack::Everything => (None, owed.xid),
        }
    }

    /// After a scan of this tier at `now` that took `took`.
    pub fn paid(&mut self, tier: usize, now: ServerTime, took: Duration) {
        for state in &mut self.states[..=tier] {
            let rest = if state.tier.throttled {
                took * REST
            } else {
                Duration::ZERO
            };
            state.owed = ScanBounds::NOTHING;
            state.due = ServerTime(now.0.saturating_add(micros(state.tier.every.max(rest))));
        }
    }

    /// The tier that reads the most.
    pub fn deepest(&self) -> usize {
        self.states.len() - 1
    }

    /// True when this tier has no floor.
    pub fn is_sweep(&self, tier: usize) -> bool {
        self.states[tier].tier.slack == Slack::Everything
    }

    /// Makes the sweep due at once.
    pub fn sweep_now(&mut self) {
        for state in self
            .states
            .iter_mut()
            .filter(|state| state.tier.slack == Slack::Everything)
        {
            state.due = ServerTime::MIN;
        }
    }

    /// Sweeps at least this often from here on.
    pub fn sweep_at_least(&mut self, every: Duration) {
        for state in self
            .states
            .iter_mut()
            .filter(|state| state.tier.slack == Slack::Everything && state.tier.every > every)
        {
            let earlier = micros(state.tier.every - every);
            state.tier.every = every;
            state.due = ServerTime(state.due.0.saturating_sub(earlier));
        }
    }

    /// The smallest xid that a later scan may ask for on account of what is owed.
    pub fn xid_bound(&self) -> Xid {
        self.states
            .iter()
            .map(|state| state.owed.xid)
            .fold(Xid::MAX, Xid::min)
    }

    /// What each tier owes, for the progress.
    pub fn owed(&self) -> Vec<ScanBounds> {
        self.states.iter().map(|state| state.owed).collect()
    }

    /// What each tier owed when the progress was written; with another number of tiers the sum of
    /// it is owed by all.
    pub fn restore(&mut self, owed: &[ScanBounds]) {
        let all = owed
            .iter()
            .copied()
            .fold(ScanBounds::NOTHING, ScanBounds::or);
        let same = owed.len() == self.states.len();
        for (at, state) in self.states.iter_mut().enumerate() {
            state.owed = if same { owed[at] } else { all };
        }
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tiers() -> Tiers {
        let span = |span, every, throttled| Tier {
            slack: Slack::Span(span),
            every,
            throttled,
        };
        let sweep = Tier {
            slack: Slack::Everything,
            every: 100 * SECOND,
            throttled: true,
        };
        Tiers::new(
            vec![
                span(Duration::ZERO, Duration::ZERO, false),
                span(60 * SECOND, 10 * SECOND, true),
                sweep,
            ],
            at(0),
        )
    }

    fn at(seconds: i64) -> ServerTime {
        ServerTime(seconds * 1_000_000)
    }

    fn bounds(floor: i64, xid: u64) -> ScanBounds {
        ScanBounds {
            floor: at(floor),
            xid: Xid(xid),
        }
    }

    #[test]
    fn what_a_shallow_scan_read_is_still_owed_by_the_deeper_tiers() {
        let mut tiers = tiers();
        tiers.owe(bounds(500, 5));
        assert_eq!(tiers.due(at(0)), Some(0));
        tiers.paid(0, at(0), SECOND);
        tiers.owe(bounds(600, 9));
        assert_eq!(tiers.bounds(0), (Some(at(600)), Xid(9)));
        assert_eq!(tiers.bounds(1), (Some(at(440)), Xid(5)));
        assert_eq!(tiers.bounds(2), (None, Xid(5)));
        assert_eq!(tiers.xid_bound(), Xid(5));
    }

    #[test]
    fn a_deep_scan_pays_for_the_shallow_ones_too() {
        let mut tiers = tiers();
        tiers.owe(bounds(500, 5));
        assert_eq!(tiers.due(at(100)), Some(2));
        tiers.paid(2, at(100), SECOND);
        assert_eq!(tiers.xid_bound(), Xid::MAX);
        assert_eq!(tiers.due(at(100)), None);
    }

    #[test]
    fn a_throttled_scan_rests_twenty_times_as_long_as_it_took() {
        let mut tiers = tiers();
        tiers.paid(1, at(0), SECOND);
        assert_eq!(tiers.due(at(99)), None);
        tiers.owe(bounds(500, 5));
        assert_eq!(tiers.due(at(19)), Some(0));
        assert_eq!(tiers.due(at(20)), Some(1));
    }

    #[test]
    fn a_sweep_can_be_asked_for() {
        let mut tiers = tiers();
        tiers.owe(bounds(500, 5));
        tiers.sweep_now();
        assert_eq!(tiers.due(at(0)), Some(2));
    }

    #[test]
    fn a_progress_of_other_tiers_is_owed_by_all() {
        let mut tiers = tiers();
        tiers.restore(&[bounds(500, 9), bounds(400, 7)]);
        assert_eq!(tiers.bounds(0), (Some(at(400)), Xid(7)));
        assert_eq!(tiers.xid_bound(), Xid(7));
    }
}
