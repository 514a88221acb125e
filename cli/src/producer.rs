//! `inlet producer`: publishes every change of the tables to Kafka.

use inlet_service::config::Config;
use tokio_util::sync::CancellationToken;

use crate::failure::{NotBuilt, Outcome};

/// Publishes every change of the tables to Kafka until stopped.
pub async fn run(_config: Config, _stop: CancellationToken) -> Outcome {
    Err(NotBuilt("producer").into())
}
