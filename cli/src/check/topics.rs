//! The topics: there or allowed to be made, and with settings that lose nothing.

use std::collections::BTreeMap;

use inlet_producer::sink::kafka::Watch;
use inlet_service::config::KafkaConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{IsError, KafkaResult, RDKafkaErrorCode as Code};

use super::broker::connection;
use super::finding::{Finding, Hop};
use super::kafka::{ANSWER_TIME_MAX, failed};

/// Kafka's default for the largest record: what a topic takes less than is unusual.
const MESSAGE_BYTES_USUAL: i64 = 1_048_588;
/// A consumer that is down for longer than the topic keeps its records cannot go on.
const RETENTION_MIN_MS: i64 = 86_400_000;

/// Looks at every topic; answers how many partitions those have that are there.
pub fn check(
    kafka: &KafkaConfig,
    topics: &[String],
    consumer: &BaseConsumer<Watch>,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, i32> {
    let control = kafka.control_topic();
    let mut there = BTreeMap::new();
    let mut missing = Vec::new();
    for topic in topics.iter().chain([&control]) {
        match partitions(consumer, topic) {
            Ok(Some(count)) => _ = there.insert(topic.clone(), count),
            Ok(None) => missing.push(topic.as_str()),
            Err(code) => findings.push(denied(topic, code)),
        }
    }
    let admin = Admin::new(kafka);
    let asked = admin.and_then(|admin| {
        let asked: Vec<&str> = there.keys().map(String::as_str).collect();
        Ok((admin.describe(&asked)?, admin.try_create(kafka, &missing)?))
    });
    match asked {
        Ok((described, created)) => {
            for (topic, settings) in described {
                let partitions = there[&topic];
                if topic == control {
                    findings.extend(of_control(&topic, partitions, &settings));
                } else {
                    findings.extend(of_data(&topic, partitions, &settings));
                }
            }
            findings.extend(created);
        }
        Err(error) => findings.push(failed(&kafka.brokers, &error)),
    }
    there
}

/// What a topic is set to; empty where we may not see it.
type Settings = BTreeMap<String, String>;

fn partitions(consumer: &BaseConsumer<Watch>, topic: &str) -> Result<Option<i32>, Code> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_TIME_MAX);
    let metadata = metadata.map_err(|error| error.rdkafka_error_code().unwrap_or(Code::Fail))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(None);
    };
    match found.error().filter(IsError::is_error).map(Code::from) {
        None => Ok(i32::try_from(found.partitions().len())
            .ok()
            .filter(|count| *count > 0)),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
        Some(code) => Err(code),
    }
}

fn denied(topic: &str, code: Code) -> Finding {
    let finding = Finding::error(
        Hop::Kafka,
        format!("topic {topic}"),
        format!("not shown: {code}"),
    );
    finding.fix(format!("kafka-acls.sh --add --operation Describe --operation Read --operation Write --topic {topic}"))
}

fn number(settings: &Settings, name: &str) -> Option<i64> {
    settings.get(name)?.parse().ok()
}

fn alter(topic: &str, setting: &str) -> String {
    format!(
        "kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config {setting}"
    )
}

/// Progress in a topic that forgets old records would be lost without a word.
fn of_control(topic: &str, partitions: i32, settings: &Settings) -> Vec<Finding> {
    let object = format!("topic {topic}");
    let Some(policy) = settings.get("cleanup.policy") else {
        let finding = Finding::warning(
            Hop::Kafka,
            object,
            "its settings are not shown; its cleanup.policy must be compact",
        );
        return vec![finding.fix(format!(
            "kafka-acls.sh --add --operation DescribeConfigs --topic {topic}"
        ))];
    };
    let mut findings = Vec::new();
    if partitions != 1 {
        let finding = Finding::error(
            Hop::Kafka,
            &object,
            format!("the control topic has {partitions} partitions, it must have one"),
        );
        findings.push(finding.fix(format!(
            "kafka-topics.sh --delete --topic {topic}, or another `pipeline` name"
        )));
    }
    if policy != "compact" {
        let finding = Finding::error(
            Hop::Kafka,
            &object,
            format!("the control topic has cleanup.policy {policy}, it must be compact"),
        );
        findings.push(
            finding
                .effect("the poller's progress is lost with time")
                .fix(alter(topic, "cleanup.policy=compact")),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            Hop::Kafka,
            object,
            "control topic: one partition, compacted",
        ));
    }
    findings
}

fn of_data(topic: &str, partitions: i32, settings: &Settings) -> Vec<Finding> {
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
        let finding = Finding::warning(Hop::Kafka, &object, format!("cleanup.policy is {policy}"));
        let means = "compaction removes versions that the consumer has not read: it stops at the hole in the sequence";
        findings.push(
            finding
                .effect(means)
                .fix(alter(topic, "cleanup.policy=delete")),
        );
    }
    if let Some(ms) =
        retention.filter(|ms| policy.contains("delete") && (0..RETENTION_MIN_MS).contains(ms))
    {
        let finding = Finding::warning(Hop::Kafka, &object, format!("retention.ms is {ms}"));
        let means = "a consumer that is down for longer cannot go on: rows have left the topic before they reached the lake";
        findings.push(
            finding
                .effect(means)
                .fix(alter(topic, "retention.ms=604800000")),
        );
    }
    if let Some(bytes) = largest.filter(|bytes| *bytes < MESSAGE_BYTES_USUAL) {
        let finding =
            Finding::warning(Hop::Kafka, &object, format!("max.message.bytes is {bytes}"));
        findings.push(
            finding
                .effect("a row whose JSON is larger stops the producer")
                .fix(alter(topic, "max.message.bytes=16777216")),
        );
    }
    findings
}

/// The binding's admin calls are futures that its own thread completes; this thread waits for them.
struct Admin {
    client: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Handle,
}

impl Admin {
    fn new(kafka: &KafkaConfig) -> KafkaResult<Self> {
        Ok(Self {
            client: connection(kafka).create()?,
            runtime: tokio::runtime::Handle::current(),
        })
    }

    fn options() -> AdminOptions {
        AdminOptions::new()
            .request_timeout(Some(ANSWER_TIME_MAX))
            .operation_timeout(Some(ANSWER_TIME_MAX))
    }

    fn describe(&self, topics: &[&str]) -> KafkaResult<Vec<(String, Settings)>> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<_> = topics
            .iter()
            .map(|topic| ResourceSpecifier::Topic(topic))
            .collect();
        let described = self
            .runtime
            .block_on(self.client.describe_configs(&asked, &Self::options()))?;
        let settings = |resource: ConfigResource| {
            resource
                .entries
                .into_iter()
                .filter_map(|entry| Some((entry.name, entry.value?)))
                .collect::<Settings>()
        };
        Ok(topics
            .iter()
            .zip(described)
            .map(|(topic, answer)| {
                (
                    (*topic).to_owned(),
                    answer.map(settings).unwrap_or_default(),
                )
            })
            .collect())
    }

    /// Asks the broker whether it would make the topics; it makes none.
    fn try_create(&self, kafka: &KafkaConfig, topics: &[&str]) -> KafkaResult<Vec<Finding>> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let control = kafka.control_topic();
        let replication = || TopicReplication::Fixed(kafka.replication_factor);
        let of = |topic| match topic == control {
            true => NewTopic::new(topic, 1, replication()).set("cleanup.policy", "compact"),
            false => NewTopic::new(topic, kafka.partitions, replication()),
        };
        let new: Vec<_> = topics.iter().copied().map(of).collect();
        let tried = self.runtime.block_on(
            self.client
                .create_topics(&new, &Self::options().validate_only(true)),
        )?;
        Ok(tried
            .into_iter()
            .map(|answer| would_create(kafka, answer))
            .collect())
    }
}

fn would_create(kafka: &KafkaConfig, answer: Result<String, (String, Code)>) -> Finding {
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
    let finding = Finding::error(
        Hop::Kafka,
        format!("topic {topic}"),
        format!("does not exist, and the broker would not create it: {code}"),
    );
    match code {
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => finding.fix(format!(
            "kafka-acls.sh --add --operation Create --topic {topic}, or create it by hand"
        )),
        Code::InvalidReplicationFactor => finding.fix(format!(
            "a `kafka.replication_factor` of no more than there are brokers; it is {}",
            kafka.replication_factor
        )),
        Code::InvalidPartitions => finding.fix("see the key `kafka.partitions`"),
        Code::PolicyViolation | Code::InvalidConfig => {
            finding.fix("the broker's policy refuses it: create the topic by hand")
        }
        _ => finding.fix("create the topic by hand"),
    }
}
