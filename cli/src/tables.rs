//! The tables of a configuration as the catalog and the lake know them.

use std::path::PathBuf;

use inlet_lake::{Limits, tables_of};
use inlet_model::TableName;
use inlet_postgres::catalog::list_tables;
use inlet_postgres::{Error, connect, options};
use inlet_producer::pipeline;
use inlet_producer::source::error::PollError;
use inlet_producer::source::poll::SourceSettings;
use inlet_service::config::{Config, DatalakeConfig, TableConfig};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// The names as the catalog spells them, in the order of the settings; `None` when stopped before
/// PostgreSQL answered.
pub async fn names(
    source: &SourceSettings,
    stop: &CancellationToken,
) -> Result<Option<Vec<TableName>>, PollError> {
    pipeline::table_names(source, stop).await
}

/// The configuration with its patterns replaced by the tables that the catalog has; `None` when
/// stopped before PostgreSQL answered.
pub async fn resolve(config: Config, stop: &CancellationToken) -> Result<Option<Config>, Failure> {
    if !config.has_patterns() {
        return Ok(Some(config));
    }
    let primary = options(&config.require_postgres()?.primary);
    let Some(catalog) = pipeline::list_tables(&primary, stop).await? else {
        return Ok(None);
    };
    let config = config.resolved(&catalog)?;
    tracing::info!(tables = config.tables.len(), "tables found");
    Ok(Some(config))
}

/// The configuration with its patterns replaced by the tables that the lake has: for who asks
/// nothing but the lake.
pub fn resolve_by_lake(config: Config) -> Result<Config, Failure> {
    if !config.has_patterns() {
        return Ok(config);
    }
    let known = tables_of(&config.require_datalake()?.path);
    Ok(config.expanded(&known))
}

/// The configuration with its patterns replaced by what the catalog has, and by the tables that the
/// lake has where PostgreSQL does not answer at once: for who looks at everything that can be
/// looked at.
pub async fn resolve_to_look(config: Config) -> Result<Config, Failure> {
    let (true, Some(postgres)) = (config.has_patterns(), &config.postgres) else {
        return resolve_by_lake(config);
    };
    let asked = async {
        Ok::<_, Error>(list_tables(&mut connect(&options(&postgres.primary)).await?).await?)
    };
    match asked.await {
        Ok(catalog) => Ok(config.resolved(&catalog)?),
        Err(_) if config.datalake.is_some() => resolve_by_lake(config),
        Err(_) => Ok(config.expanded(&[])),
    }
}

/// A table's folder, as the configuration alone tells it: the lake's path itself when the pipeline
/// has one table, else a folder in it with the name as it is written there, without `public.`.
pub fn folder(config: &Config, datalake: &DatalakeConfig, table: &TableConfig) -> PathBuf {
    if !config.has_folders {
        return datalake.path.clone();
    }
    datalake.path.join(table.table.folder())
}

/// The size at which a batch of the lake is committed.
pub fn limits(config: &Config) -> Limits {
    Limits {
        rows: config.streaming.flush_rows,
        bytes: config.streaming.flush_bytes,
        age: config.streaming.flush_interval,
    }
}
