//! A captured table: its name, columns and key, as PostgreSQL's catalog tells them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::ColumnType;

/// A schema-qualified table name, exactly as in the catalog (case kept, never folded).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The schema, `public` for most tables.
    pub schema: String,
    /// The table's own name.
    pub name: String,
}

impl TableName {
    /// A table of a schema.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
        }
    }

    /// The name for SQL: both parts quoted.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }

    /// The name of folders, topics and keys of progress: `orders` for `public.orders`, else
    /// `schema.table`.
    pub fn short(&self) -> String {
        if self.schema == "public" {
            self.name.clone()
        } else {
            self.to_string()
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// Quotes an identifier for SQL. The one place that does it.
pub fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Its name, as in the catalog.
    pub name: String,
    /// What it becomes on the way: Arrow, JSON and Parquet follow from it.
    pub column_type: ColumnType,
    /// PostgreSQL's name of the type with modifiers (`format_type`), e.g. `numeric(10,2)`.
    pub postgres_type: String,
    /// True when the SELECT casts it to text, because no closer type is mapped.
    pub as_text: bool,
    /// True when the catalog says NOT NULL.
    pub not_null: bool,
    /// True for a generated column.
    pub generated: bool,
}

/// A table's columns and key at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableSchema {
    /// Which table.
    pub table: TableName,
    /// Columns in table order.
    pub columns: Vec<Column>,
    /// Indexes into `columns` of the key columns, in the order of the key; empty for a table
    /// without a key.
    pub key: Vec<usize>,
}

impl TableSchema {
    /// A 64-bit hash of everything that decoding depends on: equal schemas, equal fingerprints, in
    /// every process.
    pub fn fingerprint(&self) -> Fingerprint {
        let text = serde_json::to_vec(self).expect("a schema of strings and numbers is JSON");
        Fingerprint(xxhash_rust::xxh3::xxh3_64(&text))
    }

    /// The columns of the key that hold no null: a version without them is of before they had their
    /// names.
    pub fn never_null_key(&self) -> impl Iterator<Item = &Column> {
        self.key
            .iter()
            .map(|at| &self.columns[*at])
            .filter(|column| column.not_null)
    }

    /// The column whose date a row belongs to, where the configuration names none: `created_at` and
    /// its like, else the first timestamp, else the first date. A timestamp of the last change
    /// comes after the others, because a change would move its row to another date.
    pub fn event_time(&self) -> Option<usize> {
        const MADE: [&str; 10] = [
            "createdat",
            "insertedat",
            "addedat",
            "created",
            "inserted",
            "createdon",
            "eventtime",
            "occurredat",
            "ts",
            "timestamp",
        ];
        const CHANGED: [&str; 5] = ["updat", "modif", "chang", "delet", "expir"];
        let plain = |column: &Column| column.name.to_lowercase().replace('_', "");
        let rank = |column: &Column| {
            let kind = match column.column_type {
                ColumnType::TimestampTz => 0,
                ColumnType::Timestamp => 1,
                ColumnType::Date => 2,
                _ => return None,
            };
            let name = plain(column);
            let made = MADE
                .iter()
                .position(|made| *made == name)
                .unwrap_or(MADE.len());
            Some((
                made,
                CHANGED.iter().any(|changed| name.contains(changed)),
                kind,
            ))
        };
        let ranked = self
            .columns
            .iter()
            .enumerate()
            .filter_map(|(at, column)| Some((rank(column)?, at)));
        ranked.min().map(|(_, at)| at)
    }

    /// The position of a column by its exact name.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == column)
    }
}

/// The hash of a [`TableSchema`], carried by every record of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_dated_by_their_creation_not_by_their_last_change() {
        let column = |name: &str, column_type| Column {
            name: name.to_owned(),
            column_type,
            postgres_type: String::new(),
            as_text: false,
            not_null: false,
            generated: false,
        };
        let table = |columns| TableSchema {
            table: TableName::new("public", "orders"),
            columns,
            key: vec![],
        };
        let time = ColumnType::TimestampTz;
        let both = table(vec![
            column("id", ColumnType::Int64),
            column("updated_at", time),
            column("created_at", time),
        ]);
        assert_eq!(both.event_time(), Some(2));
        assert_eq!(
            table(vec![
                column("id", ColumnType::Int64),
                column("seen", ColumnType::Date)
            ])
            .event_time(),
            Some(1)
        );
        assert_eq!(
            table(vec![column("created_at", ColumnType::Text)]).event_time(),
            None
        );
        let book = table(vec![
            column("published", ColumnType::Date),
            column("modified", time),
            column("lent", ColumnType::Timestamp),
        ]);
        assert_eq!(
            book.event_time(),
            Some(2),
            "a day of publication is no day of the row"
        );
    }

    #[test]
    fn a_quote_in_a_name_is_doubled() {
        assert_eq!(
            TableName::new("public", "a\"; DROP TABLE x").quoted(),
            "\"public\".\"a\"\"; DROP TABLE x\""
        );
    }
}
