//! A topic, consumers of it, and the lake that DuckDB reads.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use inlet_consumer::{ConsumerError, ConsumerSettings, Pipeline, TableSettings};
use inlet_harness::{Folder, Kafka, duckdb, eventually, shared_kafka};
use inlet_kafka::Connection;
use inlet_lake::Limits;
use inlet_service::config::Properties;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::publisher::Publisher;

/// How long one step may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// One pipeline with the table `orders`.
pub struct Fixture {
    pub kafka: &'static Kafka,
    pub topic: String,
    pub control: String,
    pub settings: ConsumerSettings,
    folder: Folder,
}

pub struct Running {
    stop: CancellationToken,
    task: JoinHandle<Result<(), ConsumerError>>,
}

impl Fixture {
    /// A pipeline whose topics exist, with this many partitions.
    pub async fn new(name: &str, partitions: i32) -> Result<Self> {
        let fixture = Self::without_topics(name).await?;
        fixture.create_topics(partitions).await?;
        Ok(fixture)
    }

    /// A pipeline whose topics do not exist yet.
    pub async fn without_topics(name: &str) -> Result<Self> {
        let kafka = shared_kafka().await;
        let folder = Folder::new(name)?;
        let (topic, control) = (format!("{name}-orders"), format!("{name}_control"));
        let table = TableSettings {
            table: "Orders".parse()?,
            topic: topic.clone(),
            path: folder.join("lake"),
            debezium: None,
            rules: Vec::new(),
            date_column: Some("created_at".into()),
            timezone: chrono_tz::Tz::UTC,
            compaction: None,
            retention: None,
        };
        let settings = ConsumerSettings {
            connection: Connection::new(&kafka.bootstrap(), Properties::default()),
            group: format!("{name}-group"),
            control_topic: control.clone(),
            tables: vec![table],
            limits: Limits {
                age: Duration::from_millis(200),
                rows: 100_000,
                bytes: 64 << 20,
            },
            checkpoint_location: Some(folder.join("checkpoints")),
            lake_may_be_new: false,
        };
        Ok(Self {
            kafka,
            topic,
            control,
            settings,
            folder,
        })
    }

    /// Gives the consumer one property of librdkafka.
    pub fn set_property(&mut self, name: &str, value: &str) -> Result<()> {
        let properties = Properties::new([(name, value)])?;
        self.settings.connection = Connection::new(&self.kafka.bootstrap(), properties);
        Ok(())
    }

    pub async fn create_topics(&self, partitions: i32) -> Result<()> {
        self.kafka
            .create_topic(&self.control, 1, &[("cleanup.policy", "compact")])
            .await?;
        self.kafka.create_topic(&self.topic, partitions, &[]).await
    }

    pub fn publisher(&self) -> Result<Publisher> {
        Publisher::new(self.kafka, &self.topic, &self.control)
    }

    pub fn start(&self) -> Running {
        let (stop, settings) = (CancellationToken::new(), self.settings.clone());
        let pipeline = Pipeline::new(settings).expect("the settings are right");
        let task = tokio::spawn(pipeline.run(stop.clone()));
        Running { stop, task }
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.folder.join("checkpoints").join("orders.json")
    }

    /// The lake as any reader sees it.
    pub fn rows(&self) -> String {
        format!(
            "read_parquet('{}/**/*.parquet', hive_partitioning = true)",
            self.folder.join("lake").display()
        )
    }

    /// The quarantine, one line for each row.
    pub fn quarantine(&self) -> String {
        let columns = "{reason: 'VARCHAR', \"offset\": 'BIGINT', key: 'VARCHAR', value: 'VARCHAR', \
            value_base64: 'VARCHAR'}";
        format!(
            "read_json('{}/_quarantine/*.jsonl', format = 'newline_delimited', columns = \
                {columns})",
            self.folder.join("lake").display()
        )
    }

    pub async fn query(&self, select: &str, from: &str, rest: &str) -> Result<Vec<Vec<String>>> {
        duckdb::query(&format!("SELECT {select} FROM {from} {rest}")).await
    }

    /// The number of rows, of distinct rows, and the sum of all keys.
    pub async fn counts(&self) -> Result<(i64, i64, i64)> {
        let rows = self
            .query(
                "count(*), count(DISTINCT order_id), sum(order_id)",
                &self.rows(),
                "",
            )
            .await?;
        let [row] = rows.as_slice() else {
            anyhow::bail!("{rows:?}")
        };
        let number = |at: usize| row[at].parse::<i64>().with_context(|| format!("{row:?}"));
        Ok((number(0)?, number(1)?, number(2)?))
    }

    /// Waits until the lake holds the rows `0..ids`, each once. Fails as soon as it holds one row
    /// more.
    pub async fn holds(&self, ids: i64) {
        let expected = (ids, ids, ids * (ids - 1) / 2);
        eventually(DEADLINE, &format!("{ids} rows in the lake"), async || {
            let counts = self.counts().await?;
            assert!(
                counts.0 <= ids && counts.0 == counts.1,
                "rows, different rows, sum: {counts:?}, expected {expected:?}"
            );
            anyhow::ensure!(counts == expected, "{counts:?}");
            Ok(true)
        })
        .await;
    }
}

impl Running {
    /// Asks it to stop, and waits.
    pub async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(DEADLINE, self.task)
            .await
            .expect("a stopped consumer ends");
        ended.expect("no panic").expect("no error");
    }

    /// Ends it at once.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("killed").is_cancelled());
    }

    /// Waits until it ends by itself; returns the error.
    pub async fn failure(self) -> ConsumerError {
        let ended = tokio::time::timeout(DEADLINE, self.task)
            .await
            .expect("the consumer stops");
        ended.expect("no panic").expect_err("an error")
    }
}
