//! What a format has to write next, from what it has and what the log has. Each format stores the
//! last entry that it has in the same atomic step as the files, so a step happens once: after a
//! crash at any point the next one starts where the format is.

use std::collections::BTreeSet;

use inlet_lake::{Act, Extent, LakeFile, Published};

use super::error::ExportError;
use super::shape::Shape;

/// With more new entries the list of files is compared as a whole, which reads fewer files.
const ENTRIES_MAX: u64 = 1024;

/// What a format has of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The log that it is of; see [`Published::id`].
    pub lake: String,
    /// The last entry that it has.
    pub seq: u64,
    /// The hash of the shape that it has.
    pub shape: u64,
}

/// What is to be written in one atomic step.
#[derive(Debug)]
pub struct Step<'a> {
    pub shape: &'a Shape,
    /// What the format has after the step.
    pub state: State,
    pub act: Act,
    /// True when the format describes columns and all files again.
    pub is_whole: bool,
    pub added: Vec<AddedFile>,
    /// Files that leave, relative to the table's folder. With `is_whole` only those that are not
    /// added again.
    pub removed: Vec<String>,
}

/// A file that readers of the format see from this step on.
#[derive(Debug)]
pub struct AddedFile {
    /// Relative to the table's folder.
    pub path: String,
    pub file: LakeFile,
    pub extent: Extent,
}

/// One way to describe the tables.
pub trait Format: std::fmt::Debug + Send {
    /// What the format has of the table; keeps other processes from writing until [`Self::rest`].
    fn state(&mut self) -> Result<Option<State>, ExportError>;
    /// Writes a step, in whole or not at all. The state is the one that was read before.
    fn write(&mut self, step: &Step<'_>) -> Result<(), ExportError>;
    /// Gives up what was held since the state was read.
    fn rest(&mut self);
}

/// The next step; `None` when the format has everything that the log has.
pub fn next<'a>(
    log: &'a Published,
    lake: &str,
    shape: &'a Shape,
    state: Option<&State>,
) -> Result<Option<Step<'a>>, ExportError> {
    let (lake, hash) = (lake.to_owned(), shape.hash());
    let known = state.filter(|state| state.lake == lake);
    let Some(known) = known else {
        return whole(log, shape, lake, None).map(Some);
    };
    // Another process has exported entries that this reading of the log does not have.
    if known.seq > log.seq() {
        return Ok(None);
    }
    let is_near = log.seq() - known.seq <= ENTRIES_MAX;
    if known.shape != hash || !is_near || log.has_renamed(known.seq)? {
        return whole(log, shape, lake, Some(known.seq)).map(Some);
    }
    let Some(changes) = log.changes(known.seq)? else {
        return Ok(None);
    };
    Ok(Some(Step {
        shape,
        state: State {
            lake,
            seq: changes.seq,
            shape: hash,
        },
        act: changes.act,
        is_whole: false,
        added: extents(log, changes.added)?,
        removed: changes.removed,
    }))
}

/// Every file that readers see, in place of those that the format has after entry `since`.
fn whole<'a>(
    log: &'a Published,
    shape: &'a Shape,
    lake: String,
    since: Option<u64>,
) -> Result<Step<'a>, ExportError> {
    let added = extents(log, log.files(log.seq())?)?;
    let mut removed = Vec::new();
    if let Some(since) = since {
        let present: BTreeSet<&str> = added.iter().map(|file| file.path.as_str()).collect();
        let before = log.files(since)?;
        let before = before.iter().map(|file| log.relative(file));
        removed.extend(before.filter(|path| !present.contains(path.as_str())));
    }
    Ok(Step {
        shape,
        state: State {
            lake,
            seq: log.seq(),
            shape: shape.hash(),
        },
        act: Act::Append,
        is_whole: true,
        added,
        removed,
    })
}

fn extents(log: &Published, files: Vec<LakeFile>) -> Result<Vec<AddedFile>, ExportError> {
    let mut added = Vec::with_capacity(files.len());
    for file in files {
        added.push(AddedFile {
            path: log.relative(&file),
            extent: log.extent(&file)?,
            file,
        });
    }
    Ok(added)
}
