//! The lake: one table's rows as Parquet files, with the offsets that they cover and the poller's
//! progress made durable in the same step.
//!
//! [`TableWriter`] writes a table, for the consumer and for [`LakeSink`] alike; [`TableReader`]
//! reads it. This crate alone knows the names and the formats on the disk.
//!
//! # What is on the disk
//!
//! Everything of a table is in its folder, and all paths in the log are relative to it: a lake can
//! be moved or copied as a whole. Each name and format has one home.
//!
//! ```text
//! name                                    content                                format in
//! date=2026-11-20/                        a date_partition                       files/names
//!   <partition>-<offset>-<epoch>.parquet  a data file, named after its first row files/columns
//! _quarantine/
//!   <partition>-<offset>-<epoch>.jsonl    rejected rows, with the reason         files/quarantine
//! _log/
//!   <seq>.json                            a commit                               commit/entry
//!   _checkpoint.json                      the log in sum, derived from it        commit/checkpoint
//!   <seq>.json.<time>.torn                an entry that a power cut tore         commit/recover
//!   _files/<first>-<last>.json            the list of files, derived from it     commit/segments
//!   _entries/<first>-<last>.jsonl.zst     old commits, many in one file          commit/packs
//!   _packed.json                          the number of the last one in them     commit/packs
//! _staging/                               invisible files
//!   <writer>.lock                         locked while the writer lives          commit/claim
//!   <writer>.<n>.staged                   a file before its commit               files/encoder
//!   <writer>.<n>.entry                    an entry or checkpoint before its name files/store
//!   <writer>.<n>.hidden/                  a date_partition before its swap       files/hidden
//!   repair                                locked while a torn entry is set aside commit/recover
//!   retire                                locked while columns get other names   commit/retire
//! _delta_log/                             the table for readers of Delta         (inlet export)
//! _ducklake.sqlite                        the table for readers of DuckLake      (inlet export)
//! _members/<n>.lock                       a place in the consumer's group        (the consumer)
//! _request.json                           what a user asks of the poll           request
//! ```
//!
//! The folders by date are `_date=` for a table that has a column `date` of its own, and
//! `date=__HIVE_DEFAULT_PARTITION__` for rows without a date. A name below `_staging` never ends in
//! `.parquet`, so `read_parquet('<folder>/**/*.parquet')` sees committed, complete files only, at
//! any moment.
//!
//! The rows of a data file and the bytes before its footer never change. Its footer does when a
//! column has to give up its name to a later one (`commit/naming`): a copy with other names is
//! renamed over the file. Small files are replaced by one that holds their rows, which has the name
//! of one of them (`commit/replace`). Dates that are older than the table keeps leave
//! (`commit/expire`).
//!
//! # Promises
//!
//! A batch is committed once or not at all. A writer that lost a kafka_partition to another one
//! cannot commit for it. The files of one commit appear one after the other, within milliseconds.
//! A name of a column in the files has one meaning. `commit/protocol.rs`, `commit/take_over.rs` and
//! `commit/retire.rs` explain how that works. Read the crate in this order: `commit/entry`,
//! `commit/head`, `commit/naming`, `commit/protocol`, `commit/recover`, `commit/retire`,
//! `commit/replace`, `commit/published`, `files/stage`, `files/encoder`, `files/footer`, `writer`,
//! `compaction`, `reader`, `changes`, `inspection`, `audit`, `sink`.
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod audit;
mod batch;
mod changes;
mod commit;
mod committed;
mod compaction;
mod error;
mod files;
mod folder;
mod inspection;
mod left_dates;
mod logged;
mod metrics;
mod options;
mod reader;
mod request;
mod rules;
mod sink;
mod writer;

pub use audit::{Audit, ContentFlaw, Left, Origin, Read};
pub use batch::{Limits, Size};
pub use changes::{Commit, CommittedRows};
pub use commit::{
    Act, Changes, Derived, Extent, Head, LakeFile, LogFlaw, NameInFiles, Numbering, PartitionHead,
    Published, Writer,
};
pub use committed::Committed;
pub use compaction::{Compacted, CompactionOptions, Compactor, Expired, Retention};
pub use error::LakeError;
pub use files::{
    BucketError, BucketOptions, CHANGE_COLUMNS, ColumnStatistics, Opened, QUARANTINE_COLUMNS,
    Rejected, in_bucket, use_bucket, use_client,
};
pub use inspection::Inspection;
pub use left_dates::LeftDates;
pub use logged::LoggedEntry;
pub use metrics::describe as describe_metrics;
pub use options::LakeOptions;
pub use reader::{Held, TableReader, tables_of};
pub use request::{read_request, write_request};
pub use rules::{RuleError, Rules, Validator};
pub use sink::{LakeSink, LakeSinkTable};
pub use writer::{ClosedBatch, StagedBatch, TableWriter};
