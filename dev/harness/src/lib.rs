//! Real servers for the tests of every crate, and a judge that shares no code with Inlet.
//!
//! * [`Postgres`] and [`Kafka`] are child processes on free ports of 127.0.0.1; a test may kill,
//!   stop and restart its own. [`shared_postgres`] and [`shared_kafka`] start once for each test
//!   process, for tests that only need a database or a topic; they are `&'static`, so that a test
//!   cannot stop them.
//! * [`Connect`] is a Kafka Connect with Debezium's connector (`dev/scripts/setup.sh --debezium`).
//! * [`S3`] is a server of object storage, and [`Faults`] a proxy before it.
//! * [`Pooler`] is a PgBouncer before a server.
//! * [`Inlet`] is our binary as a process: a test starts it, kills it, stops it and reads its
//!   output.
//! * [`judge`] compares a table with its view in every version of DuckDB.
//! * [`duckdb`] reads the lake, `psql` ([`Database::rows`]) the source, `kcat` ([`Kafka::read`])
//!   the topic, and pyarrow ([`arrow`]) a message of many rows.
//! * [`delta`] reads Delta tables with the libraries of Python's users.
//! * [`eventually`] waits for a condition; [`Folder`] is a temporary folder.
//!
//! Promises: every process and file is removed. Dropping a value ends its processes and deletes its
//! files; the servers of a test process end when it ends or is killed; the next run removes what is
//! left even then. When a test panics, the servers' logs are kept and their last lines printed. A
//! missing program is an error that names `dev/scripts/setup.sh`, never a skipped test. Leaves to
//! others: installing (`dev/scripts/setup.sh`), and whatever a test claims.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod arrow;
mod connect;
mod csv;
mod database;
pub mod delta;
pub mod duckdb;
mod eventually;
mod folder;
mod inlet;
pub mod judge;
mod kafka;
mod pooler;
mod port;
mod postgres;
mod process;
mod programs;
mod s3;
mod schema;
mod server;
mod shared;

pub use connect::{Connect, Connector};
pub use database::Database;
pub use eventually::{Met, eventually};
pub use folder::Folder;
pub use inlet::{Finished, Inlet};
pub use kafka::{AUTHORIZED, Kafka, NewRecord, Record};
pub use pooler::Pooler;
pub use port::Port;
pub use postgres::{PASSWORD, Postgres, USER};
pub use programs::kafka_python;
pub use s3::{Fault, Faults, Request, S3};
pub use schema::{check_file, check_file_by};
pub use shared::{shared_database, shared_kafka, shared_postgres};
