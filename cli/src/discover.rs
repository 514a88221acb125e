//! Services that follow the tables of their configuration's patterns.
//!
//! A pattern means the tables that match it, also those that are created while the service runs:
//!
//! 1. At the start the catalog is read once. The service runs with the tables that were found.
//! 2. Every `streaming.discover_interval` the names of the catalog are compared with them.
//! 3. When a new table can be captured, the service is stopped in order, which makes everything
//!    durable that was found, and restarted in the same process with the new tables.
//!
//! A table that cannot be captured is reported once, and the service continues without it: a new
//! one, and one that the configuration names. It is looked at in the same way, and the service
//! restarts with it once it can be captured.
//! Dropped tables are not noticed here: the producer's pipeline polls the others on.

use std::collections::BTreeSet;
use std::process::ExitCode;

use inlet_model::TableReference;
use inlet_postgres::{CatalogError, Known, Tables, capture, connect, expand};
use inlet_producer::pipeline;
use inlet_producer::session::Source;
use inlet_service::config::{Config, TableConfig};
use inlet_service::error::{Explain, chain};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::failure::{Failure, Outcome};
use crate::service_start::{Ended, run_until};

/// What a service runs with.
#[derive(Debug)]
pub struct Service {
    /// A connected server, and the tables that a producer polls.
    pub source: Source,
    /// The configuration of every table since the start, which is what a consumer carries: a topic
    /// is read to its end although its table was dropped.
    pub carried: Config,
}

/// What a service needs at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Every named table can be captured: it is going to be polled.
    Tables,
    /// Only the tables' names.
    Names,
}

/// Runs a service, and restarts it whenever a new table matches one of the patterns.
pub async fn serve(
    config: Config,
    needs: Needs,
    stop: CancellationToken,
    mut run: impl AsyncFnMut(Service, CancellationToken) -> Outcome,
) -> Outcome {
    let Some(mut source) = pipeline::connect(&config, &stop).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    if needs == Needs::Tables {
        // A table that is named must exist at the start. One that exists and cannot be captured is
        // left out, as long as another one can.
        source.tables = source.tables.strict()?;
    }
    let mut watch = Watch::new(config, &source.tables);
    let mut service = Service {
        carried: source.tables.config.clone(),
        source,
    };
    if !watch.is_needed() {
        return run(service, stop).await;
    }
    loop {
        let carry = async |session| run(service, session).await;
        match run_until(&stop, carry, watch.wait()).await? {
            Ended::Replaced(next) => service = next,
            Ended::Itself(code) => return Ok(code),
        }
    }
}

/// Compares the catalog with the tables of the running service.
struct Watch {
    config: Config,
    /// True when a table of the configuration could not be captured at the start.
    has_left_out: bool,
    /// True while the server does not answer the watch.
    is_silent: bool,
    /// The configured names of the tables that the service runs with.
    running: BTreeSet<TableReference>,
    /// Every table that was captured since the start.
    known: Known,
    /// The configuration of every table since the start.
    carried: Config,
    /// The reasons that were reported.
    reported: BTreeSet<String>,
}

impl Watch {
    fn new(config: Config, tables: &Tables) -> Self {
        let mut watch = Self {
            config,
            has_left_out: !tables.left_out.is_empty(),
            is_silent: false,
            running: BTreeSet::new(),
            known: Known::new(),
            carried: tables.config.clone(),
            reported: BTreeSet::new(),
        };
        watch.runs_with(tables);
        watch
    }

    /// False when no table can be added while the service runs.
    fn is_needed(&self) -> bool {
        (self.config.has_patterns() || self.has_left_out)
            && !self.config.streaming.discover_interval.is_zero()
    }

    fn runs_with(&mut self, tables: &Tables) {
        for table in &tables.left_out {
            self.report(&table.config, &table.reason);
        }
        let known = tables.known();
        self.running = known.keys().cloned().collect();
        self.known.extend(known);
    }

    /// Waits until a new table can be captured.
    async fn wait(&mut self) -> Service {
        loop {
            tokio::time::sleep(self.config.streaming.discover_interval).await;
            match self.look().await {
                Ok(Some(next)) => return next,
                Ok(None) => self.answered(),
                Err(error) => self.unanswered(&error),
            }
        }
    }

    fn answered(&mut self) {
        if std::mem::take(&mut self.is_silent) {
            info!("new tables are looked for again");
        }
    }

    /// Warns once for each time that the server cannot be asked. A consumer does not ask it for
    /// anything else, and a producer may hold a session that still works.
    fn unanswered(&mut self, error: &Failure) {
        if !std::mem::replace(&mut self.is_silent, true) {
            let retry_seconds = self.config.streaming.discover_interval.as_secs();
            let hint = error.hint().map(tracing::field::display);
            warn!(
                reason = error.reason(),
                hint,
                retry_seconds,
                "new tables cannot be looked for: the service continues with \
                those that it has"
            );
        }
    }

    /// What the service has to run with next; `None` when nothing is new.
    async fn look(&mut self) -> Result<Option<Service>, Failure> {
        let new = self.new_tables().await?;
        if new.is_empty() {
            return Ok(None);
        }
        info!(
            tables = new.join(", "),
            "new tables match the configuration: restarting with them"
        );
        let source = Source::look(&self.config, &self.known).await?;
        self.runs_with(&source.tables);
        self.carry(source.tables.captured_config());
        Ok(Some(Service {
            carried: self.carried.clone(),
            source,
        }))
    }

    /// The names of new tables that can be captured. Only these are read from the catalog, because
    /// the poll looks at its own tables in every cycle.
    async fn new_tables(&mut self) -> Result<Vec<String>, Failure> {
        // A connection is opened for each look and closed after it, so that the server keeps no
        // idle session.
        let mut connection = connect(&self.config.require_postgres()?.primary).await?;
        let expanded = expand(&mut connection, &self.config).await?;
        let mut new = Vec::new();
        for table in expanded.tables {
            if self.running.contains(&table.table) {
                continue;
            }
            match capture(&mut connection, &table).await {
                Ok(_) => new.push(table.written()),
                Err(error @ CatalogError::Read { .. }) => return Err(error.into()),
                Err(reason) => self.report(&table, &reason),
            }
        }
        Ok(new)
    }

    /// Adds tables to those that a consumer carries.
    fn carry(&mut self, next: Config) {
        let is_in_next =
            |old: &TableConfig| next.tables.iter().any(|table| table.table == old.table);
        let mut tables = self.carried.tables.clone();
        // The consumer keeps a table that was dropped: its last rows may still be in the topic.
        tables.retain(|old| !is_in_next(old));
        tables.extend(next.tables.iter().cloned());
        tables.sort_by_key(TableConfig::written);
        self.carried = Config { tables, ..next };
    }

    /// Warns once about a table that is left out.
    fn report(&mut self, table: &TableConfig, reason: &CatalogError) {
        // A table that was dropped is not in the catalog, and the pipeline has reported it.
        let is_missing = matches!(
            reason,
            CatalogError::NotFound { .. } | CatalogError::NoJournal { .. }
        );
        let dropped = is_missing && self.is_known(table);
        if dropped || !self.reported.insert(reason.to_string()) {
            return;
        }
        let hint = reason.hint().map(tracing::field::display);
        warn!(
            table = table.written(),
            reason = chain(reason),
            hint,
            "a table that matches the configuration is left out"
        );
    }

    fn is_known(&self, table: &TableConfig) -> bool {
        self.known.contains_key(&table.table)
    }
}
