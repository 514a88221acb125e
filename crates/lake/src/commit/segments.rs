//! The list of files in segments, so that a reader of the log reads a bounded number of files
//! however many entries it has.
//!
//! Stored as `_log/_files/<first>-<last>.json`: the files of these entries that are left, and the
//! earlier files that they replace. A segment is derived from its entries, so a missing or damaged
//! one only costs the time to read them. Segments are written after a checkpoint, of
//! [`LEAF_ENTRIES`] entries each; [`FAN`] of one size become one, while it stays small. After a
//! million commits, and with files that are merged, about 60 segments and 64 entries are read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::claim::Claim;
use super::live::{Listed, Live};
use super::packs::Entries;
use crate::error::LakeError;
use crate::files::Store;
use crate::files::names::{FILE_LIST, segment, segment_range};

/// Entries of the smallest segment.
const LEAF_ENTRIES: u64 = 64;
/// Segments of one size that become one.
const FAN: u64 = 16;
/// Files of the largest segment: to write it again must stay cheap.
const FILES_MAX: usize = 8192;
/// Segments that one call writes: a lake of an earlier version has none, and its writer must not
/// stop for all of them at once.
const WRITTEN_MAX: usize = 16;

#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    removed: Vec<String>,
    files: Vec<Listed>,
}

/// The segments of a folder: the first entry of each, and its last one.
pub(super) struct Segments<'a> {
    store: &'a Store,
    ranges: BTreeMap<u64, u64>,
}

impl<'a> Segments<'a> {
    pub fn find(store: &'a Store) -> Result<Self, LakeError> {
        let mut ranges = BTreeMap::new();
        for name in store.list(FILE_LIST)? {
            if let Some((first, last)) = segment_range(&name) {
                // A crash may leave the parts of a larger segment.
                let known = ranges.entry(first).or_insert(last);
                *known = last.max(*known);
            }
        }
        Ok(Self { store, ranges })
    }

    /// The segment that begins with this entry, if it ends with entry `last` or before; its own
    /// last entry is returned beside it.
    pub fn read(&self, first: u64, last: u64) -> Result<Option<(Live, u64)>, LakeError> {
        let Some(end) = self.ranges.get(&first).filter(|end| **end <= last) else {
            return Ok(None);
        };
        let name = segment(first, *end);
        // Another writer may have put it into a larger one in the meantime.
        let Some(bytes) = self.store.read(&name)? else {
            return Ok(None);
        };
        match serde_json::from_slice::<Stored>(&bytes) {
            Ok(Stored { removed, files }) => Ok(Some((Live::of(removed, files), *end))),
            Err(error) => {
                tracing::warn!(
                    folder = %self.store.root().display(), name, %error,
                    "a segment of the list of files is unreadable; reading its entries"
                );
                Ok(None)
            }
        }
    }

    /// The first and the last entry of each segment.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|(first, last)| (*first, *last))
    }

    /// The entries before a segment that no segment contains.
    pub fn gaps(&self) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut next = 1;
        for (first, last) in self.ranges() {
            if first > next {
                gaps.push((next, first - 1));
            }
            next = next.max(last + 1);
        }
        gaps
    }

    /// The first entry that no segment contains.
    fn end(&self) -> u64 {
        let mut next = 1;
        while let Some(last) = self.ranges.get(&next) {
            next = last + 1;
        }
        next
    }

    fn write(&mut self, claim: &Claim, range: (u64, u64), live: &Live) -> Result<(), LakeError> {
        let stored = Stored {
            removed: live.removed().to_vec(),
            files: live.files().cloned().collect(),
        };
        let bytes = serde_json::to_vec(&stored).expect("a list of strings and numbers is JSON");
        let (temporary, name) = (claim.staging_name("entry"), segment(range.0, range.1));
        self.store.replace(&name, &temporary, &bytes)?;
        self.ranges.insert(range.0, range.1);
        Ok(())
    }

    /// Puts the segments that end with entry `last` together, where they fill a larger one.
    fn merge(&mut self, claim: &Claim, last: u64) -> Result<(), LakeError> {
        let mut length = LEAF_ENTRIES;
        while last.is_multiple_of(length * FAN) {
            let first = last - length * FAN + 1;
            let mut whole = Live::default();
            for part in (first..last).step_by(length as usize) {
                let end = part + length - 1;
                match self.read(part, end)? {
                    Some((live, found)) if found == end => whole.extend(live),
                    _ => return Ok(()),
                }
            }
            if whole.files().count() > FILES_MAX {
                return Ok(());
            }
            self.write(claim, (first, last), &whole)?;
            // The larger one is durable, so its parts are of no use any more.
            for part in (first..last).step_by(length as usize) {
                self.store.remove_unused(&segment(part, part + length - 1));
                self.ranges.remove(&part);
            }
            self.ranges.insert(first, last);
            length *= FAN;
        }
        Ok(())
    }
}

/// Writes the segments that are missing up to entry `last`, whose files are published.
pub(super) fn write_missing(store: &Store, claim: &Claim, last: u64) -> Result<(), LakeError> {
    store.create_folder(FILE_LIST)?;
    let mut segments = Segments::find(store)?;
    let mut entries = Entries::find(store)?;
    for _ in 0..WRITTEN_MAX {
        let first = segments.end();
        let end = first + LEAF_ENTRIES - 1;
        if end > last {
            break;
        }
        let mut live = Live::default();
        for seq in first..=end {
            live.apply(entries.expect(seq)?);
        }
        segments.write(claim, (first, end), &live)?;
        segments.merge(claim, end)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use inlet_model::TableName;

    use super::super::entry::{DataFile, Entry, ReplacedFile};
    use super::super::list::live;
    use super::*;
    use crate::files::names;
    use crate::folder::in_memory;

    /// A log in which every tenth entry merges the files of the nine before it.
    fn log(entries: u64) -> (tempfile::TempDir, Arc<Store>) {
        let folder = in_memory();
        let store = Arc::new(Store::create(folder.path()).unwrap());
        let table = TableName::new("public", "orders");
        for seq in 1..=entries {
            let mut entry = Entry::new(&table, "w", "c");
            entry.seq = seq;
            let path = |seq: u64| format!("date=2026-11-20/{seq}.parquet");
            if seq % 10 == 0 {
                entry.replaced = (seq - 9..seq)
                    .map(|seq| ReplacedFile {
                        path: path(seq),
                        rows: 1,
                        bytes: 1,
                    })
                    .collect();
            }
            entry.files = vec![DataFile {
                path: path(seq),
                staged: "_staging/none".to_owned(),
                rows: if seq % 10 == 0 { 9 } else { 1 },
                ..DataFile::default()
            }];
            fs::write(store.path(&names::entry(seq)), entry.encode()).unwrap();
        }
        (folder, store)
    }

    fn paths(store: &Store, seq: u64) -> Vec<String> {
        let listed = live(store, seq, |_, reason| panic!("{reason}")).unwrap();
        listed.into_files().map(|of| of.file.path).collect()
    }

    #[test]
    fn segments_list_what_the_entries_list_at_every_length_of_the_log() {
        const ENTRIES: u64 = 64 * 16 + 130;
        let (_folder, store) = log(ENTRIES);
        let claim = Claim::new(store.clone()).unwrap();
        let whole: Vec<_> = (1..=ENTRIES).step_by(37).collect();
        let expected: Vec<_> = whole.iter().map(|seq| paths(&store, *seq)).collect();
        let before = store.reads();
        paths(&store, ENTRIES);
        assert!(store.reads() - before >= ENTRIES);
        // The first call writes a bounded number, as for a lake of an earlier version.
        for last in [ENTRIES, ENTRIES] {
            write_missing(&store, &claim, last).unwrap();
        }
        assert_eq!(store.list(FILE_LIST).unwrap().len(), 3, "1,024, 64 and 64");
        for (seq, expected) in whole.iter().zip(expected) {
            assert_eq!(paths(&store, *seq), expected, "{seq}");
        }
        let before = store.reads();
        let listed = paths(&store, ENTRIES);
        assert!(store.reads() - before <= 3 + 64);
        // A damaged segment costs time only.
        fs::write(store.path(&segment(1, 1024)), "{").unwrap();
        assert_eq!(paths(&store, ENTRIES), listed);
    }
}
