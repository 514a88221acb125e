//! One reading of a table's catalog rows.

use std::collections::BTreeSet;

use inlet_model::{Column, TableName};
use inlet_service::config::TableConfig;
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::choice::{self, Chosen, Shown};
use super::columns::{Numbered, Ordered};
use super::descendants::{self, Descendant};
use super::error::CatalogError;
use super::identity::{self, Equality};
use super::key::{self, Index};
use super::relation::Relation;
use super::structure::{Structure, read_structures};
use super::values::{self, Values};
use super::{columns, list, relation};
use crate::condition;
use crate::hash::ValueHasher;
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
    /// How the columns are shown.
    pub(super) shown: Vec<Shown>,
    /// What makes hashes, where a column is hashed.
    pub(super) hasher: Option<ValueHasher>,
    /// True when columns may be left out, so that the role may lack the right to the whole table.
    pub(super) leaves_out: bool,
}

/// Reads everything that the catalog contains about a configured table.
pub(super) async fn read(
    connection: &mut PgConnection,
    config: &TableConfig,
) -> Result<Entry, CatalogError> {
    let asked = &config.table;
    let Some(found) = relation::find(connection, asked).await? else {
        if let Some(table) = &config.journal_of {
            return Err(CatalogError::NoJournal {
                table: table.written(),
                journal: config.written(),
            });
        }
        return Err(list::not_found(connection, asked).await?);
    };
    found.check(config.choice.leaves_out())?;
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
    let Chosen {
        rows,
        shown,
        left_out,
        hasher,
    } = choose_columns(connection, &found, rows, config).await?;
    let descendants = descendants::read(connection, found.oid).await?;
    let indexes = key::read(connection, found.oid, &rows).await?;
    let tables = descendants.iter().map(|table| Oid(table.oid));
    let tables = tables.chain([found.oid]).collect();
    let mut values = values::read(connection, found.oid, tables, &types).await?;
    for (row, shown) in rows.iter().zip(&shown) {
        values.show(row.ordered.number, *shown, hasher.as_ref());
    }
    left_out.iter().for_each(|number| values.leave_out(*number));
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
    choice::check_key(&table, &key, &columns, &shown)?;
    if key.is_empty() && !left_out.is_empty() {
        check_lost_key(connection, &found, &left_out, config).await?;
    }
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
        shown,
        hasher,
        leaves_out: config.choice.leaves_out(),
    })
}

/// Applies the configuration's choice of columns, and checks the rights to them and the conditions
/// on them.
async fn choose_columns(
    connection: &mut PgConnection,
    found: &Relation,
    rows: Vec<Numbered>,
    config: &TableConfig,
) -> Result<Chosen, CatalogError> {
    let table = found.name();
    let chosen = choice::choose(&table, rows, config)?;
    columns::refuse_reserved(&table, &chosen.rows)?;
    if config.choice.leaves_out() {
        let numbers = chosen.rows.iter().map(|row| row.ordered.number);
        let numbers: Vec<i16> = numbers.collect();
        found.check_columns(connection, &numbers).await?;
    }
    for (key, condition) in config.membership.conditions() {
        condition::check(connection, &table, key, condition).await?;
    }
    Ok(chosen)
}

/// Refuses a table whose primary key has a column that is not read: without a key it would have no
/// latest state.
async fn check_lost_key(
    connection: &mut PgConnection,
    found: &Relation,
    left_out: &[i16],
    config: &TableConfig,
) -> Result<(), CatalogError> {
    let lost = key::lost(connection, found.oid, left_out).await?;
    lost.map_or(Ok(()), |column| {
        Err(CatalogError::Choice {
            table: found.name(),
            column,
            key: choice::left_out_by(&config.choice),
            why: choice::KEY,
        })
    })
}
