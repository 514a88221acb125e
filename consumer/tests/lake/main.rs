//! The lake's promises, judged by DuckDB.

mod commits;
mod crashes;
mod fixture;
mod layout;
mod types;
mod writers;
