//! From the configuration to the settings of the poll and of the topic's sink.

use std::collections::BTreeMap;
use std::time::Duration;

use inlet_model::TableName;
use inlet_model::record::format::{Target, TopicKey};
use inlet_service::config::{Config, KafkaConfig, TableConfig};

use crate::sink::kafka::{KafkaSinkSettings, RecordSettings};
use crate::source::census::CensusSettings;
use crate::source::resume::PollSettings;
use crate::source::table::Depths;

/// Rows of a chunk of the initial load: a snapshot of well under a second.
const CHUNK_ROWS: u32 = 250_000;
/// Fewer rows are read before a second connection is made.
const SIDE_BY_SIDE_ROWS_MIN: u64 = 50_000;
/// 512 MiB, which are read in a few seconds.
const WHOLE_BLOCKS_MAX: u32 = 65_536;
/// Keys that the census compares at once, integers and others: a few ten milliseconds, for which
/// the polls wait.
const CENSUS_KEYS: (usize, usize) = (131_072, 8_192);
/// `NAMEDATALEN - 1`.
const SESSION_NAME_MAX: usize = 63;
/// Time between two scans that allow for skewed clocks and zones.
const WIDE_INTERVAL: Duration = Duration::from_secs(10);

pub fn poll(config: &Config) -> PollSettings {
    PollSettings {
        depths: Depths {
            wide_interval: WIDE_INTERVAL,
            sweep_interval: config.streaming.sweep_interval,
        },
        chunk_rows: CHUNK_ROWS,
        load_connections: config.streaming.load_connections,
        side_by_side_rows_min: SIDE_BY_SIDE_ROWS_MIN,
        whole_blocks_max: WHOLE_BLOCKS_MAX,
        census: CensusSettings {
            interval: config.streaming.census.interval,
            percent: config.streaming.census.percent,
            chunk_keys: CENSUS_KEYS,
            memory: usize::try_from(config.streaming.census.memory).unwrap_or(usize::MAX),
        },
    }
}

/// The name of the poll's session in PostgreSQL; `inlet status` finds a running service by it.
pub fn session_name(config: &Config) -> String {
    let name = config.kafka.as_ref().map(KafkaConfig::transactional_id);
    let name = name.unwrap_or_else(|| "inlet-run".to_owned());
    // PostgreSQL replaces other characters, and cuts the name.
    let replaced = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    name.chars().map(replaced).take(SESSION_NAME_MAX).collect()
}

/// Where to publish; `tables` are the names that the catalog gave, in the order of the
/// configuration's tables.
pub fn kafka_sink(config: &Config, kafka: &KafkaConfig, tables: &[TableName]) -> KafkaSinkSettings {
    let topics: BTreeMap<TableName, String> = tables
        .iter()
        .cloned()
        // The caller passes the names in the order of the configuration, which is what pairs them
        // here.
        .zip(config.tables.iter().map(|table| kafka.topic_for(table)))
        .collect();
    let database = config.postgres.as_ref();
    let database = database.map_or("", |postgres| postgres.primary.db.as_str());
    let records = |table: &TableConfig| {
        let records = kafka.records_of(table);
        RecordSettings {
            encoding: records.encoding,
            target: Target {
                topic: kafka.topic_for(table),
                topic_key: TopicKey(records.topic_key),
                pipeline: kafka.pipeline.clone(),
                database: database.to_owned(),
            },
        }
    };
    let records = tables
        .iter()
        .cloned()
        .zip(config.tables.iter().map(records));
    let records = records.collect();
    KafkaSinkSettings {
        connection: kafka.into(),
        transactional_id: kafka.transactional_id(),
        control_topic: kafka.control_topic(),
        lake_group: config.datalake.as_ref().map(|_| kafka.group.clone()),
        topics,
        records,
        partitions: kafka.partitions,
        replication_factor: kafka.replication_factor,
        retention: kafka.retention,
        cleanup: kafka.cleanup.clone(),
        ..KafkaSinkSettings::default()
    }
}
