//! How many records of the topics the lake has not read yet, and since when.
//!
//! Blocking: librdkafka runs its own threads. Nothing is committed and no group is joined.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use chrono::Utc;
use inlet_lake::Head;
use inlet_model::KafkaPartition;
use inlet_producer::sink::kafka::Watch;
use inlet_service::config::KafkaConfig;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
const POLL_TIME: Duration = Duration::from_millis(200);

/// What the lake has not read of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records behind the lake's offsets: high watermark less the next offset, markers of
    /// transactions included; 0 when none of them is a record that a reader gets.
    pub rows: u64,
    /// How long the oldest of them has been in the topic.
    pub age: Duration,
}

/// The lag of every topic, given with the head of its lake.
pub fn of_topics(
    kafka: &KafkaConfig,
    topics: &[(String, Option<Head>)],
) -> KafkaResult<Vec<KafkaResult<Lag>>> {
    let consumer = reader(kafka)?;
    Ok(topics
        .iter()
        .map(|(topic, head)| of_topic(&consumer, topic, head.as_ref()))
        .collect())
}

fn of_topic(consumer: &BaseConsumer<Watch>, topic: &str, head: Option<&Head>) -> KafkaResult<Lag> {
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_DEADLINE)?;
    let found = metadata
        .topics()
        .first()
        .filter(|found| found.error().is_none());
    let Some(found) = found else {
        return Err(KafkaError::MetadataFetch(
            RDKafkaErrorCode::UnknownTopicOrPartition,
        ));
    };
    let mut behind = BTreeMap::new();
    for partition in found
        .partitions()
        .iter()
        .map(rdkafka::metadata::MetadataPartition::id)
    {
        let (low, high) = consumer.fetch_watermarks(topic, partition, REQUEST_DEADLINE)?;
        let next = head
            .and_then(|head| head.partition(KafkaPartition(partition)).next)
            .map_or(low, |next| next.0.max(low));
        if high > next {
            behind.insert(partition, next..high);
        }
    }
    unread(consumer, topic, behind)
}

/// Reads the first record of every kafka_partition that is behind. Where the end comes before any
/// record, only markers of transactions are left.
fn unread(
    consumer: &BaseConsumer<Watch>,
    topic: &str,
    mut behind: BTreeMap<i32, Range<i64>>,
) -> KafkaResult<Lag> {
    let mut assignment = TopicPartitionList::with_capacity(behind.len());
    for (partition, offsets) in &behind {
        assignment.add_partition_offset(topic, *partition, Offset::Offset(offsets.start))?;
    }
    consumer.assign(&assignment)?;
    let mut lag = Lag::default();
    let deadline = Instant::now() + REQUEST_DEADLINE;
    while !behind.is_empty() && Instant::now() < deadline {
        match consumer.poll(POLL_TIME) {
            Some(Ok(message)) => {
                let Some(offsets) = behind
                    .remove(&message.partition())
                    .filter(|_| message.topic() == topic)
                else {
                    continue;
                };
                let written_at = message.timestamp().to_millis().unwrap_or_default();
                lag.rows += u64::try_from(offsets.end - offsets.start).expect("it is behind");
                lag.age = lag.age.max(Duration::from_millis(
                    u64::try_from(Utc::now().timestamp_millis() - written_at).unwrap_or(0),
                ));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = behind.remove(&partition),
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    Ok(lag)
}

/// A reader that joins no group.
pub fn reader(kafka: &KafkaConfig) -> KafkaResult<BaseConsumer<Watch>> {
    let mut config = ClientConfig::new();
    for (name, value) in &kafka.properties {
        config.set(name, value);
    }
    config
        .set("bootstrap.servers", &kafka.brokers)
        // The binding wants a name for a group, also for a reader that never joins one.
        .set("group.id", format!("{}-status", kafka.group))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false")
        .set("auto.offset.reset", "earliest")
        .create_with_context(Watch::default())
}
