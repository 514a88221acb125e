//! `inlet capture`: the triggers that record the changes of tables.
//!
//! Promises: every statement is printed before it runs, and runs only with `--yes`; a second run
//! has nothing to do; `remove` leaves the schema as it was, and keeps a journal that holds what the
//! lake lacks. Leaves to others: the statements (`inlet_postgres::capture`), reading and trimming
//! the journal (the services).

mod show;

use std::process::ExitCode;
use std::time::Duration;

use inlet_model::TableName;
use inlet_postgres::capture::Recording;
use inlet_postgres::{Captured, Error, Known, Tables, connect};
use inlet_service::config::{Capture, Config, TableConfig};
use inlet_service::error::{Explain, Hint, Kind};
use inlet_service::output;
use sqlx::{AssertSqlSafe, PgConnection, raw_sql};
use tokio::time::Instant;

use crate::args::{CaptureArguments, CaptureChange, CaptureVerb};
use crate::failure::{Failure, Outcome};
use crate::tables;

pub use show::{lost, words};

/// A journal is trimmed a few seconds after the lake has it.
const TRIMMED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Why a recording is not installed or not removed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("the changes of table `{table}` cannot be recorded: {reason}")]
    Refused { table: TableName, reason: String },
    #[error(
        "the journal `{journal}` holds {rows} changes that are not in the lake; its triggers are \
         removed, and it stays"
    )]
    Unread { journal: TableName, rows: i64 },
    #[error("no table of the configuration has `capture`")]
    Nothing,
}

impl Explain for CaptureError {
    fn kind(&self) -> Kind {
        Kind::Config
    }

    fn hint(&self) -> Option<Hint> {
        Some(Hint::text(match self {
            Self::Refused { .. } => {
                "leave `capture` out, or change the table as this message describes"
            }
            Self::Unread { .. } => {
                "keep the service running until it has carried them and run this again, or drop \
                 them with `--discard`"
            }
            Self::Nothing => "set `tables.<name>.capture: audit`",
        }))
    }
}

/// A table, and what is recorded of it.
struct Found {
    config: TableConfig,
    captured: Option<Captured>,
    recording: Recording,
}

pub async fn run(arguments: CaptureArguments, config: Config) -> Outcome {
    let mut connection = connect(&config.require_postgres()?.primary).await?;
    match arguments.verb {
        CaptureVerb::Install(change) => install(&mut connection, &config, &change).await,
        CaptureVerb::Remove(arguments) => {
            remove(
                &mut connection,
                &config,
                &arguments.change,
                arguments.discard,
            )
            .await
        }
        CaptureVerb::Status(arguments) => {
            let found = find(&mut connection, &config, &arguments.of.tables, None).await?;
            show::status(&mut connection, &found, arguments.json).await
        }
    }
}

async fn install(
    connection: &mut PgConnection,
    config: &Config,
    change: &CaptureChange,
) -> Outcome {
    let role = role(config, change)?;
    let mut found = find(connection, config, &change.of.tables, Some(&role)).await?;
    found.retain(|table| table.config.capture != Capture::None);
    if found.is_empty() {
        return Err(CaptureError::Nothing.into());
    }
    for table in &found {
        let name = &table.recording.table;
        let Some(captured) = &table.captured else {
            continue;
        };
        if let Some(reason) = table.recording.refusal(captured) {
            let table = name.clone();
            return Err(CaptureError::Refused { table, reason }.into());
        }
        let statements = table.recording.install(captured, &table.config, &role);
        let what = format!(
            "record the changes of {name} in {}",
            table.recording.journal
        );
        carry_out(connection, &what, &statements, change.yes).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn remove(
    connection: &mut PgConnection,
    config: &Config,
    change: &CaptureChange,
    discard: bool,
) -> Outcome {
    let role = role(config, change)?;
    // The objects that statements remove which were printed and did not run.
    let mut before = 0;
    for table in find(connection, config, &change.of.tables, Some(&role)).await? {
        let name = &table.recording.table;
        if table.recording.exists() && change.yes && !discard {
            // What comes from here on is not recorded, so the journal can become empty.
            let stop = table.recording.stop();
            let what = format!("stop recording the changes of {name}");
            carry_out(connection, &what, &stop, true).await?;
            emptied(connection, &table.recording).await?;
        }
        let again = Recording::find(connection, name, &oids(&table), &role).await?;
        let what = format!("remove what records the changes of {name}");
        carry_out(connection, &what, &again.remove(before), change.yes).await?;
        if !change.yes {
            before += again.objects();
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until the lake has what the journal holds, and it is trimmed.
async fn emptied(connection: &mut PgConnection, recording: &Recording) -> Result<(), Failure> {
    let end = Instant::now() + TRIMMED_WITHIN;
    loop {
        let Some(held) = recording.held(connection).await? else {
            return Ok(());
        };
        if held.rows == 0 {
            return Ok(());
        }
        if Instant::now() > end {
            let (journal, rows) = (recording.journal.clone(), held.rows);
            return Err(CaptureError::Unread { journal, rows }.into());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Prints the statements, and runs them if the user has agreed.
async fn carry_out(
    connection: &mut PgConnection,
    what: &str,
    statements: &[String],
    agreed: bool,
) -> Result<(), Failure> {
    if statements.is_empty() {
        output::stdout(format!("-- nothing to do: {what}\n"))?;
        return Ok(());
    }
    output::stdout(format!("-- {what}\n{};\n", statements.join(";\n")))?;
    if !agreed {
        output::stderr("Nothing was run. Run it with `--yes`, or pipe it to psql.\n");
        return Ok(());
    }
    for statement in statements {
        let ran = raw_sql(AssertSqlSafe(statement.clone()))
            .execute(&mut *connection)
            .await;
        if let Err(source) = ran {
            // The error of the statement counts, whatever becomes of the transaction.
            let _ = raw_sql("ROLLBACK").execute(&mut *connection).await;
            return Err(Error::server(format!("nothing was changed to {what}"))(source).into());
        }
    }
    Ok(())
}

fn role(config: &Config, change: &CaptureChange) -> Result<String, Failure> {
    Ok(match &change.role {
        Some(role) => role.clone(),
        None => config.require_postgres()?.primary.user.clone(),
    })
}

/// The tables that are asked for, without the journals themselves.
async fn find(
    connection: &mut PgConnection,
    config: &Config,
    asked: &[String],
    role: Option<&str>,
) -> Result<Vec<Found>, Failure> {
    let tables = Tables::find(connection, config, &Known::new()).await?;
    let role = match role {
        Some(role) => role.to_owned(),
        None => config.require_postgres()?.primary.user.clone(),
    };
    let mut own = tables.config.tables.clone();
    own.retain(|table| table.journal_of.is_none());
    let mut found = Vec::new();
    for at in tables::asked(asked, &own)? {
        let config = own[at].clone();
        let captured = tables.of(&config).and_then(Result::ok).cloned();
        // A table that was dropped may have left its journal.
        let name = captured
            .as_ref()
            .map_or_else(|| config.table.folded(), |found| found.schema.table.clone());
        let oids = captured.as_ref().map_or_else(Vec::new, Captured::oids);
        let recording = Recording::find(connection, &name, &oids, &role).await?;
        found.push(Found {
            config,
            captured,
            recording,
        });
    }
    Ok(found)
}

fn oids(table: &Found) -> Vec<u32> {
    table
        .captured
        .as_ref()
        .map_or_else(Vec::new, Captured::oids)
}
