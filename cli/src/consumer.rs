//! `inlet consumer`: carries the topics into the lake.

use std::process::ExitCode;

use inlet_consumer::{ConsumerSettings, Pipeline, TableSettings};
use inlet_model::record::debezium::Declared;
use inlet_service::config::{Config, ConfigError, TableConfig, Writer};
use inlet_service::observe::Readiness;
use tokio_util::sync::CancellationToken;

use crate::discover::{Needs, serve};
use crate::export::Exports;
use crate::failure::Outcome;
use crate::tables;

/// Carries the topics into the lake until stopped.
pub async fn run(config: Config, readiness: Readiness, stop: CancellationToken) -> Outcome {
    // Without a pattern the tables' names are known, and PostgreSQL is not asked.
    if !config.has_patterns() {
        return carry(config, readiness, stop).await;
    }
    serve(config, Needs::Names, stop, async |service, stop| {
        let carried = service.carried;
        // The connection is closed while the consumer runs.
        drop(service.source);
        carry(carried, readiness.clone(), stop).await
    })
    .await
}

/// Runs the service, alone or beside the producer in one process.
pub async fn carry(config: Config, readiness: Readiness, stop: CancellationToken) -> Outcome {
    let pipeline = Pipeline::new(settings(&config)?)?.observed(readiness);
    let exports = Exports::beside(&config);
    let ended = pipeline.run(stop).await;
    Exports::finish(exports).await;
    ended?;
    Ok(ExitCode::SUCCESS)
}

fn settings(config: &Config) -> Result<ConsumerSettings, ConfigError> {
    let (kafka, datalake) = (config.require_kafka()?, config.require_datalake()?);
    let table = |table: &TableConfig| TableSettings {
        table: table.table.clone(),
        topic: kafka.topic_for(table),
        path: tables::folder(config, datalake, table),
        debezium: (kafka.records.writer == Writer::Debezium).then(|| Declared {
            columns: table.columns.clone(),
            key: table.key.clone(),
            modes: kafka.records.debezium,
        }),
        rules: table.rules.clone(),
        date_column: table.date_column.clone(),
        timezone: table.timezone,
        compaction: tables::compaction(datalake),
        retention: tables::retention(table),
    };
    Ok(ConsumerSettings {
        connection: kafka.into(),
        group: kafka.group.clone(),
        control_topic: kafka.control_topic(),
        tables: config.tables.iter().map(table).collect(),
        limits: tables::limits(config),
        checkpoint_location: config.streaming.checkpoint_location.clone(),
        lake_may_be_new: datalake.may_be_new,
    })
}
