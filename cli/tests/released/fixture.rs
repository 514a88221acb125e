//! The files of a release, and a pipeline restored from them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use inlet_harness::{Database, Folder, Inlet, Kafka, Postgres, duckdb};
use serde::{Deserialize, Deserializer};

use crate::replay;

pub const INLET: &str = env!("CARGO_BIN_EXE_inlet");
pub const PATIENCE: Duration = Duration::from_secs(90);

const COLUMNS: &str = "order_id, amount, to_json(tags)::text, created_at, updated_at, note";

/// What a release left.
pub struct Release {
    folder: PathBuf,
    source: Source,
    partitions: Vec<Partition>,
}

/// The history of the table that the release read.
#[derive(Deserialize)]
pub struct Source {
    pub system: i64,
    pub database: String,
    pub oid: u32,
    pub statements: Vec<Statement>,
}

#[derive(Deserialize)]
pub struct Statement {
    pub xid: u64,
    pub sql: String,
}

/// A kafka_partition with the records of committed transactions.
#[derive(Deserialize, Clone)]
pub struct Partition {
    pub topic: String,
    pub partition: i32,
    pub records: Vec<StoredRecord>,
}

#[derive(Deserialize, Clone)]
pub struct StoredRecord {
    pub offset: i64,
    #[serde(deserialize_with = "from_base64")]
    pub key: Option<Vec<u8>>,
    #[serde(deserialize_with = "from_base64")]
    pub value: Option<Vec<u8>>,
    #[serde(deserialize_with = "headers")]
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Release {
    pub fn load(version: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../dev/fixtures")
            .join(version);
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        Self {
            source: serde_json::from_slice(&read("source.json")).unwrap(),
            partitions: serde_json::from_slice(&read("topics.json")).unwrap(),
            folder,
        }
    }

    /// Restores the files of a lake.
    pub fn unpack(&self, name: &str, folder: &Path) {
        unpack(&self.folder.join(format!("{name}.tar.gz")), folder);
    }

    pub fn records(&self, topic: &str) -> impl Iterator<Item = &StoredRecord> {
        self.partitions
            .iter()
            .filter(move |partition| partition.topic == topic)
            .flat_map(|partition| &partition.records)
    }
}

/// A pipeline of a release, as if its services had just been stopped.
pub struct Pipeline {
    folder: Folder,
    database: Database,
}

impl Pipeline {
    pub async fn restore(
        release: &Release,
        name: &str,
        postgres: &Postgres,
        kafka: Option<&Kafka>,
    ) -> Self {
        let database = replay::history(postgres, &release.source).await;
        let identity = replay::Identity::read(&database, &release.source).await;
        let folder = Folder::new("released").unwrap();
        release.unpack(name, &folder.join("lake"));
        for entry in fs::read_dir(folder.join("lake/_log")).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, identity.transplant(&text)).unwrap();
        }
        let mut brokers = String::new();
        if let Some(kafka) = kafka {
            let mut partitions = release.partitions.clone();
            identity.transplant_progress(&mut partitions);
            replay::topics(kafka, &partitions).await;
            brokers = format!("kafka: {{ brokers: \"{}\" }}\n", kafka.bootstrap());
        }
        let config = format!(
            "pipeline: {name}\npostgres: {{ url: \"{}\" }}\n{brokers}datalake: {{ path: \"{}\" }}\n\
             streaming: {{ flush_interval: 50ms }}\n\
             tables: {{ orders: {{ cursor: updated_at, rules: [\"amount >= 0\"] }} }}\n",
            database.url(),
            folder.join("lake").display()
        );
        fs::write(folder.join("config.yml"), config).unwrap();
        Self { folder, database }
    }

    pub fn arguments(&self, verb: &str) -> [String; 3] {
        let config = self.folder.join("config.yml").display().to_string();
        [verb.to_owned(), "--config".to_owned(), config]
    }

    pub fn start(&self, verb: &str) -> Inlet {
        Inlet::start(INLET, &self.arguments(verb), &[]).unwrap()
    }

    /// One new row and one changed one. Their times are later than the recording's, whatever this
    /// machine's clock shows: a poll reads above the time of its last reading.
    pub async fn change_two_rows(&self) {
        let sql = "INSERT INTO orders (order_id, amount, created_at, updated_at) \
                       VALUES (100, 1.00, '2026-11-22 10:00Z', '2100-01-01Z');
                   UPDATE orders SET amount = 3.33, updated_at = '2100-01-01Z' WHERE order_id = 3";
        self.database.sql(sql).await.unwrap();
    }

    pub fn files(&self) -> String {
        let lake = self.folder.join("lake");
        format!(
            "read_parquet('{}/**/*.parquet', union_by_name = true)",
            lake.display()
        )
    }

    pub async fn lake_rows(&self) -> u64 {
        let count = format!("SELECT count(*) FROM {}", self.files());
        duckdb::query(&count).await.unwrap()[0][0].parse().unwrap()
    }

    /// The latest state of the rows that keep the rule, by DuckDB.
    pub async fn latest(&self) -> Vec<Vec<String>> {
        let latest = format!(
            "SET TimeZone = 'UTC'; SELECT {COLUMNS} FROM {} QUALIFY row_number() OVER \
             (PARTITION BY order_id ORDER BY _offset DESC) = 1 ORDER BY order_id",
            self.files()
        );
        duckdb::query(&latest).await.unwrap()
    }

    /// The same of PostgreSQL, by `psql`.
    pub async fn source(&self) -> Vec<Vec<String>> {
        let rows = format!("SELECT {COLUMNS} FROM orders WHERE amount >= 0 ORDER BY order_id");
        self.database.rows(&rows).await.unwrap()
    }
}

fn unpack(archive: &Path, folder: &Path) {
    fs::create_dir(folder).unwrap();
    let status = Command::new("tar")
        .arg("xzf")
        .arg(archive)
        .arg("-C")
        .arg(folder)
        .status();
    assert!(status.unwrap().success(), "unpacking {}", archive.display());
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let decode = |text: String| BASE64_STANDARD.decode(text);
    text.map(decode)
        .transpose()
        .map_err(serde::de::Error::custom)
}

fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Vec<u8>)>, D::Error> {
    let texts = Vec::<(String, String)>::deserialize(deserializer)?;
    let decode = |(name, value): (String, String)| Ok((name, BASE64_STANDARD.decode(value)?));
    let decoded: Result<_, base64::DecodeError> = texts.into_iter().map(decode).collect();
    decoded.map_err(serde::de::Error::custom)
}
