//! How deep and how often a table is scanned: the same scan with more and more slack below the
//! floor.
//!
//! Pure. Every cycle's bounds are added to what each tier has pending; a scan of a tier completes
//! what it and all shallower tiers have pending. So a row whose timestamp is older than its
//! transaction is found by the first tier that is deep enough, and by the sweep at the latest.
//! Source: docs/polling.md, "Tiers and the sweep".

use std::time::Duration;

use inlet_model::Xid;
use inlet_postgres::ServerTime;
use serde::{Deserialize, Serialize};

use super::bounds::ScanBounds;

/// How far below the floor a tier looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slack {
    Span(Duration),
    /// No floor: the whole table (the sweep).
    Everything,
}

/// One depth of scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// How far below the floor.
    pub slack: Slack,
    /// The least time between two scans.
    pub every: Duration,
    /// True when a scan has no index to use: then it takes at most a twentieth of the time.
    pub throttled: bool,
}

/// A table's tiers, from shallow to deep, and what each has pending.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiers {
    states: Vec<State>,
}

/// The place of a tier among a table's tiers, from shallow to deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TierId(usize);

#[derive(Debug, Clone, Copy, PartialEq)]
struct State {
    tier: Tier,
    pending: ScanBounds,
    last: LastScan,
    /// True when a scan is due as soon as the rest after the last one has ended.
    asked: bool,
}

/// The last scan of a tier or of a deeper one. A session that has none counts from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastScan {
    pub at: ServerTime,
    pub took: Duration,
}

impl LastScan {
    /// When the next throttled scan may start, with this interval.
    pub fn next(self, every: Duration) -> ServerTime {
        self.at.plus(every.max(self.took.saturating_mul(REST)))
    }
}

/// A throttled scan that took `t` is repeated after this many `t`.
const REST: u32 = 20;

impl Tiers {
    /// Tiers without pending bounds; the first is due at once, the others after their interval.
    pub fn new(tiers: Vec<Tier>, now: ServerTime) -> Self {
        let last = LastScan {
            at: now,
            took: Duration::ZERO,
        };
        let state = |tier| State {
            tier,
            pending: ScanBounds::NOTHING,
            last,
            asked: false,
        };
        Self {
            states: tiers.into_iter().map(state).collect(),
        }
    }

    /// Adds what the cycle of a reading has to read: it becomes pending for every tier.
    pub fn add(&mut self, bounds: ScanBounds) {
        for state in &mut self.states {
            state.pending = state.pending.or(bounds);
        }
    }

    /// The deepest tier that is due and has something pending.
    pub fn due(&self, now: ServerTime) -> Option<TierId> {
        self.states
            .iter()
            .rposition(|state| state.due() <= now && state.pending != ScanBounds::NOTHING)
            .map(TierId)
    }

    /// The floor (`None`: no floor) and the xid bound of a tier's scan.
    pub fn bounds(&self, tier: TierId) -> (Option<ServerTime>, Xid) {
        let state = self.states[tier.0];
        let floor = match state.tier.slack {
            Slack::Span(span) => Some(state.pending.floor.minus(span)),
            Slack::Everything => None,
        };
        (floor, state.pending.xid)
    }

    /// Records a scan of this tier at `now` that took `took`.
    pub fn done(&mut self, tier: TierId, now: ServerTime, took: Duration) {
        for state in &mut self.states[..=tier.0] {
            state.pending = ScanBounds::NOTHING;
            state.last = LastScan { at: now, took };
            state.asked = false;
        }
    }

    /// Asks for a scan of this tier before its interval has passed; its throttle still counts.
    pub fn ask(&mut self, tier: TierId) {
        self.states[tier.0].asked = true;
    }

    /// The tier that reads the most.
    pub fn deepest(&self) -> TierId {
        TierId(self.states.len() - 1)
    }

    /// The tier that reads the most below the sweep; the sweep itself where it is the only one.
    pub fn wide(&self) -> TierId {
        TierId(self.states.len().saturating_sub(2))
    }

    /// True when some scans look deeper than others.
    pub fn has_depths(&self) -> bool {
        self.states.len() > 1
    }

    /// The last scan that had no floor.
    pub fn last_sweep(&self) -> LastScan {
        self.states[self.deepest().0].last
    }

    /// The tier that reads the least.
    pub fn shallowest(&self) -> TierId {
        TierId(0)
    }

    /// True when this tier has no floor.
    pub fn is_sweep(&self, tier: TierId) -> bool {
        self.states[tier.0].tier.slack == Slack::Everything
    }

    /// Makes the sweep due at once.
    pub fn sweep_now(&mut self) {
        for state in self
            .states
            .iter_mut()
            .filter(|state| state.tier.slack == Slack::Everything)
        {
            state.last = LastScan {
                at: ServerTime::MIN,
                took: Duration::ZERO,
            };
        }
    }

    /// Sweeps at least this often from here on.
    pub fn sweep_at_least(&mut self, every: Duration) {
        for state in self
            .states
            .iter_mut()
            .filter(|state| state.tier.slack == Slack::Everything && state.tier.every > every)
        {
            state.tier.every = every;
        }
    }

    /// The smallest xid that a later scan may ask for because of what is pending.
    pub fn xid_bound(&self) -> Xid {
        self.states
            .iter()
            .map(|state| state.pending.xid)
            .fold(Xid::MAX, Xid::min)
    }

    /// What each tier has pending, for the progress.
    pub fn pending(&self) -> Vec<ScanBounds> {
        self.states.iter().map(|state| state.pending).collect()
    }

    /// When each tier was last scanned, for the progress.
    pub fn last_scans(&self) -> Vec<LastScan> {
        self.states.iter().map(|state| state.last).collect()
    }

    /// Restores what each tier had pending when the progress was stored, and when it was scanned.
    /// With another number of tiers all of it becomes pending for every tier, and the oldest scan
    /// counts. The first versions stored no scans: then the tiers count from the session's start.
    pub fn restore(&mut self, pending: &[ScanBounds], scans: &[LastScan]) {
        let oldest = scans.iter().min_by_key(|scan| scan.at).copied();
        let same = scans.len() == self.states.len();
        for (at, state) in self.states.iter_mut().enumerate() {
            let stored = if same { Some(scans[at]) } else { oldest };
            if let Some(stored) = stored {
                // A clock that was moved back must not delay a scan beyond its interval.
                state.last = LastScan {
                    at: stored.at.min(state.last.at),
                    ..stored
                };
            }
        }
        let all = pending
            .iter()
            .copied()
            .fold(ScanBounds::NOTHING, ScanBounds::or);
        let same = pending.len() == self.states.len();
        for (at, state) in self.states.iter_mut().enumerate() {
            state.pending = if same { pending[at] } else { all };
        }
    }
}

impl State {
    /// When the next scan may start.
    fn due(&self) -> ServerTime {
        let every = match self.asked {
            true => Duration::ZERO,
            false => self.tier.every,
        };
        match self.tier.throttled {
            true => self.last.next(every),
            false => self.last.at.plus(every),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn what_a_shallow_scan_read_stays_pending_for_the_deeper_tiers() {
        let mut tiers = tiers();
        tiers.add(bounds(500, 5));
        assert_eq!(tiers.due(at(0)), Some(TierId(0)));
        tiers.done(TierId(0), at(0), SECOND);
        tiers.add(bounds(600, 9));
        assert_eq!(tiers.bounds(TierId(0)), (Some(at(600)), Xid(9)));
        assert_eq!(tiers.bounds(TierId(1)), (Some(at(440)), Xid(5)));
        assert_eq!(tiers.bounds(TierId(2)), (None, Xid(5)));
        assert_eq!(tiers.xid_bound(), Xid(5));
    }

    #[test]
    fn a_deep_scan_completes_the_shallow_ones_too() {
        let mut tiers = tiers();
        tiers.add(bounds(500, 5));
        assert_eq!(tiers.due(at(100)), Some(TierId(2)));
        tiers.done(TierId(2), at(100), SECOND);
        assert_eq!(tiers.xid_bound(), Xid::MAX);
        assert_eq!(tiers.due(at(100)), None);
    }

    #[test]
    fn a_throttled_scan_rests_twenty_times_as_long_as_it_took() {
        let mut tiers = tiers();
        tiers.done(TierId(1), at(0), SECOND);
        assert_eq!(tiers.due(at(99)), None);
        tiers.add(bounds(500, 5));
        assert_eq!(tiers.due(at(19)), Some(TierId(0)));
        assert_eq!(tiers.due(at(20)), Some(TierId(1)));
    }

    #[test]
    fn a_sweep_can_be_asked_for() {
        let mut tiers = tiers();
        tiers.add(bounds(500, 5));
        tiers.sweep_now();
        assert_eq!(tiers.due(at(0)), Some(TierId(2)));
    }

    #[test]
    fn a_scan_that_is_asked_for_waits_for_its_throttle_and_comes_once() {
        let mut tiers = tiers();
        tiers.done(TierId(2), at(0), SECOND);
        tiers.add(bounds(500, 5));
        tiers.ask(TierId(2));
        assert_eq!(tiers.due(at(19)), Some(TierId(0)));
        assert_eq!(tiers.due(at(20)), Some(TierId(2)));
        tiers.done(TierId(2), at(20), SECOND);
        tiers.add(bounds(500, 5));
        assert_eq!(tiers.due(at(50)), Some(TierId(1)));
    }

    #[test]
    fn a_progress_of_other_tiers_becomes_pending_for_all() {
        let mut tiers = tiers();
        tiers.restore(&[bounds(500, 9), bounds(400, 7)], &[]);
        assert_eq!(tiers.bounds(TierId(0)), (Some(at(400)), Xid(7)));
        assert_eq!(tiers.xid_bound(), Xid(7));
    }

    #[test]
    fn restored_tiers_are_due_when_the_stored_ones_were() {
        let mut stored = tiers();
        stored.done(TierId(2), at(0), 6 * SECOND);
        stored.done(TierId(1), at(50), SECOND);
        let mut restored = Tiers::new(
            stored.states.iter().map(|state| state.tier).collect(),
            at(90),
        );
        restored.restore(&[bounds(500, 5); 3], &stored.last_scans());
        assert_eq!(restored.due(at(69)), Some(TierId(0)));
        assert_eq!(restored.due(at(70)), Some(TierId(1)));
        assert_eq!(restored.due(at(119)), Some(TierId(1)));
        assert_eq!(
            restored.due(at(120)),
            Some(TierId(2)),
            "it took 6 s, and rests 120 s"
        );
    }

    #[test]
    fn a_clock_that_was_moved_back_delays_a_scan_by_its_interval_at_most() {
        let mut restored = tiers();
        let future = LastScan {
            at: at(100_000),
            took: SECOND,
        };
        restored.restore(&[bounds(500, 5); 3], &[future; 3]);
        assert_eq!(restored.due(at(100)), Some(TierId(2)));
    }

    /// One event in the life of a table's tiers.
    #[derive(Debug, Clone)]
    enum Event {
        Add(ScanBounds),
        Scan(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..1000_i64, 0..1000_u64).prop_map(|(floor, xid)| Event::Add(bounds(floor, xid))),
            (0..3_usize).prop_map(Event::Scan),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn a_tier_has_pending_what_was_added_since_it_or_a_deeper_one_was_scanned(
            events in prop::collection::vec(event(), 0..20),
        ) {
            let mut tiers = tiers();
            let mut expected = [ScanBounds::NOTHING; 3];
            for event in events {
                match event {
                    Event::Add(bounds) => {
                        tiers.add(bounds);
                        expected = expected.map(|pending| pending.or(bounds));
                    }
                    Event::Scan(tier) => {
                        tiers.done(TierId(tier), at(0), SECOND);
                        expected[..=tier].fill(ScanBounds::NOTHING);
                    }
                }
                prop_assert_eq!(tiers.pending(), expected.to_vec());
                let lowest = expected.iter().map(|pending| pending.xid).min().unwrap();
                prop_assert_eq!(tiers.xid_bound(), lowest);
            }
        }

        #[test]
        fn restored_tiers_ask_for_no_less_than_the_stored_ones(
            pending in prop::collection::vec((0..1000_i64, 0..1000_u64), 0..5),
        ) {
            let pending: Vec<_> = pending.into_iter().map(|(floor, xid)| bounds(floor, xid)).collect();
            let mut tiers = tiers();
            tiers.restore(&pending, &[]);
            let sum = pending.iter().copied().fold(ScanBounds::NOTHING, ScanBounds::or);
            let restored = tiers.pending().into_iter().fold(ScanBounds::NOTHING, ScanBounds::or);
            prop_assert_eq!(restored, sum);
        }
    }
}
