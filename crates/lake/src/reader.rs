//! Reading one table's lake, without becoming a writer: nothing is created or repaired.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use chrono::{DateTime, Utc};
use inlet_model::{TableName, TableSchema};

use crate::audit::{self, Audit};
use crate::commit::{self, Entries, Head, LakeFile, Log, Published, Writer};
use crate::error::LakeError;
use crate::files::names::{self, QUARANTINE};
use crate::files::{self, Put, Rejected, Store, in_bucket, joined};
use crate::inspection::{self, Inspection};
use crate::logged::LoggedEntry;

/// Entries that [`TableReader::rows_since`] reads at most: a table commits less often than this in
/// any span that people look at.
const ENTRIES_MAX: usize = 1_000;

/// A table's folder, which may be empty or missing.
#[derive(Debug, Clone)]
pub struct TableReader {
    folder: PathBuf,
}

/// Keeps the files of a table in their places while it lives; see [`TableReader::hold`].
#[derive(Debug)]
#[must_use = "files may be replaced once it is dropped"]
pub struct Held {
    _lock: Option<File>,
}

/// The tables of a lake that has a folder for each, as their logs name them.
pub fn tables_of(lake: &Path) -> Vec<TableName> {
    let names = Store::existing(lake).and_then(|store| store.list(""));
    let folders = names.unwrap_or_default().into_iter();
    folders
        .filter_map(|name| commit::table_of(&Store::existing(&lake.join(name)).ok()?).ok()?)
        .collect()
}

impl TableReader {
    /// A reader of a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The table's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// True where the folder is in a bucket.
    pub fn is_in_bucket(&self) -> bool {
        in_bucket(&self.folder)
    }

    /// The head of the log: progress, offsets, schemas and counts. `None` before the first commit.
    pub async fn head(&self) -> Result<Option<Head>, LakeError> {
        let store = self.store()?;
        joined(
            tokio::task::spawn_blocking(move || {
                // A folder that has never been written has no table name, and no log to read.
                let Some(table) = commit::table_of(&store)? else {
                    return Ok(None);
                };
                // A torn last entry was never committed; only a writer may set it aside.
                let (log, _torn) = Log::read(store.into(), &table)?;
                Ok(Some(log.head))
            })
            .await,
        )
    }

    /// The table of the folder, as its log names it; `None` without a log.
    pub fn table(&self) -> Option<TableName> {
        commit::table_of(&self.store().ok()?).ok().flatten()
    }

    /// Fails with [`LakeError::OtherTable`] when the folder holds another table than this one.
    pub async fn expect_table(&self, expected: &TableName) -> Result<(), LakeError> {
        match self.head().await? {
            Some(head) if head.table != *expected => Err(LakeError::OtherTable {
                path: self.folder.clone(),
                found: head.table,
                expected: expected.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Keeps the files that readers see in their places while the answer lives: small ones are
    /// replaced by larger ones otherwise. Commits go on.
    pub fn hold(&self) -> Held {
        Held {
            _lock: self.store().ok().and_then(|store| commit::hold(&store)),
        }
    }

    /// Compares the folder with the log: which files are foreign, missing or damaged. Reads the
    /// list of files and the footer of every data file.
    pub async fn inspect(&self) -> Result<Inspection, LakeError> {
        let store = self.store()?;
        joined(tokio::task::spawn_blocking(move || inspection::inspect(store.into())).await)
    }

    /// Reads everything in the folder, to the last row of each file, and reports what is wrong:
    /// with the log, with the files that it names, and what crashes and other programs left.
    pub async fn audit(&self) -> Result<Audit, LakeError> {
        let store = self.store()?;
        joined(tokio::task::spawn_blocking(move || audit::audit(&store)).await)
    }

    /// The last entries of the log, at most this many, the latest one first. An entry that cannot
    /// be read has the reason in its place.
    pub fn log(&self, head: &Head, count: usize) -> Vec<(u64, Result<LoggedEntry, String>)> {
        let store = self.store();
        let store = store.as_ref().map_err(ToString::to_string);
        let mut entries =
            store.and_then(|store| Entries::find(store).map_err(|error| error.to_string()));
        let numbers = (1..=head.seq).rev().take(count);
        let read = |seq| {
            let entries = entries.as_mut().map_err(|reason| reason.clone())?;
            let found = entries.read(seq).map_err(|error| error.to_string())?;
            found.entry().map(LoggedEntry::of)
        };
        let numbers: Vec<u64> = numbers.collect();
        let read = numbers.iter().copied().map(read);
        numbers.iter().copied().zip(read).collect()
    }

    /// The committed files that are missing, with the number of their rows. Reads the list of
    /// files, and none of them.
    pub async fn missing(&self) -> Result<BTreeMap<PathBuf, u64>, LakeError> {
        let store = self.store()?;
        joined(tokio::task::spawn_blocking(move || inspection::missing(store.into())).await)
    }

    /// The schema of the rows that were found last.
    pub fn latest_schema(&self, head: &Head) -> Option<TableSchema> {
        if let Some(latest) = head.latest_schema() {
            return Some(latest.clone());
        }
        // A lake of 0.1.0 with several schemas: its entries name each schema with its first rows
        // only. The next commit states the latest one, so this walk is taken once at most.
        let store = self.store().ok()?;
        let mut entries = Entries::find(&store).ok()?;
        let latest = (1..=head.seq)
            .rev()
            .filter_map(|seq| entries.expect(seq).ok())
            .find_map(|entry| entry.schemas.into_values().next());
        latest.or_else(|| head.schemas.values().next().cloned())
    }

    /// Rows that became visible at this time or later. Only the latest 1000 entries are read.
    pub fn rows_since(&self, head: &Head, since: DateTime<Utc>) -> u64 {
        let Ok(store) = self.store() else {
            return 0;
        };
        let Ok(mut entries) = Entries::find(&store) else {
            return 0;
        };
        (1..=head.seq)
            .rev()
            .take(ENTRIES_MAX)
            // The numbers have no gap, so the first unreadable entry ends the walk.
            .map_while(|seq| entries.expect(seq).ok())
            .take_while(|entry| entry.committed_at >= since)
            .map(|entry| entry.rows)
            .sum()
    }

    /// The data files that readers see after this head, in the order of the log. Reads a bounded
    /// number of files of the log.
    pub fn files(&self, head: &Head) -> Result<Vec<LakeFile>, LakeError> {
        commit::list(&self.store()?, head)
    }

    /// The log up to the last entry all of whose files are in their places. Blocks. `None` without
    /// a commit, and while columns of files get other names.
    pub fn published(&self) -> Result<Option<Published>, LakeError> {
        Published::read(self.store()?.into())
    }

    /// Creates a file below the table's folder, whole and durable, unless one has the name; false
    /// where one has. Blocks.
    pub fn create(&self, relative: &str, bytes: &[u8]) -> Result<bool, LakeError> {
        match self
            .store()?
            .put_if_absent(relative, &temporary(relative), bytes)?
        {
            Put::Created => Ok(true),
            Put::Exists => Ok(false),
            Put::Doubtful(error) => Err(error),
        }
    }

    /// Creates a folder below the table's folder. Blocks.
    pub fn create_folder(&self, relative: &str) -> Result<(), LakeError> {
        self.store()?.create_folder(relative)
    }

    /// True when a file exists below the table's folder. Blocks.
    pub fn has(&self, relative: &str) -> Result<bool, LakeError> {
        Ok(self.store()?.size(relative)?.is_some())
    }

    /// The names in a folder below the table's; empty when it is missing. Blocks.
    pub fn list(&self, relative: &str) -> Result<Vec<String>, LakeError> {
        self.store()?.list(relative)
    }

    /// Reads a file below the table's folder; `None` when it is missing. Blocks.
    pub fn read(&self, relative: &str) -> Result<Option<Vec<u8>>, LakeError> {
        self.store()?.read(relative)
    }

    /// The published data files.
    pub fn data_files(&self) -> Result<BTreeSet<PathBuf>, LakeError> {
        let store = self.store()?;
        let mut files = BTreeSet::new();
        for date in store.list("")? {
            if !names::is_date_folder(&date) {
                continue;
            }
            let found = store
                .list(&date)?
                .into_iter()
                .filter(|name| names::is_data(name));
            files.extend(found.map(|name| store.path(&date).join(name)));
        }
        Ok(files)
    }

    /// The published files of rejected rows.
    pub fn quarantine_files(&self) -> Result<BTreeSet<PathBuf>, LakeError> {
        let store = self.store()?;
        let found = store.list(QUARANTINE)?.into_iter();
        let found = found.filter(|name| names::is_quarantine(name));
        Ok(found
            .map(|name| store.path(QUARANTINE).join(name))
            .collect())
    }

    /// A pattern that matches the data files of every date.
    pub fn data_pattern(&self) -> PathBuf {
        self.folder.join("**/*.parquet")
    }

    /// A pattern that matches the files of rejected rows.
    pub fn quarantine_pattern(&self) -> PathBuf {
        self.folder.join(QUARANTINE).join("*.jsonl")
    }

    /// Reads the rows of a data file, with their change columns.
    pub fn rows(path: &Path, take: impl FnMut(&RecordBatch)) -> Result<(), LakeError> {
        files::read_rows(path, take)
    }

    /// Reads the rows of a data file as [`Self::rows`] does, with the columns of `schema` under
    /// their own names, whatever they are called in the file.
    pub fn rows_as(
        path: &Path,
        head: Option<&Head>,
        schema: &TableSchema,
        mut take: impl FnMut(&RecordBatch),
    ) -> Result<(), LakeError> {
        let names = head.map(|head| head.names_in_files(schema));
        let own = |name: &str| {
            let at = names
                .as_ref()?
                .iter()
                .position(|in_file| *in_file == name)?;
            Some(schema.columns[at].name.clone())
        };
        Self::rows(path, |rows| {
            let fields = rows.schema();
            let fields = fields.fields().iter().map(|field| match own(field.name()) {
                Some(name) => Arc::new(field.as_ref().clone().with_name(name)),
                None => field.clone(),
            });
            let fields = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
            let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            let columns = rows.columns().to_vec();
            let rows = RecordBatch::try_new_with_options(fields, columns, &count);
            take(&rows.expect("only names differ"));
        })
    }

    /// Reads the rows of a file of rejected rows.
    pub fn rejected(path: &Path, take: impl FnMut(Rejected)) -> Result<(), LakeError> {
        files::read_quarantine(path, take)
    }

    /// The writers that have a lock or staged files in the folder.
    pub fn writers(&self) -> Result<Vec<Writer>, LakeError> {
        commit::writers(&self.folder)
    }

    /// True while a process holds the lock of a writer; `None` where that cannot be seen.
    pub fn is_written(&self) -> Option<bool> {
        let writers = self.writers().ok()?;
        Some(writers.iter().any(|writer| writer.alive))
    }

    /// Tries in the folder, which must exist, what a commit needs of its file system.
    pub async fn probe(&self) -> Result<(), LakeError> {
        let store = self.store()?;
        joined(tokio::task::spawn_blocking(move || store.probe()).await)
    }

    fn store(&self) -> Result<Store, LakeError> {
        Store::existing(&self.folder)
    }
}

/// The name of a file until it is whole, beside its own: no reader looks for it.
fn temporary(relative: &str) -> String {
    format!("{relative}.{}.new", uuid::Uuid::new_v4().simple())
}
