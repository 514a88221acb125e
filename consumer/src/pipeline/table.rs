//! One table on its way: its lake, its open batch, and the commit that runs.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use inlet_model::{Fingerprint, TableName, TableSchema};
use inlet_model::{KafkaPartition, Offset, Offsets};
use tokio::task::JoinSet;

use super::copy;
use super::work::{Taken, Work};
use crate::error::ConsumerError;
use crate::metrics;
use crate::sequence::Position;
use crate::settings::{ConsumerSettings, TableSettings};
use crate::source::{Marks, Schemas, Slab, SourceError, start};
use inlet_lake::batch::{Limits, Size};
use inlet_lake::validate::Rules;
use inlet_lake::{Committed, LakeError, LakeOptions, LakeTable, OpenBatch, PartitionHead};

/// A table of the configuration.
pub(super) struct Table {
    settings: TableSettings,
    limits: Limits,
    rules: Rules,
    copies: Option<PathBuf>,
    ready: Option<Ready>,
    /// Kafka_partitions of it are ours, but it has no schema yet.
    waiting: bool,
    open: Option<Open>,
    is_committing: bool,
}

/// What exists once the table's name is known.
struct Ready {
    name: TableName,
    lake: LakeTable,
    /// `None` while it works on a thread made for that.
    work: Option<Work>,
}

struct Open {
    batch: OpenBatch,
    since: Instant,
    /// Server time of the newest snapshot in it, microseconds.
    newest: Option<i64>,
    doubles: u64,
}

/// A commit that has ended.
pub(super) struct Commit {
    pub topic: String,
    pub result: Result<Durable, LakeError>,
}

/// What a commit made durable.
pub(super) struct Durable {
    committed: Committed,
    newest: Option<i64>,
    doubles: u64,
}

impl Table {
    pub fn new(consumer: &ConsumerSettings, settings: &TableSettings, rules: Rules) -> Self {
        let limits = Limits {
            rows: consumer.flush_rows,
            bytes: consumer.flush_bytes,
            age: consumer.flush_interval,
        };
        Self {
            settings: settings.clone(),
            limits,
            rules,
            copies: consumer.checkpoint_location.clone(),
            ready: None,
            waiting: false,
            open: None,
            is_committing: false,
        }
    }

    /// Takes kafka_partitions over and tells where each begins; `None` while the table has no
    /// schema.
    pub async fn begin(
        &mut self,
        schemas: &Schemas,
        marks: &BTreeMap<KafkaPartition, Marks>,
    ) -> Result<Option<BTreeMap<KafkaPartition, Offset>>, ConsumerError> {
        self.waiting = !self.make_ready(schemas).await?;
        let Some(ready) = self.ready.as_mut() else {
            return Ok(None);
        };
        let heads = ready.lake.acquire(marks.keys().copied()).await?;
        let work = ready.work.as_mut().expect("no slab is worked on");
        work.positions.clear();
        let mut begun = BTreeMap::new();
        for (partition, marks) in marks {
            let head = heads[partition];
            let offset = start(head.next, *marks).map_err(|_| SourceError::Gone {
                topic: self.settings.topic.clone(),
                partition: *partition,
                marks: *marks,
                next: head.next.expect("an empty lake begins anywhere"),
            })?;
            work.positions.begin(
                *partition,
                position(&self.settings.topic, *partition, &head, offset),
            );
            begun.insert(*partition, offset);
        }
        let (table, topic, seq) = (&ready.name, &self.settings.topic, ready.lake.head().seq);
        tracing::info!(%table, topic, seq, offsets = show(&begun), "reading from where the lake's log ends");
        Ok(Some(begun))
    }

    /// True when the schema that the table waits for has come.
    pub fn can_begin(&self, schemas: &Schemas) -> bool {
        self.waiting && self.settings.resolve(schemas.tables()).is_some()
    }

    /// Takes messages into the open batch.
    pub async fn take(
        &mut self,
        slab: Slab,
        known: Arc<HashMap<Fingerprint, Arc<TableSchema>>>,
    ) -> Result<(), ConsumerError> {
        let ready = self
            .ready
            .as_mut()
            .expect("messages come behind an answered assignment");
        let mut work = ready.work.take().expect("one slab at a time is worked on");
        let run = move || {
            let taken = work.run(&slab, &known);
            (work, taken)
        };
        let (work, taken) = tokio::task::spawn_blocking(run)
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        ready.work = Some(work);
        let Taken {
            batches,
            rejected,
            covered,
            doubles,
        } = taken?;
        if covered.is_empty() {
            return Ok(());
        }
        if doubles > 0 {
            tracing::debug!(table = %ready.name, doubles, "records that were there before are left out");
        }
        let open = self.open.get_or_insert_with(|| Open {
            batch: ready.lake.writer(),
            since: Instant::now(),
            newest: None,
            doubles: 0,
        });
        open.doubles += doubles;
        for (partition, (range, sequence)) in covered {
            open.batch.cover(partition, range, sequence)?;
        }
        for batch in batches {
            open.newest = open.newest.max(Some(batch.detected_at));
            open.batch.append(batch).await?;
        }
        open.batch.reject(rejected).await?;
        Ok(())
    }

    /// When the open batch has to be committed; `None` while another commit runs.
    pub fn due(&self) -> Option<Instant> {
        let open = self.open.as_ref().filter(|_| !self.is_committing)?;
        Some(self.limits.due(&open.size()))
    }

    /// True when the open batch is full and has to wait for the commit before it.
    pub fn is_blocked(&self) -> bool {
        self.is_committing
            && self
                .open
                .as_ref()
                .is_some_and(|open| self.limits.is_full(&open.size()))
    }

    /// Starts the commit of the open batch, unless another one runs.
    pub fn close(&mut self, commits: &mut JoinSet<Commit>) {
        if self.is_committing {
            return;
        }
        let (Some(open), Some(ready)) = (self.open.take(), self.ready.as_ref()) else {
            return;
        };
        self.is_committing = true;
        let (topic, copies) = (self.settings.topic.clone(), self.copies.clone());
        let (lake, name) = (ready.lake.clone(), ready.name.clone());
        commits.spawn(async move {
            let result = commit(&lake, open).await;
            if let (Ok(durable), Some(folder)) = (&result, copies) {
                copy_offsets(folder, name, topic.clone(), durable.committed.clone()).await;
            }
            Commit { topic, result }
        });
    }

    /// Notes a commit; returns the offsets that it covers.
    pub fn committed(&mut self, topic: &str, durable: Durable) -> Offsets {
        self.is_committing = false;
        let Durable {
            committed,
            newest,
            doubles,
        } = durable;
        let table = self
            .ready
            .as_ref()
            .map(|ready| ready.name.to_string())
            .unwrap_or_default();
        let freshness_ms = metrics::freshness_ms(newest);
        metrics::committed(&table, &committed, freshness_ms);
        metrics::doubles(&table, doubles);
        let Committed {
            seq,
            rows,
            quarantined,
            files,
            offsets,
            ..
        } = committed;
        tracing::info!(
            table,
            topic,
            seq,
            rows,
            quarantined,
            doubles,
            files,
            freshness_ms,
            "batch committed"
        );
        offsets
    }

    /// Throws the open batch away and gives the kafka_partitions up.
    pub async fn drop_open(&mut self) {
        self.is_committing = false;
        self.waiting = false;
        if let Some(open) = self.open.take() {
            open.batch.drop_open().await;
        }
        if let Some(ready) = &mut self.ready {
            let owned: Vec<_> = ready.lake.head().offsets.keys().copied().collect();
            ready.lake.release(owned);
            if let Some(work) = &mut ready.work {
                work.positions.clear();
            }
        }
    }

    /// Opens the lake once the table's name is known.
    async fn make_ready(&mut self, schemas: &Schemas) -> Result<bool, ConsumerError> {
        if self.ready.is_some() {
            return Ok(true);
        }
        let Some(name) = self.settings.resolve(schemas.tables()).cloned() else {
            if !self.waiting {
                tracing::info!(
                    table = self.settings.written(),
                    topic = self.settings.topic,
                    "waiting for the producer to publish the table's schema"
                );
            }
            return Ok(false);
        };
        let mut bound = Ok(());
        for schema in schemas.of(&name) {
            // One schema that fits is enough to begin: older ones may lack a column that a rule
            // needs.
            bound = self.rules.bind(schema).map(drop);
            if bound.is_ok() {
                break;
            }
        }
        bound?;
        let date_column = self
            .settings
            .date_column
            .as_ref()
            .map(|column| exact_column(column, schemas.of(&name)));
        let options = LakeOptions {
            table: name.clone(),
            timezone: self.settings.timezone,
            date_column,
        };
        let lake = LakeTable::open(&self.settings.path, options).await?;
        self.ready = Some(Ready {
            work: Some(Work::new(name.clone(), self.rules.clone())),
            name,
            lake,
        });
        Ok(true)
    }
}

impl Open {
    fn size(&self) -> Size {
        Size {
            rows: self.batch.rows() + self.batch.rejected(),
            bytes: self.batch.bytes(),
            since: self.since,
        }
    }
}

async fn commit(lake: &LakeTable, open: Open) -> Result<Durable, LakeError> {
    let staged = open.batch.stage().await?;
    let committed = lake.commit(staged, None).await?;
    Ok(Durable {
        committed,
        newest: open.newest,
        doubles: open.doubles,
    })
}

async fn copy_offsets(folder: PathBuf, table: TableName, topic: String, committed: Committed) {
    let shown = folder.display().to_string();
    let write = move || copy::write(&folder, &table, &topic, &committed.offsets, committed.seq);
    if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
        tracing::warn!(folder = shown, %error, "the readable copy of the offsets was not written; the lake's log is what counts");
    }
}

/// Where the proof begins: behind what the log covers, or at the topic's beginning.
fn position(
    topic: &str,
    partition: KafkaPartition,
    head: &PartitionHead,
    start: Offset,
) -> Position {
    let Some(next) = head.next else {
        let sequence = (start == Offset::ZERO).then_some(0);
        if sequence.is_none() {
            tracing::warn!(
                topic,
                kafka_partition = partition.0,
                offset = start.0,
                "the topic's beginning has expired, its first rows are not in it"
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

/// The column as the catalog spells it: folded, then exact.
fn exact_column<'a>(written: &str, schemas: impl Iterator<Item = &'a Arc<TableSchema>>) -> String {
    let folded = written.to_lowercase();
    let is_folded = schemas
        .into_iter()
        .any(|schema| schema.position(&folded).is_some());
    if is_folded {
        folded
    } else {
        written.to_owned()
    }
}

fn show(offsets: &BTreeMap<KafkaPartition, Offset>) -> String {
    let texts: Vec<_> = offsets
        .iter()
        .map(|(partition, offset)| format!("{}:{}", partition.0, offset.0))
        .collect();
    texts.join(" ")
}
