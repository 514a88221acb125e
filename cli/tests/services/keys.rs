//! Keys by value: an update that writes the same key with another text leaves one row in the latest
//! state, on both ways and over several kafka_partitions.

use std::fmt::Write as _;
use std::fs;

use inlet_harness::{Database, Folder, Inlet, duckdb, eventually, shared_database, shared_kafka};

use crate::orders::{INLET, PATIENCE};

const WAYS: [&[&str]; 2] = [&["run"], &["producer", "consumer"]];

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

struct Pipeline {
    database: Database,
    folder: Folder,
    config: String,
}

impl Pipeline {
    async fn new(verbs: &[&str], sql: &str) -> Self {
        let (database, folder) = (shared_database().await, Folder::new("keys").unwrap());
        database.sql(sql).await.unwrap();
        let mut text = format!(
            "postgres: {{ url: \"{}\", table: \"*\" }}\ndatalake: {{ path: {} }}\nstreaming: {{ \
                flush_interval: 50ms }}\n",
            database.url(),
            folder.join("lake").display()
        );
        if verbs != ["run"] {
            let broker = shared_kafka().await.bootstrap();
            write!(
                text,
                "pipeline: {}\nkafka: {{ brokers: \"{broker}\", partitions: 5 }}\n",
                database.name()
            )
            .unwrap();
        }
        let config = folder.join("inlet.yml").display().to_string();
        fs::write(&config, text).unwrap();
        Self {
            database,
            folder,
            config,
        }
    }

    fn start(&self, verbs: &[&str]) -> Vec<Inlet> {
        verbs
            .iter()
            .map(|verb| Inlet::start(INLET, &[verb, "--config", &self.config], &[]).unwrap())
            .collect()
    }

    async fn await_rows(&self, table: &str, rows: u64) {
        let glob = format!(
            "{}/**/*.parquet",
            self.folder.join("lake").join(table).display()
        );
        let what = format!("{rows} versions of {table} are in the lake");
        eventually(PATIENCE, &what, async || {
            Ok(duckdb::count_glob(&glob).await? == rows)
        })
        .await;
    }

    /// What `inlet query` answers, as CSV without a header.
    async fn query(&self, sql: &str) -> String {
        let arguments = ["query", "--config", &self.config, "--csv", sql];
        let finished = Inlet::run(INLET, &arguments, &[("TZ", "UTC")])
            .await
            .unwrap();
        assert_eq!(finished.code, 0, "{finished:?}");
        let lines: Vec<_> = finished.stdout.lines().skip(1).collect();
        lines.join("\n")
    }

    async fn verified(&self) {
        let arguments = ["verify", "--config", &self.config];
        let finished = Inlet::run(INLET, &arguments, &[]).await.unwrap();
        assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    }
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
    for verbs in WAYS {
        let pipeline = Pipeline::new(verbs, &sql).await;
        let mut services = pipeline.start(verbs);
        for (table, ..) in KEYS {
            pipeline.await_rows(table, 2).await;
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
        pipeline.database.sql(&updates).await.unwrap();
        for (table, ..) in KEYS {
            pipeline.await_rows(table, 3).await;
            let latest = format!("SELECT ver, count(*) OVER () FROM {table} ORDER BY ver");
            assert_eq!(pipeline.query(&latest).await, "1,2\n2,2", "{table}");
        }
        // The column that identifies a row is no column of the table.
        let hidden = "SELECT count(*) FROM (DESCRIBE citexts) WHERE column_name = '_key_k'";
        assert_eq!(pipeline.query(hidden).await, "0");
        let history =
            "SELECT string_agg(DISTINCT _key_k, ' ' ORDER BY _key_k) FROM citexts_history";
        assert_eq!(pipeline.query(history).await, "ann bob");
        pipeline.verified().await;
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
        let pipeline = Pipeline::new(verbs, TABLE).await;
        let mut services = pipeline.start(verbs);
        pipeline.await_rows("users", 2).await;
        let alter = "ALTER TABLE users ALTER email TYPE citext; UPDATE users SET email = 'BOB', \
            ver = 2, updated_at = now() WHERE email = 'bob'";
        pipeline.database.sql(alter).await.unwrap();
        services[0]
            .logs("rows are identified in another way", PATIENCE)
            .await;
        pipeline.await_rows("users", 4).await;
        let latest = "SELECT email, ver FROM users ORDER BY ver";
        assert_eq!(pipeline.query(latest).await, "Ann,1\nBOB,2");
        pipeline.verified().await;
        for service in &mut services {
            service.terminate().unwrap();
            assert!(service.wait_exit(PATIENCE).await.unwrap().success());
        }
    }
}
