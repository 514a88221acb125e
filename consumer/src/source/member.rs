//! A name in the group that outlives the process.
//!
//! A group waits for a member that died until its session has ended, unless the member comes back
//! under the same name (static membership, KIP-345). All members of the group write into the same
//! lake folder, so the folder gives out the names: whoever holds the operating system's lock on
//! `_members/<n>.lock` is member `n`. The lock goes with the process, however it ends, and the next
//! one takes the place at once.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// More members than a topic has kafka_partitions are of no use.
const MEMBERS_MAX: u32 = 1024;
const MEMBERS: &str = "_members";

/// A place in the group, held as long as this lives.
#[derive(Debug)]
pub(super) struct Member {
    number: u32,
    _lock: File,
}

impl Member {
    /// Takes the first free place; `None` when the folder gives none, which only makes a restart
    /// slower.
    pub fn take(folder: &Path) -> Option<Self> {
        Self::first_free(&folder.join(MEMBERS)).unwrap_or_else(|error| {
            tracing::debug!(folder = %folder.display(), %error, "no lasting place in the group");
            None
        })
    }

    /// The member's `group.instance.id`.
    pub fn instance(&self, group: &str) -> String {
        format!("{group}-{}", self.number)
    }

    fn first_free(folder: &Path) -> io::Result<Option<Self>> {
        fs::create_dir_all(folder)?;
        for number in 0..MEMBERS_MAX {
            let lock = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(folder.join(format!("{number}.lock")))?;
            match lock.try_lock() {
                Ok(()) => {
                    return Ok(Some(Self {
                        number,
                        _lock: lock,
                    }));
                }
                Err(fs::TryLockError::WouldBlock) => {}
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_a_place_and_a_free_place_is_taken_again() {
        let folder = tempfile::tempdir().unwrap();
        let take = || Member::take(folder.path()).unwrap();
        let (first, second) = (take(), take());
        assert_eq!(
            (first.instance("g"), second.instance("g")),
            ("g-0".to_owned(), "g-1".to_owned())
        );
        drop(first);
        assert_eq!(take().number, 0);
    }

    #[test]
    fn without_a_folder_there_is_no_place() {
        assert!(Member::take(Path::new("/dev/null")).is_none());
    }
}
