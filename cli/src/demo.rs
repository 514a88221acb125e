//! `inlet demo`: shows it all on this machine, in a temporary folder.

use tokio_util::sync::CancellationToken;

use crate::args::DemoArguments;
use crate::failure::{NotBuilt, Outcome};

/// Shows it all on this machine, in a temporary folder.
pub async fn run(_arguments: DemoArguments, _stop: CancellationToken) -> Outcome {
    Err(NotBuilt("demo").into())
}
