//! The files of a table's folder: their names, their formats, and how they become durable.

mod bucket;
mod columns;
mod contents;
mod dates;
mod encoder;
pub(crate) mod footer;
pub(crate) mod hidden;
mod merge;
pub(crate) mod names;
mod opened;
mod ownership;
mod quarantine;
mod rows;
mod stage;
mod statistics;
pub(crate) mod store;

pub(crate) use bucket::{Bucket, BucketFault, local_file};
pub use bucket::{BucketError, BucketOptions, in_bucket, use_bucket, use_client};
pub use columns::CHANGE_COLUMNS;
pub(crate) use columns::in_file;
pub(crate) use contents::read_rows;
pub(crate) use dates::{Calendar, Day};
pub(crate) use encoder::{Layout, StagedFile};
pub(crate) use merge::{MergedFile, Pace, merge_data, merge_rejected};
pub use opened::Opened;
pub(crate) use ownership::ownership;
pub(crate) use quarantine::read as read_quarantine;
pub use quarantine::{COLUMNS as QUARANTINE_COLUMNS, Rejected};
pub(crate) use stage::{OpenBatch, Staged, joined};
pub use statistics::ColumnStatistics;
pub(crate) use statistics::of as statistics_of;
pub(crate) use store::{Put, Store, side_by_side};
