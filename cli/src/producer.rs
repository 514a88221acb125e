//! `inlet producer`: publishes every change of the tables to Kafka.

use std::process::ExitCode;

use inlet_producer::pipeline::Pipeline;
use inlet_producer::session::Source;
use inlet_producer::settings;
use inlet_producer::sink::kafka::KafkaSink;
use inlet_service::config::Config;
use inlet_service::observe::Readiness;
use tokio_util::sync::CancellationToken;

use crate::discover::{Needs, serve};
use crate::failure::Outcome;

/// Publishes every change of the tables to Kafka until stopped.
pub async fn run(config: Config, readiness: Readiness, stop: CancellationToken) -> Outcome {
    serve(config, Needs::Tables, stop, async |service, stop| {
        publish(service.source, readiness.clone(), stop).await
    })
    .await
}

/// The service itself, beside whatever else runs in the process.
pub async fn publish(source: Source, readiness: Readiness, stop: CancellationToken) -> Outcome {
    let config = source.tables.captured_config();
    let kafka = config.require_kafka()?;
    let sink = settings::kafka_sink(&config, kafka, &source.tables.names());
    Pipeline::new(config, KafkaSink::new(sink)?)
        .observed(readiness)
        .run(source, stop)
        .await?;
    Ok(ExitCode::SUCCESS)
}
