//! The broker's hop: the broker itself, the topics, the group, and what the control topic has
//! stored.
//!
//! librdkafka's calls block: all of it runs on a thread made for blocking.

use std::collections::BTreeMap;
use std::time::Duration;

use inlet_consumer::Marks;
use inlet_model::Progress;
use inlet_model::TableName;
use inlet_model::{KafkaPartition, Offset};
use inlet_producer::settings::kafka_sink;
use inlet_producer::sink::kafka::{KafkaSinkSettings, Watch, stored_progress};
use inlet_service::config::{Config, KafkaConfig};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};

use super::finding::{Finding, Hop};
use super::{broker, topics};
use crate::status::lag;

/// A broker that runs answers sooner.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// What Kafka has of this pipeline.
#[derive(Debug, Default)]
pub struct Stored {
    /// The poller's progress of every table.
    pub progress: BTreeMap<TableName, Progress>,
    /// The offsets that every topic of the configuration has, in its order; empty for one that does
    /// not exist.
    pub marks: Vec<BTreeMap<KafkaPartition, Marks>>,
}

/// Looks at the broker and its topics; `None` where there is none to ask.
pub async fn check(config: &Config, findings: &mut Vec<Finding>) -> Option<Stored> {
    let kafka = config.kafka.clone()?;
    let topics: Vec<String> = config
        .tables
        .iter()
        .map(|table| kafka.topic_for(table))
        .collect();
    let sink = KafkaSinkSettings {
        deadline: ANSWER_TIME_MAX,
        ..kafka_sink(config, &kafka, &[])
    };
    let asked = tokio::task::spawn_blocking(move || {
        let mut findings = Vec::new();
        let stored = look(&kafka, &sink, &topics, &mut findings);
        (findings, stored)
    });
    let (found, stored) = asked.await.expect("the checks of Kafka do not panic");
    findings.extend(found);
    stored
}

fn look(
    kafka: &KafkaConfig,
    sink: &KafkaSinkSettings,
    topics: &[String],
    findings: &mut Vec<Finding>,
) -> Option<Stored> {
    if !broker::check(kafka, findings) {
        return None;
    }
    let consumer = lag::reader(kafka)
        .map_err(|error| findings.push(failed(&kafka.brokers, &error)))
        .ok()?;
    let control = kafka.control_topic();
    let there = topics::check(kafka, topics, &consumer, findings);
    group(kafka, &consumer, findings);
    let progress = if there.contains_key(&control) {
        stored_progress(sink)
    } else {
        Ok(BTreeMap::new())
    };
    let progress = progress
        .map_err(|error| findings.push(Finding::of(Hop::Kafka, &control, &error)))
        .ok()?;
    let of_topic = |topic: &String| {
        marks(
            &consumer,
            topic,
            there.get(topic).copied().unwrap_or_default(),
        )
    };
    let marks = topics.iter().map(of_topic).collect::<KafkaResult<_>>();
    let marks = marks
        .map_err(|error| findings.push(failed(&kafka.brokers, &error)))
        .ok()?;
    Some(Stored { progress, marks })
}

/// A call that failed.
pub fn failed(object: &str, error: &KafkaError) -> Finding {
    Finding::error(Hop::Kafka, object, error.to_string())
        .fix("see the keys `kafka.brokers` and `kafka.properties`")
}

fn group(kafka: &KafkaConfig, consumer: &BaseConsumer<Watch>, findings: &mut Vec<Finding>) {
    let object = format!("group {}", kafka.group);
    let groups = match consumer.fetch_group_list(Some(&kafka.group), ANSWER_TIME_MAX) {
        Ok(groups) => groups,
        Err(error) => {
            let finding = Finding::warning(
                Hop::Kafka,
                object,
                format!("its members are not shown: {error}"),
            );
            findings.push(finding.fix(format!(
                "grant DESCRIBE on the group: kafka-acls.sh --add --operation Describe --group {}",
                kafka.group
            )));
            return;
        }
    };
    let found = groups
        .groups()
        .iter()
        .find(|group| group.name() == kafka.group);
    let members: Vec<String> = found
        .map(|group| {
            group
                .members()
                .iter()
                .map(|member| format!("{} at {}", member.client_id(), member.client_host()))
                .collect()
        })
        .unwrap_or_default();
    let foreign =
        found.filter(|group| !group.members().is_empty() && group.protocol_type() != "consumer");
    if let Some(group) = foreign {
        let finding = Finding::error(
            Hop::Kafka,
            object,
            format!("the group is used for `{}`", group.protocol_type()),
        );
        findings.push(finding.fix("give the consumer a group of its own: `kafka.group`"));
    } else if members.is_empty() {
        findings.push(Finding::ok(
            Hop::Kafka,
            object,
            "no member: no consumer runs",
        ));
    } else {
        findings.push(Finding::info(
            Hop::Kafka,
            object,
            format!("{} members: {}", members.len(), members.join(", ")),
        ));
    }
}

/// The offsets between which records lie.
fn marks(
    consumer: &BaseConsumer<Watch>,
    topic: &str,
    partitions: i32,
) -> KafkaResult<BTreeMap<KafkaPartition, Marks>> {
    let of = |partition| {
        let (low, end) = consumer.fetch_watermarks(topic, partition, ANSWER_TIME_MAX)?;
        Ok((
            KafkaPartition(partition),
            Marks {
                low: Offset(low),
                end: Offset(end),
            },
        ))
    };
    (0..partitions).map(of).collect()
}
