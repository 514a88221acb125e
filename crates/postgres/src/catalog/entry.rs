//! One reading of a table's catalog rows.

use std::collections::BTreeSet;

use inlet_model::{Column, TableName};
use inlet_service::config::TableConfig;
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::columns::Ordered;
use super::descendants::{self, Descendant};
use super::error::CatalogError;
use super::identity::{self, Equality};
use super::key::{self, Index};
use super::structure::{Structure, read_structures};
use super::values::{self, Values};
use super::{columns, list, relation};
use crate::text::Input;

/// The catalog's content about one table, before its configuration is applied.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) oid: u32,
    pub(super) table: TableName,
    pub(super) columns: Vec<Column>,
    /// The columns' numbers in the catalog, and what the order of their values depends on.
    pub(super) ordered: Vec<Ordered>,
    /// How the columns' values are read back from their texts.
    pub(super) inputs: Vec<Input>,
    /// Whether a column's type has values that the lake cannot hold.
    pub(super) impossible: Vec<bool>,
    /// The equality of each column of the key, in its order.
    pub(super) equalities: Vec<Equality>,
    pub(super) indexes: Vec<Index>,
    pub(super) structure: Structure,
    /// The types of users that its columns are made of.
    pub(super) types: BTreeSet<u32>,
    pub(super) values: Values,
    pub(super) partitioned: bool,
    pub(super) descendants: Vec<Descendant>,
    pub(super) any_bytes: bool,
}

/// Reads everything that the catalog contains about a configured table.
pub(super) async fn read(
    connection: &mut PgConnection,
    config: &TableConfig,
) -> Result<Entry, CatalogError> {
    let asked = &config.table;
    let Some(found) = relation::find(connection, asked).await? else {
        return Err(list::not_found(connection, asked).await?);
    };
    found.check()?;
    // The structure is read before the columns: an ALTER in between then shows as a change in the
    // next cycle.
    let structures = read_structures(connection, &[(found.oid.0, &BTreeSet::new())]).await?;
    let Some((_, mut structure)) = structures.into_iter().next() else {
        return Err(list::not_found(connection, asked).await?);
    };
    let types;
    (types, structure.types) = values::read_types(connection, found.oid).await?;
    let rows = columns::read(connection, found.oid).await?;
    let table = found.name();
    columns::refuse_reserved(&table, &rows)?;
    let descendants = descendants::read(connection, found.oid).await?;
    let indexes = key::read(connection, found.oid, &rows).await?;
    let tables = descendants.iter().map(|table| Oid(table.oid));
    let tables = tables.chain([found.oid]).collect();
    let values = values::read(connection, found.oid, tables, &types).await?;
    let (mut ordered, mut columns) = (Vec::new(), Vec::new());
    let (mut inputs, mut impossible) = (Vec::new(), Vec::new());
    for row in rows {
        ordered.push(row.ordered);
        columns.push(row.column);
        inputs.push(row.input);
        impossible.push(row.has_impossible_values);
    }
    // A configured key that does not exist is refused when the configuration is applied.
    let key = key::choose(&table, &columns, &indexes, key::asked(config)).unwrap_or_default();
    let key: Vec<(&Column, Ordered)> = key.iter().map(|at| (&columns[*at], ordered[*at])).collect();
    let equalities = identity::read(connection, found.oid, &key).await?;
    Ok(Entry {
        oid: found.oid.0,
        table,
        columns,
        ordered,
        inputs,
        impossible,
        equalities,
        indexes,
        structure,
        types,
        values,
        partitioned: found.is_partitioned(),
        descendants,
        any_bytes: found.any_bytes,
    })
}
