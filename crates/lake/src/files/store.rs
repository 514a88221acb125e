//! What the lake asks of its storage: the files of one table's folder, on a disk with every sync
//! that a power cut asks for, or in a bucket (`files/bucket`).
//!
//! What returned `Ok` survives a power cut, names included. A failed sync is never tried again on
//! the same file, because the kernel has already dropped the pages that it could not write. In a
//! bucket every answer is durable, folders do not exist, and there are no locks.
//!
//! `object_store` does not serve a disk: its put-if-absent cannot tell a failure before the name
//! exists from one after it, it leaves `#1` files without an owner, and its rename syncs two
//! folders for every file.

#[cfg(test)]
pub(crate) mod contract;
mod side_by_side;
#[cfg(test)]
pub(crate) mod steps;
#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use inlet_service::file::{persist, sync_folder, write_temporary};
use tempfile::TempPath;

pub(crate) use self::side_by_side::side_by_side;
use super::bucket::{Bucket, Listed, local_file};
use super::hidden;
use super::names::{HIDDEN, LOG, QUARANTINE, STAGING};
use crate::error::{LISTING, LakeError, READING};

#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    /// `None` on a disk.
    bucket: Option<Bucket>,
    reads: AtomicU64,
    #[cfg(test)]
    pub steps: steps::Steps,
}

/// The outcome of a put-if-absent.
#[derive(Debug)]
pub(crate) enum Put {
    /// The file exists, whole and durable.
    Created,
    /// Another file has the name.
    Exists,
    /// The file may exist, now or after a power cut. Only opening the lake again tells.
    Doubtful(LakeError),
}

/// The file of rows that no entry names yet: below `_staging`, or a local one that is sent there.
/// Dropping it removes both.
#[derive(Debug)]
pub(crate) struct StagedPath {
    local: TempPath,
    object: Option<(Bucket, String)>,
}

impl StagedPath {
    /// Leaves the rows to the log: recovery publishes or removes them.
    pub fn keep(mut self) {
        // Of what was sent to a bucket, the local file is of no more use.
        if self.object.take().is_none() {
            self.local.disable_cleanup(true);
        }
    }
}

impl Drop for StagedPath {
    fn drop(&mut self) {
        if let Some((bucket, name)) = self.object.take() {
            bucket.remove_later(&name);
        }
    }
}

impl Store {
    /// Opens a folder and creates it and its sub-folders where they are missing.
    pub fn create(root: &Path) -> Result<Self, LakeError> {
        if let Some(bucket) = Bucket::of(root) {
            let bucket = bucket.map_err(|source| LakeError::io("opening", root, source))?;
            return Ok(Self {
                bucket: Some(bucket),
                ..Self::existing_on_disk(root)
            });
        }
        let root = std::path::absolute(root)
            .map_err(|source| LakeError::io("resolution", root, source))?;
        let store = Self::existing_on_disk(&root);
        for folder in ["", LOG, STAGING, QUARANTINE] {
            store.create_folder(folder)?;
        }
        Ok(store)
    }

    /// Opens a folder as it is; creates nothing.
    pub fn existing(root: &Path) -> Result<Self, LakeError> {
        let bucket = Bucket::of(root).transpose();
        Ok(Self {
            bucket: bucket.map_err(|source| LakeError::io("opening", root, source))?,
            ..Self::existing_on_disk(root)
        })
    }

    fn existing_on_disk(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            bucket: None,
            reads: AtomicU64::new(0),
            #[cfg(test)]
            steps: steps::Steps::default(),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// True for a folder of a bucket, which has no locks and no folders to swap.
    pub fn is_bucket(&self) -> bool {
        self.bucket.is_some()
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        if relative.is_empty() {
            self.root.clone()
        } else {
            self.root.join(relative)
        }
    }

    /// The number of [`Store::read`] calls so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Reads a file; `None` when it is missing.
    pub fn read(&self, relative: &str) -> Result<Option<Vec<u8>>, LakeError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if let Some(bucket) = &self.bucket {
            let read = bucket.read(relative);
            return read.map_err(|source| LakeError::io(READING, self.path(relative), source));
        }
        match fs::read(self.path(relative)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => self.missing().map(|()| None),
            Err(error) => Err(LakeError::io(READING, self.path(relative), error)),
        }
    }

    /// Marks a moment at which a crash leaves the folder as it is; a test looks at each of them.
    pub fn step(&self) {
        #[cfg(test)]
        self.steps.take(&self.root);
    }

    /// Makes a file appear whole under its name, unless another file has the name. After an error
    /// the file certainly does not exist.
    pub fn put_if_absent(
        &self,
        relative: &str,
        temporary: &str,
        bytes: &[u8],
    ) -> Result<Put, LakeError> {
        let path = self.path(relative);
        if let Some(bucket) = &self.bucket {
            return Ok(match bucket.put_if_absent(relative, bytes) {
                Ok(true) => Put::Created,
                Ok(false) => Put::Exists,
                Err(source) => Put::Doubtful(LakeError::io("creation", path, source)),
            });
        }
        let written = self.write_temporary(temporary, bytes)?;
        // A hard link fails when the name exists, on every file system that has links; a rename
        // would replace the file.
        match fs::hard_link(written.path(), &path) {
            Ok(()) => self.step(),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Put::Exists),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Unsupported | ErrorKind::CrossesDevices
                ) =>
            {
                return Err(LakeError::Unsupported {
                    lacks: "hard links",
                    path,
                    source: error,
                });
            }
            Err(error) => return Ok(Put::Doubtful(LakeError::io("creation", path, error))),
        }
        // The new name is durable only with its folder. When that sync fails, it may or may not
        // survive.
        let folder = path.parent().expect("a file is in the table's folder");
        match sync(folder) {
            Ok(()) => Ok(Put::Created),
            Err(error) => Ok(Put::Doubtful(error)),
        }
    }

    /// Replaces the file that has a name, in one step.
    pub fn replace(&self, relative: &str, temporary: &str, bytes: &[u8]) -> Result<(), LakeError> {
        let path = self.path(relative);
        if let Some(bucket) = &self.bucket {
            let replaced = bucket.replace(relative, bytes);
            return replaced.map_err(|source| LakeError::io("replacement", path, source));
        }
        // `_staging` is a neighbour of the target's folder, so the rename is atomic.
        let written = self.write_temporary(temporary, bytes)?;
        persist(written, &path).map_err(|source| LakeError::io("replacement", &path, source))
    }

    /// Creates an empty file for rows, which [`Store::make_durable`] takes to this name.
    pub fn stage(&self, staged: &str) -> Result<(File, StagedPath), LakeError> {
        let Some(bucket) = &self.bucket else {
            let (file, local) = self.create_file(staged)?;
            let object = None;
            return Ok((file, StagedPath { local, object }));
        };
        let created = local_file();
        let (file, local) =
            created.map_err(|source| LakeError::io("creation", std::env::temp_dir(), source))?;
        let object = Some((bucket.clone(), staged.to_owned()));
        Ok((file, StagedPath { local, object }))
    }

    /// Makes files durable, given with the names under which they are staged. A disk does many
    /// syncs in the time of one when they arrive together, and a server many requests.
    pub fn make_durable(&self, files: &[(&str, File)]) -> Result<(), LakeError> {
        let Some(bucket) = &self.bucket else {
            return sync_files(files);
        };
        side_by_side(files, |(name, file)| {
            let sent = bucket.upload(name, file);
            sent.map_err(|source| LakeError::io("writing", self.path(name), source))
        })
    }

    /// Creates an empty file. It is removed when its path is dropped.
    pub fn create_file(&self, relative: &str) -> Result<(File, TempPath), LakeError> {
        let path = self.path(relative);
        let file =
            File::create_new(&path).map_err(|source| LakeError::io("creation", path, source))?;
        Ok((file, self.temporary(relative)?))
    }

    /// Creates a file and locks it for as long as the handle lives. `None`, and no file, when
    /// another process locked it first.
    pub fn create_locked(&self, relative: &str) -> Result<Option<File>, LakeError> {
        self.create_locked_by(relative, File::try_lock)
    }

    fn create_locked_by(
        &self,
        relative: &str,
        lock: impl FnOnce(&File) -> Result<(), TryLockError>,
    ) -> Result<Option<File>, LakeError> {
        // The file of a failed attempt is removed with `temporary`: nothing else would remove it.
        let (file, mut temporary) = self.create_file(relative)?;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => {
                return Err(lock_error(temporary.to_owned(), source));
            }
        }
        // Another writer that looks for dead ones may lock the file before us and then remove it.
        // So the lock counts only if the name still leads to this file.
        let is_named = fs::metadata(&temporary)
            .is_ok_and(|named| file.metadata().is_ok_and(|ours| ours.ino() == named.ino()));
        if !is_named {
            return Ok(None);
        }
        temporary.disable_cleanup(true);
        Ok(Some(file))
    }

    fn temporary(&self, relative: &str) -> Result<TempPath, LakeError> {
        let path = self.path(relative);
        TempPath::try_from_path(&path).map_err(|source| LakeError::io("resolution", path, source))
    }

    fn write_temporary(
        &self,
        temporary: &str,
        bytes: &[u8],
    ) -> Result<tempfile::NamedTempFile, LakeError> {
        let path = self.path(temporary);
        write_temporary(&path, bytes).map_err(|source| LakeError::io("writing", path, source))
    }

    /// Runs the steps of a commit with a file that means nothing: lock, put-if-absent and rename.
    /// Leaves nothing behind.
    pub fn probe(&self) -> Result<(), LakeError> {
        if self.is_bucket() {
            return self.probe_bucket();
        }
        let [lock, first, second] = ["lock", "first", "second"]
            .map(|name| format!(".inlet-check-{}-{name}", std::process::id()));
        // The names are removed when the guards are dropped, also after an error.
        let removed_at_the_end = [&lock, &first, &second]
            .map(|name| self.temporary(name))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        self.create_locked(&lock)?;
        let temporary = format!("{first}-temporary");
        match self.put_if_absent(&first, &temporary, b"inlet check")? {
            Put::Doubtful(error) => return Err(error),
            Put::Created | Put::Exists => {}
        }
        self.rename(&first, &second)?;
        self.sync("")?;
        drop(removed_at_the_end);
        Ok(())
    }

    /// Takes the steps of a commit in a bucket: a put-if-absent that a second one does not replace,
    /// another name, and the removal of it.
    fn probe_bucket(&self) -> Result<(), LakeError> {
        let unique = uuid::Uuid::new_v4().simple();
        let [first, second] =
            ["first", "second"].map(|name| format!("{STAGING}/inlet-check-{unique}-{name}"));
        let probed = self.create_once(&first).and_then(|()| {
            self.rename(&first, &second)?;
            self.read(&second).map(drop)
        });
        for name in [&first, &second] {
            self.remove_unused(name);
        }
        probed
    }

    /// Creates an object, and fails where a second creation replaces it: two writers could then
    /// commit under one name.
    pub fn create_once(&self, name: &str) -> Result<(), LakeError> {
        for (bytes, is_first) in [(b"1", true), (b"2", false)] {
            match self.put_if_absent(name, "", bytes)? {
                Put::Doubtful(error) => return Err(error),
                Put::Created if is_first => {}
                Put::Exists if !is_first => {}
                Put::Created | Put::Exists => {
                    return Err(LakeError::Unsupported {
                        lacks: "conditional requests (`If-None-Match`)",
                        path: self.root.clone(),
                        source: io::Error::from(ErrorKind::Unsupported),
                    });
                }
            }
        }
        Ok(())
    }

    /// Renames a file; false when the old name is missing. The new name is durable after
    /// [`Store::sync`] of its folder.
    pub fn rename(&self, from: &str, to: &str) -> Result<bool, LakeError> {
        if let Some(bucket) = &self.bucket {
            let renamed = bucket.rename(from, to);
            return renamed.map_err(|source| LakeError::io("renaming", self.path(to), source));
        }
        match fs::rename(self.path(from), self.path(to)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(LakeError::io("renaming", self.path(to), source)),
        }
    }

    /// Creates a folder, parents included, durably.
    pub fn create_folder(&self, relative: &str) -> Result<(), LakeError> {
        if self.is_bucket() {
            return Ok(());
        }
        create_folder(&self.path(relative))
    }

    /// Creates folders right below the table's folder, durably.
    pub fn create_folders(&self, names: &[&str]) -> Result<(), LakeError> {
        if self.is_bucket() {
            return Ok(());
        }
        for path in names.iter().map(|name| self.path(name)) {
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(source) => return Err(LakeError::io("creation", path, source)),
            }
        }
        // Also when all existed: the process that created them may have died before its sync.
        if names.is_empty() {
            Ok(())
        } else {
            self.sync("")
        }
    }

    /// Makes the names in several folders durable.
    pub fn sync_folders(&self, names: &[&str]) -> Result<(), LakeError> {
        if self.is_bucket() {
            return Ok(());
        }
        side_by_side(names, |name| self.sync(name))
    }

    /// Makes the names in a folder durable.
    pub fn sync(&self, folder: &str) -> Result<(), LakeError> {
        if self.is_bucket() {
            return Ok(());
        }
        sync(&self.path(folder))
    }

    /// A file's size; `None` when it is missing.
    pub fn size(&self, relative: &str) -> Result<Option<u64>, LakeError> {
        if let Some(bucket) = &self.bucket {
            let size = bucket.size(relative);
            return size.map_err(|source| LakeError::io(READING, self.path(relative), source));
        }
        match fs::metadata(self.path(relative)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LakeError::io("inspection", self.path(relative), error)),
        }
    }

    /// True when both names lead to one file.
    pub fn is_same(&self, one: &str, two: &str) -> bool {
        let [one, two] = [one, two].map(|name| fs::metadata(self.path(name)));
        matches!((one, two), (Ok(one), Ok(two)) if one.ino() == two.ino() && one.dev() == two.dev())
    }

    /// The names in a folder; empty when the folder is missing.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, LakeError> {
        let path = self.path(folder);
        if let Some(bucket) = &self.bucket {
            let listed = bucket.list(folder);
            return listed.map_err(|source| LakeError::io(LISTING, path, source));
        }
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.missing().map(|()| Vec::new());
            }
            Err(source) => return Err(LakeError::io(LISTING, path, source)),
        };
        let names = entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        names
            .collect::<io::Result<_>>()
            .map_err(|source| LakeError::io(LISTING, path, source))
    }

    /// The objects in a folder of a bucket, with their ages.
    pub fn list_objects(&self, folder: &str) -> Result<Vec<Listed>, LakeError> {
        let bucket = self.bucket.as_ref().expect("a bucket is asked");
        let listed = bucket.list_objects(folder);
        listed.map_err(|source| LakeError::io(LISTING, self.path(folder), source))
    }

    /// The names of all objects of a bucket below a folder, relative to the table's folder.
    pub fn list_below(&self, folder: &str) -> Result<Vec<String>, LakeError> {
        let bucket = self.bucket.as_ref().expect("a bucket is asked");
        let listed = bucket.list_below(folder);
        listed.map_err(|source| LakeError::io(LISTING, self.path(folder), source))
    }

    /// What is missing below a link that leads nowhere is unknown: a lake on a disk that is not
    /// mounted would look like an empty one.
    fn missing(&self) -> Result<(), LakeError> {
        if self.root.exists() {
            return Ok(());
        }
        LakeError::dangling(&self.root).map_or(Ok(()), Err)
    }

    /// Removes an object of a bucket; does nothing when it is missing.
    pub fn remove(&self, relative: &str) -> Result<(), LakeError> {
        let bucket = self.bucket.as_ref().expect("a bucket is asked");
        let removed = bucket.remove(relative);
        removed.map_err(|source| LakeError::io("removal", self.path(relative), source))
    }

    /// Removes a file that no entry mentions, or a hidden folder. What stays behind costs only its
    /// space.
    pub fn remove_unused(&self, relative: &str) {
        let path = self.path(relative);
        if let Some(bucket) = &self.bucket {
            if let Err(error) = bucket.remove(relative) {
                let path = path.display();
                tracing::warn!(%path, %error, "an unused object could not be removed");
            }
            return;
        }
        if relative.ends_with(HIDDEN) {
            return hidden::remove(&path);
        }
        match fs::remove_file(&path) {
            Ok(()) => self.step(),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "an unused file could not be removed");
            }
        }
    }
}

/// Makes files durable, given with their names.
fn sync_files(files: &[(&str, File)]) -> Result<(), LakeError> {
    side_by_side(files, |(name, file)| {
        file.sync_all()
            .map_err(|source| LakeError::io("sync", *name, source))
    })
}

/// The error of a lock: a file system that has no locks refuses each of them, so trying again is of
/// no use.
fn lock_error(path: PathBuf, source: io::Error) -> LakeError {
    // Linux's number of "no locks available", as NFS without a lock service reports it. Rust has no
    // kind for it.
    const ENOLCK: i32 = 37;
    let is_unsupported = matches!(
        source.kind(),
        ErrorKind::Unsupported | ErrorKind::InvalidInput
    );
    if is_unsupported || source.raw_os_error() == Some(ENOLCK) {
        return LakeError::Unsupported {
            lacks: "file locks",
            path,
            source,
        };
    }
    LakeError::io("locking", path, source)
}

fn create_folder(path: &Path) -> Result<(), LakeError> {
    match fs::create_dir(path) {
        // The name of the new folder is durable only with the folder above it.
        Ok(()) => path.parent().map_or(Ok(()), sync),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let not_a_folder = io::Error::from(ErrorKind::NotADirectory);
            Err(LakeError::dangling(path)
                .unwrap_or_else(|| LakeError::io("creation", path, not_a_folder)))
        }
        Err(error)
            if error.kind() == ErrorKind::NotFound
                && path.parent().is_some_and(|parent| !parent.exists()) =>
        {
            create_folder(path.parent().expect("the match arm requires a parent"))?;
            create_folder(path)
        }
        Err(source) => Err(LakeError::io("creation", path, source)),
    }
}

fn sync(folder: &Path) -> Result<(), LakeError> {
    sync_folder(folder).map_err(|source| LakeError::io("sync", folder, source))
}
