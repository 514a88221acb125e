//! Why polling could not go on, beyond what PostgreSQL itself refuses.

use std::time::Duration;

use inlet_model::TableName;
use inlet_postgres::{CatalogError, Error};
use inlet_service::error::{Explain, Hint, Kind, Section};

use super::progress::Damaged;
use inlet_service::sink::SinkError;

/// Why polling could not go on.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// PostgreSQL could not be read.
    #[error(transparent)]
    Postgres(#[from] Error),
    /// A table that was dropped exists again. Reading the catalog again captures it.
    #[error("table `{0}` exists again")]
    Returned(TableName),
    /// A table that was set aside can be captured again. Reading the catalog again includes it.
    #[error("table `{0}` can be read again")]
    Recovered(TableName),
    /// The server does not answer any more, although the connection seems open.
    #[error("PostgreSQL has not answered for {} s", .0.as_secs())]
    Silent(Duration),
    /// The stored progress cannot be read.
    #[error("progress of table `{table}` cannot be read")]
    Progress {
        table: TableName,
        #[source]
        source: Damaged,
    },
    /// The progress was stored for another database.
    #[error("progress of table `{table}` belongs to another database: {theirs} instead of {ours}")]
    Foreign {
        table: TableName,
        /// The database of the progress.
        theirs: String,
        /// The database that we are connected to.
        ours: String,
    },
    /// A table was swept by its former cursor, and that is durable. The next session polls it by
    /// the configured one.
    #[error("table `{0}` is polled by another column from now on")]
    OtherCursor(TableName),
    #[error(transparent)]
    Sink(#[from] SinkError),
}

impl From<CatalogError> for PollError {
    fn from(error: CatalogError) -> Self {
        Self::Postgres(error.into())
    }
}

impl PollError {
    /// True when the server refused the role or its password.
    pub fn is_refused_login(&self) -> bool {
        matches!(self, Self::Postgres(error) if error.is_refused_login())
    }

    /// The table that has failed by itself: the others can be polled without it. `None` for an
    /// error of a server, and for one that reading the catalog again resolves.
    pub fn own_table(&self) -> Option<&TableName> {
        match self {
            Self::Postgres(error) => error.own_table(),
            Self::Sink(error) => error.own_table(),
            Self::Progress { table, .. } => Some(table),
            _ => None,
        }
    }

    /// True when somebody altered, dropped, locked or recreated a table: the cycle is repeated
    /// with the catalog read again.
    pub fn is_everyday(&self) -> bool {
        match self {
            Self::Postgres(error) => error.is_everyday(),
            Self::Returned(_) | Self::Recovered(_) | Self::OtherCursor(_) => true,
            _ => false,
        }
    }
}

impl Explain for PollError {
    fn kind(&self) -> Kind {
        match self {
            Self::Postgres(error) => error.kind(),
            Self::Returned(_) | Self::Recovered(_) | Self::OtherCursor(_) | Self::Silent(_) => {
                Kind::Unavailable
            }
            Self::Progress { .. } => Kind::Data,
            Self::Foreign { .. } => Kind::Config,
            Self::Sink(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Postgres(error) => error.hint(),
            Self::Foreign { .. } => Some(Hint::text(
                "connect to the database the pipeline was started with, or give the new one its \
                 own `pipeline` name (and its own `datalake.path`)",
            )
            .see(Section::Lineage)),
            Self::Sink(error) => error.hint(),
            Self::Silent(_) => Some(Hint::text(
                "the server or the network between hangs; the poll connects again by itself",
            )),
            Self::Returned(_)
            | Self::Recovered(_)
            | Self::OtherCursor(_)
            | Self::Progress { .. } => None,
        }
    }
}
