//! `inlet query`: SQL over the lake, answered by DuckDB. `inlet views`: the SQL of the views.
//!
//! The statement is DuckDB's own SQL, and its answer goes to stdout unchanged. Without DuckDB the
//! user gets the line to type once it is installed. Without a statement, on a terminal, DuckDB
//! itself starts with the views of every table.

use std::io::{IsTerminal, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use clap::CommandFactory;
use clap::error::ErrorKind;
use inlet_lake::{Held, TableReader};
use inlet_model::{PUBLIC, TableName};
use inlet_service::config::{Config, DatalakeConfig, TableConfig};
use inlet_service::error::{Explain, Hint, Kind, Section};
use inlet_service::output::{self, StdoutError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdout};
use tokio::signal::unix::SignalKind;
use tokio_util::sync::CancellationToken;

use crate::args::{Arguments, Moment, QueryArguments, QueryFormat, ViewsArguments};
use crate::duckdb::{self, DuckDbError, INSTALL};
use crate::failure::{self, Failure, Outcome, SystemError};
use crate::tables;
use crate::views::{self, Asked, Reading, Statement, Statements, ViewName, ViewNames};

/// Read the statement from stdin.
const STDIN: &str = "-";
/// What a pipe of Linux holds.
const RELAYED_BYTES: usize = 64 << 10;

/// Answers a SQL statement over the lake.
pub async fn run(arguments: QueryArguments, config: Config, stop: CancellationToken) -> Outcome {
    let lake = Lake::new(&config, arguments.moment)?;
    let format = arguments.format();
    let Some(statement) = statement(&arguments)? else {
        if !std::io::stdin().is_terminal() {
            return Ok(usage(
                ErrorKind::MissingRequiredArgument,
                "a statement is missing: give one as 'SELECT ..', as `--file FILE`, or as `-` to \
                 read it from stdin; on a terminal DuckDB starts without one",
            ));
        }
        return interactive(&lake).await;
    };
    if format == QueryFormat::Parquet && output::is_stdout_terminal() {
        return Ok(usage(
            ErrorKind::InvalidValue,
            "a terminal cannot show Parquet: write it into a file, as with `> answer.parquet`",
        ));
    }
    load_extensions(lake.datalake).await?;
    let views = lake.views(&statement, Reading::Committed).await?;
    // DuckDB opens a file of Parquet by its name, and the opening of a pipe without a reader waits
    // for one. A pipe of ours has a reader.
    let stdout = match format {
        QueryFormat::Parquet => Stdio::piped,
        _ => Stdio::inherit,
    };
    let Some(mut child) = duckdb::start(format.options(), stdout, Stdio::inherit)? else {
        // Patterns instead of the files' names keep the line short.
        let views = lake.views(&statement, Reading::Matching).await?;
        let line = line_to_type(&script(&views, &statement, format), format);
        return Err(QueryError::NoDuckDb { line }.into());
    };
    // When Inlet stops, the child is dropped, which ends DuckDB.
    let relayed = relay(child.stdout.take());
    let answer = answer(child, script(&views, &statement, format));
    let answered = stop.run_until_cancelled(async { tokio::join!(relayed, answer) });
    let Some((relayed, answer)) = answered.await else {
        return Ok(ExitCode::FAILURE);
    };
    // Without a reader DuckDB has ended, too.
    relayed?;
    match answer {
        Ok(ended) if ended.success() => Ok(ExitCode::SUCCESS),
        // The reader of DuckDB's output, which is ours, has ended.
        Ok(ended) if ended.signal() == Some(SignalKind::pipe().as_raw_value()) => {
            Err(StdoutError::Closed.into())
        }
        Ok(_) => Ok(ExitCode::FAILURE),
        Err(source) => Err(DuckDbError::Lost { source }.into()),
    }
}

/// Makes sure that DuckDB has the extensions that the lake needs: installs them where they are
/// missing. DuckDB itself would fail at the first view, in words that name no way out.
async fn load_extensions(datalake: &DatalakeConfig) -> Result<(), Failure> {
    let names = views::extensions(datalake);
    if names.is_empty() {
        return Ok(());
    }
    let each = |verb: &str| -> String {
        let statements = names.iter().map(|name| format!("{verb} {name};\n"));
        statements.collect()
    };
    let load = each("LOAD");
    // What is there is loaded without the network.
    if duckdb::answer(&load).await.is_ok() {
        return Ok(());
    }
    match duckdb::answer(&(each("INSTALL") + &load)).await {
        Err(DuckDbError::Refused { reason }) => Err(QueryError::NoExtensions {
            names: names.join(" and "),
            reason,
        }
        .into()),
        answered => Ok(answered.map(drop)?),
    }
}

/// Writes to our stdout what DuckDB writes into a pipe, if there is one.
async fn relay(pipe: Option<ChildStdout>) -> Result<(), StdoutError> {
    let Some(mut pipe) = pipe else {
        return Ok(());
    };
    let mut buffer = vec![0; RELAYED_BYTES];
    loop {
        let read = pipe.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        output::stdout(&buffer[..read])?;
    }
}

/// Prints the SQL that creates the views.
pub async fn print_views(arguments: &ViewsArguments, config: Config) -> Outcome {
    let lake = Lake::new(&config, arguments.moment)?;
    output::stdout(lake.every_view(&arguments.of.tables).await?)?;
    Ok(ExitCode::SUCCESS)
}

/// Why the query was not answered.
#[derive(Debug, thiserror::Error)]
enum QueryError {
    #[error("`duckdb` is not installed; with it, this is the line to type:\n\n{line}\n")]
    NoDuckDb { line: String },
    #[error("`duckdb` is not installed, and there is no statement")]
    NotInteractive,
    #[error("DuckDB cannot load what it reads a bucket with, {names}: {reason}")]
    NoExtensions { names: String, reason: String },
    #[error("the statement cannot be read from `{path}`")]
    File {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "`{one}` and `{two}` differ in case only, and DuckDB reads both names as one: the \
         statement names both"
    )]
    Ambiguous {
        one: String,
        two: String,
        names: String,
    },
}

impl Explain for QueryError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::File { .. } => return None,
            Self::NoDuckDb { .. } | Self::NotInteractive => {
                Hint::text(format!("get it with: {INSTALL}")).see(Section::NoDuckDb)
            }
            Self::NoExtensions { .. } => Hint::text(
                "DuckDB installs extensions from the network, into `~/.duckdb/extensions`. Without \
                 it, put the files there yourself: docs/buckets.md shows how",
            ),
            Self::Ambiguous { names, .. } => {
                Hint::text(format!("write them as {names}, which `inlet views` shows"))
            }
        })
    }
}

/// The tables of a lake, and the names of their views.
struct Lake<'a> {
    config: &'a Config,
    datalake: &'a DatalakeConfig,
    tables: Vec<TableName>,
    names: Vec<ViewNames>,
    moment: Moment,
    /// The files that a statement reads stay in their places until it is answered.
    held: Mutex<Vec<Held>>,
}

impl<'a> Lake<'a> {
    fn new(config: &'a Config, moment: Moment) -> Result<Self, Failure> {
        let datalake = config.require_datalake()?;
        let tables = views::exact_names(config, datalake);
        let names = views::of_tables(&tables);
        Ok(Self {
            config,
            datalake,
            tables,
            names,
            moment,
            held: Mutex::default(),
        })
    }

    /// The views that a statement names: of a lake of a thousand tables, DuckDB would read the
    /// footers of all for seconds.
    async fn views(&self, statement: &str, reading: Reading) -> Result<String, Failure> {
        let statement = Statement::parse(statement);
        let named = match statement.asked(&self.tables, &self.names) {
            Asked::Ambiguous(one, two) => return Err(self.ambiguous(one, two).into()),
            Asked::Named(named) => Some(named),
            Asked::All => None,
        };
        let is_all = named.is_none();
        let named = named.unwrap_or_else(|| self.names.iter().cloned().enumerate().collect());
        // DuckDB has no schema `public`. A second name costs a second reading of the footers.
        let in_public = statement.has(PUBLIC);
        let mut made = Statements::default();
        for (at, names) in named {
            let table = self.read(&self.config.tables[at], reading).await?;
            let is_wanted = |view: &ViewName| is_all || statement.has(&view.name);
            made.add(&names, &table, in_public, is_wanted);
            if let Some(recorded) = self.recorded_by(at).filter(|_| is_wanted(&names.with_row)) {
                let recorded = self.read(recorded, reading).await?;
                made.add_with_row(&names, &table, &recorded);
            }
        }
        let secret = views::secret(self.datalake);
        // DuckDB answers a secret with a row, which is no row of the statement.
        let secret = match reading {
            Reading::Committed if !secret.is_empty() => {
                format!(".output /dev/null\n{secret}.output\n")
            }
            _ => secret,
        };
        Ok(secret + &made.into_text())
    }

    /// The views of these tables, or of all, over patterns: they also show what arrives later.
    async fn every_view(&self, asked: &[String]) -> Result<String, Failure> {
        let tables = &self.config.tables;
        let mut made = Statements::default();
        for at in tables::asked(asked, tables)? {
            let table = self.read(&tables[at], Reading::Matching).await?;
            made.add(&self.names[at], &table, true, |_| true);
            if let Some(recorded) = self.recorded_by(at) {
                let recorded = self.read(recorded, Reading::Matching).await?;
                made.add_with_row(&self.names[at], &table, &recorded);
            }
        }
        Ok(views::secret(self.datalake) + &made.into_text())
    }

    /// The table whose changes the table at this place holds, if it is a journal.
    fn recorded_by(&self, at: usize) -> Option<&TableConfig> {
        let of = self.config.tables[at].journal_of.as_ref()?;
        self.config.tables.iter().find(|table| table.table == *of)
    }

    async fn read(&self, table: &TableConfig, reading: Reading) -> Result<views::Table, Failure> {
        if reading == Reading::Committed {
            let folder = tables::folder(self.config, self.datalake, table);
            let held = TableReader::new(folder).hold();
            let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(held);
        }
        let read = views::read(self.config, self.datalake, table, reading).await?;
        Ok(views::Table {
            as_of: self.moment.as_of,
            ..read
        })
    }

    fn ambiguous(&self, one: usize, two: usize) -> QueryError {
        let names = [one, two].map(|at| self.names[at].latest.to_string());
        QueryError::Ambiguous {
            one: self.tables[one].name.clone(),
            two: self.tables[two].name.clone(),
            names: names.join(" and "),
        }
    }
}

/// Becomes DuckDB, with the views of every table.
async fn interactive(lake: &Lake<'_>) -> Outcome {
    load_extensions(lake.datalake).await?;
    let views = lake.every_view(&[]).await?;
    let failed = |source| SystemError {
        act: "hand the views to DuckDB",
        source,
    };
    // DuckDB takes the place of this process, so that Ctrl-C is DuckDB's own. The file has no name
    // any more, which leaves nothing to remove.
    let mut file = tempfile::tempfile().map_err(failed)?;
    file.write_all(views.as_bytes()).map_err(failed)?;
    match duckdb::replace_process(&file) {
        Some(source) => Err(DuckDbError::Lost { source }.into()),
        None => Err(QueryError::NotInteractive.into()),
    }
}

/// The statement, wherever it is; `None` when none is given.
fn statement(arguments: &QueryArguments) -> Result<Option<String>, Failure> {
    let file = match (&arguments.sql, &arguments.file) {
        (Some(sql), _) if sql != STDIN => return Ok(Some(sql.clone())),
        (Some(_), _) => Path::new(STDIN),
        (None, Some(file)) => file.as_path(),
        (None, None) => return Ok(None),
    };
    let mut text = String::new();
    let read = if file == Path::new(STDIN) {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(file).map(|found| text = found)
    };
    read.map_err(|source| QueryError::File {
        path: file.display().to_string(),
        source,
    })?;
    Ok(Some(text))
}

/// Prints what is wrong with the arguments, as clap does, and returns its exit code.
fn usage(kind: ErrorKind, message: &str) -> ExitCode {
    failure::usage(&Arguments::command().error(kind, message))
}

/// What DuckDB runs. An end of line separates the statement from what is added: it may end with a
/// comment.
fn script(views: &str, statement: &str, format: QueryFormat) -> String {
    match format {
        QueryFormat::Parquet => {
            let statement = statement.trim_end().trim_end_matches(';');
            format!("{views}COPY (\n{statement}\n) TO '/dev/stdout' (FORMAT parquet);\n")
        }
        _ => format!("{views}{statement}\n;\n"),
    }
}

/// How DuckDB has ended; unless with success, it has written the reason to stderr.
async fn answer(mut child: Child, script: String) -> std::io::Result<ExitStatus> {
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let written = stdin.write_all(script.as_bytes()).await;
    // DuckDB runs until the end of its input.
    drop(stdin);
    let status = child.wait().await?;
    // DuckDB stops reading at its first error, so a failed write means little then.
    if status.success() {
        written?;
    }
    Ok(status)
}

/// Builds the command line that runs the same statement from a shell, quoted for `sh`.
fn line_to_type(script: &str, format: QueryFormat) -> String {
    let mut quoted = String::with_capacity(script.len());
    for character in script.trim_end().chars() {
        if matches!(character, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    let options = format.options().join(" ");
    let space = if options.is_empty() { "" } else { " " };
    format!("duckdb {options}{space}-c \"{quoted}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_type_means_the_same_in_a_shell() {
        assert_eq!(
            line_to_type("SELECT \"a\", '$b'\n;\n", QueryFormat::Table),
            "duckdb -c \"SELECT \\\"a\\\", '\\$b'\n;\""
        );
        assert!(line_to_type("SELECT 1", QueryFormat::Json).starts_with("duckdb -json -c "));
    }

    #[test]
    fn a_statement_for_parquet_may_end_with_a_semicolon_or_a_comment() {
        assert_eq!(
            script("", "FROM orders -- all\n;\n", QueryFormat::Parquet),
            "COPY (\nFROM orders -- all\n\n) TO '/dev/stdout' (FORMAT parquet);\n"
        );
    }
}
