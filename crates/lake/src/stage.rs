//! An open batch: rows on their way into staged files, and the offsets that they cover.
//!
//! Encoding and syncing run on a blocking thread of their own, fed through a bounded channel:
//! [`OpenBatch::append`] waits when it is full. An open batch that is dropped removes its files;
//! nothing of it was ever visible.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use inlet_model::change::ChangeBatch;
use inlet_model::{KafkaPartition, OffsetRange, Offsets};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Shared;
use super::entry::Covered;
use super::error::LakeError;
use super::quarantine::Rejected;
use super::writer::{Encoded, Encoder, StagedFile};

/// Batches between the caller and the encoding thread.
const WAITING_BATCHES_MAX: usize = 2;

enum Step {
    Rows(ChangeBatch),
    Rejected(Vec<Rejected>),
    Finish,
}

/// Rows that are not committed yet.
#[derive(Debug)]
pub struct OpenBatch {
    shared: Arc<Shared>,
    steps: mpsc::Sender<Step>,
    /// Taken once its result was asked for.
    encoder: Option<JoinHandle<Result<Option<Encoded>, LakeError>>>,
    encoded_bytes: Arc<AtomicU64>,
    covered: BTreeMap<KafkaPartition, Covered>,
    rows: u64,
    rejected: u64,
}

/// Files that are durable and invisible, with what they cover: ready to be committed. Dropped, they
/// are removed.
#[derive(Debug)]
pub struct Staged {
    pub(super) commit_id: String,
    pub(super) encoded: Encoded,
    pub(super) covered: BTreeMap<KafkaPartition, Covered>,
    pub(super) rows: u64,
    pub(super) rejected: u64,
}

impl OpenBatch {
    pub(super) fn new(shared: Arc<Shared>, date_key: Option<String>) -> Self {
        let (steps, received) = mpsc::channel(WAITING_BATCHES_MAX);
        let encoded_bytes = Arc::new(AtomicU64::new(0));
        let encoder = Encoder::new(shared.clone(), date_key);
        let bytes = encoded_bytes.clone();
        let encoder = tokio::task::spawn_blocking(move || encode(encoder, received, &bytes));
        Self {
            shared,
            steps,
            encoder: Some(encoder),
            encoded_bytes,
            covered: BTreeMap::new(),
            rows: 0,
            rejected: 0,
        }
    }

    /// Takes rows that have their position; waits when the encoder is behind.
    pub async fn append(&mut self, batch: ChangeBatch) -> Result<(), LakeError> {
        self.rows += batch.rows.num_rows() as u64;
        self.send(Step::Rows(batch)).await
    }

    /// Takes rows for quarantine.
    pub async fn reject(&mut self, rejected: Vec<Rejected>) -> Result<(), LakeError> {
        self.rejected += rejected.len() as u64;
        if rejected.is_empty() {
            Ok(())
        } else {
            self.send(Step::Rejected(rejected)).await
        }
    }

    /// Says that the rows of these offsets are all in this batch, appended, rejected or left out
    /// with right (duplicates, markers of transactions). `sequence` is the one that the next record
    /// must carry. Ranges of a kafka_partition follow each other.
    pub fn cover(
        &mut self,
        partition: KafkaPartition,
        range: OffsetRange,
        sequence: u64,
    ) -> Result<(), LakeError> {
        let wrong = |reason: &str| {
            let reason = format!(
                "offsets {}..{} of kafka_partition {} {reason}",
                range.from.0, range.next.0, partition.0
            );
            Err(LakeError::batch(&self.shared.options.table, reason))
        };
        let Some(epoch) = self.shared.epoch(partition) else {
            return wrong("are not ours to write");
        };
        if range.next < range.from {
            return wrong("run backwards");
        }
        match self.covered.get_mut(&partition) {
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

    /// Rows appended.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows rejected.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Bytes that the data files will have, about.
    pub fn bytes(&self) -> u64 {
        self.encoded_bytes.load(Ordering::Relaxed)
    }

    /// True when a commit of this batch would change nothing but the poller's progress.
    pub fn is_empty(&self) -> bool {
        self.covered.is_empty() && self.rows == 0 && self.rejected == 0
    }

    /// The next offset to read of every kafka_partition that the batch covers.
    pub fn offsets(&self) -> Offsets {
        self.covered
            .iter()
            .map(|(partition, covered)| (*partition, covered.next))
            .collect()
    }

    /// Closes all files and makes them durable, still invisible.
    pub async fn stage(mut self) -> Result<Staged, LakeError> {
        self.send(Step::Finish).await?;
        let encoded = self.end().await?.ok_or_else(|| {
            LakeError::batch(&self.shared.options.table, "its encoder failed before")
        })?;
        let commit_id = uuid::Uuid::new_v4().to_string();
        let staged = Staged {
            commit_id,
            encoded,
            covered: self.covered,
            rows: self.rows,
            rejected: self.rejected,
        };
        staged
            .check()
            .map_err(|reason| LakeError::batch(&self.shared.options.table, reason))?;
        Ok(staged)
    }

    /// Throws the rows away; their files are gone when this returns.
    pub async fn drop_open(self) {
        let Self { steps, encoder, .. } = self;
        drop(steps);
        if let Some(encoder) = encoder {
            // Whatever went wrong in there went away with the rows.
            let _ = encoder.await;
        }
    }

    async fn send(&mut self, step: Step) -> Result<(), LakeError> {
        if self.steps.send(step).await.is_ok() {
            return Ok(());
        }
        // The encoder lets go of the channel only when it failed: why is told once.
        self.end().await?;
        Err(LakeError::batch(
            &self.shared.options.table,
            "its encoder failed before",
        ))
    }

    async fn end(&mut self) -> Result<Option<Encoded>, LakeError> {
        match self.encoder.take() {
            Some(encoder) => joined(encoder.await),
            None => Ok(None),
        }
    }
}

impl Staged {
    /// Rows in the data files.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows in quarantine.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Bytes of the data files.
    pub fn bytes(&self) -> u64 {
        self.encoded.files.iter().map(|file| file.bytes).sum()
    }

    /// The next offset to read of every kafka_partition that is covered.
    pub fn offsets(&self) -> Offsets {
        self.covered
            .iter()
            .map(|(partition, covered)| (*partition, covered.next))
            .collect()
    }

    /// The files stay: from here on the log decides what becomes of them.
    pub(super) fn keep_files(self) {
        self.encoded
            .files
            .into_iter()
            .chain(self.encoded.quarantine)
            .for_each(|StagedFile { litter, .. }| litter.disarm());
    }

    /// What was given in must be what the files hold, and lie in what is covered: else a row could
    /// be lost or doubled.
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
        for (partition, positions) in &self.encoded.positions {
            let covered = self.covered.get(partition).ok_or(format!(
                "it has rows of kafka_partition {} and does not cover it",
                partition.0
            ))?;
            let offsets = covered.next.0 - covered.from.0;
            if positions.first < covered.from
                || positions.last >= covered.next
                || i128::from(positions.rows) > i128::from(offsets)
            {
                return Err(format!(
                    "its rows of kafka_partition {} are not those of the offsets that it covers",
                    partition.0
                ));
            }
        }
        Ok(())
    }
}

/// The encoding thread: ends when it was told to finish, or when the batch was dropped.
fn encode(
    mut encoder: Encoder,
    mut steps: mpsc::Receiver<Step>,
    bytes: &AtomicU64,
) -> Result<Option<Encoded>, LakeError> {
    while let Some(step) = steps.blocking_recv() {
        match step {
            Step::Rows(batch) => encoder.take(&batch)?,
            Step::Rejected(rejected) => encoder.reject(&rejected)?,
            Step::Finish => return encoder.finish().map(Some),
        }
        bytes.store(encoder.bytes(), Ordering::Relaxed);
    }
    Ok(None)
}

/// The result of a blocking thread; its panic goes on where it is awaited.
pub(super) fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    result.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => panic!("the runtime ended under a thread of the lake: {error}"),
    })
}
