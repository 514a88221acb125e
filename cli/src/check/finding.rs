//! One thing that was found: how bad, where, the measured fact, what follows from it, and what
//! mends it.

use inlet_service::error::{Explain, chain};
use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Data cannot go this way.
    Error,
    /// Data goes, and something should be mended.
    Warning,
    /// Worth knowing.
    Info,
    /// As it should be.
    Ok,
}

impl Severity {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Ok => "ok",
        }
    }
}

/// Where on the data's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// The files that were given.
    Configuration,
    /// The server.
    Postgres,
    /// A captured table.
    Table,
    /// The broker and its topics.
    Kafka,
    /// The folder.
    Lake,
    /// What was stored of an earlier run.
    Progress,
}

impl Hop {
    /// Every hop, in the data's way.
    pub const ALL: [Self; 6] = [
        Self::Configuration,
        Self::Postgres,
        Self::Table,
        Self::Kafka,
        Self::Lake,
        Self::Progress,
    ];

    /// The heading of its findings.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Postgres => "PostgreSQL",
            Self::Table => "Tables",
            Self::Kafka => "Kafka",
            Self::Lake => "Lake",
            Self::Progress => "Progress",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub hop: Hop,
    /// What it is about: a server, a table or column, a topic, a folder.
    pub object: String,
    /// The measured fact.
    pub evidence: String,
    /// What follows from it.
    pub meaning: Option<String>,
    /// The statement, command or key that mends it.
    pub mend: Option<String>,
}

impl Finding {
    /// What stops the data.
    pub fn error(hop: Hop, object: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self::new(Severity::Error, hop, object.into(), evidence.into())
    }

    /// What should be mended.
    pub fn warning(hop: Hop, object: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self::new(Severity::Warning, hop, object.into(), evidence.into())
    }

    /// What is worth knowing.
    pub fn info(hop: Hop, object: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self::new(Severity::Info, hop, object.into(), evidence.into())
    }

    /// What is as it should be.
    pub fn ok(hop: Hop, object: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self::new(Severity::Ok, hop, object.into(), evidence.into())
    }

    /// What a service would end with: the error with its causes, and its own hint.
    pub fn of(hop: Hop, object: impl Into<String>, error: &dyn Explain) -> Self {
        let hint = error.hint().map(|hint| hint.to_string());
        let mend = hint.map(|hint| {
            hint.strip_prefix("run in PostgreSQL: ")
                .map(str::to_owned)
                .unwrap_or(hint)
        });
        Self {
            mend,
            ..Self::error(hop, object, chain(error))
        }
    }

    fn new(severity: Severity, hop: Hop, object: String, evidence: String) -> Self {
        Self {
            severity,
            hop,
            object,
            evidence,
            meaning: None,
            mend: None,
        }
    }

    /// The same, with what follows from it.
    #[must_use]
    pub fn means(self, meaning: impl Into<String>) -> Self {
        Self {
            meaning: Some(meaning.into()),
            ..self
        }
    }

    /// The same, with what mends it.
    #[must_use]
    pub fn mend(self, mend: impl Into<String>) -> Self {
        Self {
            mend: Some(mend.into()),
            ..self
        }
    }
}
