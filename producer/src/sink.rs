//! Where changes and the progress that covers them become durable together.

use std::collections::BTreeMap;

use inlet_model::TableName;
use inlet_model::change::ChangeBatch;
use inlet_model::{Progress, ProgressDelta};
use inlet_service::error::{Hint, Kind};

pub mod kafka;
pub mod memory;

/// A sink of the poll: Kafka, or the lake itself when there is no broker.
///
/// Contract: what was written since the last durable point is invisible until the
/// [`Sink::checkpoint`] that covers it is durable; then rows and progress appear together or not at
/// all. After any error, or [`Sink::rollback`], only [`Sink::resume`] may be called next.
#[allow(async_fn_in_trait)] // One process drives one sink on one task; no caller needs the future to be `Send` by name.
pub trait Sink {
    /// Throws away all that is not durable, takes ownership (older owners are fenced) and reads
    /// back what is durable. A table without progress is absent from the answer.
    async fn resume(
        &mut self,
        tables: &[TableName],
    ) -> Result<BTreeMap<TableName, Progress>, SinkError>;

    /// Takes a batch; waits when the sink is full.
    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError>;

    /// Everything written so far is covered by this progress. Kafka makes it durable at once; the
    /// lake when its file is due.
    async fn checkpoint(
        &mut self,
        progress: BTreeMap<TableName, ProgressDelta>,
    ) -> Result<Checkpoint, SinkError>;

    /// Makes every checkpoint so far durable.
    async fn flush(&mut self) -> Result<Checkpoint, SinkError>;

    /// When [`Sink::flush`] is due although no checkpoint comes; `None` when nothing waits.
    fn due(&self) -> Option<tokio::time::Instant>;

    /// Throws away what is not durable.
    async fn rollback(&mut self) -> Result<(), SinkError>;
}

/// What a checkpoint or a flush made durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Rows that are durable and visible since the checkpoint before.
    pub rows: u64,
}

/// Why a sink could not do it.
#[derive(Debug, thiserror::Error)]
#[error("{act}")]
pub struct SinkError {
    /// What it means.
    pub kind: Kind,
    /// What was being done, with its object.
    pub act: String,
    /// How to mend it.
    pub hint: Option<Hint>,
    /// Why it failed.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl inlet_service::error::Explain for SinkError {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn hint(&self) -> Option<Hint> {
        self.hint.clone()
    }
}
