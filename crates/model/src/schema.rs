//! The schema of a captured table, and its identity.
//!
//! A schema is stored as JSON text: in the control topic and in the lake's log, under its
//! [`Fingerprint`]. The fingerprint is the xxh3-64 of **that text**, never of what this build would
//! write: a text that another version wrote keeps its bytes and its identity here, also when it has
//! fields that this version does not know. Every record of the topic carries the fingerprint.
//!
//! Layout of the text, without spaces:
//! `{"table":{"schema":..,"name":..},"columns":[{"name":..,"column_type":..,"postgres_type":..,`
//! `"as_text":..,"not_null":..,"generated":..,"number":..},..],"key":[..],"relation":..,`
//! `"identities":[{"column":..,"of":..},..]}`; the last one only where there are any.
//! Without a number (0.1.0 stored none) a column is known by its name.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::column::{Column, Role};
use crate::name::{TableName, resolve_column};
use crate::types::{ColumnType, Scalar};

/// A table's columns and key at one moment, with the text under which they are stored.
///
/// It dereferences to its [`SchemaFields`], which cannot be changed: the text belongs to them.
/// Two schemas are equal when their texts are.
#[derive(Clone)]
pub struct TableSchema {
    fields: SchemaFields,
    text: Box<RawValue>,
    fingerprint: Fingerprint,
}

/// The meaning of a schema's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaFields {
    /// The name of the table.
    pub table: TableName,
    /// Columns in table order.
    pub columns: Vec<Column>,
    /// Indexes into `columns` of the key columns, in the order of the key; empty for a table
    /// without a key.
    pub key: Vec<usize>,
    /// The oid of the table in PostgreSQL's catalog: the numbers of columns have a meaning within
    /// one relation only. `None` in what 0.1.0 stored, and for a table that is not in a catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<u32>,
    /// The columns that the table does not have: each identifies the value of a key column whose
    /// equality in PostgreSQL is not that of its text. The key names it in that column's place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<Identity>,
}

/// A column with one text for all values of another one that PostgreSQL takes for equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its position in the columns.
    pub column: usize,
    /// The position of the key column.
    pub of: usize,
}

/// The hash of a schema's stored text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

impl TableSchema {
    /// Makes the schema of a table that is not in a catalog.
    pub fn new(table: TableName, columns: Vec<Column>, key: Vec<usize>) -> Self {
        Self::from_fields(SchemaFields {
            table,
            columns,
            key,
            relation: None,
            identities: Vec::new(),
        })
    }

    /// Makes the schema of a table as the catalog has it now.
    pub fn from_fields(fields: SchemaFields) -> Self {
        let text = serde_json::value::to_raw_value(&fields)
            .expect("a schema of strings and numbers is JSON");
        Self::with_text(fields, text)
    }

    /// Reads a stored text; it may have fields that this version does not know.
    pub fn decode(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    fn with_text(fields: SchemaFields, text: Box<RawValue>) -> Self {
        let fingerprint = Fingerprint::of(text.get().as_bytes());
        Self {
            fields,
            text,
            fingerprint,
        }
    }

    /// Returns the text that is stored.
    pub fn text(&self) -> &str {
        self.text.get()
    }

    /// Returns the identity: equal texts have equal fingerprints, in every process and version.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl SchemaFields {
    /// Returns the key columns that are NOT NULL. A version without one of them is older than the
    /// column's present name.
    pub fn never_null_key(&self) -> impl Iterator<Item = &Column> {
        self.key
            .iter()
            .map(|at| &self.columns[*at])
            .filter(|column| column.not_null)
    }

    /// Returns the key columns that the table has itself, in the order of the key.
    pub fn own_key(&self) -> impl Iterator<Item = usize> {
        self.key.iter().map(|at| {
            let mut identities = self.identities.iter();
            let identity = identities.find(|identity| identity.column == *at);
            identity.map_or(*at, |identity| identity.of)
        })
    }

    /// Returns whether the column at a position is one that the table does not have.
    pub fn is_identity(&self, position: usize) -> bool {
        self.identities
            .iter()
            .any(|identity| identity.column == position)
    }

    /// Returns the column whose date a row belongs to, where the configuration names none:
    /// `created_at` and its like, else the first timestamp, else the first date. A time of the last
    /// change is the last choice among timestamps, because a change would move its row to another
    /// date; a plain date comes after every timestamp.
    pub fn event_time(&self) -> Option<usize> {
        let rank = |column: &Column| {
            let kind = match column.column_type {
                ColumnType::Scalar(Scalar::TimestampTz) => 0,
                ColumnType::Scalar(Scalar::Timestamp) => 1,
                ColumnType::Scalar(Scalar::Date) => 2,
                _ => return None,
            };
            // A column that moves with every change would move a row from one date to another.
            let role = column
                .role()
                .filter(|role| !matches!(role, Role::Changed(_)));
            // A date that tells nothing may be a birthday, with thousands of days.
            let is_plain_date = kind == 2 && role.is_none();
            let later = column.is_later_moment();
            // `None` is the smallest of an `Option`; here the absence of a role is the worst.
            Some((is_plain_date, role.is_none(), role, later, kind))
        };
        let ranked = self
            .columns
            .iter()
            .enumerate()
            .filter_map(|(at, column)| Some((rank(column)?, at)));
        ranked.min().map(|(_, at)| at)
    }

    /// Returns the position of the column that a user means, as [`resolve_column`] finds it.
    pub fn resolve(&self, written: &str) -> Option<usize> {
        resolve_column(
            written,
            self.columns.iter().map(|column| column.name.as_str()),
        )
    }

    /// Returns the position of a column by its exact name.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == column)
    }
}

impl Fingerprint {
    /// Hashes a stored text.
    pub fn of(text: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64(text))
    }
}

impl Deref for TableSchema {
    type Target = SchemaFields;

    fn deref(&self) -> &SchemaFields {
        &self.fields
    }
}

impl PartialEq for TableSchema {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for TableSchema {}

impl Hash for TableSchema {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Equal texts have equal fingerprints, and the fingerprint is shorter.
        self.fingerprint.hash(state);
    }
}

impl fmt::Debug for TableSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Writes the text as it was read or made. Only into JSON: the text passes through byte by byte.
impl Serialize for TableSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TableSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        // The text is kept byte for byte and decoded a second time for its fields, so that unknown
        // fields survive.
        let fields = serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?;
        Ok(Self::with_text(fields, text))
    }
}

// Stored as the text that it displays, which is also a key of JSON objects.
impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)?;
        Ok(Self(number))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn column(name: &str, scalar: Scalar) -> Column {
        Column {
            name: name.to_owned(),
            column_type: scalar.into(),
            postgres_type: String::new(),
            as_text: false,
            not_null: false,
            generated: false,
            number: None,
        }
    }

    fn table(columns: Vec<Column>) -> TableSchema {
        TableSchema::new(TableName::new("public", "orders"), columns, vec![])
    }

    #[test]
    fn a_schema_reads_back_with_its_text_and_identity() {
        let schema = table(vec![
            column("id", Scalar::Int64),
            Column {
                column_type: ColumnType::List(Scalar::Decimal {
                    precision: 10,
                    scale: 2,
                }),
                ..column("amounts", Scalar::Text)
            },
        ]);
        let back = TableSchema::decode(schema.text().as_bytes()).unwrap();
        assert_eq!(back, schema);
        assert_eq!(back.fingerprint(), schema.fingerprint());
        assert_eq!(*back, *schema);
    }

    #[test]
    fn a_text_of_a_later_version_keeps_its_identity_through_reading_and_writing() {
        let text = r#"{"table":{"schema":"public","name":"t"},"columns":[{"name":"id","column_type":"int64","postgres_type":"bigint","as_text":false,"not_null":true,"generated":false,"collation":"C"}],"key":[0],"comment":{"of":"later"}}"#;
        let schema = TableSchema::decode(text.as_bytes()).unwrap();
        assert_eq!(schema.fingerprint(), Fingerprint::of(text.as_bytes()));
        assert_eq!(schema.columns[0].name, "id");
        assert_eq!(serde_json::to_string(&schema).unwrap(), text);

        // The same inside a larger document, as in the lake's log.
        let entry = format!(r#"{{"schemas":{{"x":{text}}}}}"#);
        let read: serde_json::Result<
            std::collections::BTreeMap<String, std::collections::BTreeMap<String, TableSchema>>,
        > = serde_json::from_str(&entry);
        let read = read.unwrap();
        assert_eq!(read["schemas"]["x"].fingerprint(), schema.fingerprint());
        assert_eq!(serde_json::to_string(&read).unwrap(), entry);
    }

    #[test]
    fn the_text_is_the_one_of_the_first_release() {
        let schema = table(vec![
            column("id", Scalar::Int64),
            column(
                "amount",
                Scalar::Decimal {
                    precision: 10,
                    scale: 2,
                },
            ),
            Column {
                column_type: ColumnType::List(Scalar::TimestampTz),
                ..column("times", Scalar::Text)
            },
        ]);
        assert_eq!(
            schema.text(),
            r#"{"table":{"schema":"public","name":"orders"},"columns":[{"name":"id","column_type":"int64","postgres_type":"","as_text":false,"not_null":false,"generated":false},{"name":"amount","column_type":{"decimal":{"precision":10,"scale":2}},"postgres_type":"","as_text":false,"not_null":false,"generated":false},{"name":"times","column_type":{"list":"timestamp_tz"},"postgres_type":"","as_text":false,"not_null":false,"generated":false}],"key":[]}"#
        );
    }

    #[test]
    fn an_identity_is_stored_after_the_key_and_reads_back() {
        let columns = vec![
            column("email", Scalar::Text),
            column("_key_email", Scalar::Text),
        ];
        let identity = Identity { column: 1, of: 0 };
        let table = TableName::new("public", "users");
        let schema = TableSchema::from_fields(SchemaFields {
            table,
            columns,
            key: vec![1],
            relation: None,
            identities: vec![identity],
        });
        assert!(
            schema
                .text()
                .ends_with(r#""key":[1],"identities":[{"column":1,"of":0}]}"#)
        );
        let back = TableSchema::decode(schema.text().as_bytes()).unwrap();
        assert_eq!(*back, *schema);
        assert!(back.is_identity(1) && !back.is_identity(0));
    }

    #[test]
    fn rows_are_dated_by_their_creation_not_by_their_last_change() {
        let time = Scalar::TimestampTz;
        let both = table(vec![
            column("id", Scalar::Int64),
            column("updated_at", time),
            column("created_at", time),
        ]);
        assert_eq!(both.event_time(), Some(2));
        let seen = table(vec![
            column("id", Scalar::Int64),
            column("seen", Scalar::Date),
        ]);
        assert_eq!(seen.event_time(), Some(1));
        let text = table(vec![column("created_at", Scalar::Text)]);
        assert_eq!(text.event_time(), None);
        let book = table(vec![
            column("published", Scalar::Date),
            column("modified", time),
            column("lent", Scalar::Timestamp),
        ]);
        assert_eq!(
            book.event_time(),
            Some(2),
            "a day of publication is no day of the row"
        );
        let person = table(vec![
            column("birthday", Scalar::Date),
            column("deleted_at", time),
        ]);
        assert_eq!(
            person.event_time(),
            Some(1),
            "a birthday is the last choice"
        );
    }
}
