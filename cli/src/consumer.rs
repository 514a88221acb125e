//! `inlet consumer`: carries the topics into the lake.

use inlet_service::config::Config;
use tokio_util::sync::CancellationToken;

use crate::failure::{NotBuilt, Outcome};

/// Carries the topics into the lake until stopped.
pub async fn run(_config: Config, _stop: CancellationToken) -> Outcome {
    Err(NotBuilt("consumer").into())
}
