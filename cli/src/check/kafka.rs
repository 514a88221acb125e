//! The broker's hop: the broker itself, the topics, the group, and what the control topic has
//! stored.
//!
//! librdkafka's calls block: all of it runs on a thread that may block.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use inlet_kafka::{
    Connection, Consumer, Error, Isolation, Marks, Meaning, Right, group_offsets, meaning,
    read_to_end, watermarks,
};
use inlet_model::Progress;
use inlet_model::TableName;
use inlet_model::record::header::HEADER;
use inlet_model::{KafkaPartition, Offset};
use inlet_producer::settings::kafka_sink;
use inlet_producer::sink::kafka::{KafkaSinkSettings, stored_progress};
use inlet_service::config::{Config, KafkaConfig, TableConfig, Writer};
use inlet_service::retry::pause;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};

use super::broker::{self, ANSWER_TIME_MAX, failed};
use super::finding::{Finding, Hop};
use super::topics;

/// Messages at the end of each kafka_partition among which those of other programs are looked for.
const LAST_MESSAGES: i64 = 20;
/// The wait between two questions, and the least time that one has.
const ATTEMPT_TIME: Duration = Duration::from_millis(100);

/// What Kafka has of this pipeline.
#[derive(Debug, Default)]
pub struct Stored {
    /// The poller's progress of every table.
    pub progress: BTreeMap<TableName, Progress>,
    /// The offsets of every topic of the configuration, in its order; empty for a topic that does
    /// not exist.
    pub marks: Vec<BTreeMap<KafkaPartition, Marks>>,
    /// Up to where the consumer's group has read every topic, in the same order.
    pub read: Vec<BTreeMap<KafkaPartition, Offset>>,
}

/// Checks the broker and its topics; `None` when there is no broker to ask.
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
    let tables = config.tables.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let mut findings = Vec::new();
        let stored = look(&kafka, &sink, &topics, &tables, &mut findings);
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
    tables: &[TableConfig],
    findings: &mut Vec<Finding>,
) -> Option<Stored> {
    // Without a broker every further question would only add its own timeout.
    if !broker::check(kafka, findings) {
        return None;
    }
    let reader = match Connection::from(kafka).reader(Isolation::Committed) {
        Ok(reader) => reader,
        Err(error) => {
            findings.push(failed(&kafka.brokers, &error));
            return None;
        }
    };
    let control = kafka.control_topic();
    let existing = topics::check(kafka, topics, tables, &reader, findings);
    group(kafka, &reader, findings);
    // Reading a topic that does not exist would wait for it until the deadline.
    let progress = match existing.contains_key(&control) {
        true => stored_progress(sink),
        false => Ok(BTreeMap::new()),
    };
    let progress = match progress {
        Ok(progress) => progress,
        Err(error) => {
            findings.push(Finding::of(Hop::Kafka, &control, &error));
            return None;
        }
    };
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    let mut marks = Vec::new();
    for topic in topics {
        let mut of_topic = BTreeMap::new();
        for partition in (0..existing.get(topic).copied().unwrap_or(0)).map(KafkaPartition) {
            match watermarks(&reader, topic, partition, deadline) {
                Ok(found) => _ = of_topic.insert(partition, found),
                Err(error) => {
                    findings.push(failed(&kafka.brokers, &error));
                    return None;
                }
            }
        }
        marks.push(of_topic);
    }
    if kafka.records.writer == Writer::Inlet {
        findings.extend(foreign(&reader, topics, &marks));
    }
    // Without the right to the group there is a finding of it already.
    let read = read_by_group(kafka, topics, &marks).unwrap_or_default();
    Some(Stored {
        progress,
        marks,
        read,
    })
}

/// Messages of other programs among the last ones of the topics. What cannot be read in time is
/// left out: the other findings tell why.
fn foreign(
    reader: &Consumer,
    topics: &[String],
    marks: &[BTreeMap<KafkaPartition, Marks>],
) -> Vec<Finding> {
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    let mut findings = Vec::new();
    for (topic, marks) in topics.iter().zip(marks) {
        let mut starts = BTreeMap::new();
        for (partition, marks) in marks {
            let start = marks.low.0.max(marks.end.0 - LAST_MESSAGES);
            if start < marks.end.0 {
                starts.insert(*partition, Offset(start));
            }
        }
        if starts.is_empty() || Instant::now() >= deadline {
            continue;
        }
        let (mut read, mut without) = (0_u64, 0_u64);
        let looked = read_to_end(reader, topic, &starts, deadline, |message| {
            let mut headers = message.headers().into_iter().flat_map(Headers::iter);
            read += 1;
            without += u64::from(!headers.any(|header| header.key == HEADER));
            ControlFlow::Continue(())
        });
        if looked.is_ok() && without > 0 {
            let evidence =
                format!("{without} of the last {read} messages have no header `{HEADER}`");
            let finding = Finding::warning(Hop::Kafka, format!("topic {topic}"), evidence);
            let means = "another program publishes here, too: the consumer brings its messages to \
                quarantine";
            let fix =
                "give the other program a topic of its own, or the table: `tables.<name>.topic`";
            findings.push(finding.effect(means).fix(fix));
        }
    }
    findings
}

/// Up to where the consumer's group has read each topic; this client does not join the group.
fn read_by_group(
    kafka: &KafkaConfig,
    topics: &[String],
    marks: &[BTreeMap<KafkaPartition, Marks>],
) -> Result<Vec<BTreeMap<KafkaPartition, Offset>>, Error> {
    let member = Connection::from(kafka).member(&kafka.group, None)?;
    let mut read = Vec::new();
    for (topic, marks) in topics.iter().zip(marks) {
        let partitions: Vec<_> = marks.keys().map(|at| (topic.clone(), *at)).collect();
        let found = match partitions.is_empty() {
            true => Vec::new(),
            false => group_offsets(&member, &partitions, Instant::now() + ANSWER_TIME_MAX)?,
        };
        let found = marks.keys().copied().zip(found);
        read.push(
            found
                .filter_map(|(at, offset)| Some((at, offset?)))
                .collect(),
        );
    }
    Ok(read)
}

fn group(kafka: &KafkaConfig, reader: &Consumer, findings: &mut Vec<Finding>) {
    let object = format!("group {}", kafka.group);
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    let groups = loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        let groups = reader.fetch_group_list(Some(&kafka.group), time_left.max(ATTEMPT_TIME));
        // A broker that has just started loads its groups for a moment.
        let code = groups
            .as_ref()
            .err()
            .and_then(KafkaError::rdkafka_error_code);
        let is_transient = code.is_some_and(|code| meaning(code) == Meaning::Transient);
        if !is_transient || Instant::now() >= deadline {
            break groups;
        }
        pause(ATTEMPT_TIME);
    };
    let groups = match groups {
        Ok(groups) => groups,
        Err(error) => {
            let evidence = format!("its members are not shown: {error}");
            findings.push(
                Finding::warning(Hop::Kafka, object, evidence)
                    .fix(broker::grant(kafka, Right::DescribeGroup(&kafka.group))),
            );
            return;
        }
    };
    let found = groups
        .groups()
        .iter()
        .find(|group| group.name() == kafka.group);
    let members: Vec<String> = found
        .into_iter()
        .flat_map(|group| group.members())
        .map(|member| format!("{} at {}", member.client_id(), member.client_host()))
        .collect();
    let foreign =
        found.filter(|group| !group.members().is_empty() && group.protocol_type() != "consumer");
    findings.push(if let Some(group) = foreign {
        let evidence = format!("the group is used for `{}`", group.protocol_type());
        Finding::error(Hop::Kafka, object, evidence)
            .fix("give the consumer a group of its own: `kafka.group`")
    } else if members.is_empty() {
        Finding::ok(Hop::Kafka, object, "no member: no consumer runs")
    } else {
        let evidence = format!("{} members: {}", members.len(), members.join(", "));
        Finding::info(Hop::Kafka, object, evidence)
    });
}
