//! Updates that leave the cursor unchanged: PostgreSQL's counters show that there are some, and a
//! deeper scan finds them long before the next sweep.

use inlet_harness::{Database, eventually, shared_database};

use super::script::{DEADLINE, NONE, Poller, Session, TABLE, polled, settings};

/// Rows whose time is older than every floor.
const OLD: &str = "INSERT INTO t SELECT i, 0, '2020-01-01' FROM generate_series(1, 5) AS i";

/// More looks than lead from a count to a sweep.
const LOOKS: usize = 8;

/// Looks until exactly these keys were published.
async fn look_until(poller: &mut Poller, keys: &[i64]) {
    let mut found = Vec::new();
    eventually(DEADLINE, &format!("keys {keys:?}"), async || {
        found.extend(poller.look().await);
        found.sort_unstable();
        assert!(found.len() <= keys.len(), "{found:?} instead of {keys:?}");
        found == keys
    })
    .await;
}

/// Waits until the server has counted this many updates; a session counts between two statements.
async fn until_counted(session: &mut Session, updates: u32) {
    session
        .until(&format!(
            "pg_stat_get_tuples_updated('t'::regclass) >= {updates}"
        ))
        .await;
}

/// The table with old rows, a poller that has loaded them, and a session; the server has counted
/// everything so far.
async fn rested() -> (Database, Poller, Session) {
    let database = shared_database().await;
    database.sql(&format!("{TABLE}; {OLD}")).await.unwrap();
    let mut session = Session::of(&database).await;
    // The poller starts after the count: one that arrives later looks like rows that it missed.
    session
        .until("pg_stat_get_tuples_inserted('t'::regclass) >= 5")
        .await;
    let mut poller = Poller::tailing(settings(&database, &["t"]).await).await;
    poller.look().await;
    (database, poller, session)
}

#[tokio::test]
async fn an_update_that_leaves_the_cursor_unchanged_is_found_long_before_the_sweep() {
    let (_database, mut poller, mut session) = rested().await;
    for (which, counted, keys) in [
        ("true", 5, &[1, 2, 3, 4, 5][..]),
        ("id % 2 = 0", 7, &[2, 4]),
    ] {
        session
            .run(&format!("UPDATE t SET ver = ver + 1 WHERE {which}"))
            .await;
        assert_eq!(poller.cycle().await, NONE, "no poll can see them");
        until_counted(&mut session, counted).await;
        look_until(&mut poller, keys).await;
    }
    assert_eq!(poller.late, 7);
    let swept = poller.last_sweep();
    for _ in 0..LOOKS {
        assert_eq!(poller.look().await, NONE);
    }
    assert_eq!(poller.last_sweep(), swept, "nothing more is missing");
}

#[tokio::test]
async fn a_table_whose_cursor_moves_is_swept_no_more_often() {
    let (_database, mut poller, mut session) = rested().await;
    let swept = poller.last_sweep();
    for _ in 0..LOOKS {
        session
            .run("UPDATE t SET ver = ver + 1, updated_at = clock_timestamp()")
            .await;
        assert_eq!(poller.look().await, [1, 2, 3, 4, 5]);
    }
    until_counted(&mut session, 5 * u32::try_from(LOOKS).unwrap()).await;
    for _ in 0..LOOKS {
        assert_eq!(poller.look().await, NONE);
    }
    assert_eq!(poller.last_sweep(), swept);
}

#[tokio::test]
async fn updates_while_the_service_is_stopped_are_found_after_its_start() {
    let (_database, mut poller, mut session) = rested().await;
    poller.heartbeat().await;
    poller.news();
    session.run("UPDATE t SET ver = 1 WHERE id = 3").await;
    until_counted(&mut session, 1).await;
    poller.restart().await;
    look_until(&mut poller, &[3]).await;
}

#[tokio::test]
async fn updates_of_partitions_are_found_too() {
    let (database, mut poller) = polled(&format!(
        "CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, updated_at \
         timestamptz DEFAULT now()) PARTITION BY RANGE (id);
         CREATE INDEX ON t (updated_at);
         CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (3);
         CREATE TABLE high PARTITION OF t FOR VALUES FROM (3) TO (9); {OLD}"
    ))
    .await;
    let mut session = Session::of(&database).await;
    poller.look().await;
    poller.news();
    session.run("UPDATE t SET ver = 1 WHERE id IN (2, 4)").await;
    session
        .until(
            "pg_stat_get_tuples_updated('low'::regclass) + \
             pg_stat_get_tuples_updated('high'::regclass) >= 2",
        )
        .await;
    look_until(&mut poller, &[2, 4]).await;
}

#[tokio::test]
async fn rows_that_were_never_committed_cost_no_sweep_after_sweep() {
    let (_database, mut poller, mut session) = rested().await;
    session.run("BEGIN; UPDATE t SET ver = 1; ROLLBACK").await;
    until_counted(&mut session, 5).await;
    let before = poller.last_sweep();
    // Writes nothing that a scan hands on, and lets the next sweep have something to read.
    session.run("SELECT pg_current_xact_id()").await;
    eventually(DEADLINE, "one sweep, in vain", async || {
        poller.look().await;
        poller.last_sweep() > before
    })
    .await;
    let swept = poller.last_sweep();
    session.run("SELECT pg_current_xact_id()").await;
    for _ in 0..LOOKS {
        assert_eq!(poller.look().await, NONE);
    }
    assert_eq!(poller.last_sweep(), swept);
}
