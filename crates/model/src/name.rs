//! Names of tables and columns: how users write them, how SQL resolves them, how we show them.
//!
//! A name is either *exact*, as the catalog holds it ([`TableName`]), or *asked for*, as a user
//! wrote it ([`TableReference`], [`Identifier`]). An asked name resolves as in SQL: a part without
//! quotes first folds to lower case and then counts exactly, a quoted part counts exactly only.

mod folder;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The schema of a table that is written without one.
pub const PUBLIC: &str = "public";

/// The schema of the journals that Inlet's triggers write.
pub const JOURNALS: &str = "inlet";

/// The Jaro-Winkler similarity from which a name is worth suggesting.
const SIMILARITY_MIN: f64 = 0.75;

/// How many similar names a message lists.
const SIMILAR_MAX: usize = 5;

/// A schema-qualified table name, exactly as in the catalog (case kept, never folded).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The schema, `public` for most tables.
    pub schema: String,
    /// The table's own name.
    pub name: String,
}

impl TableName {
    /// Joins a schema and a table's own name.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
        }
    }

    /// Returns the name for SQL, with both parts quoted.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }

    /// Returns the table's journal: `inlet.orders_changes` for `public.orders`,
    /// `inlet.shop__orders_changes` for `shop.orders`.
    pub fn journal(&self) -> Self {
        let schema = (self.schema != PUBLIC).then_some(self.schema.as_str());
        Self::new(JOURNALS, journal(schema, &self.name))
    }

    /// Returns the name for people and file names: `orders` for `public.orders`, else
    /// `schema.table`.
    pub fn short(&self) -> String {
        short(Some(&self.schema), &self.name)
    }

    /// Returns the shortest text that [`TableReference::parse`] resolves to this table: quotes only
    /// where folding would change a part, the schema only where it is not `public`.
    pub fn written(&self) -> String {
        let name = written_part(&self.name);
        if self.schema == PUBLIC {
            name
        } else {
            format!("{}.{name}", written_part(&self.schema))
        }
    }
}

/// The name of a journal, from its table's schema, which is `None` for `public`, and name.
fn journal(schema: Option<&str>, name: &str) -> String {
    match schema {
        Some(schema) => format!("{schema}__{name}_changes"),
        None => format!("{name}_changes"),
    }
}

/// Shows the name for people, in one line: see [`printable`].
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", printable(&self.schema), printable(&self.name))
    }
}

/// Escapes control characters, so that a name or value can neither break a line of a message nor
/// move a terminal's cursor: a line feed becomes `\n`.
pub fn printable(text: &str) -> Cow<'_, str> {
    // Two separators of Unicode end a line in some viewers.
    let is_control = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_control(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// A part of a name as a user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier {
    text: String,
    is_quoted: bool,
}

/// Explains why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A part begins with a double quote and has no second one.
    #[error("a quote is not closed")]
    OpenQuote,
    /// A double quote is in the middle of a part.
    #[error("a quote must enclose a whole part")]
    StrayQuote,
    /// There are no characters between two dots, at an end, or between two quotes.
    #[error("a part of it is empty")]
    EmptyPart,
    /// There are more parts than a name of this kind has.
    #[error("it has more than {0} parts")]
    TooManyParts(usize),
}

impl Identifier {
    /// Parses one part: `orders`, `Orders`, `"Orders"`, `"a.""b"`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let mut parts = parse_parts(text)?;
        match (parts.pop(), parts.pop()) {
            (Some(part), None) => Ok(part),
            _ => Err(NameError::TooManyParts(1)),
        }
    }

    /// Makes the identifier that means exactly this name.
    pub fn exact(name: impl Into<String>) -> Self {
        Self {
            text: name.into(),
            is_quoted: true,
        }
    }

    /// Returns what the user wrote, without quotes.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether the user wrote it in double quotes.
    pub fn is_quoted(&self) -> bool {
        self.is_quoted
    }

    /// Returns the name that SQL would look for: lower case, unless it is quoted.
    pub fn folded(&self) -> String {
        if self.is_quoted {
            self.text.clone()
        } else {
            self.text.to_lowercase()
        }
    }

    /// Returns the position of the meant name: the folded one, else the exact one.
    pub fn resolve<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
        let folded = self.folded();
        let position = |wanted: &str| names.clone().position(|name| name == wanted);
        position(&folded).or_else(|| position(&self.text))
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_quoted {
            f.write_str(&quote(&self.text))
        } else {
            f.write_str(&self.text)
        }
    }
}

/// Returns the position of the column that a user means. A text that is not an identifier (it holds
/// a dot, say) still means the column with exactly this name.
pub fn resolve_column<'a>(
    asked: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> Option<usize> {
    let column = Identifier::parse(asked).unwrap_or_else(|_| Identifier::exact(asked));
    column.resolve(names)
}

/// A table as a user writes it; which table it means, the catalog knows.
///
/// Two references are equal when they were written alike, quotes included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableReference {
    schema: Option<Identifier>,
    name: Identifier,
}

impl TableReference {
    /// Parses `orders`, `sales.orders`, `"Sales"."My.Orders"`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let mut parts = parse_parts(text)?;
        match (parts.pop(), parts.pop(), parts.pop()) {
            (Some(name), schema, None) => Ok(Self { schema, name }),
            _ => Err(NameError::TooManyParts(2)),
        }
    }

    /// Makes the reference that means exactly this table.
    pub fn exact(table: &TableName) -> Self {
        Self {
            schema: Some(Identifier::exact(&table.schema)),
            name: Identifier::exact(&table.name),
        }
    }

    /// Returns the table that SQL would look for first: names in lower case unless they are quoted,
    /// in `public` unless a schema was written.
    pub fn folded(&self) -> TableName {
        let schema = self.schema.as_ref().map(Identifier::folded);
        TableName::new(
            schema.unwrap_or_else(|| PUBLIC.to_owned()),
            self.name.folded(),
        )
    }

    /// Returns the schema, where one was written.
    pub fn schema(&self) -> Option<&Identifier> {
        self.schema.as_ref()
    }

    /// Returns the table's own name.
    pub fn name(&self) -> &Identifier {
        &self.name
    }

    /// Returns the reference to the journal of the table that this means: see
    /// [`TableName::journal`].
    pub fn journal(&self) -> Self {
        let is_quoted = |part: &Identifier| part.is_quoted;
        let schema = self.schema.as_ref().filter(|part| part.folded() != PUBLIC);
        // A part in quotes keeps its letters, so the joined name needs quotes: the other part is
        // folded before.
        let name = if self.name.is_quoted || schema.is_some_and(is_quoted) {
            let schema = schema.map(Identifier::folded);
            Identifier::exact(journal(schema.as_deref(), &self.name.folded()))
        } else {
            Identifier {
                text: journal(schema.map(|part| part.text.as_str()), &self.name.text),
                is_quoted: false,
            }
        };
        let schema = Identifier {
            text: JOURNALS.to_owned(),
            is_quoted: false,
        };
        Self {
            schema: Some(schema),
            name,
        }
    }

    /// Returns the name as a user knows it, without quotes: `orders`, or `sales.orders`.
    pub fn written(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", schema.text, self.name.text),
            None => self.name.text.clone(),
        }
    }

    /// Returns [`Self::written`] without the schema `public`.
    pub fn short(&self) -> String {
        let schema = self.schema.as_ref().map(|schema| schema.text.as_str());
        short(schema, &self.name.text)
    }

    /// Returns the name of the table's folder in a lake of several tables: the table's name, where
    /// `%` and two digits stand for each byte that a path or a pattern would read as something
    /// else.
    pub fn folder(&self) -> String {
        let schema = self.schema.as_ref().map(|schema| schema.text.as_str());
        folder::folder(schema.filter(|schema| *schema != PUBLIC), &self.name.text)
    }

    /// Returns the name that 0.1.0 gave to the table's folder; `None` where it is the same.
    pub fn former_folder(&self) -> Option<String> {
        let name = self.short().replace('/', "_");
        // The file system has other folders of these names.
        let name = match name.as_str() {
            "." | ".." => name.replace('.', "_"),
            _ => name,
        };
        (name != self.folder()).then_some(name)
    }

    /// Returns the name of the topic that a pipeline gives to this table.
    pub fn topic(&self, pipeline: &str) -> String {
        topic_safe(&format!("{pipeline}.{}", self.short()))
    }

    /// Returns the schema and the table in the forms that are looked for, the preferred one first.
    /// Where no schema was written, the search path decides.
    pub fn candidates(&self) -> Vec<(Option<String>, String)> {
        let folded = (
            self.schema.as_ref().map(Identifier::folded),
            self.name.folded(),
        );
        let exact = (
            self.schema.as_ref().map(|schema| schema.text.clone()),
            self.name.text.clone(),
        );
        if folded == exact {
            vec![exact]
        } else {
            vec![folded, exact]
        }
    }

    /// Returns the meant table out of these; a reference without a schema means `public`.
    pub fn resolve<'a>(
        &self,
        tables: impl Iterator<Item = &'a TableName> + Clone,
    ) -> Option<&'a TableName> {
        self.candidates().into_iter().find_map(|(schema, name)| {
            // There is no search path here: the lake and the topic know full names only.
            let schema = schema.unwrap_or_else(|| PUBLIC.to_owned());
            let mut tables = tables.clone();
            tables.find(|table| table.schema == schema && table.name == name)
        })
    }

    /// Returns whether this can mean the table, whatever other tables there are; a reference
    /// without a schema means `public`.
    pub fn may_mean(&self, table: &TableName) -> bool {
        self.resolve(std::iter::once(table)).is_some()
    }

    /// Returns whether both can mean one table: they are the same in lower case, and `public` where
    /// no schema is written.
    pub fn may_be(&self, other: &Self) -> bool {
        let lower = |table: &Self| {
            let schema = table.schema.as_ref();
            (
                schema.map_or(PUBLIC, |schema| &schema.text).to_lowercase(),
                table.name.text.to_lowercase(),
            )
        };
        lower(self) == lower(other)
    }
}

impl FromStr for TableReference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// Writes what [`TableReference::parse`] reads back to the same reference.
impl fmt::Display for TableReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        self.name.fmt(f)
    }
}

/// Quotes an identifier for SQL. All statements use this function.
pub fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// Replaces by `_` every character that Kafka does not allow in the name of a topic.
pub fn topic_safe(name: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    name.chars().map(safe).collect()
}

/// Returns the name that a misspelt one most likely means.
pub fn nearest<T: AsRef<str>>(asked: &str, names: impl IntoIterator<Item = T>) -> Option<T> {
    similar(asked, names).into_iter().next()
}

/// Returns up to five names that are similar to a misspelt one, the most similar first.
/// Compares without case and quotes; of a dotted name only the last part counts.
pub fn similar<T: AsRef<str>>(asked: &str, names: impl IntoIterator<Item = T>) -> Vec<T> {
    // The schema is left out of the comparison: people misspell the table far more often.
    let wanted = last_part(asked);
    let mut scored = Vec::new();
    for name in names {
        let score = strsim::jaro_winkler(&wanted, &last_part(name.as_ref()));
        if score >= SIMILARITY_MIN {
            scored.push((score, name));
        }
    }
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    scored.truncate(SIMILAR_MAX);
    scored.into_iter().map(|(_, name)| name).collect()
}

fn last_part(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.trim_matches('"').to_lowercase()
}

fn short(schema: Option<&str>, name: &str) -> String {
    match schema {
        None | Some(PUBLIC) => name.to_owned(),
        Some(schema) => format!("{schema}.{name}"),
    }
}

/// Quotes a part of a name unless SQL reads it back to the same name without quotes.
pub fn written_part(name: &str) -> String {
    // PostgreSQL leaves such a name as it is. Keywords are no problem, because only Inlet reads
    // what is written here.
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain {
        name.to_owned()
    } else {
        quote(name)
    }
}

/// Splits a dotted name into its parts, of which there is at least one.
fn parse_parts(text: &str) -> Result<Vec<Identifier>, NameError> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(inside) => parse_quoted(inside)?,
            None => {
                let (text, after) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
                if text.contains('"') {
                    return Err(NameError::StrayQuote);
                }
                let part = Identifier {
                    text: text.to_owned(),
                    is_quoted: false,
                };
                (part, after)
            }
        };
        // PostgreSQL has no empty identifiers, not even in quotes.
        if part.text.is_empty() {
            return Err(NameError::EmptyPart);
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(parts),
            None => return Err(NameError::StrayQuote),
        }
    }
}

/// Returns the part up to its closing quote, and the text after it; two quotes inside are one.
fn parse_quoted(inside: &str) -> Result<(Identifier, &str), NameError> {
    let mut text = String::new();
    let mut rest = inside;
    loop {
        let (before, after) = rest.split_once('"').ok_or(NameError::OpenQuote)?;
        text.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                text.push('"');
                rest = next;
            }
            None => return Ok((Identifier::exact(text), after)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
