//! The errors of `inlet verify`.

use inlet_lake::LakeError;
use inlet_postgres::Error;
use inlet_service::error::{Explain, Hint, Kind};

use crate::duckdb::DuckDbError;

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Source(Box<Error>),
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error(transparent)]
    DuckDb(#[from] DuckDbError),
    /// DuckDB's answer is not what was asked for.
    #[error("duckdb answered with `{answer}`, which is not what it was asked")]
    Answer { answer: String },
    #[error("a value of column `{column}` has no text")]
    NotShown {
        column: String,
        source: arrow::error::ArrowError,
    },
    #[error("stopped before every table was compared")]
    Stopped,
}

impl From<Error> for VerifyError {
    fn from(error: Error) -> Self {
        Self::Source(Box::new(error))
    }
}

impl Explain for VerifyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Source(error) => error.kind(),
            Self::Lake(error) => error.kind(),
            Self::DuckDb(error) => error.kind(),
            Self::Answer { .. } | Self::NotShown { .. } => Kind::Bug,
            Self::Stopped => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Lake(error) => error.hint(),
            Self::DuckDb(error) => error.hint(),
            Self::Answer { .. } | Self::NotShown { .. } | Self::Stopped => None,
        }
    }
}
