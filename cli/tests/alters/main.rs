//! Tables that are altered while they are captured: what a reader with DuckDB sees afterwards.
//!
//! The judge of the harness compares the views with PostgreSQL, value for value, in both versions
//! of DuckDB, and the line of the README must be able to read every file.

#![allow(clippy::unwrap_used, missing_docs)]

mod lake;
mod matrix;
mod scripts;
