//! `inlet producer`: publishes every change of the tables to Kafka.

use std::net::SocketAddr;
use std::process::ExitCode;

use inlet_producer::pipeline::Pipeline;
use inlet_producer::settings;
use inlet_producer::sink::kafka::KafkaSink;
use inlet_service::config::Config;
use inlet_service::observe::Readiness;
use tokio_util::sync::CancellationToken;

use crate::discover::serve;
use crate::failure::Outcome;
use crate::service_start::observe;
use crate::tables;

/// Publishes every change of the tables to Kafka until stopped.
pub async fn run(config: Config, http: Option<SocketAddr>, stop: CancellationToken) -> Outcome {
    let readiness = Readiness::default();
    let _observer = observe(http, vec![readiness.clone()]).await?;
    serve(config, stop, async |tables, stop| {
        publish(tables.there, readiness.clone(), stop).await
    })
    .await
}

/// The service itself, beside whatever else runs in the process.
pub async fn publish(config: Config, readiness: Readiness, stop: CancellationToken) -> Outcome {
    let kafka = config.require_kafka()?;
    let source = settings::source(&config)?;
    let Some(names) = tables::names(&source, &stop).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let sink = KafkaSink::new(settings::kafka_sink(&config, kafka, &names))?;
    let streaming = &config.streaming;
    let location = streaming.last_processed_timestamp_location.clone();
    Pipeline::new(source, streaming.poll_interval, location, sink)
        .observed(readiness)
        .run(stop)
        .await?;
    Ok(ExitCode::SUCCESS)
}
