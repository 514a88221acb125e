//! Whether a pooler between us and the server gives our session to others: PgBouncer's transaction
//! mode, and what works like it.
//!
//! A poll needs a session of its own: its settings make text forms and encodings what they are, and
//! its statements are prepared in it. In transaction mode they would land on whatever session of
//! the server is free, so this is found out before anything is read, and looked at again in every
//! cycle. Source: PgBouncer's documentation, "Feature matrix for pooling modes".

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Row, raw_sql};

/// A pool of one session would let the second question wait for ever.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const PID: &str = "SELECT pg_backend_pid()";

/// True when two connections were given the same session of the server, or one connection two.
///
/// A session that is free again is handed to the next who asks for one: the second connection gets
/// ours, and we another one when we ask again. Where no second connection can be made nothing is
/// known, and the look in every cycle remains.
pub async fn shares_sessions(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<bool, sqlx::Error> {
    let ours = backend(connection).await?;
    let Ok(mut other) = options.connect().await else {
        return Ok(false);
    };
    match raw_sql("BEGIN").execute(&mut other).await {
        // A server that serves us refuses no transaction; a pooler that shares its sessions by the
        // statement does.
        Err(sqlx::Error::Database(_)) => return Ok(true),
        began => began?,
    };
    let theirs = backend(&mut other).await?;
    let shared = theirs == ours
        || match tokio::time::timeout(ANSWER_MAX, backend(connection)).await {
            Ok(now) => now? != ours,
            Err(_) => true,
        };
    // Whether it takes leave in order does not matter any more.
    let _ = other.close().await;
    Ok(shared)
}

/// The server's process that answers; by the simple protocol, which every pooler understands.
async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    raw_sql(PID).fetch_one(connection).await?.try_get(0)
}
