//! A table that can be captured: its catalog entry with its configuration applied. Pure, except for
//! one question about columns that were added.

use std::collections::BTreeSet;
use std::sync::Arc;

use inlet_model::change::IDENTITY_PREFIX;
use inlet_model::{Column, ColumnType, Identity, Role, Scalar, SchemaFields, TableSchema, quote};
use inlet_service::config::{ImpossibleValues, TableConfig};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::choice::Shown;
use super::columns::Ordered;
use super::cursor::{self, Cursor, index_statement, touch_statements};
use super::descendants::Descendant;
use super::entry::{self, Entry};
use super::error::CatalogError;
use super::identity::{Equality, Form};
use super::structure::Structure;
use super::values::Values;
use super::{columns, key};
use crate::decode::{RowDecoder, select_list};
use crate::text::Input;

/// Those of the columns whose values exist although no row was written with them: added with a
/// default, or generated when they are read.
const UNWRITTEN: &str = "\
SELECT DISTINCT a.attname::text FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY($1) AND a.attname = ANY($2) AND (a.atthasmissing OR a.attgenerated = 'v') \
    ORDER BY 1";

/// Names for the column that a trigger sets where no column holds the time of the last change; a
/// cursor is chosen by them.
const TOUCHED: [&str; 3] = ["updated_at", "changed_at", "last_modified"];

/// A table that can be captured.
#[derive(Debug, Clone)]
pub struct Captured {
    /// The `oid` in `pg_class`: another one means another table of the same name.
    pub oid: u32,
    /// Its columns and key, and the columns that identify values of the key.
    pub schema: Arc<TableSchema>,
    /// The positions of the key's own columns, in its order. The key of the schema has the column
    /// that identifies a value in the place of its column.
    pub key: Vec<usize>,
    /// How values of the key are identified, where equal values have different texts.
    pub identities: Vec<IdentityForm>,
    /// The columns' numbers in the catalog. A number stays with its column when that is renamed,
    /// and is never used again.
    pub numbers: Vec<i16>,
    /// The column by which new rows are found; without one only sweeps find rows.
    pub cursor: Option<Cursor>,
    /// True when an index begins with a column of the key, so that it finds a single row.
    pub finds_rows: bool,
    /// What shows later that the table was altered.
    pub structure: Structure,
    /// The types of users that its columns are made of, however deep.
    pub types: Arc<BTreeSet<u32>>,
    /// What the values of its rows depend on beside the rows.
    pub values: Arc<Values>,
    /// True for a partitioned table, read through its parent.
    pub partitioned: bool,
    /// The tables that a SELECT from it reads along: its partitions, or those that inherit from it.
    pub descendants: Vec<Descendant>,
    /// True in a database that accepts any bytes as text (`SQL_ASCII`).
    pub any_bytes: bool,
    /// The SQL that is true for a row that exists for readers, and false for others; `None` where
    /// every row does.
    pub membership: Option<Arc<str>>,
    entry: Arc<Entry>,
}

/// How the text that identifies a key column's values is made: another form means other texts for
/// the same values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityForm {
    /// The key column.
    pub of: Ordered,
    /// The form's name.
    pub form: String,
}

/// Finds a table by its configured name, reads its catalog rows once, and applies its
/// configuration.
pub async fn capture(
    connection: &mut PgConnection,
    config: &TableConfig,
) -> Result<Captured, CatalogError> {
    let entry = entry::read(connection, config).await?;
    Captured::new(Arc::new(entry), config)
}

impl Captured {
    /// Applies a table's configuration to its catalog entry.
    fn new(entry: Arc<Entry>, config: &TableConfig) -> Result<Self, CatalogError> {
        let table = entry.table.clone();
        let key = key::choose(&table, &entry.columns, &entry.indexes, key::asked(config))?;
        let leading = key::leading_columns(&entry.indexes);
        let cursor = cursor::choose(&table, &entry.columns, &leading, config.cursor.as_deref())?;
        let mut fields = SchemaFields {
            table,
            columns: entry.columns.clone(),
            key: key.clone(),
            relation: Some(entry.oid),
            identities: Vec::new(),
        };
        if config.impossible_values == ImpossibleValues::Text {
            let dated_by = config
                .date_column
                .as_ref()
                .and_then(|written| fields.resolve(written))
                .or_else(|| fields.event_time());
            // Rows are compared by the cursor and placed by their date: both stay times.
            let kept = [cursor.map(|cursor| cursor.column), dated_by];
            columns::carry_as_text(&mut fields.columns, &entry.impossible, &kept);
        }
        let numbers: Vec<i16> = entry.ordered.iter().map(|column| column.number).collect();
        let carried = fields.columns.iter().map(|column| column.column_type);
        let values = entry
            .values
            .carried_as(numbers.iter().copied().zip(carried));
        identify(&mut fields, &entry);
        let forms = entry.forms(&key).map(|(column, form)| IdentityForm {
            of: entry.ordered[column],
            form: form.name(),
        });
        Ok(Self {
            oid: entry.oid,
            schema: Arc::new(TableSchema::from_fields(fields)),
            identities: forms.collect(),
            finds_rows: leading.iter().any(|column| key.contains(column)),
            key,
            numbers,
            cursor,
            structure: entry.structure,
            types: Arc::new(entry.types.clone()),
            values: Arc::new(values),
            partitioned: entry.partitioned,
            descendants: entry.descendants.clone(),
            any_bytes: entry.any_bytes,
            membership: config.membership.sql().map(Arc::from),
            entry,
        })
    }

    /// The same table, polled by the column of this name instead of the one that was chosen.
    pub(crate) fn polled_by(
        &self,
        config: &TableConfig,
        column: &str,
    ) -> Result<Self, CatalogError> {
        // The name is spelled as in the catalog; unquoted it would be folded to lower case.
        let config = TableConfig {
            cursor: Some(quote(column)),
            ..config.clone()
        };
        Self::new(Arc::clone(&self.entry), &config)
    }

    /// The key's columns, in its order. Two keys with the same columns put rows in the same order.
    pub fn ordered_key(&self) -> Vec<Ordered> {
        let columns = self.key.iter();
        columns.map(|column| self.entry.ordered[*column]).collect()
    }

    /// The numbers of the key's columns, in its order.
    pub fn key_numbers(&self) -> Vec<i16> {
        let columns = self.key.iter();
        columns
            .filter_map(|column| self.numbers.get(*column).copied())
            .collect()
    }

    /// The columns of the key as PostgreSQL has them, in the key's order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().map(|at| &self.schema.columns[*at])
    }

    /// The SQL of the text that identifies a value of the key's column at `place`, given as SQL;
    /// `None` where the value's own text does.
    pub fn identifying_sql(&self, place: usize, value: &str) -> Option<String> {
        let column = *self.key.get(place)?;
        let mut forms = self.entry.forms(&self.key);
        forms
            .find(|(of, _)| *of == column)
            .map(|(_, form)| form.sql(value))
    }

    /// What a SELECT that feeds a [`crate::RowDecoder`] reads: the row's `xmin`, then the schema's
    /// columns, those without a mapping as their text.
    pub fn select_list(&self) -> String {
        let identities: Vec<_> = self
            .entry
            .forms(&self.key)
            .map(|(column, form)| form.sql(&quote(&self.schema.columns[column].name)))
            .collect();
        let masked = |at: usize| self.entry.shown.get(at) == Some(&Shown::Masked);
        select_list(&self.schema, masked, &identities)
    }

    /// The same, and after the columns whether the row exists for readers, where that is a
    /// question.
    pub fn select_list_with_membership(&self) -> String {
        let list = self.select_list();
        match &self.membership {
            Some(membership) => format!("{list}, {membership}"),
            None => list,
        }
    }

    /// A decoder of rows that are read with [`Self::select_list`], with room for `capacity` rows.
    pub fn decoder(&self, capacity: usize) -> RowDecoder {
        let decoder = RowDecoder::new(Arc::clone(&self.schema), capacity);
        match &self.entry.hasher {
            Some(hasher) => decoder.hashing(hasher, |at| self.is_hashed(at)),
            None => decoder,
        }
    }

    /// True for a column of which readers get hashes.
    pub fn is_hashed(&self, column: usize) -> bool {
        self.entry.shown.get(column) == Some(&Shown::Hashed)
    }

    /// True for a column of which readers get the values themselves.
    pub fn is_plain(&self, column: usize) -> bool {
        self.entry.shown.get(column) == Some(&Shown::Plain)
    }

    /// True for a column whose values are not for readers, so that a message must not have them
    /// either.
    pub fn has_protected_columns(&self) -> bool {
        self.entry.leaves_out || self.entry.shown.iter().any(|shown| *shown != Shown::Plain)
    }

    /// True when the role may lack the right to the whole table, which LOCK TABLE asks for.
    pub fn leaves_out_columns(&self) -> bool {
        self.entry.leaves_out
    }

    /// Key columns of a type whose equality this build does not know: equal values may have
    /// different texts.
    pub fn unknown_equalities(&self) -> impl Iterator<Item = &Column> {
        let columns = self.key.iter().zip(&self.entry.equalities);
        columns
            .filter(|(_, equality)| **equality == Equality::Unknown)
            .map(|(column, _)| &self.schema.columns[*column])
    }

    /// How a column's value is read back from its text.
    pub fn input(&self, column: usize) -> &Input {
        &self.entry.inputs[column]
    }

    /// The SQL that compares a column of the schema's key with a value, of which `text` is the SQL
    /// of a text; both may be NULL. `alias` names the table in the statement.
    ///
    /// `value` gives the SQL of a value whose text is not PostgreSQL's own, by the type that it has
    /// in Arrow.
    pub fn key_equals(
        &self,
        place: usize,
        alias: &str,
        text: &str,
        value: impl Fn(&str) -> Option<String>,
    ) -> String {
        let own = self.key[place];
        let column = format!("{alias}.{}", quote(&self.schema.columns[own].name));
        let form = match &self.entry.equalities[place] {
            // The text that identifies a value is equal for all values that are.
            Equality::Form(form) => {
                return format!("{} IS NOT DISTINCT FROM {text}", form.sql(&column));
            }
            Equality::Text | Equality::Unknown => value(text),
        };
        let value = form.unwrap_or_else(|| self.entry.inputs[own].of(text));
        if self.schema.columns[own].not_null {
            return format!("{column} = {value}");
        }
        // An index serves the equality, and would not serve IS NOT DISTINCT FROM.
        format!("({column} = {value} OR ({column} IS NULL AND {text} IS NULL))")
    }

    /// True for a table that a SELECT reads with others below it.
    pub fn is_read_with_others(&self) -> bool {
        self.partitioned || !self.descendants.is_empty()
    }

    /// The table, and those that a SELECT from it reads along.
    pub fn oids(&self) -> Vec<u32> {
        let descendants = self.descendants.iter().map(|table| table.oid);
        descendants.chain([self.oid]).collect()
    }

    /// The name of the cursor column.
    pub fn cursor_name(&self) -> Option<&str> {
        let cursor = self.cursor?;
        Some(&self.schema.columns[cursor.column].name)
    }

    /// The name of the column with this number; empty for an unknown one.
    pub fn column_name(&self, number: i16) -> &str {
        let at = self.numbers.iter().position(|known| *known == number);
        at.map_or("", |at| &self.schema.columns[at].name)
    }

    /// The statement that creates the cursor's index, where the index is missing.
    pub fn missing_index(&self) -> Option<String> {
        let cursor = self.cursor.filter(|cursor| !cursor.indexed)?;
        Some(index_statement(
            &self.schema.table,
            &self.schema.columns[cursor.column].name,
            self.partitioned,
        ))
    }

    /// The statements after which every update moves the cursor: a trigger that sets it; where it
    /// is not a time of changes, a new column and a trigger that sets this one.
    pub fn touch_statements(&self) -> Option<String> {
        let cursor = &self.schema.columns[self.cursor?.column];
        let table = &self.schema.table;
        if matches!(cursor.role(), Some(Role::Changed(_))) {
            return Some(touch_statements(table, &cursor.name));
        }
        Some(self.change_time_statements())
    }

    /// The statements that give the table a column with the time of its last change, which becomes
    /// the cursor of a table that is polled for the first time: the column, its index, and a
    /// trigger that sets it.
    pub fn change_time_statements(&self) -> String {
        let table = &self.schema.table;
        let exists = |name: &&str| {
            self.schema
                .columns
                .iter()
                .any(|column| column.name == *name)
        };
        let column = TOUCHED.into_iter().find(|name| !exists(name));
        let column = column.unwrap_or("inlet_changed_at");
        format!(
            "ALTER TABLE {} ADD COLUMN {column} timestamptz NOT NULL DEFAULT now();\n{};\n{}",
            table.quoted(),
            index_statement(table, column, self.partitioned),
            touch_statements(table, column)
        )
    }

    /// Those of these columns that have values in rows which were not written since the column was
    /// added: a default that is not stored in the row, or a value computed on reading.
    pub async fn unwritten(
        &self,
        connection: &mut PgConnection,
        columns: &[&str],
    ) -> Result<Vec<String>, CatalogError> {
        let oids: Vec<Oid> = self
            .descendants
            .iter()
            .map(|table| Oid(table.oid))
            .chain([Oid(self.oid)])
            .collect();
        sqlx::query_scalar(UNWRITTEN)
            .bind(oids)
            .bind(columns)
            .fetch_all(connection)
            .await
            .map_err(CatalogError::read("columns"))
    }
}

impl Entry {
    /// The columns of a key whose values need a text that identifies them.
    fn forms<'a>(&'a self, key: &'a [usize]) -> impl Iterator<Item = (usize, &'a Form)> {
        let columns = key.iter().copied().zip(&self.equalities);
        columns.filter_map(|(column, equality)| match equality {
            Equality::Form(form) => Some((column, form)),
            Equality::Text | Equality::Unknown => None,
        })
    }
}

/// Adds a column at the end for each key column whose values are identified by another text than
/// their own, and puts it in that column's place in the key.
fn identify(fields: &mut SchemaFields, entry: &Entry) {
    for (place, equality) in entry.equalities.iter().enumerate() {
        let Equality::Form(form) = equality else {
            continue;
        };
        let of = fields.key[place];
        let key = &fields.columns[of];
        let identity = Column {
            name: identity_name(&key.name, &fields.columns),
            column_type: ColumnType::Scalar(Scalar::Text),
            postgres_type: "text".to_owned(),
            as_text: false,
            not_null: key.not_null,
            generated: false,
            number: form.number(entry.ordered[of].number),
        };
        let column = fields.columns.len();
        fields.key[place] = column;
        fields.identities.push(Identity { column, of });
        fields.columns.push(identity);
    }
}

/// A name that no column of the table has: readers compare names without case.
fn identity_name(of: &str, columns: &[Column]) -> String {
    let mut name = format!("{IDENTITY_PREFIX}{of}");
    while columns
        .iter()
        .any(|column| column.name.to_lowercase() == name.to_lowercase())
    {
        name.push('_');
    }
    name
}
