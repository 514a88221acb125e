//! The files that readers see after some entries: each file that an entry adds, less those that a
//! later one replaces. Pure: entries in, files out.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::entry::{DataFile, Entry};

/// A file and the number of the entry that named it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    pub seq: u64,
    pub file: DataFile,
}

/// What a range of entries changes in the list of files, in the order of the log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live {
    files: Vec<Option<Listed>>,
    at: HashMap<String, usize>,
    /// Paths that entries before the range have added.
    removed: Vec<String>,
}

impl Live {
    /// What a stored range of entries changes.
    pub fn of(removed: Vec<String>, files: Vec<Listed>) -> Self {
        let mut live = Self {
            removed,
            ..Self::default()
        };
        files.into_iter().for_each(|listed| live.add(listed));
        live
    }

    /// Adds the next entry.
    pub fn apply(&mut self, entry: Entry) {
        // A file that replaces others has the name of one of them, so these leave first.
        for left in entry.left() {
            self.remove(left);
        }
        for file in entry.files.into_iter().chain(entry.quarantine) {
            self.add(Listed {
                seq: entry.seq,
                file,
            });
        }
    }

    /// Adds the entries of the range that follows.
    pub fn extend(&mut self, later: Self) {
        later.removed.iter().for_each(|path| self.remove(path));
        later
            .files
            .into_iter()
            .flatten()
            .for_each(|of| self.add(of));
    }

    /// Paths of earlier entries that the range removes.
    pub fn removed(&self) -> &[String] {
        &self.removed
    }

    /// The files that are left.
    pub fn files(&self) -> impl Iterator<Item = &Listed> {
        self.files.iter().flatten()
    }

    /// The files that are left.
    pub fn into_files(self) -> impl Iterator<Item = Listed> {
        self.files.into_iter().flatten()
    }

    fn add(&mut self, listed: Listed) {
        let path = listed.file.path.clone();
        self.at.insert(path, self.files.len());
        self.files.push(Some(listed));
    }

    fn remove(&mut self, path: &str) {
        match self.at.remove(path) {
            Some(at) => self.files[at] = None,
            None => self.removed.push(path.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use inlet_model::TableName;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::super::entry::ReplacedFile;
    use super::*;

    /// What an entry does: it adds files, or merges some of those that exist.
    type Act = (u8, Vec<Index>);

    fn entries(acts: Vec<Act>) -> Vec<Entry> {
        let mut paths: Vec<String> = Vec::new();
        let mut entries = Vec::new();
        for (seq, (added, merged)) in (1..).zip(acts) {
            let mut entry = Entry::new(&TableName::new("public", "orders"), "w", "c");
            entry.seq = seq;
            if merged.len() > 1 && paths.len() > merged.len() {
                for at in &merged {
                    let path = paths.swap_remove(at.index(paths.len()));
                    entry.replaced.push(ReplacedFile {
                        path,
                        rows: 1,
                        bytes: 1,
                    });
                }
            }
            let mut names: Vec<_> = (0..added % 3).map(|n| format!("{seq}-{n}")).collect();
            // The merged file has a name of those that it replaces.
            names.extend(entry.replaced.first().map(|file| file.path.clone()));
            for path in names {
                paths.push(path.clone());
                entry.files.push(DataFile {
                    path,
                    ..DataFile::default()
                });
            }
            entries.push(entry);
        }
        entries
    }

    fn listed(live: &Live) -> Vec<(u64, String)> {
        let files = live.files();
        let mut files: Vec<_> = files.map(|of| (of.seq, of.file.path.clone())).collect();
        files.sort();
        files
    }

    proptest! {
        /// Ranges of entries, put together in their order, list what the entries list.
        #[test]
        fn ranges_list_what_their_entries_list(
            acts in vec((any::<u8>(), vec(any::<Index>(), 0..4)), 0..40), length in 1..9_usize
        ) {
            let entries = entries(acts);
            let mut whole = Live::default();
            entries.iter().for_each(|entry| whole.apply(entry.clone()));
            let mut of_ranges = Live::default();
            for range in entries.chunks(length) {
                let mut live = Live::default();
                range.iter().for_each(|entry| live.apply(entry.clone()));
                let files = live.files().cloned().collect();
                of_ranges.extend(Live::of(live.removed().to_vec(), files));
            }
            prop_assert_eq!(listed(&of_ranges), listed(&whole));
            prop_assert!(whole.removed().is_empty() && of_ranges.removed().is_empty());
        }
    }
}
