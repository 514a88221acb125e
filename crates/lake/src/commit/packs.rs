//! Old entries of the log, many in one file: a commit every five seconds makes six million entries
//! a year, and each file takes a block of the disk.
//!
//! Stored as `_log/_entries/<first>-<last>.jsonl.zst`: the entries of this range as they were, one
//! a line, compressed with Zstandard. `_log/_packed.json` has the number of the last one.
//!
//! Packing takes these steps after a checkpoint. Each may be repeated, by any number of writers:
//! 1. Write the pack. From now on it counts, and no file of its entries.
//! 2. Write its last number to `_packed.json`.
//! 3. Remove the files of the entries.
//!
//! A writer that slept through all of that may create an entry whose number is free again. It looks
//! at `_packed.json` before it counts the entry as committed ([`packed`]): the number is in a pack,
//! so the entry is void. The file that is left behind, if the writer ends before it removes it, is
//! hidden by the pack and removed with the next one.
//!
//! A bucket keeps its entries: an object takes the room of its bytes, and opening lists none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::claim::Claim;
use super::entry::Entry;
use super::log::Found;
use crate::error::LakeError;
use crate::files::Store;
use crate::files::names::{self, LOG, PACKED, PACKS};

/// Entries of a pack.
const PACK_ENTRIES: u64 = 1024;
/// Bytes of its entries before they are compressed. An entry with a thousand dates has a megabyte.
const PACK_BYTES_MAX: usize = 8 << 20;
/// The latest entries, which keep their files: a writer or reader that is this far behind needs no
/// pack.
const KEPT: u64 = 1024;
const COMPRESSION_LEVEL: i32 = 3;

#[derive(Serialize, Deserialize)]
struct Packed {
    last: u64,
}

/// The entries of a pack as they are stored, or why it cannot be read.
type Lines = Result<Vec<Vec<u8>>, String>;

/// The entries of a log, in packs or not.
pub(crate) struct Entries<'a> {
    store: &'a Store,
    /// The first and the last entry of each pack.
    ranges: BTreeMap<u64, u64>,
    /// The pack that was read last: its first entry, and the lines.
    open: Option<(u64, Lines)>,
}

impl<'a> Entries<'a> {
    pub fn find(store: &'a Store) -> Result<Self, LakeError> {
        let mut entries = Self {
            store,
            ranges: BTreeMap::new(),
            open: None,
        };
        entries.look()?;
        Ok(entries)
    }

    /// Reads the entry with this number.
    pub fn read(&mut self, seq: u64) -> Result<Found, LakeError> {
        if let Some(found) = self.of_pack(seq)? {
            return Ok(found);
        }
        match Found::read(self.store, seq)? {
            // Another process may have packed it since.
            Found::Missing => {
                self.look()?;
                Ok(self.of_pack(seq)?.unwrap_or(Found::Missing))
            }
            found => Ok(found),
        }
    }

    /// Reads an entry that the log must have.
    pub fn expect(&mut self, seq: u64) -> Result<Entry, LakeError> {
        let found = self.read(seq)?.entry();
        found.map_err(|reason| LakeError::Corrupt {
            entry: self.path(seq),
            reason,
        })
    }

    /// The file that has the entry, below the table's folder.
    pub fn path(&self, seq: u64) -> String {
        match self.pack_of(seq) {
            Some((first, last)) => names::pack(first, last),
            None => names::entry(seq),
        }
    }

    /// The last entry before which all are in packs; 0 without packs.
    pub fn packed(&self) -> u64 {
        let mut last = 0;
        while let Some(end) = self.ranges.get(&(last + 1)) {
            last = *end;
        }
        last
    }

    fn look(&mut self) -> Result<(), LakeError> {
        // A bucket has no packs, and each look would be a request.
        if self.store.is_bucket() {
            return Ok(());
        }
        self.ranges.clear();
        for name in self.store.list(PACKS)? {
            if let Some((first, last)) = names::pack_range(&name) {
                let known = self.ranges.entry(first).or_insert(last);
                *known = last.max(*known);
            }
        }
        Ok(())
    }

    fn pack_of(&self, seq: u64) -> Option<(u64, u64)> {
        let (first, last) = self.ranges.range(..=seq).next_back()?;
        (seq <= *last).then_some((*first, *last))
    }

    /// The entry, where a pack has it.
    fn of_pack(&mut self, seq: u64) -> Result<Option<Found>, LakeError> {
        let Some((first, last)) = self.pack_of(seq) else {
            return Ok(None);
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != first) {
            self.open = Some((first, self.lines(first, last)?));
        }
        let (_, lines) = self.open.as_ref().expect("it was just read");
        Ok(Some(match lines {
            Err(reason) => Found::Unreadable(reason.clone()),
            Ok(lines) => match Entry::decode(&lines[(seq - first) as usize]) {
                Ok(entry) => Found::Entry(Box::new(entry)),
                Err(reason) => Found::Unreadable(reason),
            },
        }))
    }

    fn lines(&self, first: u64, last: u64) -> Result<Lines, LakeError> {
        let Some(bytes) = self.store.read(&names::pack(first, last))? else {
            return Ok(Err("it is missing".to_owned()));
        };
        let text = match zstd::decode_all(&bytes[..]) {
            Ok(text) => text,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
        if lines.len() as u64 != last - first + 1 {
            return Ok(Err(format!("it has {} entries", lines.len())));
        }
        Ok(Ok(lines.into_iter().map(<[u8]>::to_vec).collect()))
    }
}

/// True when the log has the entry. Asks for one name, and for another one where it is missing.
pub(crate) fn has_entry(store: &Store, seq: u64) -> Result<bool, LakeError> {
    Ok(store.size(&names::entry(seq))?.is_some() || packed(store)? >= seq)
}

/// The last entry that is in a pack, and whose number is free again; 0 without packs.
pub(super) fn packed(store: &Store) -> Result<u64, LakeError> {
    if store.is_bucket() {
        return Ok(0);
    }
    let stored = store.read(PACKED)?;
    let stored = stored.and_then(|bytes| serde_json::from_slice::<Packed>(&bytes).ok());
    match stored {
        Some(packed) => Ok(packed.last),
        None => Ok(Entries::find(store)?.packed()),
    }
}

/// Packs old entries, one pack at most, where there are enough of them before entry `last`, after
/// which there is a checkpoint.
pub(super) fn write_due(store: &Store, claim: &Claim, last: u64) -> Result<(), LakeError> {
    if store.is_bucket() || last < PACK_ENTRIES + KEPT {
        return Ok(());
    }
    let mut entries = Entries::find(store)?;
    let packed = entries.packed();
    if packed + PACK_ENTRIES + KEPT > last {
        return Ok(());
    }
    let mut lines = Vec::new();
    let mut end = packed;
    while end < packed + PACK_ENTRIES && lines.len() < PACK_BYTES_MAX {
        end += 1;
        // The bytes as they are: a later version may have keys that this one does not know.
        let Some(bytes) = store.read(&names::entry(end))? else {
            // It fails with the reason, or another writer has just packed it.
            return entries.expect(end).map(drop);
        };
        let line = serde_json::from_slice::<&serde_json::value::RawValue>(&bytes);
        let line = line.map_err(|error| LakeError::Corrupt {
            entry: names::entry(end),
            reason: error.to_string(),
        })?;
        lines.extend_from_slice(line.get().as_bytes());
        lines.push(b'\n');
    }
    let failed = |source| LakeError::io("compression", store.path(PACKS), source);
    let bytes = zstd::encode_all(&lines[..], COMPRESSION_LEVEL).map_err(failed)?;
    store.create_folder(PACKS)?;
    let temporary = || claim.staging_name("entry");
    store.replace(&names::pack(packed + 1, end), &temporary(), &bytes)?;
    let bound = serde_json::to_vec(&Packed { last: end }).expect("a number is JSON");
    store.replace(PACKED, &temporary(), &bound)?;
    remove_files(store, end)
}

/// Removes the files of packed entries, and those that a sleeping writer created in their places.
fn remove_files(store: &Store, end: u64) -> Result<(), LakeError> {
    let mut numbers: Vec<u64> = store
        .list(LOG)?
        .iter()
        .filter_map(|name| names::seq(name))
        .filter(|seq| *seq <= end)
        .collect();
    numbers.sort_unstable();
    for seq in numbers {
        store.remove_unused(&names::entry(seq));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
