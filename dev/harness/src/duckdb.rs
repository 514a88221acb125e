//! DuckDB's own command line, the independent judge.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::{csv, programs};

/// The path of the program, for tests that run what a user types.
pub fn program() -> Result<PathBuf> {
    programs::duckdb()
}

/// The rows of a query, or of several, as DuckDB prints them: numbers in full, times in UTC, null
/// as `NULL`.
pub async fn query(sql: &str) -> Result<Vec<Vec<String>>> {
    let output = Command::new(programs::duckdb()?)
        .args([
            "-no-init",
            "-batch",
            "-csv",
            "-noheader",
            "-nullvalue",
            "NULL",
            "-c",
            sql,
        ])
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("starting duckdb")?;
    ensure!(
        output.status.success(),
        "duckdb: {}\n{sql}",
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
