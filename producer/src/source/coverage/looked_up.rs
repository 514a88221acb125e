//! Versions that were emitted by a look at their keys, because a journal named them, and not by a
//! scan.
//!
//! Pure. The map F holds xids: a scan returns every visible version of an xid above its floor, so
//! the xid stands for them. A look at some keys returns single versions, and other rows of their
//! transactions may be hidden from every scan but a sweep. So these versions are held one by one,
//! until a scan without a floor has returned them. Source: docs/polling.md, "Journals".
//!
//! | part | content |
//! |---|---|
//! | `looked_up/<number>` | up to 256 versions, each with the xid and the key of its record: `[[771,"{\"id\":7}"],..]` |

use std::collections::{BTreeMap, BTreeSet};

use inlet_model::{Progress, ProgressDelta, Xid};

const PART: &str = "looked_up/";

/// A part that is full is not written again, so a checkpoint writes a few kilobytes at most.
const PART_VERSIONS: usize = 256;

/// With keys of 100 bytes these are 10 MB. A sweep empties the set.
const VERSIONS_MAX: usize = 1 << 15;

/// Versions, by xid and key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LookedUp {
    versions: BTreeMap<u64, BTreeSet<Box<[u8]>>>,
    count: usize,
    /// The number of full parts.
    full: usize,
    /// What is in no full part.
    tail: Vec<(u64, String)>,
    /// True when the durable parts lack some of the tail.
    changed: bool,
    /// Durable parts that have to be removed, from number 0 on.
    removed: usize,
}

impl LookedUp {
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// How many versions it can take.
    pub fn room(&self) -> usize {
        VERSIONS_MAX.saturating_sub(self.count)
    }

    /// True when it has some version of this transaction.
    pub fn has_xid(&self, xid: Xid) -> bool {
        self.versions.contains_key(&xid.0)
    }

    pub fn contains(&self, xid: Xid, key: &[u8]) -> bool {
        let keys = self.versions.get(&xid.0);
        keys.is_some_and(|keys| keys.contains(key))
    }

    /// The greatest xid that it has.
    pub fn last_xid(&self) -> Option<u64> {
        self.versions.keys().next_back().copied()
    }

    pub fn add(&mut self, xid: Xid, key: &[u8]) {
        if self.insert(xid.0, key) {
            let text = String::from_utf8(key.to_vec()).expect("a key is JSON");
            self.tail.push((xid.0, text));
            self.changed = true;
        }
    }

    fn insert(&mut self, xid: u64, key: &[u8]) -> bool {
        let is_new = self.versions.entry(xid).or_default().insert(key.into());
        self.count += usize::from(is_new);
        is_new
    }

    /// Forgets all of them; the next delta removes their parts from the progress.
    pub fn forget(&mut self) {
        let parts = self.full + usize::from(!self.tail.is_empty());
        *self = Self {
            removed: self.removed.max(parts),
            ..Self::default()
        };
    }

    /// Adds the changes for the progress; they count as durable from here on.
    pub fn take_delta(&mut self, delta: &mut ProgressDelta) {
        for number in 0..std::mem::take(&mut self.removed) {
            delta.0.insert(part(number), None);
        }
        if !std::mem::take(&mut self.changed) {
            return;
        }
        for (at, versions) in self.tail.chunks(PART_VERSIONS).enumerate() {
            let text = serde_json::to_string(versions).expect("numbers and strings are JSON");
            delta.0.insert(part(self.full + at), Some(text));
        }
        let full = self.tail.len() / PART_VERSIONS;
        self.tail.drain(..full * PART_VERSIONS);
        self.full += full;
    }

    /// Reads the versions back; `None` when the progress is damaged.
    pub fn from_progress(progress: &Progress) -> Option<Self> {
        let mut parts = BTreeMap::new();
        for (name, text) in progress.0.iter() {
            if let Some(number) = name.strip_prefix(PART) {
                let versions: Vec<(u64, String)> = serde_json::from_str(text).ok()?;
                parts.insert(number.parse::<usize>().ok()?, versions);
            }
        }
        let mut looked_up = Self::default();
        for (number, versions) in parts {
            for (xid, key) in &versions {
                looked_up.insert(*xid, key.as_bytes());
            }
            match versions.len() < PART_VERSIONS {
                true => looked_up.tail = versions,
                false => looked_up.full = number + 1,
            }
        }
        Some(looked_up)
    }
}

fn part(number: usize) -> String {
    format!("{PART}{number}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(looked_up: &mut LookedUp, progress: &mut Progress) {
        let mut delta = ProgressDelta::default();
        looked_up.take_delta(&mut delta);
        progress.apply(delta);
    }

    #[test]
    fn a_part_of_the_released_layout_reads_back() {
        let part = r#"[[771,"{\"id\":7}"],[772,"{\"id\":8}"]]"#;
        let progress = Progress([("looked_up/0".to_owned(), part.to_owned())].into());
        let looked_up = LookedUp::from_progress(&progress).unwrap();
        assert!(looked_up.contains(Xid(771), br#"{"id":7}"#));
        assert!(!looked_up.contains(Xid(772), br#"{"id":7}"#));
        assert_eq!(looked_up.last_xid(), Some(772));
        let damaged = Progress([("looked_up/0".to_owned(), "{".to_owned())].into());
        assert_eq!(LookedUp::from_progress(&damaged), None);
    }

    #[test]
    fn what_is_forgotten_leaves_the_progress_and_its_numbers_can_be_used_again() {
        let (mut looked_up, mut progress) = (LookedUp::default(), Progress::default());
        for xid in 0..600 {
            looked_up.add(Xid(xid), b"key");
        }
        stored(&mut looked_up, &mut progress);
        assert_eq!(progress.0.len(), 3);
        looked_up.forget();
        looked_up.add(Xid(700), b"key");
        stored(&mut looked_up, &mut progress);
        assert_eq!(progress.0.keys().collect::<Vec<_>>(), ["looked_up/0"]);
        let back = LookedUp::from_progress(&progress).unwrap();
        assert!(back.contains(Xid(700), b"key") && !back.has_xid(Xid(3)));
    }

    proptest! {
        #[test]
        fn the_sum_of_all_deltas_reads_back_as_the_versions(
            batches in prop::collection::vec((0..600_usize, any::<bool>()), 0..8),
        ) {
            let (mut looked_up, mut progress) = (LookedUp::default(), Progress::default());
            let mut next = 0;
            for (versions, forgets) in batches {
                if forgets {
                    looked_up.forget();
                }
                for _ in 0..versions {
                    looked_up.add(Xid(next / 3), format!("{{\"id\":{next}}}").as_bytes());
                    next += 1;
                }
                stored(&mut looked_up, &mut progress);
                let back = LookedUp::from_progress(&progress).unwrap();
                prop_assert_eq!(&back, &looked_up);
            }
        }
    }
}
