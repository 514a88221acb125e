//! Connections of the check to PostgreSQL, and what a failed question looks like.

use std::time::Duration;

use inlet_postgres::{Error, connect};
use inlet_service::config::PostgresAddress;
use sqlx::PgConnection;

use super::finding::{Finding, Hop};

/// A server that accepts no connection in this time could not serve a poll either.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Connects as the poll does, within a time.
pub async fn open(address: &PostgresAddress) -> Result<PgConnection, Error> {
    let late = |_| Error::Server {
        act: format!(
            "connection to PostgreSQL at {}:{} failed",
            address.host, address.port
        ),
        source: sqlx::Error::PoolTimedOut,
    };
    // A firewall that drops packets would keep the check waiting for minutes.
    tokio::time::timeout(CONNECT_TIME_MAX, connect(address))
        .await
        .map_err(late)?
}

/// The finding for a statement of the check that failed.
pub fn unread(object: &str, source: sqlx::Error) -> Finding {
    Finding::of(
        Hop::Postgres,
        object,
        &Error::Server {
            act: "a statement of the check failed".to_owned(),
            source,
        },
    )
}
