//! One table's folder as one writer holds it.

use std::path::Path;
use std::sync::Arc;

use crate::commit::Claim;
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

    pub fn batch_error(&self, reason: impl Into<String>) -> LakeError {
        LakeError::batch(&self.options.table, reason)
    }
}
