//! Tables that are loaded again beside their polls: because values changed without a write, or
//! because a user asks for it.

use inlet_harness::{Database, Postgres};
use inlet_model::{ReloadRequest, Request};

use super::script::{BEYOND_THE_GAP, NONE, Poller, Session, TABLE, polled, settings};

/// Statements that change what SELECT shows of rows that they do not write, and those that need no
/// load.
const BASE: &str = "\
CREATE TYPE state AS ENUM ('new', 'in_prgs', 'done');
CREATE TYPE inner_state AS (state state, note text);
CREATE TYPE pair AS (a integer, b inner_state);
CREATE DOMAIN state_domain AS state;
CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, updated_at timestamptz
    DEFAULT now(), at timestamp DEFAULT now(), amount numeric(10,2) DEFAULT 1.5, label varchar(10)
    DEFAULT 'x', address cidr DEFAULT '10.0.0.1', states state_domain[] DEFAULT '{in_prgs}', pair
    pair DEFAULT '(1,\"(in_prgs,x)\")', number integer DEFAULT 7, base integer DEFAULT 3, made
    integer GENERATED ALWAYS AS (base + 1) STORED);
CREATE INDEX ON t (updated_at)";

async fn with_rows(sql: &str) -> (Database, Poller, Session) {
    let (database, mut poller) = polled(sql).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1), (2)").await;
    assert_eq!(poller.cycle().await, [1, 2]);
    w.run(BEYOND_THE_GAP).await;
    (database, poller, w)
}

#[tokio::test]
async fn rows_whose_values_change_without_a_write_come_again_in_the_next_cycle() {
    for alter in [
        "ALTER TYPE state RENAME VALUE 'in_prgs' TO 'in_progress'",
        "ALTER TYPE pair DROP ATTRIBUTE a",
        "ALTER TYPE inner_state ADD ATTRIBUTE later text",
        "SET TIME ZONE 'UTC'; ALTER TABLE t ALTER at TYPE timestamptz",
        "SET TIME ZONE 'Asia/Kolkata'; ALTER TABLE t ALTER at TYPE timestamptz",
        "ALTER TABLE t ALTER ver TYPE integer USING ver + 100",
        "ALTER TABLE t ALTER label DROP DEFAULT, ALTER label TYPE jsonb USING to_jsonb(label)",
        "ALTER TABLE t ALTER address TYPE inet",
        "ALTER TABLE t ALTER amount TYPE numeric",
        "ALTER TABLE t ALTER number TYPE bigint",
        "ALTER TABLE t ALTER number TYPE oid",
        "ALTER TABLE t ADD COLUMN token uuid DEFAULT gen_random_uuid()",
        "ALTER TABLE t ADD COLUMN paid boolean DEFAULT true",
        "ALTER TABLE t RENAME label TO tag",
    ] {
        let (_database, mut poller, mut w) = with_rows(BASE).await;
        w.run(alter).await;
        assert_eq!(poller.load_again().await, [1, 2], "{alter}");
        // Neither a sweep nor a restart finds them another time.
        assert_eq!(poller.sweep().await, NONE, "{alter}");
        poller.forget().await.unwrap();
        assert_eq!(poller.load_again().await, NONE, "{alter}");
        assert_eq!(poller.sweep().await, NONE, "{alter}");
    }
}

#[tokio::test]
async fn what_changes_no_value_loads_nothing_again() {
    let (_database, mut poller, mut w) = with_rows(BASE).await;
    for alter in [
        "VACUUM FULL t",
        "CLUSTER t USING t_pkey",
        "ALTER TABLE t SET (fillfactor = 70)",
        "ALTER TABLE t ALTER label SET STATISTICS 50",
        "ALTER TABLE t ALTER label TYPE varchar(20)",
        "ALTER TABLE t ALTER label TYPE text",
        "ALTER TABLE t ALTER label SET DEFAULT 'y'",
        "ALTER TYPE state ADD VALUE 'late' BEFORE 'done'",
        "ALTER TYPE pair RENAME ATTRIBUTE a TO c",
        "ALTER TYPE pair RENAME TO pairs",
        "CREATE INDEX extra ON t (ver)",
        "DROP INDEX extra",
        "ANALYZE t",
        "TRUNCATE t",
    ] {
        w.run(alter).await;
        w.run("SELECT pg_current_xact_id()").await;
        assert_eq!(poller.load_again().await, NONE, "{alter}");
        assert_eq!(poller.sweep().await, NONE, "{alter}");
    }
}

#[tokio::test]
async fn what_changes_what_readers_see_of_columns_alone_comes_with_one_row() {
    let (_database, mut poller, mut w) = with_rows(BASE).await;
    for alter in [
        "ALTER TABLE t ALTER amount TYPE numeric(14,2)",
        "ALTER TABLE t ADD COLUMN note text",
        "ALTER TABLE t DROP COLUMN note",
    ] {
        w.run(alter).await;
        assert_eq!(poller.load_again().await, [1], "{alter}");
        assert_eq!(poller.sweep().await, NONE, "{alter}");
    }
}

#[tokio::test]
async fn a_change_of_values_while_the_service_is_stopped_is_found_at_its_start() {
    let (_database, mut poller, mut w) = with_rows(BASE).await;
    w.run("ALTER TYPE state RENAME VALUE 'in_prgs' TO 'in_progress'")
        .await;
    poller.forget().await.unwrap();
    // Killed before the first chunk is durable, it is found another time.
    poller.forget().await.unwrap();
    assert_eq!(poller.load_again().await, [1, 2]);
    poller.forget().await.unwrap();
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn without_a_key_only_rows_that_were_written_again_come_again() {
    let (_database, mut poller, mut w) = with_rows(&BASE.replace("PRIMARY KEY", "NOT NULL")).await;
    w.run("ALTER TYPE state RENAME VALUE 'in_prgs' TO 'in_progress'; INSERT INTO t VALUES (3)")
        .await;
    assert_eq!(poller.load_again().await, [3]);
    w.run("ALTER TABLE t ALTER number TYPE bigint").await;
    assert_eq!(poller.load_again().await, [1, 2, 3]);
    assert_eq!(poller.sweep().await, NONE);
}

/// A table with 300 rows whose load takes several chunks; on a server of its own, because an open
/// transaction of any database makes the opening sweep read more and the chunks less.
async fn large() -> (Postgres, Database, Poller, Session) {
    let server = Postgres::start().await.unwrap();
    let database = server.database().await.unwrap();
    database.sql(TABLE).await.unwrap();
    let rows = "INSERT INTO t (id, updated_at) SELECT id, now() - interval '1 day' FROM \
        generate_series(1, 300) id";
    database.sql(rows).await.unwrap();
    let poller = Poller::tailing(settings(&database, &["t"]).await).await;
    let w = Session::of(&database).await;
    (server, database, poller, w)
}

#[tokio::test]
async fn new_changes_arrive_while_a_table_is_loaded_again_and_no_version_comes_after_a_later_one() {
    let (_server, _database, mut poller, mut w) = large().await;
    poller.reload().await.unwrap();
    w.run(
        "UPDATE t SET ver = 1, updated_at = now() WHERE id IN (1, 299); INSERT INTO t VALUES (301)",
    )
    .await;
    let first = poller.cycle().await;
    assert!(first.contains(&301) && first.contains(&299), "{first:?}");
    assert!(!poller.is_tailing(), "one chunk does not read all");
    let rest = poller.load().await;
    let mut all = [first, rest].concat();
    all.sort_unstable();
    // Rows 1 and 299 come in their new version alone.
    assert_eq!(all, (1..=301).collect::<Vec<_>>());
    assert_eq!(poller.sweep().await, NONE);
    let versions: Vec<_> = poller
        .published()
        .iter()
        .filter(|row| row.id == 299)
        .collect();
    let versions: Vec<_> = versions.iter().map(|row| row.ver).collect();
    assert_eq!(versions, [0, 1]);
}

#[tokio::test]
async fn a_load_beside_the_polls_resumes_where_it_was_killed() {
    let (_server, _database, mut poller, mut w) = large().await;
    poller.reload().await.unwrap();
    let mut found = poller.cycle().await;
    assert!(found.len() < 300);
    poller.forget().await.unwrap();
    w.run("UPDATE t SET ver = 1, updated_at = now() WHERE id = 1")
        .await;
    found.extend(poller.load().await);
    found.sort_unstable();
    let mut expected: Vec<i64> = (1..=300).collect();
    expected.insert(0, 1);
    assert_eq!(found, expected);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn an_older_transaction_that_commits_during_the_load_comes_once() {
    let (_server, database, mut poller, mut w) = large().await;
    let mut late = Session::of(&database).await;
    late.run("BEGIN; UPDATE t SET ver = 1 WHERE id = 250").await;
    poller.reload().await.unwrap();
    assert!(poller.cycle().await.len() < 300);
    w.run(BEYOND_THE_GAP).await;
    late.run("COMMIT").await;
    let mut found = poller.load().await;
    found.extend(poller.sweep().await);
    assert_eq!(found.iter().filter(|id| **id == 250).count(), 1);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_load_also_brings_what_was_written_since_the_oldest_open_transaction() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w, mut old] = Session::some(&database).await;
    old.run("BEGIN; SELECT pg_current_xact_id()").await;
    w.run("INSERT INTO t VALUES (1), (2)").await;
    assert_eq!(poller.cycle().await, [1, 2]);
    // Its coverage is forgotten, because no scan asks for these xids any more.
    w.run(BEYOND_THE_GAP).await;
    assert_eq!(poller.sweep().await, NONE);
    w.run("INSERT INTO t VALUES (3)").await;
    poller.reload().await.unwrap();
    assert_eq!(poller.load().await, [1, 2, 3]);
    let only = request("1", false, Some(("1", Some("id = 2"))));
    poller.ask(only).await;
    assert_eq!(poller.news(), [2]);
    old.run("COMMIT").await;
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_table_that_is_attached_during_a_load_comes_once() {
    let sql = "\
        CREATE TABLE t (id bigint, ver integer NOT NULL DEFAULT 0, updated_at timestamptz DEFAULT \
        now(), PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (1000);
        CREATE INDEX ON t (updated_at);
        CREATE TABLE high (LIKE t INCLUDING ALL);
        INSERT INTO t SELECT generate_series(1, 300);
        INSERT INTO high SELECT generate_series(1001, 1300)";
    let server = Postgres::start().await.unwrap();
    let database = server.database().await.unwrap();
    database.sql(sql).await.unwrap();
    let mut poller = Poller::tailing(settings(&database, &["t"]).await).await;
    let mut w = Session::of(&database).await;
    poller.reload().await.unwrap();
    let mut found = poller.cycle().await;
    w.run("ALTER TABLE t ATTACH PARTITION high FOR VALUES FROM (1000) TO (2000)")
        .await;
    found.extend(poller.settle().await);
    poller.forget().await.unwrap();
    found.extend(poller.load_again().await);
    found.sort_unstable();
    let expected: Vec<i64> = (1..=300).chain(1001..=1300).collect();
    assert_eq!(found, expected);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_key_that_changes_during_a_load_beside_the_polls_restarts_it_and_without_one_it_ends() {
    let (_server, _database, mut poller, mut w) = large().await;
    poller.reload().await.unwrap();
    assert!(poller.cycle().await.len() < 300);
    w.run("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, ver)")
        .await;
    assert_eq!(poller.load_again().await.len(), 300);
    poller.reload().await.unwrap();
    assert!(poller.cycle().await.len() < 300);
    w.run("ALTER TABLE t DROP CONSTRAINT t_pkey").await;
    assert_eq!(poller.load_again().await, NONE);
    assert_eq!(poller.sweep().await, NONE);
}

fn request(id: &str, paused: bool, reload: Option<(&str, Option<&str>)>) -> Request {
    Request {
        id: id.to_owned(),
        paused,
        sweep: None,
        repair: None,
        reload: reload.map(|(id, condition)| ReloadRequest {
            id: id.to_owned(),
            condition: condition.map(str::to_owned),
        }),
    }
}

#[tokio::test]
async fn a_paused_table_is_not_read_and_misses_nothing_when_it_resumes() {
    let (_server, _database, mut poller, mut w) = large().await;
    poller.ask(request("1", true, None)).await;
    w.run("INSERT INTO t VALUES (301)").await;
    assert_eq!(poller.cycle().await, NONE);
    assert_eq!(poller.sweep().await, NONE);
    w.run(BEYOND_THE_GAP).await;
    poller.forget().await.unwrap();
    w.run("UPDATE t SET ver = 1, updated_at = now() WHERE id = 301; INSERT INTO t VALUES (302)")
        .await;
    assert_eq!(poller.cycle().await, NONE);
    poller.news();
    poller.ask(request("2", false, None)).await;
    assert_eq!(poller.news(), [301, 302]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_load_that_a_user_asks_for_happens_once_also_through_restarts() {
    let (_server, _database, mut poller, mut w) = large().await;
    poller.news();
    let asked = request("1", false, Some(("1", None)));
    poller.ask(asked.clone()).await;
    poller.forget().await.unwrap();
    poller.ask(asked.clone()).await;
    poller.load().await;
    poller.ask(asked.clone()).await;
    poller.load().await;
    let loaded = poller.published().len() - 300;
    assert_eq!(loaded, 300);
    w.run("INSERT INTO t VALUES (301)").await;
    poller.forget().await.unwrap();
    poller.ask(asked).await;
    assert_eq!(poller.published().len(), 601);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_load_with_a_condition_brings_these_rows_and_a_row_that_waited_for_a_sweep_once() {
    let (_server, _database, mut poller, mut w) = large().await;
    // No cycle finds this version, because its time does not move.
    w.run("UPDATE t SET ver = 1 WHERE id IN (7, 8)").await;
    assert_eq!(poller.cycle().await, NONE);
    poller.news();
    let only = "id BETWEEN 8 AND 110 -- and a comment";
    poller
        .ask(request("1", false, Some(("1", Some(only)))))
        .await;
    let mut found = poller.load().await;
    found.extend(poller.sweep().await);
    let all: Vec<_> = poller.published()[300..]
        .iter()
        .map(|row| (row.id, row.ver))
        .collect();
    let count = |id: i64| all.iter().filter(|(of, _)| *of == id).count();
    assert_eq!(
        (count(7), count(9), count(110), count(111)),
        (1, 1, 1, 0),
        "{all:?}"
    );
    // The sweep before the load finds it, and the load brings it another time.
    assert_eq!(count(8), 2);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_condition_that_an_alter_has_made_invalid_ends_its_load_and_nothing_else() {
    let (_server, _database, mut poller, mut w) = large().await;
    w.run("ALTER TABLE t ADD COLUMN note text").await;
    assert_eq!(poller.load_again().await, [1]);
    poller.news();
    let asked = request("1", false, Some(("1", Some("note IS NULL"))));
    poller.ask(asked.clone()).await;
    assert!(poller.news().len() < 300);
    w.run("ALTER TABLE t DROP COLUMN note; INSERT INTO t VALUES (301)")
        .await;
    assert_eq!(poller.load_again().await, [301]);
    // The same when it was stored and is not followed yet.
    poller
        .ask(request("2", false, Some(("2", Some("note IS NULL")))))
        .await;
    assert_eq!(poller.load().await, NONE);
    w.run("INSERT INTO t VALUES (302)").await;
    assert_eq!(poller.cycle().await, [302]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_key_that_is_dropped_or_added_keeps_every_row_coming_once() {
    let (_database, mut poller, mut w) = with_rows(TABLE).await;
    w.run("ALTER TABLE t DROP CONSTRAINT t_pkey; INSERT INTO t VALUES (3)")
        .await;
    assert_eq!(poller.load_again().await, [3]);
    assert!(poller.store.batches().last().unwrap().schema.key.is_empty());
    w.run("ALTER TABLE t ADD PRIMARY KEY (id); INSERT INTO t VALUES (4)")
        .await;
    assert_eq!(poller.load_again().await, [4]);
    assert_eq!(poller.store.batches().last().unwrap().schema.key, [0]);
    assert_eq!(poller.sweep().await, NONE);
}
