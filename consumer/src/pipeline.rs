//! Topics -> lake: the one place that waits on more than one thing.
//!
//! ```text
//! source -> sequence -> decode -> validate -> batch -> lake
//! ```
//!
//! Promises: a row is in the lake once, whatever ends when. Reading begins where the lake's log
//! ends, and only there; whatever fails, what is open is thrown away and read again. A table
//! commits one batch while it fills the next. Leaves to others: what each step does (its own
//! module), retries inside the client (librdkafka), the meaning of errors (their kind).
//!
//! Recovery has one way: leave the group, drop what is open, open the lake, join again. It serves
//! an unavailable broker or disk, a kafka_partition that went to another consumer, and a table
//! whose first schema has arrived.

mod copy;
mod table;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inlet_model::Offset;
use inlet_service::error::{Explain, Kind, chain};
use inlet_service::observe::Readiness;
use inlet_service::retry::Backoff;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use crate::error::ConsumerError;
use crate::metrics;
use crate::settings::ConsumerSettings;
use crate::source::{Event, Marks, Partitions, Schemas, Slab, Source};
use inlet_lake::validate::Rules;
use table::{Commit, Table};

/// How long what is open may take to become durable when the process leaves.
const FINISH_DEADLINE: Duration = Duration::from_secs(10);
/// How long a commit may hold up a rebalance. It may end later: then it is in the log, or fenced.
const REVOKE_DEADLINE: Duration = Duration::from_secs(10);
/// How often a table's first schema is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Times in a row that other writers may be faster, without one commit in between, before this
/// consumer gives way for good.
const OVERTAKEN_MAX: u32 = 20;

/// A consumer that is not running yet.
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

/// From joining the group to leaving it.
struct Session<'a> {
    schemas: &'a mut Schemas,
    source: Source,
    tables: BTreeMap<String, Table>,
    commits: JoinSet<Commit>,
    look_again: Option<Instant>,
    committed: bool,
    readiness: Readiness,
}

impl Pipeline {
    /// Checks the settings; nothing is opened or connected.
    pub fn new(settings: ConsumerSettings) -> Result<Self, ConsumerError> {
        let rules = settings
            .tables
            .iter()
            .map(|table| Rules::parse(&table.rules))
            .collect::<Result<_, _>>()?;
        let settings = Arc::new(settings);
        Ok(Self {
            schemas: Schemas::new(settings.clone()),
            settings,
            rules,
            readiness: Readiness::default(),
        })
    }

    /// Ready while it is a member of the group, with kafka_partitions or without.
    pub fn observed(self, readiness: Readiness) -> Self {
        Self { readiness, ..self }
    }

    /// Runs until it is stopped, or until something cannot be mended by beginning anew.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), ConsumerError> {
        metrics::describe();
        let mut backoff = Backoff::new();
        let mut overtaken = 0;
        loop {
            let mut session = self.join()?;
            let ended = session.run(&stop).await;
            session.readiness.set(false);
            if session.committed {
                backoff.reset();
                overtaken = 0;
            }
            session.leave().await;
            match ended {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::Rejoin) => continue,
                Err(error) if error.is_overtaken() && overtaken < OVERTAKEN_MAX => {
                    overtaken += 1;
                    tracing::info!(reason = %error, "another consumer has taken over, joining again");
                }
                Err(error) if error.kind() == Kind::Unavailable => {
                    let hint = error.hint().map(tracing::field::display);
                    tracing::warn!(
                        reason = chain(&error),
                        hint,
                        attempt = backoff.attempts() + 1,
                        "beginning anew from the lake's log"
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

    fn join(&mut self) -> Result<Session<'_>, ConsumerError> {
        let source = Source::join(&self.settings)?;
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
            look_again: None,
            committed: false,
            readiness,
        })
    }
}

impl Session<'_> {
    async fn run(&mut self, stop: &CancellationToken) -> Result<Ended, ConsumerError> {
        loop {
            let due = self.tables.values().filter_map(Table::due).min();
            let has_room = !self.tables.values().any(Table::is_blocked);
            tokio::select! {
                biased;
                // Stopping first: nothing new is begun once we were asked to leave.
                () = stop.cancelled() => return self.finish().await.map(|()| Ended::Stopped),
                // A finished commit frees memory, so it goes before taking more in.
                Some(done) = self.commits.join_next() => self.committed(done)?,
                // A due batch before new messages: freshness is what we promise.
                () = until(due) => self.close_due(),
                // Before new messages as well, or a table could wait for its first schema as long
                // as another one is busy.
                () = until(self.look_again) => if self.look_for_schemas().await? { return Ok(Ended::Rejoin) },
                event = self.source.next(), if has_room => match event? {
                    Event::Messages(slab) => self.take(slab).await?,
                    Event::Assigned { partitions, reply } => self.seek_to_log(partitions, reply).await?,
                    Event::Revoked { reply } => self.revoke(reply).await?,
                },
            }
        }
    }

    /// Takes messages into their table's open batch.
    async fn take(&mut self, slab: Slab) -> Result<(), ConsumerError> {
        if !self.schemas.has_all(&slab) {
            self.refresh_schemas().await?;
        }
        let known = self.schemas.known();
        let table = self
            .tables
            .get_mut(&**slab.topic())
            .expect("only topics of tables are subscribed");
        table.take(slab, known).await
    }

    /// Takes the kafka_partitions over in the lake, and begins each where the log ends.
    async fn seek_to_log(
        &mut self,
        partitions: Partitions<Marks>,
        reply: oneshot::Sender<Partitions<Offset>>,
    ) -> Result<(), ConsumerError> {
        self.drop_open().await?;
        self.refresh_schemas().await?;
        let mut begun = Partitions::new();
        self.look_again = None;
        for (topic, marks) in partitions {
            let table = self
                .tables
                .get_mut(&topic)
                .expect("only topics of tables are subscribed");
            match table.begin(self.schemas, &marks).await? {
                Some(offsets) => {
                    begun.insert(topic, offsets);
                }
                None => self.look_again = Some(Instant::now() + LOOK_AGAIN),
            }
        }
        // The source may have failed in the meantime: its next event says why.
        let _ = reply.send(begun);
        self.readiness.set(true);
        Ok(())
    }

    /// Whether a table that waits for its first schema can begin.
    async fn look_for_schemas(&mut self) -> Result<bool, ConsumerError> {
        self.refresh_schemas().await?;
        self.look_again = Some(Instant::now() + LOOK_AGAIN);
        Ok(self
            .tables
            .values()
            .any(|table| table.can_begin(self.schemas)))
    }

    async fn refresh_schemas(&mut self) -> Result<(), ConsumerError> {
        let mut schemas = self.schemas.clone();
        let refresh = move || schemas.refresh().map(|()| schemas);
        let refreshed = tokio::task::spawn_blocking(refresh)
            .await
            .expect("reading schemas does not panic");
        *self.schemas = refreshed?;
        Ok(())
    }

    /// Gives everything back. A commit that runs is waited for; what is open is read again by
    /// whoever comes next.
    async fn revoke(&mut self, reply: oneshot::Sender<()>) -> Result<(), ConsumerError> {
        self.look_again = None;
        self.drop_open().await?;
        // The source may have failed in the meantime: its next event says why.
        let _ = reply.send(());
        Ok(())
    }

    async fn drop_open(&mut self) -> Result<(), ConsumerError> {
        let deadline = tokio::time::Instant::now() + REVOKE_DEADLINE;
        while let Ok(Some(done)) = tokio::time::timeout_at(deadline, self.commits.join_next()).await
        {
            self.committed(done)?;
        }
        self.commits.detach_all();
        for table in self.tables.values_mut() {
            table.drop_open().await;
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
            .expect("a commit is of a table");
        let offsets = table.committed(&commit.topic, commit.result?);
        self.committed = true;
        self.source.commit(&commit.topic, offsets);
        Ok(())
    }

    /// Commits what is open.
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
                    tracing::warn!(deadline = ?FINISH_DEADLINE, "a commit did not end in time; the next start resumes from the log");
                    return Ok(());
                }
            }
        }
    }

    /// Leaves the group and drops what is open.
    async fn leave(mut self) {
        // Who reads the log next must not meet a commit that is still on its way, as far as that
        // can be had in time.
        let deadline = tokio::time::Instant::now() + REVOKE_DEADLINE;
        while let Ok(Some(_)) = tokio::time::timeout_at(deadline, self.commits.join_next()).await {}
        for table in self.tables.values_mut() {
            table.drop_open().await;
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
