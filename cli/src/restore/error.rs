//! The errors of `inlet restore`.

use std::path::PathBuf;

use inlet_lake::LakeError;
use inlet_model::TableName;
use inlet_postgres::{CatalogError, Error};
use inlet_service::error::{Explain, Hint, Kind};

use crate::verify::VerifyError;

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Server(Box<Error>),
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error(transparent)]
    Files(#[from] VerifyError),
    #[error("`{0}` means several tables of the configuration, and one is restored at a time")]
    Several(String),
    #[error("`{0}` is no name of a table")]
    Name(String),
    #[error("the lake at `{}` has no rows to restore", .0.display())]
    NoRows(PathBuf),
    #[error("the lake at `{}` lacks committed files, or has damaged ones: {files}", .path.display())]
    Incomplete { path: PathBuf, files: String },
    #[error("table `{0}` exists there and has rows")]
    Exists(TableName),
    #[error("`{0}` exists there and is no table that rows can be loaded into")]
    NoTable(TableName),
    #[error("table `{table}` exists there without the columns: {columns}")]
    NoColumns { table: TableName, columns: String },
    #[error("the database has no type for: {columns}")]
    NoTypes { columns: String },
    #[error(
        "column `{column}` has a value that was written under another type and has no counterpart \
         in its present one"
    )]
    Misfit { column: String },
    #[error(
        "the restored rows of `{table}` are not those of the lake: {rows} rows instead of \
         {expected}, or other values; nothing was committed"
    )]
    Different {
        table: TableName,
        rows: u64,
        expected: u64,
    },
    #[error("stopped before the table was restored; nothing was committed")]
    Stopped,
}

impl From<Error> for RestoreError {
    fn from(error: Error) -> Self {
        Self::Server(Box::new(error))
    }
}

impl From<CatalogError> for RestoreError {
    fn from(error: CatalogError) -> Self {
        Error::from(error).into()
    }
}

impl Explain for RestoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::Server(error) => error.kind(),
            Self::Lake(error) => error.kind(),
            Self::Files(error) => error.kind(),
            Self::Several(_)
            | Self::Name(_)
            | Self::NoRows(_)
            | Self::Exists(_)
            | Self::NoTable(_)
            | Self::NoColumns { .. }
            | Self::NoTypes { .. } => Kind::Config,
            Self::Incomplete { .. } | Self::Misfit { .. } | Self::Different { .. } => Kind::Data,
            Self::Stopped => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let hint = match self {
            Self::Server(error) => return error.hint(),
            Self::Lake(error) => return error.hint(),
            Self::Files(error) => return error.hint(),
            Self::Several(_) => "name it as `tables:` does, with its schema",
            Self::Name(_) => "write it as SQL does: `orders`, `shop.orders`, `\"Orders\"`",
            Self::NoRows(_) => {
                "check `datalake.path`; a moment of `--as-of` may be older than the first row"
            }
            Self::Incomplete { .. } => {
                "see `inlet lake fsck`; what is missing comes again with `inlet reload` or \
                 `inlet verify --repair`"
            }
            Self::Exists(_) => {
                "restore under another name with `--as NAME`, or replace its rows with `--truncate`"
            }
            Self::NoTable(_) => "restore under another name with `--as NAME`",
            Self::NoColumns { .. } => {
                "add these columns, or restore under another name with `--as NAME`"
            }
            Self::NoTypes { .. } => {
                "create these types, domains or extensions first, or take the columns as text with \
                 `--missing-types-as-text`"
            }
            Self::Misfit { .. } => "restore a later moment, since which the column has its type",
            Self::Different { .. } => {
                "a trigger or a rule of the table may change rows; restore under another name with \
                 `--as NAME`"
            }
            Self::Stopped => return None,
        };
        Some(Hint::text(hint))
    }
}
