//! Topic -> lake: carries what the producer published into Parquet files, with the offsets
//! committed in the same step.
//!
//! The data's way: `source` -> `sequence` -> `decode` -> the lake (`inlet_lake`). `pipeline` is the
//! only place that waits on more than one thing. The lake's log is the only progress that a restart
//! reads; the group's offsets are for tools that show lag.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod decode;
mod error;
mod metrics;
mod pipeline;
mod sequence;
mod settings;
mod source;

pub use error::{ConsumerError, LostLake};
pub use pipeline::Pipeline;
pub use settings::{ConsumerSettings, TableSettings};
pub use source::{Missing, SourceError, start};
