//! The tables of a configuration as the lake knows them, and where they are in it.

use std::path::PathBuf;

use inlet_lake::{Limits, TableReader, tables_of};
use inlet_model::TableReference;
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
/// has one table, else a folder in it with the name as it is written there, without `public.`; see
/// [`TableReference::folder`].
pub fn folder(config: &Config, datalake: &DatalakeConfig, table: &TableConfig) -> PathBuf {
    if config.has_folders {
        own_folder(datalake, &table.table)
    } else {
        datalake.path.clone()
    }
}

/// A table's folder in a lake of several tables.
pub fn own_folder(datalake: &DatalakeConfig, table: &TableReference) -> PathBuf {
    let folder = datalake.path.join(table.folder());
    // 0.1.0 wrote some names as they are. A table that has such a folder goes on in it.
    let former = table.former_folder().map(|name| datalake.path.join(name));
    let is_its_own = |former: &PathBuf| {
        let found = TableReader::new(former).table();
        found.is_some_and(|found| table.may_mean(&found)) && !folder.exists()
    };
    former.filter(is_its_own).unwrap_or(folder)
}

/// The size at which a batch of the lake is committed.
pub fn limits(config: &Config) -> Limits {
    Limits {
        rows: config.streaming.flush_rows,
        bytes: config.streaming.flush_bytes,
        age: config.streaming.flush_interval,
    }
}
