//! Everything that can be wrong with a table's folder, without changing it: every entry of the log,
//! every file that it names to the last row, and what crashes and other programs left.
//!
//! [`crate::TableReader::inspect`] compares the names and the footers in a bounded time; this reads
//! it all. Both compare files with the log in `inspection`.

mod positions;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use inlet_model::KafkaPartition;
use parquet::file::metadata::ParquetMetaDataReader;

use crate::commit::{self, DataFile, LogFlaw, Walk};
use crate::error::{LakeError, READING};
use crate::files::names::{self, HIDDEN, STAGING, is_data, writer_of};
use crate::files::{Opened, Store, read_quarantine, read_rows, statistics_of};
use crate::inspection::{self, CREATED_BY, Committed, Inspection};
use positions::{Positions, Rows};

/// What is wrong with a table's folder. Paths are those of the reader's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Which files are foreign, missing or damaged.
    pub inspection: Inspection,
    /// Where foreign files come from.
    pub origins: BTreeMap<PathBuf, Origin>,
    /// What is wrong with the log.
    pub log: Vec<(PathBuf, LogFlaw)>,
    /// What is wrong with the rows of files that look whole.
    pub contents: Vec<(PathBuf, ContentFlaw)>,
    /// What processes that ended have left.
    pub left: Vec<(PathBuf, Left)>,
    /// The number of entries, files and rows that were read.
    pub read: Read,
}

impl Audit {
    /// True if nothing is wrong, and no process has left anything.
    pub fn is_clean(&self) -> bool {
        self.inspection.is_clean()
            && self.log.is_empty()
            && self.contents.is_empty()
            && self.left.is_empty()
    }
}

/// How much was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Read {
    /// Entries of the log.
    pub entries: u64,
    /// Data files and files of rejected rows.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
}

/// Where a file comes from that the log does not name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It has the bytes of a committed file.
    CopyOf(PathBuf),
    /// It has the name and the size of a committed file that is missing in its place.
    Misplaced(PathBuf),
    /// The log had it, until this entry.
    Former(u64),
    /// Inlet wrote it for another lake, or for a log that this one does not have.
    OtherLog,
    /// Another program wrote it, as its footer names it.
    OtherProgram(String),
    /// It is no Parquet file, or a damaged one.
    Unknown,
}

/// What is wrong with the rows of a file.
#[allow(missing_docs)] // The reader of a variant explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentFlaw {
    /// They cannot be read, or are not what was committed.
    Unreadable(String),
    /// It has rows that it or another file has already.
    Repeated { rows: u64, first: i64 },
    /// A row has a position that the log does not cover.
    Beyond {
        partition: KafkaPartition,
        offset: i64,
    },
}

/// What a process that ended has left.
#[allow(missing_docs)] // The reader of a variant explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// Invisible files that no entry names.
    Files { writer: String, files: usize },
    /// A folder that was made to take the place of a date's.
    Folder { writer: String },
    /// A lock alone.
    Lock { writer: String },
    /// A committed file that readers do not see yet.
    Unpublished { place: PathBuf },
}

/// Reads a table's folder to the last row.
pub(crate) fn audit(store: &Store) -> Result<Audit, LakeError> {
    // Files stay in their places while they are read.
    let _held = commit::hold(store);
    // The folder is listed before the log is read: the entry of a file exists before the file
    // becomes visible. Writers that end from here on are looked at last, and are alive before.
    let mut visible = BTreeSet::new();
    inspection::list_visible(store, &mut visible)?;
    let mut audit = Audit::default();
    let walk = commit::walk(store)?;
    let listed = walk.iter().flat_map(|walk| &walk.live);
    let committed: Committed = listed
        .map(|of| (store.path(&of.file.path), of.file.clone()))
        .collect();
    // The files of an entry that cannot be read look like files of another log.
    let is_unknown = |flaw: &LogFlaw| matches!(flaw, LogFlaw::Missing | LogFlaw::Unreadable(_));
    let flaws = walk.iter().flat_map(|walk| &walk.flaws);
    audit.inspection.unreadable = flaws
        .filter(|(_, flaw)| is_unknown(flaw))
        .map(|(path, _)| (store.path(path), String::new()))
        .collect();
    inspection::compare(store, visible, &committed, &mut audit.inspection)?;
    // The walk explains them.
    audit.inspection.unreadable.clear();
    if let Some(walk) = &walk {
        audit.read.entries = walk.entries;
        let flaws = walk.flaws.iter();
        audit.log = flaws
            .map(|(path, flaw)| (store.path(path), flaw.clone()))
            .collect();
        let mut contents = Contents {
            store,
            walk,
            known: Positions::default(),
            several: Positions::default(),
            audit: &mut audit,
        };
        for (path, file) in &committed {
            contents.read(path, file)?;
        }
        contents.compare_rows(&committed)?;
    }
    for path in &audit.inspection.foreign {
        let origin = origin(store, path, &committed, walk.as_ref(), &audit.inspection)?;
        audit.origins.insert(path.clone(), origin);
    }
    audit.left = left(store, &committed)?;
    Ok(audit)
}

/// Reads the rows of files, and remembers their positions.
///
/// A position is in one file: it is that of a row, or of a message whose rows have one date. The
/// rows of a message with several dates are in a file for each, so the rows of positions that are
/// in several files are compared, in a second reading.
struct Contents<'a> {
    store: &'a Store,
    walk: &'a Walk,
    known: Positions,
    /// The positions that are in more than one file.
    several: Positions,
    audit: &'a mut Audit,
}

impl Contents<'_> {
    fn read(&mut self, path: &Path, file: &DataFile) -> Result<(), LakeError> {
        let found = &self.audit.inspection;
        let is_reported = found.missing.contains(path)
            || found.damaged.contains_key(path)
            || found.forbidden.contains_key(path);
        // A committed file may wait for its writer to show it.
        if is_reported || self.store.size(&file.path)?.is_none() {
            return Ok(());
        }
        self.audit.read.files += 1;
        let flaw = match is_data(&file.path) {
            true => self.read_data(path, file)?,
            false => self.read_rejected(path, file)?,
        };
        self.audit
            .contents
            .extend(flaw.map(|flaw| (path.to_owned(), flaw)));
        Ok(())
    }

    fn read_data(
        &mut self,
        path: &Path,
        file: &DataFile,
    ) -> Result<Option<ContentFlaw>, LakeError> {
        let (mut found, mut rows, mut has_messages) = (Positions::default(), 0, false);
        let read = read_rows(path, |batch| {
            rows += batch.num_rows() as u64;
            has_messages |= found.add(batch);
        });
        match read {
            Ok(()) => {}
            Err(LakeError::Damaged { source, .. }) => {
                let reason = inspection::in_words(&source);
                return Ok(Some(ContentFlaw::Unreadable(reason)));
            }
            // It was replaced by hand, or by a version that takes no lock.
            Err(LakeError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        self.audit.read.rows += rows;
        if rows != file.rows {
            let reason = format!("it has {rows} rows, and {} were committed", file.rows);
            return Ok(Some(ContentFlaw::Unreadable(reason)));
        }
        // The rows of another file are reported for this one, and not for that one as well.
        if let Some(flaw) = self.compare_statistics(path, file)? {
            return Ok(Some(flaw));
        }
        let flaw = self.beyond(&found);
        self.several.add_shared(&found, &self.known);
        self.known.add_all(found);
        match flaw {
            None if has_messages => self.repeated_in(path, file),
            flaw => Ok(flaw),
        }
    }

    /// A position after the end of the log.
    fn beyond(&self, found: &Positions) -> Option<ContentFlaw> {
        found.last().find_map(|(partition, offset)| {
            let next = self.walk.head.partition(partition).next;
            let is_beyond = next.is_none_or(|next| offset >= next.0);
            is_beyond.then_some(ContentFlaw::Beyond { partition, offset })
        })
    }

    /// Rows of a message that a file has more than once: a message has a key at most once. Rows
    /// without a key may be equal.
    fn repeated_in(&self, path: &Path, file: &DataFile) -> Result<Option<ContentFlaw>, LakeError> {
        let key = self.key(file);
        if key.is_empty() {
            return Ok(None);
        }
        let mut rows = Rows::of_key(key);
        rows.read(path, None)?;
        Ok(rows.flaw())
    }

    /// The rows of positions that are in several files: a row is in one of them.
    fn compare_rows(&mut self, committed: &Committed) -> Result<(), LakeError> {
        if self.several.is_empty() {
            return Ok(());
        }
        let mut rows = Rows::whole();
        for (path, file) in committed {
            let is_reported = self.audit.contents.iter().any(|(found, _)| found == path);
            let is_read = is_data(&file.path) && self.store.size(&file.path)?.is_some();
            if is_reported || !is_read {
                continue;
            }
            rows.read(path, Some(&self.several))?;
            let flaw = rows.flaw();
            let found = flaw.map(|flaw| (path.clone(), flaw));
            self.audit.contents.extend(found);
        }
        Ok(())
    }

    /// The columns of the key in a file, by their names there.
    fn key(&self, file: &DataFile) -> Vec<String> {
        let head = &self.walk.head;
        let schema = file.schema.and_then(|of| head.schemas.get(&of));
        let Some(schema) = schema else {
            return Vec::new();
        };
        let names = head.names_in_files(schema);
        let key = schema.key.iter();
        key.map(|at| names[*at].to_owned()).collect()
    }

    /// Compares the statistics in the footer with those of the log: rows of another file would have
    /// others.
    fn compare_statistics(
        &self,
        path: &Path,
        file: &DataFile,
    ) -> Result<Option<ContentFlaw>, LakeError> {
        let schema = file.schema.and_then(|of| self.walk.head.schemas.get(&of));
        let Some(schema) = schema.filter(|_| !file.columns.is_empty()) else {
            return Ok(None);
        };
        let failed = |source| LakeError::io(READING, path, source);
        let opened = Opened::open(path).map_err(failed)?;
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&opened);
        let Ok(metadata) = metadata else {
            return Ok(None);
        };
        let leaves = metadata.file_metadata().schema_descr().num_columns();
        let found = (leaves >= schema.columns.len()).then(|| statistics_of(&metadata, schema));
        let found = found.unwrap_or_default();
        let columns = file.columns.iter();
        let mut differing = columns.filter(|(name, of)| found.get(*name) != Some(*of));
        Ok(differing.next().map(|(name, _)| {
            ContentFlaw::Unreadable(format!(
                "its column `{name}` has other values than were committed: it holds the rows of \
                 another file"
            ))
        }))
    }

    fn read_rejected(
        &mut self,
        path: &Path,
        file: &DataFile,
    ) -> Result<Option<ContentFlaw>, LakeError> {
        let mut rows = 0;
        match read_quarantine(path, |_| rows += 1) {
            Ok(()) => {}
            Err(LakeError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::InvalidData =>
            {
                let reason = format!("line {}: {source}", rows + 1);
                return Ok(Some(ContentFlaw::Unreadable(reason)));
            }
            Err(error) => return Err(error),
        }
        self.audit.read.rows += rows;
        let reason = format!("it has {rows} lines, and {} were committed", file.rows);
        Ok((rows != file.rows).then_some(ContentFlaw::Unreadable(reason)))
    }
}

/// Finds out where a file comes from that the log does not name.
fn origin(
    store: &Store,
    path: &Path,
    committed: &Committed,
    walk: Option<&Walk>,
    inspection: &Inspection,
) -> Result<Origin, LakeError> {
    let size = Opened::open(path).map(|of| of.size()).unwrap_or_default();
    let of_size = |file: &DataFile| file.bytes == size;
    let is_named_so = |missing: &&PathBuf| {
        missing.file_name() == path.file_name() && committed.get(*missing).is_some_and(of_size)
    };
    if let Some(place) = inspection.missing.iter().find(is_named_so) {
        return Ok(Origin::Misplaced(place.clone()));
    }
    for (other, _) in committed.iter().filter(|(_, file)| of_size(file)) {
        if is_equal(path, other) {
            return Ok(Origin::CopyOf(other.clone()));
        }
    }
    let relative = path.strip_prefix(store.root()).unwrap_or(path);
    let former = walk.and_then(|walk| walk.former.get(relative.to_string_lossy().as_ref()));
    if let Some(seq) = former {
        return Ok(Origin::Former(*seq));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if !is_data(&name) {
        let is_ours = names::FileName::parse(&name).is_some();
        return Ok(if is_ours {
            Origin::OtherLog
        } else {
            Origin::Unknown
        });
    }
    let opened = Opened::open(path).ok();
    let metadata = opened.and_then(|of| ParquetMetaDataReader::new().parse_and_finish(&of).ok());
    Ok(match metadata {
        None => Origin::Unknown,
        Some(metadata) => match metadata.file_metadata().created_by() {
            Some(writer) if writer.starts_with(CREATED_BY) => Origin::OtherLog,
            writer => Origin::OtherProgram(writer.unwrap_or("without a name").to_owned()),
        },
    })
}

/// Whether two files of one size have the same bytes.
fn is_equal(one: &Path, other: &Path) -> bool {
    let read = |path| {
        let file = Opened::open(path)?;
        file.read_at(0, usize::try_from(file.size()).unwrap_or(usize::MAX))
    };
    match (read(one), read(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// What processes that ended have left below `_staging`.
fn left(store: &Store, committed: &Committed) -> Result<Vec<(PathBuf, Left)>, LakeError> {
    let names = store.list(STAGING)?;
    let dead: Vec<_> = commit::writers(store.root())?
        .into_iter()
        .filter(|writer| !writer.alive)
        .collect();
    let mut left = Vec::new();
    let mut waiting = BTreeSet::new();
    for (place, file) in committed {
        let name = file.staged.rsplit('/').next().unwrap_or_default();
        let is_dead = dead.iter().any(|dead| writer_of(name) == Some(&dead.name));
        if is_dead && names.iter().any(|staged| staged == name) {
            waiting.insert(name.to_owned());
            let place = place.clone();
            left.push((store.path(&file.staged), Left::Unpublished { place }));
        }
    }
    for writer in dead {
        let of_writer: Vec<_> = names
            .iter()
            .filter(|name| writer_of(name) == Some(&writer.name) && !waiting.contains(*name))
            .filter(|name| names::writer_of_lock(name).is_none())
            .collect();
        let folders = of_writer.iter().filter(|name| name.ends_with(HIDDEN));
        for folder in folders.clone() {
            let writer = writer.name.clone();
            left.push((store.path(STAGING).join(folder), Left::Folder { writer }));
        }
        let files = of_writer.len() - folders.count();
        let lock = store.path(&names::lock(&writer.name));
        if files > 0 {
            let writer = writer.name.clone();
            left.push((lock, Left::Files { writer, files }));
        } else if writer.files == 0 {
            let writer = writer.name.clone();
            left.push((lock, Left::Lock { writer }));
        }
    }
    Ok(left)
}
