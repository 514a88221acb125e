//! `inlet init`: a configuration for the tables of a database, from what the catalog contains.
//!
//! The file can be run unchanged. A table that cannot be captured is written as a comment with the
//! reason. A password is never written, and an existing file is never changed. Whether every server
//! can be reached is checked by `inlet check`.

mod text;

use inlet_model::{TableName, TableReference};
use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use inlet_postgres::{Captured, CatalogError, Error, capture, connect, list_tables};
use inlet_service::config::{Config, PostgresAddress, TableConfig};
use inlet_service::error::{Explain, Hint, Kind, Section};
use inlet_service::output;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::args::InitArguments;
use crate::failure::{Failure, Outcome, SystemError};
use crate::text_table::text_table;

/// A table of the database: as it can be captured, or why it cannot.
pub struct Found {
    /// Its name as the configuration has it.
    pub written: String,
    /// The table in the catalog, or the reason why it cannot be captured.
    pub captured: Result<Captured, CatalogError>,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
enum InitError {
    #[error("`{}` exists already", path.display())]
    Exists { path: PathBuf },
    #[error("`{}` was not written", path.display())]
    NotWritten {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the database has no table that can be captured")]
    NoTable,
}

impl Explain for InitError {
    fn kind(&self) -> Kind {
        Kind::Config
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::Exists { .. } | Self::NotWritten { .. } => {
                Hint::text("name another file with `--output FILE`").see(Section::FileExists)
            }
            Self::NoTable => Hint::text(
                "check the database's name in `--url`, and the role's rights: it needs SELECT on \
                    the tables",
            ),
        })
    }
}

/// Writes the configuration and shows the tables.
pub async fn run(arguments: InitArguments, stop: CancellationToken) -> Outcome {
    // The file is checked before the user types an address; `create_new` below decides in a race.
    if arguments.output.exists() {
        return Err(InitError::Exists {
            path: arguments.output,
        }
        .into());
    }
    let url = match arguments.url {
        Some(url) => url,
        None => ask()?,
    };
    let Some(found) = stop
        .run_until_cancelled(look(&url, &arguments.tables))
        .await
    else {
        return Ok(ExitCode::FAILURE);
    };
    let found = found?;
    if found.iter().all(|table| table.captured.is_err()) {
        // With named tables, the reason why one cannot be captured is the better message.
        let refused = found
            .into_iter()
            .find_map(|table| table.captured.err())
            .filter(|_| !arguments.tables.is_empty());
        return Err(refused.map_or_else(|| InitError::NoTable.into(), Failure::from));
    }
    // The file gets a variable instead of the password itself.
    let with_password = text::has_password(&url)
        || std::env::var_os("PGPASSWORD").is_some_and(|password| !password.is_empty());
    write(
        &arguments.output,
        &text::configuration(&url, with_password, &found),
    )?;
    let left_out = found.iter().any(|table| table.captured.is_err());
    let table = text_table(
        &text::HEADINGS,
        &[],
        &found.iter().map(text::cells).collect::<Vec<_>>(),
        2,
    );
    let file = arguments.output.display();
    output::stdout(format!(
        "{table}\nwritten: {file}\nnext:    inlet check --config {file}\n         inlet run --config \
            {file}\n"
    ))?;
    // A named table that is left out is a failure, so that a script notices it.
    Ok(if left_out && !arguments.tables.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn ask() -> Result<String, SystemError> {
    output::stderr("PostgreSQL, as postgres://user@host:5432/database: ");
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|source| SystemError {
            act: "read the address from stdin",
            source,
        })?;
    Ok(line.trim().to_owned())
}

/// The address that an option gives. It is parsed as a configuration, so that every message is that
/// of other verbs; a password is taken from the environment where the address has none.
pub fn address(option: &str, url: &str) -> Result<PostgresAddress, Failure> {
    let text = format!(
        "postgres:\n  url: {}\n  password: ${{PGPASSWORD:-}}\n  table: any\n",
        text::quoted(url)
    );
    let text = if text::has_password(url) {
        text.replace("  password: ${PGPASSWORD:-}\n", "")
    } else {
        text
    };
    let environment = HashMap::from([(
        "PGPASSWORD".to_owned(),
        std::env::var("PGPASSWORD").unwrap_or_default(),
    )]);
    let config = Config::from_texts(&[(option, &text)], &environment)?;
    Ok(config.require_postgres()?.primary.clone())
}

/// The tables asked for, or all.
async fn look(url: &str, asked: &[String]) -> Result<Vec<Found>, Failure> {
    let mut connection = connect(&address("--url", url)?).await?;
    let names: Vec<String> = if asked.is_empty() {
        list_tables(&mut connection)
            .await?
            .iter()
            .map(TableName::written)
            .collect()
    } else {
        asked.to_vec()
    };
    let mut found = Vec::new();
    for written in names {
        found.push(one(&mut connection, written).await?);
    }
    Ok(found)
}

async fn one(connection: &mut PgConnection, written: String) -> Result<Found, Error> {
    let table = match TableReference::parse(&written) {
        Ok(table) => table,
        Err(_) => {
            let captured = Err(CatalogError::Name {
                asked: written.clone(),
            });
            return Ok(Found { written, captured });
        }
    };
    match capture(connection, &TableConfig::named(table)).await {
        Err(error @ CatalogError::Read { .. }) => Err(error.into()),
        captured => {
            let name = |captured: &Captured| captured.schema.table.written();
            Ok(Found {
                written: captured.as_ref().map_or(written, name),
                captured,
            })
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), InitError> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::AlreadyExists => InitError::Exists {
            path: path.to_owned(),
        },
        _ => InitError::NotWritten {
            path: path.to_owned(),
            source,
        },
    };
    File::create_new(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(failed)
}
