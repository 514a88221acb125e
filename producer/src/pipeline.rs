//! The producer's loop: one step after the other, and the only place that waits on more than one
//! thing.
//!
//! Promises: after any error the sink is asked what it has durably, and the poll resumes from
//! there; a cycle's rows and the progress that covers them are handed over together; a table that
//! fails by itself is set aside, and the others go on. Leaves to others: what a step does
//! ([`crate::session`]), whether an error passes ([`crate::retry`]), when a table that was set
//! aside is tried again ([`crate::aside`]).

use std::collections::BTreeSet;
use std::time::Duration;

use inlet_model::TableName;
use inlet_postgres::{Known, Tables, capture};
use inlet_service::caught_up::CaughtUp;
use inlet_service::config::{Config, PostgresAddress, StreamingConfig};
use inlet_service::observe::{Readiness, timestamp_seconds};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::aside::Aside;
use crate::export::Export;
use crate::retry::Retry;
use crate::session::{Session, Source, Stepped};
use crate::source::census::rest;
use crate::source::error::PollError;
use crate::source::poll::Due;
use crate::source::resume::PollSettings;
use crate::source::table::PolledTable;
use crate::watch::{SILENCE_MAX, Watched, until_silent};
use crate::{metrics, settings};
use inlet_service::sink::Sink;

/// The least time between two polls while changes arrive.
const INTERVAL_MIN: Duration = Duration::from_millis(2);
/// A poll that found no change makes the next wait longer by this factor.
const INTERVAL_GROWTH: f64 = 1.5;
/// The activity is read this often although the server's snapshot is quiet: a message that ended
/// may have left rows behind.
const QUIET_MAX: Duration = Duration::from_secs(1);
/// Progress without rows is made durable this often, so that a restart does not look back further.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// A dropped table is looked for this often.
const DROPPED_INTERVAL: Duration = Duration::from_secs(1);
/// A step that is under way when the process is asked to stop may take this long.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Polls tables into a sink until it is stopped.
pub struct Pipeline<S> {
    /// The captured tables; a reconnection finds them again.
    config: Config,
    settings: PollSettings,
    export: Export,
    sink: S,
    readiness: Readiness,
    /// The tables that were polled since the start: one that is dropped does not stop the others.
    known: Known,
    /// The tables that fail by themselves.
    aside: Aside,
    /// True once every table is set aside: the error then counts for the service.
    none_left: bool,
    /// The tables that the sink was made for.
    carried: BTreeSet<TableName>,
    caught_up: CaughtUp,
    /// When everything that polls had found was durable for the last time.
    last_durable: std::time::Instant,
}

/// Until when everything is durable that polls have found, in seconds since 1970-01-01 UTC.
#[derive(Default)]
struct Durable {
    /// The last poll.
    polled_at: Option<f64>,
    /// The last poll before the commit that runs.
    committing: Option<f64>,
}

/// How fast the next poll follows.
struct Pace {
    interval: Duration,
    max: Duration,
    last_cycle: Instant,
    last_checkpoint: Instant,
    /// When dropped tables were last looked for.
    last_look: Instant,
    /// When the next keys are compared, so that the census takes its share of a core.
    next_census: Instant,
    /// Percent of a core that the census may take.
    census_percent: u8,
}

/// Connects to PostgreSQL and finds the tables, also those that cannot be captured; waits for a
/// server that does not answer yet. `None` when stopped.
pub async fn connect(
    config: &Config,
    stop: &CancellationToken,
) -> Result<Option<Source>, PollError> {
    let mut retry = Retry::new();
    let known = Known::new();
    let addresses = addresses(config);
    loop {
        let error = tokio::select! {
            biased;
            // A stop goes first, because nothing was started yet that it could cut off.
            () = stop.cancelled() => return Ok(None),
            source = Source::look(config, &known) => match source {
                Ok(source) => return Ok(Some(source)),
                Err(error) => error,
            },
            // A server that hangs is no server: the wait for it has the same end.
            () = until_silent(&addresses) => PollError::Silent(SILENCE_MAX),
        };
        if wait(retry.after(error)?, stop).await.is_none() {
            return Ok(None);
        }
    }
}

impl<S: Sink> Pipeline<S> {
    /// A pipeline that makes the captured tables of a configuration durable in a sink.
    pub fn new(config: Config, sink: S) -> Self {
        let location = config.streaming.last_processed_timestamp_location.clone();
        let now = std::time::Instant::now();
        Self {
            caught_up: CaughtUp::new(config.streaming.poll_interval, now),
            last_durable: now,
            settings: settings::poll(&config),
            export: Export::new(location),
            config,
            sink,
            readiness: Readiness::default(),
            known: Known::new(),
            aside: Aside::default(),
            none_left: false,
            carried: BTreeSet::new(),
        }
    }

    /// Reports as ready while it polls: PostgreSQL and the sink were reached, and no error keeps it
    /// from the next cycle.
    pub fn observed(self, readiness: Readiness) -> Self {
        Self { readiness, ..self }
    }

    /// Polls from this source until stopped; then the work at hand is finished and made durable.
    pub async fn run(mut self, source: Source, stop: CancellationToken) -> Result<(), PollError> {
        metrics::describe();
        self.carried = source.tables.names().into_iter().collect();
        for table in &self.carried {
            metrics::set_aside(table, false);
        }
        let mut retry = Retry::new();
        let mut source = Some(source);
        loop {
            let error = tokio::select! {
                biased;
                // A stopped session ends by itself: it goes first, so that its last commit is not
                // cut off.
                ended = self.session(source.take(), &stop, &mut retry) => match ended {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                // Only a server that hangs keeps the session longer; what is not durable is read
                // again at the next start.
                () = overdue(&stop) => return Ok(()),
            };
            // The others are polled at once: the table that failed waits alone.
            let Some(error) = self.set_aside(error) else {
                continue;
            };
            // The service reports as not ready before the wait, which may be long.
            self.readiness.set(false);
            let delay = retry.after(error)?;
            metrics::failed();
            if wait(delay, &stop).await.is_none() {
                return Ok(());
            }
        }
    }

    /// From connecting to the first error, or to the end.
    async fn session(
        &mut self,
        source: Option<Source>,
        stop: &CancellationToken,
        retry: &mut Retry,
    ) -> Result<(), PollError> {
        let addresses = addresses(&self.config);
        let mut session = tokio::select! {
            biased;
            // A session that has started goes first; the watch only ends a wait.
            session = self.start(source) => session?,
            () = until_silent(&addresses) => return Err(PollError::Silent(SILENCE_MAX)),
        };
        retry.reached();
        self.readiness.set(true);
        let watched = watched(&self.config, &session);
        let mut pace = Pace::new(&self.config.streaming);
        let mut durable = Durable::default();
        loop {
            // Between two steps the poll holds no snapshot and no lock, so this is the moment to
            // stop.
            if stop.is_cancelled() {
                let rows = self.sink.flush().await?.durable_rows();
                metrics::checkpointed(rows);
                info!(rows, "stopped: everything that was found is durable");
                return Ok(());
            }
            let due = pace.due();
            let polled_at = timestamp_seconds();
            let stepped = tokio::select! {
                biased;
                // A step that has ended goes first: its rows count.
                stepped = session.step(due, &mut self.sink) => stepped?,
                () = until_silent(&watched) => return Err(PollError::Silent(SILENCE_MAX)),
            };
            self.record(&session, &stepped);
            // What a load has read so far is only a part of the table.
            if session.tables().iter().all(PolledTable::is_tailing) {
                let is_durable = durable.polled(polled_at, self.sink.due().is_none());
                self.catch_up(is_durable);
            }
            pace.stepped(due, &stepped);
            self.look_after(&mut session, due, &stepped).await?;
            // Rows prove that the whole way works; an empty poll does not, and keeps the longer
            // waits.
            if stepped.step.rows > 0 {
                retry.succeeded();
            }
            let mut wait = pace.next_wait(stepped.step.rows, session.is_loading());
            if session.is_comparing() {
                wait = wait.min(pace.until_census());
            }
            tokio::select! {
                biased;
                // A due flush before the next poll: freshness is what we promise.
                () = until(self.sink.due()) => {
                    let rows = self.sink.start_flush().await?;
                    metrics::checkpointed(rows);
                    self.caught_up.add(rows);
                    let is_durable = durable.flushed();
                    self.catch_up(is_durable);
                }
                // Stopping ends the wait; the loop's head does the rest.
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Connects and resumes the tables that are not set aside.
    async fn start(&mut self, source: Option<Source>) -> Result<Session, PollError> {
        let mut source = match source {
            Some(source) => source,
            None => Source::look(&self.config, &self.known).await?,
        };
        let name = settings::session_name(&self.config);
        source.postgres.name_session(&name).await?;
        self.leave_out(&mut source.tables)?;
        // A table counts as known once a session has started with it; until then it must exist.
        let found = source.tables.known();
        let set_aside = self.aside.reasons();
        let set_aside = set_aside
            .into_iter()
            .filter(|(table, _)| self.carried.contains(table))
            .collect();
        let session = Session::start(source, self.settings, &mut self.sink, set_aside).await?;
        self.known.extend(found);
        Ok(session)
    }

    /// Takes the tables out that cannot be captured, or have failed lately. Fails when none is
    /// left.
    fn leave_out(&mut self, tables: &mut Tables) -> Result<(), PollError> {
        let now = Instant::now();
        for left_out in std::mem::take(&mut tables.left_out) {
            let Some(table) = left_out.reason.own_table().cloned() else {
                return Err(left_out.reason.into());
            };
            // A table that was never polled is the concern of those who look for new ones.
            if self.carried.contains(&table) && !self.aside.is_resting(&table, now) {
                self.aside.set(&table, left_out.reason.into(), now);
            }
        }
        tables
            .captured
            .retain(|table| !self.aside.is_resting(&table.captured.schema.table, now));
        for table in &tables.captured {
            self.aside.is_tried(&table.captured.schema.table);
        }
        if tables.captured.is_empty()
            && let Some(error) = self.aside.take_error()
        {
            self.none_left = true;
            return Err(error);
        }
        Ok(())
    }

    /// Sets the table of an error aside; returns the error when it is none of a single table, or
    /// when there is no other one.
    fn set_aside(&mut self, error: PollError) -> Option<PollError> {
        let none_left = std::mem::take(&mut self.none_left) || self.carried.len() < 2;
        let Some(table) = error.own_table().filter(|_| !none_left).cloned() else {
            return Some(error);
        };
        self.aside.set(&table, error, Instant::now());
        None
    }

    /// Looks whether a table that was set aside can be read again, and at requests of users.
    async fn look_after(
        &mut self,
        session: &mut Session,
        due: Due,
        stepped: &Stepped,
    ) -> Result<(), PollError> {
        if stepped.step.cycled {
            self.aside.succeeded(Instant::now());
        }
        if !due.dropped || !stepped.step.cycled {
            return Ok(());
        }
        while let Some(table) = self.aside.due(Instant::now()) {
            let config = self.config.tables.iter().find(|config| {
                let known = self.known.get(&config.table);
                known.is_some_and(|known| known.table == table)
            });
            // What the catalog refuses is asked again without ending the session; anything else
            // shows only when the table is polled.
            let captured = match config {
                Some(config) => capture(session.primary(), config).await,
                None => return Err(PollError::Recovered(table)),
            };
            match captured {
                Err(error) if error.own_table().is_some() => {
                    self.aside.set(&table, error.into(), Instant::now());
                }
                Err(error) => return Err(error.into()),
                Ok(_) => return Err(PollError::Recovered(table)),
            }
        }
        Ok(())
    }

    /// Everything that polls had found until a moment ago is durable: logs it where that is news.
    fn catch_up(&mut self, is_durable: bool) {
        if !is_durable {
            return;
        }
        let now = std::time::Instant::now();
        // The time in which no poll became durable is how far it was behind.
        let lag = now.saturating_duration_since(self.last_durable);
        self.last_durable = now;
        let carried = self.caught_up.observe(lag, now);
        // After a noticeable delay it was behind until now.
        if let Some(carried) = carried.or_else(|| self.caught_up.observe(Duration::ZERO, now)) {
            let (seconds, rows_per_second) = (carried.seconds(), carried.rows_per_second());
            info!(
                rows = carried.rows,
                seconds,
                rows_per_second,
                "caught up: everything that PostgreSQL has committed is durable"
            );
        }
    }

    fn record(&mut self, session: &Session, stepped: &Stepped) {
        if stepped.step.cycled {
            metrics::polled(stepped.step.late);
        }
        if stepped.checkpointed || stepped.step.joined {
            metrics::checkpointed(stepped.durable_rows);
            self.caught_up.add(stepped.durable_rows);
        }
        if stepped.checkpointed {
            for table in session.tables() {
                metrics::compared(table.name(), &table.held.census);
            }
            self.export.write(session.tables());
        }
    }
}

impl Durable {
    /// A poll has started at this time, and its rows are in the sink. True where they are durable.
    fn polled(&mut self, at: f64, is_durable: bool) -> bool {
        self.polled_at = Some(at);
        if is_durable {
            metrics::durable(at);
        }
        is_durable
    }

    /// A commit has started with everything that was found, which waited for the one before. True
    /// where that one had rows of a poll.
    fn flushed(&mut self) -> bool {
        let committed = self.committing.take();
        if let Some(at) = committed {
            metrics::durable(at);
        }
        self.committing = self.polled_at;
        committed.is_some()
    }
}

impl Pace {
    fn new(streaming: &StreamingConfig) -> Self {
        let (max, now) = (streaming.poll_interval, Instant::now());
        Self {
            interval: INTERVAL_MIN.min(max),
            max,
            last_cycle: now,
            last_checkpoint: now,
            last_look: now,
            next_census: now,
            census_percent: streaming.census.percent,
        }
    }

    fn due(&self) -> Due {
        Due {
            cycle: self.last_cycle.elapsed() >= QUIET_MAX,
            dropped: self.last_look.elapsed() >= DROPPED_INTERVAL,
            census: self.next_census <= Instant::now(),
            heartbeat: self.last_checkpoint.elapsed() >= HEARTBEAT,
        }
    }

    fn stepped(&mut self, due: Due, stepped: &Stepped) {
        let now = Instant::now();
        if stepped.step.cycled {
            self.last_cycle = now;
        }
        if stepped.step.cycled && due.dropped {
            self.last_look = now;
        }
        if stepped.checkpointed && due.heartbeat {
            self.last_checkpoint = now;
        }
        if let Some(took) = stepped.step.compared {
            self.next_census = now + rest(took, self.census_percent);
        }
    }

    fn until_census(&self) -> Duration {
        self.next_census.saturating_duration_since(Instant::now())
    }

    fn next_wait(&mut self, rows: u64, loading: bool) -> Duration {
        // Chunks of a load follow each other without a pause: each of them has work.
        if loading {
            return Duration::ZERO;
        }
        // The configured interval may be shorter than our least pause.
        let min = INTERVAL_MIN.min(self.max);
        self.interval = if rows > 0 {
            min
        } else {
            self.interval.mul_f64(INTERVAL_GROWTH).min(self.max)
        };
        self.interval
    }
}

/// The configured servers, before there is a session.
fn addresses(config: &Config) -> Vec<Watched> {
    let servers = config.postgres.iter();
    let servers = servers.flat_map(|postgres| [Some(&postgres.primary), postgres.read.as_ref()]);
    let watched = |address: &PostgresAddress| Watched {
        address: address.clone(),
        backend: None,
    };
    servers.flatten().map(watched).collect()
}

/// The servers with the processes that serve this session.
fn watched(config: &Config, session: &Session) -> Vec<Watched> {
    let (primary, standby) = session.backends();
    let backends = [Some(primary), standby];
    addresses(config)
        .into_iter()
        .zip(backends)
        .map(|(watched, backend)| Watched { backend, ..watched })
        .collect()
}

/// Waits; `None` when stopped meanwhile.
async fn wait(delay: Duration, stop: &CancellationToken) -> Option<()> {
    stop.run_until_cancelled(tokio::time::sleep(delay)).await
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
