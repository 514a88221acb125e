//! A name in the group that outlives the process.
//!
//! A group waits for a dead member until its session ends, unless the member returns with the same
//! name (static membership, KIP-345). All members of the group write into the same lake folder, so
//! the folder assigns the names: the process that holds the operating system's lock on
//! `_members/<n>.lock` is member `n`. The system releases the lock when the process ends, however
//! it ends, and the next process claims the place at once.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// A topic has fewer kafka_partitions, and further members would have none.
const MEMBERS_MAX: u32 = 1024;
const MEMBERS: &str = "_members";

/// A place in the group, held until it is dropped.
#[derive(Debug)]
pub(super) struct Member {
    number: u32,
    _lock: File,
}

impl Member {
    /// Claims the first free place. `None` only makes a restart slower.
    pub fn claim(folder: &Path) -> Option<Self> {
        Self::first_free(&folder.join(MEMBERS)).unwrap_or_else(|error| {
            tracing::debug!(folder = %folder.display(), %error, "this member has no lasting name \
                in the group");
            None
        })
    }

    pub fn instance(&self, group: &str) -> String {
        format!("{group}-{}", self.number)
    }

    fn first_free(folder: &Path) -> io::Result<Option<Self>> {
        fs::create_dir_all(folder)?;
        for number in 0..MEMBERS_MAX {
            let lock = File::options()
                .create(true)
                // Only the lock counts. Truncating would touch the file of a member that holds it.
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
    fn each_member_has_a_place_and_a_free_place_is_claimed_again() {
        let folder = tempfile::tempdir().unwrap();
        let claim = || Member::claim(folder.path()).unwrap();
        let (first, second) = (claim(), claim());
        assert_eq!(
            (first.instance("g"), second.instance("g")),
            ("g-0".to_owned(), "g-1".to_owned())
        );
        drop(first);
        assert_eq!(claim().number, 0);
    }

    #[test]
    fn without_a_folder_there_is_no_place() {
        assert!(Member::claim(Path::new("/dev/null")).is_none());
    }
}
