//! Putting merged files in the place of those whose rows they hold, step by step.
//!
//! 1. *Stage*: the merged files are written below `_staging`, durable and invisible.
//! 2. *Lock*: other writers that publish files of the table hold a shared lock, and so do readers
//!    of this program while they read; this step takes it for itself alone.
//! 3. *Prepare*: the folder of the date_partition is built a second time where no path reaches it
//!    (`files/hidden`): hard links of the files that stay, and of the merged ones. A merged file
//!    has the first name, in the order of names, of the files that it replaces.
//! 4. *Append*: an entry that names the merged files and the replaced ones. **This is the only
//!    commit point**, as for a batch. The entry covers no offset, so it needs no ownership; its
//!    files must have as many rows as the replaced ones.
//! 5. *Show*: the two folders are swapped in one step of the kernel.
//! 6. The former folder is removed. Whoever has a file of it open reads it to its end.
//!
//! A crash before step 4 leaves the former files; a crash after it leaves files that the next
//! writer shows (`commit/publish`): steps 3, 5 and 6 can be repeated.
//!
//! # What a reader sees
//!
//! A reader lists the folder and opens what it has found, by name. Whoever lists before the swap
//! and opens after it fails at the first replaced file: an error, and no wrong answer. Whoever
//! lists *while* the folders are swapped would leave out names that it cannot inspect any more
//! (DuckDB does), and with them their rows, if the merged file had a new name; the name that stays
//! leads it to all rows, or to the error. A reader opens files in the order of names, so it has
//! opened that one before the others that it replaces, and finds rows once.
//! `compaction/readers` waits for a moment without readers, so that the error is rare.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempPath;

use super::claim::Claim;
use super::entry::{DataFile, Entry, ReplacedFile};
use super::head::Head;
use super::log::{AppendError, Log, Pending};
use super::naming::ColumnNames;
use super::publish::{folder_of, is_published};
use super::recover::lock_within;
use super::{expire, retire};
use crate::error::LakeError;
use crate::files::Store;
use crate::files::hidden::HiddenFolder;
use crate::files::names::{LOG, STAGING, is_data};
use crate::folder::Folder;

const LOCK_WAIT_MAX: Duration = Duration::from_millis(300);

/// Staged files that hold the rows of visible ones of the same folder.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The merged files; each is removed with its path, unless an entry names it.
    pub files: Vec<(DataFile, TempPath)>,
    pub replaced: Vec<DataFile>,
    /// The names of columns that the merged files have.
    pub names: ColumnNames,
}

/// Keeps readers of this program and writers that publish files away; `None` while there are any.
pub(crate) fn try_lock(store: &Store) -> Result<Option<File>, LakeError> {
    let path = store.path(LOG);
    if store.is_bucket() {
        return Ok(None);
    }
    let failed = |source| LakeError::io("locking", &path, source);
    let folder = File::open(&path).map_err(failed)?;
    // A writer publishes within moments, and a process that is being started holds the files of
    // its parent as long.
    match lock_within(&folder, LOCK_WAIT_MAX) {
        Ok(()) => Ok(Some(folder)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(source) => Err(failed(source)),
    }
}

/// Keeps files in their places while the answer lives. `None` without a log, and on a file system
/// without such locks, where files are not replaced either.
pub(crate) fn hold(store: &Store) -> Option<File> {
    let folder = File::open(store.path(LOG)).ok()?;
    folder.lock_shared().ok()?;
    Some(folder)
}

/// Commits merged files and shows them; the caller holds the lock. `is_quiet` is asked before the
/// commit: where it is not, the merged files come back. `settle` waits after the commit for readers
/// that have just started.
pub(crate) fn replace(
    folder: &Folder,
    log: &mut Log,
    merged: Merged,
    is_quiet: impl FnOnce() -> bool,
    settle: impl FnOnce(),
) -> Result<Result<Entry, Merged>, LakeError> {
    log.check_trusted()?;
    let (store, claim) = (&folder.store, &folder.claim);
    let files: Vec<DataFile> = merged.files.iter().map(|(file, _)| file.clone()).collect();
    let replaced: Vec<String> = merged.replaced.iter().map(|of| of.path.clone()).collect();
    // Whatever can fail for long, such as a folder on another disk, fails before the commit.
    let visible = folder_of(&files[0].path);
    let swap = Swap::prepare(store, claim, visible, &files, &replaced)?;
    if !is_quiet() {
        return Ok(Err(merged));
    }
    let commit_id = uuid::Uuid::new_v4().to_string();
    let appended = log.append(claim, |head| entry_of(folder, head, &merged, &commit_id));
    // Files that no entry names are removed when the folder is opened again.
    if !matches!(appended, Err(AppendError::Refused(_))) {
        for (_, mut path) in merged.files {
            path.disable_cleanup(true);
        }
    }
    let entry = appended?;
    settle();
    swap.show(store, &files)?;
    log.pending.retain(|pending| pending.seq != entry.seq);
    Ok(Ok(entry))
}

fn entry_of(
    folder: &Folder,
    head: &Head,
    merged: &Merged,
    commit_id: &str,
) -> Result<Entry, LakeError> {
    if head.names != merged.names {
        return Err(folder.batch_error("columns got other names while its files were merged"));
    }
    let mut entry = Entry::new(&folder.options.table, folder.claim.writer(), commit_id);
    let files = merged.files.iter().map(|(file, _)| file.clone());
    (entry.files, entry.quarantine) = files.partition(|file| is_data(&file.path));
    let replaced = merged.replaced.iter().map(|file| ReplacedFile {
        path: file.path.clone(),
        rows: file.rows,
        bytes: file.bytes,
    });
    entry.replaced = replaced.collect();
    Ok(entry)
}

/// Shows the files of an entry whose writer ended before it could; returns how many it had to show.
/// The caller holds the lock.
pub(super) fn finish(log: &Log, claim: &Claim, pending: &Pending) -> Result<usize, LakeError> {
    let store = &log.store;
    if let Some(mark) = &pending.mark {
        return expire::finish(store, claim, pending, mark);
    }
    let mut waiting = 0;
    for file in &pending.files {
        waiting += usize::from(store.size(&file.staged)?.is_some());
    }
    let is_shown = |file: &DataFile| store.is_same(&file.staged, &file.path);
    if waiting > 0 && !pending.files.iter().any(is_shown) {
        for file in &pending.files {
            retire::name_columns(log, claim, file, &file.staged)?;
        }
        let visible = folder_of(&pending.files[0].path);
        Swap::prepare(store, claim, visible, &pending.files, &pending.replaced)?
            .show(store, &pending.files)?;
        return Ok(waiting);
    }
    // The folders were swapped; what is left of the last step is done again.
    for file in &pending.files {
        if !is_shown(file) && !is_published(store, file)? {
            return Err(LakeError::Missing {
                path: file.path.clone(),
                seq: pending.seq,
            });
        }
    }
    store.sync("")?;
    pending
        .files
        .iter()
        .for_each(|file| store.remove_unused(&file.staged));
    Ok(0)
}

/// A folder that is ready to take the place of a visible one.
pub(super) struct Swap {
    folder: String,
    hidden: HiddenFolder,
    /// The names that the visible folder had when this one was made.
    known: BTreeSet<CString>,
}

impl Swap {
    /// Builds a visible folder a second time, with `files`, and without those and `replaced` ones.
    pub fn prepare(
        store: &Store,
        claim: &Claim,
        folder: &str,
        files: &[DataFile],
        replaced: &[String],
    ) -> Result<Self, LakeError> {
        let folder = folder.to_owned();
        let failed = |source| LakeError::io("preparation", store.path(&folder), source);
        let top = store.path(&claim.staging_name("hidden"));
        let hidden = HiddenFolder::create(&top).map_err(failed)?;
        if let Ok(visible) = fs::metadata(store.path(&folder)) {
            let mode = visible.permissions().mode();
            hidden.set_mode(mode).map_err(failed)?;
        }
        let mut known = BTreeSet::new();
        for name in store.list(&folder)? {
            let path = format!("{folder}/{name}");
            let is_replaced = replaced.contains(&path) || files.iter().any(|of| of.path == path);
            known.insert(CString::new(name.as_str()).expect("a name of a file has no zero byte"));
            if is_replaced {
                continue;
            }
            match hidden.link(&store.path(&path), &name) {
                // People remove files by hand.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                linked => linked.map_err(failed)?,
            }
            store.step();
        }
        for file in files {
            let name = file
                .path
                .rsplit('/')
                .next()
                .expect("a path has a last part");
            hidden
                .link(&store.path(&file.staged), name)
                .map_err(failed)?;
            store.step();
        }
        hidden.sync().map_err(failed)?;
        Ok(Self {
            folder,
            hidden,
            known,
        })
    }

    /// Swaps the two folders, durably.
    pub fn show(self, store: &Store, files: &[DataFile]) -> Result<(), LakeError> {
        let visible = store.path(&self.folder);
        let failed = |source| LakeError::io("replacement", &visible, source);
        match self.hidden.exchange(&visible) {
            // A date_partition that was removed by hand has its merged files again.
            Err(error) if error.kind() == ErrorKind::NotFound => self.hidden.show(&visible),
            exchanged => exchanged,
        }
        .map_err(failed)?;
        store.step();
        store.sync("")?;
        self.rescue(store)?;
        // From here on the staged names are of no use. As long as one exists, recovery compares it
        // with the visible file.
        files
            .iter()
            .for_each(|file| store.remove_unused(&file.staged));
        store.sync(STAGING)
    }

    /// Links a file into the visible folder that appeared in the former one in the meantime: a
    /// writer of an earlier version takes no lock.
    fn rescue(&self, store: &Store) -> Result<(), LakeError> {
        let visible = store.path(&self.folder);
        let failed = |source| LakeError::io("replacement", &visible, source);
        let names = match self.hidden.names() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            names => names.map_err(failed)?,
        };
        for name in names.iter().filter(|name| !self.known.contains(*name)) {
            let target = visible.join(name.to_string_lossy().as_ref());
            self.hidden.rescue(name, &target).map_err(failed)?;
            store.sync(&self.folder)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
