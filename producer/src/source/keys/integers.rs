//! Keys that are one integer: bitmaps.
//!
//! Pure. An integer is held as the unsigned number with the same order, so `-1` comes before `0`.

use roaring::RoaringTreemap;

use super::leaves::Leaf;

/// Keys of a leaf at most: the census reads whole leaves, each in a few ten milliseconds.
const LEAF_KEYS_MAX: u64 = 1 << 17;
/// Bytes of a leaf at most, where the keys are far apart.
const LEAF_BYTES_MAX: usize = 32 << 10;

/// The number by which an integer is held.
pub fn ordered(key: i64) -> u64 {
    (key as u64) ^ (1 << 63)
}

/// The integer of a number.
pub fn integer(ordered: u64) -> i64 {
    (ordered ^ (1 << 63)) as i64
}

impl Leaf for RoaringTreemap {
    type Key = u64;
    const FIRST: u64 = 0;

    fn contains(&self, key: &u64) -> bool {
        Self::contains(self, *key)
    }

    fn insert(&mut self, key: &u64) -> bool {
        Self::insert(self, *key)
    }

    fn remove(&mut self, key: &u64) -> bool {
        Self::remove(self, *key)
    }

    fn len(&self) -> u64 {
        Self::len(self)
    }

    fn keys(&self) -> impl Iterator<Item = u64> {
        self.iter()
    }

    fn keys_from(&self, from: &u64) -> impl Iterator<Item = u64> {
        let mut keys = self.iter();
        keys.advance_to(*from);
        keys
    }

    fn bytes(&self) -> usize {
        self.serialized_size()
    }

    fn split(&mut self) -> Option<(u64, Self)> {
        let len = Self::len(self);
        if len < 2 || len <= LEAF_KEYS_MAX && self.serialized_size() <= LEAF_BYTES_MAX {
            return None;
        }
        let middle = self.select(len / 2).expect("a place within the set");
        let mut upper = self.clone();
        upper.remove_range(..middle);
        self.remove_range(middle..);
        Some((middle, upper))
    }

    fn encode(&self) -> Vec<u8> {
        let mut set = self.clone();
        // Neighbours become one run of a few bytes.
        set.optimize();
        let mut bytes = Vec::with_capacity(set.serialized_size());
        set.serialize_into(&mut bytes)
            .expect("memory takes every byte");
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Self::deserialize_from(bytes).ok()
    }

    fn bound(key: &u64) -> String {
        format!("{key:016x}")
    }

    fn read_bound(text: &str) -> Option<u64> {
        u64::from_str_radix(text, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_have_the_order_of_the_integers() {
        let integers = [i64::MIN, -1, 0, 1, i64::MAX];
        let numbers = integers.map(ordered);
        assert!(numbers.is_sorted());
        assert_eq!(numbers.map(integer), integers);
    }
}
