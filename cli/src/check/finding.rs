//! One finding: how bad it is, where, the measured fact, its effect and its fix.

use inlet_postgres::Error;
use inlet_service::error::{Explain, chain};
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Data cannot pass.
    Error,
    /// Data passes, and something should be fixed.
    Warning,
    Info,
    Ok,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Ok => "ok",
        }
    }
}

/// The place of a finding; the variants follow the data flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    Configuration,
    Postgres,
    Table,
    Kafka,
    Lake,
    Progress,
}

impl Hop {
    pub const ALL: [Self; 6] = [
        Self::Configuration,
        Self::Postgres,
        Self::Table,
        Self::Kafka,
        Self::Lake,
        Self::Progress,
    ];

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

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    pub hop: Hop,
    /// What the finding is about: a server, a table or column, a topic, a folder.
    pub object: String,
    pub evidence: String,
    /// What the fact leads to.
    pub effect: Option<String>,
    /// The statement, command or key that fixes it.
    pub fix: Option<String>,
}

impl Finding {
    pub fn error(hop: Hop, object: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self::new(Severity::Error, hop, object.into(), evidence.into())
    }

    pub fn warning(hop: Hop, object: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self::new(Severity::Warning, hop, object.into(), evidence.into())
    }

    pub fn info(hop: Hop, object: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self::new(Severity::Info, hop, object.into(), evidence.into())
    }

    pub fn ok(hop: Hop, object: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self::new(Severity::Ok, hop, object.into(), evidence.into())
    }

    /// Reports the error with which a service would end: its causes as evidence, its hint as fix.
    pub fn of(hop: Hop, object: impl Into<String>, error: &dyn Explain) -> Self {
        let hint = error.hint().map(|hint| hint.to_string());
        // The label `fix:` makes the hint's introduction redundant.
        let fix = hint.map(|hint| {
            hint.strip_prefix("run in PostgreSQL: ")
                .map(str::to_owned)
                .unwrap_or(hint)
        });
        Self {
            fix,
            ..Self::error(hop, object, chain(error))
        }
    }

    fn new(severity: Severity, hop: Hop, object: String, evidence: String) -> Self {
        Self {
            severity,
            hop,
            object,
            evidence,
            effect: None,
            fix: None,
        }
    }

    #[must_use]
    pub fn effect(self, effect: impl Into<String>) -> Self {
        Self {
            effect: Some(effect.into()),
            ..self
        }
    }

    #[must_use]
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..self
        }
    }
}

/// The finding for a statement of the check that failed.
pub fn unread(object: &str, source: sqlx::Error) -> Finding {
    let error = Error::Server {
        act: "a statement of the check failed".to_owned(),
        source,
    };
    Finding::of(Hop::Postgres, object, &error)
}
