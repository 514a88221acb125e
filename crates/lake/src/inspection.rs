//! Compares a table's folder with its log, without changing either.
//!
//! Readers of `<folder>/**/*.parquet` read every file below the folder, whoever wrote it, and see
//! no sign of a file that is missing. The log names what was committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::commit::{self, DataFile, Log};
use crate::error::{LISTING, LakeError, READING};
use crate::files::names::{self, LOG, QUARANTINE};
use crate::files::{Opened, Store, ownership};

/// What `created_by` begins with in every data file.
pub(crate) const CREATED_BY: &str = "inlet ";

/// What is wrong with the files of a table's folder. Paths are those of the reader's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Files that readers read as the table's, and that the log does not name.
    pub foreign: BTreeSet<PathBuf>,
    /// Committed files that are neither published nor staged.
    pub missing: BTreeSet<PathBuf>,
    /// Committed files that are not what was committed, each with the reason.
    pub damaged: BTreeMap<PathBuf, String>,
    /// Committed files that this process, or every user, has no right to read.
    pub forbidden: BTreeMap<PathBuf, String>,
    /// Entries that cannot be read, each with the reason: which files they name is unknown.
    pub unreadable: BTreeMap<PathBuf, String>,
    /// The last entry, when it is incomplete: it was never committed.
    pub torn: Option<PathBuf>,
    /// Incomplete entries that a writer has set aside.
    pub set_aside: BTreeSet<PathBuf>,
}

impl Inspection {
    /// True if readers see the committed files and no others.
    pub fn is_clean(&self) -> bool {
        self.foreign.is_empty()
            && self.missing.is_empty()
            && self.damaged.is_empty()
            && self.forbidden.is_empty()
            && self.unreadable.is_empty()
    }
}

/// Lists what is in the folder and what the log names, and reads the footer of every data file.
pub(crate) fn inspect(store: Arc<Store>) -> Result<Inspection, LakeError> {
    // Files stay in their places while they are compared.
    let _held = commit::hold(&store);
    // The folder is listed before the log is read: the entry of a file exists before the file
    // becomes visible.
    let mut visible = BTreeSet::new();
    list_visible(&store, &mut visible)?;
    let mut inspection = Inspection {
        set_aside: set_aside(&store)?,
        ..Inspection::default()
    };
    let mut committed = Committed::new();
    if let Some(table) = commit::table_of(&store)? {
        let (log, torn) = Log::read(store.clone(), &table)?;
        inspection.torn = torn.map(|seq| store.path(&names::entry(seq)));
        let unreadable = |entry: String, reason| {
            inspection.unreadable.insert(store.path(&entry), reason);
            Ok(())
        };
        let live = commit::live(&store, log.head.seq, unreadable)?;
        let files = live.into_files();
        committed.extend(files.map(|of| (store.path(&of.file.path), of.file)));
    }
    compare(&store, visible, &committed, &mut inspection)?;
    Ok(inspection)
}

/// The files that the log names, by their whole paths.
pub(crate) type Committed = BTreeMap<PathBuf, DataFile>;

/// Compares what readers find with what was committed.
pub(crate) fn compare(
    store: &Store,
    mut visible: BTreeSet<PathBuf>,
    committed: &Committed,
    inspection: &mut Inspection,
) -> Result<(), LakeError> {
    for (path, file) in committed {
        match inspect_file(store, path, file)? {
            Condition::Committed => {}
            Condition::Missing => _ = inspection.missing.insert(path.clone()),
            Condition::Forbidden => {
                let reason = format!("no right to read it: {}", ownership(path));
                inspection.forbidden.insert(path.clone(), reason);
            }
            Condition::Damaged(reason) => _ = inspection.damaged.insert(path.clone(), reason),
        }
    }
    // An entry that cannot be read may name any file that looks like ours.
    let may_be_ours = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !inspection.unreadable.is_empty() && names::FileName::parse(&name).is_some()
    };
    visible.retain(|path| !committed.contains_key(path) && !may_be_ours(path));
    inspection.foreign = visible;
    Ok(())
}

/// Committed files that are neither published nor staged, with the number of their rows. Reads the
/// list of files, and none of them.
pub(crate) fn missing(store: Arc<Store>) -> Result<BTreeMap<PathBuf, u64>, LakeError> {
    let Some(table) = commit::table_of(&store)? else {
        return Ok(BTreeMap::new());
    };
    // Files stay in their places while they are looked for.
    let _held = commit::hold(&store);
    let (log, _torn) = Log::read(store.clone(), &table)?;
    // Which files an unreadable entry names is the concern of `inspect`.
    let live = commit::live(&store, log.head.seq, |_entry, _reason| Ok(()))?;
    let mut missing = BTreeMap::new();
    for of in live.into_files() {
        let path = store.path(&of.file.path);
        if store.size(&of.file.path)?.is_none() && is_missing(&store, &of.file)? {
            missing.insert(path, of.file.rows);
        }
    }
    Ok(missing)
}

fn is_missing(store: &Store, committed: &DataFile) -> Result<bool, LakeError> {
    // A committed file is renamed a moment after its entry. The place is looked at last: the rename
    // may happen between the two questions.
    let is_staged = store.size(&committed.staged)?.is_some();
    Ok(!is_staged && store.size(&committed.path)?.is_none())
}

/// Adds every file that readers of data or of rejected rows read.
pub(crate) fn list_visible(
    store: &Store,
    visible: &mut BTreeSet<PathBuf>,
) -> Result<(), LakeError> {
    if !store.is_bucket() {
        return list_folder(store.root(), visible);
    }
    let objects = store.list_below("")?.into_iter();
    visible.extend(objects.filter_map(|name| {
        let is_rejected = names::is_quarantine(&name) && name.starts_with(QUARANTINE);
        (names::is_data(&name) || is_rejected).then(|| store.path(&name))
    }));
    Ok(())
}

fn list_folder(folder: &Path, visible: &mut BTreeSet<PathBuf>) -> Result<(), LakeError> {
    let failed = |source| LakeError::io(LISTING, folder, source);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        // A path that is too long leads no reader anywhere (`files/hidden`).
        Err(error) if error.kind() == std::io::ErrorKind::InvalidFilename => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().map_err(failed)?.is_dir() {
            list_folder(&path, visible)?;
        } else if names::is_data(&name)
            || (names::is_quarantine(&name) && folder.ends_with(QUARANTINE))
        {
            visible.insert(path);
        }
    }
    Ok(())
}

fn set_aside(store: &Store) -> Result<BTreeSet<PathBuf>, LakeError> {
    let names = store.list(LOG)?.into_iter();
    let torn = names.filter(|name| name.ends_with(names::TORN));
    Ok(torn.map(|name| store.path(LOG).join(name)).collect())
}

enum Condition {
    Committed,
    Missing,
    Forbidden,
    Damaged(String),
}

fn inspect_file(store: &Store, path: &Path, committed: &DataFile) -> Result<Condition, LakeError> {
    let file = match Opened::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(match is_missing(store, committed)? {
                true => Condition::Missing,
                false => Condition::Committed,
            });
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Ok(Condition::Forbidden);
        }
        Err(source) => return Err(LakeError::io(READING, path, source)),
    };
    let failed = |source| LakeError::io("inspection", path, source);
    if file.is_folder().map_err(failed)? {
        return Ok(Condition::Damaged("a folder has its name".to_owned()));
    }
    // This process may read every file, as root may, and readers of the lake may not.
    if !file.is_readable().map_err(failed)? {
        return Ok(Condition::Forbidden);
    }
    let size = file.size();
    let reason = if names::is_data(&committed.path) {
        match ParquetMetaDataReader::new().parse_and_finish(&file) {
            Ok(metadata) => wrong_footer(&metadata, committed, size),
            Err(error) if size < committed.bytes => Some(format!(
                "it has {size} bytes, and {} were committed: {}",
                committed.bytes,
                in_words(&error)
            )),
            Err(error) => Some(in_words(&error)),
        }
    } else {
        (size != committed.bytes).then(|| {
            format!(
                "it has {size} bytes, and {} were committed",
                committed.bytes
            )
        })
    };
    Ok(reason.map_or(Condition::Committed, Condition::Damaged))
}

/// Explains what a readable footer has that no footer of ours has.
fn wrong_footer(metadata: &ParquetMetaData, committed: &DataFile, size: u64) -> Option<String> {
    let writer = metadata.file_metadata().created_by().unwrap_or_default();
    if !writer.starts_with(CREATED_BY) {
        return Some(format!("another program wrote it: `{writer}`"));
    }
    let rows = metadata.file_metadata().num_rows();
    if u64::try_from(rows) != Ok(committed.rows) {
        return Some(format!(
            "it has {rows} rows, and {} were committed",
            committed.rows
        ));
    }
    let mut chunks = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    let is_wrong = chunks.any(|chunk| {
        let start = chunk
            .dictionary_page_offset()
            .unwrap_or(chunk.data_page_offset());
        let end = start.checked_add(chunk.compressed_size());
        // The footer may hold any number, also a negative one.
        end.and_then(|end| u64::try_from(end).ok())
            .is_none_or(|end| end > size)
            || !matches!(chunk.compression(), Compression::ZSTD(_))
    });
    is_wrong.then(|| "its footer describes columns that it does not have".to_owned())
}

/// The reason without the name of its kind, which the sentence around it states.
pub(crate) fn in_words(error: &ParquetError) -> String {
    let text = error.to_string();
    text.trim_start_matches("Parquet error: ").to_owned()
}
