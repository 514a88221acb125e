//! Exports: the lake's tables described for readers of other formats, over the same files.
//!
//! A format gets what the log has and it lacks, step by step; each step stores the last entry in
//! the format itself ([`step`]). The log is read as any reader reads it, so a commit neither waits
//! for an export nor fails with it. [`Exports`] follows the log beside a service; `inlet export`
//! does the same once.
//!
//! Read in this order: [`shape`], [`step`], [`ducklake`], [`delta`].

mod delta;
mod ducklake;
mod error;
mod shape;
mod step;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use inlet_lake::{Published, TableReader};
use inlet_model::{TableName, TableSchema};
use inlet_postgres::Tables;
use inlet_service::config::{Config, DatalakeConfig, Export, TableConfig};
use inlet_service::error::{Explain, chain};
use inlet_service::output;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::delta::{Delta, lacking};
use self::ducklake::DuckLake;
pub use self::error::ExportError;
use self::shape::{Naming, Shape};
use self::step::{Format, State, next};
use crate::args::ExportArguments;
use crate::failure::{Failure, Outcome, SystemError};
use crate::text_table::text_table;
use crate::{tables, views};

/// The shortest pause between two looks at the log.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The same for a bucket, where each look is a request.
const BUCKET_INTERVAL_MIN: Duration = Duration::from_secs(10);
/// The same for Delta: each step is a file that all later readers read.
const DELTA_INTERVAL: Duration = Duration::from_secs(60);
/// How long the end of a service waits for its last export.
const LAST_EXPORT_TIME_MAX: Duration = Duration::from_secs(10);

const ENTRY: &str = "inlet_export_entry";
const FAILURES: &str = "inlet_export_failures_total";

/// The exports of some tables.
#[derive(Debug)]
struct Exporter {
    config: Config,
    asked: Vec<String>,
    targets: Vec<Target>,
}

/// One table in one format.
#[derive(Debug)]
struct Target {
    table: TableName,
    reader: TableReader,
    names: views::ViewNames,
    export: Export,
    format: Box<dyn Format>,
    /// Identifies the log; see [`Published::id`].
    lake: Option<String>,
    /// The last entry that the format has, as far as it is known.
    seq: Option<u64>,
    /// When it was exported last, beside a service.
    exported_at: Option<Instant>,
    /// The failure that was reported last.
    failure: Option<String>,
}

/// Exports beside a service.
#[derive(Debug)]
pub struct Exports {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Exports {
    /// Follows the logs of the tables that are exported; `None` without any.
    pub fn beside(config: &Config) -> Option<Self> {
        let exporter = Exporter::new(config, &[]).ok()?;
        if exporter.targets.is_empty() {
            return None;
        }
        describe_gauge!(
            ENTRY,
            "the last entry of the lake's log that the export has"
        );
        describe_counter!(FAILURES, "attempts to export that failed");
        let is_bucket = config
            .datalake
            .as_ref()
            .is_some_and(|lake| lake.bucket.is_some());
        let least = if is_bucket {
            BUCKET_INTERVAL_MIN
        } else {
            INTERVAL_MIN
        };
        let interval = config.streaming.flush_interval.max(least);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let exporter = Arc::new(Mutex::new(exporter));
            loop {
                // The last round begins after the service has ended: it finds all commits.
                let is_last = stopped.is_cancelled();
                let ours = exporter.clone();
                let round = tokio::task::spawn_blocking(move || {
                    let mut exporter = ours.lock().unwrap_or_else(PoisonError::into_inner);
                    exporter.round(is_last);
                });
                if let Err(error) = round.await {
                    warn!(%error, "a round of exports was cut off");
                }
                if is_last {
                    return;
                }
                let pause = tokio::time::sleep(interval);
                let _ = stopped.run_until_cancelled(pause).await;
            }
        });
        Some(Self { stop, task })
    }

    /// Exports what was committed until now, and ends.
    pub async fn finish(exports: Option<Self>) {
        let Some(Self { stop, task }) = exports else {
            return;
        };
        stop.cancel();
        if tokio::time::timeout(LAST_EXPORT_TIME_MAX, task)
            .await
            .is_err()
        {
            warn!("the last export takes too long: the next start goes on with it");
        }
    }
}

/// Refuses tables whose columns a format lacks a type for, before a row is read.
pub fn refuse(tables: &Tables) -> Result<(), ExportError> {
    for table in &tables.captured {
        refuse_table(&table.config, &table.captured.schema)?;
    }
    Ok(())
}

/// The same for one table.
pub fn refuse_table(table: &TableConfig, schema: &TableSchema) -> Result<(), ExportError> {
    if !table.exports.contains(&Export::Delta) {
        return Ok(());
    }
    let columns = schema.columns.iter();
    let columns = columns.map(|column| (column.name.as_str(), column.column_type));
    match lacking(columns) {
        Some(columns) => Err(ExportError::NoDeltaType {
            table: schema.table.clone(),
            columns,
        }),
        None => Ok(()),
    }
}

/// The exports of a table of the configuration, each with the last entry that it has: `None` before
/// the first one, and where it cannot be read.
pub fn entries(
    config: &Config,
    datalake: &DatalakeConfig,
    at: usize,
) -> Vec<(Export, Option<u64>)> {
    let table = &config.tables[at];
    let reader = TableReader::new(tables::folder(config, datalake, table));
    let Some(name) = reader.table() else {
        return table.exports.iter().map(|export| (*export, None)).collect();
    };
    let entry = |export: &Export| {
        let entry = match export {
            Export::DuckLake => ducklake::entry(&datalake.path, &name),
            Export::Delta => {
                let state = Delta::new(reader.clone(), &name).state();
                state.ok().flatten().map(|state| state.seq)
            }
        };
        (*export, entry)
    };
    table.exports.iter().map(entry).collect()
}

/// Exports tables once.
pub async fn run(arguments: &ExportArguments, config: Config) -> Outcome {
    let exporter = Exporter::new(&config, &arguments.of.tables)?;
    if exporter.targets.is_empty() {
        return Err(ExportError::Nothing.into());
    }
    let advanced = tokio::task::spawn_blocking(move || {
        let mut targets = exporter.targets;
        for target in &mut targets {
            target.advance()?;
        }
        Ok::<_, ExportError>(targets)
    });
    let targets = advanced.await.map_err(|error| SystemError {
        act: "export the tables",
        source: std::io::Error::other(error),
    })??;
    if arguments.json {
        let exports = targets.iter().map(|target| {
            json!({ "table": target.table.to_string(), "format": target.export.name(), "entry": target.seq })
        });
        let exports: Vec<_> = exports.collect();
        output::stdout(format!("{:#}\n", json!({ "exports": exports })))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = targets.iter().map(|target| {
        let entry = target.seq.map_or("none".to_owned(), |seq| seq.to_string());
        vec![
            target.table.to_string(),
            target.export.title().to_owned(),
            entry,
        ]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    output::stdout(text_table(&["table", "format", "entry"], &[2], &rows, 2))?;
    Ok(ExitCode::SUCCESS)
}

impl Exporter {
    /// The exports of these tables, or of all.
    fn new(config: &Config, asked: &[String]) -> Result<Self, Failure> {
        let datalake = config.require_datalake()?;
        let exact = views::exact_names(config, datalake);
        let names = views::of_tables(&exact);
        let lake = tables::absolute(&datalake.path);
        let mut targets = Vec::new();
        for at in tables::asked(asked, &config.tables)? {
            let table = &config.tables[at];
            let folder = tables::absolute(&tables::folder(config, datalake, table));
            for export in &table.exports {
                let reader = TableReader::new(&folder);
                let format: Box<dyn Format> = match export {
                    Export::DuckLake => Box::new(DuckLake::new(&lake, &folder, &exact[at])),
                    Export::Delta => Box::new(Delta::new(reader.clone(), &exact[at])),
                };
                targets.push(Target {
                    table: exact[at].clone(),
                    reader,
                    names: names[at].clone(),
                    export: *export,
                    format,
                    lake: None,
                    seq: None,
                    exported_at: None,
                    failure: None,
                });
            }
        }
        Ok(Self {
            config: config.clone(),
            asked: asked.to_vec(),
            targets,
        })
    }

    fn round(&mut self, is_last: bool) {
        // Before its first commit a table has the name that the configuration means.
        if self.targets.iter().any(Target::has_other_name)
            && let Ok(known) = Self::new(&self.config, &self.asked)
        {
            *self = known;
        }
        for target in &mut self.targets {
            if is_last || target.is_due() {
                target.advance_and_report();
            }
        }
    }
}

impl Target {
    fn has_other_name(&self) -> bool {
        let found = || self.reader.table();
        self.seq.is_none() && found().is_some_and(|found| found != self.table)
    }

    fn is_due(&self) -> bool {
        let exported_at = self.exported_at.filter(|_| self.export == Export::Delta);
        exported_at.is_none_or(|at| at.elapsed() >= DELTA_INTERVAL)
    }

    /// Exports what the log has more; a failure is logged once, until another one or a success.
    fn advance_and_report(&mut self) {
        let (table, format) = (self.table.to_string(), self.export.name());
        let failed = match self.advance() {
            Ok(()) => {
                if self.failure.take().is_some() {
                    info!(table, format, "the table is exported again");
                }
                if let Some(seq) = self.seq {
                    let labels = [("table", table), ("format", format.to_owned())];
                    gauge!(ENTRY, &labels).set(seq as f64);
                }
                return;
            }
            // Readers of the catalog are in a transaction: it is no failure, and passes.
            Err(error) if error.is_busy() => {
                debug!(
                    table,
                    format, "readers keep the catalog: exporting it later"
                );
                return;
            }
            Err(error) => error,
        };
        let labels = [("table", table.clone()), ("format", format.to_owned())];
        counter!(FAILURES, &labels).increment(1);
        let reason = chain(&failed);
        if self.failure.as_ref() != Some(&reason) {
            let hint = failed.hint().map(tracing::field::display);
            warn!(
                table,
                format, reason, hint, "the table was not exported: trying again"
            );
            self.failure = Some(reason);
        }
    }

    /// Exports what the log has more.
    fn advance(&mut self) -> Result<(), ExportError> {
        if let Some(seq) = self.seq
            && !self.reader.has_entry(seq + 1)?
        {
            return Ok(());
        }
        let advanced = self.steps();
        self.format.rest();
        advanced
    }

    fn steps(&mut self) -> Result<(), ExportError> {
        let Some(log) = self.reader.published()? else {
            return Ok(());
        };
        let Some(latest) = self.reader.latest_schema(log.head()) else {
            return Ok(());
        };
        let shape = self.shape(&log, &latest)?;
        let lake = match self.lake.take() {
            Some(known) => known,
            None => log.id()?,
        };
        self.lake = Some(lake.clone());
        loop {
            let state = self.format.state()?;
            let Some(step) = next(&log, &lake, &shape, state.as_ref())? else {
                self.seq = state.map(|state| state.seq);
                return Ok(());
            };
            self.format.write(&step)?;
            self.exported_at = Some(Instant::now());
            let State { seq, .. } = step.state;
            debug!(
                table = %self.table,
                format = self.export.name(),
                seq,
                "exported"
            );
        }
    }

    fn shape(&self, log: &Published, latest: &TableSchema) -> Result<Shape, ExportError> {
        let naming = match self.export {
            Export::DuckLake => Naming::PerFile,
            Export::Delta => Naming::OfTable,
        };
        Shape::new(log.head(), latest, &self.names, naming)
    }
}
