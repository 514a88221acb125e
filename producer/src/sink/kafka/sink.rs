//! The handle by which the poll uses the sink: it sends commands to the thread that owns the
//! client.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use inlet_model::TableName;
use inlet_model::change::ChangeBatch;
use inlet_model::{Progress, ProgressDelta, Request};
use inlet_service::error::Kind;
use inlet_service::sink::{Checkpointed, Sink, SinkError};

use super::fault;
use super::settings::KafkaSinkSettings;
use super::thread::{Command, SinkThread};

/// The sink of a pipeline with a broker.
///
/// The thread publishes one batch while the caller reads the next. So memory holds two batches, and
/// 32 MiB in librdkafka's queue.
#[derive(Debug)]
pub struct KafkaSink {
    commands: mpsc::Sender<Command>,
    /// The answer to the last write, until it is looked at.
    writing: Option<oneshot::Receiver<Result<(), SinkError>>>,
    /// False after an error, and after a call whose future was dropped: then records may be
    /// missing from the transaction, and only [`Sink::resume`] may be called.
    is_resumed: bool,
    /// Ends when the thread has ended.
    ended: oneshot::Receiver<()>,
}

impl KafkaSink {
    /// A sink that has not connected yet.
    pub fn new(settings: KafkaSinkSettings) -> Result<Self, SinkError> {
        let not_started = |error: std::io::Error| SinkError {
            source: Some(Box::new(error)),
            ..fault::of(
                Kind::Unavailable,
                "the thread of the kafka sink did not start",
            )
        };
        // The thread only needs timers to wait for a command; librdkafka has its own threads.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(not_started)?;
        // One place: a second batch waits in the caller, and memory holds two batches at most.
        let (commands, received) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let run = move || {
            SinkThread::new(settings).run(&runtime, received);
            drop(end);
        };
        std::thread::Builder::new()
            .name("kafka-sink".to_owned())
            .spawn(run)
            .map_err(not_started)?;
        Ok(Self {
            commands,
            writing: None,
            is_resumed: false,
            ended,
        })
    }

    /// Drops what is not durable and ends the thread; waits for that no longer than `time_max`.
    pub async fn close(self, time_max: Duration) {
        let Self {
            commands, ended, ..
        } = self;
        drop(commands);
        if tokio::time::timeout(time_max, ended).await.is_err() {
            tracing::warn!(
                "the kafka sink did not close in time; the broker ends its transaction later"
            );
        }
    }

    /// Waits for the last write.
    async fn await_write(&mut self) -> Result<(), SinkError> {
        let Some(answer) = &mut self.writing else {
            return Ok(());
        };
        let written = answer.await;
        self.writing = None;
        written.unwrap_or_else(|_| Err(ended()))
    }

    async fn ask<T>(
        &mut self,
        command: impl FnOnce(oneshot::Sender<Result<T, SinkError>>) -> Command,
    ) -> Result<T, SinkError> {
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(command(answer))
            .await
            .map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Marks the sink as broken until the call has succeeded.
    fn begin(&mut self) -> Result<(), SinkError> {
        if std::mem::take(&mut self.is_resumed) {
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
        // The result of a pending write does not matter any more, but it must have ended: its
        // answer would be taken for that of a later write.
        _ = self.await_write().await;
        self.is_resumed = false;
        let tables = tables.to_vec();
        let progress = self.ask(|answer| Command::Resume(tables, answer)).await?;
        self.is_resumed = true;
        Ok(progress)
    }

    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        self.begin()?;
        self.await_write().await?;
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(Command::Write(batch, answer))
            .await
            .map_err(|_| ended())?;
        // The answer is looked at before the next call: meanwhile the poll reads the next rows.
        self.writing = Some(answered);
        self.is_resumed = true;
        Ok(())
    }

    async fn checkpoint(
        &mut self,
        progress: BTreeMap<TableName, ProgressDelta>,
    ) -> Result<Checkpointed, SinkError> {
        self.begin()?;
        self.await_write().await?;
        let checkpoint = self
            .ask(|answer| Command::Checkpoint(progress, answer))
            .await?;
        self.is_resumed = true;
        Ok(checkpoint)
    }

    async fn flush(&mut self) -> Result<Checkpointed, SinkError> {
        // Every checkpoint is durable when it returns.
        Ok(Checkpointed::Durable { rows: 0 })
    }

    fn due(&self) -> Option<tokio::time::Instant> {
        None
    }

    async fn requests(&mut self) -> BTreeMap<TableName, Request> {
        // A thread that has ended fails the next call, which has an answer for errors.
        self.ask(Command::Requests).await.unwrap_or_default()
    }

    async fn rollback(&mut self) -> Result<(), SinkError> {
        self.is_resumed = false;
        _ = self.await_write().await;
        self.ask(Command::Rollback).await
    }
}

fn ended() -> SinkError {
    fault::bug("the thread of the kafka sink has ended")
}
