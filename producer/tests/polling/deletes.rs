//! Rows that are deleted: the census publishes their keys, whatever the key is and however they
//! went, and never one that exists.

use std::collections::BTreeMap;

use inlet_model::change::{ChangeBatch, DELETE, OP};
use inlet_model::record::Rows;
use inlet_model::record::json::encode_own_keys;
use inlet_sink_contract::memory::MemoryStore;

use arrow::array::AsArray;
use arrow::datatypes::UInt8Type;
use inlet_harness::shared_database;

use super::script::{NONE, Poller, Session, TABLE, polled, settings};

/// Each change that was published, in order: the table, the key, and whether it is a delete.
pub fn changes(store: &MemoryStore) -> Vec<(String, String, bool)> {
    store.batches().iter().flat_map(of_batch).collect()
}

pub fn of_batch(batch: &ChangeBatch) -> Vec<(String, String, bool)> {
    let mut keys = Rows::default();
    encode_own_keys(batch, &mut keys);
    let ops = batch.rows.column_by_name(OP).unwrap();
    let ops = ops.as_primitive::<UInt8Type>().values().to_vec();
    let change = |row: usize| {
        let key = String::from_utf8(keys.get(row).unwrap().to_vec()).unwrap();
        (batch.schema.table.name.clone(), key, ops[row] == DELETE)
    };
    (0..keys.len()).map(change).collect()
}

/// The keys that exist after all changes, by table.
pub fn existing(store: &MemoryStore) -> BTreeMap<String, Vec<String>> {
    let mut latest = BTreeMap::new();
    for (table, key, deleted) in changes(store) {
        latest.insert((table, key), deleted);
    }
    let mut existing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((table, key), deleted) in latest {
        let keys = existing.entry(table).or_default();
        if !deleted {
            keys.push(key);
        }
    }
    existing
}

/// The keys of the deletes that were published, in order.
fn deleted(store: &MemoryStore) -> Vec<String> {
    let changes = changes(store).into_iter();
    changes
        .filter_map(|(_, key, deleted)| deleted.then_some(key))
        .collect()
}

fn ids(ids: &[i64]) -> Vec<String> {
    ids.iter().map(|id| format!("{{\"id\":{id}}}")).collect()
}

#[tokio::test]
async fn a_deleted_row_is_published_once_as_its_key_and_nulls() {
    let (database, mut poller) = polled(TABLE).await;
    let mut session = Session::of(&database).await;
    session
        .run("INSERT INTO t SELECT i FROM generate_series(-5, 5) AS i")
        .await;
    poller.cycle().await;
    session.run("DELETE FROM t WHERE id IN (-5, 0, 4)").await;
    poller.compare().await;
    assert_eq!(deleted(&poller.store), ids(&[-5, 0, 4]));
    poller.compare().await;
    poller.restart().await;
    poller.compare().await;
    assert_eq!(deleted(&poller.store), ids(&[-5, 0, 4]), "each once");
    let batches = poller.store.batches();
    let batch = batches
        .iter()
        .find(|batch| of_batch(batch)[0].2)
        .expect("a batch of deletes");
    let others = &batch.rows.columns()[1..3];
    assert!(
        others
            .iter()
            .all(|column| column.null_count() == column.len())
    );
}

#[tokio::test]
async fn a_row_that_comes_back_is_published_after_its_delete() {
    let (database, mut poller) = polled(TABLE).await;
    let mut session = Session::of(&database).await;
    session.run("INSERT INTO t VALUES (1), (2)").await;
    poller.cycle().await;
    session.run("DELETE FROM t").await;
    poller.compare().await;
    session.run("INSERT INTO t VALUES (2)").await;
    poller.cycle().await;
    poller.compare().await;
    assert_eq!(existing(&poller.store)["t"], ids(&[2]));
    session.run("DELETE FROM t").await;
    poller.compare().await;
    assert_eq!(deleted(&poller.store), ids(&[1, 2, 2]));
}

#[tokio::test]
async fn a_row_that_is_deleted_and_inserted_before_it_is_compared_is_not_called_deleted() {
    let (database, mut poller) = polled(TABLE).await;
    let mut session = Session::of(&database).await;
    session.run("INSERT INTO t VALUES (1), (2), (3), (4)").await;
    poller.cycle().await;
    session
        .run("DELETE FROM t WHERE id = 4; INSERT INTO t VALUES (4, 1, now() - interval '1 day')")
        .await;
    // The backdated row waits for a sweep, and exists all the same.
    poller.compare().await;
    assert!(deleted(&poller.store).is_empty());
    poller.sweep().await;
    poller.compare().await;
    assert!(deleted(&poller.store).is_empty());
}

#[tokio::test]
async fn a_pass_starts_when_postgresql_has_counted_a_delete_and_not_before() {
    let (database, mut poller) = polled(TABLE).await;
    let mut session = Session::of(&database).await;
    session.run("INSERT INTO t VALUES (1), (2)").await;
    poller.cycle().await;
    poller.compare().await;
    poller.compare_chunk().await.unwrap();
    assert!(!poller.is_comparing(), "nothing was counted");
    session.run("DELETE FROM t WHERE id = 1").await;
    // A session reports what it counted between two statements, once a second at most.
    session
        .until("pg_stat_get_tuples_deleted('t'::regclass) > 0")
        .await;
    poller.compare_chunk().await.unwrap();
    assert_eq!(deleted(&poller.store), ids(&[1]));
}

#[tokio::test]
async fn a_row_that_came_with_altered_columns_alone_is_missed_when_it_is_deleted() {
    let (database, mut poller) = polled(TABLE).await;
    let mut session = Session::of(&database).await;
    // Its time is older than every floor, so no scan but a sweep finds the row.
    session
        .run("INSERT INTO t (id, updated_at) VALUES (1, '2000-01-01')")
        .await;
    assert_eq!(poller.settle().await, NONE);
    session.run("ALTER TABLE t ADD COLUMN note text").await;
    assert_eq!(poller.settle().await, [1]);
    session.run("DELETE FROM t WHERE id = 1").await;
    poller.compare().await;
    assert_eq!(deleted(&poller.store), ids(&[1]));
}

#[tokio::test]
async fn a_pass_goes_on_after_a_restart() {
    let (database, mut poller) = polled(TABLE).await;
    let mut session = Session::of(&database).await;
    session
        .run("INSERT INTO t SELECT i FROM generate_series(1, 12) AS i")
        .await;
    poller.cycle().await;
    session.run("DELETE FROM t WHERE id IN (2, 11)").await;
    poller.compare_next();
    // The first chunk has a delete, so its end is durable.
    poller.compare_chunk().await.unwrap();
    assert_eq!(deleted(&poller.store), ids(&[2]));
    poller.restart().await;
    assert!(poller.is_comparing());
    let mut chunks = 0;
    while poller.is_comparing() {
        poller.compare_chunk().await.unwrap();
        chunks += 1;
    }
    assert_eq!((chunks, deleted(&poller.store)), (3, ids(&[2, 11])));
}

#[tokio::test]
async fn truncate_and_a_changed_key_are_deletes() {
    let (database, mut poller) = polled(TABLE).await;
    let mut session = Session::of(&database).await;
    session.run("INSERT INTO t VALUES (1), (2), (3)").await;
    poller.cycle().await;
    session
        .run("UPDATE t SET id = 30, updated_at = now() WHERE id = 3")
        .await;
    poller.compare().await;
    assert_eq!(existing(&poller.store)["t"], ids(&[1, 2, 30]));
    session.run("TRUNCATE t; INSERT INTO t VALUES (7)").await;
    poller.settle().await;
    // The table has another file, which starts a pass: PostgreSQL counts no delete.
    poller.compare_chunk().await.unwrap();
    while poller.is_comparing() {
        poller.compare_chunk().await.unwrap();
    }
    assert_eq!(existing(&poller.store)["t"], ids(&[7]));
}

#[tokio::test]
async fn rows_of_a_dropped_or_detached_partition_are_deletes() {
    let (database, mut poller) = polled(
        "CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, updated_at \
         timestamptz DEFAULT now()) PARTITION BY RANGE (id);
         CREATE INDEX ON t (updated_at);
         CREATE TABLE low PARTITION OF t FOR VALUES FROM (0) TO (10);
         CREATE TABLE middle PARTITION OF t FOR VALUES FROM (10) TO (20);
         CREATE TABLE high PARTITION OF t FOR VALUES FROM (20) TO (30)",
    )
    .await;
    let mut session = Session::of(&database).await;
    session
        .run("INSERT INTO t VALUES (1), (2), (11), (12), (21), (22)")
        .await;
    poller.cycle().await;
    for (sql, left) in [
        ("DROP TABLE low", &[11, 12, 21, 22][..]),
        ("ALTER TABLE t DETACH PARTITION high", &[11, 12]),
    ] {
        session.run(sql).await;
        poller.settle().await;
        poller.compare_chunk().await.unwrap();
        while poller.is_comparing() {
            poller.compare_chunk().await.unwrap();
        }
        assert_eq!(existing(&poller.store)["t"], ids(left), "{sql}");
    }
}

#[tokio::test]
async fn a_table_that_took_the_name_leaves_no_row_of_the_one_before() {
    let (database, mut poller) = polled(TABLE).await;
    let mut session = Session::of(&database).await;
    session.run("INSERT INTO t VALUES (1), (2)").await;
    poller.cycle().await;
    session.run("DROP TABLE t").await;
    session.run(TABLE).await;
    session
        .run("GRANT SELECT ON t TO PUBLIC; INSERT INTO t VALUES (2), (3)")
        .await;
    poller.load_again().await;
    poller.compare().await;
    assert_eq!(existing(&poller.store)["t"], ids(&[2, 3]));
}

#[tokio::test]
async fn a_delete_that_is_not_committed_is_none() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut writer, mut other] = Session::some(&database).await;
    other.run("INSERT INTO t VALUES (1), (2)").await;
    poller.cycle().await;
    writer.run("BEGIN; DELETE FROM t WHERE id = 1").await;
    poller.compare().await;
    assert!(deleted(&poller.store).is_empty());
    writer
        .run("ROLLBACK; BEGIN; DELETE FROM t WHERE id = 2")
        .await;
    poller.compare().await;
    assert!(deleted(&poller.store).is_empty());
    writer.run("COMMIT").await;
    poller.compare().await;
    assert_eq!(deleted(&poller.store), ids(&[2]));
}

/// Types of a key, each with the SQL of four values.
const TYPES: &[(&str, [&str; 4])] = &[
    ("smallint", ["-32768", "-1", "0", "32767"]),
    ("integer", ["-2147483648", "-1", "0", "2147483647"]),
    (
        "bigint",
        ["-9223372036854775808", "-64", "63", "9223372036854775807"],
    ),
    ("oid", ["1", "2", "3", "4294967295"]),
    (
        "uuid",
        [
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            "gen_random_uuid()",
            "gen_random_uuid()",
        ],
    ),
    ("text", ["''", "'a\"b\\c'", "'\u{e9}\u{1f600}'", "E'x\\ny'"]),
    ("varchar(9)", ["'A'", "'a'", "'a '", "'null'"]),
    ("char(5)", ["'a'", "'b'", "'c d'", "''"]),
    ("boolean", ["true", "true", "false", "false"]),
    ("numeric(10,2)", ["-1.50", "0", "7", "99999999.99"]),
    ("numeric", ["-1.50", "0", "7.000", "1e40"]),
    ("numeric(60,5)", ["-1.5", "0", "1e50", "2"]),
    ("real", ["-1.5", "0.1", "'infinity'", "'nan'"]),
    ("double precision", ["-1.5", "0.1", "'-infinity'", "'nan'"]),
    (
        "date",
        [
            "'0044-03-15 BC'",
            "'1969-12-31'",
            "'2026-11-20'",
            "'20000-01-01'",
        ],
    ),
    (
        "timestamp",
        [
            "'0044-03-15 01:02:03.4 BC'",
            "'1969-12-31 23:59:59.999999'",
            "'2026-11-20 12:34:56.000001'",
            "'20000-01-01'",
        ],
    ),
    (
        "timestamptz",
        [
            "'0044-03-15 01:02:03.4 BC'",
            "'1969-12-31 23:59:59.999999'",
            "'2026-03-29 02:30:00+00'",
            "'20000-01-01'",
        ],
    ),
    (
        "time",
        ["'00:00'", "'01:02:03.4'", "'23:59:59.999999'", "'12:00'"],
    ),
    ("bytea", ["''", "'\\x00'", "'\\xff'", "'abc'"]),
    ("interval", ["'1 day'", "'1 month'", "'-3 us'", "'0'"]),
    (
        "inet",
        ["'10.0.0.1'", "'10.0.0.1/8'", "'::1'", "'10.0.0.2'"],
    ),
    ("jsonb", ["'{\"a\": 1}'", "'[]'", "'null'", "'\"x\"'"]),
    ("integer[]", ["'{}'", "'{1,2}'", "'{NULL}'", "'{1}'"]),
    ("mood", ["'sad'", "'ok'", "'so \"so\"'", "'glad'"]),
    ("pair", ["'(1,a)'", "'(1,)'", "'(,)'", "'(2,\"a b\")'"]),
    ("int4range", ["'[1,5)'", "'empty'", "'[1,)'", "'(,5)'"]),
];

#[tokio::test]
async fn deletes_are_exact_for_every_type_of_key() {
    let database = shared_database().await;
    let mut session = Session::of(&database).await;
    session
        .run("CREATE TYPE mood AS ENUM ('sad', 'ok', 'so \"so\"', 'glad'); CREATE TYPE pair AS (a integer, b text)")
        .await;
    let names: Vec<_> = (0..TYPES.len()).map(|at| format!("k{at}")).collect();
    for (name, (sql_type, values)) in names.iter().zip(TYPES) {
        // The second column makes each value a key of its own, and is a key of two columns.
        session
            .run(&format!(
                "CREATE TABLE {name} (pad bigint DEFAULT 0, n integer, id {sql_type}, updated_at \
                 timestamptz DEFAULT now(), PRIMARY KEY (id, n)); CREATE INDEX ON {name} \
                 (updated_at); CREATE TABLE one_{name} (pad bigint DEFAULT 0, n integer, id \
                 {sql_type} PRIMARY KEY, updated_at timestamptz DEFAULT now()); CREATE INDEX ON \
                 one_{name} (updated_at)"
            ))
            .await;
        for (n, value) in values.iter().enumerate() {
            session
                .run(&format!("INSERT INTO {name} (id, n) VALUES ({value}, {n})"))
                .await;
            session
                .run(&format!(
                    "INSERT INTO one_{name} (id, n) SELECT id, n FROM {name} WHERE n = {n} ON CONFLICT DO \
                     NOTHING"
                ))
                .await;
        }
    }
    let singles: Vec<_> = names.iter().map(|name| format!("one_{name}")).collect();
    let tables: Vec<&str> = names.iter().chain(&singles).map(String::as_str).collect();
    let mut settings = settings(&database, &tables).await;
    // Far and infinite values of times are texts here, as a user would set it for such a key.
    for table in &mut settings.config.tables {
        table.impossible_values = inlet_service::config::ImpossibleValues::Text;
    }
    let mut poller = Poller::tailing(settings).await;
    poller.compare().await;
    assert!(
        deleted(&poller.store).is_empty(),
        "{:?}",
        deleted(&poller.store)
    );
    let before = existing(&poller.store);
    for table in &tables {
        session
            .run(&format!("DELETE FROM {table} WHERE n IN (1, 3)"))
            .await;
    }
    poller.compare().await;
    let after = existing(&poller.store);
    for (table, (sql_type, _)) in tables.iter().zip(TYPES.iter().cycle()) {
        let count = format!("SELECT count(*) FROM {table}");
        let left: i64 = session.value(&count).await;
        assert!(left > 0, "{table}");
        assert_eq!(
            after[*table].len(),
            left as usize,
            "{table} {sql_type}: {:?}",
            after[*table]
        );
        let known = |key| before[*table].contains(key);
        assert!(after[*table].iter().all(known), "{table} {sql_type}");
    }
    let deletes = deleted(&poller.store).len();
    poller.restart().await;
    poller.compare().await;
    assert_eq!(deleted(&poller.store).len(), deletes, "each once");
}

#[tokio::test]
async fn a_progress_without_keys_takes_them_from_the_table() {
    let (database, mut poller) = polled(TABLE).await;
    let mut session = Session::of(&database).await;
    session
        .run("INSERT INTO t SELECT i FROM generate_series(1, 10) AS i")
        .await;
    poller.cycle().await;
    poller.heartbeat().await;
    let table = inlet_model::TableName::new("public", "t");
    poller.store.forget(&table, |part| {
        part.starts_with("keys") || part.starts_with("added/") || part == "census"
    });
    poller.restart().await;
    session.run("DELETE FROM t WHERE id = 1").await;
    // This row was deleted before its key was known, and stays. The next one is found.
    poller.compare().await;
    session.run("DELETE FROM t WHERE id = 2").await;
    poller.compare().await;
    poller.compare().await;
    assert_eq!(deleted(&poller.store), ids(&[2]));
}

#[tokio::test]
async fn keys_that_take_too_much_memory_are_left_out_and_said() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let mut settings = settings(&database, &["t"]).await;
    settings.poll.census.memory = 1_000;
    let mut session = Session::of(&database).await;
    session
        .run("INSERT INTO t SELECT i * 100000 FROM generate_series(1, 5000) AS i")
        .await;
    let mut poller = Poller::tailing(settings).await;
    session.run("DELETE FROM t WHERE id = 100000").await;
    poller.compare().await;
    poller.heartbeat().await;
    assert!(deleted(&poller.store).is_empty());
    let progress = poller
        .store
        .progress(&inlet_model::TableName::new("public", "t"));
    assert!(!progress.0.keys().any(|part| part.starts_with("keys")));
    assert!(progress.0["census"].contains("too_large"));
}
