//! Why the lake could not do it, and what that means.

use std::io;
use std::path::PathBuf;

use inlet_model::TableName;
use inlet_model::{KafkaPartition, Offset, OffsetRange};
use inlet_service::error::{Explain, Hint, Kind};

/// Why the lake could not do it.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The folder cannot be created or written by this user.
    #[error("folder `{}` of the lake is not writable", path.display())]
    NotWritable {
        /// The folder or file.
        path: PathBuf,
        /// Who may write, and who we are.
        owner: String,
        /// Why.
        source: io::Error,
    },
    /// The folder's file system lacks what an atomic commit needs.
    #[error("the file system of `{}` has no hard links, which a commit needs", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds another table.
    #[error("folder `{}` holds table `{found}`, not `{expected}`", path.display())]
    OtherTable {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        found: TableName,
        /// What was configured.
        expected: TableName,
    },
    /// A column of the table cannot stand beside the lake's own.
    #[error("column `{column}` of table `{table}` {reason}")]
    Column {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// Why.
        reason: String,
    },
    /// The batch does not start where the log ends.
    #[error(
        "commit of table `{table}` covers offsets {}..{} of kafka_partition {}, the lake is at {} (entry {seq})",
        range.from.0, range.next.0, partition.0, head.0
    )]
    Conflict {
        /// The table.
        table: TableName,
        /// The kafka_partition.
        partition: KafkaPartition,
        /// What the batch covers.
        range: OffsetRange,
        /// Where the log ends.
        head: Offset,
        /// The log's last entry.
        seq: u64,
    },
    /// Another writer took the kafka_partition.
    #[error("another process took the lake of table `{table}` over (kafka_partition {}: epoch {epoch} is ours, {owner} is the owner's)", partition.0)]
    Fenced {
        /// The table.
        table: TableName,
        /// The kafka_partition.
        partition: KafkaPartition,
        /// Our epoch.
        epoch: u64,
        /// The newest epoch.
        owner: u64,
    },
    /// No space is left.
    #[error("no space is left for `{}`", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The disk failed; nothing is known to be lost.
    #[error("{act} of `{}` failed", path.display())]
    Io {
        /// What was being done.
        act: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An earlier failure left in doubt what is on the disk; only opening the lake anew settles it.
    #[error(
        "the lake of table `{table}` has to be opened anew, because the disk failed in the middle of a commit"
    )]
    Doubtful {
        /// The table.
        table: TableName,
    },
    /// An entry of the log cannot be read or does not follow the one before.
    #[error("entry `{entry}` of the lake's log is corrupt: {reason}")]
    Corrupt {
        /// The entry.
        entry: String,
        /// Why.
        reason: String,
    },
    /// A committed file is neither published nor staged.
    #[error("file `{path}` of entry {seq} of the lake's log is missing")]
    Missing {
        /// The file.
        path: String,
        /// The entry.
        seq: u64,
    },
    /// Rows could not be encoded.
    #[error("encoding of `{path}` failed")]
    Encode {
        /// The staged file.
        path: String,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// An invariant of ours is broken.
    #[error("batch of table `{table}` is wrong: {reason}")]
    Batch {
        /// The table.
        table: TableName,
        /// How.
        reason: String,
    },
}

impl LakeError {
    /// The error of a file operation: what its kind means for the lake.
    pub(super) fn io(act: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        use io::ErrorKind as E;
        let path = path.into();
        match source.kind() {
            E::PermissionDenied | E::ReadOnlyFilesystem | E::NotADirectory => {
                let owner = super::store::ownership(&path);
                Self::NotWritable {
                    path,
                    owner,
                    source,
                }
            }
            E::StorageFull | E::QuotaExceeded => Self::Full { path, source },
            _ => Self::Io { act, path, source },
        }
    }

    pub(super) fn batch(table: &TableName, reason: impl Into<String>) -> Self {
        Self::Batch {
            table: table.clone(),
            reason: reason.into(),
        }
    }
}

impl Explain for LakeError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotWritable { .. }
            | Self::Unsupported { .. }
            | Self::OtherTable { .. }
            | Self::Column { .. } => Kind::Config,
            Self::Conflict { .. } | Self::Fenced { .. } => Kind::Fenced,
            Self::Full { .. } | Self::Io { .. } | Self::Doubtful { .. } => Kind::Unavailable,
            Self::Corrupt { .. } | Self::Missing { .. } => Kind::Data,
            Self::Encode { .. } | Self::Batch { .. } => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::NotWritable { owner, .. } => Hint::text(format!(
                "{owner}; change its owner, or the key `datalake.path`"
            )),
            Self::Unsupported { .. } => {
                Hint::text("put `datalake.path` on a local file system such as ext4 or XFS")
            }
            Self::OtherTable { .. } => {
                Hint::text("give every table its own folder: see the key `datalake.path`")
            }
            Self::Column { .. } => {
                Hint::text("see the key `tables.<name>.date_column`, or rename the column")
            }
            Self::Conflict { .. } | Self::Fenced { .. } => {
                Hint::text("another instance writes this table: stop one of the two")
            }
            Self::Full { .. } => {
                Hint::text("free space on the lake's disk; writing goes on by itself")
            }
            Self::Corrupt { entry, .. } => Hint::text(format!(
                "restore `{entry}` from a copy; the entries behind it depend on it"
            )),
            Self::Missing { path, .. } => Hint::text(format!(
                "restore `{path}` from a copy, or delete the table's folder to load it anew"
            )),
            Self::Io { .. } | Self::Doubtful { .. } | Self::Encode { .. } | Self::Batch { .. } => {
                return None;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_permission_is_a_matter_of_the_configuration() {
        let error = LakeError::io(
            "creation",
            "/",
            io::Error::from(io::ErrorKind::PermissionDenied),
        );
        assert_eq!(error.kind(), Kind::Config);
        assert!(
            error.hint().expect("a hint").to_string().contains("uid"),
            "{error:?}"
        );
    }

    #[test]
    fn a_full_disk_is_waited_for() {
        assert_eq!(
            LakeError::io("write", "/x", io::Error::from(io::ErrorKind::StorageFull)).kind(),
            Kind::Unavailable
        );
    }
}
