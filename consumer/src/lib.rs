//! Topic -> lake: carries what the producer published into Parquet files, with the offsets
//! committed in the same step.
//!
//! The data's way: [`source`] -> [`sequence`] -> [`decode`] -> [`validate`] -> [`batch`] ->
//! [`lake`]; [`pipeline`] is the only place that waits on more than one thing. The lake's log is
//! the only progress there is: the group's offsets are for tools that show lag.

pub mod batch;
pub mod decode;
pub mod error;
pub mod lake;
pub mod metrics;
pub mod pipeline;
pub mod sequence;
pub mod settings;
pub mod source;
pub mod validate;
