//! What is asked of the server besides rows: identity, activity, prepared transactions, and how far
//! its log is flushed.
//!
//! Every statement here is its own transaction: inside one, `pg_stat_activity` would be cached, and
//! a statement takes its snapshot before it reads the activity. Source: PostgreSQL manual, "The
//! Cumulative Statistics System"; docs/polling.md, "The order of a cycle".

use std::time::{Duration, Instant};

use inlet_model::Xid;
use serde::{Deserialize, Serialize};
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Row, ValueRef};

use crate::reading::{Reading, Seen, ServerTime, Session};

/// What was committed asynchronously is flushed within three times `wal_writer_delay`, 0.6 s by
/// default.
const LOG_WAIT_MAX: Duration = Duration::from_secs(1);

/// A standby that follows its primary replays something within seconds, because our own questions
/// wait for what was just written.
const REPLAY_WAIT_MAX: Duration = Duration::from_secs(30);

/// Where xids and log positions mean something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster: `pg_control_system().system_identifier`.
    pub system: i64,
    /// The database's name in it.
    pub database: String,
    /// The timeline: it changes when a standby is promoted and when a backup is restored.
    pub timeline: i64,
}

/// The sessions of our database but us, and the snapshot's end, in one statement.
///
/// An idle transaction without a start is one whose session did not report its activity when it
/// began. Kinds of processes that write no rows of users are left out by name; everything else
/// counts, because extensions name theirs freely.
const SESSIONS: &str = "\
SELECT statement_timestamp(), pg_snapshot_xmax(s)::text, s::text, a.pid, a.backend_start, \
a.xact_start, a.query_start,
       coalesce(a.state, '?') NOT IN ('idle', 'idle in transaction', 'idle in transaction \
    (aborted)', 'disabled') AS running,
       a.backend_xid,
       a.query = '<insufficient privilege>' OR coalesce(a.state, '') = 'disabled'
           OR a.xact_start IS NULL AND a.state LIKE 'idle in transaction%' AS hidden, \
    pg_backend_pid(),
       a.query IS DISTINCT FROM '<insufficient privilege>' AND coalesce(a.state, 'starting') = \
    'starting'
           AND a.backend_type = 'client backend' AS starting
FROM pg_current_snapshot() s
LEFT JOIN pg_stat_get_activity(NULL) a
  ON a.datid = (SELECT oid FROM pg_database WHERE datname = current_database())
 AND a.pid <> pg_backend_pid()
 AND coalesce(a.backend_type, '?') NOT IN
     ('autovacuum launcher', 'autovacuum worker', 'walsender', 'parallel worker', 'checkpointer', \
    'background writer', 'walwriter', 'startup')";

/// Virtual xids are visible to every role, also where times are hidden.
const VIRTUAL_XIDS: &str = "SELECT pid, virtualtransaction FROM pg_locks WHERE locktype = \
    'virtualxid' AND mode = 'ExclusiveLock'";

const PREPARED: &str =
    "SELECT transaction FROM pg_prepared_xacts WHERE database = current_database()";

const IDENTITY: &str = "\
SELECT (SELECT system_identifier FROM pg_control_system()), current_database()::text,
       CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id::bigint FROM pg_control_checkpoint())
            ELSE ('x' || lpad(left(pg_walfile_name(pg_current_wal_lsn()), 8), 16, \
    '0'))::bit(64)::bigint END,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), current_user::text, \
    pg_is_in_recovery(), pg_backend_pid()";

/// The zone that writers without a setting of their own most likely use; our own session is always
/// set to UTC.
const ZONE: &str = "\
SELECT coalesce((SELECT split_part(s, '=', 2) FROM pg_db_role_setting d, unnest(d.setconfig) s
                 WHERE s ILIKE 'timezone=%' AND d.setdatabase IN (0, (SELECT oid FROM pg_database \
    WHERE datname = current_database()))
                 ORDER BY d.setrole = 0 DESC, d.setdatabase DESC LIMIT 1),
                current_setting('log_timezone'))";

/// What the server reports about itself and about our role.
#[derive(Debug, Clone)]
pub struct Greeting {
    /// Which database this is.
    pub identity: Identity,
    /// True when we may see other sessions' times.
    pub sees_all: bool,
    /// The role that the session runs as.
    pub user: String,
    /// True for a hot standby.
    pub standby: bool,
    /// The server's process that answers us.
    pub backend: i32,
}

/// Asks who the server is.
pub async fn greet(connection: &mut PgConnection) -> Result<Greeting, sqlx::Error> {
    let row = sqlx::query(IDENTITY).fetch_one(connection).await?;
    let identity = Identity {
        system: row.try_get(0)?,
        database: row.try_get(1)?,
        timeline: row.try_get(2)?,
    };
    Ok(Greeting {
        identity,
        sees_all: row.try_get(3)?,
        user: row.try_get(4)?,
        standby: row.try_get(5)?,
        backend: row.try_get(6)?,
    })
}

/// The zone that wall clocks without zone are most likely written in.
pub async fn writers_zone(connection: &mut PgConnection) -> Result<chrono_tz::Tz, sqlx::Error> {
    let name: String = sqlx::query(ZONE).fetch_one(connection).await?.try_get(0)?;
    Ok(name.trim().parse().unwrap_or(chrono_tz::Tz::UTC))
}

/// The text of a snapshot: the same text, and no transaction with an xid has ended in between. 16
/// us.
pub async fn snapshot(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query("SELECT pg_current_snapshot()::text")
        .fetch_one(connection)
        .await?
        .try_get(0)
}

/// What the server has counted in the relations of a table since its counters were last reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Versions that were written: rows that were inserted or updated.
    pub written: i64,
    /// Rows that were deleted.
    pub deleted: i64,
}

/// The counters of each table, and the server's time. A counter is late by seconds, also counts
/// what aborted transactions did, and starts again after a crash: another number means that
/// something may have been written. Source: PostgreSQL manual, "The Cumulative Statistics System".
pub async fn counters(
    connection: &mut PgConnection,
    tables: &[Vec<u32>],
) -> Result<(ServerTime, Vec<Counted>), sqlx::Error> {
    let (mut oids, mut numbers) = (Vec::new(), Vec::new());
    for (number, relations) in (0_i32..).zip(tables) {
        oids.extend(relations.iter().copied().map(Oid));
        numbers.extend(relations.iter().map(|_| number));
    }
    let rows = sqlx::query(
        "SELECT c.number, sum(pg_stat_get_tuples_deleted(c.oid))::bigint, clock_timestamp(), \
         sum(pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid))::bigint \
         FROM unnest($1::oid[], $2::integer[]) AS c(oid, number) GROUP BY c.number",
    )
    .bind(oids)
    .bind(numbers)
    .fetch_all(connection)
    .await?;
    let mut now = ServerTime::MIN;
    let mut counted = vec![Counted::default(); tables.len()];
    for row in rows {
        let number: i32 = row.try_get(0)?;
        let place = usize::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))?;
        counted[place] = Counted {
            deleted: row.try_get::<Option<i64>, _>(1)?.unwrap_or(0),
            written: row.try_get::<Option<i64>, _>(3)?.unwrap_or(0),
        };
        now = time(&row, 2)?.unwrap_or(now).max(now);
    }
    Ok((now, counted))
}

/// Gives a session a name that others find it by, in `pg_stat_activity.application_name`.
pub async fn name_session(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT set_config('application_name', $1, false)")
        .bind(name)
        .execute(connection)
        .await
        .map(drop)
}

/// True while another session of our database has this name.
pub async fn has_session(connection: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() \
               AND application_name = $1 AND pid <> pg_backend_pid())";
    sqlx::query_scalar(sql)
        .bind(name)
        .fetch_one(connection)
        .await
}

/// The xid below which every transaction has ended.
pub async fn oldest_open_xid(connection: &mut PgConnection) -> Result<Xid, sqlx::Error> {
    let row = sqlx::query("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
        .fetch_one(connection)
        .await?;
    xid(&row.try_get::<String, _>(0)?)
}

/// Reads sessions, then prepared transactions: a hand-over from the one to the other is then never
/// missed.
pub async fn read_activity(connection: &mut PgConnection) -> Result<Reading, sqlx::Error> {
    let rows = sqlx::query(SESSIONS).fetch_all(&mut *connection).await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let read_at = time(first, 0)?.ok_or(sqlx::Error::RowNotFound)?;
    let xid_end = xid(&first.try_get::<String, _>(1)?)?;
    let snapshot = first.try_get(2)?;
    let backend = first.try_get(10)?;
    let mut sessions = rows
        .iter()
        .map(session)
        .filter_map(Result::transpose)
        .collect::<Result<Vec<_>, _>>()?;
    if sessions
        .iter()
        .any(|session| !matches!(session.seen, Seen::Open { .. }))
    {
        // The locks are read after the sessions, so a transaction that the sessions hide is seen
        // here, or has ended.
        let virtual_xids = sqlx::query(VIRTUAL_XIDS)
            .fetch_all(&mut *connection)
            .await?;
        name_hidden(&mut sessions, &virtual_xids)?;
    }
    // Prepared transactions are read after the sessions: one that is prepared in between is then in
    // at least one of the two.
    let prepared = sqlx::query(PREPARED).fetch_all(connection).await?;
    let prepared = prepared
        .iter()
        .filter_map(|row| low_xid(row, 0).transpose())
        .collect::<Result<_, _>>()?;
    Ok(Reading {
        read_at,
        xid_end,
        snapshot,
        backend,
        sessions,
        prepared,
    })
}

/// The left join returns one row without a session when the database has no other session.
fn session(row: &PgRow) -> Result<Option<Session>, sqlx::Error> {
    let Some(pid) = row.try_get::<Option<i32>, _>(3)? else {
        return Ok(None);
    };
    let backend_start = time(row, 4)?;
    let hidden = row.try_get::<Option<bool>, _>(9)?.unwrap_or(true);
    let starting = row.try_get::<Option<bool>, _>(11)?.unwrap_or(false);
    let seen = match backend_start {
        Some(backend_start) if !hidden => Seen::Open {
            backend_start,
            xact_start: time(row, 5)?,
            query_start: time(row, 6)?,
            running: row.try_get(7)?,
        },
        _ if starting => Seen::Starting { local_xid: None },
        _ => Seen::Hidden { local_xid: None },
    };
    Ok(Some(Session {
        pid,
        seen,
        xid: low_xid(row, 8)?,
    }))
}

fn name_hidden(sessions: &mut [Session], virtual_xids: &[PgRow]) -> Result<(), sqlx::Error> {
    for row in virtual_xids {
        let pid: Option<i32> = row.try_get(0)?;
        let local = row
            .try_get::<Option<String>, _>(1)?
            .and_then(|text| text.rsplit('/').next()?.parse().ok());
        for session in sessions
            .iter_mut()
            .filter(|session| Some(session.pid) == pid)
        {
            match &mut session.seen {
                Seen::Hidden { local_xid } | Seen::Starting { local_xid } => *local_xid = local,
                Seen::Open { .. } => {}
            }
        }
    }
    Ok(())
}

/// Where the log must be flushed to before rows of a snapshot may be shown.
pub async fn insert_position(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query("SELECT pg_current_wal_insert_lsn()::text")
        .fetch_one(connection)
        .await?
        .try_get(0)
}

/// Waits until the log is flushed to a position: a crash cannot take back what was committed before
/// it.
///
/// What a transaction logs while it reads (a page that it prunes) is flushed with the next commit.
/// When that transaction fails and no other one commits, only the background writer flushes it,
/// every 15 s. Then we commit a transaction with an xid, which flushes the log.
pub async fn flushed(connection: &mut PgConnection, position: &str) -> Result<(), sqlx::Error> {
    const FLUSHED: &str = "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn";
    while !reached(connection, FLUSHED, position).await? {
        // A commit with an xid wakes the WAL writer, which then flushes everything before it.
        sqlx::query("SELECT pg_current_xact_id()")
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// How waiting for a standby has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// It shows everything up to the position.
    Reached,
    /// It has replayed nothing for [`REPLAY_WAIT_MAX`].
    Stuck,
    /// It is no standby any more.
    Promoted,
}

/// Waits until a standby has replayed the log to a position of its primary, as long as it goes on
/// replaying.
pub async fn replayed(
    connection: &mut PgConnection,
    position: &str,
) -> Result<Replayed, sqlx::Error> {
    const AT: &str = "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()::text";
    let mut last = (None, Instant::now());
    while !reached(
        connection,
        "SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= $1::text::pg_lsn",
        position,
    )
    .await?
    {
        let row = sqlx::query(AT).fetch_one(&mut *connection).await?;
        let (standby, at): (bool, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
        // After a promotion its last position stays, and it never shows what its old primary
        // writes.
        if !standby {
            return Ok(Replayed::Promoted);
        }
        if last.0 != at {
            last = (at, Instant::now());
        } else if last.1.elapsed() > REPLAY_WAIT_MAX {
            return Ok(Replayed::Stuck);
        }
    }
    Ok(Replayed::Reached)
}

/// Polls the server; false when the log has not reached the position after [`LOG_WAIT_MAX`].
async fn reached(
    connection: &mut PgConnection,
    sql: &'static str,
    position: &str,
) -> Result<bool, sqlx::Error> {
    let end = Instant::now() + LOG_WAIT_MAX;
    loop {
        if sqlx::query(sql)
            .bind(position)
            .fetch_one(&mut *connection)
            .await?
            .try_get(0)?
        {
            return Ok(true);
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A 64-bit xid from its text.
pub fn xid(text: &str) -> Result<Xid, sqlx::Error> {
    text.parse()
        .map(Xid)
        .map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// A `timestamptz` from its binary form, exact. Source: PostgreSQL, `timestamptz_send`:
/// microseconds since 2000-01-01 UTC.
pub fn time(row: &PgRow, column: usize) -> Result<Option<ServerTime>, sqlx::Error> {
    const SINCE_1970: i64 = 946_684_800_000_000;
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(None);
    }
    let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?.try_into();
    // The binary form counts from 2000-01-01.
    let bytes: [u8; 8] = bytes.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Some(ServerTime(
        i64::from_be_bytes(bytes).saturating_add(SINCE_1970),
    )))
}

/// An `xid` from its binary form.
pub fn low_xid(row: &PgRow, column: usize) -> Result<Option<u32>, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(None);
    }
    let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?.try_into();
    let bytes: [u8; 4] = bytes.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Some(u32::from_be_bytes(bytes)))
}
