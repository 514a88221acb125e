//! Several files at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::LakeError;

/// Syncs that run at once; more bring nothing on any disk that we measured.
const SYNCS_AT_ONCE_MAX: usize = 16;

/// Does the same with each item, on several threads. The first failure is returned; items that have
/// not started by then are skipped.
pub(crate) fn side_by_side<T: Sync>(
    items: &[T],
    act: impl Fn(&T) -> Result<(), LakeError> + Sync,
) -> Result<(), LakeError> {
    // The usual commit has one file, which is not worth a thread.
    if let [item] = items {
        return act(item);
    }
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = act(item) {
                // No thread starts another item: the commit fails anyway.
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
