//! The tables of a configuration as the lake knows them, and where they are in it.

use std::path::PathBuf;

use inlet_lake::{Limits, tables_of};
use inlet_service::config::{Config, DatalakeConfig, TableConfig};

use crate::failure::Failure;

/// The configuration with its patterns replaced by the tables that the lake has: for a verb that
/// asks only the lake.
pub fn resolve_by_lake(config: Config) -> Result<Config, Failure> {
    if !config.has_patterns() {
        return Ok(config);
    }
    let known = tables_of(&config.require_datalake()?.path);
    Ok(config.expanded(&known))
}

/// The configuration with its patterns replaced without PostgreSQL, which did not answer: by the
/// tables of the lake, if one is configured.
pub fn resolve_without_postgres(config: Config) -> Result<Config, Failure> {
    if config.datalake.is_some() {
        resolve_by_lake(config)
    } else {
        Ok(config.expanded(&[]))
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
