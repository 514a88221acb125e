//! Columns that a user declares, as `CREATE TABLE` has them: `amount numeric(10,2) not null`.

use crate::column::Column;
use crate::name::Identifier;
use crate::types::{CatalogType, ColumnType, Scalar};

/// Explains why a text declares no column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclaredError {
    /// There is no type after the name.
    #[error("`{0}` has no type")]
    NoType(String),
    /// The name is not one of SQL.
    #[error("`{0}` does not name a column")]
    Name(String),
    /// Neither PostgreSQL nor Inlet has such a type, or not with these digits.
    #[error("`{0}` is not a type that a column can be declared with")]
    Type(String),
}

/// The words of PostgreSQL's types, each with the name that its catalog has for it.
const TYPES: [(&str, &str); 32] = [
    ("boolean", "bool"),
    ("bool", "bool"),
    ("smallint", "int2"),
    ("int2", "int2"),
    ("integer", "int4"),
    ("int", "int4"),
    ("int4", "int4"),
    ("bigint", "int8"),
    ("int8", "int8"),
    ("oid", "oid"),
    ("real", "float4"),
    ("float4", "float4"),
    ("double precision", "float8"),
    ("float8", "float8"),
    ("numeric", "numeric"),
    ("decimal", "numeric"),
    ("text", "text"),
    ("varchar", "varchar"),
    ("character varying", "varchar"),
    ("char", "bpchar"),
    ("character", "bpchar"),
    ("json", "json"),
    ("jsonb", "jsonb"),
    ("uuid", "uuid"),
    ("bytea", "bytea"),
    ("date", "date"),
    ("time", "time"),
    ("time without time zone", "time"),
    ("timestamp", "timestamp"),
    ("timestamp without time zone", "timestamp"),
    ("timestamptz", "timestamptz"),
    ("timestamp with time zone", "timestamptz"),
];

impl Column {
    /// Reads a declared column: name, type, and `not null` where it is.
    pub fn declared(text: &str) -> Result<Self, DeclaredError> {
        let text = text.trim();
        let (name, rest) = split_name(text).ok_or_else(|| DeclaredError::Name(text.to_owned()))?;
        let words = rest.to_lowercase();
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let (words, not_null) = match words.strip_suffix(" not null") {
            Some(words) => (words, true),
            None => (words.as_str(), false),
        };
        if words.is_empty() {
            return Err(DeclaredError::NoType(text.to_owned()));
        }
        let (column_type, postgres_type) =
            declared_type(words).ok_or_else(|| DeclaredError::Type(words.to_owned()))?;
        Ok(Self {
            name,
            column_type,
            postgres_type,
            as_text: false,
            not_null,
            generated: false,
            number: None,
        })
    }
}

/// The name as SQL reads it, and what follows.
fn split_name(text: &str) -> Option<(String, &str)> {
    let end = if text.starts_with('"') {
        // Two quotes inside a quoted name are one.
        let mut quotes = text.char_indices().filter(|(_, c)| *c == '"').skip(1);
        loop {
            let (at, _) = quotes.next()?;
            if !text[at + 1..].starts_with('"') {
                break at + 1;
            }
            quotes.next();
        }
    } else {
        text.find(char::is_whitespace).unwrap_or(text.len())
    };
    let (name, rest) = text.split_at(end);
    let name = Identifier::parse(name).ok()?.folded();
    (!name.is_empty()).then_some((name, rest))
}

fn declared_type(words: &str) -> Option<(ColumnType, String)> {
    let (words, array) = match words.strip_suffix("[]") {
        Some(element) => (element.trim_end(), true),
        None => (words, false),
    };
    // The digits may be inside: `timestamp(3) with time zone`.
    let (name, digits) = match (words.find('('), words.find(')')) {
        (Some(open), Some(close)) if open < close => {
            let name = format!("{}{}", words[..open].trim_end(), &words[close + 1..]);
            let digits = words[open + 1..close].split(',').map(str::trim);
            let digits = digits.map(|digits| digits.parse::<i32>().ok());
            (name, digits.collect::<Option<Vec<_>>>()?)
        }
        _ => (words.to_owned(), Vec::new()),
    };
    let (_, catalog) = TYPES.iter().find(|(known, _)| *known == name)?;
    let modifier = match (*catalog, digits.as_slice()) {
        ("numeric", [precision]) => packed(*precision, 0)?,
        ("numeric", [precision, scale]) => packed(*precision, *scale)?,
        ("varchar" | "bpchar" | "time" | "timestamp" | "timestamptz", [_]) | (_, []) => -1,
        _ => return None,
    };
    let of = CatalogType {
        name: catalog,
        modifier,
        array,
    };
    let column_type = match ColumnType::of(of) {
        Some(column_type) => column_type,
        None if array => ColumnType::List(Scalar::Text),
        None => Scalar::Text.into(),
    };
    let suffix = if array { "[]" } else { "" };
    Some((column_type, format!("{words}{suffix}")))
}

/// As `pg_attribute.atttypmod` has precision and scale.
fn packed(precision: i32, scale: i32) -> Option<i32> {
    let is_numeric = (1..=1000).contains(&precision) && (-1000..=1000).contains(&scale);
    is_numeric.then(|| ((precision << 16) | (scale & 0x7ff)) + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_declared_as_in_sql() {
        for (text, name, column_type, not_null) in [
            ("Id bigint NOT NULL", "id", Scalar::Int64.into(), true),
            ("\"A \"\"b\" text", "A \"b", Scalar::Text.into(), false),
            (
                "amount numeric(10, 2)",
                "amount",
                Scalar::Decimal {
                    precision: 10,
                    scale: 2,
                }
                .into(),
                false,
            ),
            (
                "at timestamp(3)  with time zone",
                "at",
                Scalar::TimestampTz.into(),
                false,
            ),
            (
                "tags varchar(20)[]",
                "tags",
                ColumnType::List(Scalar::Text),
                false,
            ),
            ("free numeric", "free", Scalar::Text.into(), false),
            ("d double precision", "d", Scalar::Float64.into(), false),
        ] {
            let column = Column::declared(text).unwrap();
            let found = (column.name.as_str(), column.column_type, column.not_null);
            assert_eq!(found, (name, column_type, not_null), "{text}");
        }
        let column = Column::declared("t time(3) without time zone").unwrap();
        assert_eq!(column.postgres_type, "time(3) without time zone");
    }

    #[test]
    fn what_declares_no_column_is_refused() {
        for text in [
            "",
            "a",
            "a not null",
            "a money",
            "a numeric(0)",
            "\"a text",
            "a text(3)",
        ] {
            assert!(Column::declared(text).is_err(), "{text}");
        }
    }
}
