//! The files of one table's folder, with every sync that a power cut asks for.
//!
//! Promises: what returned `Ok` survives a power cut, names included; a failed sync is never tried
//! again on the same file, because the kernel has already dropped the pages that it could not
//! write. Written here and not taken from `object_store`: its put-if-absent does not tell a failure
//! before the name exists from one after it, leaves `#1` files that nobody owns, and its rename
//! syncs two folders for every file.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::LakeError;

/// Syncs that are under way at once; more bring nothing on any disk that we know.
const SYNCS_AT_ONCE_MAX: usize = 16;
/// The folder of the log.
pub(super) const LOG: &str = "_log";
/// The folder of invisible files: no name in it ends in `.parquet`.
pub(super) const STAGING: &str = "_staging";
/// The folder of rejected rows.
pub(super) const QUARANTINE: &str = "_quarantine";

/// One table's folder.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    reads: AtomicU64,
}

/// What became of a put-if-absent.
#[derive(Debug)]
pub(super) enum Put {
    /// The file is there, whole and durable.
    Created,
    /// The name was taken.
    Exists,
    /// It may be there now or after a power cut, or not: only a read after opening the lake anew
    /// tells.
    Doubtful(LakeError),
}

impl Store {
    /// The folder with its sub-folders, created where they are missing.
    pub fn create(root: &Path) -> Result<Self, LakeError> {
        let root = std::path::absolute(root)
            .map_err(|source| LakeError::io("resolution", root, source))?;
        let store = Self {
            root,
            reads: AtomicU64::new(0),
        };
        for folder in ["", LOG, STAGING, QUARANTINE] {
            store.create_folder(folder)?;
        }
        Ok(store)
    }

    /// The folder as it is; nothing is created.
    pub fn existing(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            reads: AtomicU64::new(0),
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file's place on the disk.
    pub fn path(&self, relative: &str) -> PathBuf {
        if relative.is_empty() {
            self.root.clone()
        } else {
            self.root.join(relative)
        }
    }

    /// Files that were looked for by [`Store::read`] so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// A file's bytes; `None` when there is none.
    pub fn read(&self, relative: &str) -> Result<Option<Vec<u8>>, LakeError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        match fs::read(self.path(relative)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LakeError::io("reading", self.path(relative), error)),
        }
    }

    /// Makes a file appear whole under its name, unless the name is taken. An error means that it
    /// certainly did not.
    pub fn put_if_absent(
        &self,
        relative: &str,
        temporary: &str,
        bytes: &[u8],
    ) -> Result<Put, LakeError> {
        let (path, temporary) = (self.path(relative), self.path(temporary));
        let _removed_at_the_end = self.write_temporary(&temporary, bytes)?;
        match fs::hard_link(&temporary, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Put::Exists),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Unsupported | ErrorKind::CrossesDevices
                ) =>
            {
                return Err(LakeError::Unsupported {
                    path,
                    source: error,
                });
            }
            Err(error) => return Ok(Put::Doubtful(LakeError::io("creation", path, error))),
        }
        match sync_folder(path.parent().expect("a file stands in the table's folder")) {
            Ok(()) => Ok(Put::Created),
            Err(error) => Ok(Put::Doubtful(error)),
        }
    }

    /// Puts a file in the place of the one that has its name, in one step.
    pub fn replace(&self, relative: &str, temporary: &str, bytes: &[u8]) -> Result<(), LakeError> {
        let (path, temporary) = (self.path(relative), self.path(temporary));
        let written = self.write_temporary(&temporary, bytes)?;
        fs::rename(&temporary, &path)
            .map_err(|source| LakeError::io("replacement", &path, source))?;
        written.disarm();
        sync_folder(path.parent().expect("a file stands in the table's folder"))
    }

    /// Does once what a commit does, with a file of no meaning: put-if-absent and rename; nothing
    /// stays.
    pub fn probe(&self) -> Result<(), LakeError> {
        let [first, second] =
            ["first", "second"].map(|name| format!(".inlet-check-{}-{name}", std::process::id()));
        let litter = [&first, &second].map(|name| Litter::new(self.path(name)));
        let temporary = format!("{first}-temporary");
        match self.put_if_absent(&first, &temporary, b"inlet check")? {
            Put::Doubtful(error) => return Err(error),
            Put::Created | Put::Exists => {}
        }
        self.rename(&first, &second)?;
        self.sync("")?;
        drop(litter);
        Ok(())
    }

    /// Moves a file; false when there is none under the old name. Durable after [`Store::sync`] of
    /// the new folder.
    pub fn rename(&self, from: &str, to: &str) -> Result<bool, LakeError> {
        match fs::rename(self.path(from), self.path(to)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(LakeError::io("renaming", self.path(to), source)),
        }
    }

    /// Creates a folder, parents included, durably.
    pub fn create_folder(&self, relative: &str) -> Result<(), LakeError> {
        create_folder(&self.path(relative))
    }

    /// Creates folders right below the table's folder, durably.
    pub fn create_folders(&self, names: &[&str]) -> Result<(), LakeError> {
        for path in names.iter().map(|name| self.path(name)) {
            match fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
                Err(source) => return Err(LakeError::io("creation", path, source)),
            }
        }
        // Also when all were there: their maker may have died before its own sync.
        if names.is_empty() {
            Ok(())
        } else {
            self.sync("")
        }
    }

    /// Makes the names in several folders durable.
    pub fn sync_folders(&self, names: &[&str]) -> Result<(), LakeError> {
        side_by_side(names, |name| self.sync(name))
    }

    /// Makes the names in a folder durable.
    pub fn sync(&self, folder: &str) -> Result<(), LakeError> {
        sync_folder(&self.path(folder))
    }

    /// A file's size; `None` when there is none.
    pub fn size(&self, relative: &str) -> Result<Option<u64>, LakeError> {
        match fs::metadata(self.path(relative)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LakeError::io("inspection", self.path(relative), error)),
        }
    }

    /// The names in a folder; none when it does not exist.
    pub fn list(&self, folder: &str) -> Result<Vec<String>, LakeError> {
        let path = self.path(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(LakeError::io("listing", path, source)),
        };
        let names = entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        names
            .collect::<io::Result<_>>()
            .map_err(|source| LakeError::io("listing", path, source))
    }

    /// Removes a file that nothing mentions; one that is gone already is fine, and one that stays
    /// is only litter.
    pub fn remove_litter(&self, relative: &str) {
        remove_litter(&self.path(relative));
    }

    fn write_temporary(&self, path: &Path, bytes: &[u8]) -> Result<Litter, LakeError> {
        let mut file =
            File::create_new(path).map_err(|source| LakeError::io("creation", path, source))?;
        let litter = Litter::new(path.to_owned());
        file.write_all(bytes)
            .map_err(|source| LakeError::io("writing", path, source))?;
        file.sync_all()
            .map_err(|source| LakeError::io("sync", path, source))?;
        Ok(litter)
    }
}

/// A file that is removed when this is dropped, unless it was disarmed.
#[derive(Debug)]
pub(super) struct Litter(Option<PathBuf>);

impl Litter {
    pub fn new(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// The file stays.
    pub fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Litter {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            remove_litter(path);
        }
    }
}

fn remove_litter(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %path.display(), %error, "an unused file stays behind"),
    }
}

/// Makes files durable, given with their names. A disk takes many syncs in the time of one when
/// they come together.
pub(super) fn sync_files(files: &[(&str, File)]) -> Result<(), LakeError> {
    side_by_side(files, |(name, file)| {
        file.sync_all()
            .map_err(|source| LakeError::io("sync", *name, source))
    })
}

/// Does the same with each item, on several threads; the first failure counts, and what has not
/// begun by then is left out.
fn side_by_side<T: Sync>(
    items: &[T],
    act: impl Fn(&T) -> Result<(), LakeError> + Sync,
) -> Result<(), LakeError> {
    if let [item] = items {
        return act(item);
    }
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = act(item) {
                next.store(items.len(), Ordering::Relaxed);
                failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(error);
            }
        }
    };
    std::thread::scope(|threads| {
        (0..items.len().min(SYNCS_AT_ONCE_MAX)).for_each(|_| _ = threads.spawn(work));
    });
    failure
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

fn create_folder(path: &Path) -> Result<(), LakeError> {
    match fs::create_dir(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(LakeError::io(
            "creation",
            path,
            io::Error::from(ErrorKind::NotADirectory),
        )),
        Err(error)
            if error.kind() == ErrorKind::NotFound
                && path.parent().is_some_and(|parent| !parent.exists()) =>
        {
            create_folder(path.parent().expect("it was asked for just before"))?;
            create_folder(path)
        }
        Err(source) => Err(LakeError::io("creation", path, source)),
    }
}

fn sync_parent(path: &Path) -> Result<(), LakeError> {
    path.parent().map_or(Ok(()), sync_folder)
}

fn sync_folder(path: &Path) -> Result<(), LakeError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| LakeError::io("sync", path, source))
}

/// Who may write to a path, or to the nearest folder above it that exists, and who we are.
pub(super) fn ownership(path: &Path) -> String {
    let found = path
        .ancestors()
        .find_map(|path| fs::metadata(path).ok().map(|metadata| (path, metadata)));
    let us = fs::metadata("/proc/self")
        .map(|metadata| format!("this process runs as uid {}", metadata.uid()));
    let us = us.unwrap_or_else(|_| "this process runs as another user".to_owned());
    match found {
        Some((path, metadata)) => {
            format!(
                "`{}` belongs to uid {} with mode {:04o}, {us}",
                path.display(),
                metadata.uid(),
                metadata.mode() & 0o7777
            )
        }
        None => us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("deep/er/lake")).unwrap();
        (folder, store)
    }

    #[test]
    fn a_name_is_given_once_and_no_temporary_file_stays() {
        let (_folder, store) = store();
        assert!(matches!(
            store.put_if_absent("_log/1.json", "_staging/a", b"first"),
            Ok(Put::Created)
        ));
        assert!(matches!(
            store.put_if_absent("_log/1.json", "_staging/b", b"second"),
            Ok(Put::Exists)
        ));
        assert_eq!(
            store.read("_log/1.json").unwrap().as_deref(),
            Some(b"first".as_slice())
        );
        assert_eq!(store.list(STAGING).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_folder_below_a_file_cannot_be_a_lake() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), b"x").unwrap();
        assert!(matches!(
            Store::create(&folder.path().join("file/lake")),
            Err(LakeError::NotWritable { .. })
        ));
        assert!(matches!(
            Store::create(&folder.path().join("file")),
            Err(LakeError::NotWritable { .. })
        ));
    }
}
