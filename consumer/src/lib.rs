//! Topic -> lake: carries what the producer published into Parquet files, with the offsets
//! committed in the same step.
//!
//! The data's way: [`source`] -> [`sequence`] -> [`decode`] -> the lake (`inlet_lake`);
//! [`pipeline`] is the only place that waits on more than one thing. The lake's log is the only
//! progress that a restart reads: the group's offsets are for tools that show lag.

pub mod decode;
pub mod error;
pub mod metrics;
pub mod pipeline;
pub mod sequence;
pub mod settings;
pub mod source;
