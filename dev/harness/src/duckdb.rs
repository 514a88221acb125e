//! DuckDB's own command line, the independent judge.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::{csv, programs};

/// A version of DuckDB that reads the lake. Both give the same text for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The command line, which `inlet query` starts.
    V1,
    /// The next major version, as users of the Python package have it.
    V2,
    /// The command line of a version whose extensions can be had without the network.
    Extended,
}

impl Version {
    /// Every version that a lake must be the same for.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    fn command(self) -> Result<Command> {
        match self {
            Self::V1 => Ok(command_line(programs::duckdb()?)),
            Self::Extended => {
                let (program, home) = extended()?;
                let mut command = command_line(program);
                command.env("HOME", home);
                Ok(command)
            }
            Self::V2 => Ok(Command::new(programs::duckdb2()?)),
        }
    }

    /// What ends the last statement: the command line needs it, and the parser of the next version
    /// refuses an empty statement.
    fn end(self) -> &'static str {
        match self {
            Self::V1 | Self::Extended => ";\n",
            Self::V2 => "",
        }
    }
}

/// A command that answers with rows of text.
fn command_line(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.args(["-no-init", "-batch", "-bail", "-csv", "-noheader"]);
    command.args(["-nullvalue", "NULL"]);
    command
}

/// The program of [`Version::Extended`], and the home below which it finds its extensions.
pub fn extended() -> Result<(PathBuf, PathBuf)> {
    let folder = programs::duckdb_extended()?;
    Ok((folder.join("duckdb"), folder.join("home")))
}

/// The path of the program, for tests that run what a user types.
pub fn program() -> Result<PathBuf> {
    programs::duckdb()
}

/// The rows of a query, or of several, as DuckDB prints them: numbers in full, times in UTC, null
/// as `NULL`.
pub async fn query(sql: &str) -> Result<Vec<Vec<String>>> {
    query_by(Version::V1, sql).await
}

/// The rows that a version of DuckDB answers with, as [`query`] has them.
pub async fn query_by(version: Version, sql: &str) -> Result<Vec<Vec<String>>> {
    let mut child = version
        .command()?
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting duckdb")?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    // Through stdin, because the views of a table with many files are longer than an argument may
    // be. DuckDB answers while it reads, so both pipes are served at once.
    let end = version.end();
    let statements = format!("{sql}\n{end}");
    let write = async move {
        // DuckDB stops reading at its first error, and then explains it.
        let _ = stdin.write_all(statements.as_bytes()).await;
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), write);
    let output = output.context("waiting for duckdb")?;
    ensure!(
        output.status.success(),
        "duckdb {version:?}: {}\n{sql}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(csv::rows(&String::from_utf8(output.stdout)?))
}

/// The rows of a query that reads files below a folder; `None` when it failed because a file was
/// merged into another one between its listing and its opening, as a reader of a plain pattern
/// now and then finds it. Any other failure, a torn file for example, is an error.
pub async fn read_once(folder: &Path, sql: &str) -> Result<Option<Vec<Vec<String>>>> {
    let before = inodes(folder);
    match query(sql).await {
        Ok(rows) => Ok(Some(rows)),
        Err(error) => {
            let after = inodes(folder);
            let is_replaced = |(path, inode): (&PathBuf, &u64)| after.get(path) != Some(inode);
            if before.iter().any(is_replaced) {
                return Ok(None);
            }
            Err(error)
        }
    }
}

/// The rows of a query that reads files below a folder, read again while files are merged.
pub async fn read(folder: &Path, sql: &str) -> Result<Vec<Vec<String>>> {
    loop {
        if let Some(rows) = read_once(folder, sql).await? {
            return Ok(rows);
        }
    }
}

/// The inode of every file below a folder.
fn inodes(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut inodes = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // A folder that is missing by now has no files.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => drop(inodes.insert(entry.path(), found.ino())),
                Err(_) => {}
            }
        }
    }
    inodes
}

/// Counts the rows in all Parquet files that match a glob, as `<lake>/**/*.parquet`; 0 without a
/// match.
pub async fn count_glob(glob: impl Display) -> Result<u64> {
    let glob = glob.to_string();
    let folder = glob.split('*').next().unwrap_or_default().to_owned();
    let glob = glob.replace('\'', "''");
    let files = query(&format!("SELECT count(*) FROM glob('{glob}')")).await?;
    if files == [["0"]] {
        return Ok(0);
    }
    let sql = format!("SELECT count(*) FROM read_parquet('{glob}', union_by_name = true)");
    let rows = read(Path::new(&folder), &sql).await?;
    let [row] = rows.as_slice() else {
        anyhow::bail!("duckdb answered a count with {rows:?}")
    };
    Ok(row.concat().parse()?)
}
