//! Tables that are made while a service runs, and that a pattern of its configuration means.
//!
//! The service is stopped in order, which makes everything durable that was found, and begun anew
//! in the same process with the tables that have come.
//!
//! Promises: a new table is taken within `streaming.discover_interval`; one that cannot be captured
//! is named, once, and keeps nothing else from going on. Leaves to others: tables that go away (the
//! producer's pipeline polls on without them).

use std::collections::BTreeSet;
use std::process::ExitCode;

use inlet_postgres::catalog::{CatalogError, list_tables, read_table};
use inlet_postgres::{Error, connect, options};
use inlet_producer::settings;
use inlet_service::config::{Config, TableConfig};
use inlet_service::error::{Explain, chain};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::failure::{Failure, Outcome};
use crate::tables;

/// The configuration of a service with its patterns replaced.
#[derive(Debug, Clone)]
pub struct Tables {
    /// The tables that are there now: what a producer polls.
    pub there: Config,
    /// These, and all that were there since the start: what a consumer carries, because a topic is
    /// read to its end though its table is gone.
    pub ever: Config,
}

/// Runs a service, and runs it anew whenever a table has come that a pattern means.
pub async fn serve(
    config: Config,
    stop: CancellationToken,
    mut run: impl AsyncFnMut(Tables, CancellationToken) -> Outcome,
) -> Outcome {
    let Some(resolved) = tables::resolve(config.clone(), &stop).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    let mut tables = Tables {
        there: resolved.clone(),
        ever: resolved,
    };
    if !config.has_patterns() {
        return run(tables, stop).await;
    }
    let mut watch = Watch {
        config,
        refused: BTreeSet::new(),
    };
    watch.leave_out(&mut tables.there).await?;
    if watch.config.streaming.discover_interval.is_zero() {
        return run(tables, stop).await;
    }
    loop {
        let session = stop.child_token();
        let (outcome, come) = futures::join!(
            async {
                let outcome = run(tables.clone(), session.clone()).await;
                session.cancel();
                outcome
            },
            async {
                let come = session.run_until_cancelled(watch.wait(&tables)).await;
                session.cancel();
                come
            }
        );
        match (outcome?, come) {
            (_, Some(come)) if !stop.is_cancelled() => tables = come,
            (code, _) => return Ok(code),
        }
    }
}

/// Looks at the catalog from time to time.
struct Watch {
    /// With its patterns.
    config: Config,
    /// Why tables were left out, each told once.
    refused: BTreeSet<String>,
}

impl Watch {
    /// Takes out what a pattern means and what cannot be captured: a table that somebody makes must
    /// not keep a service from its next start. One that is named stays, and says by itself what is
    /// wrong; so does all, when nothing would be left.
    async fn leave_out(&mut self, there: &mut Config) -> Result<(), Failure> {
        let mut connection = connect(&options(&self.config.require_postgres()?.primary)).await?;
        let mut kept = Vec::new();
        for table in &there.tables {
            if self.names(table) || self.can_be_captured(table, &mut connection).await? {
                kept.push(table.clone());
            }
        }
        if !kept.is_empty() {
            there.tables = kept;
        }
        Ok(())
    }

    /// Waits until a table has come.
    async fn wait(&mut self, tables: &Tables) -> Tables {
        loop {
            tokio::time::sleep(self.config.streaming.discover_interval).await;
            match self.look(tables).await {
                Ok(Some(come)) => return come,
                Ok(None) => {}
                // The service itself says more of a server that is away.
                Err(error) => tracing::debug!(reason = ?error, "tables were not looked for"),
            }
        }
    }

    /// The tables with those that have come; `None` when there are none.
    async fn look(&mut self, tables: &Tables) -> Result<Option<Tables>, Failure> {
        let mut connection = connect(&options(&self.config.require_postgres()?.primary)).await?;
        let catalog = list_tables(&mut connection).await.map_err(Error::from)?;
        let mut there = self.config.clone().resolved(&catalog)?;
        let known: BTreeSet<String> = tables
            .there
            .tables
            .iter()
            .map(TableConfig::written)
            .collect();
        let mut kept = Vec::new();
        let mut come = Vec::new();
        for table in there.tables {
            // What is polled already is looked at by its poll; a table that is named may be gone
            // all the same.
            let is_new = !known.contains(&table.written());
            if (is_new || self.names(&table))
                && !self.can_be_captured(&table, &mut connection).await?
            {
                continue;
            }
            if is_new {
                come.push(table.written());
            }
            kept.push(table);
        }
        if come.is_empty() {
            return Ok(None);
        }
        info!(
            tables = come.join(", "),
            "tables have come that the configuration means: going on with them"
        );
        there.tables = kept;
        let mut ever = there.clone();
        ever.tables.extend(
            tables
                .ever
                .tables
                .iter()
                .filter(|old| {
                    !there
                        .tables
                        .iter()
                        .any(|table| table.written() == old.written())
                })
                .cloned(),
        );
        ever.tables.sort_by_key(TableConfig::written);
        Ok(Some(Tables { there, ever }))
    }

    /// True for a table that the configuration names itself.
    fn names(&self, table: &TableConfig) -> bool {
        self.config
            .tables
            .iter()
            .any(|own| own.table == table.table)
    }

    async fn can_be_captured(
        &mut self,
        table: &TableConfig,
        connection: &mut PgConnection,
    ) -> Result<bool, Failure> {
        let settings = settings::table(table);
        match read_table(connection, &settings.name, &settings.overrides()).await {
            Ok(_) => Ok(true),
            Err(error @ CatalogError::Read { .. }) => Err(Error::from(error).into()),
            Err(error) => {
                if self.refused.insert(error.to_string()) {
                    let hint = error.hint().map(tracing::field::display);
                    warn!(
                        table = table.written(),
                        reason = chain(&error),
                        hint,
                        "a table that the configuration means is left out"
                    );
                }
                Ok(false)
            }
        }
    }
}
