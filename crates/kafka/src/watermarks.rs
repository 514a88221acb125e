//! The offsets that kafka_partitions hold.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use inlet_model::{KafkaPartition, Offset};
use inlet_service::retry::pause;
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as RawOffset, TopicPartitionList};

use crate::client::Consumer;
use crate::error::{Error, is_transient};
use rdkafka::consumer::Consumer as _;

/// The wait between two attempts, and the least time that one attempt has.
const ATTEMPT_TIME: Duration = Duration::from_millis(100);

/// The offsets that a kafka_partition holds at one moment, as a reader sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// The first offset that still exists.
    pub low: Offset,
    /// The end of what the reader may see.
    pub end: Offset,
}

/// Asks the leader of a kafka_partition for its offsets, and asks again until the deadline while
/// the error is transient.
pub fn watermarks(
    consumer: &Consumer,
    topic: &str,
    partition: KafkaPartition,
    deadline: Instant,
) -> Result<Marks, Error> {
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        // At least one attempt is made, also when the deadline has just passed.
        match consumer.fetch_watermarks(topic, partition.0, time_left.max(ATTEMPT_TIME)) {
            Ok((low, end)) => {
                return Ok(Marks {
                    low: Offset(low),
                    end: Offset(end),
                });
            }
            // The leader of a new topic does not know it for a moment.
            Err(error) if is_transient(&error) && Instant::now() < deadline => pause(ATTEMPT_TIME),
            Err(error) => {
                let act = format!("the offsets of topic `{topic}` were not read");
                return Err(Error::failed(act, error));
            }
        }
    }
}

/// Asks for the offsets of many kafka_partitions, and returns them in the same order. Each broker
/// gets two requests, however many kafka_partitions it leads, so that one deadline is enough for
/// all. The starts are asked for before the ends.
pub fn all_watermarks(
    consumer: &Consumer,
    partitions: &[(String, KafkaPartition)],
    deadline: Instant,
) -> Result<Vec<Marks>, Error> {
    let lows = offsets_at(consumer, partitions, RawOffset::Beginning, deadline)?;
    let ends = offsets_at(consumer, partitions, RawOffset::End, deadline)?;
    let marks = lows.into_iter().zip(ends);
    Ok(marks.map(|(low, end)| Marks { low, end }).collect())
}

/// Asks for the offsets up to which the consumer's group has read, and returns them in the same
/// order; `None` for a kafka_partition without one.
pub fn group_offsets(
    consumer: &Consumer,
    partitions: &[(String, KafkaPartition)],
    deadline: Instant,
) -> Result<Vec<Option<Offset>>, Error> {
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        let asked = list(partitions, RawOffset::Invalid)
            .and_then(|list| consumer.committed_offsets(list, time_left.max(ATTEMPT_TIME)))
            .and_then(|found| by_name(&found));
        match asked {
            Ok(found) => {
                let offsets = partitions.iter().map(|name| found.get(name).copied());
                return Ok(offsets.collect());
            }
            // The coordinator of the group loads its offsets for a moment.
            Err(error) if is_transient(&error) && Instant::now() < deadline => pause(ATTEMPT_TIME),
            Err(error) => {
                let act = "the offsets of the consumer's group were not read";
                return Err(Error::failed(act, error));
            }
        }
    }
}

/// Returns one end of each kafka_partition.
fn offsets_at(
    consumer: &Consumer,
    partitions: &[(String, KafkaPartition)],
    end: RawOffset,
    deadline: Instant,
) -> Result<Vec<Offset>, Error> {
    // librdkafka refuses a question about no kafka_partition.
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        let asked = list(partitions, end)
            .and_then(|list| consumer.offsets_for_times(list, time_left.max(ATTEMPT_TIME)))
            .and_then(|found| offsets_of(&found, partitions));
        match asked {
            Ok(Some(offsets)) => return Ok(offsets),
            Ok(None) if Instant::now() < deadline => pause(ATTEMPT_TIME),
            // The leader of a new topic does not know it for a moment.
            Err(error) if is_transient(&error) && Instant::now() < deadline => pause(ATTEMPT_TIME),
            Ok(None) => {
                let act = "the offsets of a topic were not returned in time";
                return Err(Error::late(act, consumer.context()));
            }
            Err(error) => {
                let act = format!("the offsets of {} were not read", topics_of(partitions));
                return Err(Error::failed(act, error));
            }
        }
    }
}

/// The question, in the form of librdkafka's question by time: the protocol has two times that mean
/// the start and the end of a kafka_partition, and librdkafka's names for these have their numbers
/// (KIP-79: -2 and -1).
fn list(
    partitions: &[(String, KafkaPartition)],
    end: RawOffset,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition_offset(topic, partition.0, end)?;
    }
    Ok(list)
}

/// The answer in the order of the question; `None` when a kafka_partition is missing in it.
fn offsets_of(
    found: &TopicPartitionList,
    partitions: &[(String, KafkaPartition)],
) -> Result<Option<Vec<Offset>>, KafkaError> {
    let found = by_name(found)?;
    Ok(partitions
        .iter()
        .map(|name| found.get(name).copied())
        .collect())
}

/// The offsets of an answer; a kafka_partition without one is left out.
fn by_name(
    found: &TopicPartitionList,
) -> Result<HashMap<(String, KafkaPartition), Offset>, KafkaError> {
    let mut by_name = HashMap::with_capacity(found.count());
    for element in found.elements() {
        element.error()?;
        if let RawOffset::Offset(offset) = element.offset() {
            let name = (
                element.topic().to_owned(),
                KafkaPartition(element.partition()),
            );
            by_name.insert(name, Offset(offset));
        }
    }
    Ok(by_name)
}

fn topics_of(partitions: &[(String, KafkaPartition)]) -> String {
    let topics: BTreeSet<_> = partitions
        .iter()
        .map(|(topic, _)| format!("topic `{topic}`"))
        .collect();
    topics.into_iter().collect::<Vec<_>>().join(", ")
}
