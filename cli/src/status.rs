//! `inlet status`: how many seconds the lake is behind PostgreSQL, where the missing rows are, and
//! what the lake holds.
//!
//! Promises: it only reads; it reports a server or folder that cannot be read, and shows the rest.
//! Leaves to others: whether the rows are correct (`verify`). Read in this order: [`look`],
//! [`show`].

pub mod lag;
mod look;
mod show;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use inlet_service::config::Config;
use tokio_util::sync::CancellationToken;

use self::look::{Status, look};
use crate::args::StatusArguments;
use crate::failure::{Outcome, SystemError};

/// The escape sequence that clears a terminal and its scrollback.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Prints the progress of producer and consumer, once or until stopped.
pub async fn run(arguments: StatusArguments, config: Config, stop: CancellationToken) -> Outcome {
    config.require_datalake()?;
    loop {
        let Some(tables) = stop.run_until_cancelled(look(&config)).await else {
            return Ok(ended(&arguments));
        };
        let tables = tables?;
        if tables.is_empty() && !arguments.json {
            eprintln!(
                "the tables are unknown: PostgreSQL does not answer, and the lake has no table of \
                 the configuration"
            );
        }
        let text = if arguments.json {
            format!("{}\n", show::json(&tables))
        } else {
            show::text(&tables)
        };
        // Escape sequences belong on a terminal only, not in a file or a pipe.
        let clear = if arguments.watch.is_some() && io::stdout().is_terminal() {
            CLEAR
        } else {
            ""
        };
        let written = match write!(io::stdout(), "{clear}{text}")
            .and_then(|()| io::stdout().flush())
        {
            // The reader of a pipe, such as `head`, has closed it on purpose.
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

/// Ctrl-C is the normal end of `--watch`; a single look that it cut off has failed.
fn ended(arguments: &StatusArguments) -> ExitCode {
    if arguments.watch.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
