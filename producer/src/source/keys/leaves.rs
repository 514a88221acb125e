//! A sorted set of keys in leaves, and how it is stored: a leaf is a part of the progress.
//!
//! Pure. A leaf is a range of keys; the name of its part is the lower bound of the range. Most
//! checkpoints add a few keys, and to write their whole leaves at each would cost a hundred times
//! their size. So a checkpoint writes the keys that it adds as one small part of a journal. When
//! the journal has grown, or when keys were removed, the leaves that differ from their parts are
//! written and the journal is removed, in the same checkpoint.
//!
//! | part | content |
//! |---|---|
//! | `keys/<lower bound>` | the keys of a leaf, base64 of [`Leaf::encode`] in quotes; the bound is [`Leaf::bound`] |
//! | `added/<number>` | keys that were added since the leaves were written |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Bound;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use inlet_model::{Progress, ProgressDelta};

pub(super) const LEAF: &str = "keys/";
pub(super) const ADDED: &str = "added/";

/// Bytes of a part of the journal at most: a checkpoint that adds more writes leaves.
const ADDED_BYTES_MAX: usize = 16 << 10;
/// Parts of the journal at most.
const ADDED_PARTS_MAX: u64 = 256;
/// The journal may grow to this part of the set before leaves are written, so that keys in random
/// order cost a few times their size.
const ADDED_SHARE: usize = 4;
/// The journal may always grow to this size.
const ADDED_BYTES_MIN: usize = 64 << 10;

/// Sorted keys of one range.
pub trait Leaf: Debug + Default + Clone + PartialEq {
    type Key: Debug + Ord + Clone;
    /// The bound of the first leaf: no key is less.
    const FIRST: Self::Key;

    fn contains(&self, key: &Self::Key) -> bool;
    /// False if it was in the leaf already.
    fn insert(&mut self, key: &Self::Key) -> bool;
    /// False if it was not in the leaf.
    fn remove(&mut self, key: &Self::Key) -> bool;
    fn len(&self) -> u64;
    fn keys(&self) -> impl Iterator<Item = Self::Key>;
    /// The keys that are not less than this one.
    fn keys_from(&self, from: &Self::Key) -> impl Iterator<Item = Self::Key>;
    /// About the bytes that it takes.
    fn bytes(&self) -> usize;
    /// Cuts off its upper half, which starts with the returned key; `None` while it is small.
    fn split(&mut self) -> Option<(Self::Key, Self)>;
    fn encode(&self) -> Vec<u8>;
    fn decode(bytes: &[u8]) -> Option<Self>;
    /// A key as the name of a part.
    fn bound(key: &Self::Key) -> String;
    fn read_bound(text: &str) -> Option<Self::Key>;
}

#[derive(Debug, Clone)]
pub struct Leaves<L: Leaf> {
    /// By the lower bounds of their ranges. There is always one.
    leaves: BTreeMap<L::Key, Held<L>>,
    /// Bounds of leaves that differ from their parts, and of parts without a leaf.
    changed: BTreeSet<L::Key>,
    /// Parts of a set that this one replaces.
    replaced: BTreeSet<String>,
    /// Keys that are in no part yet; `None` when leaves must be written.
    added: Option<Held<L>>,
    /// The parts of the durable journal: the next number, and their bytes.
    journal: (u64, usize),
    bytes: usize,
}

/// A leaf with its sizes: to ask it at every key would cost more than the key.
#[derive(Debug, Clone, Default)]
struct Held<L> {
    leaf: L,
    keys: u64,
    /// As of a multiple of [`MEASURE_EVERY`] keys.
    bytes: usize,
}

/// A leaf is measured again after this many keys.
const MEASURE_EVERY: u64 = 64;

impl<L: Leaf> Held<L> {
    fn of(leaf: L) -> Self {
        Self {
            keys: leaf.len(),
            bytes: leaf.bytes(),
            leaf,
        }
    }

    /// The leaf has another number of keys now; true when it was measured.
    fn count(&mut self, keys: u64) -> bool {
        self.keys = keys;
        let is_due = keys.is_multiple_of(MEASURE_EVERY);
        if is_due {
            self.bytes = self.leaf.bytes();
        }
        is_due
    }
}

impl<L: Leaf> Default for Leaves<L> {
    fn default() -> Self {
        Self {
            leaves: BTreeMap::from([(L::FIRST, Held::of(L::default()))]),
            changed: BTreeSet::new(),
            replaced: BTreeSet::new(),
            added: Some(Held::of(L::default())),
            journal: (0, 0),
            bytes: 0,
        }
    }
}

impl<L: Leaf> Leaves<L> {
    pub fn contains(&self, key: &L::Key) -> bool {
        self.of(key).1.contains(key)
    }

    /// Every key, in order.
    pub fn keys(&self) -> impl Iterator<Item = L::Key> {
        self.leaves.values().flat_map(|held| held.leaf.keys())
    }

    /// About the bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Inserts keys; in order they cost the least.
    pub fn extend(&mut self, keys: impl IntoIterator<Item = L::Key>) {
        let mut keys = keys.into_iter().peekable();
        while let Some(first) = keys.peek() {
            let bound = self.of(first).0.clone();
            let after = (Bound::Excluded(&bound), Bound::Unbounded);
            let end = self.leaves.range::<L::Key, _>(after).next();
            let end = end.map(|(end, _)| end.clone());
            let held = self.leaves.get_mut(&bound).expect("the leaf of the bound");
            let (before, mut half, mut is_changed) = (held.bytes, None, false);
            let is_here = |key: &L::Key| *key >= bound && end.as_ref().is_none_or(|end| key < end);
            while let Some(key) = keys.next_if(is_here) {
                if !held.leaf.insert(&key) {
                    continue;
                }
                is_changed = true;
                add(&mut self.added, &key);
                if held.count(held.keys + 1) {
                    half = held.leaf.split();
                }
                // The rest of the keys may belong to the other half.
                if half.is_some() {
                    break;
                }
            }
            let mut now = held.bytes;
            if let Some((upper, half)) = half {
                *held = Held::of(std::mem::take(&mut held.leaf));
                let half = Held::of(half);
                now = held.bytes + half.bytes;
                self.changed.insert(upper.clone());
                self.leaves.insert(upper, half);
            }
            self.bytes = self.bytes + now - before;
            if is_changed {
                self.changed.insert(bound);
            }
        }
    }

    pub fn remove(&mut self, key: &L::Key) {
        let bound = self.of(key).0.clone();
        let held = self.leaves.get_mut(&bound).expect("the leaf of the bound");
        if !held.leaf.remove(key) {
            return;
        }
        let before = held.bytes;
        held.count(held.keys - 1);
        self.bytes = self.bytes + held.bytes - before;
        if held.keys == 0 && bound != L::FIRST {
            self.bytes -= held.bytes;
            self.leaves.remove(&bound);
        }
        self.changed.insert(bound);
        // The journal may hold the key, and would bring it back.
        self.added = None;
    }

    /// The keys from one on, at most this many, and the first key after them; `None` at the end.
    pub fn chunk(&self, from: &L::Key, keys_max: usize) -> (Vec<L::Key>, Option<L::Key>) {
        let leaves = self.leaves.range(self.of(from).0.clone()..);
        let mut keys = leaves.flat_map(|(_, held)| held.leaf.keys_from(from));
        let chunk = keys.by_ref().take(keys_max).collect();
        (chunk, keys.next())
    }

    /// The changes for the progress; they count as durable from here on.
    pub fn take_delta(&mut self, delta: &mut ProgressDelta) {
        let added = self.added.take().filter(|_| !self.is_journal_full());
        let Some(added) = added else {
            return self.take_leaves(delta);
        };
        if added.keys > 0 {
            let (number, bytes) = &mut self.journal;
            let encoded = added.leaf.encode();
            *bytes += encoded.len();
            let part = format!("{ADDED}{number}");
            delta.0.insert(part, Some(quoted(&encoded)));
            *number += 1;
        }
        self.added = Some(Held::of(L::default()));
    }

    /// An empty set in the place of this one; its next delta removes the parts of this one.
    pub fn replaced<M: Leaf>(&self) -> Leaves<M> {
        let bounds = self.leaves.keys().chain(&self.changed);
        let mut replaced = self.replaced.clone();
        replaced.extend(bounds.map(|bound| format!("{LEAF}{}", L::bound(bound))));
        Leaves {
            replaced,
            added: None,
            journal: self.journal,
            ..Leaves::default()
        }
    }

    /// Decodes the set; `None` when the progress is damaged.
    pub fn from_progress(progress: &Progress) -> Option<Self> {
        let mut set = Self::default();
        for (part, text) in parts(progress, LEAF) {
            let leaf = L::decode(&unquoted(text)?)?;
            let held = Held::of(leaf);
            set.bytes += held.bytes;
            set.leaves.insert(L::read_bound(part)?, held);
        }
        for (part, text) in parts(progress, ADDED) {
            let number: u64 = part.parse().ok()?;
            let bytes = unquoted(text)?;
            set.journal = (set.journal.0.max(number + 1), set.journal.1 + bytes.len());
            set.extend(L::decode(&bytes)?.keys());
        }
        // These are in parts already.
        set.added = Some(Held::of(L::default()));
        Some(set)
    }

    fn of(&self, key: &L::Key) -> (&L::Key, &L) {
        let range = (Bound::Unbounded, Bound::Included(key));
        let found = self.leaves.range::<L::Key, _>(range).next_back();
        let (bound, held) = found.expect("the first leaf has no bound");
        (bound, &held.leaf)
    }

    fn is_journal_full(&self) -> bool {
        let (parts, bytes) = self.journal;
        let bytes_max = (self.bytes / ADDED_SHARE).max(ADDED_BYTES_MIN);
        parts >= ADDED_PARTS_MAX || bytes > bytes_max
    }

    /// Writes the leaves that differ from their parts, and removes the journal.
    fn take_leaves(&mut self, delta: &mut ProgressDelta) {
        let replaced = std::mem::take(&mut self.replaced);
        delta
            .0
            .extend(replaced.into_iter().map(|part| (part, None)));
        for bound in std::mem::take(&mut self.changed) {
            let held = self.leaves.get(&bound).filter(|held| held.keys > 0);
            let text = held.map(|held| quoted(&held.leaf.encode()));
            delta.0.insert(format!("{LEAF}{}", L::bound(&bound)), text);
        }
        for number in 0..self.journal.0 {
            delta.0.insert(format!("{ADDED}{number}"), None);
        }
        self.journal = (0, 0);
        self.added = Some(Held::of(L::default()));
    }
}

/// Adds a key to those that are in no part yet.
fn add<L: Leaf>(added: &mut Option<Held<L>>, key: &L::Key) {
    let Some(held) = added else { return };
    held.leaf.insert(key);
    // A long load would otherwise be held once more.
    if held.count(held.keys + 1) && held.bytes > ADDED_BYTES_MAX {
        *added = None;
    }
}

fn parts<'a>(
    progress: &'a Progress,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a str, &'a String)> {
    let parts = progress.0.iter();
    parts.filter_map(move |(part, text)| Some((part.strip_prefix(prefix)?, text)))
}

fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", STANDARD.encode(bytes))
}

fn unquoted(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix('"')?.strip_suffix('"')?;
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roaring::RoaringTreemap;

    use super::super::texts::Texts;
    use super::*;

    /// One event in the life of a set.
    #[derive(Debug, Clone)]
    enum Event {
        Insert(u64),
        Remove(u64),
        Checkpoint,
        Forget,
    }

    fn event() -> impl Strategy<Value = Event> {
        // Dense, and from everywhere.
        let key = prop_oneof![0..300_u64, any::<u64>()];
        prop_oneof![
            8 => key.clone().prop_map(Event::Insert),
            3 => key.prop_map(Event::Remove),
            2 => Just(Event::Checkpoint),
            1 => Just(Event::Forget),
        ]
    }

    /// Runs the events, and compares the set and what is stored of it with a plain set.
    fn agrees<L: Leaf>(
        events: Vec<Event>,
        key: impl Fn(u64) -> L::Key,
    ) -> Result<(), TestCaseError> {
        let (mut leaves, mut plain) = (Leaves::<L>::default(), BTreeSet::new());
        let mut progress = Progress::default();
        let mut stored = plain.clone();
        for event in events {
            match event {
                Event::Insert(number) => {
                    leaves.extend([key(number)]);
                    plain.insert(key(number));
                }
                Event::Remove(number) => {
                    leaves.remove(&key(number));
                    plain.remove(&key(number));
                }
                Event::Checkpoint => {
                    let mut delta = ProgressDelta::default();
                    leaves.take_delta(&mut delta);
                    progress.apply(delta);
                    stored = plain.clone();
                }
                Event::Forget => {
                    leaves = leaves.replaced();
                    plain.clear();
                }
            }
            let read = Leaves::<L>::from_progress(&progress).unwrap();
            for (set, expected) in [(&leaves, &plain), (&read, &stored)] {
                let (keys, end) = set.chunk(&L::FIRST, usize::MAX);
                prop_assert!(end.is_none());
                prop_assert_eq!(keys, expected.iter().cloned().collect::<Vec<_>>());
                prop_assert!(expected.iter().all(|key| set.contains(key)));
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_set_of_integers_and_what_is_stored_of_it_are_what_was_put_in(
            events in prop::collection::vec(event(), 0..80),
        ) {
            agrees::<RoaringTreemap>(events, |number| number)?;
        }

        #[test]
        fn a_set_of_texts_and_what_is_stored_of_it_are_what_was_put_in(
            events in prop::collection::vec(event(), 0..80),
        ) {
            agrees::<Texts>(events, |number| format!("{{\"id\":{number}}}").into_bytes())?;
        }

        #[test]
        fn chunks_are_the_set_whatever_their_size(
            numbers in prop::collection::btree_set(any::<u64>(), 0..200), keys_max in 1..50_usize,
        ) {
            let mut leaves = Leaves::<RoaringTreemap>::default();
            leaves.extend(numbers.iter().copied());
            let (mut found, mut from) = (Vec::new(), Some(0));
            while let Some(bound) = from {
                let (chunk, end) = leaves.chunk(&bound, keys_max);
                found.extend(chunk);
                from = end;
            }
            prop_assert_eq!(found, numbers.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn leaves_of_texts_are_split_and_read_back_in_any_order() {
        let key =
            |number: u64| format!("{{\"id\":\"{:016x}\"}}", number.reverse_bits()).into_bytes();
        let mut leaves = Leaves::<Texts>::default();
        leaves.extend((0..20_000).map(key));
        leaves.remove(&key(7));
        leaves.remove(&key(7_000));
        let (mut delta, mut progress) = (ProgressDelta::default(), Progress::default());
        leaves.take_delta(&mut delta);
        assert!(delta.0.len() > 10, "{} leaves", delta.0.len());
        progress.apply(delta);
        let expected: BTreeSet<_> = (0..20_000)
            .filter(|n| ![7, 7_000].contains(n))
            .map(key)
            .collect();
        let read = Leaves::<Texts>::from_progress(&progress).unwrap();
        assert!(read.keys().eq(expected.iter().cloned()));
        assert!(leaves.keys().eq(expected));
    }

    #[test]
    fn a_few_new_keys_are_written_without_their_leaves() {
        let mut leaves = Leaves::<RoaringTreemap>::default();
        leaves.extend((0..2_000_000).step_by(3));
        let mut delta = ProgressDelta::default();
        leaves.take_delta(&mut delta);
        assert!(delta.0.len() > 3, "{} leaves", delta.0.len());
        let mut progress = Progress::default();
        progress.apply(delta);
        let read = Leaves::<RoaringTreemap>::from_progress(&progress).unwrap();
        assert!(read.keys().eq((0..2_000_000).step_by(3)));
        let mut delta = ProgressDelta::default();
        leaves.extend([1]);
        leaves.take_delta(&mut delta);
        assert_eq!(delta.0.keys().collect::<Vec<_>>(), ["added/0"]);
        assert!(delta.0["added/0"].as_ref().unwrap().len() < 100);
    }
}
