//! The properties of librdkafka that a user cannot set, as plain data: the configuration, its
//! schema and every client read this table, so what loads also starts.

/// A property of librdkafka that `kafka.properties` must not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("property `{name}` cannot be set: {reason}")]
pub struct RefusedProperty {
    /// Its name, or one of its names.
    pub name: &'static str,
    /// Why it is refused.
    pub reason: &'static str,
    /// The key to use instead, where there is one.
    pub instead: Option<&'static str>,
}

const OFFSETS: &str = "reading resumes from the lake's log, not from the group's offsets";
const ALL_REPLICAS: &str = "a record is durable only when all replicas have it";
const ADDRESS: &str = "the address has a key of its own";
const EXACTLY_ONCE: &str = "exactly-once delivery depends on it";
const ORDER: &str = "the order of a key's versions depends on it";
const EAGER: &str = "Inlet applies each rebalance as a whole";
const INTERNAL: &str = "Inlet depends on the reports that it changes";

/// The properties of librdkafka that the promises depend on. [`super::Properties`] refuses them,
/// and the configuration and every client hold their properties as such.
pub const REFUSED_PROPERTIES: &[RefusedProperty] = &[
    refused("bootstrap.servers", ADDRESS, Some("kafka.brokers")),
    refused("metadata.broker.list", ADDRESS, Some("kafka.brokers")),
    refused(
        "group.id",
        "the group has a key of its own",
        Some("kafka.group"),
    ),
    refused(
        "transactional.id",
        "it follows from the pipeline's name",
        Some("pipeline"),
    ),
    refused("enable.idempotence", EXACTLY_ONCE, None),
    refused("acks", ALL_REPLICAS, None),
    refused("request.required.acks", ALL_REPLICAS, None),
    refused("queuing.strategy", ORDER, None),
    refused("queue.buffering.backpressure.threshold", ORDER, None),
    refused(
        "isolation.level",
        "rows of aborted transactions must stay invisible",
        None,
    ),
    refused("enable.auto.commit", OFFSETS, None),
    refused("auto.commit.enable", OFFSETS, None),
    refused("enable.auto.offset.store", OFFSETS, None),
    refused("auto.offset.reset", OFFSETS, None),
    refused("group.protocol", EAGER, None),
    refused("partition.assignment.strategy", EAGER, None),
    refused("enable.partition.eof", INTERNAL, None),
    refused("delivery.report.only.error", INTERNAL, None),
    refused(
        "allow.auto.create.topics",
        "a topic needs the settings that Inlet gives it",
        None,
    ),
];

const fn refused(
    name: &'static str,
    reason: &'static str,
    instead: Option<&'static str>,
) -> RefusedProperty {
    RefusedProperty {
        name,
        reason,
        instead,
    }
}

/// Returns every name that `kafka.properties` refuses, for the schema.
pub(super) fn refused_names() -> Vec<String> {
    let names = REFUSED_PROPERTIES.iter().flat_map(|refused| {
        [
            refused.name.to_owned(),
            format!("{}{IN_A_FILE}", refused.name),
        ]
    });
    names.collect()
}

/// The suffix of a property whose value is the name of a file with the real value.
pub(super) const IN_A_FILE: &str = "_file";
