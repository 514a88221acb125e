//! One table's folder of the lake, and its commit log.
//!
//! ```text
//! date=2026-11-20/<kafka_partition>-<first offset>-<epoch>.parquet   data, immutable
//! _log/<seq>.json                                                    the commits; _log/_checkpoint.json is derived from them
//! _quarantine/<kafka_partition>-<first offset>-<epoch>.jsonl         rejected rows
//! _staging/                                                          invisible: files on their way, one lock a writer
//! ```
//!
//! A commit goes stage (files durable, invisible) -> log (put-if-absent of the next entry, **the
//! only commit point**) -> publish (rename) -> now and then a checkpoint of the log. A crash before
//! the entry leaves invisible litter; one behind it is rolled forward by whoever opens the folder.
//!
//! Promises: a plain `read_parquet('<folder>/**/*.parquet')` sees committed, complete files only,
//! at any moment; rows, the offsets that they cover and the poller's progress are durable in the
//! same step; a batch is committed once; who lost a kafka_partition to another writer cannot commit
//! for it. A commit of several files appears file by file, within milliseconds. Leaves to others:
//! where rows come from and which are rejected (`pipeline`), what the progress means (the poller).
//! Read in this order: [`entry`], [`head`], `log`, `writer`, [`stage`], `recover`.

pub mod batch;
mod claim;
mod columns;
mod dates;
pub mod entry;
pub mod error;
pub mod head;
mod log;
mod names;
pub mod quarantine;
mod recover;
pub mod stage;
mod store;
pub mod validate;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chrono_tz::Tz;
use inlet_model::ProgressDelta;
use inlet_model::TableName;
use inlet_model::{KafkaPartition, Offset, Offsets};

use self::claim::Claim;
pub use self::claim::{Writer, writers};
use self::entry::{DataFile, Entry};
pub use self::error::LakeError;
pub use self::head::{Head, PartitionHead};
use self::log::Log;
pub use self::quarantine::Rejected;
use self::stage::joined;
pub use self::stage::{OpenBatch, Staged};
use self::store::Store;
use self::writer::StagedFile;

/// A commit of so many files, with so few rows in each on an average, is worth a word.
const MANY_FILES: u64 = 500;
const FEW_ROWS: u64 = 20;

/// What a table's folder holds and how its rows are laid out.
#[derive(Debug, Clone)]
pub struct LakeOptions {
    /// The table.
    pub table: TableName,
    /// The zone in which a `timestamptz` has its date.
    pub timezone: Tz,
    /// The column that tells a row's date_partition; `None`: the table's event time, or else the
    /// date on which the row was found.
    pub date_column: Option<String>,
}

/// One table's folder, held by one writer. Cheap to clone; clones share the writer, and one commit
/// runs at a time.
#[derive(Debug, Clone)]
pub struct LakeTable {
    shared: Arc<Shared>,
    log: Arc<tokio::sync::Mutex<Log>>,
    /// The log's head, readable while a commit runs.
    head: Arc<RwLock<Arc<Head>>>,
}

/// What a commit made durable and visible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The entry's number.
    pub seq: u64,
    /// Rows that became visible.
    pub rows: u64,
    /// Rows that went to quarantine.
    pub quarantined: u64,
    /// Data files.
    pub files: u64,
    /// Bytes of the data files.
    pub bytes: u64,
    /// The next offset to read of every kafka_partition that was covered.
    pub offsets: Offsets,
}

/// What an open batch and the log share: the folder, who we are, and what we own.
#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    claim: Claim,
    options: LakeOptions,
    owned: Mutex<BTreeMap<KafkaPartition, u64>>,
}

impl LakeTable {
    /// Opens a table's folder as a writer: creates what is missing, reads the log, publishes what
    /// an interrupted commit left, removes what dead writers left.
    pub async fn open(path: &Path, options: LakeOptions) -> Result<Self, LakeError> {
        let path = path.to_owned();
        blocking(move || {
            let store = Arc::new(Store::create(&path)?);
            let claim = Claim::take(store.clone())?;
            let log = recover::open(&store, &options.table, &claim)?;
            let head = Arc::new(RwLock::new(Arc::new(log.head.clone())));
            let shared = Arc::new(Shared {
                store,
                claim,
                options,
                owned: Mutex::default(),
            });
            Ok(Self {
                shared,
                log: Arc::new(tokio::sync::Mutex::new(log)),
                head,
            })
        })
        .await
    }

    /// The head of a table's folder, read without becoming a writer; nothing is created or set
    /// right.
    pub async fn peek(path: &Path, table: &TableName) -> Result<Head, LakeError> {
        let (path, table) = (path.to_owned(), table.clone());
        blocking(move || Ok(Log::read(Arc::new(Store::existing(&path)), &table)?.0.head)).await
    }

    /// Tries in a folder that exists what a commit needs of its file system, with a file that is
    /// removed again.
    pub async fn probe(path: &Path) -> Result<(), LakeError> {
        let path = path.to_owned();
        blocking(move || Store::existing(&path).probe()).await
    }

    /// Where the lake stands, as far as this writer has read.
    pub fn head(&self) -> Arc<Head> {
        self.head
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The table's folder.
    pub fn path(&self) -> &Path {
        self.shared.store.root()
    }

    /// Files of the log that were looked for so far: what opening and refreshing cost.
    pub fn log_reads(&self) -> u64 {
        self.shared.store.reads()
    }

    /// Reads what other writers committed since.
    pub async fn refresh(&self) -> Result<Arc<Head>, LakeError> {
        self.with_log(|_, log| log.refresh()).await?;
        Ok(self.head())
    }

    /// Does what opening does, again: after an error, when it is not known what the disk holds.
    /// What is owned stays owned.
    pub async fn recover(&self) -> Result<Arc<Head>, LakeError> {
        self.with_log(|shared, log| {
            *log = recover::open(&shared.store, &shared.options.table, &shared.claim)?;
            Ok(())
        })
        .await?;
        Ok(self.head())
    }

    /// Takes kafka_partitions over: their earlier owners cannot commit any more. Returns where each
    /// stands.
    pub async fn acquire(
        &self,
        partitions: impl IntoIterator<Item = KafkaPartition>,
    ) -> Result<BTreeMap<KafkaPartition, PartitionHead>, LakeError> {
        let partitions: Vec<_> = partitions.into_iter().collect();
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let commit_id = uuid::Uuid::new_v4().to_string();
        self.with_log(move |shared, log| {
            recover::settle(log, |writer| writer == shared.claim.writer())?;
            let make = |head: &Head| {
                let mut entry =
                    Entry::new(&shared.options.table, shared.claim.writer(), &commit_id);
                entry.acquired = partitions
                    .iter()
                    .map(|partition| (*partition, head.partition(*partition).epoch + 1))
                    .collect();
                Ok(entry)
            };
            let entry = log.append(&shared.claim, make)?;
            // What the former owner committed last becomes visible before its place is read on
            // from.
            recover::settle(log, |_| true)?;
            shared.owned().extend(entry.acquired.clone());
            Ok(partitions
                .iter()
                .map(|partition| (*partition, log.head.partition(*partition)))
                .collect())
        })
        .await
    }

    /// Gives kafka_partitions up; batches that cover them are refused from now on.
    pub fn release(&self, partitions: impl IntoIterator<Item = KafkaPartition>) {
        let mut owned = self.shared.owned();
        partitions.into_iter().for_each(|partition| {
            owned.remove(&partition);
        });
    }

    /// Opens a batch. Several may be open; they are committed in the order of their offsets.
    pub fn writer(&self) -> OpenBatch {
        OpenBatch::new(self.shared.clone(), self.head().date_key.clone())
    }

    /// Makes a batch, its offsets and the progress that it brings durable and visible in one step,
    /// or not at all.
    ///
    /// Errors: `Conflict` when it does not start where the log ends, `Fenced` when a
    /// kafka_partition was taken over. After any other error the commit may have happened:
    /// [`LakeTable::recover`], then read on from the head.
    pub async fn commit(
        &self,
        staged: Staged,
        progress: Option<ProgressDelta>,
    ) -> Result<Committed, LakeError> {
        self.with_log(move |shared, log| commit(shared, log, staged, progress))
            .await
    }

    /// Runs `act` on the log on a blocking thread; it goes on to its end even when the caller stops
    /// waiting.
    async fn with_log<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Shared, &mut Log) -> Result<T, LakeError> + Send + 'static,
    ) -> Result<T, LakeError> {
        let mut log = self.log.clone().lock_owned().await;
        let (shared, head) = (self.shared.clone(), self.head.clone());
        blocking(move || {
            let result = act(&shared, &mut log);
            *head.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(log.head.clone());
            result
        })
        .await
    }
}

impl Shared {
    fn owned(&self) -> std::sync::MutexGuard<'_, BTreeMap<KafkaPartition, u64>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch under which we own a kafka_partition.
    fn epoch(&self, partition: KafkaPartition) -> Option<u64> {
        self.owned().get(&partition).copied()
    }
}

fn commit(
    shared: &Shared,
    log: &mut Log,
    staged: Staged,
    progress: Option<ProgressDelta>,
) -> Result<Committed, LakeError> {
    // What an earlier commit could not publish comes first: a writer that commits again has
    // published everything before.
    recover::settle(log, |writer| writer == shared.claim.writer())?;
    let nothing =
        staged.covered.is_empty() && progress.as_ref().is_none_or(|delta| delta.0.is_empty());
    if nothing {
        return Ok(committed(&Entry {
            seq: log.head.seq,
            ..Entry::new(
                &shared.options.table,
                shared.claim.writer(),
                &staged.commit_id,
            )
        }));
    }
    log.check_trusted()?;
    let entry = match log.append(&shared.claim, |head| {
        entry_of(shared, head, &staged, progress.as_ref())
    }) {
        Ok(entry) => entry,
        Err(error) => {
            if log.doubtful {
                staged.keep_files();
            }
            return Err(error);
        }
    };
    staged.keep_files();
    recover::settle(log, |writer| writer == shared.claim.writer())?;
    let files = entry.files.len() as u64;
    if files >= MANY_FILES && entry.rows < files * FEW_ROWS {
        let table = &shared.options.table;
        tracing::warn!(%table, rows = entry.rows, files, "a commit of few rows made many files, one for each date, and every query opens them all: name a column with fewer dates in `tables.<name>.date_column`, and a new `datalake.path`");
    }
    if log.checkpoint_due()
        && let Err(error) =
            recover::settle(log, |_| true).and_then(|_| log.write_checkpoint(&shared.claim))
    {
        // It only makes opening fast; the next commit tries again.
        tracing::warn!(table = %shared.options.table, %error, "the log's checkpoint was not written");
    }
    Ok(committed(&entry))
}

/// The entry that commits `staged` behind `head`, if it may be committed there.
fn entry_of(
    shared: &Shared,
    head: &Head,
    staged: &Staged,
    progress: Option<&ProgressDelta>,
) -> Result<Entry, LakeError> {
    let table = &shared.options.table;
    for (partition, covered) in &staged.covered {
        head.admit(*partition, covered)?;
    }
    if progress.is_some() {
        // Progress has no offset that shows who is late: it is the owner's alone.
        shared
            .owned()
            .iter()
            .try_for_each(|(partition, epoch)| head.admit_epoch(*partition, *epoch))?;
    }
    let encoded = &staged.encoded;
    if let (Some(known), Some(ours)) = (&head.date_key, &encoded.date_key)
        && known != ours
    {
        let reason = format!("changes the key of the folders by date from `{known}` to `{ours}`");
        return Err(LakeError::Column {
            table: table.clone(),
            column: known.clone(),
            reason,
        });
    }
    let mut entry = Entry::new(table, shared.claim.writer(), &staged.commit_id);
    let new = encoded
        .schemas
        .iter()
        .filter(|schema| !head.knows(schema.fingerprint()));
    entry.schemas = new
        .map(|schema| (schema.fingerprint().to_string(), (**schema).clone()))
        .collect();
    entry.date_key = encoded.date_key.clone().filter(|_| head.date_key.is_none());
    let epoch = |partition: KafkaPartition| {
        staged
            .covered
            .get(&partition)
            .map_or(0, |covered| covered.epoch)
    };
    let date_key = encoded.date_key.as_deref().unwrap_or_default();
    let data = |file: &StagedFile| {
        let path = |(partition, first): (KafkaPartition, Offset)| {
            names::data_file(
                date_key,
                file.date.as_deref(),
                partition,
                first,
                epoch(partition),
            )
        };
        data_file(file, path)
    };
    entry.files = encoded.files.iter().map(data).collect();
    let rejected = |file: &StagedFile| {
        data_file(file, |(partition, first)| {
            names::quarantine_file(partition, first, epoch(partition))
        })
    };
    entry.quarantine = encoded.quarantine.iter().map(rejected).collect();
    entry.offsets.clone_from(&staged.covered);
    entry.progress = progress.cloned().unwrap_or_default();
    (entry.rows, entry.quarantined) = (staged.rows, staged.rejected);
    assert_eq!(
        entry.files.iter().map(|file| file.rows).sum::<u64>(),
        entry.rows,
        "the files of a commit hold its rows"
    );
    Ok(entry)
}

fn data_file(file: &StagedFile, path: impl FnOnce((KafkaPartition, Offset)) -> String) -> DataFile {
    DataFile {
        path: path(file.first),
        staged: file.staged.clone(),
        rows: file.rows,
        bytes: file.bytes,
        date: file.date.clone(),
    }
}

fn committed(entry: &Entry) -> Committed {
    Committed {
        seq: entry.seq,
        rows: entry.rows,
        quarantined: entry.quarantined,
        files: entry.files.len() as u64,
        bytes: entry.files.iter().map(|file| file.bytes).sum(),
        offsets: entry
            .offsets
            .iter()
            .map(|(partition, covered)| (*partition, covered.next))
            .collect(),
    }
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, LakeError> + Send + 'static,
) -> Result<T, LakeError> {
    joined(tokio::task::spawn_blocking(act).await)
}
