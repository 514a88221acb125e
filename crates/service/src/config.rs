//! The configuration: one YAML file (or several) for every verb, read once into checked types.
//!
//! Promises: every problem is reported at once, with file, line and column; an unknown key is
//! refused with the nearest valid one; a secret is never printed, not even in an error; `${VAR}`,
//! `${VAR:-default}` and `${VAR:?hint}` are taken from the environment after parsing, so no value
//! can break or change the YAML. Leaves to others: whether a server answers, whether a table or
//! column exists, what a rule means.
//!
//! The way of a value: `file` (text to located strings, files laid over each other) -> `raw` (the
//! declared keys) -> one file per section, which checks it.

mod datalake;
mod exports;
mod file;
mod kafka;
mod pattern;
mod postgres;
mod properties;
mod raw;
mod records;
mod refused;
mod streaming;
mod tables;
mod value;
mod words;

#[cfg(test)]
mod tests;

use inlet_model::topic_safe;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use datalake::{BucketConfig, DatalakeConfig, Format};
pub use exports::Export;
pub use file::{Absent, ConfigError, Form, Key, Place, Problem};
pub use kafka::KafkaConfig;
pub use pattern::sort_by_precedence;
pub use postgres::{PostgresAddress, PostgresConfig, SslMode};
pub use properties::{Properties, PropertyName};
pub use records::{RecordConfig, RecordDefaults, RecordFormat, Writer};
pub use refused::{REFUSED_PROPERTIES, RefusedProperty};
pub use streaming::{CensusConfig, StreamingConfig};
pub use tables::{Capture, ColumnChoice, Deletes, ImpossibleValues, Membership, TableConfig};
pub use value::parse_duration;

use file::{Layer, Problems, Section, Source, Unreadable};
use raw::RawConfig;

/// Returns the keys of the whole file, with those of its sections below them.
pub fn keys() -> &'static [Key] {
    RawConfig::KEYS
}

/// Returns the configuration's JSON Schema, as the file configs/inlet.schema.json has it.
pub fn schema() -> String {
    let title = "Configuration of Inlet";
    let description = "One file, or several laid over each other, for every verb of inlet.";
    file::schema::render(title, description, RawConfig::KEYS)
}

/// The checked configuration; a section that the verb does not need may be absent.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pipeline's name: it names the control topic, the transactional id and the consumer
    /// group.
    pub pipeline: String,
    /// Where the tables are.
    pub postgres: Option<PostgresConfig>,
    /// The broker between producer and consumer.
    pub kafka: Option<KafkaConfig>,
    /// Where the lake is.
    pub datalake: Option<DatalakeConfig>,
    pub streaming: StreamingConfig,
    /// The captured tables, at least one, sorted by the name they were given.
    pub tables: Vec<TableConfig>,
    /// True when each table has a folder of its own in the lake, also where there is one table
    /// only.
    pub has_folders: bool,
    /// What is accepted but should be looked at.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Reads the files, a later one adding to and overriding the earlier ones, with the process's
    /// environment; logs the warnings.
    pub fn load(paths: &[PathBuf]) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let mut sources = Vec::new();
        for path in paths {
            match read(path) {
                Ok(text) => sources.push((path.display().to_string(), text)),
                Err(problem) => problems.add(problem),
            }
        }
        // What is not UTF-8 counts as not set: no value of ours can hold it.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let config = build(&sources, &environment, problems)?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        Ok(config)
    }

    /// Reads one text instead of files; no variable is set.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::from_texts(&[("<text>", text)], &HashMap::new())
    }

    /// Reads named texts instead of files, and variables instead of the process's environment.
    pub fn from_texts(
        sources: &[(&str, &str)],
        environment: &HashMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let sources: Vec<_> = sources
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        build(&sources, environment, Problems::default())
    }

    /// Returns the section `postgres`, or an error that shows how to write it.
    pub fn require_postgres(&self) -> Result<&PostgresConfig, ConfigError> {
        let hint = "add `postgres: { jdbc_url: \"jdbc:postgresql://host:5432/db\", user: \"..\", \
            password: \"..\" }`";
        self.postgres
            .as_ref()
            .ok_or_else(|| missing_section("postgres", hint))
    }

    /// Returns the section `kafka`, or an error that shows how to write it and how to do without.
    pub fn require_kafka(&self) -> Result<&KafkaConfig, ConfigError> {
        let hint =
            "add `kafka: { brokers: \"host:9092\" }`, or use `inlet run`, which needs no broker";
        self.kafka
            .as_ref()
            .ok_or_else(|| missing_section("kafka", hint))
    }

    /// Fails where another program writes the topics: a producer of ours would write beside it.
    pub fn require_own_topics(&self) -> Result<(), ConfigError> {
        let writer = self.kafka.as_ref().map(|kafka| kafka.records.writer);
        if writer != Some(Writer::Debezium) {
            return Ok(());
        }
        let what = "`kafka.written_by` is `debezium`: the topics are written by its connector";
        let hint = "run `inlet consumer`, which reads them; to poll the tables instead, use a \
            configuration without `kafka.written_by`, with other topics and another lake folder";
        Err(Problem::new(what).hint(hint).into())
    }

    /// Returns the section `datalake`, or an error that shows how to write it.
    pub fn require_datalake(&self) -> Result<&DatalakeConfig, ConfigError> {
        self.datalake
            .as_ref()
            .ok_or_else(|| missing_section("datalake", "add `datalake: { path: \"./datalake\" }`"))
    }
}

fn missing_section(section: &str, hint: &str) -> ConfigError {
    Problem::new(format!("the configuration has no section `{section}`"))
        .hint(hint)
        .into()
}

fn read(path: &Path) -> Result<String, Problem> {
    file::read(path).map_err(|unreadable| {
        let what = match unreadable {
            Unreadable::Failed(error) => error.to_string(),
            other => format!("it is {other}"),
        };
        let shown = path.display();
        Problem::new(format!(
            "cannot read the configuration file {shown}: {what}"
        ))
        .hint(
            "give an existing YAML file with `--config FILE` or INLET_CONFIG; without one it is \
             `inlet.yml`",
        )
    })
}

/// Parses every source, lays them over each other and checks the result; fails with all problems
/// found.
fn build(
    sources: &[(String, String)],
    environment: &HashMap<String, String>,
    mut problems: Problems,
) -> Result<Config, ConfigError> {
    let mut raw = RawConfig::default();
    let mut broken = problems.len() > 0;
    for (layer, (name, text)) in sources.iter().enumerate() {
        let source = Source {
            name: Arc::from(name.as_str()),
            layer,
        };
        match file::read_yaml::<RawConfig>(&source, text, environment, &mut problems) {
            Some((layer, is_whole)) => {
                raw = layer.over(raw);
                broken |= !is_whole;
            }
            None => broken = true,
        }
    }
    let found = problems.len();
    let config = check(&raw, &mut problems);
    if broken {
        problems.forget_missing(found);
    }
    match config {
        Some(config) if problems.len() == 0 => Ok(config),
        _ => Err(problems.into_error()),
    }
}

fn check(raw: &RawConfig, problems: &mut Problems) -> Option<Config> {
    let postgres = raw
        .postgres
        .as_ref()
        .and_then(|section| postgres::check(section, problems));
    let datalake = raw
        .datalake
        .as_ref()
        .and_then(|section| datalake::check(section, problems));
    let streaming = streaming::check(raw.streaming.as_ref(), problems);
    let timezone = datalake
        .as_ref()
        .map_or(chrono_tz::UTC, |lake| lake.timezone);
    let exports = datalake.as_ref().map(|lake| lake.exports.clone());
    let exports = exports.unwrap_or_default();
    let mut tables = tables::check(raw, timezone, &exports, problems);
    if datalake.as_ref().is_some_and(|lake| lake.bucket.is_some()) {
        tables::refuse_catalog_in_bucket(&tables, problems);
    }
    // A journal is no reason for folders: the lake of its table stays where it was.
    let has_folders = tables.len() > 1;
    tables::add_journals(&mut tables);
    let pipeline = pipeline_name(raw, postgres.as_ref(), problems);
    let kafka = raw.kafka.as_ref().and_then(|section| {
        kafka::check(section, raw.debezium.as_ref(), &pipeline, &tables, problems)
    });

    if let (Some(kafka), true) = (&kafka, datalake.is_some())
        && kafka
            .cleanup
            .as_deref()
            .is_some_and(|policy| policy.contains("compact"))
    {
        let what = "`kafka.cleanup_policy` removes versions, which the lake of `datalake` needs";
        let hint = "use `delete`; a compacted topic is for a pipeline without `datalake`";
        problems.add(Problem::new(what).hint(hint));
    }
    Some(Config {
        pipeline,
        postgres,
        kafka,
        datalake,
        streaming: streaming?,
        has_folders,
        tables,
        warnings: problems.take_warnings(),
    })
}

/// The name given, else the topic, else the database; Kafka's rules for names hold for it, because
/// it becomes part of a topic's name.
fn pipeline_name(
    raw: &RawConfig,
    postgres: Option<&PostgresConfig>,
    problems: &mut Problems,
) -> String {
    if let Some(text) = &raw.pipeline {
        if topic_safe(&text.value) != text.value {
            let what = format!(
                "`pipeline` may hold letters, digits, `.`, `_` and `-` only, not `{}`",
                text.value
            );
            problems.add(
                Problem::at(&text.place, what)
                    .hint(format!("for example `{}`", topic_safe(&text.value))),
            );
        }
        return topic_safe(&text.value);
    }
    let topic = raw
        .kafka
        .as_ref()
        .and_then(|kafka| kafka.topic.as_ref())
        .map(|topic| topic.value.as_str());
    let db = postgres.map(|postgres| postgres.primary.db.as_str());
    topic_safe(topic.or(db).unwrap_or("inlet"))
}
