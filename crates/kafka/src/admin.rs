//! Creates topics and reads their settings.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic as RawTopic, ResourceSpecifier,
    TopicReplication,
};
use tokio::runtime::Runtime;

use crate::client::{Connection, MESSAGE_BYTES_MAX};
use crate::context::Context;
use crate::error::{Code, Error};

/// The settings of a topic by name; empty when the broker does not show them.
pub type TopicSettings = BTreeMap<String, String>;

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    name: String,
    partitions: i32,
    replication_factor: i32,
    settings: Vec<(&'static str, String)>,
}

impl NewTopic {
    /// A topic of rows. -1 stands for the broker's own number of partitions or replicas.
    pub fn rows(name: &str, partitions: i32, replication_factor: i32) -> Self {
        Self {
            name: name.to_owned(),
            partitions,
            replication_factor,
            settings: vec![("max.message.bytes", MESSAGE_BYTES_MAX.to_string())],
        }
    }

    /// Keeps records for this long; the broker's own setting otherwise.
    #[must_use]
    pub fn retention(mut self, retention: Option<Duration>) -> Self {
        let millis = retention.map(|retention| retention.as_millis().to_string());
        self.settings
            .extend(millis.map(|millis| ("retention.ms", millis)));
        self
    }

    /// Removes records by this policy; the broker's own setting otherwise.
    #[must_use]
    pub fn cleanup(mut self, policy: Option<&str>) -> Self {
        let policy = policy.map(|policy| ("cleanup.policy", policy.to_owned()));
        self.settings.extend(policy);
        self
    }

    /// A control topic: it keeps the last record of every key, and stays short enough to be read at
    /// every start.
    pub fn control(name: &str, replication_factor: i32) -> Self {
        Self {
            name: name.to_owned(),
            // One kafka_partition: progress, schemas and owners need one order.
            partitions: 1,
            replication_factor,
            settings: vec![
                // The control topic keeps the latest record of each key for ever. Small segments
                // and a low ratio let the broker compact early, because every start reads the topic
                // as a whole.
                ("cleanup.policy", "compact".to_owned()),
                ("segment.bytes", "16777216".to_owned()),
                ("min.cleanable.dirty.ratio", "0.1".to_owned()),
                ("max.message.bytes", MESSAGE_BYTES_MAX.to_string()),
            ],
        }
    }

    fn raw(&self) -> RawTopic<'_> {
        let replication = TopicReplication::Fixed(self.replication_factor);
        let mut raw = RawTopic::new(&self.name, self.partitions, replication);
        for (name, value) in &self.settings {
            raw = raw.set(name, value);
        }
        raw
    }
}

/// An admin client that waits for each answer.
pub struct Admin {
    client: AdminClient<Context>,
    // librdkafka's own thread completes the futures; this runtime only waits for them.
    runtime: Runtime,
    time_max: Duration,
}

/// A topic's name, with the code where the broker did not create it.
pub type Created = Result<String, (String, Code)>;

impl Admin {
    /// A client whose calls take at most `time_max`.
    pub fn new(connection: &Connection, time_max: Duration) -> Result<Self, Error> {
        let client = connection
            .admin_config()
            .create_with_context(Context::default())
            .map_err(|error| Error::failed("kafka's admin client was not created", error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime without I/O and time needs nothing of the system");
        Ok(Self {
            client,
            runtime,
            time_max,
        })
    }

    /// Creates topics; returns for each whether the broker did, or its code.
    pub fn create(&self, topics: &[NewTopic]) -> Result<Vec<Created>, Error> {
        self.send_create(topics, false)
    }

    /// Asks the broker whether it would create topics; it creates none.
    pub fn try_create(&self, topics: &[NewTopic]) -> Result<Vec<Created>, Error> {
        self.send_create(topics, true)
    }

    /// The settings of each topic, in the order of `topics`.
    pub fn describe(&self, topics: &[&str]) -> Result<Vec<TopicSettings>, Error> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<_> = topics
            .iter()
            .map(|topic| ResourceSpecifier::Topic(topic))
            .collect();
        let described = self
            .runtime
            .block_on(self.client.describe_configs(&asked, &self.options()))
            .map_err(|error| Error::failed("the topics' settings were not read", error))?;
        let settings = |resource: ConfigResource| {
            let entries = resource.entries.into_iter();
            entries
                .filter_map(|entry| Some((entry.name, entry.value?)))
                .collect()
        };
        // A topic that refuses has no settings; the caller reports the missing right.
        Ok(described
            .into_iter()
            .map(|answer| answer.map(settings).unwrap_or_default())
            .collect())
    }

    fn options(&self) -> AdminOptions {
        let time_max = Some(self.time_max);
        AdminOptions::new()
            // The first is librdkafka's own wait, the second that of the broker for its other
            // replicas.
            .request_timeout(time_max)
            .operation_timeout(time_max)
    }

    fn send_create(&self, topics: &[NewTopic], validate_only: bool) -> Result<Vec<Created>, Error> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let raw: Vec<_> = topics.iter().map(NewTopic::raw).collect();
        let options = self.options().validate_only(validate_only);
        self.runtime
            .block_on(self.client.create_topics(&raw, &options))
            .map_err(|error| {
                let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
                Error::failed(
                    format!("topic `{}` was not created", names.join("`, `")),
                    error,
                )
            })
    }
}
