//! What producer and consumer agree on: tables and their types, the change batch, the topic's
//! records, progress and offsets.
//!
//! Promises: pure functions over values; no I/O, no clock, no runtime. Leaves to others: reading
//! PostgreSQL (`inlet-postgres`), writing the lake (`inlet-lake`).
//!
//! Read in this order: `name`, `types`, `generation`, `column`, `schema`; then [`change`], what the
//! stages exchange; then [`record`], what the topics hold; then `progress`, `offsets`, `xid`.

#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod calendar;
pub mod change;
mod column;
mod declared;
mod generation;
mod name;
mod offsets;
mod progress;
pub mod record;
mod request;
mod schema;
mod surrogate;
mod types;
mod xid;

pub use column::{Column, Role, is_blank_padded};
pub use declared::DeclaredError;
pub use generation::{Union, common, union};
pub use name::{
    Identifier, JOURNALS, NameError, PUBLIC, TableName, TableReference, nearest, printable, quote,
    resolve_column, similar, topic_safe, written_part,
};
pub use offsets::{KafkaPartition, Offset, OffsetRange, Offsets};
pub use progress::{Progress, ProgressDelta};
pub use request::{ReloadRequest, RepairRequest, Request};
pub use schema::{Fingerprint, Identity, SchemaFields, TableSchema};
pub use surrogate::has_lone_surrogate;
pub use types::{CatalogType, ColumnType, Scalar};
pub use xid::Xid;
