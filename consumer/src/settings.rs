//! The settings of the consumer: plain values that were checked when the configuration was read.

use std::path::PathBuf;

use chrono_tz::Tz;
use inlet_kafka::Connection;
use inlet_lake::{CompactionOptions, Limits, Retention};
use inlet_model::TableReference;
use inlet_model::record::debezium::Declared;

/// The settings of one consumer: a member of a group that carries topics into the lake.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Where and how the clients connect.
    pub connection: Connection,
    /// The consumer group; its members share the kafka_partitions.
    pub group: String,
    /// The pipeline's control topic, where the schemas are.
    pub control_topic: String,
    pub tables: Vec<TableSettings>,
    /// The size at which a batch is committed.
    pub limits: Limits,
    /// The folder that receives a readable copy of the offsets after each commit.
    pub checkpoint_location: Option<PathBuf>,
    /// True when an empty lake is filled although the group has filled one before.
    pub lake_may_be_new: bool,
}

/// One table of the consumer.
#[derive(Debug, Clone)]
pub struct TableSettings {
    /// The table as the configuration names it; it is resolved against the schemas of the control
    /// topic.
    pub table: TableReference,
    pub topic: String,
    /// Its folder in the lake.
    pub path: PathBuf,
    /// Set for a topic that Debezium's connector writes: what the configuration declares of it.
    pub debezium: Option<Declared>,
    /// The rules that a row must fulfil, see [`inlet_lake::Rules`].
    pub rules: Vec<String>,
    /// The column whose date chooses the date_partition; without one, the date on which the row was
    /// found does.
    pub date_column: Option<String>,
    /// The zone in which instants become dates.
    pub timezone: Tz,
    /// How small files are merged beside the commits; `None`: by hand only.
    pub compaction: Option<CompactionOptions>,
    /// How long rows stay in the lake; `None`: for ever.
    pub retention: Option<Retention>,
}
