//! The lake as the sink of the poll: rows, and the progress that covers them, in the same entry of
//! the table's log.
//!
//! Without a broker the kafka_partition is 0, and a row's offset is the number of the change in the
//! table's lake. A second process with the same lake takes the tables over, and this sink is
//! fenced. A checkpoint is [`Checkpointed::Pending`]: when the batches of all tables together reach
//! a limit, or are due, their commit starts, and runs while the next batches are filled. Each table
//! commits on its own.
//!
//! One commit runs at a time, so a second full batch waits for it. Its error is that of the next
//! call, and everything since the last commit that was confirmed is read again.

mod position;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use inlet_model::TableName;
use inlet_model::change::ChangeBatch;
use inlet_model::{KafkaPartition, Offset, OffsetRange, Progress, ProgressDelta, Request};
use inlet_service::error::{Explain, Hint, Kind};
use inlet_service::sink::{Checkpointed, DurableEnd, Sink, SinkError};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use self::position::{positioned, rejected};
use crate::batch::{Limits, Size};
use crate::error::LakeError;
use crate::files::in_bucket;
use crate::options::LakeOptions;
use crate::request::read_request;
use crate::rules::{Rules, Validator};
use crate::writer::{ClosedBatch, TableWriter};

/// Without a broker all changes of a table have this kafka_partition.
const PARTITION: KafkaPartition = KafkaPartition(0);

/// How often a bucket is asked for what a user wants of the poll.
const BUCKET_REQUESTS_INTERVAL: Duration = Duration::from_secs(10);

/// One table of the sink.
#[derive(Debug, Clone)]
pub struct LakeSinkTable {
    /// The table's folder, with `_log` and the data files.
    pub path: PathBuf,
    /// The table, and how its rows are laid out.
    pub options: LakeOptions,
    /// The rules that a row must fulfil.
    pub rules: Rules,
}

/// A sink of the poll that writes the lake itself.
#[derive(Debug)]
pub struct LakeSink {
    limits: Limits,
    tables: Vec<LakeSinkTable>,
    open: BTreeMap<TableName, Table>,
    /// The epochs under which this sink owned its tables last: a table that another process took
    /// over is not taken back.
    owned: BTreeMap<TableName, BTreeMap<KafkaPartition, u64>>,
    /// False until [`Sink::resume`], and after any error: the sink may then lack rows that the poll
    /// believes it has.
    is_whole: bool,
    /// True while rows wait for the checkpoint that covers them.
    has_uncovered: bool,
    /// When the oldest row or progress arrived that is in no commit.
    since: Option<Instant>,
    /// The commit that runs, and when it started.
    running: Option<(JoinHandle<Result<u64, SinkError>>, Instant)>,
    /// Rows that became durable since the last answer.
    durable_rows: u64,
    /// When a bucket was asked for requests last.
    asked: Option<Instant>,
}

#[derive(Debug)]
struct Table {
    writer: TableWriter,
    validator: Validator,
    /// Offsets below this one are durable, or in the commit that runs.
    committed: Offset,
    /// The offset of the next change.
    next: Offset,
    progress: ProgressDelta,
}

impl LakeSink {
    /// A sink for these tables; opens nothing before [`Sink::resume`].
    pub fn new(tables: Vec<LakeSinkTable>, limits: Limits) -> Self {
        Self {
            limits,
            tables,
            open: BTreeMap::new(),
            owned: BTreeMap::new(),
            is_whole: false,
            has_uncovered: false,
            since: None,
            running: None,
            durable_rows: 0,
            asked: None,
        }
    }

    /// Marks the sink as not whole until the call has ended well.
    fn begin(&mut self) -> Result<(), SinkError> {
        if std::mem::take(&mut self.is_whole) {
            Ok(())
        } else {
            let act = "the sink of the lake must be resumed first";
            Err(SinkError::new(Kind::Bug, act))
        }
    }

    fn is_full(&self) -> bool {
        let Some(since) = self.since else {
            return false;
        };
        let sizes = || self.open.values().filter_map(|table| table.writer.size());
        self.limits.is_full(&Size {
            rows: sizes().map(|size| size.rows).sum(),
            bytes: sizes().map(|size| size.bytes).sum(),
            since: since.into_std(),
        })
    }

    fn table(&mut self, name: &TableName) -> Result<&mut Table, SinkError> {
        self.open.get_mut(name).ok_or_else(|| {
            let act = format!("table `{name}` was not resumed");
            SinkError::new(Kind::Bug, act)
        })
    }

    async fn resume_table(&mut self, table: &LakeSinkTable) -> Result<Progress, SinkError> {
        let name = &table.options.table;
        let opened = Table::open(table, self.limits, self.owned.get(name)).await;
        let opened = opened.map_err(|error| {
            // After a disk error our own take-over may be in the log unknown to us, and must not
            // count as another process.
            if error.kind() != Kind::Fenced {
                self.owned.remove(name);
            }
            SinkError::caused(format!("lake of table `{name}` was not opened"), error)
                .of_table(name)
        })?;
        self.owned
            .insert(name.clone(), opened.writer.owned().clone());
        let head = opened.writer.head();
        self.open.insert(name.clone(), opened);
        Ok(head.progress.clone())
    }

    /// Starts the commit of everything that was accepted, after the one that runs.
    async fn start_commit(&mut self) -> Result<(), SinkError> {
        self.finish_commit().await?;
        let mut closed = Vec::new();
        for (name, table) in &mut self.open {
            let batch = table.close().map_err(|error| not_committed(name, error))?;
            closed.extend(batch.map(|batch| (name.clone(), batch)));
        }
        self.since = None;
        if closed.is_empty() {
            return Ok(());
        }
        let commit = async move {
            let mut rows = 0;
            for (name, batch) in closed {
                let committed = batch.commit().await;
                rows += committed.map_err(|error| not_committed(&name, error))?;
            }
            Ok(rows)
        };
        self.running = Some((tokio::spawn(commit), Instant::now()));
        Ok(())
    }

    /// Waits for the commit that runs.
    async fn finish_commit(&mut self) -> Result<(), SinkError> {
        let Some((commit, _)) = &mut self.running else {
            return Ok(());
        };
        let committed = commit.await;
        self.running = None;
        // A task that is not aborted ends without a value only by a panic.
        let panicked = |error: JoinError| std::panic::resume_unwind(error.into_panic());
        self.durable_rows += committed.unwrap_or_else(panicked)?;
        Ok(())
    }

    /// Looks at the commit that runs, without waiting.
    async fn observe_commit(&mut self) -> Result<(), SinkError> {
        match &self.running {
            Some((commit, _)) if commit.is_finished() => self.finish_commit().await,
            _ => Ok(()),
        }
    }
}

fn not_committed(name: &TableName, error: LakeError) -> SinkError {
    SinkError::caused(format!("batch of table `{name}` was not committed"), error).of_table(name)
}

impl Sink for LakeSink {
    async fn resume(
        &mut self,
        tables: &[TableName],
    ) -> Result<BTreeMap<TableName, Progress>, SinkError> {
        self.rollback().await?;
        let mut found = BTreeMap::new();
        for table in self.tables.clone() {
            let name = &table.options.table;
            if !tables.contains(name) {
                continue;
            }
            let progress = self.resume_table(&table).await?;
            if !progress.0.is_empty() {
                found.insert(name.clone(), progress);
            }
        }
        self.is_whole = true;
        Ok(found)
    }

    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        self.begin()?;
        self.observe_commit().await?;
        let name = batch.schema.table.clone();
        self.table(&name)?.write(batch).await.map_err(|error| {
            SinkError::caused(format!("rows of table `{name}` were not accepted"), error)
                .of_table(&name)
        })?;
        self.has_uncovered = true;
        self.since.get_or_insert_with(Instant::now);
        self.is_whole = true;
        Ok(())
    }

    async fn checkpoint(
        &mut self,
        progress: BTreeMap<TableName, ProgressDelta>,
    ) -> Result<Checkpointed, SinkError> {
        self.begin()?;
        self.observe_commit().await?;
        for (name, delta) in progress {
            self.since.get_or_insert_with(Instant::now);
            self.table(&name)?.progress.merge(delta);
        }
        self.has_uncovered = false;
        if self.is_full() {
            self.start_commit().await?;
        }
        self.is_whole = true;
        Ok(Checkpointed::Pending)
    }

    async fn flush(&mut self) -> Result<Checkpointed, SinkError> {
        self.begin()?;
        // Uncovered rows are in the same batches as covered ones, and without their progress the
        // next start would write them again.
        let checkpointed = if self.has_uncovered {
            Checkpointed::Pending
        } else {
            self.start_commit().await?;
            self.finish_commit().await?;
            let rows = std::mem::take(&mut self.durable_rows);
            Checkpointed::Durable { rows }
        };
        self.is_whole = true;
        Ok(checkpointed)
    }

    async fn start_flush(&mut self) -> Result<u64, SinkError> {
        if self.since.is_none() || self.has_uncovered {
            return Ok(self.flush().await?.durable_rows());
        }
        self.begin()?;
        self.start_commit().await?;
        self.is_whole = true;
        Ok(std::mem::take(&mut self.durable_rows))
    }

    fn due(&self) -> Option<Instant> {
        if self.has_uncovered {
            return None;
        }
        // A commit that runs alone is asked for its end, so that its rows are counted.
        let running = self.running.as_ref().map(|(_, started)| *started);
        self.since.or(running).map(|since| since + self.limits.age)
    }

    async fn requests(&mut self) -> BTreeMap<TableName, Request> {
        // Each look into a bucket costs a request.
        let is_due = self
            .asked
            .is_none_or(|at| at.elapsed() >= BUCKET_REQUESTS_INTERVAL);
        if is_due {
            self.asked = Some(Instant::now());
        }
        let open = self
            .tables
            .iter()
            .filter(|table| self.open.contains_key(&table.options.table))
            .filter(|table| is_due || !in_bucket(&table.path));
        open.filter_map(|table| Some((table.options.table.clone(), read_request(&table.path)?)))
            .collect()
    }

    async fn durable_end(&mut self, _table: &TableName) -> Option<DurableEnd> {
        Some(DurableEnd::default())
    }

    async fn is_in_lake(&mut self, _table: &TableName, _end: &DurableEnd) -> bool {
        true
    }

    async fn rollback(&mut self) -> Result<(), SinkError> {
        self.is_whole = false;
        self.has_uncovered = false;
        self.since = None;
        // Half a commit cannot be taken back, and the log is read after its end. The poll has had
        // the error of a failed one, or starts over anyway.
        if let Err(error) = self.finish_commit().await {
            tracing::debug!(%error, "the commit that ran has failed");
        }
        for mut table in std::mem::take(&mut self.open).into_values() {
            table.writer.discard().await;
        }
        Ok(())
    }
}

impl Table {
    async fn open(
        table: &LakeSinkTable,
        limits: Limits,
        owned: Option<&BTreeMap<KafkaPartition, u64>>,
    ) -> Result<Self, LakeError> {
        let mut writer = TableWriter::open(&table.path, table.options.clone(), limits).await?;
        for other in writer.others().unwrap_or_default() {
            let (table, process) = (&table.options.table, other.process());
            tracing::warn!(
                %table, process,
                "another process writes this lake: this process takes it over, and the other one \
                 ends with exit code 75"
            );
        }
        let heads = match owned {
            Some(owned) => writer.take_back(owned).await?,
            None => writer.take_over([PARTITION]).await?,
        };
        let durable = heads[&PARTITION].next.unwrap_or(Offset::ZERO);
        Ok(Self {
            writer,
            validator: Validator::new(table.rules.clone()),
            committed: durable,
            next: durable,
            progress: ProgressDelta::default(),
        })
    }

    async fn write(&mut self, batch: ChangeBatch) -> Result<(), WriteError> {
        let first = self.next;
        let unfit = position::unfit(&batch);
        // Rejected rows take offsets as well, so that the next start continues after them.
        let positioned = positioned(&batch, PARTITION, first);
        let (accepted, reasons) = self.validator.split(positioned, unfit)?;
        let rows = batch.rows.num_rows();
        self.next = Offset(first.0 + i64::try_from(rows).expect("a batch has fewer rows"));
        if accepted.rows.num_rows() > 0 {
            self.writer.append(accepted).await?;
        }
        let rejected = rejected(&batch, &reasons, PARTITION, first);
        if !rejected.is_empty() {
            self.writer.reject(rejected).await?;
        }
        Ok(())
    }

    /// Takes out the rows and the progress that are in no commit; `None` without any.
    fn close(&mut self) -> Result<Option<Closed>, LakeError> {
        if self.next == self.committed && self.progress.0.is_empty() {
            return Ok(None);
        }
        if self.next > self.committed {
            let range = OffsetRange {
                from: self.committed,
                next: self.next,
            };
            // Without a producer the sequence counts what the offset counts.
            let sequence = u64::try_from(self.next.0).expect("offsets count from zero");
            self.writer.cover(PARTITION, range, sequence)?;
        }
        self.committed = self.next;
        Ok(Some(Closed {
            batch: self.writer.take(),
            progress: std::mem::take(&mut self.progress),
        }))
    }
}

/// A batch of a table on its way into the log, with the progress that covers it.
struct Closed {
    batch: ClosedBatch,
    progress: ProgressDelta,
}

impl Closed {
    /// Returns the rows that became visible.
    async fn commit(self) -> Result<u64, LakeError> {
        let staged = self.batch.stage().await?;
        Ok(staged.commit(Some(self.progress)).await?.rows)
    }
}

/// Why rows were not accepted.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error(transparent)]
    Rule(#[from] crate::rules::RuleError),
}

impl Explain for WriteError {
    fn kind(&self) -> Kind {
        match self {
            Self::Lake(error) => error.kind(),
            Self::Rule(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Lake(error) => error.hint(),
            Self::Rule(error) => error.hint(),
        }
    }
}
