//! Errors of a verb, and their way to stderr and the exit code.

use std::error::Error;
use std::process::ExitCode;

use inlet_service::error::{Explain, Hint, Kind, chain, report};
use inlet_service::output::{self, StdoutError};

/// The exit code when the reader of stdout has ended, as a shell shows a program that SIGPIPE has
/// ended: 128 + 13. It differs from 0, since a verb that did not end has found nothing out.
const EXIT_CLOSED: u8 = 141;

/// The result of a verb: its exit code, or the error.
pub type Outcome = Result<ExitCode, Failure>;

/// Any error that explains itself; `?` turns one into it.
#[derive(Debug)]
pub struct Failure(Box<dyn Explain>);

impl<E: Explain + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl Failure {
    /// The error with its causes, on one line.
    pub fn reason(&self) -> String {
        chain(self.0.as_ref())
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<Hint> {
        self.0.hint()
    }

    /// Prints the error for the user, and returns the exit code of its kind.
    pub fn show(&self) -> ExitCode {
        let error: &(dyn Error + 'static) = self.0.as_ref();
        if let Some(StdoutError::Closed) = error.downcast_ref() {
            return ExitCode::from(EXIT_CLOSED);
        }
        output::stderr(format!("{}\n", report(self.0.as_ref())));
        ExitCode::from(self.0.kind().exit_code())
    }
}

/// Prints help, version or a mistake on the command line, and returns its exit code.
pub fn usage(shown: &clap::Error) -> ExitCode {
    match shown.print() {
        // Without stderr the exit code still tells.
        Err(_) if shown.use_stderr() => {}
        Err(error) => return Failure::from(StdoutError::from(error)).show(),
        Ok(()) => {}
    }
    ExitCode::from(u8::try_from(shown.exit_code()).unwrap_or(1))
}

/// The operating system refused an operation that every verb needs.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act}")]
pub struct SystemError {
    /// The refused operation, as in `cannot {act}`.
    pub act: &'static str,
    pub source: std::io::Error,
}

impl Explain for SystemError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }
}
