//! The topics: whether they exist or may be created, and whether their settings lose rows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use inlet_kafka::{
    Admin, Code, Consumer, ControlFault, Error, NewTopic, Right, TopicSettings, control_faults,
    find_topic,
};
use inlet_service::config::{KafkaConfig, TableConfig};
use inlet_service::error::Explain;
use rdkafka::consumer::Consumer as _;

use super::broker::{ANSWER_TIME_MAX, failed, grant};
use super::finding::{Finding, Hop};

/// Kafka's default for the largest record; a lower value is unusual.
const MESSAGE_BYTES_USUAL: i64 = 1_048_588;
/// A consumer that is down for longer than the topic keeps its records cannot continue.
const RETENTION_MIN_MS: i64 = 86_400_000;

/// Checks every topic; returns how many partitions the existing ones have.
pub fn check(
    kafka: &KafkaConfig,
    topics: &[String],
    tables: &[TableConfig],
    reader: &Consumer,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, i32> {
    let control = kafka.control_topic();
    let mut existing = BTreeMap::new();
    let mut missing = Vec::new();
    for topic in topics.iter().chain([&control]) {
        match find_topic(reader.client(), topic, Instant::now() + ANSWER_TIME_MAX) {
            Ok(Some(found)) => _ = existing.insert(topic.clone(), found.partitions),
            Ok(None) => missing.push(topic.as_str()),
            Err(error) => findings.push(not_shown(kafka, topic, &error)),
        }
    }
    let without_keys = tables
        .iter()
        .filter(|table| kafka.records_of(table).encoding.has_many_rows())
        .map(|table| kafka.topic_for(table))
        .collect();
    match look(kafka, reader, &existing, &without_keys, &missing) {
        Ok(found) => findings.extend(found),
        Err(error) => findings.push(failed(&kafka.brokers, &error)),
    }
    existing
}

fn look(
    kafka: &KafkaConfig,
    reader: &Consumer,
    existing: &BTreeMap<String, i32>,
    without_keys: &BTreeSet<String>,
    missing: &[&str],
) -> Result<Vec<Finding>, Error> {
    let admin = Admin::new(&kafka.into(), ANSWER_TIME_MAX)?;
    let control = kafka.control_topic();
    let mut findings = Vec::new();
    let asked: Vec<&str> = existing.keys().map(String::as_str).collect();
    for ((topic, partitions), settings) in existing.iter().zip(admin.describe(&asked)?) {
        findings.extend(match *topic == control {
            true => of_control(kafka, topic, *partitions, &settings),
            false => {
                let has_keys = !without_keys.contains(topic);
                of_rows(kafka, topic, *partitions, has_keys, &settings)
            }
        });
    }
    let new = |topic: &&str| match *topic == control {
        true => NewTopic::control(topic, kafka.replication_factor),
        false => NewTopic::rows(topic, kafka.partitions, kafka.replication_factor)
            .retention(kafka.retention)
            .cleanup(kafka.cleanup.as_deref()),
    };
    let new: Vec<NewTopic> = missing.iter().map(new).collect();
    for answer in admin.try_create(&new)? {
        findings.push(would_create(kafka, reader, answer));
    }
    Ok(findings)
}

fn not_shown(kafka: &KafkaConfig, topic: &str, error: &Error) -> Finding {
    let evidence = match error.code() {
        Some(code) => format!("not shown: {code}"),
        None => format!("not shown: {error}"),
    };
    Finding::error(Hop::Kafka, format!("topic {topic}"), evidence)
        .fix(grant(kafka, Right::UseTopic(topic)))
}

fn number(settings: &TopicSettings, name: &str) -> Option<i64> {
    settings.get(name)?.parse().ok()
}

fn alter(kafka: &KafkaConfig, topic: &str, setting: &str) -> String {
    format!(
        "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {topic} \
         --add-config {setting}",
        kafka.brokers
    )
}

/// A topic that drops old records would lose the progress without an error.
fn of_control(
    kafka: &KafkaConfig,
    topic: &str,
    partitions: i32,
    settings: &TopicSettings,
) -> Vec<Finding> {
    let object = format!("topic {topic}");
    let faults = control_faults(partitions, settings);
    if faults.is_empty() {
        let evidence = "control topic: one partition, compacted";
        return vec![Finding::ok(Hop::Kafka, object, evidence)];
    }
    let finding = |fault| match fault {
        ControlFault::Partitions(count) => Finding::error(
            Hop::Kafka,
            &object,
            format!("the control topic has {count} partitions, it must have one"),
        )
        .fix(format!(
            "kafka-topics.sh --bootstrap-server {} --delete --topic {topic}\nor another `pipeline` \
             name",
            kafka.brokers
        )),
        ControlFault::Policy(policy) => Finding::error(
            Hop::Kafka,
            &object,
            format!("the control topic has cleanup.policy {policy}, it must be compact"),
        )
        .effect("the poller's progress is lost with time")
        .fix(alter(kafka, topic, "cleanup.policy=compact")),
        ControlFault::Hidden => Finding::warning(
            Hop::Kafka,
            &object,
            "its settings are not shown; its cleanup.policy must be compact",
        )
        .fix(grant(kafka, Right::DescribeTopicSettings(topic))),
    };
    faults.into_iter().map(finding).collect()
}

fn of_rows(
    kafka: &KafkaConfig,
    topic: &str,
    partitions: i32,
    has_keys: bool,
    settings: &TopicSettings,
) -> Vec<Finding> {
    let object = format!("topic {topic}");
    let policy = settings
        .get("cleanup.policy")
        .map_or("unknown", String::as_str);
    let (retention, largest) = (
        number(settings, "retention.ms"),
        number(settings, "max.message.bytes"),
    );
    let evidence = format!(
        "{partitions} partitions, cleanup.policy {policy}, retention {}, max.message.bytes {}",
        retention.map_or_else(
            || "unknown".to_owned(),
            |ms| if ms < 0 {
                "without end".to_owned()
            } else {
                format!("{} h", ms / 3_600_000)
            }
        ),
        largest.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string()),
    );
    let mut findings = vec![Finding::ok(Hop::Kafka, &object, evidence)];
    if policy.contains("compact") {
        let finding = compacted(&object, policy, has_keys);
        findings.push(finding.fix(alter(kafka, topic, "cleanup.policy=delete")));
    }
    if let Some(ms) =
        retention.filter(|ms| policy.contains("delete") && (0..RETENTION_MIN_MS).contains(ms))
    {
        let finding = Finding::warning(Hop::Kafka, &object, format!("retention.ms is {ms}"));
        let means = "a consumer that is down for longer cannot go on: rows have left the topic \
            before they reached the lake";
        findings.push(
            finding
                .effect(means)
                .fix(alter(kafka, topic, "retention.ms=604800000")),
        );
    }
    if let Some(bytes) =
        number(settings, "retention.bytes").filter(|bytes| policy.contains("delete") && *bytes >= 0)
    {
        let finding = Finding::warning(Hop::Kafka, &object, format!("retention.bytes is {bytes}"));
        let means = "the broker drops records once a kafka_partition is larger, however new they \
            are: a load or a consumer that is behind loses rows before they reach the lake";
        findings.push(
            finding
                .effect(means)
                .fix(alter(kafka, topic, "retention.bytes=-1")),
        );
    }
    if let Some(bytes) = largest.filter(|bytes| *bytes < MESSAGE_BYTES_USUAL) {
        let finding =
            Finding::warning(Hop::Kafka, &object, format!("max.message.bytes is {bytes}"));
        findings.push(
            finding
                .effect("a larger message stops the producer")
                .fix(alter(kafka, topic, "max.message.bytes=16777216")),
        );
    }
    findings
}

fn compacted(object: &str, policy: &str, has_keys: bool) -> Finding {
    if has_keys {
        let evidence = format!("cleanup.policy is {policy}");
        let means = "compaction removes versions that the consumer has not read: it stops at the \
            hole in the sequence";
        return Finding::warning(Hop::Kafka, object, evidence).effect(means);
    }
    let evidence =
        format!("cleanup.policy is {policy}, and messages of the format `arrow` have no key");
    let means = "Kafka compacts by the key of a message: the producer refuses to start";
    Finding::error(Hop::Kafka, object, evidence).effect(means)
}

fn would_create(
    kafka: &KafkaConfig,
    reader: &Consumer,
    answer: Result<String, (String, Code)>,
) -> Finding {
    let (topic, code) = match answer {
        Ok(topic) => {
            return Finding::ok(
                Hop::Kafka,
                format!("topic {topic}"),
                "does not exist yet; the broker would create it",
            );
        }
        Err(refused) => refused,
    };
    let evidence = format!("does not exist, and the broker would not create it: {code}");
    let finding = Finding::error(Hop::Kafka, format!("topic {topic}"), evidence);
    match code {
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => finding.fix(format!(
            "{}\nor create it by hand",
            grant(kafka, Right::CreateTopic(&topic))
        )),
        Code::InvalidReplicationFactor => {
            let known = reader
                .client()
                .fetch_metadata(Some(&topic), ANSWER_TIME_MAX);
            let brokers = known.map_or(1, |known| known.brokers().len());
            finding
                .effect(format!(
                    "`kafka.replication_factor` is {}, and there are not as many brokers",
                    kafka.replication_factor
                ))
                .fix(format!("kafka.replication_factor: {brokers}"))
        }
        _ => match Error::of_code("", code, code).hint() {
            Some(hint) => finding.fix(hint.to_string()),
            None => finding.fix("create the topic by hand"),
        },
    }
}
