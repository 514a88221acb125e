//! Keys by value: an update that writes the same key with another text leaves one row in the latest
//! state, on both ways and over several kafka_partitions.

use std::fmt::Write as _;

use inlet_harness::shared_database;

use crate::orders::PATIENCE;
use crate::tables::{Copy, WAYS};

/// A table's key: its type, a value, the same value with another text, and another value.
const KEYS: &[(&str, &str, &str, &str, &str)] = &[
    ("citexts", "citext", "Bob", "BOB", "Ann"),
    ("numerics", "numeric", "1.0", "1.00", "1.1"),
    ("intervals", "interval", "1 day", "24:00:00", "2 days"),
    ("caseless", "text COLLATE caseless", "Bob", "BOB", "Ann"),
    (
        "documents",
        "jsonb",
        "{\"a\": 1.0}",
        "{\"a\": 1.00}",
        "{\"a\": 2}",
    ),
    ("floats", "double precision", "0", "-0", "1"),
    ("ranges", "numrange", "[1.0,2.0]", "[1.00,2]", "[1,3]"),
    ("arrays", "numeric[]", "{1.0}", "{1.00}", "{2}"),
    ("blanks", "bpchar", "a", "a  ", "b"),
];

/// What `inlet query` answers, as CSV without a header.
async fn query(copy: &Copy, sql: &str) -> String {
    let finished = copy.run_with("query", &["--csv", sql]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let lines: Vec<_> = finished.stdout.lines().skip(1).collect();
    lines.join("\n")
}

/// The tables of `sql`, captured over several kafka_partitions.
async fn captured(verbs: &[&str], sql: &str, tables: &str) -> Copy {
    let database = shared_database().await;
    database.sql(sql).await.unwrap();
    let tables = format!("tables: {{ {tables} }}\n");
    Copy::of(database, verbs, &tables)
        .await
        .over_five_partitions()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_written_in_another_form_stays_one_row() {
    let mut sql = "CREATE EXTENSION citext; CREATE COLLATION caseless (provider = icu, locale = \
        'und-u-ks-level2', deterministic = false);"
        .to_owned();
    for (table, key, first, _, other) in KEYS {
        write!(
            sql,
            "CREATE TABLE {table} (k {key} PRIMARY KEY, ver integer NOT NULL DEFAULT 1, updated_at \
                timestamptz DEFAULT now()); CREATE INDEX ON {table} (updated_at); INSERT INTO \
                {table} (k) VALUES ('{first}'), ('{other}');"
        )
        .unwrap();
    }
    let tables: Vec<_> = KEYS
        .iter()
        .map(|(table, ..)| format!("{table}: "))
        .collect();
    let tables = tables.join(", ");
    for verbs in WAYS {
        let copy = captured(verbs, &sql, &tables).await;
        let mut services = copy.start(verbs);
        for (table, ..) in KEYS {
            copy.await_rows(table, 2).await;
        }
        let updates: String = KEYS
            .iter()
            .map(|(table, _, first, second, _)| {
                format!(
                    "UPDATE {table} SET k = '{second}', ver = 2, updated_at = now() WHERE k = \
                        '{first}';"
                )
            })
            .collect();
        copy.database.sql(&updates).await.unwrap();
        for (table, ..) in KEYS {
            copy.await_rows(table, 3).await;
            let latest = format!("SELECT ver, count(*) OVER () FROM {table} ORDER BY ver");
            assert_eq!(query(&copy, &latest).await, "1,2\n2,2", "{table}");
        }
        // The column that identifies a row is no column of the table.
        let hidden = "SELECT count(*) FROM (DESCRIBE citexts) WHERE column_name = '_key_k'";
        assert_eq!(query(&copy, hidden).await, "0");
        let history =
            "SELECT string_agg(DISTINCT _key_k, ' ' ORDER BY _key_k) FROM citexts_history";
        assert_eq!(query(&copy, history).await, "ann bob");
        copy.verified().await;
        for service in &mut services {
            service.terminate().unwrap();
            assert!(service.wait_exit(PATIENCE).await.unwrap().success());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_known_by_the_texts_of_its_keys_is_loaded_again_by_their_values() {
    const TABLE: &str = "CREATE EXTENSION citext; CREATE TABLE users (email text PRIMARY KEY, ver \
        integer NOT NULL DEFAULT 1, updated_at timestamptz DEFAULT now()); CREATE INDEX ON users \
        (updated_at); INSERT INTO users (email) VALUES ('Bob'), ('Ann');";
    for verbs in WAYS {
        let copy = captured(verbs, TABLE, "users:").await;
        let mut services = copy.start(verbs);
        copy.await_rows("", 2).await;
        let alter = "ALTER TABLE users ALTER email TYPE citext; UPDATE users SET email = 'BOB', \
            ver = 2, updated_at = now() WHERE email = 'bob'";
        copy.database.sql(alter).await.unwrap();
        services[0]
            .logs("rows are identified in another way", PATIENCE)
            .await;
        copy.await_rows("", 4).await;
        let latest = "SELECT email, ver FROM users ORDER BY ver";
        assert_eq!(query(&copy, latest).await, "Ann,1\nBOB,2");
        copy.verified().await;
        for service in &mut services {
            service.terminate().unwrap();
            assert!(service.wait_exit(PATIENCE).await.unwrap().success());
        }
    }
}
