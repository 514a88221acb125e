//! Taking kafka_partitions over from their owner.
//!
//! The log decides who owns a kafka_partition: the writer of the entry with its highest epoch. The
//! writers do not talk to each other, and the protocol uses no clock:
//!
//! 1. The new owner publishes what its own earlier commits left, as before every commit.
//! 2. It appends an entry that gives it each kafka_partition with the next epoch. From here on an
//!    entry of the former owner for them is refused ([`LakeError::Fenced`]), because it carries the
//!    older epoch. An entry that the former owner appended first is part of the log: the append
//!    reads it and tries the next number.
//! 3. It publishes the last commits of all others, which may have died right after their entry, so
//!    that readers see every row below the offset from which it now continues.
//! 4. It continues at the offsets of the head. What the former owner had staged is never committed;
//!    it stays invisible until the former owner ends and another writer removes it.

use std::collections::BTreeMap;

use inlet_model::KafkaPartition;

use super::entry::Entry;
use super::head::{Head, PartitionHead};
use super::log::Log;
use super::publish::publish_pending;
use crate::error::LakeError;
use crate::folder::Folder;

/// The kafka_partitions to take over, each with the epoch under which this process owned it last.
/// Where one is given, a kafka_partition that another process took since is not taken back.
pub(crate) type TakeOver = BTreeMap<KafkaPartition, Option<u64>>;

/// Takes kafka_partitions over; returns the head of each, with the new epoch.
pub(crate) fn take_over(
    folder: &Folder,
    log: &mut Log,
    wanted: &TakeOver,
) -> Result<BTreeMap<KafkaPartition, PartitionHead>, LakeError> {
    // An entry without a kafka_partition would change nothing and cost two syncs.
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let claim = &folder.claim;
    publish_pending(log, claim, |writer| writer == claim.writer())?;
    let commit_id = uuid::Uuid::new_v4().to_string();
    log.append(&folder.claim, |head| {
        entry_of(folder, head, wanted, &commit_id)
    })?;
    publish_pending(log, claim, |_| true)?;
    let heads = wanted.keys();
    Ok(heads
        .map(|partition| (*partition, log.head.partition(*partition)))
        .collect())
}

fn entry_of(
    folder: &Folder,
    head: &Head,
    wanted: &TakeOver,
    commit_id: &str,
) -> Result<Entry, LakeError> {
    // Checked in the entry that fences: a process in the wrong lake must not stop its owner.
    folder.check(head)?;
    let mut entry = Entry::new(&folder.options.table, folder.claim.writer(), commit_id);
    entry.numbering = Some(folder.options.numbering);
    for (partition, owned) in wanted {
        if let Some(epoch) = owned {
            head.admit_epoch(*partition, *epoch)?;
        }
        // Computed on the head of this attempt: another writer may have taken it since the last
        // one.
        let next = head.partition(*partition).epoch + 1;
        entry.acquired.insert(*partition, next);
    }
    Ok(entry)
}
