//! Keys of every other kind: the bytes that the topic has as the key of the row's record.
//!
//! Pure. Back to back in one buffer, so that a key costs its bytes and four more. Stored, each key
//! leaves out what it shares with the one before: the length of that, the length of the rest, both
//! LEB128, and the rest.

use super::leaves::Leaf;

/// Bytes of a leaf at most: an insert moves half of them.
const LEAF_BYTES_MAX: usize = 32 << 10;

/// Sorted keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Texts {
    fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[at] as usize]
    }

    /// The key's place, or the place where it would be.
    fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.get(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(end(self.bytes.len()));
    }
}

impl Leaf for Texts {
    type Key = Vec<u8>;
    const FIRST: Vec<u8> = Vec::new();

    fn contains(&self, key: &Vec<u8>) -> bool {
        self.find(key).is_ok()
    }

    fn insert(&mut self, key: &Vec<u8>) -> bool {
        let Err(at) = self.find(key) else {
            return false;
        };
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        let place = start as usize;
        self.bytes.splice(place..place, key.iter().copied());
        self.ends.insert(at, start);
        let length = end(key.len());
        self.ends[at..].iter_mut().for_each(|end| *end += length);
        true
    }

    fn remove(&mut self, key: &Vec<u8>) -> bool {
        let Ok(at) = self.find(key) else {
            return false;
        };
        let stop = self.ends.remove(at) as usize;
        self.bytes.drain(stop - key.len()..stop);
        let length = end(key.len());
        self.ends[at..].iter_mut().for_each(|end| *end -= length);
        true
    }

    fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    fn keys(&self) -> impl Iterator<Item = Vec<u8>> {
        (0..self.ends.len()).map(|at| self.get(at).to_vec())
    }

    fn keys_from(&self, from: &Vec<u8>) -> impl Iterator<Item = Vec<u8>> {
        let first = self.find(from).unwrap_or_else(|place| place);
        (first..self.ends.len()).map(|at| self.get(at).to_vec())
    }

    fn bytes(&self) -> usize {
        self.bytes.len() + size_of::<u32>() * self.ends.len()
    }

    fn split(&mut self) -> Option<(Vec<u8>, Self)> {
        if self.ends.len() < 2 || Leaf::bytes(self) <= LEAF_BYTES_MAX {
            return None;
        }
        let middle = self.ends.len() / 2;
        let mut upper = Self::default();
        for at in middle..self.ends.len() {
            upper.push(self.get(at));
        }
        self.ends.truncate(middle);
        self.bytes.truncate(self.ends[middle - 1] as usize);
        Some((upper.get(0).to_vec(), upper))
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut before: &[u8] = &[];
        for at in 0..self.ends.len() {
            let key = self.get(at);
            let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
            write_length(&mut out, shared);
            write_length(&mut out, key.len() - shared);
            out.extend_from_slice(&key[shared..]);
            before = key;
        }
        out
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut texts = Self::default();
        let mut key: Vec<u8> = Vec::new();
        while !bytes.is_empty() {
            let shared = read_length(&mut bytes)?;
            let length = read_length(&mut bytes)?;
            let (rest, after) = bytes.split_at_checked(length)?;
            bytes = after;
            let next = [key.get(..shared)?, rest].concat();
            if !texts.ends.is_empty() && key >= next {
                return None;
            }
            texts.push(&next);
            key = next;
        }
        Some(texts)
    }

    fn bound(key: &Vec<u8>) -> String {
        key.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn read_bound(text: &str) -> Option<Vec<u8>> {
        if !text.is_ascii() || !text.len().is_multiple_of(2) {
            return None;
        }
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
            .collect()
    }
}

fn end(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a leaf and a key are far below 4 GiB")
}

fn write_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn read_length(bytes: &mut &[u8]) -> Option<usize> {
    let mut length = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= usize::from(*byte & 0x7f).checked_shl(shift)?;
        if *byte < 0x80 {
            return Some(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn stored_keys_read_back(keys in prop::collection::btree_set(".{0,300}", 0..50)) {
            let mut texts = Texts::default();
            for key in keys {
                texts.insert(&key.into_bytes());
            }
            prop_assert_eq!(Texts::decode(&texts.encode()), Some(texts));
        }

        #[test]
        fn damaged_bytes_are_refused_or_read_as_a_sorted_set(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            if let Some(texts) = Texts::decode(&bytes) {
                let keys: Vec<_> = texts.keys().collect();
                prop_assert!(keys.is_sorted_by(|a, b| a < b));
            }
        }

        #[test]
        fn bounds_read_back(key in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(Texts::read_bound(&Texts::bound(&key)), Some(key));
        }
    }
}
