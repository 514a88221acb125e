//! What producer and consumer agree on: tables and their types, the change batch, the topic's
//! records, progress and offsets.
//!
//! Promises: pure functions over values; no I/O, no clock, no runtime. Leaves to others: reading
//! PostgreSQL (`inlet-producer`), writing the lake (`inlet-consumer`). Read in this order:
//! [`table`], [`types`], [`change`], [`record`], [`progress`], [`offsets`].

pub mod change;
pub mod offsets;
pub mod progress;
pub mod record;
pub mod table;
pub mod types;
pub mod xid;
