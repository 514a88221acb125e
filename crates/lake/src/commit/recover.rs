//! Repairing a folder after a crash.
//!
//! Opening a folder as a writer takes these steps. Each may be repeated, by any number of writers
//! at once: a rename happens once, and the second writer finds the file in its place.
//!
//! 1. Sync the log's folder: an entry can be visible before its name is durable.
//! 2. Find the dead writers and lock their locks, so that two writers do not clean up at once.
//! 3. Read the log. An unreadable last entry that was never committed is set aside.
//! 4. Finish renaming columns, and publish the committed files that are still staged.
//! 5. Remove the staged files of the dead writers: whatever the log names is published now, so
//!    only uncommitted files are left.
//!
//! In a bucket the last step removes what is older than any writer may commit (`commit/claim`), and
//! an entry is whole or missing.

use std::fs::{File, TryLockError};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inlet_model::TableName;
use inlet_service::retry::pause;

use super::claim::{Claim, DeadWriters, STALE_AGE, stale_objects};
use super::log::{Found, Log};
use super::publish::publish_pending;
use crate::error::LakeError;
use crate::files::Store;
use crate::files::names::{self, FileName, LOG, QUARANTINE, TORN};

/// How long another process may take to set a torn entry aside: one rename and one sync.
const REPAIR_TIME_MAX: Duration = Duration::from_secs(10);
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

/// Reads a folder's log and repairs the folder.
pub(crate) fn open(store: &Arc<Store>, table: &TableName, claim: &Claim) -> Result<Log, LakeError> {
    // An entry whose writer died before the sync may vanish with a power cut; a commit that builds
    // on it must not outlive it.
    store.sync(LOG)?;
    // The dead writers are found before the log is read: their last commits are then in it.
    let dead = DeadWriters::find(store, claim.writer())?;
    let stale = match store.is_bucket() {
        true => stale_objects(store, claim.writer(), STALE_AGE)?,
        false => Vec::new(),
    };
    let (mut log, torn) = Log::read(store.clone(), table)?;
    if let Some(seq) = torn {
        set_torn_aside(&log, seq)?;
        log = Log::read(store.clone(), table)?.0;
    }
    // The committed files of dead writers are published before the rest of their files is removed.
    let published = publish_pending(&mut log, claim, |_| true)?;
    dead.remove_files(store)?;
    if !stale.is_empty() {
        stale.iter().for_each(|name| store.remove_unused(name));
        let objects = stale.len();
        tracing::info!(%table, objects, "removed what writers that ended did not commit");
    }
    if published > 0 {
        tracing::info!(
            %table, files = published, seq = log.head.seq,
            "published files of a commit that was interrupted"
        );
    }
    Ok(log)
}

/// Sets an unreadable last entry aside, unless a published file shows that it was committed.
fn set_torn_aside(log: &Log, seq: u64) -> Result<(), LakeError> {
    if log.store.is_bucket() {
        let found = log.find(seq)?.entry();
        let reason = found.err().unwrap_or_else(|| "it was not".to_owned());
        let entry = names::entry(seq);
        return Err(LakeError::Corrupt { entry, reason });
    }
    let path = log.store.path(names::REPAIR);
    let failed = |source| LakeError::io("locking", &path, source);
    let repair = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    // One writer at a time: the second one must not set aside an entry that the first one has
    // committed under the same name in the meantime.
    lock_within(&repair, REPAIR_TIME_MAX).map_err(failed)?;
    let Found::Unreadable(reason) = log.find(seq)? else {
        return Ok(());
    };
    let name = names::entry(seq);
    // Files become visible only after their entry was synced. A visible file without an entry shows
    // that the disk lost a committed one.
    if let Some(published) = published_after(log)? {
        return Err(LakeError::Corrupt {
            entry: name,
            reason: format!("{reason}, but `{published}` shows that it was committed"),
        });
    }
    // The torn entry keeps its bytes under another name, for people who want to look at it.
    let aside = format!(
        "{name}.{}{TORN}",
        chrono::Utc::now().format("%Y%m%dT%H%M%S%6f")
    );
    log.store.rename(&name, &aside)?;
    log.store.sync(LOG)?;
    tracing::warn!(
        folder = %log.store.root().display(), entry = name, aside, reason,
        "set aside an entry that was never committed, as a power cut leaves it"
    );
    Ok(())
}

/// Locks a file, for which another process may hold the lock for a moment.
pub(crate) fn lock_within(file: &File, time: Duration) -> io::Result<()> {
    let deadline = Instant::now() + time;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => pause(LOCK_INTERVAL),
            result => return result.map_err(io::Error::from),
        }
    }
}

/// Finds a published file that starts at the log's end or later: only a commit that the log has
/// lost can have published it. It may hold rejected rows alone.
fn published_after(log: &Log) -> Result<Option<String>, LakeError> {
    for folder in log.store.list("")? {
        if !names::is_date_folder(&folder) && folder != QUARANTINE {
            continue;
        }
        for name in log.store.list(&folder)? {
            let Some(FileName {
                partition, first, ..
            }) = FileName::parse(&name)
            else {
                continue;
            };
            if log
                .head
                .partition(partition)
                .next
                .is_none_or(|next| first >= next)
            {
                return Ok(Some(format!("{folder}/{name}")));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
