//! A table's folder of the lake, looked at without asking PostgreSQL which table it holds.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use inlet_lake::entry::Entry;
use inlet_lake::{Head, LakeError, LakeTable};
use inlet_model::{TableName, TableSchema};
use serde::Deserialize;

/// A table commits less often than this in any span that people look at.
const ENTRIES_MAX: usize = 1_000;

/// What every file of the log says.
#[derive(Deserialize)]
struct OfTable {
    table: TableName,
}

/// The head of the folder's log; `None` before the first commit.
pub async fn head(folder: &Path) -> Result<Option<Head>, LakeError> {
    match table(folder) {
        Some(table) => LakeTable::peek(folder, &table).await.map(Some),
        None => Ok(None),
    }
}

/// The tables of a lake of several, each in a folder of its own.
pub fn tables(lake: &Path) -> Vec<TableName> {
    list(lake)
        .unwrap_or_default()
        .iter()
        .filter_map(|folder| table(folder))
        .collect()
}

/// The schema that the table's newest rows have.
pub fn newest_schema(folder: &Path, head: &Head) -> Option<TableSchema> {
    let mut schemas = head.schemas.values();
    let (first, second) = (schemas.next()?, schemas.next());
    if second.is_none() {
        return Some(first.clone());
    }
    // The head does not tell which came last; schemas change rarely, so this is rarely far.
    let named = (1..=head.seq)
        .rev()
        .filter_map(|seq| entry(folder, seq))
        .find(|entry| !entry.schemas.is_empty());
    named
        .and_then(|entry| entry.schemas.into_values().next())
        .or_else(|| Some(first.clone()))
}

/// Rows that became visible at this time or later, as far as the newest [`ENTRIES_MAX`] entries
/// tell.
pub fn rows_since(folder: &Path, head: &Head, since: DateTime<Utc>) -> u64 {
    let newest = (1..=head.seq)
        .rev()
        .take(ENTRIES_MAX)
        .map_while(|seq| entry(folder, seq));
    newest
        .take_while(|entry| entry.committed_at >= since)
        .map(|entry| entry.rows)
        .sum()
}

fn entry(folder: &Path, seq: u64) -> Option<Entry> {
    serde_json::from_slice(&fs::read(folder.join(format!("_log/{seq:020}.json"))).ok()?).ok()
}

/// The published data files, sorted.
pub fn data_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let dated = |path: &PathBuf| {
        name(path).is_some_and(|name| name.starts_with("date=") || name.starts_with("_date="))
    };
    let mut files = Vec::new();
    for dates in list(folder)?.into_iter().filter(dated) {
        files.extend(
            list(&dates)?
                .into_iter()
                .filter(|path| name(path).is_some_and(|name| name.ends_with(".parquet"))),
        );
    }
    files.sort_unstable();
    Ok(files)
}

/// The files of rejected rows, sorted.
pub fn quarantine_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = list(&folder.join("_quarantine"))?;
    files.retain(|path| name(path).is_some_and(|name| name.ends_with(".jsonl")));
    files.sort_unstable();
    Ok(files)
}

fn table(folder: &Path) -> Option<TableName> {
    let read = |name: &str| {
        serde_json::from_slice::<OfTable>(&fs::read(folder.join("_log").join(name)).ok()?).ok()
    };
    let first = format!("{:020}.json", 1);
    Some(read("_checkpoint.json").or_else(|| read(&first))?.table)
}

/// What a folder holds; nothing when it is not there.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}
