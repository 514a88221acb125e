//! Rows that become visible long after their timestamp was taken.

use std::time::Duration;

use inlet_harness::{eventually, shared_database};

use super::script::{BEYOND_THE_GAP, GATED, NONE, Poller, SHUT, Session, TABLE, polled, settings};

#[tokio::test]
async fn a_row_that_commits_late_follows_the_row_that_overtook_it() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, mut w2] = Session::some(&database).await;
    w1.run("BEGIN").await;
    w1.run("INSERT INTO t VALUES (1)").await;
    w2.run("INSERT INTO t VALUES (2)").await;
    assert_eq!(poller.cycle().await, [2]);
    w1.run("COMMIT").await;
    assert_eq!(poller.cycle().await, [1]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_transaction_that_had_only_read_so_far_may_still_write() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, mut w2] = Session::some(&database).await;
    w1.run("BEGIN").await;
    w1.run("SELECT 1").await;
    w2.run("INSERT INTO t VALUES (2)").await;
    assert_eq!(poller.cycle().await, [2]);
    w1.run("INSERT INTO t VALUES (1)").await;
    w1.run("COMMIT").await;
    assert_eq!(poller.cycle().await, [1]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn rows_of_a_released_savepoint_come_with_their_transaction() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, mut w2] = Session::some(&database).await;
    w1.run("BEGIN").await;
    w1.run("INSERT INTO t VALUES (1)").await;
    w1.run("SAVEPOINT s; INSERT INTO t VALUES (11); RELEASE s")
        .await;
    w2.run("INSERT INTO t VALUES (2)").await;
    assert_eq!(poller.cycle().await, [2]);
    w1.run("COMMIT").await;
    assert_eq!(poller.cycle().await, [1, 11]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn rows_of_a_savepoint_that_was_rolled_back_never_come() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, mut w2] = Session::some(&database).await;
    w1.run("BEGIN").await;
    w1.run("INSERT INTO t VALUES (1)").await;
    w1.run("SAVEPOINT s; INSERT INTO t VALUES (11); ROLLBACK TO s")
        .await;
    w2.run("INSERT INTO t VALUES (2)").await;
    assert_eq!(poller.cycle().await, [2]);
    w1.run("COMMIT").await;
    assert_eq!(poller.cycle().await, [1]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_row_of_an_exception_block_has_the_xid_of_its_subtransaction_and_comes() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, mut w2] = Session::some(&database).await;
    w1.run("BEGIN; SELECT pg_current_xact_id()").await;
    w1.run(
        "DO $$ BEGIN INSERT INTO t VALUES (1); EXCEPTION WHEN unique_violation THEN NULL; END $$",
    )
    .await;
    let top: i64 = w1.value("SELECT pg_current_xact_id()::text::bigint").await;
    w2.run("INSERT INTO t VALUES (2)").await;
    assert_eq!(poller.cycle().await, [2]);
    w1.run("COMMIT").await;
    assert_eq!(poller.cycle().await, [1]);
    assert!(
        poller
            .published()
            .iter()
            .find(|emitted| emitted.id == 1)
            .unwrap()
            .xid
            > top as u64
    );
}

#[tokio::test]
async fn a_prepared_transaction_is_awaited_beyond_its_session_and_ours() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, mut w2] = Session::some(&database).await;
    w1.run("BEGIN").await;
    w1.run("INSERT INTO t VALUES (1)").await;
    w1.run(&format!("PREPARE TRANSACTION '{}'", database.name()))
        .await;
    w1.end().await;
    w2.run("INSERT INTO t VALUES (2)").await;
    assert_eq!(poller.cycle().await, [2]);
    poller.restart().await;
    w2.run(&format!("COMMIT PREPARED '{}'", database.name()))
        .await;
    assert_eq!(poller.cycle().await, [1]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_prepared_transaction_that_is_rolled_back_leaves_nothing() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w1 = Session::of(&database).await;
    w1.run("BEGIN; INSERT INTO t VALUES (1)").await;
    w1.run(&format!("PREPARE TRANSACTION '{}'", database.name()))
        .await;
    assert_eq!(poller.cycle().await, NONE);
    w1.run(&format!("ROLLBACK PREPARED '{}'", database.name()))
        .await;
    assert_eq!(poller.cycle().await, NONE);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn transactions_that_share_the_time_of_their_message_come_once() {
    let (database, mut poller) = polled(TABLE).await;
    let w1 = Session::of(&database).await;
    let mut message = w1.send(
        "BEGIN; SELECT pg_sleep(2.1); INSERT INTO t VALUES (1); COMMIT;
         BEGIN; SELECT pg_sleep(.3); INSERT INTO t VALUES (2); SELECT pg_sleep(.3); COMMIT;
         BEGIN; INSERT INTO t VALUES (3); COMMIT",
    );
    let mut found = Vec::new();
    let mut ended = false;
    while !ended {
        // The message is asked first: one more cycle follows its end.
        ended = tokio::select! {
            biased;
            session = &mut message => { session.unwrap(); true }
            () = tokio::time::sleep(std::time::Duration::from_millis(10)) => false
        };
        found.extend(poller.cycle().await);
    }
    assert_eq!(found, [1, 2, 3]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_procedure_with_inner_commits_shows_each_of_its_rows_at_most_one_cycle_late() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, w2] = Session::some(&database).await;
    w1.run(
        "CREATE PROCEDURE thirty() LANGUAGE plpgsql AS $$
         BEGIN FOR id IN 1..30 LOOP INSERT INTO t VALUES (id); COMMIT; PERFORM pg_sleep(.02); END \
            LOOP; END $$",
    )
    .await;
    let call = w2.send("CALL thirty()");
    let mut found = Vec::new();
    while !call.is_finished() {
        let there: i64 = w1.value("SELECT count(*) FROM t").await;
        found.extend(poller.cycle().await);
        assert!(
            found.len() as i64 >= there,
            "{there} rows existed before the cycle, and {} were added",
            found.len()
        );
    }
    call.await.unwrap();
    found.extend(poller.cycle().await);
    assert_eq!(found, (1..=30).collect::<Vec<_>>());
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_commit_between_the_reading_and_the_snapshot_is_found_once() {
    let database = shared_database().await;
    database
        .sql(&format!(
            "{TABLE}; CREATE TABLE latch (id bigint PRIMARY KEY, ver integer, updated_at \
                timestamptz); CREATE INDEX ON latch (updated_at)"
        ))
        .await
        .unwrap();
    let mut poller = Poller::tailing(settings(&database, &["t", "latch"]).await).await;
    let [mut w1, mut w2, mut judge] = Session::some(&database).await;
    w1.run("BEGIN; INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, NONE);
    // The activity is read; then the cycle waits for its locks.
    w2.run("INSERT INTO t VALUES (2)").await;
    w2.run("BEGIN; LOCK TABLE latch").await;
    let writers = async {
        judge.until_blocked().await;
        w1.run("COMMIT").await;
        w2.run("INSERT INTO t VALUES (3)").await;
        w2.run("COMMIT").await;
    };
    let (mut found, ()) = tokio::join!(poller.cycle(), writers);
    found.extend(poller.cycle().await);
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_commit_between_the_snapshot_and_the_end_of_the_scan_is_found_by_the_next_cycle() {
    let (database, mut poller) = polled(GATED).await;
    let [mut w1, mut w2, mut judge] = Session::some(&database).await;
    w1.run("BEGIN; INSERT INTO t (id) VALUES (1)").await;
    w2.run("INSERT INTO t (id, gate) VALUES (2, ROW(7))").await;
    w2.run(SHUT).await;
    let writers = async {
        judge.until_blocked().await;
        w1.run("COMMIT").await;
        judge.run("INSERT INTO t (id) VALUES (3)").await;
        w2.run("COMMIT").await;
    };
    let (found, ()) = tokio::join!(poller.cycle(), writers);
    assert_eq!(found, [2]);
    assert_eq!(poller.cycle().await, [1, 3]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn the_floor_goes_back_to_the_start_of_whatever_ended() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, mut w2, mut w3, mut w4, mut w5, mut reader] = Session::some(&database).await;
    let gid = database.name().to_owned();
    reader.run("BEGIN; SELECT 1").await;
    w1.run("BEGIN; INSERT INTO t VALUES (1)").await;
    w2.run("BEGIN; SELECT 1").await;
    w3.run("BEGIN; SAVEPOINT s; INSERT INTO t VALUES (3); RELEASE s")
        .await;
    w4.run("BEGIN; INSERT INTO t VALUES (4)").await;
    assert_eq!(poller.cycle().await, NONE);
    let message = w5.send(
        "BEGIN; INSERT INTO t VALUES (5); COMMIT; SELECT pg_sleep(2.1); BEGIN; \
        INSERT INTO t VALUES (6); COMMIT",
    );
    reader
        .until(
            "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND \
        wait_event = 'PgSleep')",
        )
        .await;
    assert_eq!(poller.cycle().await, [5]);
    w5 = message.await.unwrap();
    w5.run("INSERT INTO t VALUES (50)").await;
    assert_eq!(poller.cycle().await, [6, 50]);
    w4.run(&format!("PREPARE TRANSACTION '{gid}'")).await;
    assert_eq!(poller.cycle().await, NONE);
    poller.restart().await;
    for (message, session, keys) in [
        ("COMMIT", &mut w1, vec![1]),
        ("INSERT INTO t VALUES (2); COMMIT", &mut w2, vec![2]),
        ("COMMIT", &mut w3, vec![3]),
    ] {
        session.run(message).await;
        assert_eq!(poller.cycle().await, keys);
    }
    w4.run(BEYOND_THE_GAP).await;
    w4.run(&format!("COMMIT PREPARED '{gid}'")).await;
    assert_eq!(poller.cycle().await, [4]);
    reader.run("COMMIT").await;
    assert_eq!(poller.sweep().await, NONE);
    assert_eq!(poller.late, 0);
}

#[tokio::test]
async fn a_sweep_is_due_after_its_interval_though_every_session_is_shorter() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let mut settings = settings(&database, &["t"]).await;
    settings.poll.depths.sweep_interval = Duration::from_secs(2);
    let mut poller = Poller::tailing(settings).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1, 0, '2020-01-01')").await;
    eventually(Duration::from_secs(20), "a sweep", async || {
        poller.restart().await;
        poller.cycle().await == [1]
    })
    .await;
}
