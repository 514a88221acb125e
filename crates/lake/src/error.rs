//! The errors of the lake, and what they mean for the process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use inlet_model::{KafkaPartition, Offset, OffsetRange, TableName};
use inlet_service::error::{Explain, Hint, Kind, Section};

use crate::files::{BucketError, BucketFault};

/// Acts that need no right to write.
pub(crate) const READING: &str = "reading";
pub(crate) const LISTING: &str = "listing";

/// What to do about a file system that is mounted for reading only.
const MOUNT: &str = "its file system is mounted for reading only: mount it for writing, or see the \
    key `datalake.path`";
/// What to do about a folder that is not the one that was written.
const PUT_BACK: &str = "the table's folder was removed, replaced or unmounted: put it back before \
    the next start, which begins an empty lake otherwise";

/// Why an operation on the lake failed.
#[allow(missing_docs)] // Each message names its fields.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// This user cannot create or write the folder.
    #[error("folder `{}` of the lake is not writable", path.display())]
    NotWritable {
        path: PathBuf,
        owner: String,
        source: io::Error,
    },
    /// This user cannot read a folder or file.
    #[error("`{}` of the lake could not be read", path.display())]
    NotReadable {
        path: PathBuf,
        owner: String,
        source: io::Error,
    },
    /// A part of the path is a file.
    #[error("the lake's path `{}` is no folder: `{}` is a file", path.display(), file.display())]
    NotFolder {
        path: PathBuf,
        file: PathBuf,
        source: io::Error,
    },
    /// A part of the path is a symbolic link to a place that does not exist.
    #[error(
        "the lake's path `{}` is a symbolic link to `{}`, which does not exist",
        link.display(),
        target.display()
    )]
    Dangling { link: PathBuf, target: PathBuf },
    /// The folder's file system lacks what an atomic commit needs.
    #[error("the file system of `{}` has no {lacks}, which a commit needs", path.display())]
    Unsupported {
        lacks: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The folder's file system lacks what putting merged files in the place of others needs.
    #[error(
        "the file system of `{}` cannot swap two folders in one step, so small files are not merged",
        path.display()
    )]
    NoSwap { path: PathBuf, source: io::Error },
    /// Another process merges files of the table.
    #[error("another process merges files of table `{table}`")]
    Compacting { table: TableName },
    /// Rows have the date on which they were found, and `keep` needs one of their own.
    #[error(
        "the rows of table `{table}` have no date of their own, by which `keep` could let them leave"
    )]
    Undated { table: TableName },
    /// The folder holds another table.
    #[error("folder `{}` holds table `{found}`, not `{expected}`", path.display())]
    OtherTable {
        path: PathBuf,
        found: TableName,
        expected: TableName,
    },
    /// The rows have the positions of a topic, and ours would have those of the lake itself.
    #[error(
        "the lake of table `{table}` at {} was written by a consumer: its rows have no poller's \
         progress to continue from",
        path.display()
    )]
    WrittenByConsumer { table: TableName, path: PathBuf },
    /// The rows have the positions of the lake itself, and ours would have those of a topic.
    #[error(
        "the lake of table `{table}` at {} was written without a broker: its rows do not have the \
         offsets of a topic",
        path.display()
    )]
    WrittenWithoutBroker { table: TableName, path: PathBuf },
    /// A column of the table does not fit the lake.
    #[error("column `{column}` of table `{table}` {reason}")]
    Column {
        table: TableName,
        column: String,
        reason: String,
    },
    /// The batch does not start where the log ends.
    #[error(
        "commit of table `{table}` covers offsets {}..{} of kafka_partition {}, the lake is at {} \
         (entry {seq})",
        range.from.0, range.next.0, partition.0, head.0
    )]
    Conflict {
        table: TableName,
        partition: KafkaPartition,
        range: OffsetRange,
        head: Offset,
        seq: u64,
    },
    /// Another writer took the kafka_partition over.
    #[error("another process took over the lake of table `{table}` \
         (kafka_partition {}: our epoch is {epoch}, the owner's is {owner})", partition.0)]
    Fenced {
        table: TableName,
        partition: KafkaPartition,
        epoch: u64,
        owner: u64,
    },
    /// The log lacks what this process has written to it.
    #[error(
        "the lake of table `{table}` lost its log, or got another one, while this process wrote it"
    )]
    LogReplaced { table: TableName },
    /// The disk is full.
    #[error("no space is left for `{}`", path.display())]
    Full { path: PathBuf, source: io::Error },
    /// A request to a bucket failed.
    #[error("{act} of `{}` failed", path.display())]
    Bucket {
        act: &'static str,
        path: PathBuf,
        source: BucketError,
    },
    /// Files of a bucket cannot be merged.
    #[error("the files of `{}` are not merged, because they are in a bucket", path.display())]
    NoMergeInBucket { path: PathBuf },
    #[error("{act} of `{}` failed", path.display())]
    Io {
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// An earlier failure left in doubt what is on the disk; opening the lake again settles it.
    #[error(
        "the lake of table `{table}` must be opened again, because the disk failed in the middle \
         of a \
         commit"
    )]
    Doubtful { table: TableName },
    /// An entry of the log is unreadable, or does not follow the entry before it.
    #[error("entry `{entry}` of the lake's log is corrupt: {reason}")]
    Corrupt { entry: String, reason: String },
    /// A committed file is neither published nor staged.
    #[error("file `{path}` of entry {seq} of the lake's log is missing")]
    Missing { path: String, seq: u64 },
    /// A data file is not Parquet, or is damaged.
    #[error("data file `{}` is damaged", path.display())]
    Damaged {
        path: PathBuf,
        source: parquet::errors::ParquetError,
    },
    /// Rows could not be encoded.
    #[error("encoding of `{path}` failed")]
    Encode {
        path: String,
        source: parquet::errors::ParquetError,
    },
    /// A batch breaks an invariant of the lake.
    #[error("batch of table `{table}` is wrong: {reason}")]
    Batch { table: TableName, reason: String },
}

impl LakeError {
    /// The error of a file operation, by what its kind means for the lake.
    pub(crate) fn io(act: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        use io::ErrorKind as E;
        let path = path.into();
        let source = match source.downcast::<BucketError>() {
            Ok(source) => return Self::Bucket { act, path, source },
            Err(source) => source,
        };
        match source.kind() {
            // These three come from the set-up, and retrying does not help; everything else may
            // pass.
            E::NotADirectory => {
                let is_file = |part: &&Path| part.exists() && !part.is_dir();
                let file = path.ancestors().find(is_file).unwrap_or(&path).to_owned();
                Self::NotFolder { path, file, source }
            }
            E::PermissionDenied | E::ReadOnlyFilesystem => {
                let owner = crate::files::ownership(&path);
                // `check` and `status` read only: they need other rights than a writer.
                if matches!(act, READING | LISTING) {
                    return Self::NotReadable {
                        path,
                        owner,
                        source,
                    };
                }
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

    /// The error of a path with a symbolic link in it that leads nowhere; `None` for any other
    /// path.
    pub fn dangling(path: &Path) -> Option<Self> {
        path.ancestors().find_map(|link| {
            let target = fs::read_link(link).ok()?;
            (!link.exists()).then(|| Self::Dangling {
                link: link.to_owned(),
                target,
            })
        })
    }

    pub(crate) fn batch(table: &TableName, reason: impl Into<String>) -> Self {
        Self::Batch {
            table: table.clone(),
            reason: reason.into(),
        }
    }

    /// What to do about it.
    fn advice(&self) -> Option<Hint> {
        Some(match self {
            Self::NotWritable { source, .. } if is_read_only(source) => Hint::text(MOUNT),
            Self::NotWritable { owner, .. } | Self::NotReadable { owner, .. } => Hint::text(
                format!("{owner}; change its owner, or the key `datalake.path`"),
            ),
            Self::Bucket { source, .. } => return source.fault.hint(),
            Self::NoMergeInBucket { .. } => Hint::text(
                "a plain pattern would show duplicates while they are merged; a longer \
                 `streaming.flush_interval` makes larger files",
            ),
            Self::NotFolder { .. } => {
                Hint::text("give the path of a folder: see the key `datalake.path`")
            }
            Self::Dangling { target, .. } => Hint::text(format!(
                "mount the disk or create the folder `{}`, or change the key `datalake.path`",
                target.display()
            )),
            Self::Unsupported { path, .. } if crate::files::in_bucket(path) => Hint::text(
                "use a version of the server that has them, or another server: without them two \
                 writers could commit under one name",
            ),
            Self::Unsupported { .. } => {
                Hint::text("put `datalake.path` on a local file system such as ext4 or XFS")
            }
            Self::NoSwap { .. } => Hint::text(
                "put `datalake.path` on a local file system such as ext4, XFS or Btrfs, or set \
                 `datalake.compaction_interval: 0`",
            ),
            Self::Compacting { .. } => {
                Hint::text("the service that writes the table does it by itself; try again later")
            }
            Self::Undated { .. } => {
                Hint::text("remove `keep` of the table; `keep_quarantine` needs no date")
            }
            Self::OtherTable { .. } => {
                Hint::text("give every table its own folder: see the key `datalake.path`")
            }
            Self::WrittenByConsumer { .. } => Hint::text(
                "give `inlet run` a `datalake.path` of its own, or add the `kafka:` section that \
                 the lake was written with",
            ),
            Self::WrittenWithoutBroker { .. } => Hint::text(
                "give the consumer a new `datalake.path`, which gets every row, or remove the \
                 `kafka:` section and continue with `inlet run`",
            ),
            Self::Column { .. } => {
                Hint::text("see the key `tables.<name>.date_column`, or rename the column")
            }
            Self::Conflict { .. } | Self::Fenced { .. } => {
                Hint::text("another instance writes this table: stop one of the two")
            }
            Self::LogReplaced { .. } => Hint::text(PUT_BACK),
            Self::Full { .. } => {
                Hint::text("free space on the lake's disk; writing then continues")
            }
            Self::Corrupt { entry, .. } => Hint::text(format!(
                "restore `{entry}` from a copy; the entries after it depend on it"
            )),
            Self::Missing { path, .. } => Hint::text(format!(
                "restore `{path}` from a copy, or delete the table's folder to load it again"
            )),
            Self::Damaged { .. } => Hint::text(
                "restore the file from a copy; without one, move the table's folder away to load \
                 the table again",
            ),
            Self::Io { .. } | Self::Doubtful { .. } | Self::Encode { .. } | Self::Batch { .. } => {
                return None;
            }
        })
    }

    /// The section of docs/troubleshooting.md about it.
    fn section(&self) -> Option<Section> {
        Some(match self {
            Self::NotWritable { .. } | Self::NotReadable { .. } => Section::LakeNotWritable,
            Self::NotFolder { .. } => Section::LakeNoFolder,
            Self::Dangling { .. } => Section::LakeDangling,
            Self::Unsupported { path, .. } if !crate::files::in_bucket(path) => Section::FileSystem,
            Self::OtherTable { .. } => Section::OtherTable,
            Self::WrittenByConsumer { .. } => Section::WrittenByConsumer,
            Self::WrittenWithoutBroker { .. } => Section::WrittenWithoutBroker,
            Self::Full { .. } => Section::DiskFull,
            Self::Corrupt { .. } => Section::LogDamaged,
            Self::Missing { .. } | Self::Damaged { .. } => Section::FileDamaged,
            _ => return None,
        })
    }
}

fn is_read_only(source: &io::Error) -> bool {
    source.kind() == io::ErrorKind::ReadOnlyFilesystem
}

impl Explain for LakeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Bucket { source, .. } => match source.fault {
                BucketFault::NoBucket
                | BucketFault::Denied
                | BucketFault::NoCredentials
                | BucketFault::OtherServer => Kind::Config,
                BucketFault::Unreachable | BucketFault::Passing => Kind::Unavailable,
            },
            Self::NoMergeInBucket { .. }
            | Self::NotWritable { .. }
            | Self::NotReadable { .. }
            | Self::NotFolder { .. }
            | Self::Dangling { .. }
            | Self::Unsupported { .. }
            | Self::NoSwap { .. }
            | Self::OtherTable { .. }
            | Self::Undated { .. }
            | Self::WrittenByConsumer { .. }
            | Self::WrittenWithoutBroker { .. }
            | Self::LogReplaced { .. }
            | Self::Column { .. } => Kind::Config,
            Self::Conflict { .. } | Self::Fenced { .. } => Kind::Fenced,
            Self::Full { .. }
            | Self::Io { .. }
            | Self::Doubtful { .. }
            | Self::Compacting { .. } => Kind::Unavailable,
            Self::Corrupt { .. } | Self::Missing { .. } | Self::Damaged { .. } => Kind::Data,
            Self::Encode { .. } | Self::Batch { .. } => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<Hint> {
        let hint = self.advice()?;
        Some(match self.section() {
            Some(section) => hint.see(section),
            None => hint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_for_reading_only_has_to_be_mounted_for_writing() {
        let source = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
        let error = LakeError::io("creation", "/data/lake", source);
        let hint = error.hint().unwrap().to_string();
        assert!(hint.contains("mount it for writing"), "{hint}");
        assert!(!hint.contains("owner"), "{hint}");
    }

    #[test]
    fn a_folder_without_permission_is_an_error_of_the_configuration() {
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
    fn a_link_that_leads_nowhere_is_named_with_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let (link, lake) = (folder.path().join("link"), folder.path().join("link/lake"));
        std::os::unix::fs::symlink("/nowhere/disk", &link).unwrap();
        for path in [&link, &lake] {
            let error = LakeError::dangling(path).unwrap();
            assert_eq!(error.kind(), Kind::Config);
            assert_eq!(
                error.to_string(),
                format!(
                    "the lake's path `{}` is a symbolic link to `/nowhere/disk`, which does not \
                     exist",
                    link.display()
                )
            );
            assert!(!error.hint().unwrap().to_string().contains("uid"));
        }
        assert!(LakeError::dangling(folder.path()).is_none());
    }

    #[test]
    fn a_full_disk_is_retried() {
        assert_eq!(
            LakeError::io("write", "/x", io::Error::from(io::ErrorKind::StorageFull)).kind(),
            Kind::Unavailable
        );
    }
}
