//! Which table a user means, and whether what is asked of it can be done.

use std::path::PathBuf;

use inlet_model::{TableName, TableReference, similar};
use inlet_postgres::{CatalogError, Known, Names, Table, Tables, check_condition, connect};
use inlet_service::config::{Config, TableConfig};
use inlet_service::error::{Explain, Hint, Kind, Section};
use sqlx::PgConnection;

use super::Act;
use crate::failure::Failure;

/// A table of the configuration.
pub struct Asked {
    pub table: TableName,
    pub config: TableConfig,
}

/// Why a request makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("table `{asked}` is not in the configuration; tables with a similar name: {similar}")]
    Unknown { asked: String, similar: Names },
    #[error("table `{0}` has no key: a load would only bring every row another time")]
    NoKey(TableName),
    #[error("the lake at `{}` has no log yet: the table was never loaded", .0.display())]
    NeverLoaded(PathBuf),
}

impl Explain for ControlError {
    fn kind(&self) -> Kind {
        Kind::Config
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Unknown { .. } => Some(
                Hint::text("see the keys `tables` and `postgres.table` of the configuration")
                    .see(Section::TableUnknown),
            ),
            Self::NoKey(table) => Some(Hint::sql(format!(
                "ALTER TABLE {} ADD PRIMARY KEY (..)",
                table.quoted()
            ))),
            Self::NeverLoaded(_) => Some(Hint::text("start the service first: `inlet run`")),
        }
    }
}

/// Finds the table in the configuration, as PostgreSQL resolves its name. Refuses a load of a table
/// without a key, and a condition that PostgreSQL does not accept.
pub async fn find(config: &Config, name: &str, act: &Act) -> Result<Asked, Failure> {
    let mut connection = connect(&config.require_postgres()?.primary).await?;
    let Table { config, captured } = find_table(&mut connection, config, name).await?;
    let table = captured.schema.table.clone();
    if let Act::Reload(condition) = act {
        if captured.schema.key.is_empty() {
            return Err(ControlError::NoKey(table).into());
        }
        if let Some(condition) = condition {
            check_condition(&mut connection, &table, condition).await?;
        }
    }
    Ok(Asked { table, config })
}

/// Finds the table of the configuration that a name means, as PostgreSQL resolves it.
pub async fn find_table(
    connection: &mut PgConnection,
    config: &Config,
    name: &str,
) -> Result<Table, Failure> {
    let reference = TableReference::parse(name).map_err(|_| CatalogError::Name {
        asked: name.to_owned(),
    })?;
    let tables = Tables::find(connection, config, &Known::new()).await?;
    let is_meant = |config: &TableConfig, table: &TableName| {
        config.table == reference || reference.may_mean(table)
    };
    let mut captured = tables.captured.into_iter();
    let found = captured.find(|table| is_meant(&table.config, &table.captured.schema.table));
    if let Some(table) = found {
        return Ok(table);
    }
    // A table that cannot be captured at the moment may be paused, and has its words.
    for left_out in tables.left_out {
        let table = left_out.reason.own_table().cloned();
        if table.is_some_and(|table| is_meant(&left_out.config, &table)) {
            return Err(left_out.reason.into());
        }
    }
    let written = tables.config.tables.iter().map(TableConfig::written);
    Err(ControlError::Unknown {
        asked: name.to_owned(),
        similar: Names(similar(name, written)),
    }
    .into())
}
