//! Cycles that are cut off in the middle, and servers that crash.

use std::process::Command;

use inlet_harness::{Database, Postgres, shared_database};
use inlet_service::error::{Explain, Kind};
use inlet_sink_contract::memory::Fault;

use super::script::{
    DEADLINE, GATED, NONE, Poller, SHUT, Session, TABLE, polled, polled_on, settings,
};

/// Limits the time of the poller's statements.
async fn limit(database: &Database, poller: &mut Poller, time: &str) {
    let role = format!("reader_{}", database.name());
    database
        .sql(&format!(
            "ALTER ROLE {role} SET statement_timeout = '{time}'"
        ))
        .await
        .unwrap();
    poller.restart().await;
}

#[tokio::test]
async fn a_cycle_that_is_cut_off_publishes_no_row_and_the_next_one_finds_all() {
    let database = shared_database().await;
    // The rows of `first` are with the sink already when the scan of `t` is cut off.
    database
        .sql(&format!(
            "{}; {GATED}",
            TABLE
                .replace("TABLE t", "TABLE first")
                .replace("ON t", "ON first")
        ))
        .await
        .unwrap();
    let mut poller = Poller::tailing(settings(&database, &["first", "t"]).await).await;
    let [mut w, mut keeper, mut judge] = Session::some(&database).await;
    let cuts = [
        "statement_timeout",
        "lock_timeout",
        "pg_cancel_backend",
        "pg_terminate_backend",
    ];
    for (id, cut) in (1..).step_by(2).zip(cuts) {
        w.run(&format!(
            "INSERT INTO first VALUES ({id}); INSERT INTO t (id, gate) VALUES ({}, ROW(7))",
            id + 1
        ))
        .await;
        keeper.run(SHUT).await;
        if cut == "statement_timeout" {
            limit(&database, &mut poller, "300ms").await;
        }
        let cutter = async {
            if cut.starts_with("pg_") {
                judge.until_blocked().await;
                judge
                    .run(&format!(
                        "SELECT {cut}(pid) FROM pg_locks WHERE NOT granted AND locktype \
                    = 'relation'"
                    ))
                    .await;
            }
        };
        let (outcome, ()) = tokio::join!(poller.attempt(), cutter);
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{cut}: {error:?}");
        assert_eq!(poller.news(), NONE, "{cut}");
        if cut == "statement_timeout" {
            limit(&database, &mut poller, "0").await;
        }
        keeper.run("COMMIT").await;
        poller.restart().await;
        assert_eq!(poller.cycle().await, [id, id + 1], "{cut}");
        // This session has opened the gate's table and would not do so again.
        poller.restart().await;
    }
}

#[tokio::test]
async fn a_lock_that_is_held_too_long_fails_the_cycle_and_no_row() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, mut w2] = Session::some(&database).await;
    w1.run("BEGIN; INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, NONE);
    w1.run("COMMIT").await;
    w2.run("BEGIN; LOCK TABLE t; INSERT INTO t VALUES (2)")
        .await;
    let error = poller.attempt().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    w2.run("COMMIT").await;
    poller.restart().await;
    assert_eq!(poller.cycle().await, [1, 2]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_sink_whose_answer_is_lost_gets_each_row_once() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    let mut published = Vec::new();
    for (id, (call, fault)) in (1..).zip([
        (0, Fault::Undone),
        (0, Fault::Done),
        (1, Fault::Undone),
        (1, Fault::Done),
    ]) {
        w.run(&format!("INSERT INTO t VALUES ({id})")).await;
        poller.store.fail(call, fault);
        assert!(poller.attempt().await.is_err());
        published.extend(poller.news());
        poller.restart().await;
        published.extend(poller.cycle().await);
        assert_eq!(
            published,
            (1..=id).collect::<Vec<_>>(),
            "call {call}, {fault:?}"
        );
    }
    assert_eq!(poller.sweep().await, NONE);
}

/// Stops a process of the server, as the walwriter, which flushes what asynchronous commits have
/// left in memory.
async fn stop(session: &mut Session, backend_type: &str) {
    let writer: i32 = session
        .value(&format!(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = '{backend_type}'"
        ))
        .await;
    assert!(
        Command::new("kill")
            .args(["-STOP", &writer.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

async fn asynchronous() -> Postgres {
    Postgres::start_with(&[
        ("synchronous_commit", "off"),
        ("autovacuum", "off"),
        ("bgwriter_lru_maxpages", "0"),
    ])
    .await
    .unwrap()
}

#[tokio::test]
async fn a_row_that_a_crash_takes_back_is_not_published_and_the_next_owner_of_its_xid_is() {
    const XID: &str = "SELECT max(xmin::text::bigint) FROM t WHERE id >= 2";
    let mut server = asynchronous().await;
    let (database, mut poller) = polled_on(&server, TABLE).await;
    let [mut w, mut judge] = Session::some(&database).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    stop(&mut judge, "walwriter").await;
    w.run("INSERT INTO t VALUES (2)").await;
    let lost: i64 = w.value(XID).await;
    let crash = async {
        judge
            .until(
                "EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT \
                    pg_current_wal_flush_lsn()%' AND pid <> pg_backend_pid())",
            )
            .await;
        server.kill_9().unwrap();
    };
    let (outcome, ()) = tokio::join!(poller.attempt(), crash);
    assert_eq!(outcome.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(poller.news(), NONE, "what is not flushed is not published");
    server.restart().await.unwrap();
    let mut w = Session::of(&database).await;
    assert_eq!(
        w.value::<i64>("SELECT count(*) FROM t").await,
        1,
        "the crash has taken row 2 back"
    );
    w.run("INSERT INTO t VALUES (3)").await;
    assert_eq!(
        w.value::<i64>(XID).await,
        lost,
        "the xid is given out again"
    );
    poller.restart().await;
    assert_eq!(poller.cycle().await, [3]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn progress_without_rows_passes_the_flush_gate_too() {
    let mut server = asynchronous().await;
    let (database, mut poller) = polled_on(&server, TABLE).await;
    let [mut w, mut judge] = Session::some(&database).await;
    w.run("CREATE TABLE other (id bigint)").await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    poller.heartbeat().await;
    stop(&mut judge, "walwriter").await;
    for id in 1..=3 {
        w.run(&format!("INSERT INTO other VALUES ({id})")).await;
    }
    let crash = async {
        let gate = "SELECT pg_current_wal_flush_lsn()%";
        judge
            .until(&format!(
                "EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '{gate}' AND \
            pid <> pg_backend_pid())"
            ))
            .await;
    };
    // Either the progress waits for the flush, or it does not say anything yet of the xids that a
    // crash gives back.
    let beat = async {
        poller.sweep().await;
        poller.heartbeat().await;
    };
    tokio::select! { () = beat => {} () = crash => {} }
    server.kill_9().unwrap();
    server.restart().await.unwrap();
    let mut w = Session::of(&database).await;
    assert_eq!(
        w.value::<i64>("SELECT count(*) FROM other").await,
        0,
        "the crash has taken them back"
    );
    for id in 2..=5 {
        w.run(&format!("INSERT INTO t VALUES ({id})")).await;
    }
    poller.restart().await;
    assert_eq!(poller.cycle().await, [2, 3, 4, 5]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn what_was_published_is_still_there_after_a_crash() {
    let mut server = asynchronous().await;
    let (database, mut poller) = polled_on(&server, TABLE).await;
    for round in 0..2 {
        let mut w = Session::of(&database).await;
        for id in round * 100..round * 100 + 20 {
            w.run(&format!("INSERT INTO t VALUES ({id})")).await;
            if id % 3 == 0 {
                poller.cycle().await;
            }
        }
        server.kill_9().unwrap();
        assert!(poller.attempt().await.is_err());
        server.restart().await.unwrap();
        let mut judge = Session::of(&database).await;
        for emitted in poller.published().to_vec() {
            let there = format!(
                "SELECT count(*) FROM t WHERE id = {} AND xmin = '{}'",
                emitted.id, emitted.xid
            );
            assert_eq!(
                judge.value::<i64>(&there).await,
                1,
                "{emitted:?} is a phantom"
            );
        }
        poller.restart().await;
        poller.cycle().await;
    }
    let mut judge = Session::of(&database).await;
    assert_eq!(
        poller.published().len() as i64,
        judge.value::<i64>("SELECT count(*) FROM t").await
    );
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn an_unflushed_record_of_a_reader_delays_no_row() {
    let server = Postgres::start_with(&[("autovacuum", "off")])
        .await
        .unwrap();
    let (database, mut poller) = polled_on(&server, TABLE).await;
    let [mut w, mut reader] = Session::some(&database).await;
    stop(&mut w, "background writer").await;
    w.run(
        "CREATE TABLE full_pages (filler text); INSERT INTO full_pages SELECT repeat('x', 100) \
        FROM generate_series(1, 200)",
    )
    .await;
    w.run("UPDATE full_pages SET filler = filler || 'y'").await;
    poller.settle().await;
    w.run("INSERT INTO t VALUES (1)").await;
    reader
        .run("BEGIN; SELECT count(*) FROM full_pages; ROLLBACK")
        .await;
    assert!(
        reader
            .value::<bool>("SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()")
            .await,
        "the reader has pruned a page"
    );
    let found = tokio::time::timeout(DEADLINE, poller.cycle()).await;
    assert_eq!(found.expect("the gate opens"), [1]);
}
