//! One YAML text to the raw layer: the only file that knows the YAML library.
//!
//! Two passes over the text. The first, [`Node`], sees keys and places and finds every unknown key and every quoted `${`; the second fills the
//! raw layer with the variables put in. Values never appear in a message: they may be secrets, also under a misspelt key.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_yaml::{Error, MessageFormatter, Options, Spanned, UserMessageFormatter};

use super::key::{Form, Key};
use super::problem::{Place, Problem, Problems, Source, nearest};
use super::raw::{Layer, RawConfig, Texts};

/// A value as it was written, with its place. Compared by value alone. Not `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) struct Text {
    pub value: String,
    pub place: Place,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, place: unsettled(&spanned.referenced) })
    }
}

/// A value that may be the word `null`, which YAML keeps for itself; nothing where nothing is written.
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
                Ok(vec![Spanned::new(value.to_owned(), serde_yaml::Location::UNKNOWN, serde_yaml::Location::UNKNOWN)])
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
            let at = if text.referenced.line() == 0 { &here } else { &text.referenced };
            Text { value: text.value, place: unsettled(at) }
        });
        Ok(Self(texts.collect()))
    }
}

/// The text's layer, or nothing when it cannot be parsed; problems say why, and which keys are unknown.
pub(super) fn read(source: &Source, text: &str, environment: &HashMap<String, String>, problems: &mut Problems) -> Option<RawConfig> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Some(RawConfig::default());
    }
    match serde_yaml::from_str_with_options::<Node>(text, options(None)) {
        Ok(node) => Keys { source, text, problems }.check(&node),
        Err(error) => {
            problems.add(explain(&error, source, text));
            return None;
        }
    }
    fill(text, environment, source, problems)?.settle(source, "", problems)
}

/// Fills the raw layer; a variable that is not set is noted and passed over, so that all of them are reported.
fn fill(text: &str, environment: &HashMap<String, String>, source: &Source, problems: &mut Problems) -> Option<RawConfig> {
    let mut environment = environment.clone();
    let mut complete = true;
    loop {
        let error = match serde_yaml::from_str_with_options::<RawConfig>(text, options(Some(&environment))) {
            Ok(raw) => return complete.then_some(raw),
            Err(error) => error,
        };
        problems.add(explain(&error, source, text));
        complete = false;
        let (Error::UnresolvedProperty { name, .. }
        | Error::PropertyRequiredButUnset { name, .. }
        | Error::PropertyRequiredButEmpty { name, .. }) = error.without_snippet()
        else {
            return None;
        };
        // Each turn defines one variable more than the last, so the loop ends.
        if environment.insert(name.clone(), "0".to_owned()).is_some_and(|value| !value.is_empty()) {
            return None;
        }
    }
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
    place(location, &Source { name: Arc::from(""), layer: 0 })
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

/// A YAML value reduced to what the check of keys needs.
enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Text { has_variable: bool },
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = list.next_element()? {
                    nodes.push(node);
                }
                Ok(Node::List(nodes))
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Text { has_variable: value.contains("${") })
            }

            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(PLAIN)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(PLAIN)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(PLAIN)
            }

            fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
                Ok(PLAIN)
            }

            fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
                Ok(PLAIN)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(PLAIN)
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(PLAIN)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

const PLAIN: Node = Node::Text { has_variable: false };

/// The walk that finds unknown keys and variables in quotes.
struct Keys<'a> {
    source: &'a Source,
    text: &'a str,
    problems: &'a mut Problems,
}

impl Keys<'_> {
    fn check(&mut self, root: &Node) {
        self.variables(root);
        self.section("", root, RawConfig::KEYS);
        for (name, node) in entries(root) {
            match RawConfig::KEYS.iter().find(|key| key.name == name.value).map(|key| key.form) {
                Some(Form::Section(keys)) => self.section(&format!("{}.", name.value), node, keys),
                Some(Form::Tables(keys)) => {
                    for (table, node) in entries(node) {
                        self.section(&format!("{}.{}.", name.value, table.value), node, keys);
                    }
                }
                _ => {}
            }
        }
    }

    fn section(&mut self, path: &str, node: &Node, keys: &[Key]) {
        let valid: Vec<&str> = keys.iter().map(|key| key.name).collect();
        for (key, _) in entries(node).filter(|(key, _)| !valid.contains(&key.value.as_str())) {
            let problem = Problem::at(&place(&key.referenced, self.source), format!("unknown key `{path}{}`", key.value));
            let hint = match (home(&key.value), nearest(&key.value, valid.iter().copied())) {
                (Some(section), _) if format!("{section}.") != path => {
                    format!("`{}` belongs under `{section}:`; is it indented too little?", key.value)
                }
                (_, Some(near)) => format!("did you mean `{near}`?"),
                (_, None) => format!("the valid keys here are {}", valid.join(", ")),
            };
            self.problems.add(problem.hint(hint));
        }
    }

    fn variables(&mut self, node: &Node) {
        let children: Vec<&Spanned<Node>> = match node {
            Node::Map(entries) => entries.iter().map(|(_, node)| node).collect(),
            Node::List(nodes) => nodes.iter().collect(),
            Node::Text { .. } => return,
        };
        for child in children {
            if matches!(child.value, Node::Text { has_variable: true }) && !self.is_plain(child) {
                let problem = Problem::at(&place(&child.referenced, self.source), "`${..}` is not replaced inside quotes or a block");
                self.problems.add(problem.hint("remove the quotes; a literal `${` is written `$${`, without quotes"));
            }
            self.variables(&child.value);
        }
    }

    /// Without quotes and not a block: the library replaces variables there only.
    fn is_plain(&self, node: &Spanned<Node>) -> bool {
        let start = node.defined.span().byte_offset().and_then(|start| usize::try_from(start).ok());
        let Some((before, rest)) = start.and_then(|start| self.text.split_at_checked(start)) else {
            return false;
        };
        // A block's place is its first line of content; the line before ends with its mark, perhaps with a comment behind.
        let opened_by = before.trim_end().rsplit('\n').next().unwrap_or_default();
        let mark = opened_by.split(" #").next().and_then(|line| line.split_whitespace().last()).unwrap_or_default();
        !rest.starts_with(['"', '\'']) && !mark.starts_with(['|', '>'])
    }
}

fn entries(node: &Node) -> impl Iterator<Item = (&Spanned<String>, &Node)> {
    let entries = match node {
        Node::Map(entries) => entries.as_slice(),
        Node::List(_) | Node::Text { .. } => &[],
    };
    entries.iter().map(|(key, node)| (key, &node.value))
}

/// The one section that has this key.
fn home(key: &str) -> Option<String> {
    let mut homes = RawConfig::KEYS.iter().filter(|section| section.below().iter().any(|below| below.name == key));
    match (homes.next(), homes.next()) {
        (Some(Key { name, form: Form::Tables(_), .. }), None) => Some(format!("{name}.<name>")),
        (Some(section), None) => Some(section.name.to_owned()),
        _ => None,
    }
}
