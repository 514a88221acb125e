//! Counts rows where they are: in PostgreSQL, in the topic, in the lake's files.
//!
//! It reads the lake like any reader of `**/*.parquet`: every file that the glob finds, by the
//! count in its footer, without the lake's log.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use inlet_harness::Kafka;
use parquet::file::reader::{FileReader, SerializedFileReader};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use sqlx::PgConnection;
use tokio::task::block_in_place;

const ASK_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub postgres: u64,
    /// `None` without a broker.
    pub topic: Option<u64>,
    pub lake: u64,
    pub quarantine: u64,
}

impl Counts {
    /// True when a hop has more rows than `goal`: it has duplicates.
    pub fn exceed(&self, goal: &Self) -> bool {
        self.postgres > goal.postgres
            || self.topic > goal.topic
            || self.lake > goal.lake
            || self.quarantine > goal.quarantine
    }
}

pub struct Hops {
    postgres: PgConnection,
    topic: Option<Topic>,
    lake: PathBuf,
    /// Data files never change: each is opened once.
    files: HashMap<PathBuf, u64>,
}

impl Hops {
    pub fn new(postgres: PgConnection, topic: Option<Topic>, lake: PathBuf) -> Self {
        Self {
            postgres,
            topic,
            lake,
            files: HashMap::new(),
        }
    }

    pub fn has_topic(&self) -> bool {
        self.topic.is_some()
    }

    /// Runs a statement in a transaction of its own, committed when this returns.
    pub async fn write(&mut self, sql: &str) -> Result<()> {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.postgres)
            .await?;
        Ok(())
    }

    /// Counts all hops, the last one first, so that a row on its way is not counted at a later hop
    /// only.
    pub async fn count(&mut self) -> Result<Counts> {
        let (quarantine, lake) =
            block_in_place(|| anyhow::Ok((self.quarantine()?, self.lake_rows()?)))?;
        let topic = self
            .topic
            .as_mut()
            .map(|topic| block_in_place(|| topic.count()))
            .transpose()?;
        let postgres: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
            .fetch_one(&mut self.postgres)
            .await?;
        Ok(Counts {
            postgres: postgres.cast_unsigned(),
            topic,
            lake,
            quarantine,
        })
    }

    fn lake_rows(&mut self) -> Result<u64> {
        let mut rows = 0;
        for path in files(&self.lake, "parquet")? {
            rows += match self.files.get(&path) {
                Some(rows) => *rows,
                None => {
                    let reader = SerializedFileReader::new(File::open(&path)?)
                        .with_context(|| format!("reading {}", path.display()))?;
                    let rows = reader.metadata().file_metadata().num_rows().cast_unsigned();
                    self.files.insert(path, rows);
                    rows
                }
            };
        }
        Ok(rows)
    }

    fn quarantine(&self) -> Result<u64> {
        let lines = |path: PathBuf| Ok(fs::read_to_string(path)?.lines().count() as u64);
        files(&self.lake.join("_quarantine"), "jsonl")?
            .into_iter()
            .map(lines)
            .sum()
    }
}

/// A topic, read to the end of its committed records.
pub struct Topic {
    consumer: BaseConsumer,
    name: &'static str,
    is_assigned: bool,
    records: u64,
}

impl Topic {
    /// A topic that need not exist yet.
    pub fn new(kafka: &Kafka, name: &'static str) -> Result<Self> {
        let mut config = kafka.client();
        config
            .set("group.id", "inlet-demo")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed");
        let consumer = config.set("fetch.wait.max.ms", "10").create()?;
        Ok(Self {
            consumer,
            name,
            is_assigned: false,
            records: 0,
        })
    }

    fn count(&mut self) -> Result<u64> {
        if !self.is_assigned {
            self.is_assigned = self.assign()?;
        }
        while let Some(message) = self
            .is_assigned
            .then(|| self.consumer.poll(Duration::ZERO))
            .flatten()
        {
            message.with_context(|| format!("reading topic `{}`", self.name))?;
            self.records += 1;
        }
        Ok(self.records)
    }

    /// Starts reading at the topic's beginning; false if the topic does not exist yet.
    fn assign(&self) -> Result<bool> {
        let metadata = self.consumer.fetch_metadata(Some(self.name), ASK_MAX)?;
        let mut partitions = TopicPartitionList::new();
        for partition in metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions())
        {
            partitions.add_partition_offset(self.name, partition.id(), Offset::Beginning)?;
        }
        if partitions.count() == 0 {
            return Ok(false);
        }
        self.consumer.assign(&partitions)?;
        Ok(true)
    }
}

/// Lists the files below a folder with this ending; the folder may be missing.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", folder.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, ending)?);
        } else if path
            .extension()
            .is_some_and(|extension| extension == ending)
        {
            found.push(path);
        }
    }
    Ok(found)
}
