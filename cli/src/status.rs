//! `inlet status`: how many seconds the lake is behind PostgreSQL, where the missing rows are, and
//! what the lake holds.
//!
//! Promises: it only reads; it reports a server or folder that cannot be read, and shows the rest.
//! Leaves to others: whether the rows are correct (`verify`). Read in this order: [`look`],
//! [`show`]; [`page`] and [`served`] bring the same to a browser, [`top`] to a terminal.

pub mod lag;
mod look;
mod page;
mod processes;
mod served;
mod show;
pub mod top;

use std::process::ExitCode;
use std::time::Duration;

use inlet_service::config::Config;
use inlet_service::output;
use tokio_util::sync::CancellationToken;

use self::look::{Looked, Status, look};
pub use self::served::Served;
use crate::args::StatusArguments;
use crate::failure::Outcome;

/// The escape sequence that clears a terminal and its scrollback.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// Prints the progress of producer and consumer, once or until stopped.
pub async fn run(arguments: StatusArguments, config: Config, stop: CancellationToken) -> Outcome {
    config.require_datalake()?;
    loop {
        let Some(looked) = stop.run_until_cancelled(look(&config)).await else {
            return Ok(ended(&arguments));
        };
        let looked = looked?;
        if looked.tables.is_empty() && !arguments.json {
            output::stderr(
                "the tables are unknown: PostgreSQL does not answer, and the lake has no table of \
                 the configuration\n",
            );
        }
        let text = if arguments.json {
            format!("{}\n", show::json(&looked))
        } else {
            show::text(&looked)
        };
        // Escape sequences belong on a terminal only, not in a file or a pipe.
        let clear = if arguments.watch.is_some() && output::is_stdout_terminal() {
            CLEAR
        } else {
            ""
        };
        output::stdout(format!("{clear}{text}"))?;
        let Some(seconds) = arguments.watch else {
            return Ok(code(&looked, arguments.max_lag));
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

/// Whether the look has shown something, and the lake is no further behind than it may be.
fn code(looked: &Looked, max_lag: Option<Duration>) -> ExitCode {
    let is_known = looked.tables.iter().any(Status::is_known);
    let is_fresh = max_lag.is_none_or(|max| looked.lag().is_some_and(|lag| lag <= max));
    match is_known && is_fresh {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
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
