//! The lake's promises, as DuckDB reads them.

#![allow(clippy::unwrap_used)] // Of helpers too: what fails in a test shall end it.

mod bucket;
mod commits;
mod compaction;
mod crashes;
mod fixture;
mod inspection;
mod layout;
mod messages;
mod retention;
mod retired;
mod sink;
mod types;
mod unions;
mod writers;
