//! Why PostgreSQL could not be read.

use inlet_model::TableName;
use inlet_service::config::ConfigError;
use inlet_service::error::{Explain, Hint, Kind};

use crate::catalog::CatalogError;
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
    /// A table was altered after its columns were read. Reading the catalog again resolves it.
    #[error("table `{0}` was altered")]
    Altered(TableName),
    /// A captured table was dropped or renamed after its columns were read. The text is the
    /// server's message, or the table's name.
    #[error("a captured table was dropped or renamed: {0}")]
    Dropped(String),
    /// Another transaction holds a lock on a table for longer than we wait.
    #[error("a captured table is locked by another transaction")]
    Locked(#[source] sqlx::Error),
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
            Meaning::Locked => Self::Locked(source),
            _ => Self::Rows {
                table: table.clone(),
                source,
            },
        }
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
        matches!(self, Self::Altered(_) | Self::Dropped(_) | Self::Locked(_))
    }
}

impl Explain for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Server { source, .. } | Self::Rows { source, .. } => Meaning::of(source).kind(),
            Self::Altered(_) | Self::Dropped(_) | Self::Locked(_) => Kind::Unavailable,
            Self::Catalog(error) => error.kind(),
            Self::Config(error) => error.kind(),
            Self::Decode { .. } => Kind::Bug,
            Self::Standby | Self::Pooled { .. } => Kind::Config,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Server { source, .. } | Self::Rows { source, .. } | Self::Locked(source) => {
                sqlstate::hint(source)
            }
            Self::Catalog(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Standby => Some(Hint::text(
                "set `postgres.url` to the primary, and `postgres.read_url` to the standby",
            )),
            Self::Pooled { .. } => Some(Hint::text(POOLED)),
            Self::Altered(_) | Self::Dropped(_) | Self::Decode { .. } => None,
        }
    }
}
