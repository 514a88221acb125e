//! How a verb fails: any error that explains itself, on its way to stderr and the exit code.

use std::process::ExitCode;

use inlet_service::error::{Explain, Kind, report};

/// What a verb hands back: its exit code, or why it failed.
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
    /// Tells the user, and says how the process ends.
    pub fn show(&self) -> ExitCode {
        eprintln!("{}", report(self.0.as_ref()));
        ExitCode::from(self.0.kind().exit_code())
    }
}

/// The system refused what every verb needs.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act}")]
pub struct SystemError {
    /// What was asked of it.
    pub act: &'static str,
    /// What it answered.
    pub source: std::io::Error,
}

impl Explain for SystemError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }
}
