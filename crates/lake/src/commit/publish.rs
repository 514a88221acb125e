//! Publishing committed files: after every commit, before a checkpoint or a take-over, and when a
//! folder is opened.
//!
//! Each step may be repeated, by any number of writers at once: a rename happens once, and the
//! second writer finds the file in its place. From the first entry on that changes names of columns
//! in files, writers publish one at a time (`commit/retire`).

use std::collections::BTreeSet;
use std::fs::File;
use std::time::{Duration, Instant};

use inlet_service::retry::pause;

use super::claim::Claim;
use super::entry::DataFile;
use super::list::data_bytes;
use super::log::{Log, Pending};
use super::{replace, retire};
use crate::error::LakeError;
use crate::files::Store;
use crate::files::footer::Footer;
use crate::files::names::is_data;

/// How long an interrupted replacement waits for readers of this program before it goes on.
const FINISH_WAIT_MAX: Duration = Duration::from_secs(10);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// Publishes the files of the chosen writers' entries that may still be staged; returns how many
/// were.
pub(crate) fn publish_pending(
    log: &mut Log,
    claim: &Claim,
    chosen: impl Fn(&str) -> bool,
) -> Result<usize, LakeError> {
    let mut published = 0;
    loop {
        if log.pending.iter().any(Pending::is_replacement) {
            // Without the lock after this time it goes on: only readers of this program hold it.
            let _lock = lock_for_finish(&log.store)?;
            published += show_replacements(log, claim)?;
        }
        let place = replace::hold(&log.store);
        published += publish_files(log, claim, &chosen)?;
        drop(place);
        // Entries of other writers may have been read meanwhile.
        if !log.pending.iter().any(Pending::is_replacement) {
            return Ok(published);
        }
    }
}

/// Shows merged files of any writer that ended before it could.
fn show_replacements(log: &mut Log, claim: &Claim) -> Result<usize, LakeError> {
    let mut shown = 0;
    while let Some(at) = log.pending.iter().position(Pending::is_replacement) {
        shown += replace::finish(log, claim, &log.pending[at])?;
        log.pending.remove(at);
    }
    Ok(shown)
}

fn lock_for_finish(store: &Store) -> Result<Option<File>, LakeError> {
    // A bucket has no locks, and its readers fail on a file that is missing.
    if store.is_bucket() {
        return Ok(None);
    }
    let deadline = Instant::now() + FINISH_WAIT_MAX;
    loop {
        match replace::try_lock(store)? {
            None if Instant::now() < deadline => pause(LOCK_INTERVAL),
            lock => return Ok(lock),
        }
    }
}

fn publish_files(
    log: &mut Log,
    claim: &Claim,
    chosen: impl Fn(&str) -> bool,
) -> Result<usize, LakeError> {
    if log.head.names.is_empty() {
        return publish_chosen(log, claim, |pending| chosen(&pending.writer));
    }
    let _lock = retire::lock(&log.store)?;
    // Names may have changed since: the files must get the latest ones.
    log.catch_up()?;
    let renamed = retire::settle(log, claim)?;
    Ok(renamed + publish_chosen(log, claim, |pending| chosen(&pending.writer))?)
}

/// Publishes the files of the chosen entries.
pub(super) fn publish_chosen(
    log: &mut Log,
    claim: &Claim,
    chosen: impl Fn(&Pending) -> bool,
) -> Result<usize, LakeError> {
    let mut renamed = 0;
    let is_chosen = |pending: &Pending| !pending.is_replacement() && chosen(pending);
    while let Some(at) = log.pending.iter().position(is_chosen) {
        let pending = &log.pending[at];
        renamed += publish(log, claim, pending.seq, &pending.files)?;
        log.pending.remove(at);
    }
    Ok(renamed)
}

/// Renames an entry's files to their places, durably; returns how many were still staged.
fn publish(log: &Log, claim: &Claim, seq: u64, files: &[DataFile]) -> Result<usize, LakeError> {
    let store = &log.store;
    // The folders are created and synced before the renames: a file in a folder that a power cut
    // removes would be lost.
    let folders: BTreeSet<&str> = files.iter().map(|file| folder_of(&file.path)).collect();
    let folders: Vec<&str> = folders.into_iter().collect();
    store.create_folders(&folders)?;
    let mut renamed = 0;
    for file in files {
        // Columns are renamed while the file is invisible: readers never see the other names.
        retire::name_columns(log, claim, file, &file.staged)?;
        if store.rename(&file.staged, &file.path)? {
            renamed += 1;
            continue;
        }
        // The staged name is missing, so this file was renamed before, here or by another writer.
        if !is_published(store, file)? {
            return Err(LakeError::Missing {
                path: file.path.clone(),
                seq,
            });
        }
        retire::name_columns(log, claim, file, &file.path)?;
    }
    // Also when another writer renamed them: it may have died before its sync.
    store.sync_folders(&folders)?;
    Ok(renamed)
}

/// True when the file is in its place, and not another one.
pub(super) fn is_published(store: &Store, file: &DataFile) -> Result<bool, LakeError> {
    // The size tells it from another file.
    let size = store.size(&file.path)?;
    if size.is_none() || size == Some(file.bytes) {
        return Ok(size.is_some());
    }
    // Other names of its columns changed its footer. The bytes before it stay the same; 0.1.0 did
    // not state how many they are.
    if !is_data(&file.path) {
        return Ok(false);
    }
    let footer = Footer::read(&store.path(&file.path))?;
    Ok(footer.is_some_and(|footer| match data_bytes(file) {
        Some(bytes) => footer.data_bytes() == bytes,
        None => footer.rows() == file.rows,
    }))
}

pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
