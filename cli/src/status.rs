//! `inlet status`: how many seconds the lake is behind PostgreSQL, where the rows are that it has
//! not, and what it holds.
//!
//! Promises: reads only; a server or folder that cannot be read is said, and keeps nothing else
//! from being shown. Leaves to others: whether the rows are right (`verify`). Read in this order:
//! [`look`], [`show`].

pub mod lag;
mod look;
mod show;
pub mod table;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use inlet_service::config::Config;
use tokio_util::sync::CancellationToken;

use self::look::{Status, look};
use crate::args::StatusArguments;
use crate::failure::{Outcome, SystemError};

/// Clears a terminal.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Shows how far producer and consumer are, once or until stopped.
pub async fn run(arguments: StatusArguments, config: Config, stop: CancellationToken) -> Outcome {
    config.require_datalake()?;
    loop {
        let Some(tables) = stop.run_until_cancelled(look(&config)).await else {
            return Ok(ended(&arguments));
        };
        if tables.is_empty() && !arguments.json {
            eprintln!(
                "no table is known: PostgreSQL does not answer, and the lake has none that the configuration means"
            );
        }
        let text = if arguments.json {
            format!("{}\n", show::json(&tables))
        } else {
            show::text(&tables)
        };
        let clear = if arguments.watch.is_some() && io::stdout().is_terminal() {
            CLEAR
        } else {
            ""
        };
        let written = match write!(io::stdout(), "{clear}{text}")
            .and_then(|()| io::stdout().flush())
        {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            written => written,
        };
        written.map_err(|source| SystemError {
            act: "write to standard output",
            source,
        })?;
        let Some(seconds) = arguments.watch else {
            return Ok(if tables.iter().any(Status::is_known) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        };
        if stop
            .run_until_cancelled(tokio::time::sleep(Duration::from_secs(seconds)))
            .await
            .is_none()
        {
            return Ok(ended(&arguments));
        }
    }
}

/// Watching ends by Ctrl-C as it should; a single look that was cut off has failed.
fn ended(arguments: &StatusArguments) -> ExitCode {
    if arguments.watch.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
