//! One table of the consumer: its writer of the lake, and the commit that runs.
//!
//! A table commits one batch while it fills the next one. If the next one is full before the commit
//! has ended, the table stops reading.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use inlet_lake::{
    Committed, LakeError, LakeOptions, Limits, Numbering, PartitionHead, Rules, TableWriter,
};
use inlet_model::{Fingerprint, KafkaPartition, Offset, TableName, TableSchema};
use tokio::task::JoinSet;

use super::copy;
use super::work::{Validated, Work};
use crate::error::{ConsumerError, LostLake, unfounded};
use crate::metrics;
use crate::sequence::Position;
use crate::settings::{ConsumerSettings, TableSettings};
use crate::source::{Schemas, Slab, SourceError, start};
use inlet_kafka::Marks;

/// A table of the configuration.
pub(super) struct Table {
    settings: TableSettings,
    limits: Limits,
    rules: Rules,
    copies: Option<PathBuf>,
    group: String,
    control_topic: String,
    lake_may_be_new: bool,
    ready: Option<Ready>,
    /// True while kafka_partitions are assigned and the control topic has no schema of the table.
    is_waiting: bool,
    is_committing: bool,
}

/// What exists once the table's name is known.
struct Ready {
    name: TableName,
    writer: TableWriter,
    /// `None` while it works on a blocking thread.
    work: Option<Work>,
    /// Duplicates that the open batch leaves out.
    duplicates: u64,
}

/// A commit that has ended.
pub(super) struct Commit {
    pub topic: String,
    duplicates: u64,
    result: Result<Committed, LakeError>,
}

impl Table {
    pub fn new(consumer: &ConsumerSettings, settings: &TableSettings, rules: Rules) -> Self {
        Self {
            settings: settings.clone(),
            limits: consumer.limits,
            rules,
            copies: consumer.checkpoint_location.clone(),
            group: consumer.group.clone(),
            control_topic: consumer.control_topic.clone(),
            lake_may_be_new: consumer.lake_may_be_new,
            ready: None,
            is_waiting: false,
            is_committing: false,
        }
    }

    /// Takes kafka_partitions over, and returns the offset at which reading starts in each; `None`
    /// while the table has no schema. Fails when the group has `read` some of them into a lake that
    /// is not here.
    pub async fn start(
        &mut self,
        schemas: &Schemas,
        marks: &BTreeMap<KafkaPartition, Marks>,
        read: &BTreeMap<KafkaPartition, Offset>,
    ) -> Result<Option<BTreeMap<KafkaPartition, Offset>>, ConsumerError> {
        self.is_waiting = !self.make_ready(schemas).await?;
        let Some(ready) = self.ready.as_mut() else {
            self.note_wait(marks);
            return Ok(None);
        };
        // Offsets are stored in the group after the commit to the lake that they belong to.
        let lost = unfounded(&ready.writer.head(), read).filter(|_| !self.lake_may_be_new);
        if let Some(offset) = lost {
            return Err(ConsumerError::LakeMissing {
                lost: LostLake {
                    path: self.settings.path.clone(),
                    topic: self.settings.topic.clone(),
                    group: self.group.clone(),
                    offset,
                },
            });
        }
        // The epochs are raised before the positions are read: from here on the former owner cannot
        // move them.
        let heads = ready.writer.take_over(marks.keys().copied()).await?;
        let work = ready.work.as_mut().expect("no slab is worked on");
        work.positions.clear();
        let mut started = BTreeMap::new();
        for (partition, marks) in marks {
            let head = heads[partition];
            let offset = start(head.next, *marks).map_err(|_| SourceError::Missing {
                topic: self.settings.topic.clone(),
                partition: *partition,
                marks: *marks,
                next: head.next.expect("an empty lake starts anywhere"),
            })?;
            let position = position(&self.settings.topic, *partition, &head, offset);
            work.positions.start(*partition, position);
            started.insert(*partition, offset);
        }
        let (table, topic, seq) = (&ready.name, &self.settings.topic, ready.writer.head().seq);
        tracing::info!(
            %table, topic, seq, offsets = show(&started),
            "reading from where the lake's log ends"
        );
        Ok(Some(started))
    }

    fn note_wait(&self, marks: &BTreeMap<KafkaPartition, Marks>) {
        let (topic, control_topic) = (&self.settings.topic, &self.control_topic);
        if marks.values().any(|marks| marks.end > marks.low) {
            // A producer writes the schema before the first message, so that this is not a matter
            // of time.
            tracing::warn!(
                topic,
                control_topic,
                "the topic has messages, but the control topic has no schema of the table: producer \
                 and consumer need the same `pipeline`"
            );
        } else {
            tracing::info!(
                topic,
                control_topic,
                "waiting for the first message of the producer"
            );
        }
    }

    /// True when the control topic now has a schema of a table that waits for one.
    pub fn can_start(&self, schemas: &Schemas) -> bool {
        self.is_waiting && self.settings.table.resolve(schemas.tables()).is_some()
    }

    /// Adds messages to the open batch.
    pub async fn append(
        &mut self,
        slab: Slab,
        known: Arc<HashMap<Fingerprint, Arc<TableSchema>>>,
    ) -> Result<(), ConsumerError> {
        let ready = self
            .ready
            .as_mut()
            .expect("messages follow an answered assignment");
        let mut work = ready.work.take().expect("one slab at a time is worked on");
        // Decoding takes a whole core for a moment, which would hold up the timers of the runtime.
        let run = move || {
            let validated = work.run(&slab, &known);
            (work, validated)
        };
        let (work, validated) = tokio::task::spawn_blocking(run)
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        ready.work = Some(work);
        let Validated {
            batches,
            rejected,
            covered,
            duplicates,
        } = validated?;
        if duplicates > 0 {
            tracing::debug!(table = %ready.name, duplicates, "duplicate records are left out");
        }
        ready.duplicates += duplicates;
        for (partition, (range, sequence)) in covered {
            ready.writer.cover(partition, range, sequence)?;
        }
        for batch in batches {
            ready.writer.append(batch).await?;
        }
        if !rejected.is_empty() {
            ready.writer.reject(rejected).await?;
        }
        Ok(())
    }

    /// The time at which the open batch is due; `None` while another commit runs.
    pub fn due(&self) -> Option<Instant> {
        self.ready
            .as_ref()
            .filter(|_| !self.is_committing)?
            .writer
            .due()
    }

    /// True when the open batch is full and waits for the commit before it.
    pub fn is_blocked(&self) -> bool {
        let is_full = |ready: &Ready| ready.writer.is_full();
        self.is_committing && self.ready.as_ref().is_some_and(is_full)
    }

    /// Starts the commit of the open batch, unless another one runs.
    pub fn close(&mut self, commits: &mut JoinSet<Commit>) {
        if self.is_committing {
            return;
        }
        let Some(ready) = self.ready.as_mut() else {
            return;
        };
        let Some(closed) = ready.writer.close() else {
            return;
        };
        self.is_committing = true;
        // The count goes with the commit: if the commit fails, the same duplicates are read and
        // counted again.
        let duplicates = std::mem::take(&mut ready.duplicates);
        let (topic, copies) = (self.settings.topic.clone(), self.copies.clone());
        let name = ready.name.clone();
        commits.spawn(async move {
            let result = closed.commit().await;
            if let (Ok(committed), Some(folder)) = (&result, copies) {
                copy_offsets(folder, name, topic.clone(), committed.clone()).await;
            }
            Commit {
                topic,
                duplicates,
                result,
            }
        });
    }

    /// Ends a commit; returns what it did.
    pub fn committed(&mut self, commit: Commit) -> Result<Committed, LakeError> {
        let committed = commit.result?;
        self.is_committing = false;
        if let Some(ready) = &self.ready {
            metrics::duplicates(&ready.name.to_string(), commit.duplicates);
        }
        Ok(committed)
    }

    /// Discards the open batch and gives the kafka_partitions up.
    pub async fn discard(&mut self) {
        self.is_committing = false;
        self.is_waiting = false;
        let Some(ready) = &mut self.ready else {
            return;
        };
        ready.writer.discard().await;
        ready.writer.release();
        ready.duplicates = 0;
        if let Some(work) = &mut ready.work {
            work.positions.clear();
        }
    }

    /// The table's name; `None` while the control topic has no schema of it. A topic of another
    /// program has none there, and the configuration names its table.
    fn name(&self, schemas: &Schemas) -> Option<TableName> {
        let table = &self.settings.table;
        match self.settings.debezium {
            Some(_) => Some(table.folded()),
            None => table.resolve(schemas.tables()).cloned(),
        }
    }

    /// Opens the lake once the table's name is known.
    async fn make_ready(&mut self, schemas: &Schemas) -> Result<bool, ConsumerError> {
        if self.ready.is_some() {
            return Ok(true);
        }
        let Some(name) = self.name(schemas) else {
            if !self.is_waiting {
                tracing::info!(
                    table = self.settings.table.written(),
                    topic = self.settings.topic,
                    "waiting for the producer to publish the table's schema"
                );
            }
            return Ok(false);
        };
        // A rule that fits no schema stops the consumer here, before the lake is opened.
        self.check_rules(schemas.of(&name))?;
        let options = LakeOptions {
            table: name.clone(),
            timezone: self.settings.timezone,
            date_column: self.settings.date_column.clone(),
            numbering: Numbering::Topic,
            compaction: self.settings.compaction,
            retention: self.settings.retention.clone(),
        };
        let writer = TableWriter::open(&self.settings.path, options, self.limits).await?;
        self.ready = Some(Ready {
            work: Some(Work::new(
                name.clone(),
                self.rules.clone(),
                self.settings.debezium.clone(),
            )),
            name,
            writer,
            duplicates: 0,
        });
        Ok(true)
    }

    /// Fails when the rules fit none of the schemas. One that fits is enough to start: older
    /// schemas may lack a column that a rule names.
    fn check_rules<'a>(
        &self,
        schemas: impl Iterator<Item = &'a Arc<TableSchema>>,
    ) -> Result<(), ConsumerError> {
        let mut checked = Ok(());
        for schema in schemas {
            checked = self.rules.check(schema);
            if checked.is_ok() {
                break;
            }
        }
        Ok(checked?)
    }
}

async fn copy_offsets(folder: PathBuf, table: TableName, topic: String, committed: Committed) {
    let shown = folder.display().to_string();
    let write = move || copy::write(&folder, &table, &topic, &committed.offsets, committed.seq);
    if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
        tracing::warn!(
            folder = shown, %error,
            "the readable copy of the offsets was not written; the lake's log is what counts"
        );
    }
}

/// The position from which sequences are checked: where the log ends, or the topic's beginning.
fn position(
    topic: &str,
    partition: KafkaPartition,
    head: &PartitionHead,
    start: Offset,
) -> Position {
    let Some(next) = head.next else {
        // At offset 0 the first record must have sequence 0. After retention removed the beginning,
        // any first sequence is right.
        let sequence = (start == Offset::ZERO).then_some(0);
        if sequence.is_none() {
            tracing::warn!(
                topic,
                kafka_partition = partition.0,
                offset = start.0,
                "the topic's beginning has expired: its first rows are not in the topic"
            );
        }
        return Position {
            next: start,
            sequence,
        };
    };
    Position {
        next,
        sequence: Some(head.sequence),
    }
}

fn show(offsets: &BTreeMap<KafkaPartition, Offset>) -> String {
    let texts: Vec<_> = offsets
        .iter()
        .map(|(partition, offset)| format!("{}:{}", partition.0, offset.0))
        .collect();
    texts.join(" ")
}
