//! When rows leave the journals: after the lake has them.
//!
//! For each journal, again and again: a sweep reads what it holds; the progress that covers the
//! sweep becomes durable; the lake gets what was durable then; and the rows that the sweep saw are
//! removed, some at a time. A restart begins with another sweep. Removing to others: which rows a
//! sweep has read ([`crate::source::journal`]), and what the lake has ([`Sink::is_in_lake`]).

use std::collections::BTreeMap;
use std::time::Duration;

use inlet_model::TableName;
use inlet_postgres::{Error, Meaning};
use inlet_service::sink::{Checkpointed, DurableEnd, Sink};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::source::error::PollError;
use crate::source::poll::Poll;

/// The pause between two trims of a journal. Rows that stay longer only take space.
const PAUSE: Duration = Duration::from_secs(5);
/// Rows that are removed at once: the polls wait for a few ten milliseconds.
const ROWS_MAX: u64 = 20_000;

/// How far each journal is.
#[derive(Debug, Default)]
pub struct Trims(BTreeMap<TableName, Stage>);

#[derive(Debug, Clone)]
enum Stage {
    /// The next look is at this time.
    Waiting(Instant),
    /// A sweep was asked for.
    SweepAsked,
    /// A sweep is in the progress, which may not be durable yet.
    SweepDone(String),
    /// Everything of the sweep is durable up to this end, and the lake may not have it yet.
    WaitingForLake(String, DurableEnd),
    /// The lake has what was visible in this snapshot.
    Removing(String),
    /// The role may not remove rows.
    Refused,
}

impl Trims {
    /// Does what is due for each journal. The caller has made a checkpoint of the poll's progress.
    pub async fn step(&mut self, poll: &mut Poll, sink: &mut impl Sink) -> Result<(), PollError> {
        for journal in poll.journals() {
            let now = Instant::now();
            let stage = self.0.remove(&journal).unwrap_or(Stage::Waiting(now));
            let next = next(stage, &journal, poll, sink).await?;
            self.0.insert(journal, next);
        }
        Ok(())
    }
}

async fn next(
    stage: Stage,
    journal: &TableName,
    poll: &mut Poll,
    sink: &mut impl Sink,
) -> Result<Stage, PollError> {
    let rested = || Stage::Waiting(Instant::now() + PAUSE);
    Ok(match stage {
        Stage::Waiting(until) if Instant::now() < until => stage,
        Stage::Waiting(_) => match poll.sweep_journal(journal).await? {
            true => Stage::SweepAsked,
            false => rested(),
        },
        Stage::SweepAsked => match poll.swept(journal) {
            Some(snapshot) => Stage::SweepDone(snapshot),
            None => stage,
        },
        Stage::SweepDone(snapshot) => match sink.flush().await? {
            Checkpointed::Pending => Stage::SweepDone(snapshot),
            Checkpointed::Durable { .. } => match sink.durable_end(journal).await {
                Some(end) => Stage::WaitingForLake(snapshot, end),
                None => rested(),
            },
        },
        Stage::WaitingForLake(snapshot, end) => match sink.is_in_lake(journal, &end).await {
            true => Stage::Removing(snapshot),
            false => Stage::WaitingForLake(snapshot, end),
        },
        Stage::Removing(snapshot) => {
            let limit = i64::try_from(ROWS_MAX).expect("it is a small number");
            match poll.trim(journal, &snapshot, limit).await {
                Ok(rows) => {
                    debug!(%journal, rows, "rows that the lake has left the journal");
                    match rows < ROWS_MAX {
                        true => rested(),
                        false => Stage::Removing(snapshot),
                    }
                }
                Err(source) if Meaning::of(&source) == Meaning::Refused => {
                    let reason = source.to_string();
                    warn!(%journal, reason, "the journal is not trimmed, and grows until it is \
                        full: run `inlet capture install`, which grants what is missing");
                    Stage::Refused
                }
                Err(source) => return Err(Error::rows(journal, source).into()),
            }
        }
        Stage::Refused => stage,
    })
}
