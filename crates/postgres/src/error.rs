//! Why PostgreSQL could not be read.

use inlet_model::TableName;
use inlet_service::config::ConfigError;
use inlet_service::error::{Explain, Hint, Kind, Section};

use crate::catalog::{Captured, CatalogError};
use crate::decode::DecodeError;
use crate::sqlstate::{self, Meaning, POOLED};

/// Why PostgreSQL could not be read.
#[allow(missing_docs)] // Each message names its fields.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused a statement that reads no table of the user, or did not answer.
    #[error("{act}")]
    Server {
        /// What was being done.
        act: String,
        #[source]
        source: sqlx::Error,
    },
    /// The rows of a table could not be read.
    #[error("rows of table `{table}` could not be read")]
    Rows {
        table: TableName,
        #[source]
        source: sqlx::Error,
    },
    /// A condition of the configuration fails for a row of a table with columns that are not for
    /// readers: the server's message may have their values.
    #[error(
        "a condition of table `{table}` cannot be evaluated for a row (SQLSTATE {code}); \
            PostgreSQL's message is left out, because it may have a value that is not for readers"
    )]
    Condition {
        table: TableName,
        /// The five characters that name the error.
        code: String,
    },
    /// A table was altered after its columns were read. Reading the catalog again resolves it.
    #[error("table `{0}` was altered")]
    Altered(TableName),
    /// A captured table was dropped or renamed after its columns were read. The text is the
    /// server's message, or the table's name.
    #[error("a captured table was dropped or renamed: {0}")]
    Dropped(String),
    /// Another transaction holds a lock on a table for longer than we wait.
    #[error("{} is locked by another transaction", locked(table.as_ref()))]
    Locked {
        /// The table; `None` when it is unknown which of several it was.
        table: Option<TableName>,
        #[source]
        source: sqlx::Error,
    },
    /// The catalog shows that a table cannot be captured, or could not be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The configuration does not fit the database: a pattern matches no table, for example.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A row differs from the catalog's description of its columns.
    #[error("a row of table `{table}` could not be decoded")]
    Decode {
        table: TableName,
        #[source]
        source: DecodeError,
    },
    /// The address of the primary leads to a hot standby.
    #[error(
        "the server at `postgres` is a hot standby: it does not know what is open on its primary"
    )]
    Standby,
    /// The server that rows are read from is no standby.
    #[error("the server at `postgres.read_url` is no standby: it was promoted, or never was one")]
    StandbyPromoted,
    /// The standby belongs to another cluster, or has another database.
    #[error("the server at `postgres.read_url` is a standby of another primary")]
    StandbyForeign,
    /// The standby does not show what the primary has written.
    #[error("the standby at `postgres.read_url` does not replay: it has not reached {position}")]
    StandbyStuck {
        /// The position of the primary's log.
        position: String,
    },
    /// A pooler gives our server session to other clients between two statements.
    #[error(
        "the server at {host}:{port} is a pooler in transaction mode: it gives every transaction \
         another session of PostgreSQL"
    )]
    Pooled {
        /// The host as configured.
        host: String,
        /// The port as configured.
        port: u16,
    },
}

impl Error {
    /// Wraps an error of a statement that reads no table of the user.
    pub fn server(act: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        let act = act.into();
        |source| Self::Server { act, source }
    }

    /// Wraps an error of a statement that reads a table, which may have been altered meanwhile.
    pub fn rows(table: &TableName, source: sqlx::Error) -> Self {
        match Meaning::of(&source) {
            Meaning::Altered => Self::Altered(table.clone()),
            Meaning::Locked => Self::Locked {
                table: Some(table.clone()),
                source,
            },
            _ => Self::Rows {
                table: table.clone(),
                source,
            },
        }
    }

    /// The same for a table as the configuration has it: where it has columns that are not for
    /// readers, a failed condition is reported without the row's values.
    pub fn rows_of(captured: &Captured, source: sqlx::Error) -> Self {
        let code = source.as_database_error().and_then(|error| error.code());
        // Class 22 is the data exceptions, whose messages have the data.
        if let Some(code) = code.filter(|code| code.starts_with("22"))
            && captured.membership.is_some()
            && captured.has_protected_columns()
        {
            return Self::Condition {
                table: captured.schema.table.clone(),
                code: code.into_owned(),
            };
        }
        Self::rows(&captured.schema.table, source)
    }

    /// Wraps an error of the statement that locks several tables. Only the server's message states
    /// which of them is missing.
    pub(crate) fn locking(first: &TableName, source: sqlx::Error) -> Self {
        match Meaning::of(&source) {
            Meaning::Altered => Self::Dropped(
                source
                    .into_database_error()
                    .map_or_else(String::new, |error| error.message().to_owned()),
            ),
            _ => Self::rows(first, source),
        }
    }

    /// Wraps the error of a row that could not be decoded.
    pub fn decode(table: &TableName, source: DecodeError) -> Self {
        Self::Decode {
            table: table.clone(),
            source,
        }
    }

    /// True when the server refused the role or its password.
    pub fn is_refused_login(&self) -> bool {
        match self {
            Self::Server { source, .. } | Self::Rows { source, .. } => {
                Meaning::of(source) == Meaning::Login
            }
            _ => false,
        }
    }

    /// True when the cycle only has to be repeated after the catalog was read again: somebody
    /// altered, dropped or locked a table, which is everyday work.
    pub fn is_everyday(&self) -> bool {
        matches!(
            self,
            Self::Altered(_) | Self::Dropped(_) | Self::Locked { .. }
        )
    }

    /// The table that has failed by itself, while the server answers: the others can be read
    /// without it. `None` for an error of the connection, of the server or of a statement that
    /// reads no table, and for a table that was altered or dropped, which a new reading of the
    /// catalog resolves.
    pub fn own_table(&self) -> Option<&TableName> {
        match self {
            Self::Rows { table, source } => sqlstate::is_own(source).then_some(table),
            Self::Decode { table, .. } | Self::Condition { table, .. } => Some(table),
            Self::Locked { table, .. } => table.as_ref(),
            Self::Catalog(error) => error.own_table(),
            _ => None,
        }
    }
}

impl Explain for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Server { source, .. } | Self::Rows { source, .. } => Meaning::of(source).kind(),
            Self::Altered(_) | Self::Dropped(_) | Self::Locked { .. } => Kind::Unavailable,
            Self::Catalog(error) => error.kind(),
            Self::Config(error) => error.kind(),
            Self::Decode { .. } => Kind::Bug,
            Self::Standby | Self::StandbyForeign | Self::Pooled { .. } | Self::Condition { .. } => {
                Kind::Config
            }
            // A failover takes a while, and the address may lead to a standby again after it.
            Self::StandbyPromoted | Self::StandbyStuck { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Server { source, .. }
            | Self::Rows { source, .. }
            | Self::Locked { source, .. } => sqlstate::hint(source),
            Self::Catalog(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Standby => Some(
                Hint::text(
                    "set `postgres.url` to the primary, and `postgres.read_url` to the standby",
                )
                .see(Section::Standby),
            ),
            Self::StandbyPromoted | Self::StandbyForeign => Some(Hint::text(
                "set `postgres.url` to the present primary, and `postgres.read_url` to a standby \
                 that follows it",
            )),
            Self::StandbyStuck { .. } => Some(Hint::text(
                "let the standby follow the server at `postgres.url` (`primary_conninfo`, \
                 `pg_stat_wal_receiver`), or remove `postgres.read_url`",
            )),
            Self::Pooled { .. } => Some(Hint::text(POOLED)),
            Self::Condition { .. } => Some(Hint::text(
                "see `where` and `deleted_when` of the table: a cast, for example, fails for a \
                 text that is no number",
            )),
            Self::Altered(_) | Self::Dropped(_) | Self::Decode { .. } => None,
        }
    }
}

fn locked(table: Option<&TableName>) -> String {
    match table {
        Some(table) => format!("table `{table}`"),
        None => "a captured table".to_owned(),
    }
}
