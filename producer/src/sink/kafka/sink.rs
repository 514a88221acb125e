//! The handle by which the poll uses the sink: it sends commands to the thread that owns the
//! client.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use inlet_model::TableName;
use inlet_model::change::{ChangeBatch, Origin};
use inlet_model::{Progress, ProgressDelta, Request};
use inlet_service::error::Kind;
use inlet_service::sink::{Checkpointed, DurableEnd, Sink, SinkError};

use super::fault;
use super::settings::KafkaSinkSettings;
use super::thread::{Command, Held, SinkThread};

/// The rows of checkpoints are counted this long after the first of them. An error of the last one
/// is found by then, also where no other call comes.
const COUNT_AFTER: Duration = Duration::from_millis(100);

/// The sink of a pipeline with a broker.
///
/// The thread publishes one batch while the caller reads the next, and commits one transaction
/// while the caller reads the rows of the next one. So memory holds two batches, and 32 MiB in
/// librdkafka's queue.
#[derive(Debug)]
pub struct KafkaSink {
    commands: mpsc::Sender<Command>,
    settings: KafkaSinkSettings,
    /// The claim of this process to the pipeline, which outlives a thread.
    held: Held,
    /// The answer to the last write, until it is looked at.
    writing: Option<oneshot::Receiver<Result<(), SinkError>>>,
    /// The answer to the last checkpoint, until it is looked at.
    committing: Option<oneshot::Receiver<Result<Checkpointed, SinkError>>>,
    /// Rows that became durable since the last answer.
    durable_rows: u64,
    /// Since when there are checkpoints whose rows no answer has counted.
    uncounted: Option<Instant>,
    /// True when rows of a load were written since the last checkpoint.
    is_loading: bool,
    /// False after an error, and after a call whose future was dropped: then records may be
    /// missing from the transaction, and only [`Sink::resume`] may be called.
    is_resumed: bool,
    /// True once the thread has not answered: it is replaced when the sink is resumed.
    is_silent: bool,
    /// Ends when the thread has ended.
    ended: oneshot::Receiver<()>,
}

impl KafkaSink {
    /// A sink that has not connected yet.
    pub fn new(settings: KafkaSinkSettings) -> Result<Self, SinkError> {
        let held = Held::default();
        let (commands, ended) = start_thread(&settings, &held)?;
        Ok(Self {
            commands,
            settings,
            held,
            writing: None,
            committing: None,
            durable_rows: 0,
            uncounted: None,
            is_loading: false,
            is_resumed: false,
            is_silent: false,
            ended,
        })
    }

    /// Drops what is not durable and ends the thread; waits for that no longer than `time_max`.
    pub async fn close(self, time_max: Duration) {
        let Self {
            commands, ended, ..
        } = self;
        drop(commands);
        if timeout(time_max, ended).await.is_err() {
            tracing::warn!(
                "the kafka sink did not close in time; the broker ends its transaction later"
            );
        }
    }

    /// Waits for the last write.
    async fn await_write(&mut self) -> Result<(), SinkError> {
        if self.writing.is_none() {
            return Ok(());
        }
        // A checkpoint that is not answered was handed over before the write. Its error is the
        // cause of the write's.
        self.await_commit().await?;
        let Some(answer) = &mut self.writing else {
            return Ok(());
        };
        let written = answered(answer, silence_max(&self.settings)).await;
        self.writing = None;
        self.heard(written)
    }

    /// Waits for the last checkpoint.
    async fn await_commit(&mut self) -> Result<(), SinkError> {
        let Some(answer) = &mut self.committing else {
            return Ok(());
        };
        let committed = answered(answer, silence_max(&self.settings)).await;
        self.committing = None;
        self.durable_rows += self.heard(committed)?.durable_rows();
        Ok(())
    }

    /// Hands a command over and brings where its answer will be.
    async fn hand_over<T>(
        &mut self,
        command: impl FnOnce(oneshot::Sender<Result<T, SinkError>>) -> Command,
    ) -> Result<oneshot::Receiver<Result<T, SinkError>>, SinkError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(command(answer));
        let handed_over = match timeout(silence_max(&self.settings), sent).await {
            Ok(Ok(())) => Ok(answered),
            Ok(Err(_)) => Err(Failed::Ended),
            Err(_) => Err(Failed::Silent),
        };
        self.heard(handed_over)
    }

    async fn ask<T>(
        &mut self,
        command: impl FnOnce(oneshot::Sender<Result<T, SinkError>>) -> Command,
    ) -> Result<T, SinkError> {
        let mut answer = self.hand_over(command).await?;
        let answer = answered(&mut answer, silence_max(&self.settings)).await;
        self.heard(answer)
    }

    /// What came of a command. A thread that does not answer is remembered.
    fn heard<T>(&mut self, answer: Result<T, Failed>) -> Result<T, SinkError> {
        answer.map_err(|failed| match failed {
            Failed::Error(error) => error,
            Failed::Ended => fault::bug("the thread of the kafka sink has ended"),
            Failed::Silent => {
                self.is_silent = true;
                let act = "kafka's client does not answer, and is replaced";
                fault::of(Kind::Unavailable, act)
            }
        })
    }

    /// Starts a thread in the place of one that does not answer. If that one ever goes on, the
    /// broker has fenced it by then: the new one takes the pipeline over first.
    fn replace_thread(&mut self) -> Result<(), SinkError> {
        (self.commands, self.ended) = start_thread(&self.settings, &self.held)?;
        self.writing = None;
        self.committing = None;
        self.is_silent = false;
        Ok(())
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
        if self.is_silent {
            self.replace_thread()?;
        }
        // The results of pending calls do not matter any more, but they must have ended: their
        // answers would be taken for those of later calls.
        _ = self.await_commit().await;
        _ = self.await_write().await;
        self.durable_rows = 0;
        self.uncounted = None;
        self.is_loading = false;
        self.is_resumed = false;
        let tables = tables.to_vec();
        let progress = self.ask(|answer| Command::Resume(tables, answer)).await?;
        self.is_resumed = true;
        Ok(progress)
    }

    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        self.begin()?;
        self.await_write().await?;
        self.is_loading |= batch.origin == Origin::Load;
        let write = |answer| Command::Write(batch, answer);
        // The answer is looked at before the next call: meanwhile the poll reads the next rows.
        self.writing = Some(self.hand_over(write).await?);
        self.is_resumed = true;
        Ok(())
    }

    async fn checkpoint(
        &mut self,
        progress: BTreeMap<TableName, ProgressDelta>,
    ) -> Result<Checkpointed, SinkError> {
        self.begin()?;
        self.await_commit().await?;
        self.await_write().await?;
        let checkpoint = |answer| Command::Checkpoint(progress, answer);
        self.committing = Some(self.hand_over(checkpoint).await?);
        if std::mem::take(&mut self.is_loading) {
            // The next chunk of a load is read while this one is committed.
            self.uncounted.get_or_insert_with(Instant::now);
            self.is_resumed = true;
            return Ok(Checkpointed::Pending);
        }
        // A poll during the commit would find few rows, which would wait for this commit and then
        // for their own: a poll after it finds them all.
        self.is_resumed = true;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<Checkpointed, SinkError> {
        self.begin()?;
        self.await_commit().await?;
        self.uncounted = None;
        self.is_resumed = true;
        Ok(Checkpointed::Durable {
            rows: std::mem::take(&mut self.durable_rows),
        })
    }

    async fn start_flush(&mut self) -> Result<u64, SinkError> {
        self.begin()?;
        // A commit that still runs is asked later: the poll reads the next rows meanwhile.
        let runs = |answer: &oneshot::Receiver<_>| answer.is_empty() && !answer.is_terminated();
        if self.committing.as_ref().is_some_and(runs) {
            self.uncounted = Some(Instant::now());
        } else {
            self.await_commit().await?;
            self.uncounted = None;
        }
        self.is_resumed = true;
        Ok(std::mem::take(&mut self.durable_rows))
    }

    fn due(&self) -> Option<Instant> {
        Some(self.uncounted? + COUNT_AFTER)
    }

    async fn requests(&mut self) -> BTreeMap<TableName, Request> {
        // A thread that has ended fails the next call, which has an answer for errors.
        self.ask(Command::Requests).await.unwrap_or_default()
    }

    async fn durable_end(&mut self, table: &TableName) -> Option<DurableEnd> {
        let ask = |answer| Command::DurableEnd(table.clone(), answer);
        self.ask(ask).await.unwrap_or_default()
    }

    async fn is_in_lake(&mut self, table: &TableName, end: &DurableEnd) -> bool {
        let ask = |answer| Command::IsInLake(table.clone(), end.clone(), answer);
        self.ask(ask).await.unwrap_or_default()
    }

    async fn rollback(&mut self) -> Result<(), SinkError> {
        self.is_resumed = false;
        _ = self.await_commit().await;
        _ = self.await_write().await;
        self.ask(Command::Rollback).await
    }
}

/// Why a command has no result.
#[derive(Debug)]
enum Failed {
    Error(SinkError),
    /// The thread has ended.
    Ended,
    /// The thread does not answer.
    Silent,
}

/// Each wait of the thread ends within the deadline, and no command has many of them. librdkafka
/// has waits without an end all the same, which must not become waits of the service.
fn silence_max(settings: &KafkaSinkSettings) -> Duration {
    settings.deadline * 5
}

async fn answered<T>(
    answer: &mut oneshot::Receiver<Result<T, SinkError>>,
    time_max: Duration,
) -> Result<T, Failed> {
    match timeout(time_max, answer).await {
        Ok(Ok(answer)) => answer.map_err(Failed::Error),
        Ok(Err(_)) => Err(Failed::Ended),
        Err(_) => Err(Failed::Silent),
    }
}

/// Starts a thread that owns a client; brings where its commands go, and what ends with it.
fn start_thread(
    settings: &KafkaSinkSettings,
    held: &Held,
) -> Result<(mpsc::Sender<Command>, oneshot::Receiver<()>), SinkError> {
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
    let thread = SinkThread::new(settings.clone(), held.clone());
    let run = move || {
        thread.run(&runtime, received);
        drop(end);
    };
    std::thread::Builder::new()
        .name("kafka-sink".to_owned())
        .spawn(run)
        .map_err(not_started)?;
    Ok((commands, ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_does_not_answer_is_replaced() {
        let mut sink = KafkaSink::new(KafkaSinkSettings::default()).unwrap();
        let deadline = std::mem::replace(&mut sink.settings.deadline, Duration::from_millis(2));
        // No thread takes these commands, as if it hung in a call.
        let (commands, _taken) = mpsc::channel(1);
        sink.commands = commands;
        let error = sink.rollback().await.unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable, "{error}");
        assert!(sink.is_silent);

        sink.settings.deadline = deadline;
        sink.replace_thread().unwrap();
        sink.rollback().await.unwrap();
    }
}
