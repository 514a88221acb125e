//! The log in sum: the next offset and the owner of every kafka_partition, and the poller's
//! progress.
//!
//! Pure: entries in, head out. [`Head::admit`] decides whether a batch may be committed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, Utc};
use inlet_model::{
    Fingerprint, KafkaPartition, Offset, OffsetRange, Progress, TableName, TableSchema,
};
use serde::{Deserialize, Serialize};

use super::entry::{Covered, Entry, Expired, LatestSchema};
use super::naming::{self, ColumnNames, NameInFiles};
use super::numbering::Numbering;
use crate::error::LakeError;
use crate::files::names::{self, is_data};

/// The state of a table's lake after its last entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The table of the folder.
    pub table: TableName,
    /// The number of the last entry; 0 for an empty lake.
    pub seq: u64,
    /// The position and the owner of each kafka_partition.
    pub offsets: BTreeMap<KafkaPartition, PartitionHead>,
    /// The poller's progress; empty in a lake that a consumer writes.
    pub progress: Progress,
    /// The numbering that the log states; see [`Head::numbering`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stated_numbering: Option<Numbering>,
    /// The schemas of all files, by fingerprint.
    pub schemas: BTreeMap<Fingerprint, TableSchema>,
    /// The schema of the rows that were found last; see [`Head::latest_schema`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latest: Option<LatestSchema>,
    /// The names of columns in files; see [`Head::names_in_files`].
    #[serde(default, skip_serializing_if = "ColumnNames::is_empty")]
    pub(crate) names: ColumnNames,
    /// The key of the date_partition folders; `None` before the first data file.
    pub date_key: Option<String>,
    /// The date_partitions whose rows have left, because they were older than the table keeps.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub expired_dates: BTreeSet<String>,
    /// Rows in the data files.
    pub rows: u64,
    /// The number of data files.
    pub files: u64,
    /// Bytes of the data files.
    pub bytes: u64,
    /// The number of rows in the quarantine files.
    pub quarantined: u64,
    /// The time of the last entry that did more than merge or remove files, by its writer's clock.
    pub committed_at: Option<DateTime<Utc>>,
}

/// The position and the owner of a kafka_partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionHead {
    /// The next offset to read; `None` before the first commit, when reading starts at the topic's
    /// beginning.
    pub next: Option<Offset>,
    /// The epoch of the owner, which took it over last; 0 without an owner.
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
            stated_numbering: None,
            schemas: BTreeMap::new(),
            latest: None,
            names: ColumnNames::default(),
            date_key: None,
            expired_dates: BTreeSet::new(),
            rows: 0,
            files: 0,
            bytes: 0,
            quarantined: 0,
            committed_at: None,
        }
    }

    /// The position of a kafka_partition; the default for one that no entry names.
    pub fn partition(&self, partition: KafkaPartition) -> PartitionHead {
        self.offsets.get(&partition).copied().unwrap_or_default()
    }

    /// Who numbers the rows; `None` for a lake without rows.
    pub fn numbering(&self) -> Option<Numbering> {
        self.stated_numbering.or({
            // 0.1.0 did not state it. There, a poller's progress is in the log of a lake that
            // `inlet run` wrote, and never in that of a consumer.
            if !self.progress.0.is_empty() {
                Some(Numbering::Local)
            } else if self.offsets.values().any(|head| head.next.is_some()) {
                Some(Numbering::Topic)
            } else {
                None
            }
        })
    }

    /// Checks that rows of `table` with this numbering may be written after this head, in the
    /// folder `path`.
    pub fn check_writer(
        &self,
        path: &Path,
        table: &TableName,
        numbering: Numbering,
    ) -> Result<(), LakeError> {
        let (found, path) = (self.table.clone(), path.to_owned());
        if found != *table {
            return Err(LakeError::OtherTable {
                path,
                found,
                expected: table.clone(),
            });
        }
        match (self.numbering(), numbering) {
            (Some(Numbering::Topic), Numbering::Local) => {
                Err(LakeError::WrittenByConsumer { table: found, path })
            }
            (Some(Numbering::Local), Numbering::Topic) => {
                Err(LakeError::WrittenWithoutBroker { table: found, path })
            }
            _ => Ok(()),
        }
    }

    /// True when a file has this schema.
    pub fn knows(&self, fingerprint: Fingerprint) -> bool {
        self.schemas.contains_key(&fingerprint)
    }

    /// The schema of the rows that were found last. `None` without rows, and where all entries with
    /// more than one schema are of 0.1.0, which did not state it.
    pub fn latest_schema(&self) -> Option<&TableSchema> {
        match self.latest {
            Some(latest) => self.schemas.get(&latest.fingerprint),
            None if self.schemas.len() == 1 => self.schemas.values().next(),
            None => None,
        }
    }

    /// The name of each column of a schema in the files of that schema. It is the column's own
    /// name, except where a later column of another meaning or type has that name now, and where
    /// two names differ in case only.
    pub fn names_in_files<'a>(&'a self, schema: &'a TableSchema) -> Vec<&'a str> {
        self.names.of(schema)
    }

    /// Every name in files under which values of a column of `schema` are, its present name first.
    /// The column may have had other names, and other types that readers cannot put together with
    /// its present one. A file has one of the names at most.
    pub fn names_of_column(&self, schema: &TableSchema, column: usize) -> Vec<NameInFiles> {
        naming::names_of(&self.schemas, &self.names, schema, column)
    }

    /// Checks that a batch may be committed here: it starts where the log ends, and its epoch is
    /// the owner's.
    pub(super) fn admit(
        &self,
        partition: KafkaPartition,
        covered: &Covered,
    ) -> Result<(), LakeError> {
        // The epoch is checked first: a writer that lost the kafka_partition should learn that, not
        // that an offset is wrong.
        self.admit_epoch(partition, covered.epoch)?;
        let range = OffsetRange {
            from: covered.from,
            next: covered.next,
        };
        match self.partition(partition).next {
            // A lower offset would be a duplicate, a higher one a hole.
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

    /// Checks that `epoch` owns the kafka_partition.
    pub(super) fn admit_epoch(
        &self,
        partition: KafkaPartition,
        epoch: u64,
    ) -> Result<(), LakeError> {
        let owner = self.partition(partition).epoch;
        if owner == epoch {
            return Ok(());
        }
        // Epochs only grow, so a log with a smaller one is not the log that was written.
        if owner < epoch {
            return Err(LakeError::LogReplaced {
                table: self.table.clone(),
            });
        }
        Err(LakeError::Fenced {
            table: self.table.clone(),
            partition,
            epoch,
            owner,
        })
    }

    /// Moves the head past one more entry. An entry that does not follow makes the log corrupt.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), LakeError> {
        // The whole entry is checked before the first change: a refused entry leaves the head as
        // it was.
        self.follows(entry).map_err(|reason| LakeError::Corrupt {
            entry: names::entry(entry.seq),
            reason,
        })?;
        self.add(entry);
        Ok(())
    }

    /// Moves the head past an entry that may not follow it, as far as the entry tells.
    pub(super) fn add(&mut self, entry: &Entry) {
        for (partition, epoch) in &entry.acquired {
            // The offset stays: the new owner continues where the former one stopped.
            self.offsets.entry(*partition).or_default().epoch = *epoch;
        }
        for (partition, covered) in &entry.offsets {
            let head = self.offsets.entry(*partition).or_default();
            head.next = Some(covered.next);
            head.sequence = covered.sequence;
        }
        // The progress is part of the same entry as its rows: both become durable in one step.
        self.progress.apply(entry.progress.clone());
        self.stated_numbering = self.stated_numbering.or(entry.numbering);
        self.schemas.extend(entry.schemas.clone());
        self.latest = LatestSchema::later(self.latest, entry.latest);
        self.names.apply(&entry.names);
        // The first data file decides the key of the folders for the whole life of the table.
        if self.date_key.is_none() {
            self.date_key.clone_from(&entry.date_key);
        }
        self.seq = entry.seq;
        self.rows += entry.rows;
        self.files += entry.files.len() as u64;
        self.bytes += entry.files.iter().map(|file| file.bytes).sum::<u64>();
        let replaced = entry.replaced.iter().filter(|file| is_data(&file.path));
        for file in replaced {
            self.files = self.files.saturating_sub(1);
            // Later names of its columns may have changed a file's size.
            self.bytes = self.bytes.saturating_sub(file.bytes);
        }
        self.quarantined += entry.quarantined;
        if let Some(expired) = &entry.expired {
            self.leave(expired);
        }
        // Merged files are no news to whoever asks how fresh the rows are.
        if entry.replaced.is_empty() && entry.expired.is_none() {
            self.committed_at = Some(entry.committed_at);
        }
    }

    fn leave(&mut self, expired: &Expired) {
        self.expired_dates.extend(expired.date.clone());
        for file in &expired.files {
            if is_data(&file.path) {
                self.rows = self.rows.saturating_sub(file.rows);
                self.files = self.files.saturating_sub(1);
                // Later names of its columns may have changed a file's size.
                self.bytes = self.bytes.saturating_sub(file.bytes);
            } else {
                self.quarantined = self.quarantined.saturating_sub(file.rows);
            }
        }
    }

    /// Checks that an entry may follow this head; the error is the reason.
    pub(super) fn follows(&self, entry: &Entry) -> Result<(), String> {
        if entry.seq != self.seq + 1 {
            return Err(format!(
                "it names itself entry {} and follows entry {}",
                entry.seq, self.seq
            ));
        }
        if entry.table != self.table {
            return Err(format!(
                "it is of table `{}`, the log is of `{}`",
                entry.table, self.table
            ));
        }
        if let (Some(found), Some(ours)) = (self.numbering(), entry.numbering)
            && found != ours
        {
            return Err(format!("it numbers rows as {ours:?}, the log as {found:?}"));
        }
        replaces_what_it_has(entry)?;
        for (partition, epoch) in &entry.acquired {
            let owner = self.partition(*partition).epoch;
            // Epochs only grow, so that an earlier owner can never match the latest one again.
            if *epoch <= owner {
                return Err(format!(
                    "it takes kafka_partition {} with epoch {epoch}, the owner has {owner}",
                    partition.0
                ));
            }
        }
        for (partition, covered) in &entry.offsets {
            if covered.next < covered.from {
                return Err(format!(
                    "its offsets {}..{} of kafka_partition {} run backwards",
                    covered.from.0, covered.next.0, partition.0
                ));
            }
            self.admit(*partition, covered)
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Checks that the files of an entry that replaces others hold exactly the rows of those.
fn replaces_what_it_has(entry: &Entry) -> Result<(), String> {
    if entry.replaced.is_empty() {
        return Ok(());
    }
    let files = entry.files.iter().chain(&entry.quarantine);
    let rows: u64 = files.map(|file| file.rows).sum();
    let replaced: u64 = entry.replaced.iter().map(|file| file.rows).sum();
    if rows != replaced || entry.rows + entry.quarantined > 0 {
        return Err(format!(
            "it replaces files of {replaced} rows by files of {rows}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

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

    /// What an entry of a random log does: covers an offset range, or takes over with an epoch.
    #[derive(Debug, Clone)]
    enum Act {
        Cover { from: i64, rows: i64, epoch: u64 },
        TakeOver { epoch: u64 },
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        // Small numbers, so that ranges often meet and epochs often repeat.
        let cover = (0..6_i64, -2..4_i64, 0..4_u64).prop_map(|(from, rows, epoch)| Act::Cover {
            from,
            rows,
            epoch,
        });
        let take_over = (0..5_u64).prop_map(|epoch| Act::TakeOver { epoch });
        vec(prop_oneof![3 => cover, 1 => take_over], 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Any order of commits and take-overs by any writers: the accepted ranges follow each
        /// other without a gap or an overlap, each under the epoch of the latest take-over.
        #[test]
        fn accepted_ranges_follow_each_other_under_the_owners_epoch(acts in acts()) {
            const PARTITION: KafkaPartition = KafkaPartition(0);
            let mut head = head();
            let (mut next, mut owner) = (None, 0);
            for act in acts {
                let mut entry = Entry::new(&head.table, "w", "c");
                entry.seq = head.seq + 1;
                let before = head.clone();
                match act {
                    Act::Cover { from, rows, epoch } => {
                        let covered = Covered {
                            from: Offset(from),
                            next: Offset(from + rows),
                            epoch,
                            sequence: from as u64,
                        };
                        entry.offsets.insert(PARTITION, covered);
                        let admitted = next.is_none_or(|next| next == from) && epoch == owner;
                        let follows = admitted && rows >= 0;
                        prop_assert_eq!(head.admit(PARTITION, &covered).is_ok(), admitted);
                        prop_assert_eq!(head.apply(&entry).is_ok(), follows);
                        if follows {
                            next = Some(from + rows);
                        }
                    }
                    Act::TakeOver { epoch } => {
                        entry.acquired.insert(PARTITION, epoch);
                        prop_assert_eq!(head.apply(&entry).is_ok(), epoch > owner);
                        owner = owner.max(epoch);
                    }
                }
                prop_assert_eq!(head.partition(PARTITION).next, next.map(Offset));
                prop_assert_eq!(head.partition(PARTITION).epoch, owner);
                prop_assert!(head.seq == entry.seq || head == before, "refused is unchanged");
            }
        }

        #[test]
        fn an_entry_out_of_its_turn_makes_the_log_corrupt(seq in any::<u64>()) {
            let applied = head().apply(&entry(seq, 0, 1, 0));
            prop_assert_eq!(applied.is_ok(), seq == 1);
        }
    }

    #[test]
    fn a_missing_entry_is_a_corrupt_log() {
        assert!(matches!(
            head().apply(&entry(2, 0, 1, 0)),
            Err(LakeError::Corrupt { .. })
        ));
    }
}
