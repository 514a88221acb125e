//! `kafka:` the broker, and the names we use there.

use inlet_model::record::encoding::Encoding;
use inlet_model::topic_safe;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::file::{Problem, Problems, Text, value_from_file};
use super::properties::{Properties, PropertyName};
use super::raw::{RawDebezium, RawKafka};
use super::records::{self, RecordConfig, RecordDefaults};
use super::refused::IN_A_FILE;
use super::tables::TableConfig;
use super::{value, words};

/// Kafka's limit for the name of a topic.
const TOPIC_CHARS_MAX: usize = 249;

/// The broker, and what our topics there are like.
#[derive(Debug, Clone)]
pub struct KafkaConfig {
    pub pipeline: String,
    /// `host:port`, several with commas.
    pub brokers: String,
    /// The topic, where one was given; then there is one table.
    pub topic: Option<String>,
    /// How the records of tables without settings of their own are written.
    pub records: RecordDefaults,
    /// The names of the topics, with places for the parts of a table's name.
    pub topic_template: Option<String>,
    /// Partitions of a topic that we create.
    pub partitions: i32,
    /// Replicas of a topic that we create; -1 is the broker's own default.
    pub replication_factor: i32,
    /// How long a topic that we create keeps records; `None` is the broker's default.
    pub retention: Option<Duration>,
    /// The cleanup policy of a topic that we create; `None` is the broker's default.
    pub cleanup: Option<String>,
    pub group: String,
    /// Further properties of librdkafka (TLS, SASL).
    pub properties: Properties,
}

impl KafkaConfig {
    /// The topic that holds schemas and the poller's progress.
    pub fn control_topic(&self) -> String {
        format!("{}_control", self.pipeline)
    }

    /// The id by which the broker fences older producers of this pipeline.
    pub fn transactional_id(&self) -> String {
        format!("inlet-{}", self.pipeline)
    }

    /// The table's topic: its own, else `kafka.topic`, else that of the template, else
    /// `<pipeline>.<table>`. It follows from
    /// the configuration alone, so that producer and consumer agree without asking the catalog.
    pub fn topic_for(&self, table: &TableConfig) -> String {
        let one = self.topic.as_ref().map(|topic| match &table.journal_of {
            Some(_) => format!("{topic}_changes"),
            None => topic.clone(),
        });
        let given = table.topic.clone().or(one);
        given.unwrap_or_else(|| match &self.topic_template {
            Some(template) => {
                let name = table.table.folded();
                template
                    .replace("{pipeline}", &self.pipeline)
                    .replace("{schema}", &topic_safe(&name.schema))
                    .replace("{table}", &topic_safe(&name.name))
            }
            None => table.table.topic(&self.pipeline),
        })
    }

    /// How the records of a table are written.
    pub fn records_of(&self, table: &TableConfig) -> RecordConfig {
        let topic_key = match table.topic_key.as_slice() {
            [] => self.records.topic_key.clone(),
            own => own.to_vec(),
        };
        RecordConfig {
            encoding: self.records.encoding(table.format),
            topic_key,
        }
    }
}

pub(super) fn check(
    raw: &RawKafka,
    debezium: Option<&RawDebezium>,
    pipeline: &str,
    tables: &[TableConfig],
    problems: &mut Problems,
) -> Option<KafkaConfig> {
    let missing = || {
        Problem::new("`kafka.brokers` is missing")
            .hint("add the broker's address, for example `brokers: \"localhost:9092\"`")
    };
    let brokers = problems.take(raw.brokers.as_ref().ok_or_else(missing));
    let brokers = brokers.and_then(|brokers| broker_list(&brokers.0, problems));
    let partitions = raw
        .partitions
        .as_ref()
        .map_or(Ok(1), |text| value::count("kafka.partitions", text, 1));
    let replicas =
        raw.replication_factor
            .as_ref()
            .map_or(Ok(-1), |text| match text.value.as_str() {
                "-1" => Ok(-1),
                _ => value::count("kafka.replication_factor", text, 1),
            });
    let (partitions, replicas) = (problems.take(partitions), problems.take(replicas));
    let properties = properties(raw, problems);
    let retention = raw
        .retention
        .as_ref()
        .map(|text| value::duration("kafka.retention", text));
    let retention = problems.take(retention.transpose());
    let cleanup = cleanup(raw, problems);
    let records = records::check(raw, debezium, problems);
    let config = KafkaConfig {
        pipeline: pipeline.to_owned(),
        brokers: brokers?,
        topic: raw.topic.as_ref().map(|topic| topic.value.clone()),
        records: records?,
        topic_template: raw.topic_template.as_ref().map(|text| text.value.clone()),
        retention: retention?,
        cleanup: cleanup?,
        partitions: partitions?,
        replication_factor: replicas?,
        group: raw
            .group
            .as_ref()
            .map_or_else(|| format!("inlet-{pipeline}"), |text| text.value.clone()),
        properties,
    };
    check_topics(&config, raw.topic.as_ref(), tables, problems);
    check_compaction(&config, raw, tables, problems);
    Some(config)
}

fn cleanup(raw: &RawKafka, problems: &mut Problems) -> Option<Option<String>> {
    let all: Vec<_> = words::CLEANUP.iter().map(|word| (*word, *word)).collect();
    let word = records::word("kafka.cleanup_policy", raw.cleanup_policy.as_ref(), &all);
    problems.take(word).map(|word| word.map(str::to_owned))
}

/// A broker refuses a message without a key in a compacted topic.
fn check_compaction(
    config: &KafkaConfig,
    raw: &RawKafka,
    tables: &[TableConfig],
    problems: &mut Problems,
) {
    let is_arrow = |table: &&TableConfig| config.records_of(table).encoding == Encoding::Arrow;
    let Some(table) = tables.iter().find(is_arrow) else {
        return;
    };
    let policy = raw.cleanup_policy.as_ref().and_then(|word| word.0.as_ref());
    if let Some(policy) = policy.filter(|policy| policy.value.contains("compact")) {
        let what = format!(
            "`kafka.cleanup_policy` is `{}`, and the messages of table `{}` have the format \
             `arrow`: many rows without a common key, by which Kafka compacts",
            policy.value,
            table.written()
        );
        let problem = Problem::at(&policy.place, what);
        problems.add(problem.hint("use `cleanup_policy: delete`, or another `format`"));
    }
}

fn broker_list(texts: &[Text], problems: &mut Problems) -> Option<String> {
    let mut brokers = Vec::new();
    let found = problems.len();
    for text in texts {
        for broker in text.value.split(',').map(str::trim) {
            // IPv6 addresses hold colons, so the port is what follows the last one.
            let port = broker
                .rsplit_once(':')
                .filter(|(host, _)| !host.is_empty())
                .and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() || broker.contains("://") {
                let problem = Problem::at(
                    &text.place,
                    format!("`kafka.brokers` holds `{broker}`, which is not `host:port`"),
                );
                problems.add(
                    problem.hint("for example `brokers: \"localhost:9092\"`; several with commas"),
                );
            }
            brokers.push(broker);
        }
    }
    (problems.len() == found).then(|| brokers.join(","))
}

/// The properties, with those from files. The suffix is free: no property of librdkafka has a name
/// that ends with `_file`.
fn properties(raw: &RawKafka, problems: &mut Problems) -> Properties {
    let given = || raw.properties.iter().flatten();
    // A property and its `_file` form are one property, which is checked once.
    let names: BTreeSet<&str> = given()
        .map(|(name, _)| name.value.strip_suffix(IN_A_FILE).unwrap_or(&name.value))
        .collect();
    let mut properties = Properties::default();
    for property in names {
        let in_a_file = format!("{property}{IN_A_FILE}");
        let accepted = PropertyName::parse(property);
        if let Err(refused) = &accepted {
            let hint = refused.instead.map_or_else(
                || format!("remove it: {}", refused.reason),
                |key| format!("{}: use `{key}`", refused.reason),
            );
            for (name, _) in
                given().filter(|(name, _)| [property, &in_a_file].contains(&name.value.as_str()))
            {
                let what = format!("`kafka.properties.{}` cannot be set", name.value);
                problems.add(Problem::at(&name.place, what).hint(hint.clone()));
            }
            // Its file is not read: the property is removed, whatever the value.
            continue;
        }
        let text = |wanted: &str| {
            given()
                .find(|(name, _)| name.value == wanted)
                .map(|(_, text)| text)
        };
        let value = value_from_file(
            &format!("kafka.properties.{property}"),
            text(property),
            text(&in_a_file),
            problems,
        );
        if let (Ok(name), Some(text)) = (accepted, value) {
            let value = match names_a_file(property) && text.value != PROBE {
                true => text.place.beside(&text.value).display().to_string(),
                false => text.value,
            };
            properties.set(name, value);
        }
    }
    properties
}

/// The value of `ssl.ca.location` that makes librdkafka look in the usual places.
const PROBE: &str = "probe";

/// True for librdkafka's properties whose value is a path.
fn names_a_file(property: &str) -> bool {
    property.ends_with(".location") || property == "sasl.kerberos.keytab"
}

/// Every table has a topic of its own, with a name that Kafka takes.
pub(super) fn check_topics(
    config: &KafkaConfig,
    given: Option<&Text>,
    tables: &[TableConfig],
    problems: &mut Problems,
) {
    let at = |what: String| {
        given.map_or_else(
            || Problem::new(what.clone()),
            |text| Problem::at(&text.place, what.clone()),
        )
    };
    // A journal has a topic beside that of its table.
    let own = tables.iter().filter(|table| table.journal_of.is_none());
    let names: Vec<String> = own.map(TableConfig::written).collect();
    if given.is_some() && (names.len() > 1 || tables.iter().any(TableConfig::is_pattern)) {
        let what = format!(
            "`kafka.topic` names one topic, and there are {} tables: {}",
            names.len(),
            names.join(", ")
        );
        problems.add(at(what).hint("leave it out, or give topics with `tables.<name>.topic`"));
        return;
    }
    // A consumer could not separate two tables in one topic, and would read rows in the control
    // topic as progress.
    let mut taken = BTreeMap::from([(
        config.control_topic(),
        "the pipeline's own progress".to_owned(),
    )]);
    for table in tables.iter().filter(|table| !table.is_pattern()) {
        let topic = config.topic_for(table);
        if topic != topic_safe(&topic) || topic.is_empty() || topic.len() > TOPIC_CHARS_MAX {
            let what = format!("`{topic}` is not a name that Kafka takes for a topic");
            problems.add(at(what).hint(format!(
                "use letters, digits, `.`, `_` and `-`, at most {TOPIC_CHARS_MAX}"
            )));
        }
        if let Some(other) = taken.insert(topic.clone(), format!("table `{}`", table.written())) {
            let what = format!(
                "the topic `{topic}` would hold both table `{}` and {other}",
                table.written()
            );
            problems.add(at(what).hint("give each its own with `tables.<name>.topic`"));
        }
    }
}
