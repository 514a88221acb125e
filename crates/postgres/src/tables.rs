//! What the tables of a configuration are in a database at one moment, from one reading of the
//! catalog.

use std::collections::BTreeMap;

use inlet_model::{TableName, TableReference};
use inlet_service::config::{Config, TableConfig};
use sqlx::PgConnection;

use crate::catalog::{Captured, CatalogError, Names, capture, exists, list_tables, name_of};
use crate::error::Error;

/// A table to capture, from the configuration and from the catalog.
#[derive(Debug, Clone)]
pub struct Table {
    /// What the configuration states about it; a pattern's keys are already copied into it.
    pub config: TableConfig,
    /// Its columns, key and cursor.
    pub captured: Captured,
}

/// A table that was polled before and does not exist any more under its name.
#[derive(Debug, Clone)]
pub struct Dropped {
    /// Its name in the configuration.
    pub configured: TableReference,
    /// Its name in the catalog when it was polled.
    pub table: TableName,
    /// Its new name, when it was renamed instead of dropped.
    pub renamed: Option<TableName>,
}

/// A table that exists but cannot be captured, or is named and does not exist.
#[derive(Debug)]
pub struct LeftOut {
    /// What the configuration states about it.
    pub config: TableConfig,
    /// True when the configuration names the table itself, false when only a pattern matches it.
    pub named: bool,
    /// Why it cannot be captured.
    pub reason: CatalogError,
}

/// Tables that were polled since the start of the process, by their configured names.
pub type Known = BTreeMap<TableReference, Polled>;

/// What a configured name meant when it was polled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// The table's object id.
    pub oid: u32,
    /// Its name in the catalog.
    pub table: TableName,
}

/// The tables of a configuration, as one reading of the catalog shows them.
#[derive(Debug)]
pub struct Tables {
    /// The configuration with every pattern replaced by the tables that match it.
    pub config: Config,
    /// The tables to capture, in the order of the configuration.
    pub captured: Vec<Table>,
    /// Known tables that were dropped or renamed.
    pub dropped: Vec<Dropped>,
    /// Tables that cannot be captured, each with the reason.
    pub left_out: Vec<LeftOut>,
}

impl Tables {
    /// Reads the catalog once, for every table that the configuration names or matches. A known
    /// table that is missing counts as dropped.
    pub async fn find(
        connection: &mut PgConnection,
        config: &Config,
        known: &Known,
    ) -> Result<Self, Error> {
        let expanded = expand(connection, config).await?;
        let mut tables = Self {
            captured: Vec::with_capacity(expanded.tables.len()),
            dropped: Vec::new(),
            left_out: Vec::new(),
            config: expanded,
        };
        for table in tables.config.tables.clone() {
            let named = is_named(config, &table);
            tables.add(connection, table, named, known).await?;
        }
        Ok(tables)
    }

    async fn add(
        &mut self,
        connection: &mut PgConnection,
        config: TableConfig,
        named: bool,
        known: &Known,
    ) -> Result<(), Error> {
        let polled = known.get(&config.table);
        match (capture(connection, &config).await, polled) {
            (Ok(captured), _) => self.captured.push(Table { config, captured }),
            (Err(error @ CatalogError::Read { .. }), _) => return Err(error.into()),
            (Err(CatalogError::NotFound { .. } | CatalogError::NoJournal { .. }), Some(polled)) => {
                self.dropped.push(Dropped {
                    configured: config.table,
                    table: polled.table.clone(),
                    renamed: name_of(connection, polled.oid).await?,
                })
            }
            (Err(reason), _) => self.left_out.push(LeftOut {
                config,
                named,
                reason,
            }),
        }
        Ok(())
    }

    /// Refuses what a service cannot start with: a name in the configuration that means no table,
    /// or no table that can be captured. A table that exists and cannot be captured may be left
    /// out, because anybody who alters or creates a table could otherwise keep the service from its
    /// next start.
    pub fn strict(mut self) -> Result<Self, CatalogError> {
        let nothing = self.captured.is_empty() && self.dropped.is_empty();
        let is_unknown = |table: &LeftOut| table.named && table.reason.own_table().is_none();
        let unknown = self.left_out.iter().position(is_unknown);
        let refused =
            unknown.or_else(|| nothing.then_some(0).filter(|_| !self.left_out.is_empty()));
        match refused {
            Some(at) => Err(self.left_out.swap_remove(at).reason),
            None => Ok(self),
        }
    }

    /// The captured tables' names, as the catalog spells them.
    pub fn names(&self) -> Vec<TableName> {
        let name = |table: &Table| table.captured.schema.table.clone();
        self.captured.iter().map(name).collect()
    }

    /// What one table of [`Tables::config`] is; `None` when it was dropped.
    pub fn of(&self, config: &TableConfig) -> Option<Result<&Captured, &CatalogError>> {
        let is_this = |other: &TableConfig| other.table == config.table;
        let captured = self.captured.iter().find(|table| is_this(&table.config));
        let left_out = self.left_out.iter().find(|table| is_this(&table.config));
        captured
            .map(|table| Ok(&table.captured))
            .or(left_out.map(|table| Err(&table.reason)))
    }

    /// Takes one table of [`Tables::config`] out, or the reason why it cannot be captured.
    pub fn take(&mut self, config: &TableConfig) -> Result<Table, CatalogError> {
        let is_this = |other: &TableConfig| other.table == config.table;
        if let Some(at) = self
            .captured
            .iter()
            .position(|table| is_this(&table.config))
        {
            return Ok(self.captured.remove(at));
        }
        let refused = self
            .left_out
            .iter()
            .position(|table| is_this(&table.config));
        match refused {
            Some(at) => Err(self.left_out.remove(at).reason),
            None => Err(CatalogError::NotFound {
                asked: config.table.to_string(),
                similar: Names(Vec::new()),
            }),
        }
    }

    /// The configuration of the captured tables alone, in the order of [`Tables::captured`].
    pub fn captured_config(&self) -> Config {
        Config {
            tables: self
                .captured
                .iter()
                .map(|table| table.config.clone())
                .collect(),
            ..self.config.clone()
        }
    }

    /// The captured tables, for a later [`Tables::find`].
    pub fn known(&self) -> Known {
        let polled = |table: &Table| Polled {
            oid: table.captured.oid,
            table: table.captured.schema.table.clone(),
        };
        self.captured
            .iter()
            .map(|table| (table.config.table.clone(), polled(table)))
            .collect()
    }
}

impl Table {
    /// The same table with `column` as its cursor; a stored progress asks for it.
    pub fn polled_by(&self, column: &str) -> Result<Self, CatalogError> {
        Ok(Self {
            captured: self.captured.polled_by(&self.config, column)?,
            config: self.config.clone(),
        })
    }

    /// Reads the catalog again after the table was altered.
    pub async fn read_again(&mut self, connection: &mut PgConnection) -> Result<(), Error> {
        self.captured = capture(connection, &self.config).await?;
        Ok(())
    }
}

impl Dropped {
    /// True when a table of this name exists again.
    pub async fn exists(&self, connection: &mut PgConnection) -> Result<bool, Error> {
        Ok(exists(connection, &self.configured).await?)
    }
}

/// Replaces the patterns of a configuration by the tables of the database that match them.
pub async fn expand(connection: &mut PgConnection, config: &Config) -> Result<Config, Error> {
    if !config.has_patterns() {
        return Ok(config.clone());
    }
    let catalog = list_tables(connection).await?;
    Ok(config.clone().resolved(&catalog)?)
}

fn is_named(config: &Config, table: &TableConfig) -> bool {
    config.tables.iter().any(|own| own.table == table.table)
}
