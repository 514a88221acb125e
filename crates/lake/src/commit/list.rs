//! The list of a table's data files, as the log names them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use inlet_model::{Fingerprint, TableSchema};

use super::entry::{DataFile, Entry};
use super::head::Head;
use super::live::{Listed, Live};
use super::packs::Entries;
use super::segments::Segments;
use crate::error::LakeError;
use crate::files::footer::{Footer, TAIL};
use crate::files::names::is_data;
use crate::files::{CHANGE_COLUMNS, ColumnStatistics, Store, in_file};

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
    /// How often its rows were merged into a larger file; 0 for the file of a commit.
    pub level: u32,
    /// The number of its entry.
    pub seq: u64,
}

/// The data files that readers see after the head, in the order of the log.
pub(crate) fn list(store: &Store, head: &Head) -> Result<Vec<LakeFile>, LakeError> {
    let live = live(store, head.seq, |entry, reason| {
        Err(LakeError::Corrupt { entry, reason })
    })?;
    let data = live.into_files().filter(|of| is_data(&of.file.path));
    data.map(|listed| lake_file(store, head, listed)).collect()
}

/// A listed data file, with the schema of its rows.
pub(super) fn lake_file(
    store: &Store,
    head: &Head,
    Listed { seq, file }: Listed,
) -> Result<LakeFile, LakeError> {
    Ok(LakeFile {
        path: store.path(&file.path),
        schema: schema_of(store, head, &file)?,
        data_bytes: data_bytes(&file),
        date: file.date,
        rows: file.rows,
        bytes: file.bytes,
        columns: file.columns,
        level: file.level,
        seq,
    })
}

/// The files after entry `last`, rejected rows included. `unreadable` gets the name of each entry
/// that cannot be read, with the reason.
pub(crate) fn live(
    store: &Store,
    last: u64,
    mut unreadable: impl FnMut(String, String) -> Result<(), LakeError>,
) -> Result<Live, LakeError> {
    let segments = Segments::find(store)?;
    let mut entries = Entries::find(store)?;
    let mut live = Live::default();
    let mut next = 1;
    while next <= last {
        if let Some((segment, end)) = segments.read(next, last)? {
            live.extend(segment);
            next = end + 1;
            continue;
        }
        match entries.read(next)?.entry() {
            // A crash left it in the log before its files took the place of the others: readers
            // still see those.
            Ok(entry) if is_replacement_pending(store, &entry)? => {}
            Ok(entry) => live.apply(entry),
            Err(reason) => unreadable(entries.path(next), reason)?,
        }
        next += 1;
    }
    Ok(live)
}

pub(super) fn is_replacement_pending(store: &Store, entry: &Entry) -> Result<bool, LakeError> {
    if let Some(expired) = &entry.expired {
        return Ok(store.size(&expired.staged)?.is_some());
    }
    let mut files = entry.files.iter().chain(&entry.quarantine);
    match files.next().filter(|_| !entry.replaced.is_empty()) {
        Some(file) => Ok(store.size(&file.staged)?.is_some()),
        None => Ok(false),
    }
}

/// Bytes of a file before its footer.
pub(super) fn data_bytes(file: &DataFile) -> Option<u64> {
    file.bytes.checked_sub(TAIL + u64::from(file.footer?))
}

/// The schema of a file's rows.
pub(crate) fn schema_of(
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
