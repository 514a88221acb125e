//! The log of a process: on stderr, as text or JSON, filtered by the command line or `INLET_LOG`
//! (default `info`).

use std::env::VarError;

use tracing_subscriber::EnvFilter;

use crate::bar;
use crate::error::{Explain, Hint, Kind};
use crate::output::{self, LogWriter};

/// What logs that a queue was not closed.
const CLOSED_QUEUE: &str = "rdkafka::consumer::base_consumer";
/// The environment variable with the filter: a level, or `target=level` with commas.
pub const VARIABLE: &str = "INLET_LOG";

/// Which lines there are, where the command line tells it. It wins over the variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Errors and warnings.
    Quiet,
    /// Debug messages of this program, and the information of its libraries.
    Verbose,
}

impl Level {
    fn words(self) -> &'static str {
        match self {
            Self::Quiet => "warn",
            // The crates are `inlet` and `inlet_..`.
            Self::Verbose => "info,inlet=debug",
        }
    }
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The variable does not hold a filter.
    #[error("the environment variable {VARIABLE} does not hold a filter: `{0}`")]
    Filter(String),
    #[error("logging is set up already")]
    Started,
}

impl Explain for LogError {
    fn kind(&self) -> Kind {
        match self {
            Self::Filter(_) => Kind::Config,
            Self::Started => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Filter(_) => Some(Hint::text(
                "write error, warn, info, debug or trace, or for example info,inlet_producer=debug",
            )),
            Self::Started => None,
        }
    }
}

/// Starts logging for the whole process.
pub fn start(format: LogFormat, level: Option<Level>) -> Result<(), LogError> {
    let words = match (level, std::env::var(VARIABLE)) {
        (Some(level), _) => level.words().to_owned(),
        (None, Ok(words)) if !words.trim().is_empty() => words,
        (None, Ok(_) | Err(VarError::NotPresent)) => "info".to_owned(),
        (None, Err(VarError::NotUnicode(words))) => {
            return Err(LogError::Filter(words.to_string_lossy().into_owned()));
        }
    };
    // The crate logs as an error that a client which is being ended cannot close its queue any
    // more.
    let all = match words.contains(CLOSED_QUEUE) {
        true => words.clone(),
        false => format!("{words},{CLOSED_QUEUE}=off"),
    };
    let filter = EnvFilter::try_new(all).map_err(|_| LogError::Filter(words))?;
    let colors = output::has_colors(output::is_stderr_terminal());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(LogWriter::default)
        // It would report an error of the writer with `eprintln!`, which panics without stderr.
        .log_internal_errors(false)
        .with_ansi(colors);
    match format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => {
            bar::hide();
            log.json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .try_init()
        }
    }
    .map_err(|_| LogError::Started)
}
