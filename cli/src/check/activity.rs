//! What is open on the server: transactions of sessions, and prepared ones.

use std::time::Duration;

use inlet_postgres::server::Greeting;
use sqlx::PgConnection;

use super::finding::{Finding, Hop};
use crate::text_table::span;

/// The oldest working transaction, and the oldest one that waits for its client.
const OLDEST: &str = "\
SELECT DISTINCT ON (idle) pid, coalesce(usename::text, '?'), coalesce(nullif(application_name, \
''), 'no name'), idle,
       extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM (SELECT *, coalesce(state, '') LIKE 'idle in transaction%' AS idle FROM pg_stat_activity) a
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND \
    backend_type = 'client backend'
ORDER BY idle, xact_start";

const PREPARED: &str = "\
SELECT gid, owner::text, extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_prepared_xacts
WHERE database = current_database()
ORDER BY prepared";

/// One open transaction: pid, role, application, whether it waits for its client, seconds.
type Open = (i32, String, String, bool, f64);

/// One prepared transaction: its name, role, seconds.
type Prepared = (String, String, f64);

/// Reports what is open for longer than `open_max`.
pub async fn check(
    connection: &mut PgConnection,
    open_max: Duration,
    greeting: &Greeting,
    findings: &mut Vec<Finding>,
) -> Result<(), sqlx::Error> {
    let limit = open_max.as_secs_f64();
    let database = format!("database {}", greeting.identity.database);
    let open: Vec<Open> = sqlx::query_as(OLDEST).fetch_all(&mut *connection).await?;
    let prepared: Vec<Prepared> = sqlx::query_as(PREPARED).fetch_all(&mut *connection).await?;
    let longest = open.iter().map(|open| open.4).fold(0.0, f64::max);
    let evidence = format!(
        "longest open transaction {}, prepared transactions {}",
        span(longest),
        prepared.len()
    );
    findings.push(Finding::ok(Hop::Postgres, database, evidence));
    findings.extend(open.iter().filter(|open| open.4 > limit).map(of_session));
    findings.extend(
        prepared
            .iter()
            .filter(|prepared| prepared.2 > limit)
            .map(of_prepared),
    );
    Ok(())
}

fn of_session((pid, role, application, idle, age): &Open) -> Finding {
    let state = if *idle {
        "idle in a transaction"
    } else {
        "in a transaction"
    };
    let evidence = format!(
        "{state} for {}: role {role}, application {application}",
        span(*age)
    );
    let means = "its rows arrive late, with old stamps, and VACUUM keeps every row version since \
        then; Inlet does not wait for it and loses no row";
    // An idle session has no statement to cancel, so only ending the session ends its transaction.
    let fix = if *idle {
        format!("SELECT pg_terminate_backend({pid});")
    } else {
        format!("SELECT pg_cancel_backend({pid});")
    };
    Finding::warning(Hop::Postgres, format!("session {pid}"), evidence)
        .effect(means)
        .fix(fix)
}

fn of_prepared((gid, owner, age): &Prepared) -> Finding {
    let evidence = format!(
        "prepared {} ago by role {owner}, neither committed nor rolled back",
        span(*age)
    );
    let means = "it holds its locks and keeps VACUUM from its rows, also over restarts, until \
        somebody ends it";
    let gid_literal = gid.replace('\'', "''");
    let fix = format!("COMMIT PREPARED '{gid_literal}';\nor ROLLBACK PREPARED '{gid_literal}';");
    Finding::warning(
        Hop::Postgres,
        format!("prepared transaction {gid}"),
        evidence,
    )
    .effect(means)
    .fix(fix)
}
