//! Reads every hop once: rows that wait in PostgreSQL, rows that wait in the topics, rows in the
//! lake.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use inlet_consumer::SourceError;
use inlet_lake::{Head, TableReader};
use inlet_model::Progress;
use inlet_model::TableName;
use inlet_postgres::{Error, Table, Tables};
use inlet_producer::settings;
use inlet_producer::sink::kafka::{KafkaSinkSettings, stored_progress};
use inlet_producer::source::census::Census;
use inlet_producer::source::control::Control;
use inlet_producer::source::progress::{Stored, aside};
use inlet_producer::source::waiting::{Look, Waiting};
use inlet_service::config::{Config, KafkaConfig, PostgresAddress, TableConfig};
use inlet_service::error::{Explain, chain};

use super::lag;
use crate::status::lag::Lag;
use crate::{failure::Failure, tables};

/// A running broker answers sooner.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// The span for the average of rows a second.
const RATE_SPAN: TimeDelta = TimeDelta::seconds(10);

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
    /// How far its deletes are found.
    pub census: Option<Census>,
    /// Rows that became visible a second, over [`RATE_SPAN`].
    pub rows_per_second: f64,
    pub at: DateTime<Utc>,
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
    /// In the topic, until the consumer has committed them.
    Kafka,
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
    pub fn freshness(&self) -> Option<(Duration, Hop)> {
        self.head()?;
        let waiting = match &self.waiting {
            Some(Ok(waiting)) if self.phase == Some("tailing") => Some(waiting.age),
            Some(_) => return None,
            None => None,
        };
        let unread = match &self.lag {
            Some(Ok(lag)) => Some(lag.age),
            Some(Err(_)) => return None,
            None => None,
        };
        [
            waiting.map(|age| (age, Hop::Postgres)),
            unread.map(|age| (age, Hop::Kafka)),
        ]
        .into_iter()
        .flatten()
        .max_by_key(|(age, _)| *age)
    }

    /// Versions in PostgreSQL that the sink lacks.
    pub fn waiting_rows(&self) -> Option<u64> {
        self.waiting.as_ref()?.as_ref().ok()?.rows
    }

    /// Records in the topic that the lake lacks.
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

/// Looks at every table of the configuration; its lake must be configured.
pub async fn look(config: &Config) -> Result<Vec<Status>, Failure> {
    // Patterns need the catalog. Without PostgreSQL the tables of the lake stand for them, so that
    // `status` still shows something.
    let postgres = match OfPostgres::open(config).await {
        Some(Err(Error::Config(error))) => return Err(error.into()),
        postgres => postgres,
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
    let waiting = waiting(config, postgres, kafka.as_ref(), &heads).await;
    let at = Utc::now();
    let mut known = Vec::new();
    for (n, (head, waiting)) in heads.into_iter().zip(waiting).enumerate() {
        let found = head.as_ref().ok().and_then(Option::as_ref);
        let name = found.map(|head| &head.table).or(waiting
            .as_ref()
            .and_then(|waiting| waiting.as_ref().ok())
            .map(|waiting| &waiting.table));
        let progress = progress_of(kafka.as_ref(), name, found);
        let stored = progress.and_then(|progress| Stored::decode(progress).ok().flatten());
        let phase = stored.as_ref().map(|stored| stored.phase.name());
        let rows = found.map_or(0, |head| readers[n].rows_since(head, at - RATE_SPAN));
        known.push(Status {
            name: name.map_or_else(|| config.tables[n].written(), ToString::to_string),
            lag: kafka.as_ref().map(|kafka| kafka.lags[n].clone()),
            phase,
            paused: progress.is_some_and(|progress| Control::decode(progress).paused),
            reloading: stored.is_some_and(|stored| stored.reload.is_some()),
            set_aside: progress.and_then(aside),
            census: progress.map(Census::decode),
            rows_per_second: rows as f64 / RATE_SPAN.num_seconds() as f64,
            head,
            waiting,
            at,
        });
    }
    Ok(known)
}

struct OfKafka {
    progress: BTreeMap<TableName, Progress>,
    lags: Vec<Result<Lag, NoLag>>,
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

async fn waiting(
    config: &Config,
    postgres: Option<Result<OfPostgres, Error>>,
    kafka: Option<&OfKafka>,
    heads: &[Result<Option<Head>, String>],
) -> Vec<Option<Result<Waiting, String>>> {
    let mut postgres = match postgres {
        Some(Ok(postgres)) => postgres,
        Some(Err(error)) => return vec![Some(Err(chain(&error))); heads.len()],
        None => return vec![None; heads.len()],
    };
    let mut found = Vec::new();
    for (table, head) in config.tables.iter().zip(heads) {
        let head = head.as_ref().ok().and_then(Option::as_ref);
        // Before the first commit only the catalog knows the name, so the progress of such a table
        // is not looked up.
        let progress = progress_of(kafka, head.map(|head| &head.table), head);
        found.push(Some(postgres.waiting(table, progress).await));
    }
    found
}
