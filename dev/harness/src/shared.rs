//! One PostgreSQL and one Kafka for each test process, for tests that never stop them.

use anyhow::Context;
use tokio::sync::OnceCell;

use crate::{Database, Kafka, Postgres};

/// The process's PostgreSQL, started on the first call; each test creates its own database in it.
///
/// Panics with the reason when it cannot be started.
pub async fn shared_postgres() -> &'static Postgres {
    static SHARED: OnceCell<Postgres> = OnceCell::const_new();
    let started = SHARED
        .get_or_try_init(Postgres::start)
        .await
        .context("starting the shared PostgreSQL");
    started.unwrap_or_else(|error| panic!("{error:#}"))
}

/// A new database of the process's PostgreSQL.
///
/// Panics with the reason when it cannot be created.
pub async fn shared_database() -> Database {
    shared_postgres()
        .await
        .database()
        .await
        .unwrap_or_else(|error| panic!("{error:#}"))
}

/// The process's Kafka, started on the first call; each test creates its own topics in it.
///
/// Panics with the reason when it cannot be started.
pub async fn shared_kafka() -> &'static Kafka {
    static SHARED: OnceCell<Kafka> = OnceCell::const_new();
    let started = SHARED
        .get_or_try_init(Kafka::start)
        .await
        .context("starting the shared Kafka");
    started.unwrap_or_else(|error| panic!("{error:#}"))
}
