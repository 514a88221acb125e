//! PostgreSQL -> topic: polls tables without losing a row, and publishes every change with the
//! progress that covers it.
//!
//! The data's way: [`source`] (poll) -> [`sink`] (encode, publish); [`pipeline`] is the only place
//! that waits on more than one thing.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod aside;
pub mod export;
mod loads;
mod metrics;
pub mod pipeline;
mod progress_bar;
mod retry;
pub mod session;
pub mod settings;
pub mod sink;
pub mod source;
mod trim;
mod watch;
