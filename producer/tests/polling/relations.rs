//! Partitions and children that are attached and detached, and tables that get another one's name.

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use inlet_harness::{Database, Postgres, shared_database};
use inlet_service::error::{Explain, Kind};

use super::script::{
    BEYOND_THE_GAP, GATED, NONE, Poller, SHUT, Session, Settings, TABLE, polled, settings,
};

const PARTITIONED: &str = "\
CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, updated_at timestamptz \
DEFAULT now()) PARTITION BY RANGE (id);
CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (100);
CREATE INDEX ON t (updated_at)";

/// A table without a parent, with rows of an hour ago that a sweep would not ask for any
/// more.
const APART: &str = "\
CREATE TABLE apart (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, updated_at timestamptz \
DEFAULT now());
INSERT INTO apart (id, updated_at) SELECT id, now() - interval '1 hour' FROM generate_series(101, \
    105) id";

#[tokio::test]
async fn rows_of_a_partition_that_is_attached_come_once_however_old_they_are() {
    let (database, mut poller) = polled(PARTITIONED).await;
    let mut w = Session::of(&database).await;
    w.run(APART).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    assert_eq!(poller.sweep().await, NONE);
    // One transaction writes into the table, where its row is polled, and into what will be a part
    // of it.
    w.run(BEYOND_THE_GAP).await;
    w.run("INSERT INTO t VALUES (2); INSERT INTO apart VALUES (106)")
        .await;
    assert_eq!(poller.cycle().await, [2]);
    w.run(
        "ALTER TABLE t ATTACH PARTITION apart FOR VALUES FROM (100) TO (200); INSERT INTO t \
        VALUES (3), (107)",
    )
    .await;
    assert_eq!(
        poller.settle().await,
        [3, 101, 102, 103, 104, 105, 106, 107]
    );
    assert_eq!(poller.sweep().await, NONE);
    poller.restart().await;
    w.run("UPDATE t SET ver = 1 WHERE id = 101").await;
    assert_eq!(poller.sweep().await, [101]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_partition_that_is_attached_between_two_runs_is_found_at_the_next_start() {
    let (database, mut poller) = polled(PARTITIONED).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    w.run("CREATE TABLE sub (LIKE t INCLUDING ALL) PARTITION BY RANGE (id)")
        .await;
    w.run(APART).await;
    w.run("ALTER TABLE sub ATTACH PARTITION apart FOR VALUES FROM (100) TO (110)")
        .await;
    poller.sweep().await;
    poller.heartbeat().await;
    w.run("ALTER TABLE t ATTACH PARTITION sub FOR VALUES FROM (100) TO (200)")
        .await;
    poller.restart().await;
    assert_eq!(poller.cycle().await, [101, 102, 103, 104, 105]);
    // The progress knows of it: another start reads nothing again.
    poller.restart().await;
    assert_eq!(poller.sweep().await, NONE);
    w.run(
        "CREATE TABLE more PARTITION OF sub FOR VALUES FROM (110) TO (120); INSERT INTO t VALUES \
        (111)",
    )
    .await;
    assert_eq!(poller.settle().await, [111]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_partition_that_is_attached_during_the_initial_load_is_read_once() {
    // Transactions of other databases would let its rows come with the joining scan.
    let server = Postgres::start().await.unwrap();
    let (database, settings) = loading(&server).await;
    let mut poller = Poller::new(settings).await;
    let mut w = Session::of(&database).await;
    w.run(APART).await;
    let mut found = poller.cycle().await;
    assert_eq!(found, [201, 202, 203, 204]);
    // Its keys lie before the place that the load has reached.
    w.run("ALTER TABLE t ATTACH PARTITION apart FOR VALUES FROM (100) TO (200)")
        .await;
    for _ in 0..12 {
        found.extend(poller.settle().await);
    }
    found.sort_unstable();
    assert_eq!(found, (101..=105).chain(201..=210).collect::<Vec<_>>());
    assert!(poller.is_tailing());
    assert_eq!(poller.sweep().await, NONE);
}

async fn loading(server: &Postgres) -> (Database, Settings) {
    let database = server.database().await.unwrap();
    database.sql(PARTITIONED).await.unwrap();
    let high = "CREATE TABLE high PARTITION OF t FOR VALUES FROM (200) TO (300); INSERT INTO t \
        SELECT generate_series(201, 210)";
    database.sql(high).await.unwrap();
    let mut settings = settings(&database, &["t"]).await;
    settings.poll.chunk_rows = 3;
    (database, settings)
}

#[tokio::test]
async fn a_partition_that_is_attached_in_the_middle_of_a_cycle_is_read_once() {
    let database = shared_database().await;
    database
        .sql(&format!(
            "{}; {PARTITIONED}",
            GATED
                .replace("TABLE t", "TABLE first")
                .replace("ON t", "ON first")
        ))
        .await
        .unwrap();
    let mut poller = Poller::tailing(settings(&database, &["first", "t"]).await).await;
    let [mut w, mut keeper, mut judge] = Session::some(&database).await;
    w.run(APART).await;
    w.run("INSERT INTO first (id, gate) VALUES (1, ROW(7)); INSERT INTO apart VALUES (106)")
        .await;
    keeper.run(SHUT).await;
    let writer = async {
        // The cycle has its snapshot, and has not started with `t`.
        judge.until_blocked().await;
        w.run("ALTER TABLE t ATTACH PARTITION apart FOR VALUES FROM (100) TO (200)")
            .await;
        keeper.run("COMMIT").await;
    };
    let (found, ()) = tokio::join!(poller.settle(), writer);
    assert_eq!(found, [1, 101, 102, 103, 104, 105, 106]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn partitions_that_are_detached_or_dropped_take_only_their_own_rows_along() {
    let (database, mut poller) = polled(PARTITIONED).await;
    let mut w = Session::of(&database).await;
    w.run(
        "CREATE TABLE high PARTITION OF t FOR VALUES FROM (100) TO (200); INSERT INTO t VALUES \
        (1), (101)",
    )
    .await;
    assert_eq!(poller.settle().await, [1, 101]);
    // Rows that were not polled before the partition was detached count as deleted.
    w.run(
        "INSERT INTO t VALUES (2), (102); ALTER TABLE t DETACH PARTITION high; INSERT INTO t \
        VALUES (3)",
    )
    .await;
    assert_eq!(poller.settle().await, [2, 3]);
    w.run("INSERT INTO t VALUES (4); DROP TABLE high").await;
    assert_eq!(poller.settle().await, [4]);
    w.run(
        "DROP TABLE low; CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (100); INSERT \
        INTO t VALUES (5)",
    )
    .await;
    assert_eq!(poller.settle().await, [5]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_partition_that_comes_back_is_read_again() {
    let (database, mut poller) = polled(PARTITIONED).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    w.run("ALTER TABLE t DETACH PARTITION low").await;
    poller.settle().await;
    poller.heartbeat().await;
    w.run("INSERT INTO low VALUES (2, 0, now() - interval '1 day')")
        .await;
    w.run("ALTER TABLE t ATTACH PARTITION low FOR VALUES FROM (0) TO (100)")
        .await;
    assert_eq!(
        poller.settle().await,
        [1, 2],
        "what was written in the meantime comes, at the price of versions that were there before"
    );
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_parent_is_polled_with_the_tables_that_inherit_from_it() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run(
        "CREATE TABLE child (extra text) INHERITS (t); INSERT INTO t VALUES (1); INSERT INTO \
        child VALUES (1, 7), (2, 7)",
    )
    .await;
    assert_eq!(
        poller.settle().await,
        [1, 1, 2],
        "a primary key holds for each of the tables alone"
    );
    w.run(APART).await;
    w.run("ALTER TABLE apart INHERIT t").await;
    assert_eq!(poller.settle().await, [101, 102, 103, 104, 105]);
    w.run("ALTER TABLE child NO INHERIT t; INSERT INTO child VALUES (3); INSERT INTO t VALUES (4)")
        .await;
    assert_eq!(poller.settle().await, [4]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_table_that_is_dropped_and_recreated_is_loaded_from_the_beginning() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1), (2)").await;
    assert_eq!(poller.cycle().await, [1, 2]);
    let grant = format!("GRANT SELECT ON t TO reader_{}", database.name());
    let recreate = "DROP TABLE t; CREATE TABLE t (id bigserial PRIMARY KEY, ver integer NOT NULL \
        DEFAULT 1, note text, updated_at timestamptz);
                INSERT INTO t (note, updated_at) VALUES ('old', now() - interval '1 year'), \
        ('none', NULL)";
    w.run(&format!("{recreate}; {grant}")).await;
    let mut found = poller.settle().await;
    while !poller.is_tailing() {
        found.extend(poller.cycle().await);
    }
    assert_eq!(found, [1, 2]);
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
    w.run("INSERT INTO t (note, updated_at) VALUES ('new', now())")
        .await;
    assert_eq!(poller.cycle().await, [3]);
    poller.restart().await;
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_table_that_takes_another_ones_place_brings_all_its_rows() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run(APART).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    assert_eq!(poller.sweep().await, NONE);
    // Its rows were written long before the last sweep.
    let grant = format!("GRANT SELECT ON apart TO reader_{}", database.name());
    w.run(&format!(
        "{grant}; ALTER TABLE t RENAME TO old; ALTER TABLE apart RENAME TO t; INSERT \
        INTO t VALUES (106)"
    ))
    .await;
    let mut found = poller.settle().await;
    while !poller.is_tailing() {
        found.extend(poller.cycle().await);
    }
    assert_eq!(found, [101, 102, 103, 104, 105, 106]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn the_other_tables_are_polled_while_one_is_missing_and_it_returns_with_all_its_rows() {
    let database = shared_database().await;
    database
        .sql(&format!("{TABLE}; CREATE TABLE u (LIKE t INCLUDING ALL)"))
        .await
        .unwrap();
    let mut poller = Poller::tailing(settings(&database, &["u", "t"]).await).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1); ALTER TABLE u RENAME TO v")
        .await;
    assert_eq!(poller.settle().await, [1]);
    w.run("INSERT INTO t VALUES (2); INSERT INTO v VALUES (12); DROP TABLE v")
        .await;
    assert_eq!(poller.cycle().await, [2]);
    let grant = format!("GRANT SELECT ON u TO reader_{}", database.name());
    w.run(&format!(
        "CREATE TABLE u (LIKE t INCLUDING ALL); INSERT INTO u SELECT \
        generate_series(11, 14); {grant}"
    ))
    .await;
    let error = poller.look_for_dropped().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    poller.restart().await;
    let mut found = poller.cycle().await;
    while !poller.is_tailing() {
        found.extend(poller.cycle().await);
    }
    assert_eq!(found, [11, 12, 13, 14]);
    assert_eq!(poller.sweep().await, NONE);
    // Another process does not know that it was ever there.
    w.run("DROP TABLE u").await;
    assert_eq!(poller.forget().await.unwrap_err().kind(), Kind::Config);
}

#[tokio::test]
async fn generated_and_identity_columns_are_read_like_others_and_unlogged_tables_too() {
    let sql = "\
        CREATE UNLOGGED TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ver integer \
        NOT NULL GENERATED ALWAYS AS (twice / 2) STORED,
            twice integer, updated_at timestamptz DEFAULT now());
        CREATE INDEX ON t (updated_at)";
    let (database, mut poller) = polled(sql).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t (twice) VALUES (14), (2)").await;
    assert_eq!(poller.cycle().await, [1, 2]);
    assert_eq!(
        poller
            .published()
            .iter()
            .map(|emitted| emitted.ver)
            .sum::<i32>(),
        8
    );
    if w.value::<i32>("SELECT current_setting('server_version_num')::int")
        .await
        >= 180_000
    {
        w.run(
            "ALTER TABLE t ADD COLUMN thrice integer GENERATED ALWAYS AS (twice / 2 * 3) \
            VIRTUAL; INSERT INTO t (twice) VALUES (6)",
        )
        .await;
        assert_eq!(
            poller.load_again().await,
            [1, 2, 3],
            "the rows that stood have a value in it as well"
        );
        let batches = poller.store.batches();
        let columns = batches
            .iter()
            .filter_map(|batch| batch.rows.column_by_name("thrice"));
        let mut thrice: Vec<i32> = columns
            .flat_map(|column| column.as_primitive::<Int32Type>().values().to_vec())
            .collect();
        thrice.sort_unstable();
        assert_eq!(thrice, [3, 9, 21]);
    }
}
