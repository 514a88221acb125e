//! What counts as a new version of a row, and what does not.

use std::collections::BTreeMap;

use inlet_model::{ProgressDelta, TableName};
use inlet_service::sink::Sink;

use super::script::{NONE, Poller, Session, TABLE, polled};

#[tokio::test]
async fn of_three_updates_between_two_cycles_the_last_version_comes() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    for _ in 0..3 {
        w.run("UPDATE t SET ver = ver + 1, updated_at = now()")
            .await;
    }
    assert_eq!(poller.cycle().await, [1]);
    w.run("UPDATE t SET ver = ver + 1, updated_at = now()")
        .await;
    assert_eq!(poller.cycle().await, [1]);
    let versions: Vec<i32> = poller
        .published()
        .iter()
        .map(|emitted| emitted.ver)
        .collect();
    assert_eq!(versions, [0, 3, 4]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn two_updates_of_one_transaction_are_one_version() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    w.run(
        "BEGIN; UPDATE t SET ver = 1, updated_at = now(); SAVEPOINT s; UPDATE t SET ver = 2; \
        COMMIT",
    )
    .await;
    assert_eq!(poller.cycle().await, [1]);
    assert_eq!(poller.published().last().unwrap().ver, 2);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn locks_aborts_and_vacuum_make_no_version() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t SELECT generate_series(1, 20)").await;
    assert_eq!(poller.cycle().await.len(), 20);
    for message in [
        "BEGIN; SELECT FROM t FOR UPDATE; COMMIT",
        "BEGIN; UPDATE t SET ver = 9, updated_at = now(); ROLLBACK",
        "BEGIN; DELETE FROM t; ROLLBACK",
        "VACUUM (FREEZE) t",
        "VACUUM FULL t",
        "CLUSTER t USING t_pkey",
        "REINDEX TABLE t",
        "ANALYZE t",
    ] {
        w.run(message).await;
        assert_eq!(poller.settle().await, NONE, "{message}");
        poller.sweep_next();
        assert_eq!(poller.settle().await, NONE, "{message}");
    }
    w.run("UPDATE t SET ver = 1, updated_at = now() WHERE id = 7")
        .await;
    assert_eq!(poller.cycle().await, [7]);
}

#[tokio::test]
async fn an_upsert_is_a_new_version_and_a_key_that_moves_is_a_new_row() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1), (2)").await;
    assert_eq!(poller.cycle().await, [1, 2]);
    w.run("INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET ver = 1, updated_at = now()")
        .await;
    w.run("UPDATE t SET id = 20, updated_at = now() WHERE id = 2")
        .await;
    assert_eq!(poller.cycle().await, [1, 20]);
    w.run("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING")
        .await;
    assert_eq!(poller.cycle().await, NONE);
}

#[tokio::test]
async fn rows_are_detected_later_than_all_before_although_the_clock_went_back() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    let detected = |poller: &Poller| poller.store.batches().last().unwrap().detected_at;
    // As if the server's clock had been an hour ahead until now.
    let ahead = detected(&poller) + 3_600_000_000;
    let table = TableName::new("public", "t");
    let part = ("detected".to_owned(), Some(ahead.to_string()));
    let delta = ProgressDelta(BTreeMap::from([part]));
    let mut sink = poller.store.sink();
    sink.resume(std::slice::from_ref(&table)).await.unwrap();
    sink.checkpoint(BTreeMap::from([(table, delta)]))
        .await
        .unwrap();
    poller.restart().await;
    for later in 1..=2 {
        w.run("UPDATE t SET ver = ver + 1, updated_at = now()")
            .await;
        assert_eq!(poller.cycle().await, [1]);
        assert_eq!(detected(&poller), ahead + later);
        poller.restart().await;
    }
    // Another load goes on from there, too.
    w.run("ALTER TABLE t ADD COLUMN note text DEFAULT 'new'")
        .await;
    assert_eq!(poller.load_again().await, [1]);
    assert_eq!(detected(&poller), ahead + 3);
}
