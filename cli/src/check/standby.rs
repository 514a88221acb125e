//! The hot standby that rows are read from.

use inlet_postgres::connect;
use inlet_postgres::server::{self, Greeting};
use inlet_service::config::PostgresAddress;
use sqlx::{PgConnection, Row};

use super::finding::{Finding, Hop, unread};

/// With a greater delay of the standby every poll waits for seconds.
const BEHIND_BYTES_MAX: i64 = 64 << 20;

const REPLAY: &str = "SELECT pg_is_wal_replay_paused(), coalesce(pg_wal_lsn_diff($1::text::pg_lsn, \
    pg_last_wal_replay_lsn()), 0)::bigint";

/// Checks that it is a standby of this primary and how far its replay is.
pub async fn check(
    address: &PostgresAddress,
    primary: &Greeting,
    to_primary: &mut PgConnection,
) -> Finding {
    let object = format!("read_url {}:{}", address.host, address.port);
    let mut connection = match connect(address).await {
        Ok(connection) => connection,
        Err(error) => return Finding::of(Hop::Postgres, object, &error),
    };
    compare(&object, primary, to_primary, &mut connection)
        .await
        .unwrap_or_else(|source| unread(&object, source))
}

async fn compare(
    object: &str,
    primary: &Greeting,
    to_primary: &mut PgConnection,
    connection: &mut PgConnection,
) -> Result<Finding, sqlx::Error> {
    let greeting = server::greet(connection).await?;
    let (ours, theirs) = (&primary.identity, &greeting.identity);
    if (ours.system, &ours.database) != (theirs.system, &theirs.database) {
        let evidence = format!(
            "database `{}` of cluster {}, the primary is `{}` of cluster {}",
            theirs.database, theirs.system, ours.database, ours.system
        );
        let finding = Finding::error(Hop::Postgres, object, evidence)
            .effect("rows would be read from another database");
        return Ok(
            finding.fix("give a standby of `postgres.url` as `postgres.read_url`, or leave it out")
        );
    }
    if !greeting.standby {
        let finding = Finding::error(Hop::Postgres, object, "no standby: it accepts writes");
        return Ok(finding
            .effect("waiting for its replay never ends")
            .fix("give a hot standby as `postgres.read_url`, or leave it out"));
    }
    let position = server::insert_position(to_primary).await?;
    let row = sqlx::query(REPLAY)
        .bind(position)
        .fetch_one(connection)
        .await?;
    let (paused, behind): (bool, i64) = (row.try_get(0)?, row.try_get(1)?);
    if paused {
        let finding = Finding::error(Hop::Postgres, object, "its replay is paused");
        return Ok(finding
            .effect("every poll waits until it goes on")
            .fix("on the standby: SELECT pg_wal_replay_resume();"));
    }
    if behind > BEHIND_BYTES_MAX {
        let finding = Finding::warning(
            Hop::Postgres,
            object,
            format!("{behind} bytes of WAL behind its primary"),
        );
        return Ok(finding
            .effect("every poll waits until it has caught up")
            .fix("leave `postgres.read_url` out until it has"));
    }
    Ok(Finding::ok(
        Hop::Postgres,
        object,
        format!("a standby of the primary, {behind} bytes of WAL behind"),
    ))
}
