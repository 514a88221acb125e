//! DuckDB's own command line, the independent judge.

use std::fmt::Display;
use std::path::PathBuf;
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
}

impl Version {
    /// Every version that a lake must be the same for.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    fn command(self) -> Result<Command> {
        match self {
            Self::V1 => {
                let mut command = Command::new(programs::duckdb()?);
                command.args(["-no-init", "-batch", "-bail", "-csv", "-noheader"]);
                command.args(["-nullvalue", "NULL"]);
                Ok(command)
            }
            Self::V2 => Ok(Command::new(programs::duckdb2()?)),
        }
    }

    /// What ends the last statement: the command line needs it, and the parser of the next version
    /// refuses an empty statement.
    fn end(self) -> &'static str {
        match self {
            Self::V1 => ";\n",
            Self::V2 => "",
        }
    }
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

/// Counts the rows in all Parquet files that match a glob, as `<lake>/**/*.parquet`; 0 without a
/// match.
pub async fn count_glob(glob: impl Display) -> Result<u64> {
    let glob = glob.to_string().replace('\'', "''");
    let files = query(&format!("SELECT count(*) FROM glob('{glob}')")).await?;
    if files == [["0"]] {
        return Ok(0);
    }
    let rows = query(&format!(
        "SELECT count(*) FROM read_parquet('{glob}', union_by_name = true)"
    ))
    .await?;
    let [row] = rows.as_slice() else {
        anyhow::bail!("duckdb answered a count with {rows:?}")
    };
    Ok(row.concat().parse()?)
}
