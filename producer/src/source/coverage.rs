//! The map F: for each xid, the lowest floor that was scanned for it.
//!
//! Pure. A version is new unless its xid is covered at or below its timestamp: after a scan with
//! floor `L` every visible version of a returned xid with `cursor >= L` has been emitted, and a
//! committed transaction shows no further ones later. Floors are whole seconds, so that one bitmap
//! holds all xids of a second's scans, and one part of the progress is one bitmap. Single versions
//! that were emitted beside the scans are in [`looked_up`]. Source: docs/polling.md, "The map F".

pub mod looked_up;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use inlet_model::Xid;
use inlet_model::{Progress, ProgressDelta};
use inlet_postgres::Floor;
use roaring::RoaringTreemap;

use self::looked_up::LookedUp;

/// The part of the progress that holds a floor's xids.
const PART: &str = "covered/";

/// Which versions have been emitted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Coverage {
    floors: BTreeMap<Floor, RoaringTreemap>,
    all: RoaringTreemap,
    /// Floors whose xids differ from the durable ones.
    changed: BTreeSet<Floor>,
    /// Versions that were emitted although no scan has returned them.
    pub looked_up: LookedUp,
}

impl Coverage {
    /// True when the version (xid, timestamp) has been emitted.
    pub fn covers(&self, xid: Xid, at: i64) -> bool {
        // A look into `all` answers at once for an xid that no scan has returned.
        self.all.contains(xid.0)
            && self
                .floors
                .range(..=at)
                .rev()
                .any(|(_, xids)| xids.contains(xid.0))
    }

    /// After a scan with this floor that returned these xids.
    pub fn add(&mut self, floor: Floor, returned: &RoaringTreemap) {
        // Each of the single versions was returned, or no scan shows it again.
        if floor == Floor::MIN {
            self.looked_up.forget();
        }
        // Xids that are covered at this floor or a lower one gain nothing from this scan.
        let mut lowered = returned.clone();
        for (_, xids) in self.floors.range(..=floor) {
            lowered -= xids;
        }
        if lowered.is_empty() {
            return;
        }
        let known = &lowered & &self.all;
        // An xid is kept at its lowest floor only: one place to look, and less progress to write.
        if !known.is_empty() {
            for (higher, xids) in self
                .floors
                .range_mut((std::ops::Bound::Excluded(floor), std::ops::Bound::Unbounded))
            {
                let before = xids.len();
                *xids -= &known;
                if xids.len() != before {
                    self.changed.insert(*higher);
                }
            }
        }
        self.all |= &lowered;
        *self.floors.entry(floor).or_default() |= lowered;
        self.changed.insert(floor);
    }

    /// Forgets the xids below `keep`, which no later scan asks for.
    pub fn prune(&mut self, keep: Xid) {
        if self.all.min().is_none_or(|min| min >= keep.0) {
            return;
        }
        self.all.remove_range(..keep.0);
        let changed = &mut self.changed;
        self.floors.retain(|floor, xids| {
            xids.remove_range(..keep.0);
            // A floor that only shrank is not written again: forgotten xids do no harm in the
            // durable copy.
            if xids.is_empty() {
                changed.insert(*floor);
            }
            !xids.is_empty()
        });
    }

    /// Forgets everything; the next delta removes it from the progress, from which it would return
    /// at the next start.
    pub fn forget(&mut self) {
        self.changed.extend(self.floors.keys());
        self.floors.clear();
        self.all.clear();
        self.looked_up.forget();
    }

    /// The xid after the greatest that was emitted.
    pub fn xid_end(&self) -> Xid {
        let last = self.all.max().max(self.looked_up.last_xid());
        Xid(last.map_or(0, |last| last + 1))
    }

    /// The number of xids that it holds.
    pub fn xids(&self) -> u64 {
        self.all.len()
    }

    /// The changes for the progress; they count as durable from here on.
    pub fn take_delta(&mut self) -> ProgressDelta {
        let floors = &self.floors;
        let part = |floor| {
            (
                format!("{PART}{floor}"),
                floors
                    .get(&floor)
                    .filter(|xids| !xids.is_empty())
                    .map(encode),
            )
        };
        let mut delta = ProgressDelta(
            std::mem::take(&mut self.changed)
                .into_iter()
                .map(part)
                .collect(),
        );
        self.looked_up.take_delta(&mut delta);
        delta
    }

    /// Reads the coverage back; `None` when the progress is damaged.
    pub fn from_progress(progress: &Progress) -> Option<Self> {
        let mut coverage = Self {
            looked_up: LookedUp::from_progress(progress)?,
            ..Self::default()
        };
        for (part, text) in progress.0.iter().filter(|(part, _)| part.starts_with(PART)) {
            let xids = decode(text)?;
            coverage.all |= &xids;
            coverage
                .floors
                .insert(part[PART.len()..].parse().ok()?, xids);
        }
        Some(coverage)
    }
}

fn encode(xids: &RoaringTreemap) -> String {
    let mut bytes = Vec::with_capacity(xids.serialized_size());
    xids.serialize_into(&mut bytes)
        .expect("memory takes every byte");
    format!("\"{}\"", STANDARD.encode(bytes))
}

fn decode(text: &str) -> Option<RoaringTreemap> {
    let bytes = STANDARD
        .decode(text.strip_prefix('"')?.strip_suffix('"')?)
        .ok()?;
    RoaringTreemap::deserialize_from(bytes.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn xids(of: &[u64]) -> RoaringTreemap {
        of.iter().copied().collect()
    }

    #[test]
    fn a_version_below_the_scanned_floor_is_still_new() {
        let mut coverage = Coverage::default();
        coverage.add(100, &xids(&[7]));
        assert!(coverage.covers(Xid(7), 100));
        assert!(!coverage.covers(Xid(7), 99));
        assert!(!coverage.covers(Xid(8), 100));
    }

    #[test]
    fn a_deeper_scan_lowers_the_floor_and_a_shallower_one_does_not_raise_it() {
        let mut coverage = Coverage::default();
        coverage.add(100, &xids(&[7, 8]));
        coverage.add(i64::MIN, &xids(&[7]));
        coverage.add(200, &xids(&[7, 8]));
        assert!(coverage.covers(Xid(7), i64::MIN));
        assert!(coverage.covers(Xid(8), 100));
        assert!(!coverage.covers(Xid(8), 99));
    }

    #[test]
    fn pruned_xids_are_forgotten_and_their_empty_floors_leave_the_progress() {
        let mut coverage = Coverage::default();
        coverage.add(100, &xids(&[7]));
        coverage.add(200, &xids(&[8]));
        coverage.take_delta();
        coverage.prune(Xid(8));
        assert!(!coverage.covers(Xid(7), 100));
        assert_eq!(
            coverage.take_delta().0,
            BTreeMap::from([("covered/100".to_owned(), None)])
        );
        assert_eq!(coverage.xids(), 1);
    }

    #[test]
    fn what_is_forgotten_leaves_the_progress() {
        let mut progress = Progress::default();
        let mut coverage = Coverage::default();
        coverage.add(100, &xids(&[7]));
        coverage.add(200, &xids(&[8]));
        progress.apply(coverage.take_delta());
        let mut coverage = Coverage::from_progress(&progress).expect("a coverage");
        coverage.forget();
        assert_eq!(coverage.xids(), 0);
        coverage.add(200, &xids(&[9]));
        progress.apply(coverage.take_delta());
        let back = Coverage::from_progress(&progress).expect("a coverage");
        assert_eq!((back.xids(), back.covers(Xid(9), 200)), (1, true));
    }

    #[test]
    fn the_sum_of_all_deltas_reads_back_as_the_coverage() {
        let mut coverage = Coverage::default();
        let mut progress = Progress::default();
        for (floor, of) in [
            (100, vec![7, 8, 9]),
            (200, vec![9, 10, 1 << 40]),
            (i64::MIN, vec![8, 10]),
            (50, vec![9]),
        ] {
            coverage.add(floor, &xids(&of));
            progress.apply(coverage.take_delta());
        }
        coverage.prune(Xid(8));
        progress.apply(coverage.take_delta());
        let mut back = Coverage::from_progress(&progress).expect("a coverage");
        back.prune(Xid(8));
        back.take_delta();
        assert_eq!(back, coverage);
    }

    /// One event in the life of a coverage.
    #[derive(Debug, Clone)]
    enum Event {
        Add(Floor, Vec<u64>),
        Prune(u64),
        Save,
        Restart,
    }

    fn event() -> impl Strategy<Value = Event> {
        let of = prop::collection::vec(0..20_u64, 0..6);
        let floor = prop_oneof![Just(Floor::MIN), -3..10_i64];
        prop_oneof![
            4 => (floor, of).prop_map(|(floor, of)| Event::Add(floor, of)),
            1 => (0..20_u64).prop_map(Event::Prune),
            2 => Just(Event::Save),
            1 => Just(Event::Restart),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn a_version_is_covered_exactly_down_to_the_lowest_floor_that_was_scanned_for_its_xid(
            events in prop::collection::vec(event(), 0..30),
        ) {
            let mut coverage = Coverage::default();
            let mut progress = Progress::default();
            let mut lowest = BTreeMap::<u64, Floor>::new();
            let mut kept = 0;
            for event in events {
                match event {
                    Event::Add(floor, of) => {
                        coverage.add(floor, &xids(&of));
                        for xid in of {
                            let known = lowest.entry(xid).or_insert(floor);
                            *known = floor.min(*known);
                        }
                    }
                    // No later scan asks for pruned xids, so what is said of them does not matter.
                    Event::Prune(keep) => {
                        coverage.prune(Xid(keep));
                        kept = kept.max(keep);
                        lowest.retain(|xid, _| *xid >= keep);
                    }
                    Event::Save => progress.apply(coverage.take_delta()),
                    Event::Restart => {
                        progress.apply(coverage.take_delta());
                        coverage = Coverage::from_progress(&progress).unwrap();
                    }
                }
                for (xid, at) in (kept..20).flat_map(|xid| [-4, 0, 5, 9].map(|at| (xid, at))) {
                    let expected = lowest.get(&xid).is_some_and(|floor| *floor <= at);
                    prop_assert_eq!(coverage.covers(Xid(xid), at), expected, "{} {}", xid, at);
                }
            }
        }
    }
}
