//! What the sink needs to know.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use inlet_kafka::{Connection, ControlTopic};
use inlet_model::TableName;
use inlet_model::record::encoding::Encoding;
use inlet_model::record::format::Target;

/// What the sink needs to know.
#[derive(Debug, Clone)]
pub struct KafkaSinkSettings {
    /// Where and how the clients connect.
    pub connection: Connection,
    /// `inlet-<pipeline>`: who holds it owns the pipeline.
    pub transactional_id: String,
    pub control_topic: String,
    /// The group of the consumer that writes the lake; `None` without a lake.
    pub lake_group: Option<String>,
    /// The topic of every table that may be resumed.
    pub topics: BTreeMap<TableName, String>,
    /// How the records of a table are written; a table without an entry has the defaults.
    pub records: BTreeMap<TableName, RecordSettings>,
    /// Partitions of a topic that the sink creates, -1 for the broker's default. An existing topic
    /// keeps its own.
    pub partitions: i32,
    /// Replicas of a topic that the sink creates, -1 for the broker's default.
    pub replication_factor: i32,
    /// How long a topic that the sink creates keeps records, `None` for the broker's default.
    pub retention: Option<Duration>,
    /// The cleanup policy of a topic that the sink creates, `None` for the broker's default.
    pub cleanup: Option<String>,
    /// How long one call waits for the broker before it fails.
    pub deadline: Duration,
    /// Names this process to the one that takes over from it. Each sink needs a name of its own,
    /// see [`instance_name`].
    pub instance: String,
}

impl KafkaSinkSettings {
    pub(super) fn control(&self) -> ControlTopic {
        ControlTopic::new(self.connection.clone(), &self.control_topic)
    }

    /// Those of `existing` whose messages have no key.
    pub(super) fn topics_without_keys<T>(&self, existing: &BTreeMap<String, T>) -> Vec<&str> {
        let is_without = |(table, _): &(&TableName, &String)| {
            let records = self.records.get(*table);
            records.is_some_and(|records| records.encoding.has_many_rows())
        };
        let topics = self.topics.iter().filter(is_without);
        let topics = topics.map(|(_, topic)| topic.as_str());
        topics
            .filter(|topic| existing.contains_key(*topic))
            .collect()
    }
}

impl Default for KafkaSinkSettings {
    fn default() -> Self {
        Self {
            connection: Connection::default(),
            transactional_id: String::new(),
            control_topic: String::new(),
            lake_group: None,
            topics: BTreeMap::new(),
            records: BTreeMap::new(),
            partitions: -1,
            replication_factor: -1,
            retention: None,
            cleanup: None,
            deadline: Duration::from_secs(30),
            instance: instance_name(),
        }
    }
}

/// How the records of a table are written.
#[derive(Debug, Clone, Default)]
pub struct RecordSettings {
    pub encoding: Encoding,
    pub target: Target,
}

/// A name that only this sink has: `process 4711 on db-host since 1795226400.123456789`.
pub fn instance_name() -> String {
    let system = rustix::system::uname();
    let host = match system.nodename().to_str() {
        Ok(name) if !name.is_empty() => name,
        _ => "an unnamed host",
    };
    // A pid alone is used again after a restart of the machine or of a container.
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        "process {} on {host} since {}.{:09}",
        std::process::id(),
        since.as_secs(),
        since.subsec_nanos()
    )
}
