//! The commit log of one table's folder: read in constant time, appended to by put-if-absent.
//!
//! Promises: an entry is committed once or not at all, by any number of writers; the head in memory
//! is what the entries say. Leaves to others: which entry to write (the caller's function over the
//! head), publishing files (`recover`). Blocking: runs on threads made for it.

use std::sync::Arc;

use inlet_model::TableName;

use super::claim::Claim;
use super::entry::{DataFile, Entry};
use super::error::LakeError;
use super::head::Head;
use super::store::{Put, Store};

const CHECKPOINT: &str = "_log/_checkpoint.json";
/// Entries between two checkpoints: as many as an opening reads at most, if no writer dies in
/// between.
const CHECKPOINT_ENTRIES: u64 = 64;
/// Entries of other writers that one commit gives way to before it reports that it cannot get
/// through.
const OVERTAKEN_MAX: usize = 4096;

/// The log as one writer sees it.
#[derive(Debug)]
pub(super) struct Log {
    pub store: Arc<Store>,
    pub head: Head,
    /// Entries behind the checkpoint whose files are not known to be published.
    pub unsettled: Vec<Unsettled>,
    checkpoint: u64,
    /// Set when the disk left in doubt whether an entry is there: the log is not trusted until it
    /// was opened anew, and the entry's files stay.
    pub doubtful: bool,
}

/// The files of an entry, until they are known to be published.
#[derive(Debug)]
pub(super) struct Unsettled {
    pub seq: u64,
    pub writer: String,
    pub files: Vec<DataFile>,
}

/// What stands under an entry's name.
pub(super) enum Found {
    Nothing,
    Entry(Box<Entry>),
    Unreadable(String),
}

impl Log {
    /// Reads the log: the checkpoint, then entry by entry up to the first name that is free. An
    /// unreadable entry at the end is left out and returned: a power cut can leave one on a disk
    /// that lies about syncs.
    pub fn read(store: Arc<Store>, table: &TableName) -> Result<(Self, Option<u64>), LakeError> {
        let head = read_checkpoint(&store)?.unwrap_or_else(|| Head::empty(table));
        let mut log = Self {
            store,
            checkpoint: head.seq,
            head,
            unsettled: Vec::new(),
            doubtful: false,
        };
        loop {
            let seq = log.head.seq + 1;
            match log.find(seq)? {
                Found::Nothing => break,
                Found::Entry(entry) => {
                    log.check_table(&entry.table, table)?;
                    log.apply(*entry)?;
                }
                Found::Unreadable(reason) => {
                    if !matches!(log.find(seq + 1)?, Found::Nothing) {
                        return Err(LakeError::Corrupt {
                            entry: Entry::name(seq),
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

    /// Reads on from the head: what other writers committed since.
    pub fn refresh(&mut self) -> Result<(), LakeError> {
        self.check_trusted()?;
        loop {
            match self.find(self.head.seq + 1)? {
                Found::Nothing => return Ok(()),
                Found::Entry(entry) => self.apply(*entry)?,
                Found::Unreadable(reason) => {
                    return Err(LakeError::Corrupt {
                        entry: Entry::name(self.head.seq + 1),
                        reason,
                    });
                }
            }
        }
    }

    /// Commits the entry that `make` builds for the head. When another writer took the number
    /// first, its entry is read and `make` is asked again: it refuses what no longer follows.
    /// Returns the committed entry.
    pub fn append(
        &mut self,
        claim: &Claim,
        make: impl Fn(&Head) -> Result<Entry, LakeError>,
    ) -> Result<Entry, LakeError> {
        self.check_trusted()?;
        for _ in 0..OVERTAKEN_MAX {
            let entry = Entry {
                seq: self.head.seq + 1,
                ..make(&self.head)?
            };
            self.head
                .follows(&entry)
                .map_err(|reason| LakeError::batch(&self.head.table, reason))?;
            let bytes =
                serde_json::to_vec(&entry).expect("an entry of strings and numbers is JSON");
            match self.store.put_if_absent(
                &Entry::name(entry.seq),
                &claim.staging_name("entry"),
                &bytes,
            )? {
                Put::Created => return self.applied(entry),
                // The answer to an earlier try may have been lost: then the entry is our own.
                Put::Exists => match self.find(entry.seq)? {
                    Found::Entry(found) if found.commit_id == entry.commit_id => {
                        return self.applied(*found);
                    }
                    Found::Entry(found) => self.apply(*found)?,
                    Found::Nothing => {}
                    Found::Unreadable(reason) => {
                        return Err(LakeError::Corrupt {
                            entry: Entry::name(entry.seq),
                            reason,
                        });
                    }
                },
                Put::Doubtful(error) => {
                    self.doubtful = true;
                    return Err(error);
                }
            }
        }
        let source = std::io::Error::from(std::io::ErrorKind::WouldBlock);
        Err(LakeError::Io {
            act: "commit behind the entries of other writers",
            path: self.store.root().to_owned(),
            source,
        })
    }

    /// True when enough entries stand behind the checkpoint for a new one.
    pub fn checkpoint_due(&self) -> bool {
        self.head.seq >= self.checkpoint + CHECKPOINT_ENTRIES
    }

    /// Writes the head as the log's checkpoint. Only when everything up to it is published.
    pub fn write_checkpoint(&mut self, claim: &Claim) -> Result<(), LakeError> {
        assert!(
            self.unsettled.is_empty(),
            "a checkpoint stands behind published files only"
        );
        let bytes = serde_json::to_vec(&self.head).expect("a head of strings and numbers is JSON");
        self.store
            .replace(CHECKPOINT, &claim.staging_name("entry"), &bytes)?;
        self.checkpoint = self.head.seq;
        Ok(())
    }

    /// What stands under an entry's name.
    pub fn find(&self, seq: u64) -> Result<Found, LakeError> {
        let Some(bytes) = self.store.read(&Entry::name(seq))? else {
            return Ok(Found::Nothing);
        };
        Ok(match serde_json::from_slice(&bytes) {
            Ok(entry) => Found::Entry(Box::new(entry)),
            Err(_) if bytes.is_empty() => {
                Found::Unreadable("it is empty, as after a power cut".to_owned())
            }
            Err(error) => Found::Unreadable(error.to_string()),
        })
    }

    fn applied(&mut self, entry: Entry) -> Result<Entry, LakeError> {
        self.apply(entry.clone())?;
        Ok(entry)
    }

    fn apply(&mut self, entry: Entry) -> Result<(), LakeError> {
        self.head.apply(&entry)?;
        // A writer publishes before it commits again: whatever it committed before is published.
        self.unsettled
            .retain(|unsettled| unsettled.writer != entry.writer);
        let files: Vec<_> = entry.files.into_iter().chain(entry.quarantine).collect();
        if !files.is_empty() {
            self.unsettled.push(Unsettled {
                seq: entry.seq,
                writer: entry.writer,
                files,
            });
        }
        Ok(())
    }

    /// Fails when the log has to be opened anew first.
    pub fn check_trusted(&self) -> Result<(), LakeError> {
        if self.doubtful {
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

/// The head that the checkpoint holds. It is derived: without it, or with a broken one, the log is
/// read from its beginning.
fn read_checkpoint(store: &Store) -> Result<Option<Head>, LakeError> {
    let Some(bytes) = store.read(CHECKPOINT)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&bytes) {
        Ok(head) => Ok(Some(head)),
        Err(error) => {
            tracing::warn!(folder = %store.root().display(), %error, "the log's checkpoint cannot be read; reading the log from its beginning");
            Ok(None)
        }
    }
}
