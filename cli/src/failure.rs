//! Errors of a verb, and their way to stderr and the exit code.

use std::process::ExitCode;

use inlet_service::error::{Explain, Hint, Kind, chain, report};

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
        eprintln!("{}", report(self.0.as_ref()));
        ExitCode::from(self.0.kind().exit_code())
    }
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
