//! Why a table cannot be captured, and how to fix it.

use std::fmt;

use inlet_model::{TableName, quote};
use inlet_service::error::{Explain, Hint, Kind, Section};

use crate::sqlstate::{self, Meaning};

/// Names for a message: quoted, with commas, or the word "none".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (index, name) in self.0.iter().enumerate() {
            write!(f, "{}`{name}`", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Explains why the catalog cannot be read, or why a table cannot be captured.
#[allow(missing_docs)] // Each message names its fields.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The name is neither `table` nor `schema.table`.
    #[error("`{asked}` is not the name of a table")]
    Name {
        /// The name in the configuration.
        asked: String,
    },
    #[error(
        "table `{asked}` does not exist in this database; tables with a similar name: {similar}"
    )]
    NotFound {
        /// The name in the configuration.
        asked: String,
        /// Tables that may be meant.
        similar: Names,
    },
    /// Changes of a table are recorded, and the triggers do not exist yet.
    #[error("the journal `{journal}` of table `{table}` does not exist")]
    NoJournal {
        /// The table, as the configuration names it.
        table: String,
        journal: String,
    },
    /// It exists, but cannot be captured.
    #[error("`{table}` is {what}: {why}")]
    Refused {
        table: TableName,
        what: String,
        /// Why that cannot be captured.
        why: String,
    },
    /// No right to the schema.
    #[error("role `{role}` may not use the schema of table `{table}`")]
    NoUsage { table: TableName, role: String },
    /// No right to read.
    #[error("role `{role}` may not read table `{table}`")]
    NoSelect { table: TableName, role: String },
    /// Policies would hide rows without a word.
    #[error(
        "row security of table `{table}` hides rows from role `{role}`: they would be missing \
            without a sign"
    )]
    RowSecurity { table: TableName, role: String },
    /// A column has a name that the lake uses itself.
    #[error("column `{column}` of table `{table}` has a name that the change columns use")]
    Reserved { table: TableName, column: String },
    /// A configured key names an unknown column.
    #[error(
        "table `{table}` has no column `{column}` for its key; columns with a similar name: \
            {similar}"
    )]
    UnknownKey {
        table: TableName,
        /// The name in the configuration.
        column: String,
        /// Columns that may be meant.
        similar: Names,
    },
    /// A configured key names the same column two times.
    #[error("the key of table `{table}` names column `{column}` twice")]
    RepeatedKey { table: TableName, column: String },
    /// The configured cursor is an unknown column.
    #[error("table `{table}` has no column `{column}`; its timestamp columns: {candidates}")]
    UnknownCursor {
        table: TableName,
        /// The name in the configuration.
        column: String,
        /// Columns that can be a cursor.
        candidates: Names,
    },
    /// The configured cursor is no timestamp.
    #[error(
        "column `{column}` of table `{table}` is {postgres_type}, no timestamp or date; its \
            timestamp columns: {candidates}"
    )]
    CursorType {
        table: TableName,
        column: String,
        postgres_type: String,
        /// Columns that can be a cursor.
        candidates: Names,
    },
    /// The choice of columns names an unknown one.
    #[error(
        "table `{table}` has no column `{column}`, which `{key}` names; columns with a similar \
            name: {similar}"
    )]
    UnknownChoice {
        table: TableName,
        /// The name in the configuration.
        column: String,
        /// The key of the configuration.
        key: &'static str,
        /// Columns that may be meant.
        similar: Names,
    },
    /// The choice of columns contradicts another use of one.
    #[error("`{key}` cannot apply to column `{column}` of table `{table}`: {why}")]
    Choice {
        table: TableName,
        column: String,
        /// The key of the configuration.
        key: &'static str,
        why: &'static str,
    },
    /// No right to read columns that are read.
    #[error("role `{role}` may not read these columns of table `{table}`: {columns}")]
    NoColumns {
        table: TableName,
        role: String,
        columns: Names,
    },
    /// A condition that PostgreSQL does not accept.
    #[error("`{key}` of table `{table}` is no condition on its rows")]
    Condition {
        table: TableName,
        /// The key of the configuration.
        key: &'static str,
        #[source]
        source: crate::condition::ConditionError,
    },
    /// A condition whose answer changes although the row does not.
    #[error("`{key}` of table `{table}` uses {what}: its answer can change while the row does not")]
    Unstable {
        table: TableName,
        /// The key of the configuration.
        key: &'static str,
        /// What changes the answer.
        what: String,
    },
    /// PostgreSQL did not answer, or not as expected.
    #[error("reading the catalog ({what}) failed")]
    Read {
        /// Which part of it.
        what: &'static str,
        #[source]
        source: sqlx::Error,
    },
}

impl CatalogError {
    /// Names the part of the catalog that could not be read.
    pub(crate) fn read(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Read { what, source }
    }
}

impl CatalogError {
    /// The table that cannot be captured; `None` where the name means no table, or the catalog
    /// could not be read.
    pub fn own_table(&self) -> Option<&TableName> {
        match self {
            Self::Refused { table, .. }
            | Self::NoUsage { table, .. }
            | Self::NoSelect { table, .. }
            | Self::RowSecurity { table, .. }
            | Self::Reserved { table, .. }
            | Self::UnknownKey { table, .. }
            | Self::RepeatedKey { table, .. }
            | Self::UnknownCursor { table, .. }
            | Self::CursorType { table, .. }
            | Self::UnknownChoice { table, .. }
            | Self::Choice { table, .. }
            | Self::NoColumns { table, .. }
            | Self::Condition { table, .. }
            | Self::Unstable { table, .. } => Some(table),
            Self::Name { .. }
            | Self::NotFound { .. }
            | Self::NoJournal { .. }
            | Self::Read { .. } => None,
        }
    }
}

impl Explain for CatalogError {
    fn kind(&self) -> Kind {
        match self {
            Self::Read { source, .. } => Meaning::of(source).kind_of_catalog(),
            _ => Kind::Config,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::Name { .. } => Hint::text(
                "write `table` or `schema.table`, and put a part in double quotes to have it taken \
                    exactly",
            ),
            Self::NotFound { .. } => Hint::text(
                "see the keys `tables` and `postgres.table`, and `postgres.db` for the database",
            )
            .see(Section::Table),
            Self::NoJournal { table, .. } => {
                Hint::text(format!("create it: inlet capture install {table}"))
            }
            Self::Refused { .. } => Hint::key("tables"),
            Self::NoUsage { table, role } => Hint::sql(format!(
                "GRANT USAGE ON SCHEMA {} TO {}",
                quote(&table.schema),
                quote(role)
            ))
            .see(Section::Rights),
            Self::NoSelect { table, role } => Hint::sql(format!(
                "GRANT SELECT ON {} TO {}",
                table.quoted(),
                quote(role)
            ))
            .see(Section::Rights),
            Self::RowSecurity { role, .. } => {
                Hint::sql(format!("ALTER ROLE {} BYPASSRLS", quote(role)))
            }
            Self::Reserved { table, column } => {
                let renamed = quote(column.trim_start_matches('_'));
                Hint::sql(format!(
                    "ALTER TABLE {} RENAME COLUMN {} TO {renamed}",
                    table.quoted(),
                    quote(column)
                ))
            }
            Self::UnknownKey { table, .. } | Self::RepeatedKey { table, .. } => {
                Hint::key(&format!("tables.{}.key", table.short()))
            }
            Self::UnknownCursor { table, .. } => {
                Hint::key(&format!("tables.{}.cursor", table.short()))
            }
            Self::CursorType { table, .. } => {
                Hint::key(&format!("tables.{}.cursor", table.short())).see(Section::Cursor)
            }
            Self::UnknownChoice { table, key, .. } | Self::Choice { table, key, .. } => {
                Hint::key(&format!("tables.{}.{key}", table.short()))
            }
            Self::NoColumns {
                table,
                role,
                columns,
            } => {
                let columns: Vec<_> = columns.0.iter().map(|column| quote(column)).collect();
                Hint::sql(format!(
                    "GRANT SELECT ({}) ON {} TO {}",
                    columns.join(", "),
                    table.quoted(),
                    quote(role)
                ))
                .see(Section::Rights)
            }
            Self::Condition { source, .. } => return source.hint(),
            Self::Unstable { .. } => Hint::text(
                "a row is looked at when it is written: write a condition on the columns of the \
                    row alone",
            ),
            Self::Read { source, .. } => return sqlstate::hint(source),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_names_the_grant() {
        let error = CatalogError::NoSelect {
            table: TableName::new("public", "orders"),
            role: "student".to_owned(),
        };
        assert_eq!(error.kind(), Kind::Config);
        let hint = error.hint().expect("a hint").to_string();
        assert_eq!(
            hint,
            "run in PostgreSQL: GRANT SELECT ON \"public\".\"orders\" TO \"student\";"
        );
    }

    #[test]
    fn a_lost_connection_may_pass() {
        let error = CatalogError::read("tables")(sqlx::Error::Io(
            std::io::ErrorKind::ConnectionReset.into(),
        ));
        assert_eq!(error.kind(), Kind::Unavailable);
    }
}
