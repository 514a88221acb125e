//! Delta: a log of JSON files in the table's folder, `_delta_log`, over the lake's own files.
//!
//! A step is one version of the table: a file that is created unless one has its name. It also has
//! the entry of the lake's log that the table has (`txn`), so a step is written once, by any number
//! of processes. There are no checkpoints: one in Parquet would be a data file for a reader of
//! `**/*.parquet`, and one in JSON (`v2Checkpoint`) is refused by readers in Python.
//!
//! A column has one name in all files of a Delta table. So a renamed column is two columns, as a
//! plain reader of the files sees it.
//!
//! Source: the Delta transaction log protocol, "Actions".

mod actions;

use std::collections::BTreeSet;

use inlet_lake::{Act, TableReader};
use inlet_model::TableName;
use serde_json::{Value, json};

pub use self::actions::lacking;
use self::actions::{Schema, add, commit_info, remove};
use super::error::ExportError;
use super::step::{Format, State, Step};

/// The folder of the log, in the table's.
const LOG: &str = "_delta_log";
/// The application of `txn`, whose version is the entry of the lake's log.
pub const APPLICATION: &str = "inlet";

/// The export of one table.
#[derive(Debug)]
pub struct Delta {
    reader: TableReader,
    table: TableName,
    /// The last version that is known to exist.
    version: Option<u64>,
}

impl Delta {
    pub fn new(reader: TableReader, table: &TableName) -> Self {
        let table = table.clone();
        Self {
            reader,
            table,
            version: None,
        }
    }

    fn foreign(&self, path: &str, reason: impl Into<String>) -> ExportError {
        ExportError::ForeignDelta {
            path: self.reader.folder().join(path),
            reason: reason.into(),
        }
    }

    /// Looks for the last version: after the one that is known, else among all names.
    fn find_version(&mut self) -> Result<(), ExportError> {
        if self.version.is_none() {
            let names = self.reader.list(LOG)?;
            self.version = names.iter().filter_map(|name| version_of(name)).max();
        }
        while let Some(next) = self.version.map(|version| version + 1)
            && self.reader.has(&of_version(next))?
        {
            self.version = Some(next);
        }
        Ok(())
    }
}

impl Format for Delta {
    fn state(&mut self) -> Result<Option<State>, ExportError> {
        self.find_version()?;
        let Some(version) = self.version else {
            return Ok(None);
        };
        let path = of_version(version);
        let Some(bytes) = self.reader.read(&path)? else {
            return Err(self.foreign(&path, "it is missing"));
        };
        let found = actions::state(&bytes);
        let found = found.map_err(|reason| self.foreign(&path, reason))?;
        Ok(Some(found))
    }

    fn write(&mut self, step: &Step<'_>) -> Result<(), ExportError> {
        let schema = Schema::new(&self.table, step)?;
        let version = self.version.map_or(0, |version| version + 1);
        let mut actions = vec![commit_info(step)];
        if step.is_whole {
            actions.extend(schema.actions());
        }
        // Merged files hold rows that a reader of the changes has had already.
        let has_changed = step.act != Act::Merge;
        // A version has one action for a path: a merged file has the name of one that it replaces,
        // and its addition takes the place of that one.
        let added: BTreeSet<&str> = step.added.iter().map(|file| file.path.as_str()).collect();
        for path in step
            .removed
            .iter()
            .filter(|path| !added.contains(path.as_str()))
        {
            actions.push(remove(path, has_changed));
        }
        for file in &step.added {
            actions.push(add(&schema, file, has_changed)?);
        }
        actions.push(transaction(&step.state));
        if version == 0 {
            self.reader.create_folder(LOG)?;
        }
        // Where another process has written this version, the next look finds what is left to do.
        if self.reader.create(&of_version(version), &lines(&actions))? {
            self.version = Some(version);
        }
        Ok(())
    }

    fn rest(&mut self) {}
}

fn transaction(state: &State) -> Value {
    json!({ "txn": { "appId": APPLICATION, "version": state.seq } })
}

fn lines(actions: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for action in actions {
        bytes.extend(action.to_string().into_bytes());
        bytes.push(b'\n');
    }
    bytes
}

fn of_version(version: u64) -> String {
    format!("{LOG}/{version:020}.json")
}

/// The version of a file of the log, given without its folder; `None` for another file.
fn version_of(name: &str) -> Option<u64> {
    name.strip_suffix(".json")?.parse().ok()
}
