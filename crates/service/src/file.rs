//! Files that appear whole or not at all, durably.
//!
//! The order of steps is what a power cut asks for: the bytes are synced before the file gets its
//! name, and the folder is synced after it, because a name lives in its folder.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::{NamedTempFile, TempPath};

/// The permissions of a new file, before the umask; `tempfile` alone would hide it from other
/// users.
const READABLE: u32 = 0o666;

/// Writes a new file under a temporary name, durable but for the name. The file is removed when the
/// answer is dropped.
pub fn write_temporary(path: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let file = File::create_new(path)?;
    let mut temporary = NamedTempFile::from_parts(file, TempPath::try_from_path(path)?);
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

/// Gives a temporary file its name, in place of the file that has it, durably.
pub fn persist(temporary: NamedTempFile, path: &Path) -> io::Result<()> {
    temporary.persist(path)?;
    sync_folder(folder_of(path))
}

/// Replaces a file, or creates it; readers see the old bytes or the new ones. Missing folders above
/// it are created.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    fs::create_dir_all(folder)?;
    // A rename is atomic only within one file system, so the temporary file is a neighbour.
    let mut temporary = tempfile::Builder::new()
        .prefix(".inlet-")
        .permissions(Permissions::from_mode(READABLE))
        .tempfile_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    persist(temporary, path)
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below/copy.json");
        for text in ["first", "second, longer"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(
            fs::read_dir(folder.path().join("below")).unwrap().count(),
            1
        );
    }

    #[test]
    fn other_users_may_read_a_file_as_far_as_the_umask_lets_them() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, b"").unwrap();
        let ours = folder.path().join("ours");
        replace(&ours, b"").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    fn a_temporary_file_that_is_dropped_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("temporary");
        drop(write_temporary(&path, b"x").unwrap());
        assert!(!path.exists());
    }
}
