//! Why a table was not exported.

use std::path::PathBuf;

use inlet_lake::LakeError;
use inlet_model::TableName;
use inlet_service::error::{Explain, Hint, Kind};

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error("the catalog `{}` could not be {act}", path.display())]
    Catalog {
        act: &'static str,
        path: PathBuf,
        source: rusqlite::Error,
    },
    #[error("the catalog `{}` is of DuckLake {found}, and Inlet writes {ours}", path.display())]
    OtherVersion {
        path: PathBuf,
        found: String,
        ours: &'static str,
    },
    #[error("table `{table}` cannot be exported as Delta: {columns}, and Delta has no such type")]
    NoDeltaType { table: TableName, columns: String },
    #[error("the files of table `{table}` have no common type for column `{column}`")]
    NoCommonType { table: TableName, column: String },
    #[error("the schema of file `{}` is unknown", path.display())]
    UnknownSchema { path: PathBuf },
    #[error("`{}` of the Delta table is not what Inlet writes: {reason}", path.display())]
    ForeignDelta { path: PathBuf, reason: String },
    #[error("`exports` names no format for these tables")]
    Nothing,
}

impl ExportError {
    /// True while readers of the catalog keep it from being written: the next round does it.
    pub fn is_busy(&self) -> bool {
        let Self::Catalog { source, .. } = self else {
            return false;
        };
        matches!(
            source.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
        )
    }
}

impl Explain for ExportError {
    fn kind(&self) -> Kind {
        match self {
            Self::Lake(error) => error.kind(),
            Self::Catalog { .. } => Kind::Unavailable,
            Self::NoDeltaType { .. } | Self::Nothing => Kind::Config,
            _ => Kind::Data,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::Lake(error) => return error.hint(),
            Self::Catalog { path, .. } => Hint::text(format!(
                "readers may hold it; a catalog that is damaged can be removed, and is written \
                 again: rm '{}'",
                path.display()
            )),
            Self::OtherVersion { path, .. } => Hint::text(format!(
                "another program has changed it: attach it with READ_ONLY. Remove it, and Inlet \
                 writes it again: rm '{}'",
                path.display()
            )),
            Self::NoDeltaType { .. } => Hint::text(
                "leave `delta` out of the table's `exports`, or leave these columns out with \
                 `exclude_columns`",
            ),
            Self::ForeignDelta { path, .. } => {
                let log = path.parent().unwrap_or(path);
                Hint::text(format!(
                    "another program has written into it, and the exported table is for reading \
                     alone. Remove its log, and Inlet writes it again: rm -r '{}'",
                    log.display()
                ))
            }
            Self::NoCommonType { .. } => return None,
            Self::UnknownSchema { .. } => {
                Hint::text("run `inlet lake fsck`, which explains what is wrong with the file")
            }
            Self::Nothing => Hint::text(
                "write the formats below `datalake:` or the table, as `exports: [ducklake]`",
            ),
        })
    }
}
