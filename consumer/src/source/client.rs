//! How the clients are configured, and what librdkafka reports beside the calls.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use inlet_model::KafkaPartition;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;

use super::SourceError;
use crate::settings::ConsumerSettings;

/// What exactly-once delivery depends on.
const RESERVED: [&str; 11] = [
    "bootstrap.servers",
    "group.id",
    "group.protocol",
    "isolation.level",
    "enable.auto.commit",
    "auto.commit.enable",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "partition.assignment.strategy",
    "enable.partition.eof",
    "allow.auto.create.topics",
];

/// Our values where librdkafka's do not suit, under every name that librdkafka knows for them;
/// `kafka.properties` goes before.
///
/// What waits in librdkafka is bounded to 16 MiB, and a fetch that had to pause for it goes on at
/// once. A topic that appears is found within a second, and so is a broker that comes back. A
/// member that died is noticed after six seconds, the least that brokers allow by default.
const CONSUMER: [(&[&str], &str); 16] = [
    (&["check.crcs"], "true"),
    (&["queued.min.messages"], "100000"),
    (&["queued.max.messages.kbytes"], "16384"),
    (&["fetch.queue.backoff.ms"], "2"),
    (
        &["fetch.message.max.bytes", "max.partition.fetch.bytes"],
        "2097152",
    ),
    (&["fetch.max.bytes"], "8388608"),
    (&["message.max.bytes"], "8388608"),
    (&["receive.message.max.bytes"], "67108864"),
    (&["fetch.wait.max.ms"], "100"),
    (&["session.timeout.ms"], "6000"),
    (&["heartbeat.interval.ms"], "1000"),
    (&["topic.metadata.refresh.interval.ms"], "1000"),
    (&["socket.timeout.ms"], "10000"),
    (&["socket.connection.setup.timeout.ms"], "5000"),
    (&["reconnect.backoff.ms"], "50"),
    (&["reconnect.backoff.max.ms"], "1000"),
];

/// Refuses properties that the consumer depends on.
pub(super) fn check_properties(settings: &ConsumerSettings) -> Result<(), SourceError> {
    match settings
        .properties
        .keys()
        .find(|key| RESERVED.contains(&key.as_str()))
    {
        None => Ok(()),
        Some(key) => Err(SourceError::Reserved {
            property: key.clone(),
        }),
    }
}

/// The property that names a member for longer than its process lives.
pub(super) const INSTANCE: &str = "group.instance.id";

/// The member of the group. Rebalances are eager: every one revokes all, which is simple, and cheap
/// because the log says where to go on.
pub(super) fn member(settings: &ConsumerSettings, instance: Option<&str>) -> ClientConfig {
    let mut config = reader(settings, "read_committed");
    if let Some(instance) = instance {
        config.set(INSTANCE, instance);
    }
    config
        .set("group.id", &settings.group)
        .set("partition.assignment.strategy", "range")
        .set("enable.partition.eof", "false");
    config
}

/// A reader that never joins its group; the binding wants a name for one.
pub(super) fn reader(settings: &ConsumerSettings, isolation: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in &settings.properties {
        config.set(key, value);
    }
    for (names, value) in CONSUMER {
        if !names
            .iter()
            .any(|name| settings.properties.contains_key(*name))
        {
            config.set(names[0], value);
        }
    }
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", format!("{}-control", settings.group))
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// A change of the assignment that waits to be answered.
#[derive(Debug)]
pub(super) enum Rebalance {
    /// All that we have now.
    Assign(Vec<(String, KafkaPartition)>),
    /// Nothing is ours any more.
    Revoke,
}

/// Keeps rebalances until the source's thread answers them, and the last error's own words.
#[derive(Debug, Default)]
pub(super) struct Watch {
    closing: AtomicBool,
    rebalances: Mutex<VecDeque<Rebalance>>,
    reason: Mutex<String>,
}

impl Watch {
    /// The oldest rebalance that is not answered.
    pub fn rebalance(&self) -> Option<Rebalance> {
        self.rebalances
            .lock()
            .expect("no thread panics while it holds the lock")
            .pop_front()
    }

    /// From here on nothing is taken any more: rebalances are answered at once, so that closing
    /// ends.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// librdkafka's words for the last error.
    pub fn reason(&self) -> String {
        self.reason
            .lock()
            .expect("no thread panics while it holds the lock")
            .clone()
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            // Properties of producers are given to us, too.
            _ if facility == "CONFWARN" => tracing::debug!(facility, message, "librdkafka"),
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(facility, message, "librdkafka")
            }
            _ => tracing::debug!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka reports an error");
        reason.clone_into(
            &mut self
                .reason
                .lock()
                .expect("no thread panics while it holds the lock"),
        );
    }
}

impl ConsumerContext for Watch {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::Acquire) {
            // Whatever is said here, closing goes on until the group lets us go.
            let _ = consumer.unassign();
            return;
        }
        let name = |element: &TopicPartitionListElem<'_>| {
            (
                element.topic().to_owned(),
                KafkaPartition(element.partition()),
            )
        };
        let rebalance = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                Rebalance::Assign(partitions.elements().iter().map(name).collect())
            }
            _ => Rebalance::Revoke,
        };
        self.rebalances
            .lock()
            .expect("no thread panics while it holds the lock")
            .push_back(rebalance);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        // The group's offsets are for tools that show lag; the truth is the lake's log.
        if let Err(error) = result {
            tracing::debug!(%error, "offsets of the group were not committed");
        }
    }
}
