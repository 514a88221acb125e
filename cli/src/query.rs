//! `inlet query`: asks the lake in SQL.

use inlet_service::config::Config;
use tokio_util::sync::CancellationToken;

use crate::args::QueryArguments;
use crate::failure::{NotBuilt, Outcome};

/// Asks the lake in SQL.
pub async fn run(_arguments: QueryArguments, _config: Config, _stop: CancellationToken) -> Outcome {
    Err(NotBuilt("query").into())
}
