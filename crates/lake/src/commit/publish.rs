//! Publishing committed files: after every commit, before a checkpoint or a take-over, and when a
//! folder is opened.
//!
//! Each step may be repeated, by any number of writers at once: a rename happens once, and the
//! second writer finds the file in its place.

use std::collections::BTreeSet;

use super::entry::DataFile;
use super::log::Log;
use crate::error::LakeError;
use crate::files::Store;

/// Publishes the files of the chosen writers' entries that may still be staged; returns how many
/// were.
pub(super) fn publish_pending(
    log: &mut Log,
    chosen: impl Fn(&str) -> bool,
) -> Result<usize, LakeError> {
    let mut renamed = 0;
    while let Some(at) = log
        .pending
        .iter()
        .position(|pending| chosen(&pending.writer))
    {
        let pending = &log.pending[at];
        renamed += publish(&log.store, pending.seq, &pending.files)?;
        log.pending.remove(at);
    }
    Ok(renamed)
}

/// Renames an entry's files to their places, durably; returns how many were still staged.
fn publish(store: &Store, seq: u64, files: &[DataFile]) -> Result<usize, LakeError> {
    // The folders are created and synced before the renames: a file in a folder that a power cut
    // removes would be lost.
    let folders: BTreeSet<&str> = files.iter().map(|file| folder_of(&file.path)).collect();
    let folders: Vec<&str> = folders.into_iter().collect();
    store.create_folders(&folders)?;
    let mut renamed = 0;
    for file in files {
        if store.rename(&file.staged, &file.path)? {
            renamed += 1;
        // The staged name is missing, so this file was renamed before, here or by another writer.
        // The size tells it from another file.
        } else if store.size(&file.path)? != Some(file.bytes) {
            return Err(LakeError::Missing {
                path: file.path.clone(),
                seq,
            });
        }
    }
    // Also when another writer renamed them: it may have died before its sync.
    store.sync_folders(&folders)?;
    Ok(renamed)
}

pub(super) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
