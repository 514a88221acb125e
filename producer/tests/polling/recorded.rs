//! Rows that a journal names: a cycle finds each of them, whatever their timestamps are, once.

use inlet_harness::{Database, shared_database};
use inlet_model::{RepairRequest, Request};

use super::deletes::existing;
use super::script::{NONE, Poller, Session, TABLE, record, settings};

/// Rows whose time is older than every floor.
const OLD: &str = "INSERT INTO t SELECT i, 0, '2020-01-01' FROM generate_series(1, 5) AS i";

/// The table with a journal and old rows, a poller that has loaded them, and a session.
async fn recorded(sql: &str) -> (Database, Poller, Session) {
    let database = shared_database().await;
    database.sql(sql).await.unwrap();
    let settings = settings(&database, &["t: { capture: keys }"]).await;
    record(&database, &settings).await;
    let mut poller = Poller::tailing(settings).await;
    poller.news();
    let session = Session::of(&database).await;
    (database, poller, session)
}

/// A sweep in this process and one after a restart find nothing more.
async fn comes_once(poller: &mut Poller) {
    assert_eq!(poller.cycle().await, NONE);
    poller.restart().await;
    assert_eq!(poller.cycle().await, NONE);
    assert_eq!(poller.sweep().await, NONE);
    poller.restart().await;
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn an_update_that_leaves_the_cursor_unchanged_comes_with_the_next_cycle_and_once() {
    let (_database, mut poller, mut session) = recorded(&format!("{TABLE}; {OLD}")).await;
    for (sql, keys) in [
        ("UPDATE t SET ver = ver + 1 WHERE id IN (2, 4)", &[2, 4][..]),
        ("UPDATE t SET ver = ver + 1 WHERE id IN (2, 4)", &[2, 4]),
        (
            "INSERT INTO t VALUES (6, 0, NULL), (7, 0, '2020-01-01'), (8, 0, now())",
            &[6, 7, 8],
        ),
        (
            "BEGIN; UPDATE t SET ver = 9 WHERE id = 1; SAVEPOINT s; UPDATE t SET ver = 9 WHERE id \
             = 3; ROLLBACK TO s; UPDATE t SET ver = 9, updated_at = now() WHERE id = 5; COMMIT",
            &[1, 5],
        ),
        ("UPDATE t SET id = 20 WHERE id = 2", &[2, 20]),
    ] {
        session.run(sql).await;
        assert_eq!(poller.cycle().await, keys, "{sql}");
    }
    comes_once(&mut poller).await;
    assert_eq!(poller.late, 0);
}

#[tokio::test]
async fn versions_of_one_key_stay_in_order_when_a_look_brings_some_and_scans_the_others() {
    let (_database, mut poller, mut session) = recorded(&format!("{TABLE}; {OLD}")).await;
    for ver in 1..6 {
        let moved = ["updated_at", "now()"][ver % 2];
        let sql = format!("UPDATE t SET ver = {ver}, updated_at = {moved} WHERE id = 1");
        session.run(&sql).await;
        assert_eq!(poller.cycle().await, [1]);
        if ver == 3 {
            assert_eq!(poller.sweep().await, NONE);
        }
    }
    comes_once(&mut poller).await;
    let versions: Vec<_> = poller
        .published()
        .iter()
        .filter(|e| e.id == 1)
        .map(|e| e.ver)
        .collect();
    assert_eq!(versions, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_load_and_a_repair_bring_versions_again_that_a_look_has_brought() {
    let (_database, mut poller, mut session) = recorded(&format!("{TABLE}; {OLD}")).await;
    session.run("UPDATE t SET ver = 1 WHERE id IN (1, 2)").await;
    assert_eq!(poller.cycle().await, [1, 2]);
    let repair = RepairRequest {
        id: "r".to_owned(),
        keys: vec![r#"{"id":2}"#.to_owned()],
    };
    let request = Request {
        id: "r".to_owned(),
        repair: Some(repair),
        ..Request::default()
    };
    poller.ask(request).await;
    poller.cycle().await;
    assert_eq!(poller.news(), NONE);
    let of_2 = poller
        .published()
        .iter()
        .filter(|e| e.id == 2)
        .map(|e| e.ver);
    assert_eq!(of_2.collect::<Vec<_>>(), [0, 1, 1]);
    session.run("UPDATE t SET ver = 2 WHERE id = 3").await;
    assert_eq!(poller.cycle().await, [3]);
    poller.reload().await.unwrap();
    assert_eq!(poller.load().await, [1, 2, 3, 4, 5]);
    comes_once(&mut poller).await;
}

#[tokio::test]
async fn keys_of_several_columns_and_types_are_looked_up() {
    let (_database, mut poller, mut session) = recorded(
        "CREATE TABLE t (id bigint, ver integer NOT NULL DEFAULT 0, name text, place uuid, at
            timestamptz, day date, updated_at timestamptz DEFAULT now(),
            PRIMARY KEY (place, name, id, at, day));
         CREATE INDEX ON t (updated_at);
         INSERT INTO t SELECT i, 0, E'n\\u00e9\"\\\\ ' || i, gen_random_uuid(), now(), current_date,
            '2020-01-01' FROM generate_series(1, 5) AS i",
    )
    .await;
    session
        .run("SET timezone = 'Asia/Kolkata'; UPDATE t SET ver = 1 WHERE id IN (2, 4)")
        .await;
    assert_eq!(poller.cycle().await, [2, 4]);
    session.run("DELETE FROM t WHERE id = 4").await;
    poller.cycle().await;
    assert_eq!(existing(&poller.store)["t"].len(), 4);
    comes_once(&mut poller).await;
}

#[tokio::test]
async fn without_an_index_on_a_cursor_changed_rows_do_not_wait_for_the_next_sweep() {
    let (_database, mut poller, mut session) = recorded(
        "CREATE TABLE t (id bigint PRIMARY KEY, ver integer); INSERT INTO t VALUES (1, 0)",
    )
    .await;
    session.run("UPDATE t SET ver = 1").await;
    poller.until(&[1]).await;
    comes_once(&mut poller).await;
}

#[tokio::test]
async fn without_an_index_on_the_key_changed_rows_wait_for_a_sweep() {
    let database = shared_database().await;
    database
        .sql(&format!(
            "{TABLE}; {OLD}; ALTER TABLE t DROP CONSTRAINT t_pkey"
        ))
        .await
        .unwrap();
    let settings = settings(&database, &["t: { capture: keys, key: [id] }"]).await;
    record(&database, &settings).await;
    let mut poller = Poller::tailing(settings).await;
    poller.news();
    let mut session = Session::of(&database).await;
    session.run("UPDATE t SET ver = 1 WHERE id = 3").await;
    assert_eq!(poller.cycle().await, NONE);
    assert_eq!(poller.sweep().await, [3]);
    session.run("ALTER TABLE t ADD PRIMARY KEY (id)").await;
    poller.load_again().await;
    session.run("UPDATE t SET ver = 2 WHERE id = 3").await;
    assert_eq!(poller.cycle().await, [3]);
}

#[tokio::test]
async fn a_statement_with_more_rows_than_are_looked_up_waits_for_a_sweep_and_loses_none() {
    const ROWS: i64 = 40_000;
    let (_database, mut poller, mut session) = recorded(&format!(
        "{TABLE}; INSERT INTO t SELECT i, 0, '2020-01-01' FROM generate_series(1, {ROWS}) AS i"
    ))
    .await;
    session.run("UPDATE t SET ver = 1").await;
    let mut found = poller.cycle().await;
    assert!(found.is_empty(), "{}", found.len());
    found.extend(poller.sweep().await);
    assert_eq!(found.len() as i64, ROWS);
    session.run("UPDATE t SET ver = 2 WHERE id <= 20000").await;
    assert_eq!(poller.cycle().await.len(), 20_000);
    session.run("UPDATE t SET ver = 3 WHERE id <= 5").await;
    assert_eq!(poller.cycle().await, [1, 2, 3, 4, 5]);
    comes_once(&mut poller).await;
}
