//! Publishing what is committed, and setting a folder right after a crash.
//!
//! Every step may be repeated, by any number of writers at once: a rename happens once, and whoever
//! comes second finds the file in its place.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;

use inlet_model::TableName;

use super::claim::{Claim, Dead};
use super::entry::{DataFile, Entry};
use super::error::LakeError;
use super::log::{Found, Log};
use super::store::{LOG, STAGING, Store};

/// Reads a folder's log and sets the folder right: committed files are published, what dead writers
/// left is removed.
pub(super) fn open(store: &Arc<Store>, table: &TableName, claim: &Claim) -> Result<Log, LakeError> {
    // An entry can be seen before its name is durable, when its writer died in between: nothing may
    // be built on it until then.
    store.sync(LOG)?;
    // The dead are found before the log is read: what they committed last is then in it.
    let dead = Dead::find(store, claim.writer())?;
    let (mut log, torn) = Log::read(store.clone(), table)?;
    if let Some(seq) = torn {
        set_torn_aside(&log, seq)?;
        log = Log::read(store.clone(), table)?.0;
    }
    let published = settle(&mut log, |_| true)?;
    dead.bury(store)?;
    if published > 0 {
        tracing::info!(table = %table, files = published, seq = log.head.seq, "published files of a commit that was interrupted");
    }
    Ok(log)
}

/// Publishes the files of the chosen writers' entries that are not known to be published; returns
/// how many were not.
pub(super) fn settle(log: &mut Log, chosen: impl Fn(&str) -> bool) -> Result<usize, LakeError> {
    let mut renamed = 0;
    while let Some(at) = log
        .unsettled
        .iter()
        .position(|unsettled| chosen(&unsettled.writer))
    {
        let unsettled = &log.unsettled[at];
        renamed += publish(&log.store, unsettled.seq, &unsettled.files)?;
        log.unsettled.remove(at);
    }
    Ok(renamed)
}

/// Renames an entry's files into place, durably; returns how many were not there yet.
fn publish(store: &Store, seq: u64, files: &[DataFile]) -> Result<usize, LakeError> {
    let folders: BTreeSet<&str> = files.iter().map(|file| folder_of(&file.path)).collect();
    let folders: Vec<&str> = folders.into_iter().collect();
    store.create_folders(&folders)?;
    let mut renamed = 0;
    for file in files {
        if store.rename(&file.staged, &file.path)? {
            renamed += 1;
        } else if store.size(&file.path)? != Some(file.bytes) {
            return Err(LakeError::Missing {
                path: file.path.clone(),
                seq,
            });
        }
    }
    // Also when another writer renamed them: it may have died before its own sync.
    store.sync_folders(&folders)?;
    Ok(renamed)
}

/// Sets an unreadable last entry aside, unless something shows that it was committed once.
fn set_torn_aside(log: &Log, seq: u64) -> Result<(), LakeError> {
    let path = log.store.path(&format!("{STAGING}/repair"));
    let failed = |source| LakeError::io("locking", &path, source);
    let repair = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    // One at a time: who looks second must not take away the entry that the first one has written
    // since.
    repair.lock().map_err(failed)?;
    let Found::Unreadable(reason) = log.find(seq)? else {
        return Ok(());
    };
    let name = Entry::name(seq);
    if let Some(published) = published_behind(log)? {
        return Err(LakeError::Corrupt {
            entry: name,
            reason: format!("{reason}, but `{published}` shows that it was committed"),
        });
    }
    let aside = format!(
        "{name}.{}.torn",
        chrono::Utc::now().format("%Y%m%dT%H%M%S%6f")
    );
    log.store.rename(&name, &aside)?;
    log.store.sync(LOG)?;
    tracing::warn!(folder = %log.store.root().display(), entry = name, aside, reason, "set aside an entry that was never committed, as a power cut leaves it");
    Ok(())
}

/// A data file that starts at or behind the log's end: only a commit that is not in the log can
/// have published it.
fn published_behind(log: &Log) -> Result<Option<String>, LakeError> {
    for folder in log.store.list("")? {
        if !folder.contains('=') {
            continue;
        }
        for name in log.store.list(&folder)? {
            let Some((partition, offset)) = super::names::first_row(&name) else {
                continue;
            };
            if log
                .head
                .partition(partition)
                .next
                .is_none_or(|next| offset >= next)
            {
                return Ok(Some(format!("{folder}/{name}")));
            }
        }
    }
    Ok(None)
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
