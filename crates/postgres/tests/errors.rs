//! Errors of a real PostgreSQL, as a user reads them.

#![allow(clippy::unwrap_used)] // Of helpers too: what fails in a test shall end it.

use inlet_harness::shared_database;
use inlet_postgres::{Error, Meaning};
use inlet_service::error::{Explain, Kind, report};

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
