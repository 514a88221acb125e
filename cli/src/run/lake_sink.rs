//! The producer's sink over the consumer's lake: rows, and the progress that covers them, in the
//! same entry of the table's log.
//!
//! Promises: what was written is invisible until the entry that also holds its progress; a second
//! process on the same lake fences the first. Without a broker the kafka_partition is 0, and the
//! offset is the number of the change in the table's lake. Leaves to others: which rows are new
//! (the poll), how files become durable (the lake).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inlet_consumer::metrics;
use inlet_lake::validate::Rules;
use inlet_lake::{LakeError, LakeOptions, LakeTable, OpenBatch, writers};
use inlet_model::TableName;
use inlet_model::change::ChangeBatch;
use inlet_model::{KafkaPartition, Offset, OffsetRange};
use inlet_model::{Progress, ProgressDelta};
use inlet_producer::sink::{Checkpoint, Sink, SinkError};
use inlet_service::error::{Explain, Hint, Kind};
use tokio::time::Instant;
use tracing::{info, warn};

use super::judge::{Judge, Judged};

/// All changes of a table without a broker are in this one.
const PARTITION: KafkaPartition = KafkaPartition(0);

/// One table of the sink.
#[derive(Debug, Clone)]
pub struct LakeSinkTable {
    /// Its name, as the catalog spells it.
    pub name: TableName,
    /// Its folder.
    pub path: PathBuf,
    /// How its rows are laid out.
    pub options: LakeOptions,
    /// What a row has to fulfil.
    pub rules: Rules,
}

/// When a batch is committed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// When its first row is this old ..
    pub age: Duration,
    /// .. or it has this many rows ..
    pub rows: u64,
    /// .. or its files have about this many bytes.
    pub bytes: u64,
}

/// See the module.
pub struct LakeSink {
    limits: Limits,
    tables: Vec<LakeSinkTable>,
    open: BTreeMap<TableName, Table>,
    /// When the oldest row or progress that is not durable came.
    since: Option<Instant>,
}

struct Table {
    lake: LakeTable,
    judge: Judge,
    /// Offsets below are durable.
    durable: Offset,
    /// The offset of the next change.
    next: Offset,
    batch: Option<OpenBatch>,
    progress: ProgressDelta,
    /// When the newest change that waits for its commit was found: microseconds since 1970-01-01
    /// UTC.
    newest: Option<i64>,
}

impl LakeSink {
    /// A sink for these tables; nothing is touched before [`Sink::resume`].
    pub fn new(tables: Vec<LakeSinkTable>, limits: Limits) -> Self {
        Self {
            limits,
            tables,
            open: BTreeMap::new(),
            since: None,
        }
    }

    fn is_full(&self) -> bool {
        let batches = || self.open.values().filter_map(|table| table.batch.as_ref());
        let rows: u64 = batches().map(|batch| batch.rows() + batch.rejected()).sum();
        let bytes: u64 = batches().map(OpenBatch::bytes).sum();
        rows >= self.limits.rows || bytes >= self.limits.bytes
    }
}

impl Sink for LakeSink {
    async fn resume(
        &mut self,
        tables: &[TableName],
    ) -> Result<BTreeMap<TableName, Progress>, SinkError> {
        self.rollback().await?;
        let mut progress = BTreeMap::new();
        for table in self
            .tables
            .iter()
            .filter(|table| tables.contains(&table.name))
        {
            let opened = Table::open(table).await.map_err(|error| {
                failed(
                    format!("lake of table `{}` was not opened", table.name),
                    error,
                )
            })?;
            let head = opened.lake.head();
            if head.progress.0.is_empty() && head.rows + head.quarantined > 0 {
                return Err(foreign(&table.name, &table.path));
            }
            if !head.progress.0.is_empty() {
                progress.insert(table.name.clone(), head.progress.clone());
            }
            self.open.insert(table.name.clone(), opened);
        }
        Ok(progress)
    }

    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        let name = batch.schema.table.clone();
        let table = self
            .open
            .get_mut(&name)
            .expect("a batch is of a resumed table");
        self.since.get_or_insert_with(Instant::now);
        let act = || format!("rows of table `{name}` were not taken");
        let rows = batch.rows.num_rows() as i64;
        table.newest = table.newest.max(Some(batch.detected_at));
        let judged = table.judge.judge(batch, PARTITION, table.next);
        let Judged { accepted, rejected } = judged.map_err(|error| SinkError {
            kind: error.kind(),
            act: act(),
            hint: error.hint(),
            source: Some(Box::new(error)),
        })?;
        table.next = Offset(table.next.0 + rows);
        let open = table.batch.get_or_insert_with(|| table.lake.writer());
        if accepted.rows.num_rows() > 0 {
            open.append(accepted)
                .await
                .map_err(|error| failed(act(), error))?;
        }
        open.reject(rejected)
            .await
            .map_err(|error| failed(act(), error))
    }

    async fn checkpoint(
        &mut self,
        progress: BTreeMap<TableName, ProgressDelta>,
    ) -> Result<Checkpoint, SinkError> {
        for (name, delta) in progress {
            self.since.get_or_insert_with(Instant::now);
            self.open
                .get_mut(&name)
                .expect("progress is of a resumed table")
                .progress
                .merge(delta);
        }
        if self.is_full() {
            self.flush().await
        } else {
            Ok(Checkpoint::default())
        }
    }

    async fn flush(&mut self) -> Result<Checkpoint, SinkError> {
        self.since = None;
        let mut rows = 0;
        for (name, table) in &mut self.open {
            if table.batch.is_some() || !table.progress.0.is_empty() {
                rows += table.commit().await.map_err(|error| {
                    failed(format!("batch of table `{name}` was not committed"), error)
                })?;
            }
        }
        Ok(Checkpoint { rows })
    }

    fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.limits.age)
    }

    async fn rollback(&mut self) -> Result<(), SinkError> {
        self.since = None;
        for table in std::mem::take(&mut self.open).into_values() {
            if let Some(batch) = table.batch {
                batch.drop_open().await;
            }
        }
        Ok(())
    }
}

impl Table {
    async fn open(table: &LakeSinkTable) -> Result<Self, LakeError> {
        for other in writers(&table.path)
            .unwrap_or_default()
            .iter()
            .filter(|other| other.alive)
        {
            let process = other.process();
            warn!(table = %table.name, process, "another process writes this lake: it is ours from now on, and that process will end with exit code 75");
        }
        let lake = LakeTable::open(&table.path, table.options.clone()).await?;
        let heads = lake.acquire([PARTITION]).await?;
        let durable = heads[&PARTITION].next.unwrap_or(Offset::ZERO);
        let judge = Judge::new(table.rules.clone());
        Ok(Self {
            lake,
            judge,
            durable,
            next: durable,
            batch: None,
            progress: ProgressDelta::default(),
            newest: None,
        })
    }

    /// Commits what is open; returns the rows that became visible.
    async fn commit(&mut self) -> Result<u64, LakeError> {
        let mut batch = self.batch.take().unwrap_or_else(|| self.lake.writer());
        if self.next > self.durable {
            let sequence = u64::try_from(self.next.0).expect("offsets count from zero");
            batch.cover(
                PARTITION,
                OffsetRange {
                    from: self.durable,
                    next: self.next,
                },
                sequence,
            )?;
        }
        let staged = batch.stage().await?;
        let committed = self
            .lake
            .commit(staged, Some(std::mem::take(&mut self.progress)))
            .await?;
        self.durable = self.next;
        let table = &self.lake.head().table;
        let freshness_ms = metrics::freshness_ms(self.newest.take());
        metrics::committed(&table.to_string(), &committed, freshness_ms);
        if committed.rows + committed.quarantined > 0 {
            info!(%table, seq = committed.seq, rows = committed.rows, quarantined = committed.quarantined, files = committed.files, freshness_ms, "batch committed");
        }
        Ok(committed.rows)
    }
}

fn failed(act: String, error: LakeError) -> SinkError {
    SinkError {
        kind: error.kind(),
        act,
        hint: error.hint(),
        source: Some(Box::new(error)),
    }
}

fn foreign(table: &TableName, path: &Path) -> SinkError {
    SinkError {
        kind: Kind::Config,
        act: format!(
            "the lake of table `{table}` at {} was written by a consumer: its rows have no poller's progress to go on from",
            path.display()
        ),
        hint: Some(Hint::text(
            "give `inlet run` a `datalake.path` of its own, or add the `kafka:` section that the lake was written with",
        )),
        source: None,
    }
}
