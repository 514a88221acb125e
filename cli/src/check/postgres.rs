//! The server: its identity, our role in it, and its settings that affect a poll.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use inlet_model::quote;
use inlet_postgres::server::{self, Greeting};
use inlet_postgres::{Error, connect};
use inlet_service::config::{Config, PostgresAddress, SslMode};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{FromRow, Row};

use super::finding::{Finding, Hop, unread};
use super::{activity, standby};

/// Clocks of machines that are kept by NTP differ by less.
const CLOCK_DIFFERENCE_MAX: f64 = 1.0;
/// The versions that our tests run on.
const SUPPORTED: std::ops::RangeInclusive<i32> = 13..=18;

/// A check must not block the server, and must not write.
const CAREFUL: &str = "\
SELECT set_config('default_transaction_read_only', 'on', false), set_config('statement_timeout', \
'10s', false),
       set_config('lock_timeout', '2s', false), set_config('application_name', 'inlet check', \
    false)";

const FACTS: &str = "\
SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
current_setting('wal_level'),
       current_setting('max_prepared_transactions')::int, current_setting('track_activities')::bool,
       current_setting('statement_timeout'), coalesce(s.ssl, false), s.version, extract(epoch FROM \
    clock_timestamp())::float8,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
FROM (SELECT) one LEFT JOIN pg_stat_ssl s ON s.pid = pg_backend_pid()";

/// A server that answered.
pub struct Server {
    pub connection: PgConnection,
    /// Its identity and our role.
    pub greeting: Greeting,
}

/// What the server reports about itself.
struct Facts {
    version_number: i32,
    version: String,
    wal_level: String,
    prepared_max: i32,
    tracks_activities: bool,
    statement_timeout: String,
    encrypted: bool,
    tls: Option<String>,
    clock: f64,
    superuser: bool,
}

impl<'r> FromRow<'r, PgRow> for Facts {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            version_number: row.try_get(0)?,
            version: row.try_get(1)?,
            wal_level: row.try_get(2)?,
            prepared_max: row.try_get(3)?,
            tracks_activities: row.try_get(4)?,
            statement_timeout: row.try_get(5)?,
            encrypted: row.try_get(6)?,
            tls: row.try_get(7)?,
            clock: row.try_get(8)?,
            superuser: row.try_get(9)?,
        })
    }
}

/// Checks the server; `None` when it does not answer.
pub async fn check(
    config: &Config,
    open_max: Duration,
    findings: &mut Vec<Finding>,
) -> Option<Server> {
    let postgres = config.postgres.as_ref()?;
    let address = &postgres.primary;
    let object = format!("{}:{}", address.host, address.port);
    let mut connection = match connect(address).await {
        Ok(connection) => connection,
        Err(error) => {
            findings.push(refused(&object, address, &error));
            return None;
        }
    };
    let asked = ask(&mut connection, address, &object, findings).await;
    let greeting = asked
        .map_err(|source| findings.push(unread(&object, source)))
        .ok()?;
    if let Err(source) = activity::check(&mut connection, open_max, &greeting, findings).await {
        findings.push(unread(&object, source));
    }
    if let Some(read) = &postgres.read {
        findings.push(standby::check(read, &greeting, &mut connection).await);
    }
    Some(Server {
        connection,
        greeting,
    })
}

fn refused(object: &str, address: &PostgresAddress, error: &Error) -> Finding {
    let finding = Finding::of(Hop::Postgres, object, error);
    let tls = matches!(
        error,
        Error::Server {
            source: sqlx::Error::Tls(_),
            ..
        }
    );
    match address.sslmode {
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull if tls => finding
            .effect("`sslmode` asks for an encrypted connection, and none was possible")
            .fix(
                "set `ssl = on` in postgresql.conf, or `?sslmode=disable` in `postgres.url`; for a \
                    certificate of your own `sslrootcert`",
            ),
        _ => finding,
    }
}

async fn ask(
    connection: &mut PgConnection,
    address: &PostgresAddress,
    object: &str,
    findings: &mut Vec<Finding>,
) -> Result<Greeting, sqlx::Error> {
    let before = now();
    let facts: Facts = sqlx::query_as(FACTS).fetch_one(&mut *connection).await?;
    // The server read its clock somewhere between the two readings of ours.
    let between = before.midpoint(now());
    let greeting = server::greet(&mut *connection).await?;
    // The check runs beside production: it is read-only, and gives up early rather than waiting for
    // locks.
    sqlx::query(CAREFUL).execute(&mut *connection).await?;
    let place = if greeting.standby {
        "standby"
    } else {
        "primary"
    };
    let tls = facts.tls.as_deref().unwrap_or("no TLS");
    let evidence = format!(
        "PostgreSQL {}, {place}, {tls}, wal_level {}, max_prepared_transactions {}",
        facts.version, facts.wal_level, facts.prepared_max
    );
    findings.push(Finding::ok(Hop::Postgres, object, evidence));
    findings.extend(version(object, facts.version_number / 10_000));
    findings.extend(clock(object, facts.clock - between));
    if greeting.standby {
        findings.push(Finding::of(Hop::Postgres, object, &Error::Standby));
    }
    if !facts.encrypted && !is_local(&address.host) {
        let finding = Finding::warning(
            Hop::Postgres,
            object,
            "the connection leaves this machine and is not encrypted",
        );
        findings.push(
            finding
                .effect("the rows can be read in transit")
                .fix("`?sslmode=require` in `postgres.url`, and `ssl = on` in postgresql.conf"),
        );
    }
    findings.extend(role(&facts, &greeting));
    if facts.statement_timeout != "0" {
        let (user, timeout) = (&greeting.user, &facts.statement_timeout);
        let finding = Finding::warning(
            Hop::Postgres,
            format!("role {user}"),
            format!("statement_timeout is {timeout}"),
        );
        let means = "a sweep or a chunk of the initial load that takes longer is cancelled, and \
            tried again without end";
        findings.push(finding.effect(means).fix(format!(
            "ALTER ROLE {} SET statement_timeout = 0;",
            quote(user)
        )));
    }
    if !facts.tracks_activities {
        let database = &greeting.identity.database;
        let finding = Finding::warning(
            Hop::Postgres,
            format!("database {database}"),
            "track_activities is off",
        );
        let means = "the times of open transactions are hidden: every table is swept once a minute";
        findings.push(finding.effect(means).fix(format!(
            "ALTER DATABASE {} SET track_activities = on;",
            quote(database)
        )));
    }
    Ok(greeting)
}

fn role(facts: &Facts, greeting: &Greeting) -> Option<Finding> {
    let user = &greeting.user;
    let object = format!("role {user}");
    if !greeting.sees_all {
        let finding = Finding::warning(Hop::Postgres, object, "not a member of pg_read_all_stats");
        let means = "the times of other sessions' transactions are hidden: every table is swept \
            once a minute while one is open";
        return Some(
            finding
                .effect(means)
                .fix(format!("GRANT pg_read_all_stats TO {};", quote(user))),
        );
    }
    let superuser = || {
        Finding::info(
            Hop::Postgres,
            object,
            "a superuser; SELECT on the tables and pg_read_all_stats are enough",
        )
    };
    facts.superuser.then(superuser)
}

fn version(object: &str, major: i32) -> Option<Finding> {
    let finding = || {
        let evidence = format!(
            "PostgreSQL {major} is not among the versions {} to {}",
            SUPPORTED.start(),
            SUPPORTED.end()
        );
        Finding::warning(Hop::Postgres, object, evidence).effect("its special cases are not tested")
    };
    (!SUPPORTED.contains(&major)).then(finding)
}

fn clock(object: &str, difference: f64) -> Option<Finding> {
    let finding = || {
        let way = if difference > 0.0 {
            "ahead of"
        } else {
            "behind"
        };
        let evidence = format!(
            "its clock is {:.1} s {way} this machine's",
            difference.abs()
        );
        let means = "stamps that applications on this machine write are wrong by as much: rows \
            with earlier stamps wait for a deeper scan";
        Finding::warning(Hop::Postgres, object, evidence)
            .effect(means)
            .fix("keep both clocks by NTP: timedatectl set-ntp true")
    };
    (difference.abs() > CLOCK_DIFFERENCE_MAX).then(finding)
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

/// True for a socket and for addresses that do not leave this machine.
fn is_local(host: &str) -> bool {
    host.starts_with('/')
        || host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_differs_by_more_than_a_second_is_named_with_its_direction() {
        assert_eq!(clock("s", 0.9), None);
        assert_eq!(
            clock("s", 2.04).unwrap().evidence,
            "its clock is 2.0 s ahead of this machine's"
        );
        assert_eq!(
            clock("s", -61.0).unwrap().evidence,
            "its clock is 61.0 s behind this machine's"
        );
    }

    #[test]
    fn a_version_that_is_not_tested_is_named() {
        assert_eq!((version("s", 13), version("s", 18)), (None, None));
        assert_eq!(
            version("s", 12).unwrap().evidence,
            "PostgreSQL 12 is not among the versions 13 to 18"
        );
    }

    #[test]
    fn only_what_stays_on_the_machine_is_local() {
        assert!(
            ["/run/postgresql", "localhost", "127.0.0.2", "::1"]
                .into_iter()
                .all(is_local)
        );
        assert!(
            !["db.example.com", "10.0.0.1", "localhost.example.com"]
                .into_iter()
                .any(is_local)
        );
    }
}
