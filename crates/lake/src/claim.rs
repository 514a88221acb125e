//! Which writers of a folder are alive.
//!
//! A writer holds an operating system lock on `_staging/<writer>.lock` for as long as it lives, and
//! every staging file starts with its name. So what a dead writer left is known for certain,
//! without clocks: the kernel releases the lock when the process is gone, however it went.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::LakeError;
use super::store::{STAGING, Store};

const LOCK: &str = ".lock";

/// A living writer: its name and its lock.
#[derive(Debug)]
pub(super) struct Claim {
    store: Arc<Store>,
    writer: String,
    files: AtomicU64,
    _lock: File,
}

impl Claim {
    /// Makes this process a writer of the folder.
    pub fn take(store: Arc<Store>) -> Result<Self, LakeError> {
        loop {
            let writer = format!(
                "{}-{}-{}",
                std::process::id(),
                chrono::Utc::now().timestamp(),
                uuid::Uuid::new_v4().simple()
            );
            let path = store.path(&lock_name(&writer));
            let failed = |act, source| LakeError::io(act, &path, source);
            let lock = File::create_new(&path).map_err(|source| failed("creation", source))?;
            // Another writer that looks for the dead may lock the file before us, and then remove
            // it: then it is not ours.
            let locked = lock.try_lock().is_ok();
            let named = std::fs::metadata(&path)
                .is_ok_and(|named| lock.metadata().is_ok_and(|ours| ours.ino() == named.ino()));
            if locked && named {
                return Ok(Self {
                    store,
                    writer,
                    files: AtomicU64::new(0),
                    _lock: lock,
                });
            }
        }
    }

    /// The writer's name: process id, start, and chance.
    pub fn writer(&self) -> &str {
        &self.writer
    }

    /// A new invisible name of ours, relative to the table's folder.
    pub fn staging_name(&self, extension: &str) -> String {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        format!("{STAGING}/{}.{number}.{extension}", self.writer)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Files that stay are left with their lock, as if the process had died: whoever opens the
        // folder next judges them by the log.
        let names = self.store.list(STAGING).unwrap_or_default();
        let ours = names
            .iter()
            .filter(|name| writer_of(name) == Some(&self.writer))
            .count();
        if ours == 1 {
            self.store.remove_litter(&lock_name(&self.writer));
        }
    }
}

/// Writers that are gone for good; their locks are held, so that no one else judges them at the
/// same time.
#[derive(Debug, Default)]
pub(super) struct Dead(Vec<(String, File)>);

impl Dead {
    /// Finds them.
    pub fn find(store: &Store, ours: &str) -> Result<Self, LakeError> {
        let mut dead = Vec::new();
        for name in store.list(STAGING)? {
            let Some(writer) = name.strip_suffix(LOCK).filter(|writer| *writer != ours) else {
                continue;
            };
            let path = store.path(&lock_name(writer));
            let Ok(lock) = File::options().write(true).open(&path) else {
                continue;
            };
            match lock.try_lock() {
                Ok(()) => dead.push((writer.to_owned(), lock)),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => {
                    return Err(LakeError::io("locking", path, source));
                }
            }
        }
        Ok(Self(dead))
    }

    /// Removes what they left. Only after everything that the log mentions was published.
    pub fn bury(self, store: &Store) -> Result<(), LakeError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let names = store.list(STAGING)?;
        for (writer, _lock) in &self.0 {
            let left: Vec<_> = names
                .iter()
                .filter(|name| writer_of(name) == Some(writer) && !name.ends_with(LOCK))
                .collect();
            left.iter()
                .for_each(|name| store.remove_litter(&format!("{STAGING}/{name}")));
            // The lock goes last: until then the files have an owner that can be judged.
            store.remove_litter(&lock_name(writer));
            if !left.is_empty() {
                tracing::info!(folder = %store.root().display(), writer = %writer, files = left.len(), "removed what a writer that ended had not committed");
            }
        }
        Ok(())
    }
}

/// A writer that a folder knows: one that lives, or one that ended and left files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// Its name: process id, start, and chance.
    pub name: String,
    /// True while its process runs.
    pub alive: bool,
    /// Staging files of it.
    pub files: usize,
}

impl Writer {
    /// The id of its process.
    pub fn process(&self) -> &str {
        self.name.split('-').next().unwrap_or_default()
    }
}

/// Who has staging files or a lock in a table's folder; nothing is changed.
pub fn writers(folder: &Path) -> Result<Vec<Writer>, LakeError> {
    let store = Store::existing(folder);
    let names = store.list(STAGING)?;
    let living = |writer: &str| {
        let lock = File::options()
            .write(true)
            .open(store.path(&lock_name(writer)));
        lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
    };
    let mut found = BTreeMap::<&str, usize>::new();
    for name in &names {
        *found.entry(writer_of(name).unwrap_or(name)).or_default() +=
            usize::from(!name.ends_with(LOCK));
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

fn lock_name(writer: &str) -> String {
    format!("{STAGING}/{writer}{LOCK}")
}

fn writer_of(name: &str) -> Option<&str> {
    name.split_once('.').map(|(writer, _)| writer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_writer_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::create(folder.path()).unwrap());
        let (alive, dead) = (
            Claim::take(store.clone()).unwrap(),
            Claim::take(store.clone()).unwrap(),
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
        Dead::find(&store, "us").unwrap().bury(&store).unwrap();
        assert_eq!(store.size(&kept).unwrap(), Some(1));
        assert_eq!(store.size(&left).unwrap(), None);
        assert_eq!(
            store.list(STAGING).unwrap().len(),
            2,
            "the living writer's file and lock"
        );
    }
}
