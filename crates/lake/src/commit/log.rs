//! The commit log of one table's folder: read in constant time, appended to by put-if-absent.
//!
//! An entry is committed once or not at all, by any number of writers, and the head in memory is
//! what the entries say. The caller chooses the entry with a function over the head; `recover`
//! publishes its files. Every function here blocks, so it runs on a blocking thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use inlet_model::{Fingerprint, TableName};

use super::checkpoint;
use super::claim::Claim;
use super::entry::{DataFile, Entry};
use super::head::Head;
use super::packs::{self, Entries};
use crate::error::LakeError;
use crate::files::names;
use crate::files::{Put, Store};

/// Entries between two checkpoints: opening reads at most this many, unless a writer dies in
/// between.
const CHECKPOINT_ENTRIES: u64 = 64;
/// Entries of other writers that one commit lets go first before it fails.
const OVERTAKEN_MAX: usize = 4096;

/// The log as one writer sees it.
#[derive(Debug)]
pub(crate) struct Log {
    pub store: Arc<Store>,
    pub head: Head,
    /// Entries after the checkpoint whose files may still be staged.
    pub(super) pending: Vec<Pending>,
    /// Entries after the checkpoint that changed names of columns in files, until all files have
    /// them.
    pub(super) unsettled: Option<Unsettled>,
    checkpoint: u64,
    /// Set when the disk left in doubt whether an entry exists. The log then refuses every commit
    /// until the folder is opened again.
    is_doubtful: bool,
}

/// Why an entry was not appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// The log has no such entry, so the files of its batch may be removed.
    Refused(LakeError),
    /// The log may have the entry, so its files must stay. Opening the folder again tells.
    Doubtful(LakeError),
}

impl From<AppendError> for LakeError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused(error) | AppendError::Doubtful(error) => error,
        }
    }
}

/// The files of an entry, until they are known to be published.
#[derive(Debug)]
pub(super) struct Pending {
    pub seq: u64,
    pub writer: String,
    pub files: Vec<DataFile>,
    /// Visible files whose place they take; see `commit/replace`.
    pub replaced: Vec<String>,
    /// Exists until the replaced files have left, where no file takes their place; see
    /// `commit/expire`.
    pub mark: Option<String>,
}

impl Pending {
    /// True for files that hold the rows of visible ones.
    pub fn is_replacement(&self) -> bool {
        !self.replaced.is_empty()
    }
}

/// Names of columns that not all files may have yet.
#[derive(Debug)]
pub(super) struct Unsettled {
    /// The first and the last entry that changed names.
    pub first: u64,
    pub last: u64,
    /// The schemas whose files have other names than before.
    pub schemas: BTreeSet<Fingerprint>,
}

/// What an entry's name leads to.
pub(crate) enum Found {
    Missing,
    Entry(Box<Entry>),
    Unreadable(String),
}

impl Found {
    /// Looks for the entry with this number.
    pub(crate) fn read(store: &Store, seq: u64) -> Result<Self, LakeError> {
        let Some(bytes) = store.read(&names::entry(seq))? else {
            return Ok(Self::Missing);
        };
        Ok(match Entry::decode(&bytes) {
            Ok(entry) => Self::Entry(Box::new(entry)),
            Err(reason) => Self::Unreadable(reason),
        })
    }

    /// The entry; the error explains why there is none to read.
    pub(crate) fn entry(self) -> Result<Entry, String> {
        match self {
            Self::Entry(entry) => Ok(*entry),
            Self::Missing => Err("it is missing".to_owned()),
            Self::Unreadable(reason) => Err(reason),
        }
    }
}

impl Log {
    /// Reads the log: the checkpoint, then entry by entry up to the first missing one. The number
    /// of an unreadable last entry is returned beside the log before it: a power cut can leave one
    /// on a disk that reports a sync too early.
    pub fn read(store: Arc<Store>, table: &TableName) -> Result<(Self, Option<u64>), LakeError> {
        // The checkpoint may be of another table: the check below reports that, also without
        // entries.
        let head = checkpoint::read(&store)?.unwrap_or_else(|| Head::empty(table));
        let reading = store.clone();
        let mut entries = Entries::find(&reading)?;
        let mut log = Self {
            store,
            checkpoint: head.seq,
            head,
            pending: Vec::new(),
            unsettled: None,
            is_doubtful: false,
        };
        loop {
            let seq = log.head.seq + 1;
            match entries.read(seq)? {
                Found::Missing if log.store.size(&names::entry(seq + 1))?.is_none() => break,
                // Both may be there by now: another writer appends one after the other.
                Found::Missing if log.store.size(&names::entry(seq))?.is_some() => {}
                Found::Missing => {
                    // Filling the gap would commit offsets that the later entries cover.
                    return Err(LakeError::Corrupt {
                        entry: entries.path(seq),
                        reason: "it is missing, and a later entry exists".to_owned(),
                    });
                }
                Found::Entry(entry) => {
                    log.check_table(&entry.table, table)?;
                    log.apply(*entry)?;
                }
                Found::Unreadable(reason) => {
                    // Entries are synced one after the other, so only the last one can be torn.
                    if !matches!(entries.read(seq + 1)?, Found::Missing) {
                        return Err(LakeError::Corrupt {
                            entry: entries.path(seq),
                            reason,
                        });
                    }
                    return Ok((log, Some(seq)));
                }
            }
        }
        log.check_table(&log.head.table, table)?;
        Ok((log, None))
    }

    /// Commits the entry that `make` builds for the head, and returns it. When another writer
    /// commits the number first, its entry is read and `make` runs again on the new head, where it
    /// refuses what no longer follows.
    pub fn append(
        &mut self,
        claim: &Claim,
        make: impl Fn(&Head) -> Result<Entry, LakeError>,
    ) -> Result<Entry, AppendError> {
        self.check_trusted().map_err(AppendError::Refused)?;
        // Every other writer that is faster costs one more attempt; the bound only guards against
        // an endless loop.
        for _ in 0..OVERTAKEN_MAX {
            let made = make(&self.head).and_then(|entry| self.next(entry));
            let entry = made.map_err(AppendError::Refused)?;
            if let Some(entry) = self.put(claim, entry)? {
                return Ok(entry);
            }
        }
        Err(AppendError::Refused(LakeError::Io {
            act: "commit after the entries of other writers",
            path: self.store.root().to_owned(),
            source: std::io::Error::from(std::io::ErrorKind::WouldBlock),
        }))
    }

    /// True when enough entries follow the checkpoint for a new one.
    pub fn is_checkpoint_due(&self) -> bool {
        self.head.seq >= self.checkpoint + CHECKPOINT_ENTRIES
    }

    /// Stores the head as the log's checkpoint. All files of its entries must be published.
    pub fn write_checkpoint(&mut self, claim: &Claim) -> Result<(), LakeError> {
        assert!(
            self.pending.is_empty() && self.unsettled.is_none(),
            "a checkpoint follows published files only"
        );
        checkpoint::write(&self.store, &claim.staging_name("entry"), &self.head)?;
        self.checkpoint = self.head.seq;
        Ok(())
    }

    /// Reads the entries that other writers have appended since.
    pub fn catch_up(&mut self) -> Result<(), LakeError> {
        while let Found::Entry(entry) = self.find(self.head.seq + 1)? {
            self.check_unpacked(entry.seq)?;
            self.apply(*entry)?;
        }
        Ok(())
    }

    /// Fails, as does everything after it, when the number belongs to an entry that is in a pack:
    /// this writer slept while others went on, and its head is old (`commit/packs`).
    fn check_unpacked(&mut self, seq: u64) -> Result<(), LakeError> {
        if packs::packed(&self.store)? < seq {
            return Ok(());
        }
        self.is_doubtful = true;
        self.check_trusted()
    }

    /// Looks for an entry.
    pub(super) fn find(&self, seq: u64) -> Result<Found, LakeError> {
        Found::read(&self.store, seq)
    }

    /// The entry with the next number, which must follow the head.
    fn next(&self, entry: Entry) -> Result<Entry, LakeError> {
        let entry = Entry {
            seq: self.head.seq + 1,
            ..entry
        };
        // The maker has checked its own batch; this guards against an error in the maker.
        self.head
            .follows(&entry)
            .map_err(|reason| LakeError::batch(&self.head.table, reason))?;
        Ok(entry)
    }

    /// Puts an entry under its name; `None` when the head has moved past the entry of another
    /// writer that has this number.
    fn put(&mut self, claim: &Claim, entry: Entry) -> Result<Option<Entry>, AppendError> {
        let put = self.store.put_if_absent(
            &names::entry(entry.seq),
            &claim.staging_name("entry"),
            &entry.encode(),
        );
        let put = put.map_err(AppendError::Refused)?;
        if matches!(put, Put::Created | Put::Exists)
            && let Err(error) = self.check_unpacked(entry.seq)
        {
            if self.is_doubtful {
                // The number was given before: what has its name now is void.
                self.store.remove_unused(&names::entry(entry.seq));
                return Err(AppendError::Refused(error));
            }
            // Whether the number was free is unknown.
            self.is_doubtful = true;
            return Err(AppendError::Doubtful(error));
        }
        let outcome = match put {
            Put::Created => self.apply(entry.clone()).map(|()| Some(entry)),
            Put::Exists => self.read_back(&entry),
            Put::Doubtful(error) => Err(error),
        };
        // From here on only an entry with another commit id shows that ours does not exist. A file
        // server that repeats a link whose answer was lost reports that the name exists, and the
        // read after it may fail as well.
        outcome.map_err(|error| {
            self.is_doubtful = true;
            AppendError::Doubtful(error)
        })
    }

    /// Reads the entry that has the name of ours; `None` when it is of another writer.
    fn read_back(&mut self, ours: &Entry) -> Result<Option<Entry>, LakeError> {
        match self.find(ours.seq)? {
            Found::Entry(found) => {
                let is_ours = found.commit_id == ours.commit_id;
                self.apply((*found).clone())?;
                Ok(is_ours.then_some(*found))
            }
            Found::Missing => Err(LakeError::Doubtful {
                table: self.head.table.clone(),
            }),
            Found::Unreadable(reason) => Err(LakeError::Corrupt {
                entry: names::entry(ours.seq),
                reason,
            }),
        }
    }

    fn apply(&mut self, entry: Entry) -> Result<(), LakeError> {
        self.head.apply(&entry)?;
        // A writer publishes before it commits again, so its earlier entries are published.
        self.pending
            .retain(|pending| pending.writer != entry.writer);
        if !entry.names.is_empty() {
            let unsettled = self.unsettled.get_or_insert_with(|| Unsettled {
                first: entry.seq,
                last: entry.seq,
                schemas: BTreeSet::new(),
            });
            unsettled.last = entry.seq;
            unsettled.schemas.extend(entry.names.schemas());
        }
        let replaced: Vec<_> = entry.left().map(str::to_owned).collect();
        let mark = entry.expired.map(|expired| expired.staged);
        for pending in &mut self.pending {
            // Only published files are merged, and a merged one may have the name of one of them.
            pending.files.retain(|file| !replaced.contains(&file.path));
        }
        self.pending
            .retain(|pending| !pending.files.is_empty() || pending.mark.is_some());
        let files = entry.files.into_iter().chain(entry.quarantine);
        // Statistics are of no use for publishing and may take more memory than all the rest.
        let files: Vec<_> = files
            .map(|file| DataFile {
                columns: BTreeMap::new(),
                ..file
            })
            .collect();
        if !files.is_empty() || mark.is_some() {
            // The entry is committed, but its files are invisible until they are renamed.
            self.pending.push(Pending {
                seq: entry.seq,
                writer: entry.writer,
                files,
                replaced,
                mark,
            });
        }
        Ok(())
    }

    /// Fails when the folder must be opened again first.
    pub fn check_trusted(&self) -> Result<(), LakeError> {
        if self.is_doubtful {
            Err(LakeError::Doubtful {
                table: self.head.table.clone(),
            })
        } else {
            Ok(())
        }
    }

    fn check_table(&self, found: &TableName, expected: &TableName) -> Result<(), LakeError> {
        if found == expected {
            return Ok(());
        }
        Err(LakeError::OtherTable {
            path: self.store.root().to_owned(),
            found: found.clone(),
            expected: expected.clone(),
        })
    }
}

/// The table of a folder's log; `None` before the first commit.
pub(crate) fn table_of(store: &Store) -> Result<Option<TableName>, LakeError> {
    // The first entry is read only without a checkpoint, which is the shorter one of the two.
    if let Some(table) = checkpoint::table(store)? {
        return Ok(Some(table));
    }
    let Some(bytes) = store.read(&names::entry(1))? else {
        return match Entries::find(store)?.read(1)? {
            Found::Entry(entry) => Ok(Some(entry.table)),
            Found::Missing | Found::Unreadable(_) => Ok(None),
        };
    };
    let table = Entry::decode_table(&bytes);
    // Only a last entry can be torn: with a second one the first was committed, and the log is not
    // that of an empty lake.
    if table.is_none() && store.size(&names::entry(2))?.is_some() {
        let reason = Entry::decode(&bytes).err().unwrap_or_default();
        return Err(LakeError::Corrupt {
            entry: names::entry(1),
            reason,
        });
    }
    Ok(table)
}
