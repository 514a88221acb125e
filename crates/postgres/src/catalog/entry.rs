//! One reading of a table's catalog rows.

use std::collections::BTreeSet;

use inlet_model::{Column, TableName, TableReference};
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::columns::Ordered;
use super::descendants::{self, Descendant};
use super::error::CatalogError;
use super::key::{self, Index};
use super::structure::{Structure, read_structures};
use super::values::{self, Values};
use super::{columns, list, relation};

/// The catalog's content about one table, before its configuration is applied.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) oid: u32,
    pub(super) table: TableName,
    pub(super) columns: Vec<Column>,
    /// The columns' numbers in the catalog, and what the order of their values depends on.
    pub(super) ordered: Vec<Ordered>,
    pub(super) indexes: Vec<Index>,
    pub(super) structure: Structure,
    /// The types of users that its columns are made of.
    pub(super) types: BTreeSet<u32>,
    pub(super) values: Values,
    pub(super) partitioned: bool,
    pub(super) descendants: Vec<Descendant>,
    pub(super) any_bytes: bool,
}

/// Reads everything that the catalog contains about the table of this name.
pub(super) async fn read(
    connection: &mut PgConnection,
    asked: &TableReference,
) -> Result<Entry, CatalogError> {
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
    let (ordered, columns) = rows
        .into_iter()
        .map(|row| (row.ordered, row.column))
        .unzip();
    Ok(Entry {
        oid: found.oid.0,
        table,
        columns,
        ordered,
        indexes,
        structure,
        types,
        values,
        partitioned: found.is_partitioned(),
        descendants,
        any_bytes: found.any_bytes,
    })
}
