//! The trouble of one table, and of the server, beside tables that go on.

use std::time::Duration;

use inlet_harness::{Postgres, eventually, shared_database};
use serde_json::Value;

use crate::orders::PATIENCE;
use crate::tables::{Copy, WAYS};

const TWO: &str = "\
    CREATE TABLE good (id serial PRIMARY KEY, updated_at timestamptz DEFAULT now());
    CREATE TABLE bad (id serial PRIMARY KEY, updated_at timestamptz DEFAULT now());
    CREATE INDEX ON good (updated_at); CREATE INDEX ON bad (updated_at);
    INSERT INTO good DEFAULT VALUES; INSERT INTO bad DEFAULT VALUES";

/// A field of a table in `inlet status --json`.
async fn status(copy: &Copy, table: &str, field: &str) -> Value {
    let shown = copy.run_with("status", &["--json"]).await;
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let tables = shown["tables"].as_array().unwrap();
    let of = tables.iter().find(|of| of["table"] == table).unwrap();
    of[field].clone()
}

#[tokio::test]
async fn a_table_that_fails_by_itself_is_set_aside_and_comes_back_while_the_others_go_on() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(TWO).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { good: , bad: }\n").await;
        let mut services = copy.start(verbs);
        copy.await_rows("good", 1).await;
        copy.await_rows("bad", 1).await;
        copy.database
            .sql("ALTER TABLE bad ADD COLUMN _op text; INSERT INTO bad DEFAULT VALUES")
            .await
            .unwrap();
        services[0]
            .logs("table is set aside: the others are polled", PATIENCE)
            .await;
        copy.database
            .sql("INSERT INTO good DEFAULT VALUES")
            .await
            .unwrap();
        copy.await_rows("good", 2).await;
        eventually(PATIENCE, "the status shows the reason", async || {
            let reason = status(&copy, "public.bad", "set_aside").await;
            reason.as_str().is_some_and(|reason| reason.contains("_op"))
        })
        .await;
        copy.database
            .sql("ALTER TABLE bad RENAME COLUMN _op TO op")
            .await
            .unwrap();
        services[0].logs("table is polled again", PATIENCE).await;
        copy.await_rows("bad", 2).await;
        eventually(PATIENCE, "the status shows no reason", async || {
            status(&copy, "public.bad", "set_aside").await.is_null()
        })
        .await;
        assert!(services[0].is_running().unwrap());
        copy.verified().await;
    }
}

#[tokio::test]
async fn a_service_starts_without_a_table_that_cannot_be_captured_and_ends_when_none_can() {
    let database = shared_database().await;
    database.sql(TWO).await.unwrap();
    database
        .sql("ALTER TABLE bad ADD COLUMN _op text")
        .await
        .unwrap();
    let streaming = "streaming: { flush_interval: 100ms, discover_interval: 200ms }\n";
    let copy = Copy::of(database, &["run"], "tables: { good: , bad: }\n").await;
    let text = std::fs::read_to_string(&copy.config).unwrap();
    let text = text.replace("streaming: { flush_interval: 100ms }\n", streaming);
    std::fs::write(&copy.config, text).unwrap();
    let services = copy.start(&["run"]);
    copy.await_rows("good", 1).await;
    services[0].logs("is left out", PATIENCE).await;
    copy.database
        .sql("ALTER TABLE bad DROP COLUMN _op")
        .await
        .unwrap();
    copy.await_rows("bad", 1).await;
    drop(services);
    copy.database
        .sql("ALTER TABLE bad ADD COLUMN _op text; ALTER TABLE good ADD COLUMN _xid text")
        .await
        .unwrap();
    let finished = copy.run("run").await;
    assert_eq!(finished.code, 78, "{}", finished.stderr);
    assert!(
        finished.stderr.contains("has a name that"),
        "{}",
        finished.stderr
    );
}

#[tokio::test]
async fn a_table_that_another_session_locks_does_not_stop_the_others() {
    let database = shared_database().await;
    database.sql(TWO).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { good: , bad: }\n").await;
    let services = copy.start(&["run"]);
    copy.await_rows("good", 1).await;
    copy.await_rows("bad", 1).await;
    let mut locker = copy.database.connect().await.unwrap();
    let lock = "BEGIN; LOCK TABLE bad; INSERT INTO bad DEFAULT VALUES";
    sqlx::raw_sql(lock).execute(&mut locker).await.unwrap();
    copy.database
        .sql("INSERT INTO good DEFAULT VALUES")
        .await
        .unwrap();
    copy.await_rows("good", 2).await;
    services[0].logs("table is set aside", PATIENCE).await;
    sqlx::raw_sql("COMMIT").execute(&mut locker).await.unwrap();
    copy.await_rows("bad", 2).await;
    copy.verified().await;
}

#[tokio::test]
async fn a_table_with_more_partitions_than_locks_leaves_the_others_their_rows() {
    let settings = [
        ("max_locks_per_transaction", "10"),
        ("max_connections", "20"),
    ];
    let server = Postgres::start_with(&settings).await.unwrap();
    let database = server.database().await.unwrap();
    database
        .sql(
            "CREATE TABLE good (id serial PRIMARY KEY); INSERT INTO good DEFAULT VALUES;
             CREATE TABLE many (id integer) PARTITION BY LIST (id)",
        )
        .await
        .unwrap();
    // Each partition in a transaction of its own, because their locks would not fit into one.
    database
        .sql(
            "DO $$ BEGIN FOR n IN 1..2500 LOOP
                 EXECUTE format('CREATE TABLE many_%s PARTITION OF many FOR VALUES IN (%s)', n, n);
                 COMMIT;
             END LOOP; END $$",
        )
        .await
        .unwrap();
    let copy = Copy::of(database, &["run"], "tables: { many: , good: }\n").await;
    let services = copy.start(&["run"]);
    copy.await_rows("good", 1).await;
    services[0]
        .logs("max_locks_per_transaction", PATIENCE)
        .await;
    copy.database
        .sql("INSERT INTO good DEFAULT VALUES")
        .await
        .unwrap();
    copy.await_rows("good", 2).await;
}

#[tokio::test]
async fn a_postgresql_that_stops_answering_is_noticed_and_reconnected() {
    let mut server = Postgres::start().await.unwrap();
    let database = server.database().await.unwrap();
    database.sql(TWO).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { good: }\n").await;
    let services = copy.start(&["run"]);
    copy.await_rows("", 1).await;
    server.pause().unwrap();
    services[0]
        .logs("PostgreSQL has not answered", Duration::from_secs(90))
        .await;
    server.resume().unwrap();
    copy.database
        .sql("INSERT INTO good DEFAULT VALUES")
        .await
        .unwrap();
    copy.await_rows("", 2).await;
}
