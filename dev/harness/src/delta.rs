//! The readers of Delta tables that Python's users have: deltalake and polars.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::programs;

/// A library that reads a Delta table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    Deltalake,
    Polars,
}

impl Reader {
    /// Every reader that a table must be the same for.
    pub const ALL: [Self; 2] = [Self::Deltalake, Self::Polars];

    fn script(self) -> &'static str {
        match self {
            Self::Deltalake => {
                "import sys, pyarrow.parquet
from deltalake import DeltaTable
table = DeltaTable(sys.argv[1]).to_pyarrow_table()
pyarrow.parquet.write_table(table, sys.argv[2])"
            }
            Self::Polars => {
                "import sys, polars
polars.scan_delta(sys.argv[1]).collect().write_parquet(sys.argv[2])"
            }
        }
    }
}

/// Writes the rows of a Delta table, as a library reads them, into a file of Parquet.
pub async fn copy(reader: Reader, table: &Path, answer: &Path) -> Result<()> {
    let packages = [programs::deltalake()?, programs::pyarrow()?];
    let child = Command::new(programs::system("python3")?)
        .args(["-c", reader.script()])
        .args([table, answer])
        .env("PYTHONPATH", std::env::join_paths(packages)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting python3")?;
    let output = child.wait_with_output().await?;
    let problem = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{reader:?}: {problem}");
    Ok(())
}
