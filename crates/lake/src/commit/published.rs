//! The log as a program follows it that describes the lake to other readers: which data files are
//! in their places, and what changed in their list since an entry.
//!
//! An entry counts once its files are where readers find them: an entry is committed before that,
//! and a crash may come in between.

use std::sync::Arc;

use super::entry::Entry;
use super::head::Head;
use super::list::{LakeFile, is_replacement_pending, lake_file, live};
use super::live::{Listed, Live};
use super::log::{Log, table_of};
use super::packs::Entries;
use crate::error::LakeError;
use crate::files::Store;
use crate::files::footer::{Footer, TAIL};
use crate::files::names::is_data;

/// The log of a table up to the last entry all of whose files are in their places. Every function
/// blocks.
#[derive(Debug)]
pub struct Published {
    store: Arc<Store>,
    head: Head,
    seq: u64,
}

/// What entries that follow each other changed in the list of data files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The number of the last of them.
    pub seq: u64,
    /// What all of them did.
    pub act: Act,
    /// Files that readers see since.
    pub added: Vec<LakeFile>,
    /// Files of earlier entries that readers no longer see, relative to the table's folder.
    pub removed: Vec<String>,
}

/// What an entry does to the rows that readers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It adds rows.
    Append,
    /// Other files hold the same rows.
    Merge,
    /// Rows leave because they are older than the table keeps.
    Expire,
}

/// The size of a file as it is now, and of the metadata in its footer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// All bytes of the file.
    pub bytes: u64,
    /// Bytes of the metadata, without its length and the magic bytes.
    pub footer: u32,
}

impl Published {
    /// Reads the log of a folder. `None` without a commit, and while columns of files get other
    /// names: a reader could not tell then which ones a file has.
    pub(crate) fn read(store: Arc<Store>) -> Result<Option<Self>, LakeError> {
        let Some(table) = table_of(&store)? else {
            return Ok(None);
        };
        let (log, _torn) = Log::read(store.clone(), &table)?;
        if log.unsettled.is_some() {
            return Ok(None);
        }
        let mut seq = log.head.seq;
        for pending in &log.pending {
            let marked = pending.mark.iter();
            let mut staged = pending.files.iter().map(|file| &file.staged).chain(marked);
            let is_waiting = staged.try_fold(false, |is_waiting, staged| {
                Ok::<_, LakeError>(is_waiting || store.size(staged)?.is_some())
            })?;
            if is_waiting {
                seq = seq.min(pending.seq - 1);
            }
        }
        let head = log.head;
        Ok(Some(Self { store, head, seq }))
    }

    /// The head of the log, which may be some entries ahead.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The number of the last entry whose files are in their places.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Identifies this log: another one in the same folder has another first entry.
    pub fn id(&self) -> Result<String, LakeError> {
        Ok(Entries::find(&self.store)?.expect(1)?.commit_id)
    }

    /// The data files that readers saw after an entry, in the order of the log.
    pub fn files(&self, seq: u64) -> Result<Vec<LakeFile>, LakeError> {
        let live = live(&self.store, seq, |entry, reason| {
            Err(LakeError::Corrupt { entry, reason })
        })?;
        self.data_files(live.into_files())
    }

    /// What the entries after this one changed that do the same, up to the first that does another
    /// thing. `None` without a later entry.
    pub fn changes(&self, since: u64) -> Result<Option<Changes>, LakeError> {
        let mut live = Live::default();
        let mut entries = Entries::find(&self.store)?;
        let mut last = since;
        let mut act = None;
        while last < self.seq {
            let entry = entries.expect(last + 1)?;
            // A crash may have left it in the log; the entries after it wait for it.
            if is_replacement_pending(&self.store, &entry)? {
                break;
            }
            let does = Act::of(&entry);
            if act.is_some_and(|act| act != does) {
                break;
            }
            act = Some(does);
            live.apply(entry);
            last += 1;
        }
        let Some(act) = act else { return Ok(None) };
        let removed = live.removed().iter().filter(|path| is_data(path));
        Ok(Some(Changes {
            seq: last,
            act,
            removed: removed.cloned().collect(),
            added: self.data_files(live.into_files())?,
        }))
    }

    /// True when an entry after this one changed names of columns in files.
    pub fn has_renamed(&self, since: u64) -> Result<bool, LakeError> {
        // Without such names now and ever, no entry has to be read.
        if self.head.names.is_empty() {
            return Ok(false);
        }
        let mut entries = Entries::find(&self.store)?;
        for seq in since + 1..=self.seq {
            if !entries.expect(seq)?.names.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The path of a file relative to the table's folder.
    pub fn relative(&self, file: &LakeFile) -> String {
        let path = file.path.strip_prefix(self.store.root());
        path.unwrap_or(&file.path).to_string_lossy().into_owned()
    }

    /// The present extent of a file. One that is missing has that of its commit: an entry that was
    /// not read yet has put another file in its place, or a person has removed it.
    pub fn extent(&self, file: &LakeFile) -> Result<Extent, LakeError> {
        let committed = file.data_bytes.and_then(|data| {
            let footer = file.bytes.checked_sub(data + TAIL)?;
            let footer = u32::try_from(footer).ok()?;
            let bytes = file.bytes;
            Some(Extent { bytes, footer })
        });
        if let Some(committed) = committed
            && self.head.names.is_empty()
        {
            return Ok(committed);
        }
        match Footer::read(&file.path)? {
            Some(footer) => Ok(footer.extent()),
            None => Ok(committed.unwrap_or(Extent {
                bytes: file.bytes,
                footer: 0,
            })),
        }
    }

    fn data_files(&self, files: impl Iterator<Item = Listed>) -> Result<Vec<LakeFile>, LakeError> {
        let data = files.filter(|of| is_data(&of.file.path));
        data.map(|listed| lake_file(&self.store, &self.head, listed))
            .collect()
    }
}

impl Act {
    fn of(entry: &Entry) -> Self {
        if entry.expired.is_some() {
            Self::Expire
        } else if !entry.replaced.is_empty() {
            Self::Merge
        } else {
            Self::Append
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use inlet_model::{Fingerprint, TableName};

    use super::super::entry::{DataFile, ReplacedFile};
    use super::super::{open, publish_pending};
    use super::*;
    use crate::folder::{Folder, in_memory};
    use crate::options::LakeOptions;

    const DATE: &str = "date=2026-11-20";

    /// A file of one row that is staged.
    fn staged(folder: &Folder, name: &str) -> DataFile {
        let staged = folder.claim.staging_name("staged");
        fs::write(folder.store.path(&staged), name).unwrap();
        DataFile {
            path: format!("{DATE}/{name}.parquet"),
            staged,
            rows: 1,
            bytes: name.len() as u64,
            schema: Some(Fingerprint(1)),
            ..DataFile::default()
        }
    }

    fn entry(folder: &Folder, file: DataFile) -> Entry {
        let table = &folder.options.table;
        let mut entry = Entry::new(table, folder.claim.writer(), "commit");
        entry.rows = file.rows;
        entry.files = vec![file];
        entry
    }

    #[test]
    fn an_entry_counts_once_its_files_are_in_their_places() {
        let root = in_memory();
        let options = LakeOptions::of_table(TableName::new("public", "orders"));
        let folder = Folder::open(root.path(), options).unwrap();
        let mut log = open(&folder.store, &folder.options.table, &folder.claim).unwrap();
        let published = || Published::read(folder.store.clone()).unwrap();
        assert!(published().is_none());
        for (seq, name) in [(1, "a"), (2, "b")] {
            let committed = entry(&folder, staged(&folder, name));
            log.append(&folder.claim, |_| Ok(committed.clone()))
                .unwrap();
            assert_eq!(published().unwrap().seq(), seq - 1);
            publish_pending(&mut log, &folder.claim, |_| true).unwrap();
            assert_eq!(published().unwrap().seq(), seq);
        }
        let mut merge = entry(&folder, staged(&folder, "a"));
        let waiting = merge.files[0].staged.clone();
        merge.rows = 0;
        merge.files[0].rows = 2;
        merge.replaced = ["a", "b"]
            .map(|name| ReplacedFile {
                path: format!("{DATE}/{name}.parquet"),
                rows: 1,
                bytes: 1,
            })
            .into();
        log.append(&folder.claim, |_| Ok(merge.clone())).unwrap();
        assert_eq!(published().unwrap().seq(), 2);
        fs::remove_file(folder.store.path(&waiting)).unwrap();
        let published = published().unwrap();
        assert_eq!(published.seq(), 3);
        let appended = published.changes(0).unwrap().unwrap();
        assert_eq!((appended.seq, appended.act), (2, Act::Append));
        assert_eq!((appended.added.len(), appended.removed.len()), (2, 0));
        let merged = published.changes(2).unwrap().unwrap();
        assert_eq!((merged.seq, merged.act), (3, Act::Merge));
        assert_eq!((merged.added.len(), merged.removed.len()), (1, 2));
        assert_eq!(published.files(3).unwrap().len(), 1);
        assert!(published.changes(3).unwrap().is_none());
    }
}
