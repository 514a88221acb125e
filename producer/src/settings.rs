//! From the configuration to what the poll and the topic's sink ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use inlet_model::TableName;
use inlet_postgres::options;
use inlet_service::config::{Config, ConfigError, KafkaConfig, TableConfig};

use crate::sink::kafka::KafkaSinkSettings;
use crate::source::poll::{SourceSettings, TableSettings};

/// Rows of a chunk of the initial load: a snapshot of well under a second.
const CHUNK_ROWS: u32 = 250_000;
/// Time between two scans that allow for skewed clocks and zones.
const WIDE_INTERVAL: Duration = Duration::from_secs(10);

/// What to poll.
pub fn source(config: &Config) -> Result<SourceSettings, ConfigError> {
    let postgres = config.require_postgres()?;
    Ok(SourceSettings {
        primary: options(&postgres.primary),
        standby: postgres.read.as_ref().map(options),
        tables: config.tables.iter().map(table).collect(),
        sweep_interval: config.streaming.sweep_interval,
        wide_interval: WIDE_INTERVAL,
        chunk_rows: CHUNK_ROWS,
    })
}

/// How to poll one table.
pub fn table(table: &TableConfig) -> TableSettings {
    TableSettings {
        name: table.table.to_string(),
        cursor: table.cursor.clone(),
        key: (!table.key.is_empty()).then(|| table.key.clone()),
        zone: None,
        impossible_values: table.impossible_values,
        date_column: table.date_column.clone(),
    }
}

/// Where to publish; `tables` are the names that the catalog gave, in the order of the
/// configuration's tables.
pub fn kafka_sink(config: &Config, kafka: &KafkaConfig, tables: &[TableName]) -> KafkaSinkSettings {
    let topics: BTreeMap<TableName, String> = tables
        .iter()
        .cloned()
        .zip(config.tables.iter().map(|table| kafka.topic_for(table)))
        .collect();
    KafkaSinkSettings {
        connection: kafka.into(),
        transactional_id: kafka.transactional_id(),
        control_topic: kafka.control_topic(),
        topics,
        partitions: kafka.partitions,
        replication_factor: kafka.replication_factor,
        ..KafkaSinkSettings::default()
    }
}
