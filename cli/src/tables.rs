//! The tables of a configuration as the lake knows them, and where they are in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inlet_lake::{
    BucketOptions, CompactionOptions, Limits, Retention, TableReader, in_bucket, tables_of,
};
use inlet_model::TableReference;
use inlet_service::config::{Config, DatalakeConfig, TableConfig};
use inlet_service::error::{Explain, Hint, Kind, Section};

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
    } else if table.journal_of.is_some() {
        // Below the table's folder a reader's pattern would find both.
        beside(&datalake.path)
    } else {
        datalake.path.clone()
    }
}

/// The folder of a journal beside that of its table: `orders_changes` for `orders`.
fn beside(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push("_changes");
    PathBuf::from(path)
}

/// Tells the lake how its bucket is reached, where it is in one.
pub fn use_bucket(datalake: &DatalakeConfig) {
    if let Some(bucket) = &datalake.bucket {
        let options = BucketOptions {
            endpoint: bucket.endpoint.clone(),
            region: bucket.region.clone(),
            allow_http: bucket.allow_http,
        };
        inlet_lake::use_bucket(&datalake.path, &options);
    }
}

/// The path from the root of the file system; an address stays what it is.
pub fn absolute(path: &Path) -> PathBuf {
    if in_bucket(path) {
        return path.to_owned();
    }
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A table's folder in a lake of several tables.
pub fn own_folder(datalake: &DatalakeConfig, table: &TableReference) -> PathBuf {
    let folder = datalake.path.join(table.folder());
    // 0.1.0 wrote no bucket.
    if in_bucket(&folder) {
        return folder;
    }
    // 0.1.0 wrote some names as they are. A table that has such a folder goes on in it.
    let former = table.former_folder().map(|name| datalake.path.join(name));
    let is_its_own = |former: &PathBuf| {
        let found = TableReader::new(former).table();
        found.is_some_and(|found| table.may_mean(&found)) && !folder.exists()
    };
    former.filter(is_its_own).unwrap_or(folder)
}

/// Two tables of a configuration that would use one folder, and its log.
#[derive(Debug, thiserror::Error)]
#[error(
    "tables `{first}` and `{second}` would both be written to the folder `{folder}` of the lake"
)]
pub struct SharedFolder {
    /// The names of both, as they are written.
    pub first: String,
    pub second: String,
    /// The folder below the lake's.
    pub folder: String,
}

impl Explain for SharedFolder {
    fn kind(&self) -> Kind {
        Kind::Config
    }

    fn hint(&self) -> Option<Hint> {
        Some(Hint::text(
            "remove one of them if they are one table; else give one a configuration of its own, with \
             another `datalake.path`",
        ))
    }
}

/// Tables that would use one folder.
pub fn shared_folders(config: &Config) -> impl Iterator<Item = SharedFolder> {
    let mut known = BTreeMap::<String, String>::new();
    config.tables.iter().filter_map(move |table| {
        let (folder, second) = (table.table.folder(), table.written());
        let first = known.insert(folder.clone(), second.clone())?;
        Some(SharedFolder {
            first,
            second,
            folder,
        })
    })
}

/// A table that a command line names and the configuration does not.
#[derive(Debug, thiserror::Error)]
#[error("table `{asked}` is not in the configuration; it has {known}")]
pub struct UnknownTable {
    asked: String,
    known: String,
}

impl Explain for UnknownTable {
    fn kind(&self) -> Kind {
        Kind::Config
    }

    fn hint(&self) -> Option<Hint> {
        let hint = "name the table as `tables:` does, or none for all of them";
        Some(Hint::text(hint).see(Section::TableNotConfigured))
    }
}

/// The positions of the tables that a command line asks for: of all, when it names none.
pub fn asked(asked: &[String], tables: &[TableConfig]) -> Result<Vec<usize>, UnknownTable> {
    let names = |asked: &String, table: &TableConfig| {
        TableReference::parse(asked).is_ok_and(|asked| asked.may_be(&table.table))
    };
    let is_known = |asked: &&String| tables.iter().any(|table| names(asked, table));
    if let Some(unknown) = asked.iter().find(|asked| !is_known(asked)) {
        let known: Vec<_> = tables.iter().map(TableConfig::written).collect();
        return Err(UnknownTable {
            asked: unknown.clone(),
            known: known.join(", "),
        });
    }
    let is_asked =
        |table: &TableConfig| asked.is_empty() || asked.iter().any(|asked| names(asked, table));
    let positions = tables.iter().enumerate();
    Ok(positions
        .filter(|(_, table)| is_asked(table))
        .map(|(at, _)| at)
        .collect())
}

/// The size at which a batch of the lake is committed.
pub fn limits(config: &Config) -> Limits {
    Limits {
        rows: config.streaming.flush_rows,
        bytes: config.streaming.flush_bytes,
        age: config.streaming.flush_interval,
    }
}

/// How long the rows of a table stay in the lake; `None`: for ever.
pub fn retention(table: &TableConfig) -> Option<Retention> {
    let is_kept = table.keep.is_none() && table.keep_quarantine.is_none();
    (!is_kept).then(|| Retention {
        history: table.keep,
        quarantine: table.keep_quarantine,
        timezone: table.timezone,
        date_column: table.date_column.clone(),
    })
}

/// The pause without readers that merged files wait for: longer than most queries take.
pub const READERS_PAUSE: Duration = Duration::from_secs(2);

/// How small files are merged beside the commits; `None`: only by `inlet compact`.
pub fn compaction(datalake: &DatalakeConfig) -> Option<CompactionOptions> {
    (!datalake.compaction_interval.is_zero()).then_some(CompactionOptions {
        interval: datalake.compaction_interval,
        rate: datalake.compaction_rate,
        pause: READERS_PAUSE,
    })
}
