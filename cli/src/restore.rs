//! `inlet restore`: a table of PostgreSQL, rebuilt from the lake.
//!
//! The latest state of the table, now or as it was known at a moment, is loaded by COPY into
//! another database, or under another name. Everything happens in one transaction: the table is
//! made, filled, read back and compared with the lake, and only then committed. Read in this order:
//! [`latest`] chooses the rows, [`text`] writes them as COPY reads them, [`target`] makes the
//! table, and [`checksum`] compares.

mod checksum;
mod error;
mod latest;
mod target;
mod text;

use std::process::ExitCode;

use inlet_lake::TableReader;
use inlet_model::{Column, TableName, TableReference, TableSchema, printable};
use inlet_service::config::{Config, TableConfig};
use inlet_service::output;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::error::RestoreError;
use self::latest::Latest;
use self::target::Target;
use crate::args::RestoreArguments;
use crate::failure::{Failure, Outcome};
use crate::{init, tables};

/// Columns with larger numbers are none of PostgreSQL's: a hash, a mask, or the text of a key.
const OWN_NUMBER_MAX: i16 = 1_600;

/// What was restored.
struct Restored {
    table: TableName,
    target: TableName,
    rows: u64,
    /// What the target lacks, or has otherwise than the table that the lake was filled from.
    notes: Vec<String>,
}

/// Restores one table.
pub async fn run(arguments: RestoreArguments, config: Config, stop: CancellationToken) -> Outcome {
    let Some(restored) = stop.run_until_cancelled(restore(&arguments, &config)).await else {
        // The connection is closed without a commit.
        return Err(RestoreError::Stopped.into());
    };
    let restored = restored?;
    output::stdout(match arguments.json {
        true => format!("{}\n", restored.json()),
        false => restored.text(&arguments),
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn restore(arguments: &RestoreArguments, config: &Config) -> Result<Restored, Failure> {
    let datalake = config.require_datalake()?;
    let asked = tables::asked(std::slice::from_ref(&arguments.table), &config.tables)?;
    let table = match asked[..] {
        [at] => &config.tables[at],
        _ => return Err(RestoreError::Several(arguments.table.clone()).into()),
    };
    let folder = tables::absolute(&tables::folder(config, datalake, table));
    let reader = TableReader::new(folder);
    // Files stay in their places while they are read.
    let _held = reader.hold();
    let (mut latest, schema) = Latest::open(reader, arguments.moment.as_of).await?;
    let name = match &arguments.name {
        None => schema.table.clone(),
        Some(name) => named(name)?,
    };
    let address = init::address("--to", &arguments.to)?;
    let shown = address.to_string();
    let mut target = Target::open(&address, name, &schema, arguments).await?;
    target.load(&mut latest).await?;
    target.compare(latest.checksum(), table).await?;
    let (target, rows, mut notes) = target.commit().await?;
    tracing::debug!(table = %schema.table, to = %shown, rows, "restored");
    notes.extend(of_columns(&schema, table));
    if latest.quarantined() > 0 {
        notes.push(format!(
            "{} rejected rows are in the lake's quarantine and not in the table",
            latest.quarantined()
        ));
    }
    if schema.key.is_empty() {
        notes.push(
            "the table has no key, so every version of its rows is in the table, as in the lake"
                .to_owned(),
        );
    }
    Ok(Restored {
        table: schema.table.clone(),
        target,
        rows,
        notes,
    })
}

/// The name behind `--as`, in `public` unless it names a schema.
fn named(name: &str) -> Result<TableName, RestoreError> {
    let reference = TableReference::parse(name);
    let reference = reference.map_err(|_| RestoreError::Name(name.to_owned()))?;
    Ok(reference.folded())
}

/// What readers of the lake see otherwise than the table had it.
fn of_columns(schema: &TableSchema, config: &TableConfig) -> Vec<String> {
    let is_other = |column: &&Column| column.number.is_some_and(|number| number > OWN_NUMBER_MAX);
    let columns = schema.columns.iter().enumerate();
    let own = columns.filter(|(at, _)| !schema.is_identity(*at));
    let other: Vec<_> = own
        .map(|(_, column)| column)
        .filter(is_other)
        .map(|column| format!("`{}`", printable(&column.name)))
        .collect();
    let mut notes = Vec::new();
    if !other.is_empty() {
        notes.push(format!(
            "{} are hashes or masks in the lake, and are restored as they are, as text",
            other.join(", ")
        ));
    }
    if config.choice.leaves_out() {
        notes.push(
            "columns that the configuration leaves out are not in the lake, and not in the table"
                .to_owned(),
        );
    }
    let generated: Vec<_> = schema
        .columns
        .iter()
        .filter(|column| column.generated)
        .map(|column| format!("`{}`", printable(&column.name)))
        .collect();
    if !generated.is_empty() {
        notes.push(format!(
            "{} were generated columns; the lake has their values and not their expressions",
            generated.join(", ")
        ));
    }
    notes
}

impl Restored {
    fn text(&self, arguments: &RestoreArguments) -> String {
        let moment = match arguments.moment.as_of {
            None => String::new(),
            Some(moment) => format!(", as of {}", moment.format("%Y-%m-%d %H:%M:%S%.f UTC")),
        };
        let mut text = format!(
            "{}: restored as {}, {} rows{moment}\n  read back and compared: equal\n",
            self.table, self.target, self.rows
        );
        for note in &self.notes {
            text.push_str("  ");
            text.push_str(note);
            text.push('\n');
        }
        text
    }

    fn json(&self) -> String {
        json!({
            "table": self.table.to_string(),
            "target": self.target.to_string(),
            "rows": self.rows,
            "equal": true,
            "notes": self.notes,
        })
        .to_string()
    }
}
