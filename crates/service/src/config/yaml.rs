//! One YAML text to the raw layer: the only file that knows the YAML library.
//!
//! Two passes over the text. The first, [`shape`], sees keys and places; the second fills the raw
//! layer with the variables put in. Values never appear in a message: they may be secrets, also
//! under a misspelt key.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_yaml::{Error, MessageFormatter, Options, Spanned, UserMessageFormatter};

use super::problem::{Place, Problem, Problems, Source};
use super::raw::{Layer, RawConfig, Texts};
use super::shape::{self, Lines, Node, Shape};

/// A value as it was written, with its place. Compared by value alone. Not `Debug`: it may be a
/// secret.
#[derive(Clone)]
pub(super) struct Text {
    pub value: String,
    pub place: Place,
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
pub(super) struct Word(pub Option<Text>);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Option<String>>::deserialize(deserializer)?;
        let place = unsettled(&spanned.referenced);
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
                    serde_yaml::Location::UNKNOWN,
                    serde_yaml::Location::UNKNOWN,
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

/// The text's layer, and whether it holds all of the text; nothing when it cannot be parsed.
/// Problems say why, and which keys are unknown.
pub(super) fn read(
    source: &Source,
    text: &str,
    environment: &HashMap<String, String>,
    problems: &mut Problems,
) -> Option<(RawConfig, bool)> {
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Some((RawConfig::default(), true));
    }
    let shape = match serde_yaml::from_str_with_options::<Node>(text, options(None)) {
        Ok(node) => shape::check(&node, source, text, problems),
        Err(error) => {
            problems.add(explain(&error, source, text));
            return None;
        }
    };
    let (raw, is_whole) = fill(text, &shape, environment, source, problems)?;
    Some((raw.settle(source, "", problems)?, is_whole))
}

/// Fills the raw layer. What has a wrong form, or a variable that is not set, is noted and left
/// out, so that the rest is looked at as well.
fn fill(
    text: &str,
    shape: &Shape,
    environment: &HashMap<String, String>,
    source: &Source,
    problems: &mut Problems,
) -> Option<(RawConfig, bool)> {
    let mut environment = environment.clone();
    let mut left_out = shape.wrong.clone();
    let mut is_readable = true;
    loop {
        let rest = without(text, &left_out);
        let error = match serde_yaml::from_str_with_options::<RawConfig>(
            &rest,
            options(Some(&environment)),
        ) {
            Ok(raw) => return is_readable.then_some((raw, left_out.is_empty())),
            Err(error) => error,
        };
        let (Error::UnresolvedProperty { name, .. }
        | Error::PropertyRequiredButUnset { name, .. }
        | Error::PropertyRequiredButEmpty { name, .. }) = error.without_snippet()
        else {
            // A wrong form that could not be left out was named before.
            if left_out.is_empty() {
                problems.add(explain(&error, source, text));
            }
            return None;
        };
        problems.add(explain(&error, source, text));
        // Each turn leaves more lines out or defines one variable more than the last, so the loop
        // ends.
        if let Some(lines) = shape
            .lines_at(error.location())
            .filter(|lines| !left_out.contains(lines))
        {
            left_out.push(lines);
        } else if environment
            .insert(name.clone(), "0".to_owned())
            .is_none_or(|value| value.is_empty())
        {
            is_readable = false;
        } else {
            return None;
        }
    }
}

/// The text with these lines empty: the others keep their places.
fn without(text: &str, left_out: &[Lines]) -> String {
    let numbered = (1_u64..).zip(text.split('\n'));
    let kept = numbered.map(|(number, line)| {
        if left_out.iter().any(|lines| lines.contains(&number)) {
            ""
        } else {
            line
        }
    });
    kept.collect::<Vec<_>>().join("\n")
}

fn options(environment: Option<&HashMap<String, String>>) -> Options {
    let budget = serde_yaml::budget! {
        max_nodes: 20_000,
        max_events: 100_000,
        max_depth: 16,
        max_aliases: 100,
        max_total_scalar_bytes: 1 << 20,
    };
    let options = serde_yaml::options! { budget: budget, with_snippet: false };
    match environment {
        Some(environment) => options.with_properties(environment.clone()),
        None => options,
    }
}

fn place(location: &serde_yaml::Location, source: &Source) -> Place {
    source.place(location.line(), location.column())
}

/// A place whose file [`Layer::settle`] will know.
fn unsettled(location: &serde_yaml::Location) -> Place {
    place(
        location,
        &Source {
            name: Arc::from(""),
            layer: 0,
        },
    )
}

/// The library's error in the user's words, without any value.
fn explain(error: &Error, source: &Source, text: &str) -> Problem {
    let error = error.without_snippet();
    let at = |what: String| match error.location() {
        Some(location) => Problem::at(&place(&location, source), what),
        None => Problem::new(format!("{}: {what}", source.name)),
    };
    match error {
        Error::UnresolvedProperty { name, .. } => {
            at(format!("the environment variable `{name}` is not set")).hint(format!("set it, or give a default: `${{{name}:-default}}`"))
        }
        Error::PropertyRequiredButUnset { name, message, .. } => at(format!("the environment variable `{name}` is not set")).hint(message),
        Error::PropertyRequiredButEmpty { name, message, .. } => at(format!("the environment variable `{name}` is empty")).hint(message),
        Error::InvalidPropertyName { .. } => at("this `${..}` does not name an environment variable".to_owned())
            .hint("write `${NAME}`, `${NAME:-default}` or `${NAME:?hint}`; a literal `${` is written `$${`"),
        Error::DuplicateMappingKey { key: Some(key), .. } => at(format!("the key `{key}` stands here twice")).hint("keep one of them"),
        // What was found is not shown: it may be a secret.
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            at(format!("expected {}", plainly(expected)))
        }
        Error::NullIntoString { .. } => at("a value is missing here".to_owned()).hint("give one, or leave the key out"),
        Error::Unexpected { expected, .. } => at(format!("expected {}", plainly(expected))),
        Error::Budget { .. } => at("this is larger or deeper than a configuration may be".to_owned()),
        _ => {
            let line = error.location().and_then(|location| text.lines().nth(usize::try_from(location.line()).ok()?.checked_sub(1)?));
            let braces = line.is_some_and(|line| line.contains("${") && line.replace("${", "").contains('{'));
            if line.is_some_and(|line| line.trim_start_matches(' ').starts_with('\t')) {
                return at("a tab stands in front of a line".to_owned()).hint("indent with blanks");
            }
            at(UserMessageFormatter.format_message(error).into_owned()).hint(match braces {
                true => "a variable cannot stand inside `{ .. }`: write the keys on lines of their own",
                false => "check the indentation and the quotes of this line and the one above",
            })
        }
    }
}

/// The library's and serde's words for what should stand somewhere, in a user's words.
fn plainly(expected: &str) -> &str {
    match expected {
        "mapping start" | "a map" => "lines of `key: value`",
        "string scalar" | "scalar" | "a string" => "one value",
        structure if structure.starts_with("struct ") => "lines of `key: value`",
        other => other,
    }
}
