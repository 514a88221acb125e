//! Values as they were written, each with its place: one text, one word that may be `null`, one
//! text or a list of them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_yaml::{Location, Spanned};

use super::problem::{Place, Problem, Problems, Source};
use super::section::Layer;

/// A value as it was written, with its place. Compared by value alone. Not `Debug`: it may be a
/// secret.
#[derive(Clone)]
pub(crate) struct Text {
    pub value: String,
    pub place: Place,
}

impl Text {
    /// The text as a path: `~/` at its beginning is the user's home, as in a shell, and a relative
    /// one begins at the folder of the file that it is written in.
    pub fn path(&self, key: &str) -> Result<PathBuf, Problem> {
        let Some(rest) = self.value.strip_prefix('~') else {
            return Ok(self.place.beside(&self.value));
        };
        let problem =
            |what: &str| Problem::at(&self.place, format!("`{key}` {what}: `{}`", self.value));
        // A shell is not between the file and us: without this, a folder named `~` would be
        // created here, and DuckDB, which knows the sign, would look in the real home.
        match (rest.strip_prefix('/'), std::env::home_dir()) {
            (None, _) if !rest.is_empty() => Err(problem("names another user's home")
                .hint("write the whole path, or `./~name` for a folder of this name")),
            (_, None) => Err(problem("begins with the home, which is not known")
                .hint("write the whole path, or set HOME")),
            (below, Some(home)) => Ok(home.join(below.unwrap_or_default())),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self {
            value: spanned.value,
            place: unsettled(&spanned.referenced),
        })
    }
}

/// A value that may be the word `null`, which YAML keeps for itself; nothing where nothing is
/// written.
#[derive(Clone)]
pub(crate) struct Word(pub Option<Text>);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Option<String>>::deserialize(deserializer)?;
        let place = unsettled(&spanned.referenced);
        // A key without a value has an empty span; a written `null` has not, and is a word here.
        let written = !spanned.referenced.span().is_empty();
        let value = spanned.value.or_else(|| written.then(|| "null".to_owned()));
        Ok(Self(value.map(|value| Text { value, place })))
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Text {}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.cmp(&other.value)
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Vec<Spanned<String>>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value or a list of values")
            }

            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(vec![Spanned::new(
                    value.to_owned(),
                    Location::UNKNOWN,
                    Location::UNKNOWN,
                )])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(texts)
            }
        }
        struct Inner(Vec<Spanned<String>>);
        impl<'de> Deserialize<'de> for Inner {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(OneOrMore).map(Self)
            }
        }
        // A single value has no place of its own inside; it stands where the whole stands.
        let spanned = Spanned::<Inner>::deserialize(deserializer)?;
        let here = spanned.referenced;
        let texts = spanned.value.0.into_iter().map(|text| {
            let at = if text.referenced.line() == 0 {
                &here
            } else {
                &text.referenced
            };
            Text {
                value: text.value,
                place: unsettled(at),
            }
        });
        Ok(Self(texts.collect()))
    }
}

/// A place whose file [`Layer::settle`] fills in.
fn unsettled(location: &Location) -> Place {
    let unknown = Source {
        name: Arc::from(""),
        layer: 0,
    };
    unknown.place(location.line(), location.column())
}

impl Layer for Text {
    // Not through `Option`: a password that is `~` or `null`, put in for a variable, is a text like
    // any other.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Self::deserialize(deserializer).map(Some)
    }

    fn over(self, _base: Self) -> Self {
        self
    }

    fn settle(mut self, source: &Source, path: &str, problems: &mut Problems) -> Option<Self> {
        self.place = source.place(self.place.line, self.place.column);
        let trimmed = self.value.trim();
        if trimmed.len() < self.value.len() && !trimmed.is_empty() {
            // A blank may belong to a password, and to nothing else.
            if path.ends_with("password") {
                problems.warn(Problem::at(
                    &self.place,
                    format!("`{path}` starts or ends with a blank, which is taken as a part of it"),
                ));
            } else {
                problems.warn(Problem::at(
                    &self.place,
                    format!("blanks around `{path}` are ignored"),
                ));
                self.value = trimmed.to_owned();
            }
        }
        (!self.value.is_empty()).then_some(self)
    }
}

impl<L: Layer> Layer for BTreeMap<Text, L> {
    fn over(self, mut base: Self) -> Self {
        for (key, layer) in self {
            let layer = match base.remove(&key) {
                Some(below) => layer.over(below),
                None => layer,
            };
            base.insert(key, layer);
        }
        base
    }

    fn settle(self, source: &Source, path: &str, problems: &mut Problems) -> Option<Self> {
        let settled = self.into_iter().filter_map(|(key, layer)| {
            let key = key.settle(source, path, problems)?;
            let layer = layer.settle(source, &format!("{path}.{}", key.value), problems)?;
            Some((key, layer))
        });
        Some(settled.collect())
    }
}

impl Layer for Word {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        Self::deserialize(deserializer).map(|word| Some(word).filter(|word| word.0.is_some()))
    }

    fn over(self, base: Self) -> Self {
        Self(self.0.or(base.0))
    }

    fn settle(self, source: &Source, path: &str, problems: &mut Problems) -> Option<Self> {
        Some(Self(self.0?.settle(source, path, problems)))
    }
}

/// One text or a list of them.
#[derive(Clone, Default)]
pub(crate) struct Texts(pub Vec<Text>);

impl Texts {
    pub fn values(&self) -> Vec<String> {
        self.0.iter().map(|text| text.value.clone()).collect()
    }
}

impl Layer for Texts {
    fn over(self, _base: Self) -> Self {
        self
    }

    fn settle(self, source: &Source, path: &str, problems: &mut Problems) -> Option<Self> {
        let texts: Vec<Text> = self
            .0
            .into_iter()
            .filter_map(|text| text.settle(source, path, problems))
            .collect();
        (!texts.is_empty()).then_some(Self(texts))
    }
}
