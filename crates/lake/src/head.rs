//! What the log says in sum: where every kafka_partition stands, who owns it, and the poller's
//! progress.
//!
//! Pure: entries in, head out. The checkpoint of the log is a head as JSON.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use inlet_model::Progress;
use inlet_model::{Fingerprint, TableName, TableSchema};
use inlet_model::{KafkaPartition, Offset, OffsetRange};
use serde::{Deserialize, Serialize};

use super::entry::{Covered, Entry};
use super::error::LakeError;

/// The state of a table's lake after its last entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The table that the folder holds.
    pub table: TableName,
    /// The number of the last entry; 0 for an empty lake.
    pub seq: u64,
    /// Where each kafka_partition stands.
    pub offsets: BTreeMap<KafkaPartition, PartitionHead>,
    /// The poller's progress, when the lake holds it.
    pub progress: Progress,
    /// Every schema that a file was written with, by fingerprint.
    pub schemas: BTreeMap<String, TableSchema>,
    /// The key of the date_partition folders, once there are any.
    pub date_key: Option<String>,
    /// Rows in the data files.
    pub rows: u64,
    /// Data files.
    pub files: u64,
    /// Bytes of the data files.
    pub bytes: u64,
    /// Rows in quarantine.
    pub quarantined: u64,
    /// When the last entry was written, by its writer's clock.
    pub committed_at: Option<DateTime<Utc>>,
}

/// Where a kafka_partition stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionHead {
    /// The next offset to read; `None` before the first commit: start at the topic's beginning.
    pub next: Option<Offset>,
    /// Whoever took it last owns it; 0 for nobody.
    pub epoch: u64,
    /// The sequence that the next record must carry.
    pub sequence: u64,
}

impl Head {
    /// The head of an empty lake.
    pub fn empty(table: &TableName) -> Self {
        Self {
            table: table.clone(),
            seq: 0,
            offsets: BTreeMap::new(),
            progress: Progress::default(),
            schemas: BTreeMap::new(),
            date_key: None,
            rows: 0,
            files: 0,
            bytes: 0,
            quarantined: 0,
            committed_at: None,
        }
    }

    /// Where a kafka_partition stands; the default for one that no entry names.
    pub fn partition(&self, partition: KafkaPartition) -> PartitionHead {
        self.offsets.get(&partition).copied().unwrap_or_default()
    }

    /// True when a file was written with this schema.
    pub fn knows(&self, fingerprint: Fingerprint) -> bool {
        self.schemas.contains_key(&fingerprint.to_string())
    }

    /// Whether a batch may be committed here: it must start where the log ends, under an epoch that
    /// is still the newest.
    pub(super) fn admit(
        &self,
        partition: KafkaPartition,
        covered: &Covered,
    ) -> Result<(), LakeError> {
        self.admit_epoch(partition, covered.epoch)?;
        let range = OffsetRange {
            from: covered.from,
            next: covered.next,
        };
        match self.partition(partition).next {
            Some(next) if next != covered.from => Err(LakeError::Conflict {
                table: self.table.clone(),
                partition,
                range,
                head: next,
                seq: self.seq,
            }),
            _ => Ok(()),
        }
    }

    /// Whether `epoch` still owns the kafka_partition.
    pub(super) fn admit_epoch(
        &self,
        partition: KafkaPartition,
        epoch: u64,
    ) -> Result<(), LakeError> {
        let owner = self.partition(partition).epoch;
        if owner == epoch {
            return Ok(());
        }
        Err(LakeError::Fenced {
            table: self.table.clone(),
            partition,
            epoch,
            owner,
        })
    }

    /// The head after one more entry; an entry that does not follow is a corrupt log.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), LakeError> {
        self.follows(entry).map_err(|reason| LakeError::Corrupt {
            entry: Entry::name(entry.seq),
            reason,
        })?;
        for (partition, epoch) in &entry.acquired {
            self.offsets.entry(*partition).or_default().epoch = *epoch;
        }
        for (partition, covered) in &entry.offsets {
            let head = self.offsets.entry(*partition).or_default();
            head.next = Some(covered.next);
            head.sequence = covered.sequence;
        }
        self.progress.apply(entry.progress.clone());
        self.schemas.extend(entry.schemas.clone());
        if self.date_key.is_none() {
            self.date_key.clone_from(&entry.date_key);
        }
        self.seq = entry.seq;
        self.rows += entry.rows;
        self.files += entry.files.len() as u64;
        self.bytes += entry.files.iter().map(|file| file.bytes).sum::<u64>();
        self.quarantined += entry.quarantined;
        self.committed_at = Some(entry.committed_at);
        Ok(())
    }

    /// Whether an entry may stand behind this head; else why not.
    pub(super) fn follows(&self, entry: &Entry) -> Result<(), String> {
        if entry.seq != self.seq + 1 {
            return Err(format!(
                "it says that it is entry {}, behind entry {}",
                entry.seq, self.seq
            ));
        }
        if entry.table != self.table {
            return Err(format!(
                "it is of table `{}`, the log is of `{}`",
                entry.table, self.table
            ));
        }
        for (partition, epoch) in &entry.acquired {
            let owner = self.partition(*partition).epoch;
            if *epoch <= owner {
                return Err(format!(
                    "it takes kafka_partition {} with epoch {epoch}, the owner has {owner}",
                    partition.0
                ));
            }
        }
        for (partition, covered) in &entry.offsets {
            self.admit(*partition, covered)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, from: i64, next: i64, epoch: u64) -> Entry {
        let mut entry = Entry::new(&TableName::new("public", "orders"), "w", "c");
        entry.seq = seq;
        entry.offsets.insert(
            KafkaPartition(0),
            Covered {
                from: Offset(from),
                next: Offset(next),
                epoch,
                sequence: next as u64,
            },
        );
        entry
    }

    fn head() -> Head {
        Head::empty(&TableName::new("public", "orders"))
    }

    #[test]
    fn the_first_entry_may_start_anywhere_and_the_next_must_follow() {
        let mut head = head();
        head.apply(&entry(1, 7, 9, 0)).unwrap();
        assert!(matches!(
            head.apply(&entry(2, 10, 12, 0)),
            Err(LakeError::Corrupt { .. })
        ));
        head.apply(&entry(2, 9, 12, 0)).unwrap();
        assert_eq!(head.partition(KafkaPartition(0)).next, Some(Offset(12)));
    }

    #[test]
    fn an_older_epoch_is_fenced() {
        let mut head = head();
        let mut take = Entry::new(&head.table, "w", "c");
        take.seq = 1;
        take.acquired.insert(KafkaPartition(0), 3);
        head.apply(&take).unwrap();
        let covered = Covered {
            from: Offset(0),
            next: Offset(1),
            epoch: 2,
            sequence: 1,
        };
        assert!(matches!(
            head.admit(KafkaPartition(0), &covered),
            Err(LakeError::Fenced {
                epoch: 2,
                owner: 3,
                ..
            })
        ));
    }

    #[test]
    fn a_missing_entry_is_a_corrupt_log() {
        assert!(matches!(
            head().apply(&entry(2, 0, 1, 0)),
            Err(LakeError::Corrupt { .. })
        ));
    }
}
