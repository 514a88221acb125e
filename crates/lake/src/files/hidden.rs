//! A folder that readers cannot reach, to put together in it what takes the place of a visible one.
//!
//! A pattern such as `<table>/**/*.parquet` enters every folder below the table's, whatever it is
//! called. The folder here is below a chain of others, so that its path is longer than the kernel
//! takes (4,096 bytes), so that a reader, which names files by their paths, finds an empty branch.
//! This program walks along open folders and needs no path.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RenameFlags, fchmod, fsync, linkat, mkdirat, openat, renameat_with,
};

/// Bytes of one name; the kernel takes 255.
const NAME_BYTES: usize = 240;
/// With the slashes, more than a path may have.
const DEPTH: usize = 18;
const NAME: &str = "next";

/// A hidden folder. Dropping it removes it with what it holds.
#[derive(Debug)]
pub(crate) struct HiddenFolder {
    top: PathBuf,
    /// The folder that holds the hidden one.
    bottom: OwnedFd,
    inner: OwnedFd,
}

impl HiddenFolder {
    /// Creates an empty hidden folder below `top`, which must not exist.
    pub fn create(top: &Path) -> io::Result<Self> {
        std::fs::create_dir(top)?;
        // From here on the folders are removed, also when the next steps fail.
        let guard = RemovedAtTheEnd(top.to_owned());
        let long = "x".repeat(NAME_BYTES);
        let mut bottom = open_folder_at(rustix::fs::CWD, top)?;
        for _ in 0..DEPTH {
            mkdirat(&bottom, &long, Mode::RWXU)?;
            bottom = open_folder_at(&bottom, &long)?;
        }
        // Readers of the lake may be other users than its writer: the folder gets the usual mode.
        mkdirat(&bottom, NAME, Mode::from_raw_mode(0o777))?;
        let inner = open_folder_at(&bottom, NAME)?;
        std::mem::forget(guard);
        Ok(Self {
            top: top.to_owned(),
            bottom,
            inner,
        })
    }

    /// Gives the folder the permissions of the one whose place it takes.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(fchmod(&self.inner, Mode::from_raw_mode(mode & 0o7777))?)
    }

    /// Gives a file another name in the folder.
    pub fn link(&self, file: &Path, name: &str) -> io::Result<()> {
        linkat(rustix::fs::CWD, file, &self.inner, name, AtFlags::empty())?;
        Ok(())
    }

    /// Makes the names in the folder durable.
    pub fn sync(&self) -> io::Result<()> {
        Ok(fsync(&self.inner)?)
    }

    /// Swaps this folder and a visible one in one step: a reader finds one of both under the
    /// visible path, at any moment.
    pub fn exchange(&self, visible: &Path) -> io::Result<()> {
        let flags = RenameFlags::EXCHANGE;
        renameat_with(&self.bottom, NAME, rustix::fs::CWD, visible, flags)?;
        Ok(())
    }

    /// Moves this folder to a path that nothing has.
    pub fn show(&self, visible: &Path) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        renameat_with(&self.bottom, NAME, rustix::fs::CWD, visible, flags)?;
        Ok(())
    }

    /// The names in the folder that is hidden now.
    pub fn names(&self) -> io::Result<Vec<CString>> {
        let hidden = open_folder_at(&self.bottom, NAME)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&hidden)? {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Gives a file of the folder that is hidden now a visible name.
    pub fn rescue(&self, name: &CString, visible: &Path) -> io::Result<()> {
        let hidden = open_folder_at(&self.bottom, NAME)?;
        linkat(&hidden, name, rustix::fs::CWD, visible, AtFlags::empty())?;
        Ok(())
    }

    /// Fails where the file system cannot swap two folders.
    pub fn probe(top: &Path) -> io::Result<()> {
        let hidden = Self::create(top)?;
        let other = top.join("other");
        std::fs::create_dir(&other)?;
        hidden.exchange(&other)
    }
}

impl Drop for HiddenFolder {
    fn drop(&mut self) {
        remove(&self.top);
    }
}

struct RemovedAtTheEnd(PathBuf);

impl Drop for RemovedAtTheEnd {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a hidden folder that a crash may have left.
pub(crate) fn remove(top: &Path) {
    // The standard library walks along open folders too, so the length of the path is no obstacle.
    match std::fs::remove_dir_all(top) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let path = top.display();
            tracing::warn!(%path, %error, "an unused folder could not be removed");
        }
    }
}

fn open_folder_at<P: rustix::path::Arg>(
    folder: impl rustix::fd::AsFd,
    name: P,
) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Every file that a walk over paths reaches, as a reader's pattern does.
    fn reached(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .flat_map(|entry| match fs::metadata(entry.path()) {
                Ok(of) if of.is_dir() => reached(&entry.path()),
                Ok(_) => vec![entry.path()],
                Err(_) => Vec::new(),
            })
            .collect()
    }

    #[test]
    fn no_path_reaches_a_hidden_file_and_a_swap_shows_it() {
        let folder = tempfile::tempdir().unwrap();
        let (visible, top) = (folder.path().join("date=1"), folder.path().join("hidden"));
        fs::create_dir(&visible).unwrap();
        fs::write(visible.join("old.parquet"), "old").unwrap();
        fs::write(folder.path().join("staged"), "new").unwrap();
        let hidden = HiddenFolder::create(&top).unwrap();
        let staged = folder.path().join("staged");
        hidden.link(&staged, "new.parquet").unwrap();
        fs::remove_file(staged).unwrap();
        assert_eq!(reached(folder.path()), [visible.join("old.parquet")]);
        hidden.sync().unwrap();
        hidden.exchange(&visible).unwrap();
        assert_eq!(reached(folder.path()), [visible.join("new.parquet")]);
        assert_eq!(hidden.names().unwrap(), [c"old.parquet".to_owned()]);
        hidden
            .rescue(&c"old.parquet".to_owned(), &visible.join("old.parquet"))
            .unwrap();
        drop(hidden);
        assert!(!top.exists());
        assert_eq!(reached(folder.path()).len(), 2);
        HiddenFolder::probe(&top).unwrap();
        assert!(!top.exists());
    }
}
