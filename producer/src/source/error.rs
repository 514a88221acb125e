//! Why a poll could not go on, and what follows from it.

use inlet_model::table::TableName;
use inlet_service::error::{Explain, Hint, Kind};

use super::catalog::CatalogError;
use super::decode::DecodeError;
use super::table::Damaged;
use crate::sink::SinkError;

/// Why a poll could not go on.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The server refused or did not answer.
    #[error("{act}")]
    Server {
        /// What was being done.
        act: String,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// The rows of a table could not be read.
    #[error("rows of table `{table}` could not be read")]
    Rows {
        /// Which table.
        table: TableName,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// A table was altered since its columns were read; reading the catalog again mends it.
    #[error("table `{0}` was altered")]
    Altered(TableName),
    /// A table that had been dropped is there again; reading the catalog again takes it.
    #[error("table `{0}` is there again")]
    Returned(TableName),
    /// A table went away while we looked at it; these are the server's words, or its name.
    #[error("a captured table was dropped or renamed: {0}")]
    Gone(String),
    /// Another transaction keeps a table locked.
    #[error("a captured table is locked by another transaction")]
    Locked(#[source] sqlx::Error),
    /// The catalog says that a table cannot be captured.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A row is not what its type promises.
    #[error("a row of table `{table}` could not be decoded")]
    Decode {
        /// Which table.
        table: TableName,
        /// Why not.
        #[source]
        source: DecodeError,
    },
    /// The progress cannot be read.
    #[error("progress of table `{table}` cannot be read")]
    Progress {
        /// Which table.
        table: TableName,
        /// Which part.
        #[source]
        source: Damaged,
    },
    /// The progress was written for another database.
    #[error("progress of table `{table}` belongs to another database: {theirs} instead of {ours}")]
    Foreign {
        /// Which table.
        table: TableName,
        /// Where the progress comes from.
        theirs: String,
        /// Where we are connected to.
        ours: String,
    },
    /// The configured cursor is not the one that the progress was made with.
    #[error(
        "table `{table}` was polled by column `{theirs}` so far, and the configuration says `{ours}`"
    )]
    OtherCursor {
        /// Which table.
        table: TableName,
        /// The cursor of the progress.
        theirs: String,
        /// The cursor of the configuration.
        ours: String,
    },
    /// The address that rows and activity are read from is a hot standby.
    #[error(
        "the server at `postgres` is a hot standby: it does not know what is open on its primary"
    )]
    Standby,
    /// A pooler gives our session of the server to others between two statements.
    #[error(
        "at {host}:{port} stands a pooler in transaction mode: it gives every transaction another session of the server"
    )]
    Pooled {
        /// Where.
        host: String,
        /// At which port.
        port: u16,
    },
    /// The sink refused.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

/// What to do about a pooler.
const POOLED: &str = "connect to the server itself (`postgres.url` with the server's own host and port, 5432 as a rule), or give the role a pool in session mode: \
    PgBouncer's `pool_mode = session`";

/// What a class of SQLSTATE means for us.
enum State {
    Altered,
    Locked,
    Pooled,
    NoUtf8,
    Refused,
    Passing,
}

impl PollError {
    /// An error of a statement that reads no table.
    pub fn server(act: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        let act = act.into();
        |source| Self::Server { act, source }
    }

    /// An error of a statement that reads a table: it may have been altered in the meantime.
    pub fn rows(table: &TableName, source: sqlx::Error) -> Self {
        match state(&source) {
            State::Altered => Self::Altered(table.clone()),
            State::Locked => Self::Locked(source),
            State::Refused | State::Pooled | State::NoUtf8 | State::Passing => Self::Rows {
                table: table.clone(),
                source,
            },
        }
    }

    /// An error of the statement that locks tables: only the server knows which of them it is
    /// about.
    pub fn locking(first: &TableName, source: sqlx::Error) -> Self {
        match state(&source) {
            State::Altered => Self::Gone(
                source
                    .into_database_error()
                    .map_or_else(String::new, |error| error.message().to_owned()),
            ),
            _ => Self::rows(first, source),
        }
    }

    /// A row that could not be decoded.
    pub fn decode(table: &TableName, source: DecodeError) -> Self {
        Self::Decode {
            table: table.clone(),
            source,
        }
    }

    /// True when the server did not let the role in: after a password was changed, or while a
    /// server is being set up.
    pub fn is_refused_login(&self) -> bool {
        let (Self::Server { source, .. } | Self::Rows { source, .. }) = self else {
            return false;
        };
        matches!(source, sqlx::Error::Database(refused) if matches!(refused.code().as_deref(), Some("28000" | "28P01")))
    }
}

/// Source: PostgreSQL manual, "PostgreSQL Error Codes".
fn state(error: &sqlx::Error) -> State {
    let sqlx::Error::Database(database) = error else {
        return if matches!(error, sqlx::Error::Configuration(_) | sqlx::Error::Tls(_)) {
            State::Refused
        } else {
            State::Passing
        };
    };
    match database.code().as_deref().unwrap_or_default() {
        // Cached plan must not change result type; undefined column; undefined table; datatype
        // mismatch.
        "0A000" | "42703" | "42P01" | "42804" => State::Altered,
        "55P03" => State::Locked,
        // A prepared statement that is not there, or is there twice: another session answers than
        // the one that prepared it.
        "26000" | "42P05" => State::Pooled,
        // Untranslatable character; character not in repertoire.
        "22P05" | "22021" => State::NoUtf8,
        // Invalid authorization, invalid password, invalid catalog name, insufficient privilege.
        "28000" | "28P01" | "3D000" | "42501" => State::Refused,
        _ => State::Passing,
    }
}

impl Explain for PollError {
    fn kind(&self) -> Kind {
        match self {
            Self::Server { source, .. } | Self::Rows { source, .. } => match state(source) {
                State::Refused | State::Pooled => Kind::Config,
                State::NoUtf8 => Kind::Data,
                _ => Kind::Unavailable,
            },
            Self::Altered(_) | Self::Returned(_) | Self::Gone(_) | Self::Locked(_) => {
                Kind::Unavailable
            }
            Self::Catalog(error) => error.kind(),
            Self::Decode { .. } => Kind::Bug,
            Self::Progress { .. } => Kind::Data,
            Self::Foreign { .. }
            | Self::OtherCursor { .. }
            | Self::Standby
            | Self::Pooled { .. } => Kind::Config,
            Self::Sink(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Server { source, .. } | Self::Rows { source, .. } => server_hint(source),
            Self::Catalog(error) => error.hint(),
            Self::Foreign { .. } => Some(Hint::text(
                "connect to the database the pipeline was started with, or give the new one its own `pipeline` name (and its own `datalake.path`)",
            )),
            Self::OtherCursor { theirs, .. } => Some(Hint::text(format!(
                "set `tables.<name>.cursor: {theirs}`, or begin anew under another `pipeline` name"
            ))),
            Self::Standby => Some(Hint::text(
                "give the primary as `postgres.url`, and the standby as `postgres.read_url`",
            )),
            Self::Pooled { .. } => Some(Hint::text(POOLED)),
            Self::Sink(error) => error.hint(),
            _ => None,
        }
    }
}

fn server_hint(error: &sqlx::Error) -> Option<Hint> {
    match error {
        sqlx::Error::Database(database) => match database.code().as_deref().unwrap_or_default() {
            "28000" | "28P01" => Some(Hint::text("check `postgres.user` and `postgres.password`")),
            "22P05" | "22021" => Some(Hint::text(
                "a byte of the database's encoding stands for no character: find its row with `WHERE column LIKE '%' || chr(129) || '%'` (the byte as a number) and mend it",
            )),
            "26000" | "42P05" => Some(Hint::text(POOLED)),
            // PgBouncer's word for an option of ours that it was not told to pass by.
            "08P01" if database.message().contains("unsupported startup parameter") => {
                Some(Hint::text(POOLED))
            }
            "3D000" => Some(Hint::text(
                "check the database's name in `postgres.jdbc_url`, `postgres.url` or `postgres.db`",
            )),
            _ => None,
        },
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => Some(Hint::text(
            "check host and port in `postgres`, and that PostgreSQL is running and listens there",
        )),
        _ => None,
    }
}
