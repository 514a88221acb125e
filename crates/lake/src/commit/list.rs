//! The list of a table's data files, as the log's entries name them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use inlet_model::{Fingerprint, TableSchema};

use super::entry::{DataFile, Entry};
use super::head::Head;
use super::log::Found;
use crate::error::LakeError;
use crate::files::footer::{Footer, TAIL};
use crate::files::{CHANGE_COLUMNS, ColumnStatistics, Store, in_file, names};

/// A data file that the log names. A file of the last entries may not be visible yet, and one that
/// was removed by hand stays in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeFile {
    /// Where readers find it.
    pub path: PathBuf,
    /// Its date_partition; `None` for rows without a date.
    pub date: Option<String>,
    /// The number of its rows.
    pub rows: u64,
    /// Its size when it was written. Later names of its columns change its footer, and so its size.
    pub bytes: u64,
    /// Bytes before its footer, which never change; `None` in what 0.1.0 stored.
    pub data_bytes: Option<u64>,
    /// The schema of its rows; `None` for a file of 0.1.0 that is missing or fits no schema.
    pub schema: Option<Fingerprint>,
    /// Statistics of its columns by the names of its schema, for the first columns, the key,
    /// `_offset` and `_detected_at`. Empty for what 0.1.0 stored.
    pub columns: BTreeMap<String, ColumnStatistics>,
    /// The number of its entry.
    pub seq: u64,
}

/// The files of all entries up to the head, in the order of the log.
pub(crate) fn list(store: &Store, head: &Head) -> Result<Vec<LakeFile>, LakeError> {
    let mut files = Vec::new();
    for seq in 1..=head.seq {
        for file in entry(store, seq)?.files {
            files.push(LakeFile {
                path: store.path(&file.path),
                schema: schema_of(store, head, &file)?,
                data_bytes: data_bytes(&file),
                date: file.date,
                rows: file.rows,
                bytes: file.bytes,
                columns: file.columns,
                seq,
            });
        }
    }
    Ok(files)
}

fn entry(store: &Store, seq: u64) -> Result<Entry, LakeError> {
    let found = Found::read(store, seq)?.entry();
    found.map_err(|reason| LakeError::Corrupt {
        entry: names::entry(seq),
        reason,
    })
}

/// Bytes of a file before its footer.
pub(super) fn data_bytes(file: &DataFile) -> Option<u64> {
    file.bytes.checked_sub(TAIL + u64::from(file.footer?))
}

/// The schema of a file's rows.
pub(super) fn schema_of(
    store: &Store,
    head: &Head,
    file: &DataFile,
) -> Result<Option<Fingerprint>, LakeError> {
    if file.schema.is_some() {
        return Ok(file.schema);
    }
    // 0.1.0 stored no schema with its files. Most of its lakes have one only.
    if head.schemas.len() == 1 {
        return Ok(head.schemas.keys().next().copied());
    }
    let Some(footer) = Footer::read(&store.path(&file.path))? else {
        return Ok(None);
    };
    // A footer that was written again names its schema.
    if let Some(found) = footer.schema() {
        return Ok(Some(found));
    }
    // Schemas that differ in neither a name nor a type of the file are the same for its readers.
    let columns = footer.columns(&store.path(&file.path))?;
    let fits = |schema: &&TableSchema| {
        let table = schema.columns.iter();
        let table = table.map(|column| (column.name.clone(), in_file(column.column_type)));
        columns.len() == schema.columns.len() + CHANGE_COLUMNS.len()
            && table.eq(columns[..schema.columns.len()].iter().cloned())
    };
    let found = head.schemas.values().find(fits);
    Ok(found.map(TableSchema::fingerprint))
}
