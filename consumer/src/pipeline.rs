//! Topics -> lake: the one place that waits on more than one thing.
//!
//! ```text
//! source -> sequence -> decode -> validate -> lake
//! ```
//!
//! A row is in the lake once, whatever fails at which moment, because reading starts where the
//! lake's log ends, and only there. A session, step by step:
//!
//! 1. Join the group. An assignment takes the kafka_partitions over in the lake, which fences their
//!    former owner, and answers with the offsets at which reading starts.
//! 2. Messages go into the open batch of their table. A due batch is committed while the table
//!    fills the next one.
//! 3. A revocation waits for the commits that run and discards the open batches; the next owner
//!    reads their messages again.
//! 4. After any error: leave the group, discard what is open, open the lake again, and join. The
//!    same way serves an unavailable broker or disk, a kafka_partition that went to another
//!    consumer, and a table whose first schema has arrived.

mod copy;
mod table;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inlet_lake::Rules;
use inlet_model::Offset;
use inlet_service::caught_up::CaughtUp;
use inlet_service::error::{Explain, Kind, chain};
use inlet_service::observe::Readiness;
use inlet_service::retry::{Backoff, Reach};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::ConsumerError;
use crate::metrics;
use crate::settings::ConsumerSettings;
use crate::source::{Event, Partitions, Schemas, Slab, Source};
use inlet_kafka::Marks;
use table::{Commit, Table};

/// How long the last commits may take when the process stops.
const FINISH_DEADLINE: Duration = Duration::from_secs(10);
/// How long a commit may delay a rebalance. If it ends later, it is in the log or fenced.
const REVOKE_DEADLINE: Duration = Duration::from_secs(10);
/// How often the control topic is read while a table waits for its first schema.
const SCHEMA_INTERVAL: Duration = Duration::from_secs(1);
/// A topic without a new message for this long has been read to its end.
const IDLE: Duration = Duration::from_secs(1);
/// Consecutive times that another writer may be first, without one commit in between, before this
/// consumer stops.
const OVERTAKEN_MAX: u32 = 20;

/// A consumer before it runs.
#[derive(Debug)]
pub struct Pipeline {
    settings: Arc<ConsumerSettings>,
    rules: Vec<Rules>,
    schemas: Schemas,
    readiness: Readiness,
}

/// Why a session ended without an error.
enum Ended {
    Stopped,
    Rejoin,
}

/// A membership in the group, from joining to leaving.
struct Session<'a> {
    schemas: &'a mut Schemas,
    source: Source,
    tables: BTreeMap<String, Table>,
    commits: JoinSet<Commit>,
    next_schema_read: Option<Instant>,
    committed: bool,
    readiness: Readiness,
    caught_up: &'a mut CaughtUp,
    /// When the topics count as read to their end; `None` while that is no news.
    idle_at: Option<Instant>,
}

impl Pipeline {
    /// Checks the settings; opens and connects nothing.
    pub fn new(settings: ConsumerSettings) -> Result<Self, ConsumerError> {
        let rules = settings
            .tables
            .iter()
            .map(|table| Rules::parse(&table.rules))
            .collect::<Result<_, _>>()?;
        let settings = Arc::new(settings);
        Ok(Self {
            schemas: Schemas::new(&settings),
            settings,
            rules,
            readiness: Readiness::default(),
        })
    }

    /// Reports ready while it is a member of the group, with kafka_partitions or without.
    pub fn observed(self, readiness: Readiness) -> Self {
        Self { readiness, ..self }
    }

    /// Runs until it is stopped, until an error that a restart cannot fix, or until no broker has
    /// answered for a while since the start.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ConsumerError> {
        metrics::describe();
        let mut backoff = Backoff::new();
        let mut overtaken = 0;
        let reach = Reach::new();
        let mut caught_up = CaughtUp::new(self.settings.limits.age, Instant::now());
        loop {
            let mut session = self.join(&reach, &mut caught_up)?;
            let ended = session.run(&stop).await;
            session.readiness.set(false);
            // Only a commit proves progress: a session that merely joined keeps the longer waits.
            if session.committed {
                backoff.reset();
                overtaken = 0;
            }
            // The group is left before the wait, so that other members take the kafka_partitions
            // meanwhile.
            session.leave().await;
            match ended {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::Rejoin) => continue,
                // Two writers can overtake each other a few times during a rebalance. Without an
                // end to it, two misconfigured consumers would fight for ever.
                Err(error) if error.is_overtaken() && overtaken < OVERTAKEN_MAX => {
                    overtaken += 1;
                    let reason = error.to_string();
                    tracing::info!(reason, "another consumer has taken over: joining again");
                }
                Err(error) if error.is_unreached() => {
                    tracing::warn!("Kafka was not reached since the start, ending");
                    return Err(error);
                }
                Err(error) if error.kind() == Kind::Unavailable => {
                    let hint = error.hint().map(tracing::field::display);
                    tracing::warn!(
                        reason = chain(&error),
                        hint,
                        attempt = backoff.attempts() + 1,
                        "restarting from the lake's log"
                    );
                    metrics::failed();
                }
                Err(error) => return Err(error),
            }
            if stop
                .run_until_cancelled(tokio::time::sleep(backoff.next_delay()))
                .await
                .is_none()
            {
                return Ok(());
            }
        }
    }

    fn join<'a>(
        &'a mut self,
        reach: &Reach,
        caught_up: &'a mut CaughtUp,
    ) -> Result<Session<'a>, ConsumerError> {
        let source = Source::join(&self.settings, reach)?;
        let table =
            |(settings, rules): (&_, &Rules)| Table::new(&self.settings, settings, rules.clone());
        let tables = self
            .settings
            .tables
            .iter()
            .zip(&self.rules)
            .map(|both| (both.0.topic.clone(), table(both)))
            .collect();
        let readiness = self.readiness.clone();
        Ok(Session {
            schemas: &mut self.schemas,
            source,
            tables,
            commits: JoinSet::new(),
            next_schema_read: None,
            committed: false,
            readiness,
            caught_up,
            idle_at: None,
        })
    }
}

impl Session<'_> {
    async fn run(&mut self, stop: &CancellationToken) -> Result<Ended, ConsumerError> {
        loop {
            let due = self.tables.values().filter_map(Table::due).min();
            let has_room = !self.tables.values().any(Table::is_blocked);
            let is_idle = self.is_idle();
            tokio::select! {
                biased;
                // Stopping goes first: from then on no commit or read is started.
                () = stop.cancelled() => return self.finish().await.map(|()| Ended::Stopped),
                // A finished commit frees memory, so it goes before more messages.
                Some(done) = self.commits.join_next() => self.committed(done)?,
                // A due batch goes before new messages, which would delay it.
                () = until(due) => self.close_due(),
                // Before new messages as well: otherwise a table could wait for its first schema
                // for as long as another table is busy.
                () = until(self.next_schema_read) => {
                    if self.read_schemas(stop).await? {
                        return Ok(Ended::Rejoin);
                    }
                }
                // A message that is ready resets the time; this one has not come.
                () = until(self.idle_at), if is_idle => {
                    self.idle_at = None;
                    self.catch_up(Duration::ZERO);
                }
                event = self.source.next(), if has_room => match event? {
                    Event::Messages(slab) => {
                        self.await_idle();
                        self.append(slab, stop).await?;
                    }
                    Event::Assigned {
                        partitions,
                        read,
                        reply,
                    } => {
                        self.seek_to_log(partitions, read, reply, stop).await?;
                    }
                    Event::Revoked { reply } => self.revoke(reply).await?,
                },
            }
        }
    }

    /// Adds messages to their table's open batch. When the process is asked to stop meanwhile, the
    /// slab is dropped: the next start reads its messages again.
    async fn append(&mut self, slab: Slab, stop: &CancellationToken) -> Result<(), ConsumerError> {
        // A row and its schema are committed in one transaction, so one more reading finds the
        // schema of every row that is visible.
        if !self.schemas.has_all(&slab) && !self.refresh_schemas(stop).await? {
            return Ok(());
        }
        let known = self.schemas.known();
        let table = self
            .tables
            .get_mut(&**slab.topic())
            .expect("only topics of tables are subscribed");
        table.append(slab, known).await
    }

    /// Takes the kafka_partitions over in the lake, and starts each where the log ends.
    async fn seek_to_log(
        &mut self,
        partitions: Partitions<Marks>,
        mut read: Partitions<Offset>,
        reply: oneshot::Sender<Partitions<Offset>>,
        stop: &CancellationToken,
    ) -> Result<(), ConsumerError> {
        self.discard_open().await?;
        if !self.refresh_schemas(stop).await? {
            return Ok(());
        }
        let mut started = Partitions::new();
        self.next_schema_read = None;
        for (topic, marks) in partitions {
            let table = self
                .tables
                .get_mut(&topic)
                .expect("only topics of tables are subscribed");
            let read = read.remove(&topic).unwrap_or_default();
            match table.start(self.schemas, &marks, &read).await? {
                Some(offsets) => {
                    started.insert(topic, offsets);
                }
                None => self.next_schema_read = Some(Instant::now() + SCHEMA_INTERVAL),
            }
        }
        if !started.is_empty() {
            self.await_idle();
        }
        // If the source has failed in the meantime, its next event reports the error.
        let _ = reply.send(started);
        self.readiness.set(true);
        Ok(())
    }

    /// Reads the control topic; true when a table that waits for its first schema can start.
    async fn read_schemas(&mut self, stop: &CancellationToken) -> Result<bool, ConsumerError> {
        if !self.refresh_schemas(stop).await? {
            return Ok(false);
        }
        self.next_schema_read = Some(Instant::now() + SCHEMA_INTERVAL);
        Ok(self
            .tables
            .values()
            .any(|table| table.can_start(self.schemas)))
    }

    /// Reads the control topic; false when the process was asked to stop first. The reading waits
    /// for open transactions, for more than a minute at most, and stopping must not wait for it.
    async fn refresh_schemas(&mut self, stop: &CancellationToken) -> Result<bool, ConsumerError> {
        let mut schemas = self.schemas.clone();
        // librdkafka blocks while it reads; a copy goes to the blocking thread and comes back only
        // when the reading succeeded.
        let refresh = move || schemas.refresh().map(|()| schemas);
        let refreshing = tokio::task::spawn_blocking(refresh);
        let Some(refreshed) = stop.run_until_cancelled(refreshing).await else {
            return Ok(false);
        };
        *self.schemas = refreshed.expect("reading schemas does not panic")?;
        Ok(true)
    }

    /// Gives all kafka_partitions back. Waits for the commits that run; the next owner reads the
    /// messages of the open batches again.
    async fn revoke(&mut self, reply: oneshot::Sender<()>) -> Result<(), ConsumerError> {
        self.next_schema_read = None;
        self.discard_open().await?;
        // If the source has failed in the meantime, its next event reports the error.
        let _ = reply.send(());
        Ok(())
    }

    async fn discard_open(&mut self) -> Result<(), ConsumerError> {
        let deadline = tokio::time::Instant::now() + REVOKE_DEADLINE;
        while let Ok(Some(done)) = tokio::time::timeout_at(deadline, self.commits.join_next()).await
        {
            self.committed(done)?;
        }
        // A commit that is late still ends on its own: in the log, or fenced by the next owner.
        self.commits.detach_all();
        for table in self.tables.values_mut() {
            table.discard().await;
        }
        Ok(())
    }

    fn close_due(&mut self) {
        let now = Instant::now();
        for table in self
            .tables
            .values_mut()
            .filter(|table| table.due().is_some_and(|due| due <= now))
        {
            table.close(&mut self.commits);
        }
    }

    fn committed(
        &mut self,
        done: Result<Commit, tokio::task::JoinError>,
    ) -> Result<(), ConsumerError> {
        let commit = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let table = self
            .tables
            .get_mut(&commit.topic)
            .expect("a commit belongs to a table");
        let topic = commit.topic.clone();
        let committed = table.committed(commit)?;
        self.committed = true;
        // The group learns the offsets only after the lake has them: a lag tool never shows a row
        // as consumed before it is readable.
        self.source.commit(&topic, committed.offsets);
        self.caught_up.add(committed.rows);
        if let Some(freshness) = committed.freshness {
            self.catch_up(freshness);
        }
        Ok(())
    }

    /// True while everything that was read is committed.
    fn is_idle(&self) -> bool {
        self.commits.is_empty() && self.tables.values().all(|table| table.due().is_none())
    }

    /// Lets the time run after which the topics count as read to their end.
    fn await_idle(&mut self) {
        let is_news = self.caught_up.is_behind();
        self.idle_at = is_news.then(|| Instant::now() + IDLE);
    }

    /// What was committed last was found by a poll this long ago: logs it where that is news.
    fn catch_up(&mut self, lag: Duration) {
        if let Some(carried) = self.caught_up.observe(lag, Instant::now()) {
            let (seconds, rows_per_second) = (carried.seconds(), carried.rows_per_second());
            tracing::info!(
                rows = carried.rows,
                seconds,
                rows_per_second,
                "caught up: the lake has everything of the topics"
            );
        } else if self.idle_at.is_none() {
            self.await_idle();
        }
    }

    /// Commits the open batches.
    async fn finish(&mut self) -> Result<(), ConsumerError> {
        let deadline = tokio::time::Instant::now() + FINISH_DEADLINE;
        loop {
            for table in self.tables.values_mut() {
                table.close(&mut self.commits);
            }
            match tokio::time::timeout_at(deadline, self.commits.join_next()).await {
                Ok(Some(done)) => self.committed(done)?,
                Ok(None) => return Ok(()),
                Err(_) => {
                    tracing::warn!(
                        deadline = ?FINISH_DEADLINE,
                        "a commit did not end in time; the next start resumes from the log"
                    );
                    return Ok(());
                }
            }
        }
    }

    /// Leaves the group and discards the open batches.
    async fn leave(mut self) {
        // The next reader of the log should find every commit that was started, so this waits for
        // them, within the deadline.
        let deadline = tokio::time::Instant::now() + REVOKE_DEADLINE;
        while let Ok(Some(_)) = tokio::time::timeout_at(deadline, self.commits.join_next()).await {}
        for table in self.tables.values_mut() {
            table.discard().await;
        }
        self.source.close().await;
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}
