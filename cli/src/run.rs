//! `inlet run`: carries the tables into the lake in one process.
//!
//! Without a `kafka:` section the poll writes into the lake itself. With one, the producer and the
//! consumer run here as two tasks.

use std::process::ExitCode;

use inlet_lake::{LakeOptions, LakeSink, LakeSinkTable, Numbering, Rules};
use inlet_model::TableName;
use inlet_producer::pipeline::Pipeline;
use inlet_producer::session::Source;
use inlet_service::config::{Config, DatalakeConfig, TableConfig};
use inlet_service::observe::Readiness;
use tokio_util::sync::CancellationToken;

use crate::discover::{Needs, Service, serve};
use crate::export::{self, Exports};
use crate::failure::{Failure, Outcome};
use crate::{consumer, producer, tables};

/// Carries the tables into the lake in one process until stopped; one part each of two services.
pub async fn run(config: Config, parts: &[Readiness], stop: CancellationToken) -> Outcome {
    serve(
        config,
        Needs::Tables,
        stop,
        async |service, stop| match parts {
            [producer, consumer] => both(service, [producer.clone(), consumer.clone()], stop).await,
            _ => direct(service.source, parts[0].clone(), stop).await,
        },
    )
    .await
}

/// The services do not know of each other; when one ends, the other is stopped.
async fn both(
    service: Service,
    [first, second]: [Readiness; 2],
    stop: CancellationToken,
) -> Outcome {
    // When one of the two services ends, the other is stopped too: half a pipeline would look
    // healthy.
    let ends = |outcome: Outcome| {
        stop.cancel();
        outcome
    };
    let Service { source, carried } = service;
    export::refuse(&source.tables)?;
    let producer = async { ends(producer::publish(source, first, stop.clone()).await) };
    let consumer = async { ends(consumer::carry(carried, second, stop.clone()).await) };
    let (producer, consumer) = tokio::join!(producer, consumer);
    producer.and(consumer)
}

async fn direct(source: Source, readiness: Readiness, stop: CancellationToken) -> Outcome {
    inlet_lake::describe_metrics();
    export::refuse(&source.tables)?;
    let config = source.tables.captured_config();
    let datalake = config.require_datalake()?;
    let rules = config
        .tables
        .iter()
        .map(|table| Rules::parse(&table.rules))
        .collect::<Result<Vec<_>, _>>()?;
    let names = source.tables.names();
    let sinks = names
        .iter()
        .zip(&config.tables)
        .zip(rules)
        .map(|((name, table), rules)| sink_table(&config, datalake, name, table, rules));
    let sink = LakeSink::new(sinks.collect(), tables::limits(&config));
    let exports = Exports::beside(&config);
    let ended = Pipeline::new(config, sink)
        .observed(readiness)
        .run(source, stop)
        .await;
    Exports::finish(exports).await;
    ended.map_err(Failure::from)?;
    Ok(ExitCode::SUCCESS)
}

fn sink_table(
    config: &Config,
    datalake: &DatalakeConfig,
    name: &TableName,
    table: &TableConfig,
    rules: Rules,
) -> LakeSinkTable {
    let options = LakeOptions {
        table: name.clone(),
        timezone: table.timezone,
        date_column: table.date_column.clone(),
        numbering: Numbering::Local,
        compaction: tables::compaction(datalake),
        retention: tables::retention(table),
    };
    LakeSinkTable {
        path: tables::folder(config, datalake, table),
        options,
        rules,
    }
}
