//! A table that can be captured: its catalog entry with its configuration applied. Pure, except for
//! one question about columns that were added.

use std::collections::BTreeSet;
use std::sync::Arc;

use inlet_model::{SchemaFields, TableSchema, quote};
use inlet_service::config::{ImpossibleValues, TableConfig};
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::columns::Ordered;
use super::cursor::{self, Cursor, index_statement};
use super::descendants::Descendant;
use super::entry::{self, Entry};
use super::error::CatalogError;
use super::structure::Structure;
use super::values::Values;
use super::{columns, key};

/// Those of the columns whose values exist although no row was written with them: added with a
/// default, or generated when they are read.
const UNWRITTEN: &str = "\
SELECT DISTINCT a.attname::text FROM pg_catalog.pg_attribute a
WHERE a.attrelid = ANY($1) AND a.attname = ANY($2) AND (a.atthasmissing OR a.attgenerated = 'v') \
    ORDER BY 1";

/// A table that can be captured.
#[derive(Debug, Clone)]
pub struct Captured {
    /// The `oid` in `pg_class`: another one means another table of the same name.
    pub oid: u32,
    /// Its columns and key.
    pub schema: Arc<TableSchema>,
    /// The columns' numbers in the catalog. A number stays with its column when that is renamed,
    /// and is never used again.
    pub numbers: Vec<i16>,
    /// The column by which new rows are found; without one only sweeps find rows.
    pub cursor: Option<Cursor>,
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
    entry: Arc<Entry>,
}

/// Finds a table by its configured name, reads its catalog rows once, and applies its
/// configuration.
pub async fn capture(
    connection: &mut PgConnection,
    config: &TableConfig,
) -> Result<Captured, CatalogError> {
    let entry = entry::read(connection, &config.table).await?;
    Captured::new(Arc::new(entry), config)
}

impl Captured {
    /// Applies a table's configuration to its catalog entry.
    fn new(entry: Arc<Entry>, config: &TableConfig) -> Result<Self, CatalogError> {
        let table = entry.table.clone();
        let asked = (!config.key.is_empty()).then_some(config.key.as_slice());
        let key = key::choose(&table, &entry.columns, &entry.indexes, asked)?;
        let cursor = cursor::choose(
            &table,
            &entry.columns,
            &key::leading_columns(&entry.indexes),
            config.cursor.as_deref(),
        )?;
        let mut fields = SchemaFields {
            table,
            columns: entry.columns.clone(),
            key,
            relation: Some(entry.oid),
        };
        if config.impossible_values == ImpossibleValues::Text {
            let dated_by = config
                .date_column
                .as_ref()
                .and_then(|written| fields.resolve(written))
                .or_else(|| fields.event_time());
            // Rows are compared by the cursor and placed by their date: both stay times.
            let kept = [cursor.map(|cursor| cursor.column), dated_by];
            columns::carry_as_text(&mut fields.columns, &kept);
        }
        let numbers: Vec<i16> = entry.ordered.iter().map(|column| column.number).collect();
        let carried = fields.columns.iter().map(|column| column.column_type);
        let values = entry
            .values
            .carried_as(numbers.iter().copied().zip(carried));
        Ok(Self {
            oid: entry.oid,
            schema: Arc::new(TableSchema::from_fields(fields)),
            numbers,
            cursor,
            structure: entry.structure,
            types: Arc::new(entry.types.clone()),
            values: Arc::new(values),
            partitioned: entry.partitioned,
            descendants: entry.descendants.clone(),
            any_bytes: entry.any_bytes,
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
        let columns = self.schema.key.iter();
        columns.map(|column| self.entry.ordered[*column]).collect()
    }

    /// The numbers of the key's columns, in its order.
    pub fn key_numbers(&self) -> Vec<i16> {
        let columns = self.schema.key.iter();
        columns
            .filter_map(|column| self.numbers.get(*column).copied())
            .collect()
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
