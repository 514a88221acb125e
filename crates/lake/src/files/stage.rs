//! An open batch: rows on their way into staged files, and the offsets that they cover.
//!
//! Encoding and syncing run on a blocking thread, fed through a bounded channel;
//! [`OpenBatch::append`] waits while the channel is full. Dropping an open batch removes its files,
//! which were never visible.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use inlet_model::change::{ChangeBatch, Origin};
use inlet_model::{KafkaPartition, OffsetRange};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::encoder::{Encoded, Encoder, Layout, StagedFile};
use super::quarantine::Rejected;
use crate::commit::{Covered, Repaired};
use crate::error::LakeError;
use crate::folder::Folder;

/// Batches between the caller and the encoding thread.
const WAITING_BATCHES_MAX: usize = 2;

enum Step {
    Rows(ChangeBatch),
    Rejected(Vec<Rejected>),
    Finish,
}

/// When the first row of a batch arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchStart {
    at: Instant,
    by_clock: SystemTime,
}

impl BatchStart {
    fn now() -> Self {
        Self {
            at: Instant::now(),
            by_clock: SystemTime::now(),
        }
    }

    /// The time since then, at least. `Instant` does not count the time in which the machine was
    /// suspended, and the clock may have been set.
    pub fn age(self) -> Duration {
        let by_clock = self.by_clock.elapsed().unwrap_or_default();
        self.at.elapsed().max(by_clock)
    }
}

/// Rows that are not committed yet.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    folder: Arc<Folder>,
    began: BatchStart,
    steps: mpsc::Sender<Step>,
    /// `None` once its result was awaited.
    encoder: Option<JoinHandle<Result<Option<Encoded>, LakeError>>>,
    encoded_bytes: Arc<AtomicU64>,
    covered: BTreeMap<KafkaPartition, Covered>,
    repaired: Repaired,
    rows: u64,
    rejected: u64,
}

/// Files that are durable and invisible, with the offsets that they cover. Dropping it removes the
/// files.
#[derive(Debug)]
pub(crate) struct Staged {
    pub commit_id: String,
    pub began: BatchStart,
    pub encoded: Encoded,
    pub covered: BTreeMap<KafkaPartition, Covered>,
    /// The offsets of rows that a repair brought.
    pub repaired: Repaired,
    /// The epochs under which the writer owned kafka_partitions when it closed the batch.
    pub owned: BTreeMap<KafkaPartition, u64>,
    pub rows: u64,
    pub rejected: u64,
}

impl OpenBatch {
    pub fn new(folder: Arc<Folder>, layout: Layout) -> Self {
        // A full channel holds the poll or the consumer back, so that memory stays bounded.
        let (steps, received) = mpsc::channel(WAITING_BATCHES_MAX);
        let encoded_bytes = Arc::new(AtomicU64::new(0));
        let encoder = Encoder::new(folder.clone(), layout);
        let bytes = encoded_bytes.clone();
        let encoder = tokio::task::spawn_blocking(move || encode(encoder, received, &bytes));
        Self {
            folder,
            began: BatchStart::now(),
            steps,
            encoder: Some(encoder),
            encoded_bytes,
            covered: BTreeMap::new(),
            repaired: Repaired::default(),
            rows: 0,
            rejected: 0,
        }
    }

    /// Appends rows that have their position; waits while the encoder is busy.
    pub async fn append(&mut self, batch: ChangeBatch) -> Result<(), LakeError> {
        // Counted before the encoder has them: `check` compares this with the rows of the files.
        self.rows += batch.rows.num_rows() as u64;
        if batch.origin == Origin::Repair {
            self.repaired.add(&batch);
        }
        self.send(Step::Rows(batch)).await
    }

    /// Appends rows for quarantine.
    pub async fn reject(&mut self, rejected: Vec<Rejected>) -> Result<(), LakeError> {
        self.rejected += rejected.len() as u64;
        if rejected.is_empty() {
            Ok(())
        } else {
            self.send(Step::Rejected(rejected)).await
        }
    }

    /// Declares that the batch holds every row of these offsets: appended, rejected, or left out by
    /// design (duplicates, transaction markers). `epoch` is the one under which the writer owns the
    /// kafka_partition, `sequence` the one that the next record must carry. Ranges of a
    /// kafka_partition follow each other.
    pub fn cover(
        &mut self,
        partition: KafkaPartition,
        range: OffsetRange,
        epoch: Option<u64>,
        sequence: u64,
    ) -> Result<(), LakeError> {
        let wrong = |reason: &str| {
            let reason = format!(
                "offsets {}..{} of kafka_partition {} {reason}",
                range.from.0, range.next.0, partition.0
            );
            Err(self.folder.batch_error(reason))
        };
        let Some(epoch) = epoch else {
            return wrong("are not ours to write");
        };
        if range.next < range.from {
            return wrong("run backwards");
        }
        match self.covered.get_mut(&partition) {
            // A different epoch means that the kafka_partition was lost and taken over again since
            // the batch was opened: another writer may have committed in between.
            Some(covered) if covered.next != range.from || covered.epoch != epoch => {
                wrong("do not follow what the batch covers")
            }
            Some(covered) => {
                (covered.next, covered.sequence) = (range.next, sequence);
                Ok(())
            }
            None => {
                self.covered.insert(
                    partition,
                    Covered {
                        from: range.from,
                        next: range.next,
                        epoch,
                        sequence,
                    },
                );
                Ok(())
            }
        }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// The approximate size of the data files.
    pub fn bytes(&self) -> u64 {
        self.encoded_bytes.load(Ordering::Relaxed)
    }

    /// Closes all files and makes them durable, still invisible.
    pub async fn stage(
        mut self,
        owned: BTreeMap<KafkaPartition, u64>,
    ) -> Result<Staged, LakeError> {
        self.send(Step::Finish).await?;
        let encoded = self.end().await?.ok_or_else(|| self.encoder_failed())?;
        // Chosen before the commit, so that a lost answer can be recognized in the log.
        let commit_id = uuid::Uuid::new_v4().to_string();
        let staged = Staged {
            commit_id,
            began: self.began,
            encoded,
            covered: self.covered,
            repaired: self.repaired,
            owned,
            rows: self.rows,
            rejected: self.rejected,
        };
        staged
            .check()
            .map_err(|reason| self.folder.batch_error(reason))?;
        Ok(staged)
    }

    /// Discards the rows and removes their files.
    pub async fn discard(self) {
        let Self { steps, encoder, .. } = self;
        // The encoder ends when its channel closes.
        drop(steps);
        if let Some(encoder) = encoder {
            // An error of the encoder concerns only rows that are discarded.
            let _ = encoder.await;
        }
    }

    async fn send(&mut self, step: Step) -> Result<(), LakeError> {
        if self.steps.send(step).await.is_ok() {
            return Ok(());
        }
        // The encoder closes the channel only when it failed. The first caller gets the reason.
        self.end().await?;
        Err(self.encoder_failed())
    }

    fn encoder_failed(&self) -> LakeError {
        self.folder.batch_error("its encoder failed before")
    }

    async fn end(&mut self) -> Result<Option<Encoded>, LakeError> {
        match self.encoder.take() {
            Some(encoder) => joined(encoder.await),
            None => Ok(None),
        }
    }
}

impl Staged {
    /// Leaves the files on the disk: from here on the log decides whether they are published.
    pub fn keep_files(self) {
        for StagedFile { path, .. } in self
            .encoded
            .files
            .into_iter()
            .chain(self.encoded.quarantine)
        {
            // From the commit on the files belong to the log; recovery renames or removes them.
            path.keep();
        }
    }

    /// Checks that the files hold the rows that were appended, and that these are in the covered
    /// offsets: otherwise a row could be lost or duplicated.
    fn check(&self) -> Result<(), String> {
        let in_files: u64 = self.encoded.files.iter().map(|file| file.rows).sum();
        if in_files != self.rows {
            return Err(format!(
                "its files hold {in_files} rows instead of {}",
                self.rows
            ));
        }
        let in_quarantine = self.encoded.quarantine.as_ref().map_or(0, |file| file.rows);
        if in_quarantine != self.rejected {
            return Err(format!(
                "its quarantine holds {in_quarantine} rows instead of {}",
                self.rejected
            ));
        }
        // Their numbers may differ: markers and duplicates have offsets and no row, and a message
        // has one offset for all its rows.
        for (partition, positions) in &self.encoded.positions {
            let covered = self.covered.get(partition).ok_or(format!(
                "it has rows of kafka_partition {} and does not cover it",
                partition.0
            ))?;
            if positions.first < covered.from || positions.last >= covered.next {
                return Err(format!(
                    "its rows of kafka_partition {} are not those of the offsets that it covers",
                    partition.0
                ));
            }
        }
        Ok(())
    }
}

/// The encoding thread: ends after [`Step::Finish`], or when the batch is dropped.
fn encode(
    mut encoder: Encoder,
    mut steps: mpsc::Receiver<Step>,
    bytes: &AtomicU64,
) -> Result<Option<Encoded>, LakeError> {
    while let Some(step) = steps.blocking_recv() {
        match step {
            Step::Rows(batch) => encoder.append(&batch)?,
            Step::Rejected(rejected) => encoder.reject(&rejected)?,
            Step::Finish => return encoder.finish().map(Some),
        }
        // Only the size limit reads this, for which a slightly old value is good enough.
        bytes.store(encoder.bytes(), Ordering::Relaxed);
    }
    Ok(None)
}

/// The result of a blocking thread; its panic continues where it is awaited.
pub(crate) fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    result.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => panic!("the runtime ended under a thread of the lake: {error}"),
    })
}
