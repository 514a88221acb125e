//! DuckLake: the tables of a lake in one catalog, a SQLite file in the lake's folder.
//!
//! A step is one transaction of SQLite, which also stores the entry of the log that the catalog has
//! (`inlet_export`). Files of entries are rows of `ducklake_data_file`; merged ones and dates that
//! left end with a snapshot in which others begin. The catalog states where the columns of each
//! file are, by their names (`ducklake_name_mapping`), so no file is touched.
//!
//! Rows of files that left stay for [`KEPT`]: a reader that has started before gets an error for a
//! missing file then, and never an answer without its rows.
//!
//! Source: the DuckLake specification, version 1.0, "Tables".

mod statistics;
mod tables;
mod writing;

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use inlet_model::TableName;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use uuid::Uuid;

#[cfg(test)]
pub use self::tables::expire;
use self::writing::Writing;
use super::error::ExportError;
use super::step::{Format, State, Step};

/// The catalog's file in the lake's folder.
const CATALOG: &str = "_ducklake.sqlite";
/// The version of the specification that the catalog follows.
const VERSION: &str = "1.0";
/// How long the rows of files that left stay in the catalog.
const KEPT: TimeDelta = TimeDelta::hours(1);
/// Snapshots between two removals of what left longer ago.
const EXPIRE_EVERY: i64 = 64;
/// How long a step waits for readers of the catalog; a later round tries again.
const BUSY_WAIT_MAX: Duration = Duration::from_secs(2);
/// What a reader of the catalog puts in the place of its name for it.
const ATTACHED: &str = "{DUCKLAKE_CATALOG}";

/// The export of one table.
#[derive(Debug)]
pub struct DuckLake {
    path: PathBuf,
    /// The lake's folder, and the table's.
    lake: PathBuf,
    folder: PathBuf,
    table: TableName,
    connection: Option<Connection>,
}

type Sql<T> = rusqlite::Result<T>;

/// The last entry that the catalog has of a table; changes nothing.
pub fn entry(lake: &Path, table: &TableName) -> Option<u64> {
    let read = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(lake.join(CATALOG), read).ok()?;
    let sql = "SELECT seq FROM inlet_export WHERE name = ?1";
    connection
        .query_row(sql, [table.to_string()], |row| row.get(0))
        .ok()
}

impl DuckLake {
    pub fn new(lake: &Path, folder: &Path, table: &TableName) -> Self {
        Self {
            path: lake.join(CATALOG),
            lake: lake.to_owned(),
            folder: folder.to_owned(),
            table: table.clone(),
            connection: None,
        }
    }

    fn failed(&self, act: &'static str) -> impl FnOnce(rusqlite::Error) -> ExportError {
        let path = self.path.clone();
        move |source| ExportError::Catalog { act, path, source }
    }

    /// Opens the catalog, which is created where it is missing, and starts a transaction.
    fn begin(&mut self) -> Result<&Connection, ExportError> {
        if self.connection.is_none() {
            let opened = Connection::open(&self.path).and_then(|connection| {
                connection.busy_timeout(BUSY_WAIT_MAX)?;
                // One process writes at a time; readers go on meanwhile.
                connection.execute_batch("BEGIN IMMEDIATE")?;
                Ok(connection)
            });
            let connection = opened.map_err(self.failed("opened"))?;
            let data_path = format!("{}/", self.lake.display());
            let prepared = tables::prepare(&connection, VERSION, &data_path, &now());
            let version = prepared.map_err(self.failed("prepared"))?;
            if version != VERSION {
                return Err(ExportError::OtherVersion {
                    path: self.path.clone(),
                    found: version,
                    ours: VERSION,
                });
            }
            self.connection = Some(connection);
        }
        Ok(self.connection.as_ref().expect("it was opened above"))
    }
}

impl Format for DuckLake {
    fn state(&mut self) -> Result<Option<State>, ExportError> {
        let table = self.table.to_string();
        let connection = self.begin()?;
        let found = connection
            .query_row(
                "SELECT lake, seq, shape FROM inlet_export WHERE name = ?1",
                [table],
                |row| {
                    let shape: String = row.get(2)?;
                    Ok(State {
                        lake: row.get(0)?,
                        seq: row.get(1)?,
                        // Anything else than a hash makes the table be written again.
                        shape: u64::from_str_radix(&shape, 16).unwrap_or_default(),
                    })
                },
            )
            .optional();
        found.map_err(self.failed("read"))
    }

    fn write(&mut self, step: &Step<'_>) -> Result<(), ExportError> {
        for added in &step.added {
            if added.file.schema.is_none() {
                let path = added.file.path.clone();
                return Err(ExportError::UnknownSchema { path });
            }
        }
        self.begin()?;
        // After an error the connection is closed, which takes the transaction back.
        let connection = self.connection.take().expect("it was opened above");
        let writing = Writing {
            connection: &connection,
            step,
            name: self.table.to_string(),
            path: self.path_of_table(),
        };
        let written = writing
            .write()
            .and_then(|()| connection.execute_batch("COMMIT"));
        written.map_err(self.failed("written"))
    }

    fn rest(&mut self) {
        self.connection = None;
    }
}

impl DuckLake {
    /// The path of the table's folder, relative to the lake's where it is below it.
    fn path_of_table(&self) -> (String, bool) {
        match self.folder.strip_prefix(&self.lake) {
            Ok(below) if below.as_os_str().is_empty() => (String::new(), true),
            Ok(below) => (format!("{}/", below.display()), true),
            Err(_) => (format!("{}/", self.folder.display()), false),
        }
    }
}

fn now() -> String {
    text_of(Utc::now())
}

/// A time as the catalog stores it.
fn text_of(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string()
}

fn new_uuid() -> String {
    Uuid::new_v4().to_string()
}
