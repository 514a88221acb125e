//! The thread that owns the producer: one command at a time, each with an answer.
//!
//! librdkafka's calls block, and a producer must be polled and used from one place. After an error
//! the client is thrown away; the next command that makes sense is then [`Command::Resume`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use inlet_model::TableName;
use inlet_model::change::ChangeBatch;
use inlet_model::{Progress, ProgressDelta};
use inlet_service::error::Kind;
use inlet_service::retry::pause;

use super::control::Claim;
use super::publisher::{Publisher, check_owner};
use super::{KafkaSinkSettings, control, fault};
use inlet_service::sink::{Checkpointed, SinkError};

/// Between commands the producer's events are taken this often.
const IDLE_TIME: Duration = Duration::from_secs(1);
/// How long, and how often, to look for the name of a new owner; and when it would be there, if
/// there were one.
const OWNER_TIME_MAX: Duration = Duration::from_secs(10);
const OWNER_NAMED_WITHIN: Duration = Duration::from_secs(2);
const OWNER_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Where an answer goes. Nobody waits for it any more when the sink was dropped.
type Answer<T> = oneshot::Sender<Result<T, SinkError>>;

/// What the sink asks of its thread.
pub(super) enum Command {
    /// See [`inlet_service::sink::Sink::resume`].
    Resume(Vec<TableName>, Answer<BTreeMap<TableName, Progress>>),
    /// See [`inlet_service::sink::Sink::write`].
    Write(ChangeBatch, Answer<()>),
    /// See [`inlet_service::sink::Sink::checkpoint`].
    Checkpoint(BTreeMap<TableName, ProgressDelta>, Answer<Checkpointed>),
    /// See [`inlet_service::sink::Sink::rollback`].
    Rollback(Answer<()>),
}

/// The thread's state.
pub(super) struct Owner {
    settings: KafkaSinkSettings,
    publisher: Option<Publisher>,
    /// The last claim of this process to the pipeline.
    held: Option<Claim>,
}

impl Owner {
    /// Nothing is open, nothing is owned.
    pub(super) fn new(settings: KafkaSinkSettings) -> Self {
        Self {
            settings,
            publisher: None,
            held: None,
        }
    }

    /// Carries out commands until the sink is gone, and leaves no transaction open.
    ///
    /// `runtime` only waits for the next command; what the command does blocks the thread, which is
    /// there for that.
    pub(super) fn run(mut self, runtime: &Runtime, mut commands: mpsc::Receiver<Command>) {
        loop {
            match runtime.block_on(async { tokio::time::timeout(IDLE_TIME, commands.recv()).await })
            {
                Ok(Some(command)) => self.carry_out(command),
                Ok(None) => break,
                Err(_) => {
                    if let Some(publisher) = &self.publisher {
                        publisher.idle();
                    }
                }
            }
        }
        self.roll_back();
    }

    fn carry_out(&mut self, command: Command) {
        // An answer that nobody takes is no loss: the sink that asked is gone.
        match command {
            Command::Resume(tables, answer) => _ = answer.send(self.resume(&tables)),
            Command::Write(batch, answer) => {
                _ = answer.send(self.with_publisher(|publisher| publisher.write(&batch)))
            }
            Command::Checkpoint(progress, answer) => {
                _ = answer.send(self.with_publisher(|publisher| publisher.checkpoint(progress)))
            }
            Command::Rollback(answer) => {
                self.roll_back();
                _ = answer.send(Ok(()));
            }
        }
    }

    fn resume(&mut self, tables: &[TableName]) -> Result<BTreeMap<TableName, Progress>, SinkError> {
        self.publisher = None;
        let taken = Publisher::take_over(&self.settings, tables, &mut self.held)
            .map_err(|error| self.judge(error))?;
        let (publisher, progress) = taken;
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
            self.judge(error)
        })
    }

    fn roll_back(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            publisher.abort();
        }
    }

    /// The broker fences a producer also because its transaction ran into the time-out, or by its
    /// own mistake. So what a fence means is asked of the control topic, where each owner puts its
    /// name: only another name is another owner.
    fn judge(&self, error: SinkError) -> SinkError {
        let (Kind::Fenced, Some(held)) = (error.kind, &self.held) else {
            return error;
        };
        // Another owner fences first and puts its name there a moment later.
        let begun = Instant::now();
        let end = begun + OWNER_TIME_MAX.min(self.settings.deadline);
        while Instant::now() < end {
            let contents = control::read(&self.settings, end);
            match contents.and_then(|contents| check_owner(&self.settings, held, contents.owner)) {
                Err(fenced) if fenced.kind == Kind::Fenced => return fenced,
                Ok(()) if begun.elapsed() > OWNER_NAMED_WITHIN => break,
                Ok(()) | Err(_) => pause(OWNER_LOOK_INTERVAL),
            }
        }
        // Still the owner, or nobody can tell: resuming asks again before it takes anything.
        let act =
            "the broker ended the producer's session, and no other producer took over".to_owned();
        SinkError {
            kind: Kind::Unavailable,
            act,
            hint: None,
            source: Some(Box::new(error)),
        }
    }
}
