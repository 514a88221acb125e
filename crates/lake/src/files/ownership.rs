//! Who may write to a path, for the message about a folder that is not writable.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The owner of a path, or of the nearest folder above it that exists, and the user of this
/// process.
pub(crate) fn ownership(path: &Path) -> String {
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
