//! The views that DuckDB gets of a lake: `orders` is the latest state of a table,
//! `orders_history` every version of its rows, `orders_quarantine` the rejected rows. The view of a
//! table's changes has a second one with the rows that they changed.
//!
//! `inlet query` makes them over the files that the log names, `inlet views` over patterns, so that
//! they show what arrives later. Read in this order: [`names`], [`columns`], [`select`],
//! [`changes`], [`statement`]; these are pure. This file reads the lake.

mod bucket;
mod changes;
mod columns;
mod names;
mod select;
mod statement;

use std::collections::BTreeSet;
use std::path::PathBuf;

use inlet_lake::{Head, LakeError, TableReader};
use inlet_model::{PUBLIC, TableName, quote};
use inlet_service::config::{Config, DatalakeConfig, TableConfig};

use crate::tables;

pub use self::bucket::{extensions, secret};
pub use self::columns::{Columns, Present, names_in_files, names_under};
pub use self::names::{ViewName, ViewNames, distinct, is_same, of_tables};
pub use self::select::{Files, Table, in_record_key};
pub use self::statement::{Asked, Statement};

/// The pattern of a table's data files, in its folder.
const DATA: &str = "**/*.parquet";
/// The pattern of its files of rejected rows.
const REJECTED: &str = "_quarantine/*.jsonl";

/// Which files the views read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Those that are committed now.
    Committed,
    /// Those that match when a view is read.
    Matching,
}

/// Reads what the views of a table are made of.
pub async fn read(
    config: &Config,
    datalake: &DatalakeConfig,
    table: &TableConfig,
    reading: Reading,
) -> Result<Table, LakeError> {
    let folder = tables::folder(config, datalake, table);
    // DuckDB may be started elsewhere, and reads `~` and addresses in a relative path.
    let folder = tables::absolute(&folder);
    let reader = TableReader::new(&folder);
    let head = reader.head().await?;
    let latest = head.as_ref().and_then(|head| reader.latest_schema(head));
    let columns = head
        .as_ref()
        .zip(latest.as_ref())
        .map(|(head, latest)| Columns::new(head, latest));
    let data = match (&head, reading) {
        (Some(head), Reading::Committed) => committed(&reader, head)?,
        _ => reader.data_files()?.into_iter().collect(),
    };
    let rejected: Vec<PathBuf> = reader.quarantine_files()?.into_iter().collect();
    let files = |found: Vec<PathBuf>, pattern| {
        (!found.is_empty()).then(|| match reading {
            Reading::Committed => Files::Named(found),
            Reading::Matching => Files::Matching(folder.clone(), pattern),
        })
    };
    Ok(Table {
        columns,
        data: files(data, DATA),
        rejected: files(rejected, REJECTED),
        date_key: head
            .as_ref()
            .and_then(|head| head.date_key.clone())
            .unwrap_or_else(|| "date".to_owned()),
        is_spread: head.is_some_and(|head| head.offsets.len() > 1),
        as_of: None,
    })
}

/// The files that the log names, as far as they exist: DuckDB fails at a missing one, and a file of
/// another program in the folder is not the table's.
fn committed(reader: &TableReader, head: &Head) -> Result<Vec<PathBuf>, LakeError> {
    // One listing for each date costs less than a request for each file of a bucket.
    let listed = match reader.is_in_bucket() {
        true => Some(reader.data_files()?),
        false => None,
    };
    let exists = |path: &PathBuf| match &listed {
        Some(listed) => listed.contains(path),
        None => path.exists(),
    };
    let (found, missing): (Vec<_>, Vec<_>) = reader
        .files(head)?
        .into_iter()
        .map(|file| file.path)
        .partition(exists);
    // A file of the last commit appears within milliseconds; any other was removed by hand.
    if let Some(first) = missing.first() {
        tracing::warn!(
            table = %head.table, files = missing.len(), first = %first.display(),
            "files of the lake are missing, and their rows with them"
        );
    }
    Ok(found)
}

/// The tables of the configuration by their exact names: those of the lake, and for a table that is
/// not in the lake yet the one that its name means.
pub fn exact_names(config: &Config, datalake: &DatalakeConfig) -> Vec<TableName> {
    let tables = config.tables.iter();
    tables
        .map(|table| {
            let found = TableReader::new(tables::folder(config, datalake, table)).table();
            found.unwrap_or_else(|| table.table.folded())
        })
        .collect()
}

/// The statements that create views.
#[derive(Debug, Default)]
pub struct Statements {
    text: String,
    schemas: BTreeSet<String>,
}

impl Statements {
    /// Adds the views of a table that `is_wanted` chooses. With `in_public`, a view of `main` gets
    /// the name that PostgreSQL knows as well, `public.orders`.
    pub fn add(
        &mut self,
        names: &ViewNames,
        table: &Table,
        in_public: bool,
        is_wanted: impl Fn(&ViewName) -> bool,
    ) {
        let selects: [fn(&Table) -> String; 3] = [Table::latest, Table::history, Table::quarantine];
        for (name, select) in names.all().into_iter().zip(selects) {
            if !is_wanted(name) {
                continue;
            }
            self.create(name, &select(table));
            if in_public && name.schema.is_none() {
                let public = ViewName {
                    schema: Some(PUBLIC.to_owned()),
                    name: name.name.clone(),
                };
                self.create(&public, &format!("FROM main.{}", quote(&name.name)));
            }
        }
    }

    /// Adds the view of a journal's changes with the rows of the table that they changed.
    pub fn add_with_row(&mut self, names: &ViewNames, changes: &Table, recorded: &Table) {
        self.create(&names.with_row, &changes::with_row(changes, recorded));
    }

    fn create(&mut self, name: &ViewName, select: &str) {
        if let Some(schema) = &name.schema
            && self.schemas.insert(schema.clone())
        {
            let schema = quote(schema);
            self.text
                .push_str(&format!("CREATE SCHEMA IF NOT EXISTS {schema};\n"));
        }
        self.text
            .push_str(&format!("CREATE OR REPLACE VIEW {name} AS\n{select};\n"));
    }

    /// The text for DuckDB; it ends with a line break.
    pub fn into_text(self) -> String {
        self.text
    }
}
