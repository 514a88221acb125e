//! Errors that decide and explain.
//!
//! Five kinds decide everything: retry, exit code and alert follow from the kind, never from
//! a message's text.

use std::error::Error;
use std::fmt;

/// What an error means for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The configuration or the user's set-up is wrong: exit 78.
    Config,
    /// A server or disk does not answer at the moment: retried with backoff.
    Unavailable,
    /// Data that cannot be accepted: it is quarantined, or the process stops.
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

/// The page with a section for each error that a user can act on.
const PAGE: &str = "docs/troubleshooting.md";

/// One sentence about what to do: the key to change, the command or the SQL to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    text: String,
    section: Option<Section>,
}

impl Hint {
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            section: None,
        }
    }

    /// A key of the configuration to look at.
    pub fn key(key: &str) -> Self {
        Self::text(format!("see the key `{key}` of the configuration"))
    }

    /// A statement to run in PostgreSQL.
    pub fn sql(statement: impl fmt::Display) -> Self {
        Self::text(format!("run in PostgreSQL: {statement};"))
    }

    /// The same with the section that has more about it.
    #[must_use]
    pub fn see(self, section: Section) -> Self {
        Self {
            section: Some(section),
            ..self
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

macro_rules! sections {
    ($($name:ident: $heading:literal,)*) => {
        /// A section of docs/troubleshooting.md: what an error means, and what to do about it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Section {
            $(#[doc = $heading] $name,)*
        }

        impl Section {
            /// Every section; a test finds each heading in the page.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its heading in the page.
            pub fn heading(self) -> &'static str {
                match self {
                    $(Self::$name => $heading,)*
                }
            }
        }
    };
}

sections! {
    PostgresSilent: "PostgreSQL does not answer",
    PostgresForeign: "Another program answers at PostgreSQL's address",
    Password: "PostgreSQL refuses the password",
    Database: "The database does not exist",
    Table: "The table does not exist",
    Rights: "The role may not read the table",
    Cursor: "The cursor is no timestamp",
    Rule: "A rule is not understood",
    Standby: "The server is a hot standby",
    Lineage: "The progress belongs to another database",
    KafkaSilent: "Kafka does not answer",
    KafkaForeign: "Another program answers at the broker's address",
    TakenOver: "Another instance has taken over",
    RowsExpired: "Rows left the topic before they reached the lake",
    TopicRecreated: "The topic was deleted and created again",
    HangingTransaction: "The broker did not end a transaction",
    LakeNoFolder: "The lake's path is not a folder",
    LakeDangling: "The lake's path leads nowhere",
    LakeNotWritable: "The lake's folder is not writable",
    LakeMissing: "The lake is missing",
    OtherTable: "The folder holds another table",
    WrittenWithoutBroker: "The lake was written without a broker",
    WrittenByConsumer: "The lake was written by a consumer",
    DiskFull: "No space is left",
    FileSystem: "The file system has no hard links or no file locks",
    LogDamaged: "The log of the lake is damaged",
    FileDamaged: "A file of the lake is foreign, missing or damaged",
    TableUnknown: "The table is not known",
    Condition: "The condition is refused",
    TableNotConfigured: "The table is not in the configuration",
    HttpAddress: "The HTTP address is taken",
    FileExists: "The file exists already",
    NoDuckDb: "DuckDB is not installed",
}

impl fmt::Display for Section {
    /// Where it is, with the anchor of its heading as code hosts make it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let lower = self.heading().to_lowercase();
        let kept = lower.chars().filter(kept);
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        write!(f, "{PAGE}#{anchor}")
    }
}

/// An error that knows its kind and how to fix it.
pub trait Explain: Error {
    /// Classifies the error: retry, exit code and alert follow from it.
    fn kind(&self) -> Kind;
    /// Explains how to fix it, if that is known.
    fn hint(&self) -> Option<Hint> {
        None
    }
}

/// The error in one line of a log: what, and why.
pub fn chain(error: &dyn Explain) -> String {
    std::iter::once(error.to_string())
        .chain(causes(error))
        .collect::<Vec<_>>()
        .join(": ")
}

/// The error as a user reads it on stderr: what, why (the chain of causes), and what to do.
pub fn report(error: &dyn Explain) -> String {
    let mut text = format!("error: {error}");
    causes(error)
        .iter()
        .for_each(|cause| text.push_str(&format!("\n  because: {cause}")));
    if let Some(hint) = error.hint() {
        text.push_str(&format!("\n  hint: {hint}"));
        if let Some(section) = hint.section {
            text.push_str(&format!("\n  more: {section}"));
        }
    }
    text
}

/// A server's error without what the driver puts around it: the place in the driver's or the
/// server's source code.
fn own_words(text: String) -> String {
    if let Some((words, _)) = text.rsplit_once(" (sqlx_") {
        return words.to_owned();
    }
    let Some(words) = text.strip_prefix("error returned from database: ") else {
        return text;
    };
    let line = words
        .rsplit_once(" at line ")
        .filter(|(_, line)| line.chars().all(|digit| digit.is_ascii_digit()));
    line.map_or(words, |(words, _)| words).to_owned()
}

/// The causes, outermost first, without those that the one before has at its end: many an error
/// repeats its cause.
fn causes(error: &dyn Explain) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if causes.last().is_none_or(|before| !before.ends_with(&text)) {
            causes.push(text);
        }
        source = cause.source();
    }
    causes.into_iter().map(own_words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    impl Explain for Layer {
        fn kind(&self) -> Kind {
            Kind::Unavailable
        }
    }

    #[test]
    fn an_anchor_is_that_of_the_page() {
        assert_eq!(
            Section::PostgresForeign.to_string(),
            "docs/troubleshooting.md#another-program-answers-at-postgresqls-address"
        );
    }

    #[test]
    fn a_cause_that_was_printed_is_not_repeated() {
        let error = ["refused", "talking failed: refused", "no answer"]
            .iter()
            .fold(None, |source, text| Some(Box::new(Layer { text, source })));
        let error = error.unwrap();
        assert_eq!(
            report(error.as_ref()),
            "error: no answer\n  because: talking failed: refused"
        );
        assert_eq!(chain(error.as_ref()), "no answer: talking failed: refused");
    }
}
