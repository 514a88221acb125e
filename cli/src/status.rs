//! `inlet status`: how far the lake is, table by table, and how far it is behind the topics.
//!
//! Promises: reads only; a server or folder that cannot be read is said in its line and keeps nothing else from being shown.
//! Leaves to others: whether the rows are right (`verify`).

pub mod folder;
pub mod lag;
pub mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::Utc;
use inlet_consumer::lake::Head;
use inlet_producer::source::table::Load;
use inlet_service::config::{Config, DatalakeConfig, KafkaConfig, TableConfig};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::args::StatusArguments;
use crate::failure::Outcome;
use crate::tables;

const HEADINGS: [&str; 8] = ["TABLE", "FRESHNESS", "ROWS", "FILES", "BYTES", "QUARANTINED", "COMMIT", "OFFSETS"];
/// Where numbers stand.
const NUMBERS: [usize; 5] = [2, 3, 4, 5, 6];

/// Shows how far producer and consumer are.
pub async fn run(arguments: StatusArguments, config: Config, stop: CancellationToken) -> Outcome {
    let datalake = config.require_datalake()?;
    let read = async {
        let mut tables = Vec::new();
        for table in &config.tables {
            tables.push(Status::read(&config, datalake, table).await);
        }
        tables
    };
    let Some(tables) = stop.run_until_cancelled(read).await else { return Ok(ExitCode::FAILURE) };
    if arguments.json {
        println!("{}", json!({ "tables": tables.iter().map(Status::json).collect::<Vec<_>>() }));
    } else {
        let rows: Vec<_> = tables.iter().map(Status::cells).collect();
        print!("{}", table::lines(&HEADINGS, &NUMBERS, &rows));
    }
    let readable = tables.iter().any(|table| table.head.is_ok() || matches!(table.lag, Some(Ok(_))));
    Ok(if readable { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is known of one table.
struct Status {
    name: String,
    /// `None` before the first commit.
    head: Result<Option<Head>, String>,
    /// Records of the topic that the lake has not; `None` without a broker.
    lag: Option<Result<i64, String>>,
}

impl Status {
    async fn read(config: &Config, datalake: &DatalakeConfig, table: &TableConfig) -> Self {
        let path = tables::folder(config, datalake, table);
        let head = head(&path).await;
        let lag = match &config.kafka {
            Some(kafka) => Some(lag(kafka.clone(), kafka.topic_for(table), head.as_ref().ok().cloned().flatten()).await),
            None => None,
        };
        let known = head.as_ref().ok().and_then(Option::as_ref).map(|head| head.table.to_string());
        Self { name: known.unwrap_or_else(|| table.written()), head, lag }
    }

    fn head(&self) -> Option<&Head> {
        self.head.as_ref().ok().and_then(Option::as_ref)
    }

    /// Seconds since the last commit.
    fn age(&self) -> Option<f64> {
        let committed_at = self.head()?.committed_at?;
        Some((Utc::now() - committed_at).num_milliseconds().max(0) as f64 / 1000.0)
    }

    /// How far the poller is, when the lake holds its progress.
    fn phase(&self) -> Option<&'static str> {
        let progress = &self.head()?.progress.0;
        match progress.get("load").map(|text| serde_json::from_str::<Load>(text)) {
            Some(Ok(load)) if load.finished => Some("joining"),
            Some(_) => Some("loading"),
            None => progress.contains_key("poll").then_some("tailing"),
        }
    }

    fn freshness(&self) -> String {
        let mut parts = Vec::new();
        match &self.lag {
            Some(Ok(0)) => parts.push("up to date".to_owned()),
            Some(Ok(1)) => parts.push("1 row behind".to_owned()),
            Some(Ok(rows)) => parts.push(format!("{rows} rows behind")),
            Some(Err(error)) => parts.push(format!("Kafka cannot be read: {error}")),
            None => {}
        }
        parts.extend(self.phase().map(str::to_owned));
        match (&self.head, self.age()) {
            (Err(error), _) => parts.push(format!("lake cannot be read: {error}")),
            (_, Some(age)) => parts.push(format!("committed {} ago", table::span(age))),
            (_, None) => parts.push("no commit yet".to_owned()),
        }
        parts.join(", ")
    }

    fn cells(&self) -> Vec<String> {
        let number = |value: fn(&Head) -> u64| self.head().map_or_else(|| "-".to_owned(), |head| value(head).to_string());
        let bytes = self.head().map_or_else(|| "-".to_owned(), |head| table::bytes(head.bytes));
        let offset = |head: &Head| {
            let next = head.offsets.iter().filter_map(|(partition, at)| Some(format!("{}:{}", partition.0, at.next?.0)));
            next.collect::<Vec<_>>().join(" ")
        };
        vec![
            self.name.clone(),
            self.freshness(),
            number(|head| head.rows),
            number(|head| head.files),
            bytes,
            number(|head| head.quarantined),
            number(|head| head.seq),
            self.head().map(offset).unwrap_or_default(),
        ]
    }

    fn json(&self) -> Value {
        let head = self.head();
        let offsets = head
            .map(|head| head.offsets.iter().map(|(partition, at)| (partition.0.to_string(), json!(at.next.map(|next| next.0)))).collect());
        let offsets: Option<serde_json::Map<String, Value>> = offsets;
        json!({
            "table": self.name,
            "freshness_seconds": self.age(),
            "lag_rows": self.lag.as_ref().and_then(|lag| lag.as_ref().ok()),
            "phase": self.phase(),
            "rows": head.map(|head| head.rows),
            "files": head.map(|head| head.files),
            "bytes": head.map(|head| head.bytes),
            "quarantined": head.map(|head| head.quarantined),
            "seq": head.map(|head| head.seq),
            "committed_at": head.and_then(|head| head.committed_at),
            "offsets": offsets,
            "lake_error": self.head.as_ref().err(),
            "kafka_error": self.lag.as_ref().and_then(|lag| lag.as_ref().err()),
        })
    }
}

async fn head(path: &Path) -> Result<Option<Head>, String> {
    let path: PathBuf = path.to_owned();
    if let Err(error) = folder::data_files(&path) {
        return Err(error.to_string());
    }
    folder::head(&path).await.map_err(|error| error.to_string())
}

async fn lag(kafka: KafkaConfig, topic: String, head: Option<Head>) -> Result<i64, String> {
    let asked = tokio::task::spawn_blocking(move || lag::rows(&kafka, &topic, head.as_ref()).map_err(|error| error.to_string())).await;
    asked.unwrap_or_else(|error| Err(error.to_string()))
}
