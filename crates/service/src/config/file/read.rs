//! Reads a small text file whole.

use std::path::Path;
use std::{fs, io};

/// A larger file is neither a configuration nor a password, an address or a key.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Explains why there is no text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("{0}")]
    Failed(#[from] io::Error),
    #[error("larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("not UTF-8")]
    NotText,
}

/// Returns the file's text.
pub(crate) fn read(path: &Path) -> Result<String, Unreadable> {
    // A pipe or a terminal has no length before it is read.
    let about = fs::metadata(path)?;
    if about.is_file() && about.len() > FILE_BYTES_MAX {
        return Err(Unreadable::TooLarge);
    }
    String::from_utf8(fs::read(path)?).map_err(|_| Unreadable::NotText)
}
