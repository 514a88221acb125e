//! Writing one table's lake: rows into an open batch, and batches into the log.
//!
//! The consumer and [`crate::LakeSink`] use it alike. Rows, rejected rows and the offsets that they
//! cover go into one open batch. [`TableWriter::commit`] makes the batch durable at once;
//! [`TableWriter::close`] hands it out, so that its commit runs while the next batch is filled. The
//! commits of one writer run one at a time, in the order of the offsets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inlet_model::ProgressDelta;
use inlet_model::change::ChangeBatch;
use inlet_model::{KafkaPartition, OffsetRange};
use tokio::sync::{Mutex, watch};

use crate::batch::{Limits, Size};
use crate::commit::{self, Head, Log, PartitionHead, TakeOver, Writer};
use crate::committed::Committed;
use crate::compaction::{Background, Compactor};
use crate::error::LakeError;
use crate::files::{Layout, OpenBatch, Rejected, Staged, joined};
use crate::folder::Folder;
use crate::metrics;
use crate::options::LakeOptions;

/// A writer of one table's folder.
#[derive(Debug)]
pub struct TableWriter {
    lake: Arc<Lake>,
    limits: Limits,
    /// The kafka_partitions that this writer took over, with their epochs.
    owned: BTreeMap<KafkaPartition, u64>,
    open: Option<Open>,
    _compaction: Option<Background>,
}

/// A batch that takes no more rows, with what its commit needs.
#[derive(Debug)]
#[must_use = "a closed batch that is dropped removes its rows"]
pub struct ClosedBatch {
    lake: Arc<Lake>,
    owned: BTreeMap<KafkaPartition, u64>,
    open: Open,
}

/// A batch whose files are durable and invisible. Dropping it removes the files.
#[derive(Debug)]
#[must_use = "a staged batch that is dropped removes its rows"]
pub struct StagedBatch {
    lake: Arc<Lake>,
    staged: Staged,
    newest: Option<i64>,
}

/// What a writer shares with its commits, and with the merging of its files.
#[derive(Debug)]
pub(crate) struct Lake {
    pub folder: Arc<Folder>,
    /// Held by the commit that runs.
    pub log: Arc<Mutex<Log>>,
    /// The log's head, which can be read while a commit runs.
    pub head: watch::Sender<Arc<Head>>,
}

#[derive(Debug)]
struct Open {
    batch: OpenBatch,
    since: Instant,
    /// Server time of the newest snapshot in the batch, microseconds since 1970-01-01 UTC.
    newest: Option<i64>,
}

impl TableWriter {
    /// Opens a table's folder: creates what is missing, reads the log, publishes what an
    /// interrupted commit left, and removes what dead writers left. Refuses a lake whose rows are
    /// numbered by someone else: by a topic instead of by the lake, or the reverse.
    pub async fn open(
        path: &Path,
        options: LakeOptions,
        limits: Limits,
    ) -> Result<Self, LakeError> {
        let path = path.to_owned();
        blocking(move || {
            let lake = Arc::new(Lake::open(&path, options, Folder::check)?);
            Ok(Self {
                _compaction: None,
                lake,
                limits,
                owned: BTreeMap::new(),
                open: None,
            })
        })
        .await
        .map(Self::with_compaction)
    }

    /// Starts to merge files beside the commits, where the options ask for it.
    fn with_compaction(self) -> Self {
        let options = self.lake.folder.options.compaction;
        let start = |options| Compactor::in_background(self.lake.clone(), options);
        Self {
            _compaction: options.map(start),
            ..self
        }
    }

    /// The lake after the last entry that this writer has read.
    pub fn head(&self) -> Arc<Head> {
        self.lake.head.borrow().clone()
    }

    /// The number of reads of the log's files so far.
    pub fn log_reads(&self) -> u64 {
        self.lake.folder.store.reads()
    }

    /// The other processes that write this folder now.
    pub fn others(&self) -> Result<Vec<Writer>, LakeError> {
        let folder = &self.lake.folder;
        let mut writers = commit::writers(folder.store.root())?;
        writers.retain(|other| other.alive && other.name != folder.claim.writer());
        Ok(writers)
    }

    /// Takes kafka_partitions over: their former owners can no longer commit. Returns the head of
    /// each, where reading continues.
    pub async fn take_over(
        &mut self,
        partitions: impl IntoIterator<Item = KafkaPartition>,
    ) -> Result<BTreeMap<KafkaPartition, PartitionHead>, LakeError> {
        let wanted = partitions.into_iter().map(|partition| (partition, None));
        self.own(wanted.collect()).await
    }

    /// Takes kafka_partitions back that an earlier writer of this process owned with these epochs.
    ///
    /// Fails with [`LakeError::Fenced`] when another process took one over in the meantime.
    pub async fn take_back(
        &mut self,
        owned: &BTreeMap<KafkaPartition, u64>,
    ) -> Result<BTreeMap<KafkaPartition, PartitionHead>, LakeError> {
        let wanted = owned
            .iter()
            .map(|(partition, epoch)| (*partition, Some(*epoch)));
        self.own(wanted.collect()).await
    }

    /// The kafka_partitions that this writer owns, with their epochs.
    pub fn owned(&self) -> &BTreeMap<KafkaPartition, u64> {
        &self.owned
    }

    /// Gives all kafka_partitions up: a batch can no longer cover them.
    pub fn release(&mut self) {
        self.owned.clear();
    }

    /// Declares that the open batch holds every row of these offsets: appended, rejected, or left
    /// out by design (duplicates, transaction markers). `sequence` is the one that the next record
    /// must carry. Ranges of a kafka_partition follow each other.
    pub fn cover(
        &mut self,
        partition: KafkaPartition,
        range: OffsetRange,
        sequence: u64,
    ) -> Result<(), LakeError> {
        // The epoch is bound to the batch here: a later take-over must not give it a newer one.
        let epoch = self.owned.get(&partition).copied();
        self.batch().batch.cover(partition, range, epoch, sequence)
    }

    /// Appends rows that have their position; waits while the encoder is busy.
    pub async fn append(&mut self, rows: ChangeBatch) -> Result<(), LakeError> {
        let open = self.batch();
        open.newest = open.newest.max(Some(rows.detected_at));
        open.batch.append(rows).await
    }

    /// Appends rows for quarantine.
    pub async fn reject(&mut self, rejected: Vec<Rejected>) -> Result<(), LakeError> {
        self.batch().batch.reject(rejected).await
    }

    /// The size of the open batch; `None` without one.
    pub fn size(&self) -> Option<Size> {
        let open = self.open.as_ref()?;
        Some(Size {
            rows: open.batch.rows() + open.batch.rejected(),
            bytes: open.batch.bytes(),
            since: open.since,
        })
    }

    /// The time at which the open batch is due; `None` without one.
    pub fn due(&self) -> Option<Instant> {
        Some(self.limits.due(&self.size()?))
    }

    /// True when the open batch has reached the limit of rows or bytes.
    pub fn is_full(&self) -> bool {
        self.size().is_some_and(|size| self.limits.is_full(&size))
    }

    /// Takes the open batch out, to be committed while the next one is filled.
    pub fn close(&mut self) -> Option<ClosedBatch> {
        let open = self.open.take()?;
        Some(ClosedBatch {
            lake: self.lake.clone(),
            owned: self.owned.clone(),
            open,
        })
    }

    /// Makes the open batch, its offsets and `progress` durable in one step, or not at all; then
    /// makes its files visible, one after the other. After a crash in between, the next opening of
    /// the folder makes the rest visible. Without an open batch the progress is committed alone.
    ///
    /// After [`LakeError::Conflict`] (the batch does not start where the log ends) and
    /// [`LakeError::Fenced`] (a kafka_partition was taken over) nothing was committed. After any
    /// other error the commit may have happened: open the folder again and continue at its head.
    pub async fn commit(
        &mut self,
        progress: Option<ProgressDelta>,
    ) -> Result<Committed, LakeError> {
        self.take().stage().await?.commit(progress).await
    }

    /// Takes the open batch out as [`Self::close`] does; an empty one where none is open.
    pub fn take(&mut self) -> ClosedBatch {
        self.batch();
        self.close().expect("a batch is open")
    }

    /// Discards the open batch and removes its files.
    pub async fn discard(&mut self) {
        if let Some(open) = self.open.take() {
            open.batch.discard().await;
        }
    }

    fn batch(&mut self) -> &mut Open {
        self.open.get_or_insert_with(|| {
            let head = self.lake.head.borrow();
            let layout = Layout {
                date_key: head.date_key.clone(),
                names: head.names.clone(),
            };
            Open {
                batch: OpenBatch::new(self.lake.folder.clone(), layout),
                since: Instant::now(),
                newest: None,
            }
        })
    }

    async fn own(
        &mut self,
        wanted: TakeOver,
    ) -> Result<BTreeMap<KafkaPartition, PartitionHead>, LakeError> {
        let act = move |folder: &Folder, log: &mut Log| commit::take_over(folder, log, &wanted);
        let heads = self.lake.with_log(act).await?;
        let epochs = heads
            .iter()
            .map(|(partition, head)| (*partition, head.epoch));
        self.owned.extend(epochs);
        Ok(heads)
    }
}

impl ClosedBatch {
    /// Makes the batch's files durable, still invisible.
    pub async fn stage(self) -> Result<StagedBatch, LakeError> {
        Ok(StagedBatch {
            staged: self.open.batch.stage(self.owned).await?,
            newest: self.open.newest,
            lake: self.lake,
        })
    }

    /// Stages and commits the batch, without progress. See [`TableWriter::commit`].
    pub async fn commit(self) -> Result<Committed, LakeError> {
        self.stage().await?.commit(None).await
    }
}

impl StagedBatch {
    /// Commits the batch. See [`TableWriter::commit`].
    pub async fn commit(self, progress: Option<ProgressDelta>) -> Result<Committed, LakeError> {
        let Self {
            lake,
            staged,
            newest,
        } = self;
        let act = move |folder: &Folder, log: &mut Log| {
            let entry = commit::commit(folder, log, staged, progress.as_ref())?;
            Ok(entry.map_or_else(
                || Committed::nothing(log.head.seq),
                |entry| Committed::of(&entry),
            ))
        };
        let committed = Committed {
            freshness: newest.map(age),
            ..lake.with_log(act).await?
        };
        lake.report(&committed);
        Ok(committed)
    }
}

impl Lake {
    /// Opens a folder as a writer that `check` admits. Blocking.
    pub fn open(
        path: &Path,
        options: LakeOptions,
        check: impl FnOnce(&Folder, &Head) -> Result<(), LakeError>,
    ) -> Result<Self, LakeError> {
        let folder = Folder::open(path, options)?;
        let log = commit::open(&folder.store, &folder.options.table, &folder.claim)?;
        check(&folder, &log.head)?;
        Ok(Self {
            head: watch::Sender::new(Arc::new(log.head.clone())),
            folder: Arc::new(folder),
            log: Arc::new(Mutex::new(log)),
        })
    }

    /// The head of the log, all of whose files are published. Blocking.
    pub fn published_head(&self) -> Result<Head, LakeError> {
        let mut log = self.log.blocking_lock();
        log.check_trusted()?;
        log.catch_up()?;
        commit::publish_pending(&mut log, &self.folder.claim, |_| true)?;
        Ok(log.head.clone())
    }

    /// Runs `act` on the log on a blocking thread. It runs to its end even when the caller stops
    /// waiting, because half a commit cannot be taken back.
    async fn with_log<T: Send + 'static>(
        self: &Arc<Self>,
        act: impl FnOnce(&Folder, &mut Log) -> Result<T, LakeError> + Send + 'static,
    ) -> Result<T, LakeError> {
        let mut log = self.log.clone().lock_owned().await;
        let lake = self.clone();
        blocking(move || {
            let result = act(&lake.folder, &mut log);
            // Also after an error: entries of other writers may have been read.
            lake.head.send_replace(Arc::new(log.head.clone()));
            result
        })
        .await
    }

    fn report(&self, committed: &Committed) {
        let table = &self.folder.options.table;
        metrics::committed(&table.to_string(), committed);
        let freshness_ms = committed
            .freshness
            .map(|freshness| freshness.as_millis() as u64);
        if committed.rows + committed.quarantined > 0 {
            tracing::info!(
                %table,
                seq = committed.seq,
                rows = committed.rows,
                quarantined = committed.quarantined,
                files = committed.files,
                freshness_ms,
                "batch committed"
            );
        }
    }
}

/// The time since a moment of PostgreSQL's clock, which may be ahead of this one.
fn age(micros: i64) -> Duration {
    let age = chrono::Utc::now().timestamp_micros() - micros;
    Duration::from_micros(u64::try_from(age).unwrap_or(0))
}

pub(crate) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, LakeError> + Send + 'static,
) -> Result<T, LakeError> {
    joined(tokio::task::spawn_blocking(act).await)
}
