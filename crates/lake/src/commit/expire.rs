//! Files that leave the lake because they are older than the table keeps, step by step.
//!
//! It is a replacement by no file (`commit/replace`): the caller holds the same lock, and the steps
//! are the same.
//!
//! 1. *Mark*: an empty file below `_staging`. As long as it exists, recovery takes the steps after
//!    the entry again.
//! 2. *Prepare*: the folder is built a second time, with hard links of the files that stay.
//! 3. *Append*: an entry that names the files that leave, and the mark. **The only commit point.**
//! 4. *Show*: the two folders are swapped in one step of the kernel, so that all files of a
//!    date_partition leave at once.
//! 5. The former folder and the mark are removed, and the visible folder too once it is empty.
//!
//! In a bucket steps 2 and 4 are others, because an object store has no swap: the objects are
//! removed one by one, in the order of their offsets. A reader meanwhile may find a part of the
//! date, and of each key its latest version as long as any. There is no lock either: step 3 reads
//! the entries of others since the files were listed, and refuses what one of them lets leave.
//!
//! A reader that has listed the folder before, and opens a file of it after step 4, gets an error
//! and no wrong answer: all files that it has listed are missing.

use std::fs;

use super::claim::Claim;
use super::entry::{DataFile, Entry, Expired, ReplacedFile};
use super::log::{AppendError, Found, Log, Pending};
use super::publish::folder_of;
use super::replace::Swap;
use crate::error::LakeError;
use crate::files::Store;
use crate::files::names::{self, QUARANTINE, STAGING};
use crate::folder::Folder;

/// Files of one folder that leave together.
#[derive(Debug)]
pub(crate) struct Leaving {
    /// The date_partition; `None` for rejected rows.
    pub date: Option<String>,
    pub files: Vec<DataFile>,
    /// The entry after which they were listed.
    pub seq: u64,
}

/// Commits that files leave, and lets them; the caller holds the lock. `None` where `is_quiet` does
/// not allow it: then nothing has changed. `settle` waits after the commit for readers that have
/// just started.
pub(crate) fn expire(
    folder: &Folder,
    log: &mut Log,
    leaving: &Leaving,
    is_quiet: impl FnOnce() -> bool,
    settle: impl FnOnce(),
) -> Result<Option<Entry>, LakeError> {
    log.check_trusted()?;
    if folder.store.is_bucket() {
        return expire_objects(folder, log, leaving).map(Some);
    }
    let (store, claim) = (&folder.store, &folder.claim);
    let paths: Vec<String> = leaving.files.iter().map(|file| file.path.clone()).collect();
    let visible = folder_of(&paths[0]);
    let staged = claim.staging_name("staged");
    let (_, mut mark) = store.create_file(&staged)?;
    // The mark must be durable before an entry mentions it.
    store.sync(STAGING)?;
    let swap = Swap::prepare(store, claim, visible, &[], &paths)?;
    if !is_quiet() {
        return Ok(None);
    }
    let entry = entry_of(folder, leaving, &staged);
    let appended = log.append(claim, |_| Ok(entry.clone()));
    // A mark that no entry names is removed when the folder is opened again.
    if !matches!(appended, Err(AppendError::Refused(_))) {
        mark.disable_cleanup(true);
    }
    let entry = appended?;
    store.step();
    settle();
    swap.show(store, &[])?;
    if visible != QUARANTINE {
        // Writers that publish files are kept away by the lock. It stays while it has files of
        // other programs, or of commits since.
        let _ = fs::remove_dir(store.path(visible));
    }
    remove_mark(store, &staged)?;
    log.pending.retain(|pending| pending.seq != entry.seq);
    Ok(Some(entry))
}

fn entry_of(folder: &Folder, leaving: &Leaving, mark: &str) -> Entry {
    let commit_id = uuid::Uuid::new_v4().to_string();
    let files = leaving.files.iter().map(|file| ReplacedFile {
        path: file.path.clone(),
        rows: file.rows,
        bytes: file.bytes,
    });
    let expired = Expired {
        date: leaving.date.clone(),
        staged: mark.to_owned(),
        files: files.collect(),
    };
    Entry {
        expired: Some(expired),
        ..Entry::new(&folder.options.table, folder.claim.writer(), &commit_id)
    }
}

/// Commits that objects leave, and removes them.
fn expire_objects(folder: &Folder, log: &mut Log, leaving: &Leaving) -> Result<Entry, LakeError> {
    let (store, claim) = (&folder.store, &folder.claim);
    let mark = claim.staging_name("staged");
    store.replace(&mark, "", b"")?;
    let entry = entry_of(folder, leaving, &mark);
    let appended = log.append(claim, |head| {
        // A file leaves once, also where two processes let it.
        for seq in leaving.seq + 1..=head.seq {
            let found = Found::read(store, seq)?.entry();
            let found = found.map_err(|reason| LakeError::Corrupt {
                entry: names::entry(seq),
                reason,
            })?;
            if found
                .left()
                .any(|path| entry.left().any(|ours| ours == path))
            {
                let table = folder.options.table.clone();
                return Err(LakeError::Compacting { table });
            }
        }
        Ok(entry.clone())
    });
    if matches!(appended, Err(AppendError::Refused(_))) {
        store.remove_unused(&mark);
    }
    let entry = appended?;
    store.step();
    remove_objects(store, entry.left())?;
    store.remove_unused(&mark);
    log.pending.retain(|pending| pending.seq != entry.seq);
    Ok(entry)
}

/// Removes objects in the order of their offsets: a reader that finds a part of them finds the
/// latest version of each key that it finds.
fn remove_objects<'a>(
    store: &Store,
    paths: impl Iterator<Item = &'a str>,
) -> Result<(), LakeError> {
    let mut paths: Vec<&str> = paths.collect();
    // A name begins with the kafka_partition and the first offset.
    paths.sort_unstable();
    for path in paths {
        store.remove(path)?;
    }
    Ok(())
}

/// Takes the steps after the entry again, where its writer ended before it could; returns how many
/// files had to leave.
pub(super) fn finish(
    store: &Store,
    claim: &Claim,
    pending: &Pending,
    staged: &str,
) -> Result<usize, LakeError> {
    if store.size(staged)?.is_none() {
        return Ok(0);
    }
    if store.is_bucket() {
        remove_objects(store, pending.replaced.iter().map(String::as_str))?;
        store.remove_unused(staged);
        return Ok(pending.replaced.len());
    }
    let mut left = 0;
    for path in &pending.replaced {
        left += usize::from(store.size(path)?.is_some());
    }
    if left > 0 {
        let visible = folder_of(&pending.replaced[0]);
        Swap::prepare(store, claim, visible, &[], &pending.replaced)?.show(store, &[])?;
    }
    remove_mark(store, staged)?;
    Ok(left)
}

fn remove_mark(store: &Store, staged: &str) -> Result<(), LakeError> {
    // The swap is durable, so the mark is of no use any more.
    store.sync("")?;
    store.remove_unused(staged);
    store.sync(STAGING)
}
