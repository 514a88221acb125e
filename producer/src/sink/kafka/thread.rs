//! The thread that owns the producer: one command at a time, each with an answer.
//!
//! librdkafka's calls block, and a producer must be polled and used from one place. After an error
//! the client is dropped, and only [`Command::Resume`] creates another.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use inlet_model::TableName;
use inlet_model::change::ChangeBatch;
use inlet_model::record::control::Owner;
use inlet_model::{Progress, ProgressDelta, Request};
use inlet_service::error::Kind;
use inlet_service::retry::pause;
use inlet_service::sink::{Checkpointed, DurableEnd, SinkError};

use super::arrived::Arrived;
use super::fault;
use super::publisher::{Publisher, check_owner};
use super::settings::KafkaSinkSettings;
use super::stored::Stored;

/// Between commands the producer's events are taken this often.
const IDLE_TIME: Duration = Duration::from_secs(1);
/// How long to look for the name of a new owner when the control topic does not answer.
const OWNER_TIME_MAX: Duration = Duration::from_secs(10);
/// A new owner publishes its name within this time.
const OWNER_NAMED_WITHIN: Duration = Duration::from_secs(2);
const OWNER_ASK_INTERVAL: Duration = Duration::from_millis(100);

/// Where an answer goes. It is discarded when the sink was dropped.
type Answer<T> = oneshot::Sender<Result<T, SinkError>>;

/// What the sink asks of its thread.
pub(super) enum Command {
    Resume(Vec<TableName>, Answer<BTreeMap<TableName, Progress>>),
    Write(ChangeBatch, Answer<()>),
    Checkpoint(BTreeMap<TableName, ProgressDelta>, Answer<Checkpointed>),
    Requests(Answer<BTreeMap<TableName, Request>>),
    DurableEnd(TableName, Answer<Option<DurableEnd>>),
    IsInLake(TableName, DurableEnd, Answer<bool>),
    Rollback(Answer<()>),
}

/// The state of the thread.
pub(super) struct SinkThread {
    settings: KafkaSinkSettings,
    publisher: Option<Publisher>,
    held: Held,
    lake: Arrived,
}

/// The last claim of this process to the pipeline, shared by the threads that follow each other.
pub(super) type Held = Arc<Mutex<Option<Owner>>>;

impl SinkThread {
    pub(super) fn new(settings: KafkaSinkSettings, held: Held) -> Self {
        Self {
            settings,
            publisher: None,
            held,
            lake: Arrived::default(),
        }
    }

    /// Runs commands until the sink is dropped, and then aborts the open transaction.
    ///
    /// `runtime` only waits for the next command. The commands themselves block this thread.
    pub(super) fn run(mut self, runtime: &Runtime, mut commands: mpsc::Receiver<Command>) {
        loop {
            match runtime.block_on(async { tokio::time::timeout(IDLE_TIME, commands.recv()).await })
            {
                Ok(Some(command)) => self.run_command(command),
                Ok(None) => break,
                Err(_) => {
                    if let Some(publisher) = &self.publisher {
                        publisher.take_events();
                    }
                }
            }
        }
        self.roll_back();
    }

    fn run_command(&mut self, command: Command) {
        // A failed send means that the sink was dropped, and with it the one who asked.
        match command {
            Command::Resume(tables, answer) => _ = answer.send(self.resume(&tables)),
            Command::Write(batch, answer) => {
                let written = self.with_publisher(|publisher| publisher.write(&batch));
                let of_table = |error: SinkError| error.of_table(&batch.schema.table);
                _ = answer.send(written.map_err(of_table))
            }
            Command::Checkpoint(progress, answer) => {
                _ = answer.send(self.with_publisher(|publisher| publisher.checkpoint(progress)))
            }
            Command::Requests(answer) => {
                let requests = self.publisher.as_mut().map(Publisher::requests);
                _ = answer.send(Ok(requests.unwrap_or_default()));
            }
            Command::DurableEnd(table, answer) => {
                _ = answer.send(Ok(self.lake.durable_end(&self.settings, &table)));
            }
            Command::IsInLake(table, end, answer) => {
                _ = answer.send(Ok(self.lake.has(&self.settings, &table, &end)));
            }
            Command::Rollback(answer) => {
                self.roll_back();
                _ = answer.send(Ok(()));
            }
        }
    }

    fn resume(&mut self, tables: &[TableName]) -> Result<BTreeMap<TableName, Progress>, SinkError> {
        self.publisher = None;
        // A thread that hangs in here must not keep the lock.
        let mut held = lock(&self.held).clone();
        let taken_over = Publisher::take_over(&self.settings, tables, &mut held);
        *lock(&self.held) = held;
        let (publisher, progress) = taken_over.map_err(|error| self.explain_fence(error))?;
        self.publisher = Some(publisher);
        Ok(progress)
    }

    fn with_publisher<T>(
        &mut self,
        act: impl FnOnce(&mut Publisher) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let publisher = self
            .publisher
            .as_mut()
            .ok_or_else(|| fault::bug("the kafka sink was used before it was resumed"))?;
        act(publisher).map_err(|error| {
            self.publisher = None;
            self.explain_fence(error)
        })
    }

    fn roll_back(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            publisher.abort();
        }
    }

    /// What a fence means. The broker also fences a producer whose transaction timed out, or by a
    /// mistake of its own. So only the control topic tells whether another process took over: each
    /// owner publishes its name there.
    fn explain_fence(&self, error: SinkError) -> SinkError {
        let held = lock(&self.held).clone();
        let (Kind::Fenced, Some(held)) = (error.kind, held) else {
            return error;
        };
        // Another owner fences first and publishes its name a moment later.
        let since = Instant::now();
        let end = since + OWNER_TIME_MAX.min(self.settings.deadline);
        while Instant::now() < end {
            let stored = Stored::read(&self.settings, end);
            match stored.and_then(|stored| check_owner(&self.settings, &held, stored.owner)) {
                Err(fenced) if fenced.kind == Kind::Fenced => return fenced,
                Ok(()) if since.elapsed() > OWNER_NAMED_WITHIN => break,
                Ok(()) | Err(_) => pause(OWNER_ASK_INTERVAL),
            }
        }
        // This process is still the owner, or the control topic does not answer. Resuming asks
        // again before it fences anyone, so trying again is safe in both cases.
        let act = "the broker ended the producer's session, and no other producer took over";
        SinkError {
            source: Some(Box::new(error)),
            ..fault::of(Kind::Unavailable, act)
        }
    }
}

fn lock(held: &Held) -> MutexGuard<'_, Option<Owner>> {
    held.lock()
        .expect("no thread panics while it holds the lock")
}
