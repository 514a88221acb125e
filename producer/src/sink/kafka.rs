//! Kafka as the sink: rows and the progress that covers them in one transaction.
//!
//! Promises: a checkpoint is in the topics whole or not at all, for every reader with
//! `isolation.level=read_committed`; each record carries the next sequence of its kafka_partition,
//! without a hole; the versions of a key keep their order; a process that was replaced by another
//! with the same pipeline name cannot publish any more, and says so. Leaves to others: what to
//! publish and what the progress means (the poll), when to try again (the pipeline).
//!
//! After any error the client is thrown away, because it cannot tell whether its transaction was
//! committed: [`Sink::resume`] ends or fences what is left of it and reads the truth from the
//! control topic.
//!
//! Read in this order: `thread` (who does it), [`publisher`] (what is published), `transaction`,
//! `hanging`, `control`, `admin`, `client`, `fault`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot};

use inlet_model::TableName;
use inlet_model::change::ChangeBatch;
use inlet_model::{Progress, ProgressDelta};
use inlet_service::error::Kind;

pub use self::admin::answers;
pub use self::client::{Reported, Watch};
pub use self::control::SEQUENCES;
use self::thread::{Command, Owner};
pub use self::transaction::init_transactions;
use inlet_service::sink::{Checkpointed, Sink, SinkError};

mod admin;
mod client;
mod control;
mod fault;
mod hanging;
mod publisher;
mod thread;
mod transaction;

/// What the sink must know.
#[derive(Debug, Clone)]
pub struct KafkaSinkSettings {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// librdkafka's properties: security and tuning. Those that exactly-once delivery rests on are
    /// refused.
    pub properties: BTreeMap<String, String>,
    /// `inlet-<pipeline>`: who has it owns the pipeline.
    pub transactional_id: String,
    /// `<pipeline>_control`.
    pub control_topic: String,
    /// The topic of every table that may be resumed.
    pub topics: BTreeMap<TableName, String>,
    /// Partitions of a topic that the sink creates, -1 for the broker's default; a topic that
    /// exists keeps its own.
    pub partitions: i32,
    /// Copies of a topic that the sink creates, -1 for the broker's default.
    pub replication_factor: i32,
    /// How long one call waits for the broker before it fails.
    pub deadline: Duration,
    /// Names this process to the one that takes over from it; no two sinks may have the same, see
    /// [`instance_name`].
    pub instance: String,
}

impl Default for KafkaSinkSettings {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            properties: BTreeMap::new(),
            transactional_id: String::new(),
            control_topic: String::new(),
            topics: BTreeMap::new(),
            partitions: -1,
            replication_factor: -1,
            deadline: Duration::from_secs(30),
            instance: instance_name(),
        }
    }
}

/// The poller's progress of every table that is committed in the control topic, which must exist.
/// Blocking.
pub fn stored_progress(
    settings: &KafkaSinkSettings,
) -> Result<BTreeMap<TableName, Progress>, SinkError> {
    control::read(settings, Instant::now() + settings.deadline).map(|contents| contents.progress)
}

/// A name for this sink that no other has: `process 4711 on db-host since 1795226400.123456789`.
pub fn instance_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let host = if host.trim().is_empty() {
        "an unnamed host"
    } else {
        host.trim()
    };
    format!(
        "process {} on {host} since {}.{:09}",
        std::process::id(),
        since.as_secs(),
        since.subsec_nanos()
    )
}

/// The sink of a pipeline with a broker.
///
/// One batch is in work on its thread while the caller reads the next: so much of the batches is
/// held, and 32 MiB in librdkafka's queue.
#[derive(Debug)]
pub struct KafkaSink {
    commands: mpsc::Sender<Command>,
    /// The answer to the last write, while nobody has looked at it.
    writing: Option<oneshot::Receiver<Result<(), SinkError>>>,
    /// True while nothing is known to be lost: after an error, or a call whose future was dropped,
    /// only [`Sink::resume`] helps.
    whole: bool,
    /// Ends when the thread has ended.
    ended: oneshot::Receiver<()>,
}

impl KafkaSink {
    /// A sink that has not spoken with the broker yet.
    pub fn new(settings: KafkaSinkSettings) -> Result<Self, SinkError> {
        client::check_properties(&settings)?;
        let not_started = |error: std::io::Error| SinkError {
            kind: Kind::Unavailable,
            act: "the thread of the kafka sink did not start".to_owned(),
            hint: None,
            source: Some(Box::new(error)),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(not_started)?;
        let (commands, received) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let run = move || {
            Owner::new(settings).run(&runtime, received);
            drop(end);
        };
        std::thread::Builder::new()
            .name("kafka-sink".to_owned())
            .spawn(run)
            .map_err(not_started)?;
        Ok(Self {
            commands,
            writing: None,
            whole: false,
            ended,
        })
    }

    /// Throws away what is not durable and ends the thread; waits for that no longer than
    /// `time_max`.
    pub async fn close(self, time_max: Duration) {
        let Self {
            commands, ended, ..
        } = self;
        drop(commands);
        if tokio::time::timeout(time_max, ended).await.is_err() {
            tracing::warn!(
                "the kafka sink did not close in time, its transaction is left to the broker"
            );
        }
    }

    /// Waits for the write in work.
    async fn written(&mut self) -> Result<(), SinkError> {
        let Some(answer) = &mut self.writing else {
            return Ok(());
        };
        let written = answer.await;
        self.writing = None;
        written.unwrap_or_else(|_| Err(gone()))
    }

    async fn ask<T>(
        &mut self,
        command: impl FnOnce(oneshot::Sender<Result<T, SinkError>>) -> Command,
    ) -> Result<T, SinkError> {
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(command(answer))
            .await
            .map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Marks the sink until the call has ended well.
    fn begin(&mut self) -> Result<(), SinkError> {
        if std::mem::take(&mut self.whole) {
            Ok(())
        } else {
            Err(fault::bug("the kafka sink must be resumed first"))
        }
    }
}

impl Sink for KafkaSink {
    async fn resume(
        &mut self,
        tables: &[TableName],
    ) -> Result<BTreeMap<TableName, Progress>, SinkError> {
        // What became of a write that is still in work is of no interest any more; that it has
        // ended is.
        _ = self.written().await;
        self.whole = false;
        let tables = tables.to_vec();
        let progress = self.ask(|answer| Command::Resume(tables, answer)).await?;
        self.whole = true;
        Ok(progress)
    }

    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        self.begin()?;
        self.written().await?;
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(Command::Write(batch, answer))
            .await
            .map_err(|_| gone())?;
        self.writing = Some(answered);
        self.whole = true;
        Ok(())
    }

    async fn checkpoint(
        &mut self,
        progress: BTreeMap<TableName, ProgressDelta>,
    ) -> Result<Checkpointed, SinkError> {
        self.begin()?;
        self.written().await?;
        let checkpoint = self
            .ask(|answer| Command::Checkpoint(progress, answer))
            .await?;
        self.whole = true;
        Ok(checkpoint)
    }

    async fn flush(&mut self) -> Result<Checkpointed, SinkError> {
        // Every checkpoint is durable when it returns.
        Ok(Checkpointed::Durable { rows: 0 })
    }

    fn due(&self) -> Option<tokio::time::Instant> {
        None
    }

    async fn rollback(&mut self) -> Result<(), SinkError> {
        self.whole = false;
        _ = self.written().await;
        self.ask(Command::Rollback).await
    }
}

fn gone() -> SinkError {
    fault::bug("the thread of the kafka sink has ended")
}
