//! One table's folder as one writer holds it.

use std::path::Path;
use std::sync::Arc;

use crate::commit::{Claim, Head};
use crate::error::LakeError;
use crate::files::Store;
use crate::options::LakeOptions;

#[derive(Debug)]
pub(crate) struct Folder {
    pub store: Arc<Store>,
    pub claim: Claim,
    pub options: LakeOptions,
}

impl Folder {
    /// Creates what is missing, and makes this process a writer of the folder.
    pub fn open(path: &Path, options: LakeOptions) -> Result<Self, LakeError> {
        let store = Arc::new(Store::create(path)?);
        let claim = Claim::new(store.clone())?;
        Ok(Self {
            store,
            claim,
            options,
        })
    }

    /// Checks that this process may write after `head`.
    pub fn check(&self, head: &Head) -> Result<(), LakeError> {
        let options = &self.options;
        head.check_writer(self.store.root(), &options.table, options.numbering)
    }

    pub fn batch_error(&self, reason: impl Into<String>) -> LakeError {
        LakeError::batch(&self.options.table, reason)
    }
}

/// A folder without a disk, where there is one: a property test syncs thousands of files.
#[cfg(test)]
pub(crate) fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary folder")
}
