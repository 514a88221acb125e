//! The writers of a folder, alive or dead.
//!
//! A writer holds an operating system lock on `_staging/<writer>.lock` for as long as it lives, and
//! each of its staged files starts with its name. The kernel releases the lock when the process
//! ends, however it ends; so another writer knows without a clock which files are left over.
//!
//! A bucket has no locks. There the staged objects of any writer are removed once they are older
//! than [`STALE_AGE`] by the clock of the server alone, and a writer refuses to commit what it
//! began to stage longer ago than [`STAGED_AGE_MAX`].

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::LakeError;
use crate::files::Store;
use crate::files::names::{self, STAGING, writer_of, writer_of_lock};

/// This process as a writer of a folder: its name and its lock.
#[derive(Debug)]
pub(crate) struct Claim {
    store: Arc<Store>,
    writer: String,
    files: AtomicU64,
    /// `None` in a bucket.
    _lock: Option<File>,
}

/// The age at which an object below `_staging` is no longer of a living writer.
pub(crate) const STALE_AGE: Duration = Duration::from_secs(24 * 3600);
/// The age of a batch that is not committed any more. What lies between both is the time that a
/// process may be suspended between its look at the clock and its request, which a server refuses
/// after minutes anyway, by the time in its signature.
pub(crate) const STAGED_AGE_MAX: Duration = Duration::from_secs(6 * 3600);

impl Claim {
    /// Makes this process a writer of the folder.
    pub fn new(store: Arc<Store>) -> Result<Self, LakeError> {
        loop {
            let writer = format!(
                "{}-{}-{}",
                std::process::id(),
                chrono::Utc::now().timestamp(),
                uuid::Uuid::new_v4().simple()
            );
            if store.is_bucket() {
                // It must be unique among all writers, and the server must keep it so.
                store.create_once(&names::lock(&writer))?;
                return Ok(Self {
                    store,
                    writer,
                    files: AtomicU64::new(0),
                    _lock: None,
                });
            }
            // Without a lock another writer that cleans up was faster; the next name is a new one.
            if let Some(lock) = store.create_locked(&names::lock(&writer))? {
                return Ok(Self {
                    store,
                    writer,
                    files: AtomicU64::new(0),
                    _lock: Some(lock),
                });
            }
        }
    }

    /// The writer's name: process id, start time and a random part.
    pub fn writer(&self) -> &str {
        &self.writer
    }

    /// A new invisible name of this writer.
    pub fn staging_name(&self, extension: &str) -> String {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        names::staged(&self.writer, number, extension)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Files that stay keep their lock, as if the process had died: the next writer publishes
        // the
        // files that the log names and removes the others.
        let names = self.store.list(STAGING).unwrap_or_default();
        let ours = names
            .iter()
            .filter(|name| writer_of(name) == Some(&self.writer))
            .count();
        if ours == 1 {
            self.store.remove_unused(&names::lock(&self.writer));
        }
    }
}

/// Writers whose process has ended. Their locks are held, so that one process at a time removes
/// their files.
#[derive(Debug, Default)]
pub(super) struct DeadWriters(Vec<(String, File)>);

impl DeadWriters {
    pub fn find(store: &Store, ours: &str) -> Result<Self, LakeError> {
        let mut dead = Vec::new();
        if store.is_bucket() {
            return Ok(Self(dead));
        }
        for name in store.list(STAGING)? {
            let Some(writer) = writer_of_lock(&name).filter(|writer| *writer != ours) else {
                continue;
            };
            let path = store.path(&names::lock(writer));
            // The lock may vanish between listing and opening: its writer ended, or another process
            // cleaned up.
            let Ok(lock) = File::options().write(true).open(&path) else {
                continue;
            };
            match lock.try_lock() {
                // The lock is held until the files are removed, so two writers never clean up after
                // the same dead one.
                Ok(()) => dead.push((writer.to_owned(), lock)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => {
                    return Err(LakeError::io("locking", path, source));
                }
            }
        }
        Ok(Self(dead))
    }

    /// Removes their files. Every file that the log names must be published before.
    pub fn remove_files(self, store: &Store) -> Result<(), LakeError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let names = store.list(STAGING)?;
        for (writer, _lock) in &self.0 {
            let left: Vec<_> = names
                .iter()
                .filter(|name| writer_of(name) == Some(writer) && writer_of_lock(name).is_none())
                .collect();
            left.iter()
                .for_each(|name| store.remove_unused(&format!("{STAGING}/{name}")));
            // The lock goes last: a crash before it leaves the files to the next writer.
            store.remove_unused(&names::lock(writer));
            if !left.is_empty() {
                tracing::info!(
                    folder = %store.root().display(), %writer, files = left.len(),
                    "removed the uncommitted files of a writer that ended"
                );
            }
        }
        Ok(())
    }
}

/// The objects below `_staging` that no writer will commit any more: those that are older than
/// `age` at the time at which this writer's own object was stored.
pub(super) fn stale_objects(
    store: &Store,
    ours: &str,
    age: Duration,
) -> Result<Vec<String>, LakeError> {
    let listed = store.list_objects(STAGING)?;
    let now = listed
        .iter()
        .find(|of| writer_of_lock(&of.name) == Some(ours))
        .map(|of| of.stored_at);
    // Without it the server's time is unknown, and everything stays.
    let is_stale = |stored_at| {
        now.is_some_and(|now| {
            let passed: chrono::TimeDelta = now - stored_at;
            passed.to_std().is_ok_and(|passed| passed >= age)
        })
    };
    let stale = listed.into_iter().filter(|of| {
        writer_of(&of.name).is_some_and(|writer| writer != ours) && is_stale(of.stored_at)
    });
    Ok(stale.map(|of| format!("{STAGING}/{}", of.name)).collect())
}

/// A writer of a folder: one that lives, or one that ended and left files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Its name: process id, start time and a random part.
    pub name: String,
    /// True while its process runs.
    pub alive: bool,
    /// The number of its staged files.
    pub files: usize,
}

impl Writer {
    /// Returns the id of its process.
    pub fn process(&self) -> &str {
        self.name.split('-').next().unwrap_or_default()
    }
}

/// The writers that have a lock or staged files in a folder; changes nothing.
pub(crate) fn writers(folder: &Path) -> Result<Vec<Writer>, LakeError> {
    let store = Store::existing(folder)?;
    // Without locks it is not known which of them live.
    if store.is_bucket() {
        return Ok(Vec::new());
    }
    let names = store.list(STAGING)?;
    let living = |writer: &str| {
        // Locking is the only reliable test; an acquired lock is released with the handle.
        let lock = File::options()
            .write(true)
            .open(store.path(&names::lock(writer)));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    };
    let mut found = BTreeMap::<&str, usize>::new();
    for name in &names {
        if let Some(writer) = writer_of(name) {
            *found.entry(writer).or_default() += usize::from(writer_of_lock(name).is_none());
        }
    }
    Ok(found
        .into_iter()
        .map(|(name, files)| Writer {
            name: name.to_owned(),
            alive: living(name),
            files,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_writer_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::create(folder.path()).unwrap());
        let (alive, dead) = (
            Claim::new(store.clone()).unwrap(),
            Claim::new(store.clone()).unwrap(),
        );
        let (kept, left) = (alive.staging_name("staged"), dead.staging_name("staged"));
        for name in [&kept, &left] {
            std::fs::write(store.path(name), b"x").unwrap();
        }
        let seen = |claim: &Claim, alive| Writer {
            name: claim.writer().to_owned(),
            alive,
            files: 1,
        };
        let mut expected = vec![seen(&alive, true), seen(&dead, false)];
        expected.sort_by(|a, b| a.name.cmp(&b.name));
        drop(dead);
        assert_eq!(writers(folder.path()).unwrap(), expected);
        DeadWriters::find(&store, "us")
            .unwrap()
            .remove_files(&store)
            .unwrap();
        assert_eq!(store.size(&kept).unwrap(), Some(1));
        assert_eq!(store.size(&left).unwrap(), None);
        assert_eq!(
            store.list(STAGING).unwrap().len(),
            2,
            "the living writer's file and lock"
        );
    }
}
