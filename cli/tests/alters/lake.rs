//! A database whose tables are captured, and the readers of its lake.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::stream::{self, StreamExt};
use inlet_harness::duckdb::Version;
use inlet_harness::judge::{self, Compared};
use inlet_harness::{Database, Folder, Inlet, eventually, shared_database, shared_kafka};

const INLET: &str = env!("CARGO_BIN_EXE_inlet");
/// How long the lake may take to hold what PostgreSQL has, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the rows come into the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Direct,
    /// Through topics of five kafka_partitions, a row in each message.
    Json,
    /// The same, with many rows in each message.
    Arrow,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Direct, Self::Json, Self::Arrow];
}

/// Every table of the schema `public`, captured by running services.
pub struct Captured {
    pub database: Database,
    folder: Folder,
    config: String,
    services: Vec<Inlet>,
    verbs: &'static [&'static str],
}

impl Captured {
    /// Makes the tables and starts the services.
    pub async fn start(way: Way, setup: &str) -> Self {
        let database = shared_database().await;
        database.sql(setup).await.unwrap();
        let folder = Folder::new("alters").unwrap();
        let mut text = format!(
            "postgres: {{ url: \"{}\", table: \"*\" }}\ndatalake: {{ path: {} }}\nstreaming: {{ \
             flush_interval: 200ms }}\n",
            database.url(),
            folder.join("lake").display()
        );
        let verbs: &[&str] = match way {
            Way::Direct => &["run"],
            Way::Json | Way::Arrow => {
                let broker = shared_kafka().await.bootstrap();
                let format = if way == Way::Json { "json" } else { "arrow" };
                writeln!(
                    text,
                    "pipeline: {}\nkafka: {{ brokers: \"{broker}\", partitions: 5, format: {format} }}",
                    database.name()
                )
                .unwrap();
                &["producer", "consumer"]
            }
        };
        let config = folder.join("inlet.yml").display().to_string();
        fs::write(&config, text).unwrap();
        let mut captured = Self {
            database,
            folder,
            config,
            services: Vec::new(),
            verbs,
        };
        captured.start_services();
        captured
    }

    fn start_services(&mut self) {
        let start = |verb: &&str| Inlet::start(INLET, &[verb, "--config", &self.config], &[]);
        self.services = self
            .verbs
            .iter()
            .map(start)
            .collect::<Result<_, _>>()
            .unwrap();
    }

    /// Kills every service and starts them again.
    pub fn kill(&mut self) {
        for service in &mut self.services {
            service.kill_9().unwrap();
        }
        self.start_services();
    }

    /// What the services have logged.
    pub fn logs(&self) -> String {
        let logs = self
            .services
            .iter()
            .map(|service| service.stderr().unwrap());
        logs.collect::<Vec<_>>().join("\n")
    }

    /// Waits until every row of the tables has arrived, by the files alone: `inlet verify`.
    pub async fn arrived(&self) {
        let arrived = async || {
            let arguments = ["verify", "--config", &self.config, "--timeout", "60"];
            let finished = Inlet::run(INLET, &arguments, &[]).await?;
            ensure!(
                finished.code == 0,
                "{}{}\n{}",
                finished.stdout,
                finished.stderr,
                self.logs()
            );
            Ok(true)
        };
        eventually(PATIENCE, "`inlet verify` reports equal", arrived).await;
    }

    /// The statements that `inlet views` prints for a table.
    async fn views(&self, table: &str) -> anyhow::Result<String> {
        let arguments = ["views", "--config", &self.config, table];
        let finished = Inlet::run(INLET, &arguments, &[]).await?;
        ensure!(finished.code == 0, "inlet views: {finished:?}");
        Ok(finished.stdout)
    }

    /// Waits until the views of these tables equal PostgreSQL, in both versions of DuckDB; panics
    /// with the differences of all that do not.
    pub async fn equal<T: AsRef<str>>(&self, tables: &[T]) {
        // One clock for all tables: each has had the same time when the last one is compared.
        let end = Instant::now() + PATIENCE;
        let compared = tables.iter().map(|table| async move {
            let mut differences = self.differences(table.as_ref()).await;
            while !differences.is_empty() && Instant::now() < end {
                differences = self.differences(table.as_ref()).await;
            }
            differences
        });
        // Most of a comparison is the start of a DuckDB.
        let found = stream::iter(compared).buffer_unordered(4);
        let found = found.collect::<Vec<_>>().await.concat();
        assert!(found.is_empty(), "{}\n{}", found.join("\n"), self.logs());
    }

    async fn differences(&self, table: &str) -> Vec<String> {
        let compare = async || {
            let compared = Compared {
                database: &self.database,
                table,
                views: &self.views(table).await?,
                view: table,
            };
            judge::differences(compared).await
        };
        let differences = compare().await;
        let differences = differences.unwrap_or_else(|error| vec![format!("{error:#}")]);
        let named = |difference| format!("{table}: {difference}");
        differences.into_iter().map(named).collect()
    }

    /// The files of a table as the README reads them, as DuckDB's SQL.
    pub fn plainly(&self, table: &str) -> String {
        let folder = self.folder_of(table).display().to_string();
        format!("read_parquet('{folder}/**/*.parquet', union_by_name = true)")
    }

    /// Reads every value of a table's files as the README does, in both versions.
    pub async fn readable(&self, table: &str) {
        for version in Version::ALL {
            let rows = judge::read_plainly(version, &self.folder_of(table)).await;
            assert!(rows.unwrap_or_else(|error| panic!("{table}: {error:#}")) > 0);
        }
    }

    fn folder_of(&self, table: &str) -> PathBuf {
        self.folder.join("lake").join(table)
    }
}
