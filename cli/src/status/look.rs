//! Reads every hop once: rows that wait in PostgreSQL, rows that wait in the topics, rows in the
//! lake.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use inlet_consumer::SourceError;
use inlet_lake::{Head, TableReader};
use inlet_model::Progress;
use inlet_model::TableName;
use inlet_model::record::sequences::{PART, Sequences};
use inlet_postgres::capture::{Gap, Held};
use inlet_postgres::{Error, Table, Tables};
use inlet_producer::settings;
use inlet_producer::sink::kafka::{KafkaSinkSettings, stored_progress};
use inlet_producer::source::census::Census;
use inlet_producer::source::control::Control;
use inlet_producer::source::progress::{Stored, aside};
use inlet_producer::source::waiting::{Hidden, Look, Waiting};
use inlet_service::config::{Capture, Config, KafkaConfig, PostgresAddress, TableConfig};
use inlet_service::error::{Explain, chain};

use super::lag;
use super::processes::{self, Process};
use crate::capture::{lost, words};
use crate::status::lag::Lag;
use crate::{failure::Failure, tables};

/// A running broker answers sooner.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// The span for the average of rows a second.
const RATE_SPAN: TimeDelta = TimeDelta::seconds(10);

/// What one look has shown.
pub struct Looked {
    pub services: Services,
    /// The processes on this machine that write the lake.
    pub processes: Vec<Process>,
    pub tables: Vec<Status>,
}

/// Which services of the pipeline run; `None` where that cannot be seen.
#[derive(Debug, Clone, Copy)]
pub struct Services {
    /// True where one process polls and writes the lake, without a broker.
    pub direct: bool,
    /// The poll: its session in PostgreSQL has a name, and without a broker it writes the lake.
    pub poll: Option<bool>,
    /// The writer of the lake: it holds a lock in the folders of its tables while it lives.
    pub lake: Option<bool>,
}

/// The status of one table; an `Err` holds the reason why a part is unknown.
pub struct Status {
    pub name: String,
    /// `None` before the first commit.
    pub head: Result<Option<Head>, String>,
    /// Records of the topic that the lake lacks; `None` without a broker.
    pub lag: Option<Result<Lag, NoLag>>,
    /// Rows of PostgreSQL that the sink lacks; `None` without a `postgres:` section.
    pub waiting: Option<Result<Waiting, String>>,
    pub phase: Option<&'static str>,
    /// True while a user has paused it.
    pub paused: bool,
    /// True while it is loaded again beside its polls.
    pub reloading: bool,
    /// Why the service has set it aside.
    pub set_aside: Option<String>,
    /// Committed files that are missing in its folder, with the number of their rows.
    pub missing: BTreeMap<PathBuf, u64>,
    /// How far its deletes are found.
    pub census: Option<Census>,
    /// What is recorded of its changes, where it is recorded and could be read.
    pub journal: Option<Journal>,
    /// Rows that became visible a second, over [`RATE_SPAN`].
    pub rows_per_second: f64,
    pub at: DateTime<Utc>,
}

/// The journal of a table whose changes are recorded.
#[derive(Debug, Clone)]
pub struct Journal {
    pub held: Option<Held>,
    pub bytes_max: u64,
    /// What is wrong with it, in words.
    pub remarks: Vec<String>,
}

impl Journal {
    fn of(table: &TableConfig, gaps: &[Gap], held: Option<Held>) -> Self {
        let mut remarks: Vec<_> = gaps.iter().map(words).collect();
        remarks.extend(held.and_then(|held| lost(table, held)));
        Self {
            held,
            bytes_max: table.journal_max,
            remarks,
        }
    }
}

/// Why the lag of a topic is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoLag {
    /// Kafka cannot be read.
    Unread(String),
    /// The topic does not continue what the lake has read: its consumer cannot go on.
    Lost { reason: String, advice: String },
}

impl NoLag {
    fn of(error: &SourceError) -> Self {
        match (error, error.hint()) {
            (SourceError::Missing { .. } | SourceError::Recreated { .. }, Some(hint)) => {
                Self::Lost {
                    reason: error.to_string(),
                    advice: hint.to_string(),
                }
            }
            _ => Self::Unread(chain(error)),
        }
    }

    pub fn reason(&self) -> &str {
        match self {
            Self::Unread(reason) | Self::Lost { reason, .. } => reason,
        }
    }
}

/// The place of rows that the lake lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// In PostgreSQL, until the producer has published them, or, without a broker, until they are
    /// in the lake.
    Postgres,
    /// In PostgreSQL, where no poll sees them, until a sweep finds them.
    Sweep,
    /// Deletes in PostgreSQL, until a comparison of keys finds them.
    Census,
    /// In the topic, until the consumer has committed them.
    Kafka,
}

/// How far the lake is behind, and the hop that causes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    pub age: Duration,
    /// False where the age is an upper bound.
    pub exact: bool,
    pub hop: Hop,
}

impl Looked {
    /// The table that is furthest behind; `None` while that of some table is unknown.
    pub fn worst(&self) -> Option<(&Status, Behind)> {
        let known = self.tables.iter().map(|table| {
            let behind = table.freshness()?;
            Some((table, behind))
        });
        let known: Option<Vec<_>> = known.collect();
        known?.into_iter().max_by_key(|(_, behind)| behind.age)
    }

    /// How far the lake is behind, at most; `None` if that is unknown.
    pub fn lag(&self) -> Option<Duration> {
        Some(self.worst()?.1.age)
    }
}

impl Status {
    /// True if the lake or the topic could be read.
    pub fn is_known(&self) -> bool {
        self.head.is_ok() || matches!(self.lag, Some(Ok(_)))
    }

    /// The head of the lake's log, once it exists.
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref().ok().and_then(Option::as_ref)
    }

    /// The greatest delay of the lake relative to PostgreSQL, and the hop that causes it; relative
    /// to the topic without a `postgres:` section. `None` if it is unknown, or before the initial
    /// load has ended.
    pub fn freshness(&self) -> Option<Behind> {
        let head = self.head.as_ref().ok()?;
        // Missing files leave rows out however old these are.
        if !self.missing.is_empty() {
            return None;
        }
        let mut behind = Vec::new();
        match &self.waiting {
            Some(Ok(waiting)) if self.phase == Some("tailing") => {
                behind.push(Behind {
                    age: waiting.age,
                    exact: waiting.rows.is_some(),
                    hop: Hop::Postgres,
                });
                behind.extend(waiting.hidden.as_ref().into_iter().flat_map(hidden));
            }
            Some(_) => return None,
            None => {}
        }
        match &self.lag {
            Some(Ok(lag)) => behind.push(Behind {
                age: lag.age,
                exact: true,
                hop: Hop::Kafka,
            }),
            Some(Err(_)) => return None,
            // Without a broker only the lake tells how far the poll is.
            None if head.is_none() => return None,
            None => {}
        }
        behind.into_iter().max_by_key(|behind| behind.age)
    }

    /// What PostgreSQL's counters show beyond the polls.
    pub fn hidden(&self) -> Option<&Hidden> {
        self.waiting.as_ref()?.as_ref().ok()?.hidden.as_ref()
    }

    /// Versions in PostgreSQL that the sink lacks.
    pub fn waiting_rows(&self) -> Option<u64> {
        self.waiting.as_ref()?.as_ref().ok()?.rows
    }

    /// Rows in the topic that the lake lacks.
    pub fn lag_rows(&self) -> Option<u64> {
        Some(self.lag.as_ref()?.as_ref().ok()?.rows)
    }

    /// The number of rows that PostgreSQL's statistics expect in the table.
    pub fn expected_rows(&self) -> Option<u64> {
        self.waiting.as_ref()?.as_ref().ok()?.expected_rows
    }

    pub fn committed_seconds_ago(&self) -> Option<f64> {
        Some(
            (self.at - self.head()?.committed_at?)
                .num_milliseconds()
                .max(0) as f64
                / 1000.0,
        )
    }
}

/// What waits beyond the polls: it was written after the last reading that would have found it.
fn hidden(hidden: &Hidden) -> Vec<Behind> {
    let behind = |age, hop| Behind {
        age,
        exact: false,
        hop,
    };
    let sweep = hidden.sweep.filter(|_| hidden.suspicious() > 0);
    let compared = hidden.compared.filter(|_| hidden.deletes > Some(0));
    let sweep = sweep.map(|(ago, _)| behind(ago, Hop::Sweep));
    let compared = compared.map(|ago| behind(ago, Hop::Census));
    sweep.into_iter().chain(compared).collect()
}

/// Looks at every table of the configuration; its lake must be configured.
pub async fn look(config: &Config) -> Result<Looked, Failure> {
    // Patterns need the catalog. Without PostgreSQL the tables of the lake stand for them, so that
    // `status` still shows something.
    let mut postgres = match OfPostgres::open(config).await {
        Some(Err(Error::Config(error))) => return Err(error.into()),
        postgres => postgres,
    };
    let poll = match &mut postgres {
        Some(Ok(postgres)) => postgres.is_polled(config).await,
        Some(Err(_)) | None => None,
    };
    let config = &match &postgres {
        Some(Ok(postgres)) => postgres.tables.config.clone(),
        None => tables::resolve_by_lake(config.clone())?,
        Some(Err(_)) => tables::resolve_without_postgres(config.clone())?,
    };
    let datalake = config.datalake.as_ref().expect("it was asked for");
    let readers: Vec<_> = config
        .tables
        .iter()
        .map(|table| TableReader::new(tables::folder(config, datalake, table)))
        .collect();
    let mut heads = Vec::new();
    for reader in &readers {
        heads.push(head(reader).await);
    }
    let kafka = match &config.kafka {
        Some(kafka) => Some(of_kafka(config, kafka.clone(), &heads).await),
        None => None,
    };
    let names = names(config, &heads, &postgres);
    let (direct, lake) = (kafka.is_none(), is_written(&readers));
    let services = Services {
        direct,
        poll: if direct { lake } else { poll },
        lake,
    };
    let mut journals = journals(config, &mut postgres).await;
    let waiting = waiting(config, postgres, kafka.as_ref(), &heads, &names).await;
    let at = Utc::now();
    let mut known = Vec::new();
    for (n, (head, waiting)) in heads.into_iter().zip(waiting).enumerate() {
        let found = head.as_ref().ok().and_then(Option::as_ref);
        let name = names[n].as_ref();
        let progress = progress_of(kafka.as_ref(), name, found);
        let stored = progress.and_then(|progress| Stored::decode(progress).ok().flatten());
        let phase = stored.as_ref().map(|stored| stored.phase.name());
        let rows = found.map_or(0, |head| readers[n].rows_since(head, at - RATE_SPAN));
        known.push(Status {
            name: name.map_or_else(|| config.tables[n].written(), ToString::to_string),
            lag: kafka.as_ref().map(|kafka| kafka.lag(n, progress)),
            phase,
            paused: progress.is_some_and(|progress| Control::decode(progress).paused),
            reloading: stored.is_some_and(|stored| stored.reload.is_some()),
            set_aside: progress.and_then(aside),
            missing: readers[n].missing().await.unwrap_or_default(),
            census: progress.map(Census::decode),
            journal: journals[n].take(),
            rows_per_second: rows as f64 / RATE_SPAN.num_seconds() as f64,
            head,
            waiting,
            at,
        });
    }
    Ok(Looked {
        services,
        processes: processes::writing(&readers),
        tables: known,
    })
}

/// True while a service holds the lock of a writer in one of the folders; `None` where that cannot
/// be seen.
fn is_written(readers: &[TableReader]) -> Option<bool> {
    let mut written = false;
    for reader in readers {
        written |= reader.is_written()?;
    }
    Some(written)
}

struct OfKafka {
    progress: BTreeMap<TableName, Progress>,
    lags: Vec<Result<Lag, NoLag>>,
}

impl OfKafka {
    /// The lag of a table, in rows where its producer's progress is known.
    fn lag(&self, table: usize, progress: Option<&Progress>) -> Result<Lag, NoLag> {
        let mut lag = self.lags[table].clone()?;
        let next = progress.and_then(|progress| Sequences::decode(progress.0.get(PART)?));
        if let Some(next) = next {
            lag.count_rows(&next);
        }
        Ok(lag)
    }
}

/// The poller's progress is in the control topic, or, without a broker, in the lake's log.
fn progress_of<'a>(
    kafka: Option<&'a OfKafka>,
    name: Option<&TableName>,
    head: Option<&'a Head>,
) -> Option<&'a Progress> {
    match kafka {
        Some(kafka) => kafka.progress.get(name?),
        None => head.map(|head| &head.progress),
    }
}

async fn head(reader: &TableReader) -> Result<Option<Head>, String> {
    // A folder that this user may not list would look like one before the first commit.
    reader.data_files().map_err(|error| chain(&error))?;
    reader.head().await.map_err(|error| error.to_string())
}

async fn of_kafka(
    config: &Config,
    kafka: KafkaConfig,
    heads: &[Result<Option<Head>, String>],
) -> OfKafka {
    let sink = KafkaSinkSettings {
        deadline: ANSWER_TIME_MAX,
        ..settings::kafka_sink(config, &kafka, &[])
    };
    let topic = |(table, head): (_, &Result<Option<Head>, String>)| {
        (
            kafka.topic_for(table),
            head.as_ref().ok().cloned().flatten(),
        )
    };
    let topics: Vec<_> = config.tables.iter().zip(heads).map(topic).collect();
    let count = topics.len();
    let asked = tokio::task::spawn_blocking(move || {
        let lags = match lag::of_topics(&kafka, &topics) {
            Ok(lags) => lags
                .into_iter()
                .map(|lag| lag.map_err(|error| NoLag::of(&error)))
                .collect(),
            Err(error) => vec![Err(NoLag::Unread(chain(&error))); count],
        };
        // If the broker answers about no topic, the control topic would only add another time-out.
        let answers = lags.iter().any(|lag| !matches!(lag, Err(NoLag::Unread(_))));
        let progress = if answers {
            stored_progress(&sink).unwrap_or_default()
        } else {
            BTreeMap::new()
        };
        OfKafka { progress, lags }
    });
    asked.await.expect("the look at Kafka does not panic")
}

/// A look at PostgreSQL, and the tables that it has.
struct OfPostgres {
    look: Look,
    tables: Tables,
}

impl OfPostgres {
    /// `None` where the configuration names no server.
    async fn open(config: &Config) -> Option<Result<Self, Error>> {
        let address = &config.postgres.as_ref()?.primary;
        Some(Self::find(config, address).await)
    }

    async fn find(config: &Config, address: &PostgresAddress) -> Result<Self, Error> {
        let mut look = Look::open(address).await?;
        let tables = look.find(config).await?;
        Ok(Self { look, tables })
    }

    /// The name of a table of the configuration, as the catalog spells it.
    fn name(&self, table: &TableConfig) -> Option<TableName> {
        let captured = self.tables.of(table)?.ok()?;
        Some(captured.schema.table.clone())
    }

    /// True while a service polls the tables for this pipeline.
    async fn is_polled(&mut self, config: &Config) -> Option<bool> {
        let name = settings::session_name(config);
        self.look.has_session(&name).await.ok()
    }

    /// What is recorded of one table of the configuration.
    async fn journal(&mut self, config: &Config, table: &TableConfig) -> Option<Journal> {
        if table.capture == Capture::None {
            return None;
        }
        let is_this = |other: &&Table| other.config.table == table.table;
        let found = self.tables.captured.iter().find(is_this)?;
        let role = &config.postgres.as_ref()?.primary.user;
        let (gaps, held) = self.look.recorded(found, role).await.ok()?;
        Some(Journal::of(table, &gaps, held))
    }

    /// What waits in one table of the configuration.
    async fn waiting(
        &mut self,
        table: &TableConfig,
        progress: Option<&Progress>,
    ) -> Result<Waiting, String> {
        let is_this = |other: &&Table| other.config.table == table.table;
        match self.tables.captured.iter().find(is_this) {
            Some(table) => {
                let waiting = self.look.table(table, progress).await;
                waiting.map_err(|error| chain(&error))
            }
            None => Err(match self.tables.of(table) {
                Some(Err(reason)) => chain(reason),
                _ => "the table was dropped".to_owned(),
            }),
        }
    }
}

/// The tables' names as the catalog spells them, where they are known.
fn names(
    config: &Config,
    heads: &[Result<Option<Head>, String>],
    postgres: &Option<Result<OfPostgres, Error>>,
) -> Vec<Option<TableName>> {
    let name = |(table, head): (&TableConfig, &Result<Option<Head>, String>)| {
        // Before the first commit only the catalog knows how the table's name is spelled.
        let head = head.as_ref().ok().and_then(Option::as_ref);
        head.map(|head| head.table.clone())
            .or_else(|| postgres.as_ref()?.as_ref().ok()?.name(table))
    };
    config.tables.iter().zip(heads).map(name).collect()
}

async fn journals(
    config: &Config,
    postgres: &mut Option<Result<OfPostgres, Error>>,
) -> Vec<Option<Journal>> {
    let mut found = Vec::new();
    for table in &config.tables {
        found.push(match postgres {
            Some(Ok(postgres)) => postgres.journal(config, table).await,
            Some(Err(_)) | None => None,
        });
    }
    found
}

async fn waiting(
    config: &Config,
    postgres: Option<Result<OfPostgres, Error>>,
    kafka: Option<&OfKafka>,
    heads: &[Result<Option<Head>, String>],
    names: &[Option<TableName>],
) -> Vec<Option<Result<Waiting, String>>> {
    let mut postgres = match postgres {
        Some(Ok(postgres)) => postgres,
        Some(Err(error)) => return vec![Some(Err(chain(&error))); heads.len()],
        None => return vec![None; heads.len()],
    };
    let mut found = Vec::new();
    for ((table, head), name) in config.tables.iter().zip(heads).zip(names) {
        let head = head.as_ref().ok().and_then(Option::as_ref);
        let progress = progress_of(kafka, name.as_ref(), head);
        found.push(Some(postgres.waiting(table, progress).await));
    }
    found
}
