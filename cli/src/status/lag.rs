//! How many records of the topics the lake has not read yet, and since when.
//!
//! Blocking. It commits nothing and joins no group.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use chrono::Utc;
use inlet_kafka::{
    Code, Connection, Consumer, Error, Isolation, find_topic, read_to_end, watermarks,
};
use inlet_lake::Head;
use inlet_model::{KafkaPartition, Offset};
use inlet_service::config::KafkaConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::message::Message;

/// How long the questions about one topic may take.
const TOPIC_TIME_MAX: Duration = Duration::from_secs(5);

/// What the lake has not read of a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Records after the lake's offsets: the high watermark less the next offset, markers of
    /// transactions included; 0 when all of them are markers.
    pub rows: u64,
    /// How long the oldest of them has been in the topic.
    pub age: Duration,
}

/// The lag of every topic, given with the head of its lake.
pub fn of_topics(
    kafka: &KafkaConfig,
    topics: &[(String, Option<Head>)],
) -> Result<Vec<Result<Lag, Error>>, Error> {
    let reader = Connection::from(kafka).reader(Isolation::Committed)?;
    Ok(topics
        .iter()
        .map(|(topic, head)| of_topic(&reader, topic, head.as_ref()))
        .collect())
}

fn of_topic(reader: &Consumer, topic: &str, head: Option<&Head>) -> Result<Lag, Error> {
    let deadline = Instant::now() + TOPIC_TIME_MAX;
    let Some(found) = find_topic(reader.client(), topic, deadline)? else {
        let code = Code::UnknownTopicOrPartition;
        return Err(Error::of_code(
            format!("topic `{topic}` does not exist"),
            code,
            code,
        ));
    };
    let mut starts = BTreeMap::new();
    let mut unread = BTreeMap::new();
    for partition in (0..found.partitions).map(KafkaPartition) {
        let marks = watermarks(reader, topic, partition, deadline)?;
        let next = head.and_then(|head| head.partition(partition).next);
        // Offsets below the low mark have expired and cannot be read any more.
        let next = next.map_or(marks.low, |next| next.max(marks.low));
        if marks.end > next {
            let count = u64::try_from(marks.end.0 - next.0).expect("the end is larger");
            starts.insert(partition, next);
            unread.insert(partition.0, count);
        }
    }
    oldest(reader, topic, &starts, &unread, deadline)
}

/// Reads the first record of every kafka_partition. One that reaches its end without a record holds
/// only markers of transactions.
fn oldest(
    reader: &Consumer,
    topic: &str,
    starts: &BTreeMap<KafkaPartition, Offset>,
    unread: &BTreeMap<i32, u64>,
    deadline: Instant,
) -> Result<Lag, Error> {
    let now = Utc::now().timestamp_millis();
    let mut lag = Lag::default();
    read_to_end(reader, topic, starts, deadline, |message| {
        let written_at = message.timestamp().to_millis().unwrap_or_default();
        let age = Duration::from_millis(u64::try_from(now - written_at).unwrap_or(0));
        lag.rows += unread[&message.partition()];
        lag.age = lag.age.max(age);
        // The first unread message of a kafka_partition is the oldest, so the rest need not be
        // read.
        ControlFlow::Break(())
    })?;
    Ok(lag)
}
