//! `exports:` as which other formats the lake of a table is described.

use super::file::{Problem, Texts};
use super::value;

/// A format of tables whose metadata Inlet writes over the lake's own files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Export {
    DuckLake,
    Delta,
}

/// The word that leaves a table out where `datalake.exports` names formats.
const NONE: &str = "none";
const WORDS: [(&str, Option<Export>); 3] = [
    ("ducklake", Some(Export::DuckLake)),
    ("delta", Some(Export::Delta)),
    (NONE, None),
];

impl Export {
    /// The word of the configuration for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DuckLake => "ducklake",
            Self::Delta => "delta",
        }
    }

    /// The name as its readers know it.
    pub fn title(self) -> &'static str {
        match self {
            Self::DuckLake => "DuckLake",
            Self::Delta => "Delta",
        }
    }
}

/// The formats that a key names, each once.
pub(super) fn check(key: &str, texts: &Texts) -> Result<Vec<Export>, Problem> {
    let mut exports = Vec::new();
    for text in &texts.0 {
        exports.extend(value::choice(key, text, &WORDS)?);
    }
    if exports.len() < texts.0.len() && texts.0.len() > 1 {
        let what = format!("`{key}` names `{NONE}` beside a format");
        return Err(Problem::at(&texts.0[0].place, what).hint("write one of both"));
    }
    exports.sort();
    exports.dedup();
    Ok(exports)
}
