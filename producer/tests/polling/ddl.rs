//! Tables that are altered, rewritten or emptied under the poll.

use arrow::array::AsArray;

use inlet_harness::shared_database;

use super::script::{BEYOND_THE_GAP, GATED, NONE, Poller, SHUT, Session, TABLE, polled, settings};

#[tokio::test]
async fn a_rewrite_that_the_cycle_waits_for_hides_no_row() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, mut w2, mut judge] = Session::some(&database).await;
    w1.run("INSERT INTO t SELECT generate_series(1, 20)").await;
    assert_eq!(poller.cycle().await.len(), 20);
    // Row 21 is not published yet when the rewrite gives it another xid.
    w2.run("BEGIN; INSERT INTO t VALUES (21)").await;
    assert_eq!(poller.cycle().await, NONE);
    w2.run(BEYOND_THE_GAP).await;
    w2.run("COMMIT").await;
    w1.run("BEGIN; ALTER TABLE t ALTER COLUMN ver TYPE integer USING ver + 100")
        .await;
    let writer = async {
        judge.until_blocked().await;
        w1.run("COMMIT").await;
    };
    let (found, ()) = tokio::join!(poller.settle(), writer);
    assert!(found.contains(&21), "{found:?}");
    poller.sweep_next();
    poller.settle().await;
    let rewritten = poller
        .published()
        .iter()
        .filter(|emitted| emitted.ver == 100);
    let mut keys: Vec<i64> = rewritten.map(|emitted| emitted.id).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        (1..=21).collect::<Vec<_>>(),
        "each rewritten row comes once"
    );
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn rows_that_replace_a_truncated_table_come_once() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, mut judge] = Session::some(&database).await;
    w1.run("INSERT INTO t SELECT generate_series(1, 20)").await;
    assert_eq!(poller.cycle().await.len(), 20);
    w1.run("BEGIN; TRUNCATE t; INSERT INTO t SELECT generate_series(11, 60)")
        .await;
    judge.run("SELECT pg_current_xact_id()").await;
    let writer = async {
        judge.until_blocked().await;
        w1.run("COMMIT").await;
    };
    let (found, ()) = tokio::join!(poller.settle(), writer);
    assert_eq!(found, (11..=60).collect::<Vec<_>>());
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn rows_that_are_copied_frozen_come_once() {
    let (database, mut poller) = polled(GATED).await;
    let [mut w1, mut w2, mut judge] = Session::some(&database).await;
    w1.run("CREATE TABLE there (id bigint, ver integer, updated_at timestamptz, gate gate)")
        .await;
    w1.run("INSERT INTO t (id, gate) VALUES (1, ROW(7))").await;
    w1.run(SHUT).await;
    let writers = async {
        judge.until_blocked().await;
        // The cycle has its snapshot; TRUNCATE waits for the end of its transaction.
        let copy = async {
            w2.run("BEGIN; TRUNCATE t").await;
            let mut copy =
                w2.0.copy_in_raw("COPY t (id) FROM STDIN WITH (FREEZE)")
                    .await
                    .unwrap();
            copy.send(b"2\n3\n".as_slice()).await.unwrap();
            copy.finish().await.unwrap();
            w2.run("COMMIT").await;
        };
        let release = async {
            judge
                .until("2 = (SELECT count(*) FROM pg_locks WHERE NOT granted)")
                .await;
            w1.run("COMMIT").await;
        };
        tokio::join!(copy, release);
    };
    let (found, ()) = tokio::join!(poller.cycle(), writers);
    assert_eq!(found, [1]);
    assert_eq!(poller.settle().await, [2, 3]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_new_column_is_in_the_next_batch_and_old_rows_are_not_repeated() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    w.run("ALTER TABLE t ADD COLUMN note text").await;
    w.run("INSERT INTO t VALUES (2)").await;
    assert_eq!(poller.settle().await, [2]);
    assert!(
        poller
            .store
            .batches()
            .last()
            .unwrap()
            .schema
            .position("note")
            .is_some()
    );
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_table_is_loaded_again_when_its_rows_have_a_new_column_that_was_never_written() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1), (2)").await;
    assert_eq!(poller.cycle().await, [1, 2]);
    w.run("ALTER TABLE t ADD COLUMN note text DEFAULT 'x'; INSERT INTO t VALUES (3)")
        .await;
    assert_eq!(poller.load_again().await, [1, 2, 3]);
    w.run("ALTER TABLE t RENAME COLUMN note TO remark; INSERT INTO t VALUES (4)")
        .await;
    assert_eq!(poller.load_again().await, [1, 2, 3, 4]);
    let batch = poller.store.batches().pop().unwrap();
    assert_eq!(
        AsArray::as_string::<i32>(batch.rows.column_by_name("remark").unwrap()).value(0),
        "x"
    );
    // Without a value in it there is nothing to bring; nor is there without the column.
    w.run("ALTER TABLE t ADD COLUMN empty text, DROP COLUMN remark; INSERT INTO t VALUES (5)")
        .await;
    assert_eq!(poller.load_again().await, [5]);
    assert_eq!(poller.sweep().await, NONE);
    poller.restart().await;
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_column_with_a_default_that_was_added_between_two_runs_is_found_at_the_next_start() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1), (2)").await;
    assert_eq!(poller.cycle().await, [1, 2]);
    w.run("ALTER TABLE t ADD COLUMN note text DEFAULT 'x'")
        .await;
    poller.forget().await.unwrap();
    assert_eq!(poller.load_again().await, [1, 2]);
    // Killed in the middle of it, it is read to its end all the same.
    w.run("ALTER TABLE t ADD COLUMN more text DEFAULT 'y'; INSERT INTO t VALUES (3)")
        .await;
    poller.forget().await.unwrap();
    poller.forget().await.unwrap();
    assert_eq!(poller.load_again().await, [1, 2, 3]);
    poller.forget().await.unwrap();
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn without_a_key_no_row_comes_again_for_a_column_with_a_default() {
    let (database, mut poller) = polled(&TABLE.replace("PRIMARY KEY", "NOT NULL")).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    w.run("ALTER TABLE t ADD COLUMN note text DEFAULT 'x'; INSERT INTO t VALUES (2)")
        .await;
    assert_eq!(poller.load_again().await, [2]);
    assert_eq!(poller.sweep().await, NONE);
    // Its columns alone would only add a row to its history.
    w.run("ALTER TABLE t DROP COLUMN note").await;
    assert_eq!(poller.settle().await, NONE);
}

#[tokio::test]
async fn columns_that_were_altered_without_a_write_come_with_one_row() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1), (2)").await;
    assert_eq!(poller.cycle().await, [1, 2]);
    let columns = |poller: &Poller| {
        let schema = poller.store.batches().pop().unwrap().schema;
        let names = schema.columns.iter().map(|column| column.name.clone());
        names.collect::<Vec<_>>()
    };
    let before = columns(&poller);
    w.run("ALTER TABLE t ADD COLUMN note text").await;
    assert_eq!(poller.settle().await, [1]);
    assert_eq!(columns(&poller)[..before.len()], before);
    assert_eq!(columns(&poller)[before.len()..], ["note"]);
    poller.restart().await;
    assert_eq!(poller.settle().await, NONE);
    // Also when it was altered while no service ran.
    w.run("ALTER TABLE t DROP COLUMN note").await;
    poller.forget().await.unwrap();
    assert_eq!(poller.settle().await, [1]);
    assert_eq!(columns(&poller), before);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn rows_of_a_new_partition_and_rows_that_move_between_partitions_come_once() {
    let sql = "\
        CREATE TABLE t (id bigint, ver integer NOT NULL DEFAULT 0, updated_at timestamptz DEFAULT \
        now(), PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (100);
        CREATE INDEX ON t (updated_at)";
    let (database, mut poller) = polled(sql).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    w.run(
        "CREATE TABLE high PARTITION OF t FOR VALUES FROM (100) TO (200); INSERT INTO t VALUES \
        (101)",
    )
    .await;
    assert_eq!(poller.settle().await, [101]);
    w.run("UPDATE t SET id = 102, updated_at = now() WHERE id = 1")
        .await;
    assert_eq!(poller.settle().await, [102]);
    w.run("ALTER TABLE t DETACH PARTITION low; INSERT INTO t VALUES (103)")
        .await;
    assert_eq!(poller.settle().await, [103]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_key_that_changes_during_the_load_restarts_the_load() {
    let changes = [
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (reverse)",
        // `reverse` is a text, whose order is another one, and no row is rewritten.
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (code)",
        "ALTER TABLE t DROP CONSTRAINT t_pkey",
    ];
    for change in changes {
        let database = shared_database().await;
        let table = "CREATE TABLE t (id bigint PRIMARY KEY, ver integer DEFAULT 0, reverse bigint NOT \
            NULL, code text NOT NULL)";
        database.sql(table).await.unwrap();
        let rows = "INSERT INTO t SELECT id, 0, 300 - id, 300 - id FROM generate_series(1, 300) id";
        database.sql(rows).await.unwrap();
        let mut poller = Poller::new(settings(&database, &["t"]).await).await;
        assert!(poller.cycle().await.len() < 300);
        let mut w = Session::of(&database).await;
        w.run(change).await;
        poller.load_again().await;
        let mut ids: Vec<i64> = poller.published().iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids, (1..=300).collect::<Vec<_>>(), "{change}");
        assert_eq!(poller.sweep().await, NONE);
    }
}
