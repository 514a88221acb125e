//! The producer's loop: one cycle after the other, and the only place that waits on more than one
//! thing.
//!
//! Promises: after any error the sink is asked what it has durably, and the poll goes on from
//! there; a cycle's rows and the progress that covers them are handed over together. Leaves to
//! others: what a cycle reads ([`crate::source`]), how it becomes durable ([`crate::sink`]).

use std::path::PathBuf;
use std::time::Duration;

use inlet_model::TableName;
use inlet_postgres::{catalog, connect};
use inlet_service::error::{Explain, Kind, chain};
use inlet_service::observe::Readiness;
use inlet_service::retry::Backoff;
use inlet_service::sink::Sink;
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::export::Export;
use crate::metrics;
use crate::source::error::PollError;
use crate::source::poll::{Found, Known, Source, SourceSettings};

/// The least time between two polls while changes come.
const INTERVAL_MIN: Duration = Duration::from_millis(2);
/// A poll that found nothing makes the next wait longer by this factor.
const INTERVAL_GROWTH: f64 = 1.5;
/// However quiet the server's snapshot is, the activity is read this often: a message that ended
/// may have left rows behind.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// Progress without rows is made durable this often, so that a restart does not look back further.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// A server that was never reached since the start is given up after this time.
const START_DEADLINE: Duration = Duration::from_secs(15);
/// A table that was dropped is looked for this often.
const ABSENT_INTERVAL: Duration = Duration::from_secs(1);
/// A cycle that is under way when the process is asked to stop may take this long.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Polls tables into a sink until it is stopped.
pub struct Pipeline<S> {
    settings: SourceSettings,
    poll_interval: Duration,
    export: Export,
    sink: S,
    readiness: Readiness,
    /// The tables that were polled since the start: one that goes away does not stop the others.
    known: Known,
}

/// What drives the pace of the polls.
struct Pace {
    interval: Duration,
    max: Duration,
    last_cycle: Instant,
    last_checkpoint: Instant,
    /// When tables that are gone were looked for.
    last_look: Instant,
}

/// The names of the tables as the catalog spells them; waits for a server that is not there yet, as
/// [`Pipeline::run`] does. `None` when stopped.
pub async fn table_names(
    settings: &SourceSettings,
    stop: &CancellationToken,
) -> Result<Option<Vec<TableName>>, PollError> {
    at_start(stop, async || {
        Source::open(settings.clone()).await?.table_names().await
    })
    .await
}

/// The tables of users; waits as [`table_names`] does.
pub async fn list_tables(
    primary: &PgConnectOptions,
    stop: &CancellationToken,
) -> Result<Option<Vec<TableName>>, PollError> {
    at_start(stop, async || {
        Ok(catalog::list_tables(&mut connect(primary).await?).await?)
    })
    .await
}

/// Asks PostgreSQL for something that nothing can begin without, until it answers.
async fn at_start<T>(
    stop: &CancellationToken,
    mut ask: impl AsyncFnMut() -> Result<T, PollError>,
) -> Result<Option<T>, PollError> {
    let mut backoff = Backoff::new();
    let started = Instant::now();
    loop {
        let error = tokio::select! {
            biased;
            // Nothing is under way yet.
            () = stop.cancelled() => return Ok(None),
            answer = ask() => match answer {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) => error,
            },
        };
        if error.kind() != Kind::Unavailable || started.elapsed() > START_DEADLINE {
            return Err(error);
        }
        let delay = backoff.next_delay();
        warn!(
            retry_ms = delay.as_millis(),
            reason = chain(&error),
            hint = error.hint().map(tracing::field::display),
            "PostgreSQL was not reached, trying again"
        );
        tokio::time::sleep(delay).await;
    }
}

impl<S: Sink> Pipeline<S> {
    /// A pipeline that polls at least every `poll_interval`, and much faster while changes come.
    /// `timestamp_location` receives a readable copy of the progress.
    pub fn new(
        settings: SourceSettings,
        poll_interval: Duration,
        timestamp_location: Option<PathBuf>,
        sink: S,
    ) -> Self {
        Self {
            settings,
            poll_interval,
            export: Export::new(timestamp_location),
            sink,
            readiness: Readiness::default(),
            known: Known::new(),
        }
    }

    /// Ready while it polls: PostgreSQL and the sink have been reached, and no error keeps it from
    /// the next cycle.
    pub fn observed(self, readiness: Readiness) -> Self {
        Self { readiness, ..self }
    }

    /// Runs until it is stopped: then the work at hand is finished and made durable.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), PollError> {
        metrics::describe();
        let mut backoff = Backoff::new();
        let started = Instant::now();
        let mut reached = false;
        loop {
            let error = tokio::select! {
                biased;
                // The session ends by itself when it is stopped: it goes first, so that its last
                // commit is not cut off.
                ended = self.session(&stop, &mut backoff, &mut reached) => match ended {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                // Only a server that hangs keeps the session longer; what is not durable is read
                // again at the next start.
                () = overdue(&stop) => return Ok(()),
            };
            self.readiness.set(false);
            // A role that was let in before is let in again: its password was changed, or the
            // server is being set up anew.
            let passes = error.kind() == Kind::Unavailable || (reached && error.is_refused_login());
            if !passes || (!reached && started.elapsed() > START_DEADLINE) {
                return Err(error);
            }
            metrics::failed();
            let delay = backoff.next_delay();
            if error.is_everyday() {
                info!(reason = %error, "cycle is repeated");
            } else {
                warn!(
                    retry_ms = delay.as_millis(),
                    reason = chain(&error),
                    hint = error.hint().map(tracing::field::display),
                    "polling failed, going on from the last durable progress"
                );
            }
            tokio::select! {
                biased;
                // Nothing is under way while we wait.
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// From connecting to the first error, or to the end.
    async fn session(
        &mut self,
        stop: &CancellationToken,
        backoff: &mut Backoff,
        reached: &mut bool,
    ) -> Result<(), PollError> {
        let mut source = Source::open(self.settings.clone())
            .await?
            .knowing(self.known.clone());
        let tables = source.table_names().await?;
        let progress = self.sink.resume(&tables).await?;
        source.restore(progress).await?;
        self.known.extend(source.known());
        *reached = true;
        self.readiness.set(true);
        let mut pace = Pace::new(self.poll_interval);
        loop {
            if stop.is_cancelled() {
                let flushed = self.sink.flush().await?;
                let rows = flushed.durable_rows();
                metrics::checkpointed(rows);
                info!(rows, "stopped: everything found is durable");
                return Ok(());
            }
            let was_tailing = source.is_tailing();
            let found = self.step(&mut source, &mut pace).await?;
            if source.is_tailing() && !was_tailing {
                // The load is over: nothing more comes that its last rows could wait for.
                metrics::checkpointed(self.sink.flush().await?.durable_rows());
            }
            if found > Found::default() {
                backoff.reset();
            }
            let wait = pace.next_wait(found, source.is_loading());
            tokio::select! {
                biased;
                // A due flush before the next poll: freshness is what we promise.
                () = until(self.sink.due()) => {
                    metrics::checkpointed(self.sink.flush().await?.durable_rows());
                }
                // Stopping ends the wait; the loop's head does the rest.
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One poll of the tables that are loaded, one chunk of a table that is not, and the progress
    /// that covers both.
    async fn step(&mut self, source: &mut Source, pace: &mut Pace) -> Result<Found, PollError> {
        let mut found = Found::default();
        if pace.last_cycle.elapsed() >= QUIET_MAX || !source.is_quiet().await? {
            pace.last_cycle = Instant::now();
            found = source.cycle(&mut self.sink).await?;
            if pace.last_look.elapsed() >= ABSENT_INTERVAL {
                pace.last_look = pace.last_cycle;
                source.look_for_absent().await?;
            }
            metrics::polled(found.late);
        }
        let chunk = source.load_chunk(&mut self.sink).await?;
        let rows = found.rows + chunk.map_or(0, |chunk| chunk.rows);
        let heartbeat = pace.last_checkpoint.elapsed() >= HEARTBEAT;
        let progress = source.progress(heartbeat).await?;
        if !progress.is_empty() {
            if heartbeat {
                pace.last_checkpoint = Instant::now();
            }
            let checkpointed = self.sink.checkpoint(progress).await?;
            let durable = checkpointed.durable_rows();
            metrics::checkpointed(durable);
            debug!(rows, durable, "checkpoint");
            self.export.write(source);
        }
        Ok(Found {
            rows,
            late: found.late,
        })
    }
}

impl Pace {
    fn new(max: Duration) -> Self {
        let long_ago = Instant::now();
        Self {
            interval: INTERVAL_MIN.min(max),
            max,
            last_cycle: long_ago,
            last_checkpoint: long_ago,
            last_look: long_ago,
        }
    }

    fn next_wait(&mut self, found: Found, loading: bool) -> Duration {
        if loading {
            return Duration::ZERO;
        }
        let min = INTERVAL_MIN.min(self.max);
        self.interval = if found.rows > 0 {
            min
        } else {
            self.interval.mul_f64(INTERVAL_GROWTH).min(self.max)
        };
        self.interval
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(STOP_DEADLINE).await;
}
