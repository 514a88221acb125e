//! Errors that decide and explain.
//!
//! Five kinds decide everything: retry, exit code and alert follow from the kind; nobody retries on a string.

use std::error::Error;
use std::fmt;

/// What an error means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The configuration or the user's set-up is wrong: exit 78.
    Config,
    /// A server or disk does not answer at the moment: retried with backoff.
    Unavailable,
    /// Data that cannot be taken: quarantined, or the process stops.
    Data,
    /// Another instance owns this now: exit 75.
    Fenced,
    /// An invariant of ours is broken: the process stops.
    Bug,
}

impl Kind {
    /// The process's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Config => 78,
            Self::Fenced => 75,
            Self::Unavailable | Self::Data | Self::Bug => 1,
        }
    }
}

/// One sentence that tells what to do: the key to change, the command or the SQL to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint(String);

impl Hint {
    /// A sentence.
    pub fn text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A key of the configuration to look at.
    pub fn key(key: &str) -> Self {
        Self(format!("see the key `{key}` of the configuration"))
    }

    /// A statement to run in PostgreSQL.
    pub fn sql(statement: impl fmt::Display) -> Self {
        Self(format!("run in PostgreSQL: {statement};"))
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An error that says what kind it is and how to mend it.
pub trait Explain: Error {
    /// What it means for the process.
    fn kind(&self) -> Kind;
    /// How to mend it, where that is known.
    fn hint(&self) -> Option<Hint> {
        None
    }
}

/// The error in one line of a log: what, and why.
pub fn chain(error: &dyn Explain) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// The error as a user reads it on stderr: what, why (the chain of causes), and what to do.
pub fn report(error: &dyn Explain) -> String {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n  because: {cause}"));
        source = cause.source();
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("\n  hint: {hint}"));
    }
    text
}
