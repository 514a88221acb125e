//! `inlet status`: shows how far producer and consumer are.

use inlet_service::config::Config;
use tokio_util::sync::CancellationToken;

use crate::args::StatusArguments;
use crate::failure::{NotBuilt, Outcome};

/// Shows how far producer and consumer are.
pub async fn run(_arguments: StatusArguments, _config: Config, _stop: CancellationToken) -> Outcome {
    Err(NotBuilt("status").into())
}
