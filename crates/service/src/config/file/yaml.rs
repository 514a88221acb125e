//! One YAML text to a section.
//!
//! Reads the text in two passes. The first one, [`shape`], sees keys and places; the second one
//! fills the section and replaces the variables. A message never holds a value: it may be a secret,
//! also under a misspelt key.

use std::collections::HashMap;

use serde_yaml::{Error, MessageFormatter, Options, UserMessageFormatter};

use super::problem::{Place, Problem, Problems, Source};
use super::section::Section;
use super::shape::{self, Lines, Node, Shape};

/// The text's layer, and whether it holds all of the text; nothing when it cannot be parsed.
/// Problems say why, and which keys are unknown.
pub(crate) fn read<S: Section>(
    source: &Source,
    text: &str,
    environment: &HashMap<String, String>,
    problems: &mut Problems,
) -> Option<(S, bool)> {
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Some((S::default(), true));
    }
    let shape = match serde_yaml::from_str_with_options::<Node>(text, options(None)) {
        Ok(node) => shape::check(S::KEYS, &node, source, text, problems),
        Err(error) => {
            problems.add(explain(&error, source, text));
            return None;
        }
    };
    let (section, is_whole): (S, bool) = fill(text, &shape, environment, source, problems)?;
    Some((section.settle(source, "", problems)?, is_whole))
}

/// Fills the section. What has a wrong form, or a variable that is not set, is noted and left
/// out, so that the rest is looked at as well.
fn fill<S: Section>(
    text: &str,
    shape: &Shape,
    environment: &HashMap<String, String>,
    source: &Source,
    problems: &mut Problems,
) -> Option<(S, bool)> {
    let mut environment = environment.clone();
    let mut left_out = shape.wrong.clone();
    let mut is_readable = true;
    loop {
        // Lines are blanked, not removed, so that the places in later messages stay right.
        let rest = without(text, &left_out);
        let error = match serde_yaml::from_str_with_options::<S>(&rest, options(Some(&environment)))
        {
            Ok(section) => return is_readable.then_some((section, left_out.is_empty())),
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
        // The bounds stop a file that expands aliases without end; a thousand tables stay far below
        // them.
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

/// Explains the library's error in plain words, without any value.
fn explain(error: &Error, source: &Source, text: &str) -> Problem {
    let error = error.without_snippet();
    let at = |what: String| match error.location() {
        Some(location) => Problem::at(&place(&location, source), what),
        None => Problem::new(format!("{}: {what}", source.name)),
    };
    match error {
        Error::UnresolvedProperty { name, .. } => {
            at(format!("the environment variable `{name}` is not set"))
                .hint(format!("set it, or give a default: `${{{name}:-default}}`"))
        }
        Error::PropertyRequiredButUnset { name, message, .. } => {
            at(format!("the environment variable `{name}` is not set")).hint(message)
        }
        Error::PropertyRequiredButEmpty { name, message, .. } => {
            at(format!("the environment variable `{name}` is empty")).hint(message)
        }
        Error::InvalidPropertyName { .. } => {
            at("this `${..}` does not name an environment variable".to_owned()).hint(
                "write `${NAME}`, `${NAME:-default}` or `${NAME:?hint}`; a literal `${` is \
                written `$${`",
            )
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            at(format!("the key `{key}` is repeated")).hint("keep one of them")
        }
        // What was found is not shown: it may be a secret.
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            at(format!("expected {}", plainly(expected)))
        }
        Error::NullIntoString { .. } => {
            at("a value is missing here".to_owned()).hint("give one, or leave the key out")
        }
        Error::Unexpected { expected, .. } => at(format!("expected {}", plainly(expected))),
        Error::Budget { .. } => {
            at("this is larger or deeper than a configuration may be".to_owned())
        }
        _ => {
            let line = error.location().and_then(|location| {
                text.lines()
                    .nth(usize::try_from(location.line()).ok()?.checked_sub(1)?)
            });
            let braces = line
                .is_some_and(|line| line.contains("${") && line.replace("${", "").contains('{'));
            if line.is_some_and(|line| line.trim_start_matches(' ').starts_with('\t')) {
                return at("the line starts with a tab".to_owned()).hint("indent with spaces");
            }
            at(UserMessageFormatter.format_message(error).into_owned()).hint(match braces {
                true => {
                    "a variable cannot stand inside `{ .. }`: write the keys on lines of their own"
                }
                false => "check the indentation and the quotes of this line and the one above",
            })
        }
    }
}

/// Translates what the library and serde call an expected value into plain words.
fn plainly(expected: &str) -> &str {
    match expected {
        "mapping start" | "a map" => "lines of `key: value`",
        "string scalar" | "scalar" | "a string" => "one value",
        structure if structure.starts_with("struct ") => "lines of `key: value`",
        other => other,
    }
}
