//! `inlet demo`: food orders from the first row to the last answer, on servers of its own.
//!
//! What a person would type is shown as it happens, and every row is counted where it stands: in
//! PostgreSQL, in the topic, in the lake's files. The services are processes of this very binary,
//! so that one of them can be killed.
//!
//! Promises: exit 0 only when PostgreSQL and lake are equal, by DuckDB's answer and by `inlet
//! verify`'s; no process and no folder stays, however it ends. Leaves to others: the servers. They
//! are those of the tests (`inlet-harness`): to find programs and ports and to leave nothing behind
//! is hard to get right once. Its errors are `anyhow`'s, and so are ours: nobody decides by them.
//! Read in this order: [`story`], [`scenario`], [`hops`], [`screen`].

mod hops;
mod scenario;
mod screen;
mod story;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use inlet_harness::Folder;
use inlet_service::error::{Explain, Hint, Kind};
use tokio_util::sync::CancellationToken;

use self::screen::Screen;
use self::story::Servers;
use crate::args::{DemoArguments, DemoMode};
use crate::failure::Outcome;

/// As shells show an interrupt.
const EXIT_INTERRUPTED: u8 = 130;

/// Shows it all on this machine, in a temporary folder.
pub async fn run(arguments: DemoArguments, stop: CancellationToken) -> Outcome {
    let folder = Folder::new("demo").map_err(DemoError::Step)?;
    let told = stop
        .run_until_cancelled(tell(arguments.mode, &folder))
        .await;
    if arguments.keep && !matches!(told, Some(Err(DemoError::Servers(_)))) {
        let kept = keep(&folder).map_err(|error| DemoError::Step(error.into()))?;
        eprintln!(
            "kept: {0}\n  duckdb -c \"SELECT * FROM read_parquet('{0}/**/*.parquet')\"",
            kept.display()
        );
    }
    let Some(told) = told else {
        eprintln!("stopped: servers and services are gone");
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    told?;
    Ok(ExitCode::SUCCESS)
}

/// The whole demo; its servers end with this function, and when it is no longer awaited.
async fn tell(mode: DemoMode, folder: &Path) -> Result<(), DemoError> {
    let mut screen = Screen::new();
    story::open(&mut screen, mode, folder).map_err(DemoError::Step)?;
    let servers = Servers::start(mode).await.map_err(DemoError::Servers)?;
    story::tell(&mut screen, &servers, folder)
        .await
        .map_err(DemoError::Step)
}

/// Takes the folder out of those that go away.
fn keep(folder: &Path) -> std::io::Result<PathBuf> {
    let kept = std::env::temp_dir().join(format!("inlet-demo-{}", std::process::id()));
    fs::rename(folder, &kept)?;
    Ok(kept)
}

/// Why the demo did not come to its end.
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
                "install them with `make setup` (dev/scripts/setup.sh); `inlet demo --mode direct` needs PostgreSQL and DuckDB only",
            )),
            Self::Step(_) => None,
        }
    }
}
