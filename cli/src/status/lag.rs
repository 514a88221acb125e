//! How many records of a topic the lake has not read yet.
//!
//! Blocking: librdkafka runs its own threads. Nothing is committed and no group is joined.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use inlet_consumer::lake::Head;
use inlet_model::offsets::KafkaPartition;
use inlet_service::config::KafkaConfig;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
const POLL_TIME: Duration = Duration::from_millis(200);

/// Records behind the lake's offsets, summed over the topic: high watermark less the next offset, markers of transactions included; 0 when
/// none of them is a record that a reader gets.
pub fn rows(kafka: &KafkaConfig, topic: &str, head: Option<&Head>) -> KafkaResult<i64> {
    let consumer = reader(kafka)?;
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_DEADLINE)?;
    let found = metadata.topics().first().filter(|found| found.error().is_none());
    let Some(found) = found else { return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)) };
    let mut behind = BTreeMap::new();
    for partition in found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id) {
        let (low, high) = consumer.fetch_watermarks(topic, partition, REQUEST_DEADLINE)?;
        let next = head.and_then(|head| head.partition(KafkaPartition(partition)).next).map_or(low, |next| next.0.max(low));
        if high > next {
            behind.insert(partition, (next, high));
        }
    }
    drop_markers(&consumer, topic, &mut behind)?;
    Ok(behind.values().map(|(next, high)| high - next).sum())
}

/// Removes the kafka_partitions in which only markers of transactions are left: an end that comes before any record shows it.
fn drop_markers(consumer: &BaseConsumer, topic: &str, behind: &mut BTreeMap<i32, (i64, i64)>) -> KafkaResult<()> {
    let mut assignment = TopicPartitionList::new();
    for (partition, (next, _)) in behind.iter() {
        assignment.add_partition_offset(topic, *partition, Offset::Offset(*next))?;
    }
    consumer.assign(&assignment)?;
    let mut open: Vec<i32> = behind.keys().copied().collect();
    let deadline = Instant::now() + REQUEST_DEADLINE;
    while !open.is_empty() && Instant::now() < deadline {
        match consumer.poll(POLL_TIME) {
            Some(Ok(message)) => {
                open.retain(|partition| *partition != message.partition());
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                if open.contains(&partition) {
                    behind.remove(&partition);
                }
                open.retain(|open| *open != partition);
            }
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    Ok(())
}

/// A reader that joins no group.
pub fn reader(kafka: &KafkaConfig) -> KafkaResult<BaseConsumer> {
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
        .create()
}
