//! `inlet run`: carries the tables into the lake in one process.

use inlet_service::config::Config;
use tokio_util::sync::CancellationToken;

use crate::failure::{NotBuilt, Outcome};

/// Carries the tables into the lake in one process until stopped.
pub async fn run(_config: Config, _stop: CancellationToken) -> Outcome {
    Err(NotBuilt("run").into())
}
