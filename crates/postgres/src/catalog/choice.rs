//! Which columns of a table are read, and which of them only as a hash or a mask. Pure.
//!
//! A column that is not read is in no statement, so a role without the right to read it is enough.
//! A mask is made in the server: the value does not leave it. A hash is made when a row is decoded.

use inlet_model::{Column, ColumnType, Scalar, TableName, resolve_column, similar};
use inlet_service::config::{ColumnChoice, TableConfig};

use super::columns::Numbered;
use super::error::{CatalogError, Names};
use crate::hash::ValueHasher;

/// What readers see instead of a value of a masked column.
pub(crate) const MASK: &str = "****";

/// Numbers of columns of PostgreSQL's are smaller, those of texts that identify a key begin at
/// 16,000: a hashed column is another one than the same column before.
const FIRST_NUMBER: i16 = 2_000;
/// PostgreSQL numbers the columns of a table from 1 to this.
const COLUMNS_MAX: i16 = 1_600;

/// How readers see the values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// As they are.
    Plain,
    /// As hashes.
    Hashed,
    /// As [`MASK`].
    Masked,
}

/// The columns that are read.
pub(super) struct Chosen {
    pub(super) rows: Vec<Numbered>,
    /// How each of them is shown.
    pub(super) shown: Vec<Shown>,
    /// The numbers of the columns that are not read.
    pub(super) left_out: Vec<i16>,
    /// What makes the hashes, where a column is hashed.
    pub(super) hasher: Option<ValueHasher>,
}

/// Applies a configuration's choice to the columns of a table.
pub(super) fn choose(
    table: &TableName,
    rows: Vec<Numbered>,
    config: &TableConfig,
) -> Result<Chosen, CatalogError> {
    let choice = &config.choice;
    let included = positions(table, "include_columns", &choice.include, &rows)?;
    let excluded = positions(table, "exclude_columns", &choice.exclude, &rows)?;
    let hashed = positions(table, "hash_columns", &choice.hash, &rows)?;
    let masked = positions(table, "mask_columns", &choice.mask, &rows)?;
    let refused = |key: &'static str, at: usize, why: &'static str| CatalogError::Choice {
        table: table.clone(),
        column: rows[at].column.name.clone(),
        key,
        why,
    };
    let is_left_out = |at: &usize| {
        excluded.contains(at) || (!choice.include.is_empty() && !included.contains(at))
    };
    if let Some(at) = hashed.iter().find(|at| masked.contains(at)) {
        return Err(refused("hash_columns", *at, "it is in `mask_columns` too"));
    }
    for (key, columns) in [("hash_columns", &hashed), ("mask_columns", &masked)] {
        if let Some(at) = columns.iter().find(|at| is_left_out(at)) {
            return Err(refused(key, *at, "it is not read at all"));
        }
    }
    let hasher = choice.hash_key.as_ref().map(ValueHasher::new);
    if let (Some(at), None) = (hashed.first(), &hasher) {
        return Err(refused(
            "hash_columns",
            *at,
            "`postgres.hash_key` has no secret for the hashes",
        ));
    }
    // A column that a key of the configuration names has to be read as it is.
    for (named, why) in needed(config) {
        let names = rows.iter().map(|row| row.column.name.as_str());
        let Some(at) = resolve_column(named, names) else {
            continue;
        };
        let key = [("hash_columns", &hashed), ("mask_columns", &masked)]
            .into_iter()
            .find(|(_, columns)| columns.contains(&at))
            .map(|(key, _)| key);
        let left_out = is_left_out(&at).then(|| left_out_by(choice));
        if let Some(key) = key.or(left_out) {
            return Err(refused(key, at, why));
        }
    }
    let mut chosen = Chosen {
        rows: Vec::with_capacity(rows.len()),
        shown: Vec::with_capacity(rows.len()),
        left_out: Vec::new(),
        hasher: hasher.filter(|_| !hashed.is_empty()),
    };
    for (at, mut row) in rows.into_iter().enumerate() {
        if excluded.contains(&at) || (!choice.include.is_empty() && !included.contains(&at)) {
            chosen.left_out.push(row.ordered.number);
            continue;
        }
        let shown = match (hashed.contains(&at), masked.contains(&at)) {
            (true, _) => Shown::Hashed,
            (_, true) => Shown::Masked,
            _ => Shown::Plain,
        };
        if shown != Shown::Plain {
            become_text(&mut row, shown);
        }
        chosen.rows.push(row);
        chosen.shown.push(shown);
    }
    Ok(chosen)
}

/// Refuses a primary key, or another key that the catalog would give, of which a column is not read
/// as it is: rows are compared by their keys, and the keys of chunks are stored.
pub(super) fn check_key(
    table: &TableName,
    key: &[usize],
    columns: &[Column],
    shown: &[Shown],
) -> Result<(), CatalogError> {
    let changed = key.iter().find(|at| shown[**at] != Shown::Plain);
    changed.map_or(Ok(()), |at| {
        Err(CatalogError::Choice {
            table: table.clone(),
            column: columns[*at].name.clone(),
            key: match shown[*at] {
                Shown::Masked => "mask_columns",
                Shown::Hashed | Shown::Plain => "hash_columns",
            },
            why: KEY,
        })
    })
}

/// The key of the configuration that leaves columns out.
pub(super) fn left_out_by(choice: &ColumnChoice) -> &'static str {
    if choice.include.is_empty() {
        "exclude_columns"
    } else {
        "include_columns"
    }
}

/// Why a column of the key cannot be left out or changed.
pub(super) const KEY: &str = "it is a column of the key, by whose values rows are found again; \
    `tables.<name>.key` can name other columns that identify a row";

/// The columns that the configuration names for a purpose that needs their values, with the
/// purpose.
fn needed(config: &TableConfig) -> impl Iterator<Item = (&str, &'static str)> {
    let key = config.key.iter().map(|name| (name.as_str(), KEY));
    let cursor = config.cursor.iter();
    let cursor = cursor.map(|name| (name.as_str(), "it is `cursor`, by which rows are found"));
    let date = config.date_column.iter();
    let date = date.map(|name| {
        (
            name.as_str(),
            "it is `date_column`, which chooses the folder",
        )
    });
    let topic_key = config.topic_key.iter();
    let topic_key = topic_key.map(|name| (name.as_str(), "it is in `topic_key`"));
    key.chain(cursor).chain(date).chain(topic_key)
}

/// The positions of named columns.
fn positions(
    table: &TableName,
    key: &'static str,
    named: &[String],
    rows: &[Numbered],
) -> Result<Vec<usize>, CatalogError> {
    let names = rows.iter().map(|row| row.column.name.as_str());
    let position = |column: &String| {
        resolve_column(column, names.clone()).ok_or_else(|| CatalogError::UnknownChoice {
            table: table.clone(),
            column: column.clone(),
            key,
            similar: Names(similar(column, names.clone().map(str::to_owned))),
        })
    };
    named.iter().map(position).collect()
}

/// A column whose values become another text.
fn become_text(row: &mut Numbered, shown: Shown) {
    let generation = match shown {
        Shown::Plain => return,
        Shown::Hashed => 0,
        Shown::Masked => 1,
    };
    let number = FIRST_NUMBER + generation * COLUMNS_MAX + row.ordered.number;
    row.column = Column {
        column_type: ColumnType::Scalar(Scalar::Text),
        postgres_type: "text".to_owned(),
        as_text: true,
        number: Some(number),
        ..row.column.clone()
    };
    // A text holds every value.
    row.has_impossible_values = false;
}
