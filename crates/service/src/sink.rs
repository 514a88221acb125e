//! Where changes and the progress that covers them become durable together.
//!
//! The poll writes into a [`Sink`] without knowing which one: Kafka, or the lake itself when there
//! is no broker. Both run the claims of `inlet-sink-contract`, and so does the sink in memory that
//! the tests of the poll use.

use std::collections::BTreeMap;

use inlet_model::TableName;
use inlet_model::change::ChangeBatch;
use inlet_model::{KafkaPartition, Offset, Progress, ProgressDelta, Request};

use crate::error::{Explain, Hint, Kind};

/// A sink of the poll.
///
/// Contract: what was written since the last durable point is invisible until the
/// [`Sink::checkpoint`] that covers it is durable; then rows and progress appear together or not at
/// all. After any error, or [`Sink::rollback`], only [`Sink::resume`] may be called next; any other
/// call fails with [`Kind::Bug`].
// One process drives one sink on one task, so no caller needs to name the futures as `Send`.
#[allow(async_fn_in_trait)]
pub trait Sink {
    /// Discards what is not durable, takes ownership and returns the durable progress. Earlier
    /// owners are fenced; a sink that was fenced itself stays fenced. A table without progress is
    /// absent from the answer.
    async fn resume(
        &mut self,
        tables: &[TableName],
    ) -> Result<BTreeMap<TableName, Progress>, SinkError>;

    /// Accepts a batch; waits while the sink is full.
    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError>;

    /// Accepts the progress that covers everything written so far. The answer tells whether both
    /// are durable already or wait for [`Sink::flush`].
    async fn checkpoint(
        &mut self,
        progress: BTreeMap<TableName, ProgressDelta>,
    ) -> Result<Checkpointed, SinkError>;

    /// Makes every pending checkpoint durable. Rows that no checkpoint covers stay invisible; while
    /// there are any, the answer may be [`Checkpointed::Pending`].
    async fn flush(&mut self) -> Result<Checkpointed, SinkError>;

    /// Starts what [`Sink::flush`] does, and returns before its end where the sink accepts rows
    /// meanwhile; an error is then that of the next call. Returns the rows that became durable
    /// since the last answer with a number of rows.
    async fn start_flush(&mut self) -> Result<u64, SinkError> {
        Ok(self.flush().await?.durable_rows())
    }

    /// The time at which [`Sink::start_flush`] is due even if no other checkpoint arrives; `None`
    /// while every checkpoint is durable.
    fn due(&self) -> Option<tokio::time::Instant>;

    /// What users ask of the tables that were resumed: the last request of each, as far as it has
    /// arrived. Changes nothing; a store that does not answer at the moment shows nothing new.
    async fn requests(&mut self) -> BTreeMap<TableName, Request>;

    /// Where the records of a table end that are durable; [`Sink::is_in_lake`] tells later whether
    /// the lake has them. `None` where that cannot be known, or not at the moment.
    async fn durable_end(&mut self, table: &TableName) -> Option<DurableEnd>;

    /// True when the lake has everything of the table before this end. A store that does not answer
    /// shows nothing new.
    async fn is_in_lake(&mut self, table: &TableName, end: &DurableEnd) -> bool;

    /// Discards what is not durable.
    async fn rollback(&mut self) -> Result<(), SinkError>;
}

/// Where the durable records of a table end, in each kafka_partition of its topic; empty where what
/// is durable is in the lake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DurableEnd(pub BTreeMap<KafkaPartition, Offset>);

/// What became of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpointed {
    /// The sink has accepted rows and progress; a crash now discards both.
    Pending,
    /// Everything written before is durable and visible, and its progress with it.
    Durable {
        /// Rows that became durable with this call.
        rows: u64,
    },
}

impl Checkpointed {
    /// Rows that became durable with this call.
    pub fn durable_rows(self) -> u64 {
        match self {
            Self::Pending => 0,
            Self::Durable { rows } => rows,
        }
    }
}

/// Why a call of a sink failed.
#[derive(Debug, thiserror::Error)]
#[error("{act}")]
pub struct SinkError {
    /// What the error means for the process.
    pub kind: Kind,
    /// What was being done, with its object.
    pub act: String,
    /// What the user can do about it.
    pub hint: Option<Hint>,
    /// The table whose rows were refused; `None` where the sink has failed for every table.
    pub table: Option<TableName>,
    /// The cause below this error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SinkError {
    /// An error without a cause below it.
    pub fn new(kind: Kind, act: impl Into<String>) -> Self {
        Self {
            kind,
            act: act.into(),
            hint: None,
            table: None,
            source: None,
        }
    }

    /// The same error of one table.
    #[must_use]
    pub fn of_table(self, table: &TableName) -> Self {
        Self {
            table: Some(table.clone()),
            ..self
        }
    }

    /// The table that has failed by itself: its rows or its folder, while the others go on. A sink
    /// that does not answer fails for all of them.
    pub fn own_table(&self) -> Option<&TableName> {
        match self.kind {
            Kind::Config | Kind::Data | Kind::Bug => self.table.as_ref(),
            Kind::Unavailable | Kind::Fenced => None,
        }
    }

    /// An error whose kind and hint are those of its cause.
    pub fn caused(act: impl Into<String>, cause: impl Explain + Send + Sync + 'static) -> Self {
        Self {
            kind: cause.kind(),
            act: act.into(),
            hint: cause.hint(),
            table: None,
            source: Some(Box::new(cause)),
        }
    }
}

impl Explain for SinkError {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn hint(&self) -> Option<Hint> {
        self.hint.clone()
    }
}
