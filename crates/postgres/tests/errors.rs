//! Errors of a real PostgreSQL, as a user reads them.

#![allow(clippy::unwrap_used)] // Of helpers too: what fails in a test shall end it.

use inlet_harness::shared_database;
use inlet_postgres::{Error, Meaning};
use inlet_service::error::{Explain, Kind, report};
use sqlx::AssertSqlSafe;

#[tokio::test]
async fn the_servers_own_hint_and_detail_are_passed_on() {
    let database = shared_database().await;
    let mut connection = database.connect().await.unwrap();
    let raise = "DO $$ BEGIN RAISE 'out of shared memory' USING ERRCODE = '53200', \
        HINT = 'You might need to increase \"max_locks_per_transaction\".', DETAIL = 'All slots \
        are taken.'; END $$";
    let refused = sqlx::raw_sql(raise)
        .execute(&mut connection)
        .await
        .unwrap_err();
    let error = Error::server("tables could not be locked")(refused);
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(
        report(&error),
        "error: tables could not be locked\n  because: out of shared memory\n  \
         hint: PostgreSQL's hint: You might need to increase \"max_locks_per_transaction\".; \
         PostgreSQL's detail: All slots are taken."
    );
}

#[tokio::test]
async fn a_statement_that_ran_into_its_time_limit_counts_as_canceled() {
    let database = shared_database().await;
    let mut connection = database.connect().await.unwrap();
    let cut_off = sqlx::raw_sql("SET statement_timeout = '1ms'; SELECT pg_sleep(10)")
        .execute(&mut connection)
        .await
        .unwrap_err();
    assert_eq!(Meaning::of(&cut_off), Meaning::Canceled);
}

/// What a poll may run into, made by the server itself.
#[tokio::test]
async fn the_servers_own_errors_have_their_meaning() {
    let database = shared_database().await;
    let role = format!("nobody_{}", database.name());
    let setup = format!(
        "CREATE ROLE {role}; CREATE TABLE t (id integer PRIMARY KEY, note text); \
         CREATE TABLE p (id integer) PARTITION BY RANGE (id); INSERT INTO t VALUES (1, 'x')"
    );
    database.sql(&setup).await.unwrap();
    let denied = format!("SET LOCAL ROLE {role}; SELECT * FROM t");
    let cases: [(&str, Meaning); 14] = [
        ("SELECT absent FROM t", Meaning::Altered),
        ("SELECT * FROM absent", Meaning::Altered),
        (
            "PREPARE a AS SELECT * FROM t; ALTER TABLE t ADD b integer; EXECUTE a",
            Meaning::Altered,
        ),
        ("SELECT absent(1)", Meaning::Unsupported),
        ("SELEC 1", Meaning::Unsupported),
        ("SELECT 1 FROM t ORDER BY 7", Meaning::Unsupported),
        ("EXECUTE absent", Meaning::Pooled),
        (
            "PREPARE b AS SELECT 1; PREPARE b AS SELECT 1",
            Meaning::Pooled,
        ),
        (denied.as_str(), Meaning::Refused),
        ("SELECT convert_from('\\xff', 'UTF8')", Meaning::NoUtf8),
        (
            "SELECT convert('\\xe29883', 'UTF8', 'LATIN1')",
            Meaning::NoUtf8,
        ),
        (
            "SET statement_timeout = '1ms'; SELECT pg_sleep(10)",
            Meaning::Canceled,
        ),
        ("SELECT 1 / 0", Meaning::Passing),
        ("INSERT INTO t VALUES (1, 'y')", Meaning::Passing),
    ];
    for (sql, expected) in cases {
        let mut connection = database.connect().await.unwrap();
        let sql = format!("BEGIN; {sql}");
        let refused = sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await;
        let error = refused.map(drop).unwrap_err();
        assert_eq!(Meaning::of(&error), expected, "{error}");
    }
}

#[tokio::test]
async fn a_table_that_another_transaction_locks_is_locked() {
    let database = shared_database().await;
    database.sql("CREATE TABLE t (id integer)").await.unwrap();
    let mut holder = database.connect().await.unwrap();
    let lock = "BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut holder).await.unwrap();
    let mut connection = database.connect().await.unwrap();
    let waits = "SET lock_timeout = '1ms'; SELECT * FROM t";
    let refused = sqlx::raw_sql(waits).execute(&mut connection).await;
    assert_eq!(
        Meaning::of(&refused.map(drop).unwrap_err()),
        Meaning::Locked
    );
}
