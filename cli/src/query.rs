//! `inlet query`: SQL over the lake, answered by DuckDB.
//!
//! `orders` is the latest state of the table, `orders_history` every version of its rows,
//! `orders_quarantine` what was rejected. Without DuckDB the user gets the line to type once it is
//! there. Leaves to others: what the statement means; it is DuckDB's own SQL, and its answer goes
//! to stdout unchanged.

mod views;

use std::io::Read;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use inlet_service::config::Config;
use inlet_service::error::{Explain, Hint, Kind};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::args::QueryArguments;
use crate::failure::{Outcome, SystemError};
use crate::status::folder;
use crate::tables;

/// The version that `dev/scripts/setup.sh` installs.
const CACHED: &str = "duckdb-1.5.6/duckdb";
/// Read the statement from stdin.
const STDIN: &str = "-";

/// Asks the lake in SQL.
pub async fn run(arguments: QueryArguments, config: Config, stop: CancellationToken) -> Outcome {
    let datalake = config.require_datalake()?;
    let format = arguments.format();
    let statement = if arguments.sql == STDIN {
        from_stdin()?
    } else {
        arguments.sql
    };
    let mut views = Vec::new();
    for table in views::named(&config.tables, &statement) {
        let path = tables::folder(&config, datalake, table);
        let schema = folder::head(&path)
            .await?
            .and_then(|head| folder::newest_schema(&path, &head));
        let view = views::View::new(table.schema.as_deref(), &table.name, path, schema);
        views.push(view.map_err(|source| SystemError {
            act: "list the lake's files",
            source,
        })?);
    }
    let script = format!("{}{statement}\n;\n", views::statements(&views, &statement));
    let Some(child) = start(format)? else {
        return Err(QueryError::NoDuckDb {
            line: line_to_type(&script, format),
        }
        .into());
    };
    // DuckDB ends with us when we are asked to stop.
    match stop.run_until_cancelled(answer(child, script)).await {
        Some(Ok(true)) => Ok(ExitCode::SUCCESS),
        Some(Ok(false)) | None => Ok(ExitCode::FAILURE),
        Some(Err(source)) => Err(QueryError::Lost { source }.into()),
    }
}

/// Why the lake was not asked.
#[derive(Debug, thiserror::Error)]
enum QueryError {
    #[error("`duckdb` is not installed; with it, this is the line to type:\n\n{line}\n")]
    NoDuckDb { line: String },
    #[error("duckdb could not be asked")]
    Lost { source: std::io::Error },
}

impl Explain for QueryError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::NoDuckDb { .. } => Some(Hint::text("get it with: pip install duckdb-cli")),
            Self::Lost { .. } => Some(Hint::text(
                "it is looked for on PATH, then where `dev/scripts/setup.sh` puts it: get it with pip install duckdb-cli",
            )),
        }
    }
}

/// Starts DuckDB from PATH, else from the cache; `None` where it is in neither.
fn start(format: Option<&str>) -> Result<Option<Child>, QueryError> {
    for program in [Some(PathBuf::from("duckdb")), cached()]
        .into_iter()
        .flatten()
    {
        let mut command = Command::new(program);
        command.args(["-no-init", "-batch", "-bail"]).args(format);
        match command.stdin(Stdio::piped()).kill_on_drop(true).spawn() {
            Ok(child) => return Ok(Some(child)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(QueryError::Lost { source }),
        }
    }
    Ok(None)
}

/// Where DuckDB is and what it says of its version; `None` where it cannot be started.
pub async fn installed() -> Option<(PathBuf, String)> {
    for program in [Some(PathBuf::from("duckdb")), cached()]
        .into_iter()
        .flatten()
    {
        if let Ok(output) = Command::new(&program)
            .arg("--version")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
        {
            return Some((
                program,
                String::from_utf8_lossy(&output.stdout).trim().to_owned(),
            ));
        }
    }
    None
}

fn cached() -> Option<PathBuf> {
    let cache = std::env::var_os("INLET_CACHE").map(PathBuf::from);
    Some(
        cache
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/inlet")))?
            .join(CACHED),
    )
}

/// True when DuckDB answered; why it did not stands on stderr.
async fn answer(mut child: Child, script: String) -> std::io::Result<bool> {
    let mut stdin = child.stdin.take().expect("it was asked for");
    let written = stdin.write_all(script.as_bytes()).await;
    drop(stdin);
    let status = child.wait().await?;
    // It reads no further than its first error.
    if status.success() {
        written.map(|()| true)
    } else {
        Ok(false)
    }
}

fn from_stdin() -> Result<String, SystemError> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|source| SystemError {
            act: "read the statement from stdin",
            source,
        })?;
    Ok(text)
}

/// The same for a shell, in double quotes.
fn line_to_type(script: &str, format: Option<&str>) -> String {
    let mut quoted = String::with_capacity(script.len());
    for character in script.trim_end().chars() {
        if matches!(character, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    let options = format
        .map(|format| format!("{format} "))
        .unwrap_or_default();
    format!("duckdb {options}-c \"{quoted}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_type_means_the_same_in_a_shell() {
        assert_eq!(
            line_to_type("SELECT \"a\", '$b'\n;\n", None),
            "duckdb -c \"SELECT \\\"a\\\", '\\$b'\n;\""
        );
        assert!(line_to_type("SELECT 1", Some("-json")).starts_with("duckdb -json -c "));
    }
}
