//! Under which names a table's columns are in its data files, as the log's schemas tell it. Pure.
//!
//! PostgreSQL knows a column by its number, a data file by its name. A column of the table may have
//! had several names; a name may have had several types.

use std::collections::HashSet;

use inlet_lake::{CHANGE_COLUMNS, Head};
use inlet_model::{ColumnType, TableSchema, Union, union};

use super::names::is_same;

/// The columns of a table for its views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// Those that the table has now, in its order.
    pub present: Vec<Present>,
    /// Those that the table does not have: each identifies the values of a key column.
    pub identities: Vec<Identity>,
    /// The other names in data files: of columns that were dropped, or had another meaning.
    pub former: Vec<String>,
    /// The key's columns.
    pub key: Vec<Present>,
    /// True when a name may be in none of the files that are read.
    pub may_be_missing: bool,
}

/// A column that identifies the values of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub column: Present,
    /// The key column.
    pub of: Present,
}

/// A column that the table has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Its name in the views: the one that a plain reader of the files sees.
    pub shown: String,
    /// Its names in data files, the present one first. A file has at most one of them.
    pub in_files: Vec<String>,
    /// What it becomes in the lake.
    pub column_type: ColumnType,
    /// True when every file that has it has this very type.
    pub is_uniform: bool,
    pub not_null: bool,
    /// PostgreSQL's name of the type.
    pub postgres_type: String,
}

impl Columns {
    /// The columns of the latest schema, with the names that the log's head gives them.
    pub fn new(head: &Head, latest: &TableSchema) -> Self {
        let others: Vec<&TableSchema> = head
            .schemas
            .values()
            .filter(|schema| *schema != latest)
            .collect();
        let in_files = |schema| names_under(head, schema);
        let in_latest = in_files(latest);
        let in_others: Vec<Vec<String>> = others.iter().map(|schema| in_files(schema)).collect();
        let types_of = |own: &str| {
            let mut types = Vec::new();
            for (schema, names) in others.iter().zip(&in_others) {
                let columns = names.iter().zip(&schema.columns);
                let same = columns.filter(|(name, _)| is_same(name, own));
                types.extend(same.map(|(_, column)| column.column_type));
            }
            types
        };
        let columns = latest.columns.iter().zip(&in_latest).enumerate();
        let mut present: Vec<Present> = columns
            .map(|(at, (column, own))| {
                let mut in_files = vec![own.clone()];
                for other in head.names_of_column(latest, at).into_iter().skip(1) {
                    // Values of a type that is no longer the column's have no meaning in it: they
                    // are in the history.
                    let fits = |other: &ColumnType| {
                        union(*other, column.column_type) != Union::NewGeneration
                    };
                    let is_of_other = in_latest.iter().any(|name| is_same(name, &other.name));
                    if !is_of_other && other.types.iter().all(fits) {
                        in_files.push(other.name);
                    }
                }
                let mut types = in_files.iter().flat_map(|name| types_of(name));
                Present {
                    shown: own.clone(),
                    column_type: column.column_type,
                    is_uniform: types.all(|other| other == column.column_type),
                    in_files,
                    not_null: column.not_null,
                    postgres_type: column.postgres_type.clone(),
                }
            })
            .collect();
        let mut former: Vec<String> = Vec::new();
        let of_present = present.iter().flat_map(|column| &column.in_files);
        let of_present: Vec<&String> = of_present.collect();
        for name in in_others.iter().flatten() {
            let mut known = of_present.iter().copied().chain(&former);
            if !known.any(|known| is_same(known, name)) {
                former.push(name.clone());
            }
        }
        let key = latest.key.iter().map(|at| present[*at].clone()).collect();
        let identities = latest.identities.iter().map(|identity| Identity {
            column: present[identity.column].clone(),
            of: present[identity.of].clone(),
        });
        let identities = identities.collect();
        let mut at = 0..;
        present.retain(|_| at.next().is_some_and(|at| !latest.is_identity(at)));
        Self {
            present,
            identities,
            former,
            key,
            may_be_missing: !others.is_empty(),
        }
    }
}

/// The names under which DuckDB knows the columns of a file with this schema: a name that an
/// earlier one equals without case gets `_1`, or the next number that is free so far.
pub fn names_in_files(schema: &TableSchema) -> Vec<String> {
    distinct_without_case(schema.columns.iter().map(|column| column.name.as_str()))
}

/// The names under which DuckDB knows the columns of this schema in the files that the log has now.
pub fn names_under(head: &Head, schema: &TableSchema) -> Vec<String> {
    distinct_without_case(head.names_in_files(schema).into_iter())
}

/// Names of one file as DuckDB tells them apart. The files of 0.1.0 have names that differ in case
/// only until the next change of the table.
fn distinct_without_case<'a>(own: impl ExactSizeIterator<Item = &'a str>) -> Vec<String> {
    let ours = CHANGE_COLUMNS.map(|(name, _)| name);
    let count = own.len();
    let mut taken = HashSet::new();
    let mut names = Vec::new();
    for name in own.chain(ours) {
        let numbered = (1..).map(|number| format!("{name}_{number}"));
        let free = std::iter::once(name.to_owned())
            .chain(numbered)
            .find(|name| taken.insert(name.to_ascii_lowercase()));
        names.extend(free);
    }
    names.truncate(count);
    names
}
