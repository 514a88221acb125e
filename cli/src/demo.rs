//! `inlet demo`: food orders from the first row to the last answer, on servers of its own.
//!
//! It shows what a person would type, and counts every row where it is: in PostgreSQL, in the
//! topic, in the lake's files. The services are processes of this binary, so that one of them can
//! be killed.
//!
//! Promises: exit 0 only when PostgreSQL and lake are equal, by DuckDB's answer and by `inlet
//! verify`'s; it removes all processes and folders, however it ends. Leaves to others: the servers,
//! which the test harness (`inlet-harness`) finds, starts and stops. Errors are `anyhow`'s, like
//! the harness's: the demo only prints them. Read in this order: [`story`], [`servers`],
//! [`scenario`], [`hops`],
//! [`screen`].

mod answers;
mod hops;
mod scenario;
mod screen;
mod servers;
mod story;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use inlet_harness::Folder;
use inlet_service::error::{Explain, Hint, Kind};
use inlet_service::output::{self, StdoutError};
use tokio_util::sync::CancellationToken;

use self::screen::Screen;
use self::servers::Servers;
use crate::failure::Outcome;

/// The arguments of `inlet demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArguments {
    /// Which way the rows go
    #[arg(long, value_enum, value_name = "MODE", default_value = "kafka")]
    pub mode: DemoMode,
    /// Keep the folder, to look at the lake afterwards
    #[arg(long)]
    pub keep: bool,
}

/// The way of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DemoMode {
    /// PostgreSQL, Kafka, lake; producer and consumer are two processes
    Kafka,
    /// PostgreSQL, lake; one process, no broker
    Direct,
}

/// The exit code that shells use for an interrupt: 128 + SIGINT.
const EXIT_INTERRUPTED: u8 = 130;

/// Runs the demo on this machine, in a temporary folder.
pub async fn run(arguments: DemoArguments, stop: CancellationToken) -> Outcome {
    let folder = Folder::new("demo").map_err(DemoError::Step)?;
    let result = stop
        .run_until_cancelled(tell(arguments.mode, &folder))
        .await;
    if arguments.keep && !matches!(result, Some(Err(DemoError::Servers(_)))) {
        let kept = keep(&folder).map_err(|error| DemoError::Step(error.into()))?;
        output::stderr(format!(
            "kept: {0}\n  duckdb -c \"SELECT * FROM read_parquet('{0}/**/*.parquet')\"\n",
            kept.display()
        ));
    }
    let Some(result) = result else {
        output::stderr("stopped: servers and services have ended\n");
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(DemoError::Step(error)) => Err(match error.downcast::<StdoutError>() {
            Ok(closed @ StdoutError::Closed) => closed.into(),
            Ok(error) => DemoError::Step(error.into()).into(),
            Err(error) => DemoError::Step(error).into(),
        }),
        Err(error) => Err(error.into()),
    }
}

/// The whole demo; its servers end with this function, and when it is no longer awaited.
async fn tell(mode: DemoMode, folder: &Path) -> Result<(), DemoError> {
    let mut screen = Screen::default();
    story::open(&mut screen, mode, folder).map_err(DemoError::Step)?;
    let servers = Servers::start(mode).await.map_err(DemoError::Servers)?;
    story::tell(&mut screen, &servers, folder)
        .await
        .map_err(DemoError::Step)
}

/// Moves the folder, so that the harness does not remove it.
fn keep(folder: &Path) -> std::io::Result<PathBuf> {
    let kept = std::env::temp_dir().join(format!("inlet-demo-{}", std::process::id()));
    fs::rename(folder, &kept)?;
    Ok(kept)
}

#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("the demo's servers did not start")]
    Servers(#[source] anyhow::Error),
    #[error("the demo failed")]
    Step(#[source] anyhow::Error),
}

impl Explain for DemoError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Servers(_) => Some(Hint::text(
                "install them with `make setup` (dev/scripts/setup.sh); `inlet demo --mode direct` \
                 needs only PostgreSQL and DuckDB",
            )),
            Self::Step(_) => None,
        }
    }
}
