//! The log's checkpoint: the head after some entry, so that opening reads a bounded tail of the
//! log.
//!
//! Stored as `_log/_checkpoint.json`. It is derived: without it, or with an unreadable one, the log
//! is read from its beginning.

use inlet_model::TableName;

use super::entry::Entry;
use super::head::Head;
use crate::error::LakeError;
use crate::files::Store;
use crate::files::names::CHECKPOINT;

/// Reads the checkpoint; `None` when there is no readable one.
pub(super) fn read(store: &Store) -> Result<Option<Head>, LakeError> {
    // The checkpoint is derived from the entries, so a missing or damaged one only costs time.
    let Some(bytes) = store.read(CHECKPOINT)? else {
        return Ok(None);
    };
    match decode(&bytes) {
        Ok(head) => Ok(Some(head)),
        Err(error) => {
            tracing::warn!(
                folder = %store.root().display(), %error,
                "the log's checkpoint is unreadable; reading the log from its beginning"
            );
            Ok(None)
        }
    }
}

/// Reads the checkpoint to compare it: `None` when it is missing, `Some(None)` when it is
/// unreadable.
pub(super) fn inspect(store: &Store) -> Result<Option<Option<Head>>, LakeError> {
    let bytes = store.read(CHECKPOINT)?;
    Ok(bytes.map(|bytes| decode(&bytes).ok()))
}

pub(super) fn write(store: &Store, temporary: &str, head: &Head) -> Result<(), LakeError> {
    store.replace(CHECKPOINT, temporary, &encode(head))
}

/// The table of the checkpoint.
pub(super) fn table(store: &Store) -> Result<Option<TableName>, LakeError> {
    // A checkpoint names its table as an entry does.
    let bytes = store.read(CHECKPOINT)?;
    Ok(bytes.and_then(|bytes| Entry::decode_table(&bytes)))
}

fn encode(head: &Head) -> Vec<u8> {
    serde_json::to_vec(head).expect("a head of strings and numbers is JSON")
}

fn decode(bytes: &[u8]) -> Result<Head, serde_json::Error> {
    serde_json::from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use inlet_model::{KafkaPartition, Offset, ProgressDelta};
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::super::entry::{Covered, DataFile};
    use super::super::head::PartitionHead;
    use super::*;

    /// What an entry does: it covers rows of a kafka_partition, takes it over, adds files, stores
    /// progress.
    type Act = (i32, i64, bool, Vec<u64>, Vec<(String, Option<String>)>);

    fn act() -> impl Strategy<Value = Act> {
        let parts = vec(("[ab]", option::of("[xy]")), 0..3);
        (
            0..3_i32,
            0..5_i64,
            any::<bool>(),
            vec(0..1_u64 << 40, 0..3),
            parts,
        )
    }

    fn entry((partition, rows, takes_over, files, parts): Act, head: &Head) -> Entry {
        let partition = KafkaPartition(partition);
        let known = head.partition(partition);
        let mut entry = Entry::new(&head.table, "w", "c");
        entry.seq = head.seq + 1;
        if takes_over {
            entry.acquired.insert(partition, known.epoch + 1);
        } else {
            let from = known.next.unwrap_or(Offset(7));
            let next = Offset(from.0 + rows);
            let (epoch, sequence) = (known.epoch, next.0 as u64);
            entry.offsets.insert(
                partition,
                Covered {
                    from,
                    next,
                    epoch,
                    sequence,
                },
            );
        }
        entry.rows = rows as u64;
        entry.files = files
            .into_iter()
            .map(|bytes| DataFile {
                path: format!("date=2026-11-20/{bytes}.parquet"),
                staged: format!("_staging/{bytes}"),
                rows: 1,
                bytes,
                ..DataFile::default()
            })
            .collect();
        entry.date_key = (!entry.files.is_empty()).then(|| "date".to_owned());
        entry.progress = ProgressDelta(parts.into_iter().collect());
        entry
    }

    proptest! {
        #[test]
        fn a_checkpoint_reads_back(
            name in ".*",
            counts in any::<[u64; 5]>(),
            offsets in btree_map(0..100_i32, (option::of(0..i64::MAX), any::<[u64; 2]>()), 0..4),
            progress in btree_map(".*", ".*", 0..4),
            date_key in option::of(".*"),
            committed_at in option::of(0..4_000_000_000_i64),
        ) {
            let mut head = Head::empty(&TableName::new("public", name));
            [head.seq, head.rows, head.files, head.bytes, head.quarantined] = counts;
            head.offsets = offsets
                .into_iter()
                .map(|(partition, (next, [epoch, sequence]))| {
                    let next = next.map(Offset);
                    (KafkaPartition(partition), PartitionHead { next, epoch, sequence })
                })
                .collect();
            head.progress.0 = progress;
            head.date_key = date_key;
            head.committed_at =
                committed_at.and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
            let bytes = encode(&head);
            prop_assert_eq!(Entry::decode_table(&bytes), Some(head.table.clone()));
            prop_assert_eq!(decode(&bytes).unwrap(), head);
        }

        /// The head after each entry is the same, whether it is read from the beginning or from a
        /// checkpoint at any point before.
        #[test]
        fn a_checkpoint_and_the_entries_after_it_are_the_whole_log(
            acts in vec(act(), 0..20), at in any::<Index>(),
        ) {
            let table = TableName::new("public", "orders");
            let (mut whole, mut resumed) = (Head::empty(&table), Head::empty(&table));
            let cut = at.index(acts.len() + 1);
            for (number, act) in acts.into_iter().enumerate() {
                if number == cut {
                    resumed = decode(&encode(&resumed)).unwrap();
                }
                let entry = entry(act, &whole);
                whole.apply(&entry).unwrap();
                let stored = Entry::decode(&entry.encode()).unwrap();
                resumed.apply(&stored).unwrap();
                prop_assert_eq!(&resumed, &whole);
            }
        }
    }
}
