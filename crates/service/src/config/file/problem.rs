//! What is wrong with a configuration, where, and how to fix it.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::error::{Explain, Hint, Kind};

/// A place in a configuration file; lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: Arc<str>,
    pub line: u64,
    /// The column, in characters.
    pub column: u64,
    /// The file's position among those given: a later one overrides.
    pub(crate) layer: usize,
}

impl Place {
    /// A path that is written here: a relative one begins at the folder of this file.
    pub(crate) fn beside(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        let folder = Path::new(&*self.file).parent();
        match folder.filter(|folder| *folder != Path::new("")) {
            Some(folder) => plain(&folder.join(path)),
            None => path.to_owned(),
        }
    }
}

/// The path as people write it, without `.` and `..` after a name: `configs/../datalake` is
/// `datalake`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        let is_below = matches!(plain.components().next_back(), Some(Component::Normal(_)));
        match part {
            Component::CurDir => {}
            Component::ParentDir if is_below => _ = plain.pop(),
            part => plain.push(part),
        }
    }
    match plain.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => plain,
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One of the files given.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Its name as it was given.
    pub name: Arc<str>,
    /// Its position among those given.
    pub layer: usize,
}

impl Source {
    pub fn place(&self, line: u64, column: u64) -> Place {
        Place {
            file: self.name.clone(),
            line,
            column,
            layer: self.layer,
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    place: Option<Place>,
    what: String,
    hint: Option<String>,
}

impl Problem {
    /// A problem of no single place.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            place: None,
            what: what.into(),
            hint: None,
        }
    }

    /// A problem at a place.
    pub fn at(place: &Place, what: impl Into<String>) -> Self {
        Self {
            place: Some(place.clone()),
            what: what.into(),
            hint: None,
        }
    }

    /// The same, with what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// What to do about it, where that is known.
    pub fn remedy(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// Everything that is wrong with the configuration; never empty.
#[derive(Debug)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// The problems, in the order of files and lines.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [problem] = self.problems.as_slice() {
            return problem.fmt(f);
        }
        write!(f, "the configuration has {} problems", self.problems.len())?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
            if let Some(hint) = &problem.hint {
                write!(f, "\n    hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Explain for ConfigError {
    fn kind(&self) -> Kind {
        Kind::Config
    }

    fn hint(&self) -> Option<Hint> {
        match self.problems.as_slice() {
            [problem] => problem.hint.clone().map(Hint::text),
            _ => None,
        }
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

/// Collects problems and warnings while a configuration is read.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Problems {
    pub fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub fn warn(&mut self, warning: Problem) {
        self.warnings.push(warning);
    }

    /// The value, or nothing and a problem.
    pub fn take<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }

    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// Removes the problems since `found` that have no place: a missing key may be in a file that
    /// could not be read.
    pub fn forget_missing(&mut self, found: usize) {
        let later = self.problems.split_off(found);
        self.problems
            .extend(later.into_iter().filter(|problem| problem.place.is_some()));
    }

    pub fn take_warnings(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.warnings)
    }

    pub fn into_error(mut self) -> ConfigError {
        assert!(
            !self.problems.is_empty(),
            "a configuration without problems is not an error"
        );
        // What stands nowhere comes last: it often follows from a misspelt key above.
        let order = |problem: &Problem| {
            problem.place.as_ref().map_or((usize::MAX, 0, 0), |place| {
                (place.layer, place.line, place.column)
            })
        };
        self.problems.sort_by_key(order);
        ConfigError {
            problems: self.problems,
        }
    }
}
