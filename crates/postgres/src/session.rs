//! A connection's server session must be ours alone and have our settings.
//!
//! A pooler in transaction mode (PgBouncer's, and others that work alike) gives our statements to
//! any server session that is free. Settings and prepared statements would then land in the session
//! of another client. This is detected before anything is read, and again in every cycle. Source:
//! PgBouncer's documentation, "Feature matrix for pooling modes".

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Row, raw_sql};

/// A pool with one server session would block our second question forever.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const PID: &str = "SELECT pg_backend_pid()";

/// What a session runs once before it reads rows: text forms that do not depend on the server's
/// configuration, and the bytes of a `SQL_ASCII` database as they are. With a conversion to UTF-8
/// one invalid byte would fail the whole statement.
const SESSION_SQL: &str = "\
SELECT set_config('IntervalStyle', 'postgres', false), set_config('bytea_output', 'hex', false),
       set_config('extra_float_digits', '1', false),
       set_config('quote_all_identifiers', 'off', false),
       set_config('standard_conforming_strings', 'on', false),
       set_config('client_encoding', CASE current_setting('server_encoding') WHEN 'SQL_ASCII' THEN \
    'SQL_ASCII' ELSE 'UTF8' END, false)";

/// Makes the session's text forms and encoding independent of the server's configuration.
pub(crate) async fn set_up(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    raw_sql(SESSION_SQL).execute(connection).await.map(drop)
}

/// True when two connections share one server session, or one connection gets two sessions.
///
/// False also when a second connection cannot be made: then only the check in every cycle remains.
pub(crate) async fn is_shared(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<bool, sqlx::Error> {
    // A pooler gives a free session to the next client that asks: the second connection gets ours,
    // and we get another one when we ask again.
    let ours = backend(connection).await?;
    let Ok(mut other) = options.connect().await else {
        return Ok(false);
    };
    match raw_sql("BEGIN").execute(&mut other).await {
        // A server that accepted the connection accepts a transaction; a pooler in statement mode
        // refuses it.
        Err(sqlx::Error::Database(_)) => return Ok(true),
        began => began?,
    };
    // The second connection keeps its transaction open, so a pooler has to give us another backend.
    let theirs = backend(&mut other).await?;
    let shared = theirs == ours
        || match tokio::time::timeout(ANSWER_MAX, backend(connection)).await {
            Ok(now) => now? != ours,
            Err(_) => true,
        };
    // The answer is known, so a failure to close in order changes nothing.
    let _ = other.close().await;
    Ok(shared)
}

/// The process id of the server session that answers. The simple protocol is used because every
/// pooler understands it.
async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    raw_sql(PID).fetch_one(connection).await?.try_get(0)
}
