//! A load over several connections reads what one connection reads.

use std::collections::BTreeSet;

use inlet_harness::{Database, Postgres, shared_database};

use super::script::{Emitted, Poller, Session, Settings, TABLE, settings};

/// A database with a table of these rows, and settings that load it over three connections.
async fn table_of(rows: u64) -> (Database, Settings) {
    let database = shared_database().await;
    let settings = table_in(&database, rows).await;
    (database, settings)
}

async fn table_in(database: &Database, rows: u64) -> Settings {
    database.sql(TABLE).await.unwrap();
    database
        .sql(&format!(
            "INSERT INTO t (id) SELECT generate_series(1, {rows})"
        ))
        .await
        .unwrap();
    let mut settings = settings(database, &["t"]).await;
    settings.poll.load_connections = 3;
    settings
}

fn once(emitted: &[Emitted]) -> bool {
    emitted.iter().collect::<BTreeSet<_>>().len() == emitted.len()
}

#[tokio::test]
async fn ranges_of_the_key_are_read_side_by_side_and_resumed_after_every_chunk() {
    let (database, settings) = table_of(2_500).await;
    let mut poller = Poller::new(settings).await;
    let mut writer = Session::of(&database).await;
    let mut chunks = 0;
    while !poller.is_tailing() {
        // Rows are written and removed before and after the end of each chunk.
        writer
            .run("UPDATE t SET ver = ver + 1, updated_at = now() WHERE id % 500 = 7")
            .await;
        writer
            .run(&format!(
                "INSERT INTO t (id) VALUES ({}), ({})",
                -chunks,
                9_000 + chunks
            ))
            .await;
        poller.cycle().await;
        poller.restart().await;
        chunks += 1;
    }
    poller.cycle().await;
    assert!(chunks > 8, "a chunk has 300 rows: {chunks}");
    let published = poller.published();
    assert!(once(published));
    let ids: BTreeSet<_> = published.iter().map(|emitted| emitted.id).collect();
    let mut expected: BTreeSet<_> = (1..=2_500).collect();
    expected.extend((0..chunks).flat_map(|chunk| [-chunk, 9_000 + chunk]));
    assert_eq!(ids, expected);
    let last = published.iter().filter(|emitted| emitted.id == 7).max();
    assert_eq!(i64::from(last.unwrap().ver), chunks, "the last update");
}

#[tokio::test]
async fn a_small_table_is_read_by_its_blocks_in_one_chunk() {
    // About 1,000 blocks, and deleted rows among the others.
    let (database, mut settings) = table_of(180_000).await;
    database
        .sql("DELETE FROM t WHERE id % 3 = 0; UPDATE t SET ver = 1 WHERE id % 50 = 1")
        .await
        .unwrap();
    settings.poll.whole_blocks_max = u32::MAX;
    let mut poller = Poller::new(settings).await;
    let version = "SELECT current_setting('server_version_num')::integer";
    let version: i32 = Session::of(&database).await.value(version).await;
    if version >= 140_000 {
        poller.cycle().await;
        poller.cycle().await;
        assert!(poller.is_tailing(), "one chunk, and the scan that joins it");
    }
    // A server that cannot read a range of blocks apart is read along the key.
    poller.load().await;
    let published = poller.published();
    assert_eq!(published.len(), 120_000);
    assert!(once(published));
    assert!(published.iter().all(|row| row.id % 3 != 0));
    let updated = published.iter().filter(|emitted| emitted.ver == 1).count();
    let expected = (1..=180_000).filter(|id| id % 3 != 0 && id % 50 == 1);
    assert_eq!(updated, expected.count());
}

#[tokio::test]
async fn partitions_and_tables_without_a_key_are_read_side_by_side() {
    let database = shared_database().await;
    database
        .sql(
            "CREATE TABLE t (id bigint, ver integer NOT NULL DEFAULT 0, updated_at timestamptz \
             DEFAULT now(), PRIMARY KEY (id)) PARTITION BY HASH (id);
             CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
             CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);
             CREATE TABLE u (id bigint, ver integer NOT NULL DEFAULT 0, updated_at timestamptz \
             DEFAULT now());
             INSERT INTO t SELECT generate_series(1, 1000); INSERT INTO u SELECT id FROM t",
        )
        .await
        .unwrap();
    for table in ["t", "u"] {
        let mut settings = settings(&database, &[table]).await;
        settings.poll.load_connections = 2;
        let mut poller = Poller::new(settings).await;
        let expected: Vec<i64> = (1..=1_000).collect();
        assert_eq!(poller.load().await, expected, "table {table}");
    }
}

/// A connection of a load is lost in the middle of it.
#[tokio::test]
async fn a_chunk_whose_connection_is_lost_is_read_again_whole() {
    // A transaction that another test holds open would leave every row to the joining scan.
    let server = Postgres::start().await.unwrap();
    let database = server.database().await.unwrap();
    let mut poller = Poller::new(table_in(&database, 3_000).await).await;
    poller.cycle().await;
    let read = poller.published().len();
    assert!((1..3_000).contains(&read), "{read} rows in the first chunk");
    let mut other = Session::of(&database).await;
    let helpers = "FROM pg_stat_activity WHERE datname = current_database() AND application_name \
        = 'inlet' AND query = 'COMMIT'";
    let ended: i64 = other
        .value(&format!(
            "SELECT count(pg_terminate_backend(pid)) {helpers}"
        ))
        .await;
    assert!(ended > 0, "connections are kept between two chunks");
    other.until(&format!("NOT EXISTS (SELECT {helpers})")).await;
    assert!(poller.attempt().await.is_err());
    poller.restart().await;
    poller.load().await;
    let published = poller.published();
    assert_eq!(published.len(), 3_000);
    assert!(once(published));
}

#[tokio::test]
async fn a_role_with_one_connection_loads_over_it() {
    let (database, settings) = table_of(1_000).await;
    let role = format!("reader_{}", database.name());
    database
        .sql(&format!("ALTER ROLE {role} CONNECTION LIMIT 1"))
        .await
        .unwrap();
    let mut poller = Poller::new(settings).await;
    let expected: Vec<i64> = (1..=1_000).collect();
    assert_eq!(poller.load().await, expected);
}
