//! The shape of a file: where each key is, and whether its value has the right form. The values
//! themselves are read later.

use inlet_model::nearest;
use std::fmt;
use std::ops::Range;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_yaml::{Location, Spanned};

use super::key::{Form, Key};
use super::problem::{Place, Problem, Problems, Source};

/// Lines from 1, without the end.
pub(super) type Lines = Range<u64>;

/// The result of the first pass.
#[derive(Default)]
pub(super) struct Shape {
    /// Where each value begins, and the lines of its key and value.
    values: Vec<(u64, u64, Lines)>,
    /// The lines of keys whose values have a wrong form.
    pub wrong: Vec<Lines>,
}

impl Shape {
    /// The lines of the key whose value begins here.
    pub fn lines_at(&self, location: Option<Location>) -> Option<Lines> {
        let at = location.map(|location| (location.line(), location.column()))?;
        let found = self
            .values
            .iter()
            .find(|(line, column, lines)| (*line, *column) == at && !lines.is_empty());
        found.map(|(_, _, lines)| lines.clone())
    }
}

/// Reports every unknown key, every value of a wrong form and every variable in quotes.
pub(super) fn check(
    valid: &'static [Key],
    root: &Node,
    source: &Source,
    text: &str,
    problems: &mut Problems,
) -> Shape {
    let mut keys = Keys {
        root: valid,
        source,
        text,
        problems,
        shape: Shape::default(),
    };
    keys.section("", root, valid, text.lines().count() as u64 + 1);
    keys.shape
}

/// A YAML value reduced to what the check of keys needs.
pub(super) enum Node {
    Map(Vec<Entry>),
    List(Vec<Spanned<Node>>),
    Text { has_variable: bool },
    Nothing,
}

type Entry = (Spanned<String>, Spanned<Node>);

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
                Ok(Node::Text {
                    // The value itself is not kept: it may be a secret, and a message could show
                    // it.
                    has_variable: value.contains("${"),
                })
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
                Ok(Node::Nothing)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

const PLAIN: Node = Node::Text {
    has_variable: false,
};

/// The walk over the keys.
struct Keys<'a> {
    /// The keys of the whole file.
    root: &'static [Key],
    source: &'a Source,
    text: &'a str,
    problems: &'a mut Problems,
    shape: Shape,
}

impl Keys<'_> {
    fn section(&mut self, path: &str, node: &Node, keys: &[Key], end: u64) {
        for (name, value, lines) in entries(node, end) {
            match keys.iter().find(|key| key.name == name.value) {
                Some(key) => self.value(&format!("{path}{}", name.value), key.form, value, &lines),
                None => self.unknown(path, name, keys),
            }
        }
    }

    fn value(&mut self, path: &str, form: Form, node: &Spanned<Node>, lines: &Lines) {
        let below = || entries(&node.value, lines.end);
        let what = match (form, &node.value) {
            (Form::Section(keys), Node::Map(_)) => {
                return self.section(&format!("{path}."), &node.value, keys, lines.end);
            }
            (Form::Tables(keys), Node::Map(_)) => {
                return below().for_each(|(name, value, lines)| {
                    self.value(
                        &format!("{path}.{}", name.value),
                        Form::Section(keys),
                        value,
                        &lines,
                    )
                });
            }
            (Form::Properties(_), Node::Map(_)) => {
                return below().for_each(|(name, value, lines)| {
                    self.value(&format!("{path}.{}", name.value), Form::Text, value, &lines)
                });
            }
            (Form::Section(_) | Form::Tables(_) | Form::Properties(_), Node::Nothing) => return,
            (Form::Section(_) | Form::Tables(_) | Form::Properties(_), _) => {
                "must hold lines of `key: value`"
            }
            (Form::Texts, Node::List(items))
                if items
                    .iter()
                    .all(|item| matches!(item.value, Node::Text { .. })) =>
            {
                return items.iter().for_each(|item| self.text(item, lines));
            }
            (Form::Choice(words), Node::Nothing) if words.contains(&"null") => return,
            (_, Node::Text { .. }) => return self.text(node, lines),
            (_, Node::Nothing) => "has no value",
            (Form::Texts, _) => "must be one value or a list of values",
            _ => "must be one value",
        };
        let problem = Problem::at(&self.place(&node.referenced), format!("`{path}` {what}"));
        self.problems.add(match (&node.value, form) {
            (Node::Nothing, _) => problem.hint("give one, or leave the key out"),
            (_, Form::Section(keys)) => {
                let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
                problem.hint(format!(
                    "its keys go on lines below it, indented: {}",
                    names.join(", ")
                ))
            }
            _ => problem,
        });
        self.shape.wrong.push(lines.clone());
    }

    fn place(&self, location: &Location) -> Place {
        self.source.place(location.line(), location.column())
    }

    fn unknown(&mut self, path: &str, key: &Spanned<String>, keys: &[Key]) {
        let valid: Vec<&str> = keys.iter().map(|key| key.name).collect();
        let problem = Problem::at(
            &self.place(&key.referenced),
            format!("unknown key `{path}{}`", key.value),
        );
        // A key that is valid elsewhere is more likely to be indented wrongly than misspelt.
        let hint = match (
            home(self.root, &key.value),
            nearest(&key.value, valid.iter().copied()),
        ) {
            (Some(section), _) if format!("{section}.") != path => {
                format!(
                    "`{}` belongs under `{section}:`; is it indented too little?",
                    key.value
                )
            }
            (_, Some(near)) => format!("did you mean `{near}`?"),
            (_, None) => format!("the valid keys here are {}", valid.join(", ")),
        };
        self.problems.add(problem.hint(hint));
    }

    /// A text: where it begins, and that no variable in it is hidden by quotes.
    fn text(&mut self, node: &Spanned<Node>, lines: &Lines) {
        // The second pass looks the lines of a failed value up by its place.
        self.shape.values.push((
            node.referenced.line(),
            node.referenced.column(),
            lines.clone(),
        ));
        if matches!(node.value, Node::Text { has_variable: true }) && !self.is_plain(node) {
            let problem = Problem::at(
                &self.place(&node.referenced),
                "`${..}` is not replaced inside quotes or a block",
            );
            self.problems.add(
                problem.hint("remove the quotes; a literal `${` is written `$${`, without quotes"),
            );
            self.shape.wrong.push(lines.clone());
        }
    }

    /// Without quotes and not a block: the library replaces variables there only.
    fn is_plain(&self, node: &Spanned<Node>) -> bool {
        let start = node
            .defined
            .span()
            .byte_offset()
            .and_then(|start| usize::try_from(start).ok());
        let Some((before, rest)) = start.and_then(|start| self.text.split_at_checked(start)) else {
            return false;
        };
        // A block's place is its first line of content; the line before ends with its mark, perhaps
        // with a comment behind.
        let opened_by = before.trim_end().rsplit('\n').next().unwrap_or_default();
        let mark = opened_by
            .split(" #")
            .next()
            .and_then(|line| line.split_whitespace().last())
            .unwrap_or_default();
        !rest.starts_with(['"', '\'']) && !mark.starts_with(['|', '>'])
    }
}

/// Keys and values, each with the lines up to the next key.
fn entries(
    node: &Node,
    end: u64,
) -> impl Iterator<Item = (&Spanned<String>, &Spanned<Node>, Lines)> {
    let entries = match node {
        Node::Map(entries) => entries.as_slice(),
        Node::List(_) | Node::Text { .. } | Node::Nothing => &[],
    };
    let ends = entries
        .iter()
        .skip(1)
        .map(|(next, _)| next.referenced.line())
        .chain([end]);
    entries
        .iter()
        .zip(ends)
        .map(|((name, value), end)| (name, value, name.referenced.line()..end))
}

/// The one section that has this key.
fn home(root: &[Key], key: &str) -> Option<String> {
    let mut homes = root
        .iter()
        .filter(|section| section.below().iter().any(|below| below.name == key));
    match (homes.next(), homes.next()) {
        (
            Some(Key {
                name,
                form: Form::Tables(_),
                ..
            }),
            None,
        ) => Some(format!("{name}.<name>")),
        (Some(section), None) => Some(section.name.to_owned()),
        _ => None,
    }
}
