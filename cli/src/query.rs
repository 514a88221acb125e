//! `inlet query`: SQL over the lake, answered by DuckDB.
//!
//! `orders` is the latest state of the table, `orders_history` every version of its rows,
//! `orders_quarantine` the rejected rows. Without DuckDB the user gets the line to type once it is
//! installed. The statement is DuckDB's own SQL, and its answer goes to stdout unchanged.

pub mod views;

use std::io::Read;
use std::process::ExitCode;

use inlet_lake::TableReader;
use inlet_service::config::Config;
use inlet_service::error::{Explain, Hint, Kind};
use tokio::io::AsyncWriteExt;
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use crate::args::QueryArguments;
use crate::duckdb::{self, DuckDbError};
use crate::failure::{Outcome, SystemError};
use crate::tables;

/// Read the statement from stdin.
const STDIN: &str = "-";

/// Answers a SQL statement over the lake.
pub async fn run(arguments: QueryArguments, config: Config, stop: CancellationToken) -> Outcome {
    let datalake = config.require_datalake()?;
    let format = arguments.format();
    let statement = if arguments.sql == STDIN {
        from_stdin()?
    } else {
        arguments.sql
    };
    let mut views = Vec::new();
    // Only the tables in the statement get views: a lake of a thousand tables would take seconds
    // otherwise.
    for table in views::named(&config.tables, &statement) {
        let reader = TableReader::new(tables::folder(&config, datalake, table));
        let head = reader.head().await?;
        let columns = head.and_then(|head| reader.latest_schema(&head));
        views.push(views::View::new(&table.table, &reader, columns)?);
    }
    let script = format!("{}{statement}\n;\n", views::statements(&views, &statement));
    let Some(child) = duckdb::start(format.as_slice(), false)? else {
        return Err(QueryError::NoDuckDb {
            line: line_to_type(&script, format),
        }
        .into());
    };
    // When Inlet stops, the child is dropped, which ends DuckDB.
    match stop.run_until_cancelled(answer(child, script)).await {
        Some(Ok(true)) => Ok(ExitCode::SUCCESS),
        Some(Ok(false)) | None => Ok(ExitCode::FAILURE),
        Some(Err(source)) => Err(DuckDbError::Lost { source }.into()),
    }
}

/// Why the query was not answered.
#[derive(Debug, thiserror::Error)]
enum QueryError {
    #[error("`duckdb` is not installed; with it, this is the line to type:\n\n{line}\n")]
    NoDuckDb { line: String },
}

impl Explain for QueryError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn hint(&self) -> Option<Hint> {
        Some(Hint::text(format!("get it with: {}", duckdb::INSTALL)))
    }
}

/// True when DuckDB answered; otherwise it has written the reason to stderr.
async fn answer(mut child: Child, script: String) -> std::io::Result<bool> {
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let written = stdin.write_all(script.as_bytes()).await;
    // DuckDB runs until the end of its input.
    drop(stdin);
    let status = child.wait().await?;
    // DuckDB stops reading at its first error, so a failed write means little then.
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

/// Builds the command line that runs the same statement from a shell, quoted for `sh`.
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
