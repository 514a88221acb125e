//! `verify`, `query` and `status` over a lake that `run` filled from a real PostgreSQL.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inlet_harness::{
    Database, Finished, Folder, Inlet, duckdb, eventually, judge, shared_database, shared_kafka,
};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_inlet");
const DEADLINE: Duration = Duration::from_secs(60);
const ORDERS: &str =
    "CREATE TABLE orders (order_id bigint PRIMARY KEY, city text, amount numeric(10,2), paid \
        boolean, weight double precision,
    tags jsonb, ref uuid, raw bytea, due date, at time, updated_at timestamptz NOT NULL DEFAULT \
        now());
    CREATE INDEX ON orders (updated_at)";
const ROWS: &str = "INSERT INTO orders
    SELECT n, CASE WHEN n % 7 > 0 THEN 'Tromsø ' || n END, n / 100.0, n % 2 = 0, CASE n % 5 WHEN 0 \
    THEN 'NaN' ELSE sqrt(n) END, jsonb_build_object('n', n),
           md5(n::text)::uuid, decode(md5(n::text), 'hex'), DATE '2026-01-01' + (n % 30)::int, \
    TIME '00:00' + n * INTERVAL '1 s', now() - n * INTERVAL '1 min'
    FROM generate_series(1, 5000) n";

/// A database, a lake, and the configuration of both.
struct Scene {
    database: Database,
    folder: Folder,
}

impl Scene {
    /// A pipeline over one table.
    async fn new(create: &str, table: &str) -> Self {
        let (database, folder) = (shared_database().await, Folder::new("verify").unwrap());
        database.sql(create).await.unwrap();
        // Up to version 14 PostgreSQL counts rows a moment after their COMMIT, and `status` would
        // take what is counted after the load for versions that the load has not seen.
        let counted = "SELECT NOT EXISTS (SELECT FROM pg_stat_user_tables
            WHERE n_tup_ins = 0 AND pg_relation_size(relid) > 0)";
        eventually(DEADLINE, "PostgreSQL has counted the rows", async || {
            Ok(database.rows(counted).await? == [["t"]])
        })
        .await;
        let lake = folder.join("lake");
        let config = format!(
            "postgres:\n  url: \"{}\"\ntables:\n  {table}\ndatalake:\n  path: {}\nstreaming:\n  \
                flush_interval: 100ms\n",
            database.url(),
            lake.display()
        );
        fs::write(folder.join("inlet.yml"), config).unwrap();
        Self { database, folder }
    }

    fn arguments<'a>(&'a self, config: &'a str, verb: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&[verb, "--config", config], more].concat()
    }

    async fn run(&self, verb: &str, more: &[&str]) -> Finished {
        self.run_with(verb, more, &[]).await
    }

    async fn run_with(&self, verb: &str, more: &[&str], env: &[(&str, &str)]) -> Finished {
        let config = self.folder.join("inlet.yml").display().to_string();
        Inlet::run(BINARY, &self.arguments(&config, verb, more), env)
            .await
            .unwrap()
    }

    /// The views show what PostgreSQL does.
    async fn is_equal(&self, table: &str) {
        let config = self.folder.join("inlet.yml").display().to_string();
        judge::equal(BINARY, &config, &self.database, table).await;
    }

    fn start(&self) -> Inlet {
        let config = self.folder.join("inlet.yml").display().to_string();
        Inlet::start(BINARY, &self.arguments(&config, "run", &[]), &[]).unwrap()
    }

    /// Runs the pipeline until the lake holds this many rows, then stops it.
    async fn fill(&self, rows: u64) {
        let mut inlet = self.start();
        self.holds(rows).await;
        inlet.terminate().unwrap();
        assert!(
            inlet.wait_exit(DEADLINE).await.unwrap().success(),
            "{}",
            inlet.stderr().unwrap()
        );
    }

    async fn holds(&self, rows: u64) {
        let glob = self.folder.join("lake/**/*.parquet").display().to_string();
        eventually(DEADLINE, "the lake holds the rows", async || {
            Ok(duckdb::count_glob(&glob).await? == rows)
        })
        .await;
        eventually(DEADLINE, "the load has ended", async || {
            self.look().await["tables"][0]["phase"] == "tailing"
        })
        .await;
    }

    /// What `inlet status` tells programs.
    async fn look(&self) -> Value {
        serde_json::from_str(&self.run("status", &["--json"]).await.stdout).unwrap()
    }

    fn data_file(&self) -> PathBuf {
        let mut folders: Vec<_> = fs::read_dir(self.folder.join("lake"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        folders.sort();
        let dated = folders
            .iter()
            .find(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with("date=")
            })
            .unwrap();
        fs::read_dir(dated).unwrap().next().unwrap().unwrap().path()
    }
}

fn said(finished: &Finished, code: i32, parts: &[&str]) {
    assert_eq!(finished.code, code, "{finished:?}");
    for part in parts {
        assert!(
            finished.stdout.contains(part),
            "`{part}` is not in {finished:?}"
        );
    }
}

/// Writes a program that stands for DuckDB.
fn write_program(path: &Path, script: &str) {
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_filled_lake_is_equal_and_query_and_status_see_it() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    assert_eq!(
        scene.run("verify", &[]).await.stdout,
        "public.orders: equal, 5000 rows\n  files: equal\n  as DuckDB reads it: equal\n"
    );
    said(
        &scene.run("verify", &["--json"]).await,
        0,
        &["\"equal\":true", "\"rows\":5000"],
    );
    scene.is_equal("orders").await;
    said(
        &scene
            .run(
                "query",
                &[
                    "--json",
                    "SELECT count(*) AS n, max(order_id) AS last FROM orders",
                ],
            )
            .await,
        0,
        &["[{\"n\":5000,\"last\":5000}]"],
    );
    said(
        &scene
            .run(
                "query",
                &[
                    "--json",
                    "SELECT count(*) AS n FROM orders_quarantine -- none",
                ],
            )
            .await,
        0,
        &["[{\"n\":0}]"],
    );
    let both = "SELECT count(*) AS n FROM public.orders_history JOIN public.orders USING \
        (order_id) JOIN orders AS o USING (order_id)";
    said(
        &scene.run("query", &["--json", both]).await,
        0,
        &["[{\"n\":5000}]"],
    );
    let wrong = scene.run("query", &["SELECT * FROM nothing"]).await;
    said(&wrong, 1, &[]);
    assert!(wrong.stderr.contains("nothing"), "{wrong:?}");
    let status = scene.run("status", &[]).await;
    said(
        &status,
        0,
        &[
            "Freshness: 0.0 s, nothing waits that polls or PostgreSQL's counters show; no service is \
             running.\n",
            "public.orders  0.0 s      nothing ",
            "  5,000  ",
            " ago\n",
        ],
    );
    said(
        &scene.run("status", &["--json"]).await,
        0,
        &["\"rows\":5000", "\"offsets\":{\"0\":5000}"],
    );
}

#[tokio::test]
async fn a_table_that_was_loaded_again_has_no_duplicates() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    let mut inlet = scene.start();
    said(&scene.run("reload", &["orders"]).await, 0, &[]);
    scene.holds(10_000).await;
    assert_eq!(
        scene.run("verify", &[]).await.stdout,
        "public.orders: equal, 5000 rows\n  files: equal\n  as DuckDB reads it: equal\n"
    );
    inlet.terminate().unwrap();
    inlet.wait_exit(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn updates_are_versions_of_one_row() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    scene
        .database
        .sql("UPDATE orders SET city = 'Oslo', updated_at = now() WHERE order_id <= 10")
        .await
        .unwrap();
    scene.fill(5010).await;
    said(
        &scene.run("verify", &[]).await,
        0,
        &["public.orders: equal, 5000 rows\n"],
    );
    scene.is_equal("orders").await;
    let sql = "SELECT (SELECT count(*) FROM orders) AS latest, (SELECT count(*) FROM \
        orders_history) AS versions, (SELECT count(*) FROM orders WHERE city = 'Oslo') AS oslo";
    said(
        &scene.run("query", &["--json", sql]).await,
        0,
        &["[{\"latest\":5000,\"versions\":5010,\"oslo\":10}]"],
    );
    said(
        &scene.run("status", &["--json"]).await,
        0,
        &["\"rows\":5010", "\"phase\":\"tailing\""],
    );
}

#[tokio::test]
async fn a_row_that_changed_behind_a_stopped_pipeline_is_named_with_its_column() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    scene
        .database
        .sql(
            "UPDATE orders SET amount = 7.25 WHERE order_id = 42; INSERT INTO orders VALUES (6000)",
        )
        .await
        .unwrap();
    let expected = [
        "public.orders: different, 5001 rows, 1 missing in the lake, 1 with other values\n",
        "missing in the lake: {\"order_id\":6000}\n",
        "other values: {\"order_id\":42}: amount is `7.25` in PostgreSQL, `0.42` in the lake\n",
    ];
    said(&scene.run("verify", &[]).await, 3, &expected);
}

#[tokio::test]
async fn a_file_of_another_program_is_named_and_not_compared() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    let file = scene.data_file();
    let copy = file.with_file_name("copy.parquet");
    fs::copy(&file, &copy).unwrap();
    let expected = format!(
        "public.orders: different, 5000 rows\n  files: different\n    foreign file: `{}`: the log \
         does not name it, and readers of the folder read it; move it away\n",
        copy.display()
    );
    said(&scene.run("verify", &[]).await, 3, &[&expected]);
    // DuckDB compresses with Snappy, which Inlet does not read.
    let sql = format!("COPY (SELECT 1 AS order_id) TO '{}'", copy.display());
    duckdb::query(&sql).await.unwrap();
    let found = scene.run("verify", &[]).await;
    said(&found, 3, &["foreign file: "]);
    assert!(!format!("{found:?}").contains("compile"), "{found:?}");
    fs::remove_file(&copy).unwrap();
    said(&scene.run("verify", &[]).await, 0, &["  files: equal\n"]);
}

#[tokio::test]
async fn a_deleted_and_a_damaged_file_are_named_with_what_to_do() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    let file = scene.data_file();
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let damaged = format!("    damaged file: `{}`: it has ", file.display());
    let more = ["--timeout", "0"];
    let found = scene.run("verify", &more).await;
    said(
        &found,
        3,
        &[&damaged, "restore it from a copy", " missing in the lake"],
    );
    assert!(!format!("{found:?}").contains("compile"), "{found:?}");
    fs::remove_file(&file).unwrap();
    let missing = format!("    missing file: `{}`: it was committed, ", file.display());
    said(&scene.run("verify", &more).await, 3, &[&missing]);
    fs::write(&file, &bytes).unwrap();
    said(&scene.run("verify", &more).await, 0, &["  files: equal\n"]);
}

#[tokio::test]
async fn every_type_is_one_value_to_postgresql_and_to_duckdb() {
    let columns = "id int, b bool, i2 smallint, i4 int, i8 bigint, o oid, f4 real, f8 double \
        precision, n10 numeric(10,2), n38 numeric(38,10), nz numeric(5,5), nt numeric(5,0), \
        n50 numeric(50,20), n numeric, t text, v varchar(20), c char(5), j json, jb jsonb, u uuid, \
        x bytea, d date, ti time, ts timestamp, tz timestamptz, la int[], lt text[], lc char(3)[], \
        ln numeric(10,2)[], lz timestamptz[], lf float8[], ip inet, mo money, iv interval, \
        at timestamptz NOT NULL DEFAULT now()";
    let rows = "(1, true, -32768, -2147483648, -9223372036854775808, 4294967295, 1.17549435e-38, \
        2.2250738585072014e-308, -0.05, -1234567890123456789012345678.0123456789, 0.00123, 12345, \
        -123456789012345678901234567890.00000000000000000001, 1e-30, E'a,b\\n\\t\\u00e9', '', 'ab', \
        '{\"b\": [1,  2]}', '{\"a\": 1.50}', 'ABABABAB-0000-0000-0000-000000000001', '\\x00ff', \
        '0001-01-01', '23:59:59.999999', '0001-01-01 00:00:00.000001', '9999-12-31 23:59:59.999999Z', \
        '{1,NULL,-3}', '{\"a,b\",NULL,\"\"}', '{a,bcd}', '{0.10,NULL}', '{2026-01-01 00:00:00Z}', \
        '{1.5,-0,NaN}', '10.0.0.1', 5.5, '1 day 2 hours'), \
        (2, false, 32767, 2147483647, 9223372036854775807, 0, 'Infinity', '-Infinity', 0.5, 0, \
        -0.00999, -99900, 0.5, 12345678901234567890123456789012345678901234567890, 'N', '1:N', '', \
        '\"x\"', 'null', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '', '9999-12-31', '00:00:00', \
        '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999Z', '{}', '{}', '{}', '{}', '{}', \
        '{}', '::1/64', -1, '-1 mon'), \
        (3, NULL, NULL, NULL, NULL, NULL, 'NaN', '-0', NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
        NULL, NULL, NULL, NULL)";
    let create = format!(
        "CREATE TABLE wide ({columns}, PRIMARY KEY (id)); CREATE INDEX ON wide (at); INSERT INTO \
         wide VALUES {rows}"
    );
    let scene = Scene::new(&create, "wide: {}").await;
    scene.fill(3).await;
    assert_eq!(
        scene.run("verify", &[]).await.stdout,
        "public.wide: equal, 3 rows\n  files: equal\n  as DuckDB reads it: equal\n"
    );
}

#[tokio::test]
async fn a_value_that_a_reader_gets_rounded_is_a_difference_of_the_reader_alone() {
    let create = "CREATE TABLE t (id int PRIMARY KEY, amount numeric(38,0), at timestamptz NOT \
        NULL DEFAULT now()); CREATE INDEX ON t (at); INSERT INTO t VALUES (1, 2), (2, 3)";
    let scene = Scene::new(create, "t: {}").await;
    scene.fill(2).await;
    said(
        &scene.run("verify", &[]).await,
        0,
        &["as DuckDB reads it: equal\n"],
    );
    // A reader that makes other values of the same files.
    let wrapper = scene.folder.join("rounding");
    let other = "ALTER VIEW latest RENAME TO before; CREATE TEMP VIEW latest AS SELECT * REPLACE \
        ((amount + 1)::DECIMAL(38, 0) AS amount) FROM before;";
    let script = format!(
        "#!/bin/sh\nsed 's/^-- What a reader gets:$/{other}/' | exec {} \"$@\"\n",
        duckdb::program().unwrap().display()
    );
    write_program(&wrapper, &script);
    let found = scene
        .run_with(
            "verify",
            &[],
            &[("INLET_DUCKDB", wrapper.to_str().unwrap())],
        )
        .await;
    let expected = [
        "public.t: different, 2 rows\n  files: equal\n  as DuckDB reads it: different, 2 with other \
         values\n",
        "    other values: {\"id\":1}: amount is `2` in PostgreSQL, `3` in the lake\n",
    ];
    said(&found, 3, &expected);
}

#[tokio::test]
async fn without_duckdb_only_the_files_are_compared_and_the_report_states_it() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    let nowhere = [("INLET_DUCKDB", "/nowhere/duckdb")];
    let found = scene.run_with("verify", &[], &nowhere).await;
    let expected = "public.orders: equal, 5000 rows\n  files: equal\n  as DuckDB reads it: not \
        compared, because DuckDB is not installed (pip install duckdb-cli)\n";
    said(&found, 0, &[expected]);
}

#[tokio::test]
async fn a_key_that_changed_is_not_called_deleted() {
    let create = "CREATE TABLE t (a int, b int, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY \
        (a)); CREATE INDEX ON t (at); INSERT INTO t VALUES (1, 1), (2, 2)";
    let scene = Scene::new(create, "t: {}").await;
    scene.fill(2).await;
    let change = "ALTER TABLE t DROP CONSTRAINT t_pkey; UPDATE t SET b = 10, at = now() WHERE a = 1; \
        ALTER TABLE t ADD PRIMARY KEY (a, b)";
    scene.database.sql(change).await.unwrap();
    let mut inlet = scene.start();
    eventually(
        DEADLINE,
        "the rows under the new key are in the lake",
        async || {
            let found = scene.run("verify", &["--timeout", "0"]).await.stdout;
            Ok(found.contains("under an earlier key: {\"a\":1,\"b\":1}")
                && !found.contains("missing in the lake"))
        },
    )
    .await;
    let found = scene.run("verify", &[]).await;
    let expected = [
        "1 only in the lake, under an earlier key (the key was (a integer) and is (a integer, b \
         integer))\n",
        "only in the lake, under an earlier key: {\"a\":1,\"b\":1}\n",
    ];
    said(&found, 3, &expected);
    assert!(!found.stdout.contains("deleted in PostgreSQL"), "{found:?}");
    inlet.terminate().unwrap();
    inlet.wait_exit(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_moment_that_differs_is_shown_on_both_sides() {
    let create = "CREATE TABLE t (id int PRIMARY KEY, at timestamptz NOT NULL, seen timestamptz[], \
        ref uuid); CREATE INDEX ON t (at); INSERT INTO t VALUES (1, '2026-01-01 00:00:00Z', \
        '{2026-01-01 00:00:00Z}', 'abababab-abab-abab-abab-abababababab')";
    let scene = Scene::new(create, "t: {}").await;
    scene.fill(1).await;
    let change = "UPDATE t SET at = '2025-01-01 00:00:00.5Z', seen = '{2025-01-01 00:00:00Z}', ref = \
        NULL";
    scene.database.sql(change).await.unwrap();
    let expected = "  other values: {\"id\":1}: at is `2025-01-01T00:00:00.500Z` in PostgreSQL, \
        `2026-01-01T00:00:00Z` in the lake; seen is `[2025-01-01T00:00:00]` in PostgreSQL, \
        `[2026-01-01T00:00:00]` in the lake; ref is null in PostgreSQL, \
        `abababab-abab-abab-abab-abababababab` in the lake\n";
    said(
        &scene.run("verify", &["--timeout", "0"]).await,
        3,
        &[expected],
    );
}

#[tokio::test]
async fn a_row_that_was_deleted_in_postgresql_is_reported_as_only_in_the_lake() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    scene
        .database
        .sql("DELETE FROM orders WHERE order_id = 42")
        .await
        .unwrap();
    said(
        &scene.run("verify", &[]).await,
        3,
        &[
            "4999 rows, 1 only in the lake",
            "only in the lake: {\"order_id\":42}\n",
        ],
    );
}

#[tokio::test]
async fn rejected_rows_are_accounted_for() {
    let table = "orders:\n    rules: [\"amount >= 1\"]";
    let scene = Scene::new(
        &format!(
            "{ORDERS}; {ROWS}; INSERT INTO orders (order_id, amount, due) VALUES \
            (6000, 3, 'infinity')"
        ),
        table,
    )
    .await;
    scene.fill(4901).await;
    said(
        &scene.run("verify", &[]).await,
        0,
        &["public.orders: equal, 5001 rows, 100 in quarantine\n"],
    );
    said(
        &scene
            .run(
                "query",
                &["--json", "SELECT count(*) AS n FROM orders_quarantine"],
            )
            .await,
        0,
        &["[{\"n\":100}]"],
    );
}

#[tokio::test]
async fn rows_without_a_key_are_counted() {
    let scene = Scene::new(
        "CREATE TABLE events (what text, at timestamptz NOT NULL DEFAULT now())",
        "events: {}",
    )
    .await;
    // While a transaction runs, a snapshot does not tell of later ones whether they belong to it.
    let mut running = scene.database.connect().await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()")
        .execute(&mut running)
        .await
        .unwrap();
    scene
        .database
        .sql(
            "INSERT INTO events SELECT 'same' FROM generate_series(1, 50); INSERT INTO \
        events SELECT 'n' || n FROM generate_series(1, 50) n",
        )
        .await
        .unwrap();
    scene.fill(100).await;
    said(
        &scene.run("verify", &[]).await,
        0,
        &["public.events: equal, 100 rows\n"],
    );
    said(
        &scene.run("verify", &[]).await,
        0,
        &["  files: equal\n  as DuckDB reads it: equal\n"],
    );
    scene
        .database
        .sql("DELETE FROM events WHERE what = 'same'")
        .await
        .unwrap();
    said(
        &scene.run("verify", &[]).await,
        3,
        &["50 rows, 50 only in the lake"],
    );
}

#[tokio::test]
async fn a_table_that_is_written_to_is_compared_as_of_one_moment() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    let inlet = scene.start();
    scene.holds(5000).await;
    let write = async {
        for n in 0..200 {
            let sql = format!(
                "UPDATE orders SET city = 'round {n}', updated_at = now() WHERE order_id % 50 = \
                    {n} % 50; INSERT INTO orders (order_id) VALUES ({})",
                10_000 + n
            );
            scene.database.sql(&sql).await.unwrap();
        }
    };
    let ((), during) = tokio::join!(write, scene.run("verify", &[]));
    said(&during, 0, &["public.orders: equal, "]);
    said(
        &scene.run("verify", &[]).await,
        0,
        &["public.orders: equal, 5200 rows\n"],
    );
    drop(inlet);
}

#[tokio::test]
async fn status_tells_how_far_the_lake_is_behind_the_topic() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    let broker = |brokers: &str| {
        let kafka = format!("kafka:\n  brokers: \"{brokers}\"\n  topic: behind\n  partitions: 3\n");
        let config = fs::read_to_string(scene.folder.join("inlet.yml")).unwrap();
        let config = config.split("kafka:").next().unwrap().to_owned() + &kafka;
        fs::write(scene.folder.join("inlet.yml"), config).unwrap();
    };
    broker(&shared_kafka().await.bootstrap());
    scene.fill(5000).await;
    said(
        &scene.run("status", &[]).await,
        0,
        &["public.orders  0.0 s      nothing "],
    );
    said(
        &scene.run("verify", &[]).await,
        0,
        &["public.orders: equal, 5000 rows\n"],
    );
    scene
        .database
        .sql("INSERT INTO orders (order_id) SELECT n FROM generate_series(6001, 6010) n")
        .await
        .unwrap();
    let config = scene.folder.join("inlet.yml").display().to_string();
    let producer = Inlet::start(BINARY, &scene.arguments(&config, "producer", &[]), &[]).unwrap();
    eventually(DEADLINE, "ten rows are behind", async || {
        let status = scene.look().await;
        // Markers of transactions are counted with the rows before them.
        Ok(status["tables"][0]["lag_rows"].as_u64() >= Some(10)
            && status["bottleneck"] == "consumer")
    })
    .await;
    drop(producer);
    said(
        &scene.run("status", &[]).await,
        0,
        &[
            "public.orders is behind PostgreSQL: ",
            " rows wait in Kafka for `inlet consumer`, which is not running.",
            " in Kafka ",
        ],
    );
    broker("127.0.0.1:1");
    said(
        &scene.run("status", &[]).await,
        0,
        &[
            "Freshness: unknown, see below.",
            "public.orders: Kafka cannot be read: ",
            "  5,000  ",
        ],
    );
}

/// A pipeline through Kafka whose topic was filled, with the lake, and then deleted.
async fn with_a_deleted_topic(topic: &str) -> (Scene, String) {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    let kafka = shared_kafka().await;
    let path = scene.folder.join("inlet.yml");
    let config = fs::read_to_string(&path).unwrap();
    let section = format!(
        "kafka:\n  brokers: \"{}\"\n  topic: {topic}\n",
        kafka.bootstrap()
    );
    fs::write(&path, config + &section).unwrap();
    scene.fill(5000).await;
    kafka.delete_topic(topic).await.unwrap();
    (scene, path.display().to_string())
}

/// Lets the producer create the topic again, with these new rows in it.
async fn publish_again(scene: &Scene, config: &str, rows: std::ops::Range<u32>) {
    let mut producer =
        Inlet::start(BINARY, &scene.arguments(config, "producer", &[]), &[]).unwrap();
    let warned = async || Ok(producer.stderr()?.contains("deleted and is created again"));
    eventually(DEADLINE, "the producer warns of the deleted topic", warned).await;
    assert!(producer.stderr().unwrap().contains("WARN"));
    let sql = format!(
        "INSERT INTO orders (order_id) SELECT n FROM generate_series({}, {}) n",
        rows.start,
        rows.end - 1
    );
    scene.database.sql(&sql).await.unwrap();
    let published = async || {
        let waiting = &scene.look().await["tables"][0]["waiting_rows"];
        Ok(*waiting == 0)
    };
    eventually(DEADLINE, "the new rows are published", published).await;
    producer.terminate().unwrap();
    producer.wait_exit(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn status_claims_no_freshness_when_the_topic_was_created_again() {
    let (scene, config) = with_a_deleted_topic("created_again").await;
    publish_again(&scene, &config, 6000..6005).await;
    let status = scene.run("status", &[]).await;
    said(
        &status,
        0,
        &[
            "Freshness: unknown, see below.",
            "public.orders  unknown ",
            "public.orders: the lake lacks rows that its topic does not have: kafka_partition 0 of \
             topic `created_again` has offsets 0..",
            ", the lake waits for offset 5000; the topic was deleted and created again",
        ],
    );
    let look = scene.look().await;
    assert_eq!(look["freshness_seconds"], Value::Null, "{look}");
    assert_eq!(look["tables"][0]["lag_rows"], Value::Null, "{look}");
}

#[tokio::test]
async fn status_claims_no_freshness_when_the_topic_that_was_created_again_has_grown_further() {
    let (scene, config) = with_a_deleted_topic("grown_again").await;
    publish_again(&scene, &config, 6000..12_000).await;
    let expected = "the lake lacks rows that its topic does not have: kafka_partition 0 of topic \
        `grown_again` has another record before offset 5000 than the lake has read there; the topic \
        was deleted and created again";
    said(
        &scene.run("status", &[]).await,
        0,
        &["Freshness: unknown, see below.", expected],
    );
    let found = scene.run("check", &[]).await;
    said(&found, 1, &["has another record before offset 5000"]);
    let mut consumer =
        Inlet::start(BINARY, &scene.arguments(&config, "consumer", &[]), &[]).unwrap();
    let code = consumer.wait_exit(DEADLINE).await.unwrap().code();
    assert_eq!(code, Some(1), "{}", consumer.stderr().unwrap());
}

#[tokio::test]
async fn status_counts_what_the_next_poll_would_find_and_nothing_else() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    let status = scene.look().await;
    assert_eq!(
        (&status["freshness_seconds"], &status["bottleneck"]),
        (&json!(0.0), &Value::Null),
        "{status}"
    );
    scene
        .database
        .sql(
            "INSERT INTO orders (order_id) VALUES (6001), (6002); UPDATE orders SET city = \
            'Oslo', updated_at = now() WHERE order_id = 7",
        )
        .await
        .unwrap();
    let status = scene.look().await;
    assert_eq!(
        (&status["tables"][0]["waiting_rows"], &status["bottleneck"]),
        (&json!(3), &json!("run")),
        "{status}"
    );
    assert!(status["freshness_seconds"].as_f64() > Some(0.0), "{status}");
    said(
        &scene.run("status", &[]).await,
        0,
        &[
            "public.orders is behind PostgreSQL: 3 rows wait in PostgreSQL for `inlet run`, which is not \
          running.",
        ],
    );
    scene.fill(5003).await;
    assert_eq!(scene.look().await["tables"][0]["waiting_rows"], 0);
}

#[tokio::test]
async fn status_goes_on_without_postgresql_and_watches_until_it_is_stopped() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    let config = scene.folder.join("inlet.yml").display().to_string();
    let mut watching = Inlet::start(
        BINARY,
        &scene.arguments(&config, "status", &["--json", "--watch=1"]),
        &[],
    )
    .unwrap();
    eventually(DEADLINE, "two looks are shown", async || {
        Ok(watching.stdout()?.lines().count() >= 2)
    })
    .await;
    watching.terminate().unwrap();
    assert!(watching.wait_exit(DEADLINE).await.unwrap().success());
    let moved = fs::read_to_string(&config).unwrap().replace(
        scene.database.url().split('@').nth(1).unwrap(),
        "127.0.0.1:1/nowhere",
    );
    fs::write(&config, moved).unwrap();
    said(
        &scene.run("status", &[]).await,
        0,
        &[
            "Freshness: unknown, see below.",
            "public.orders: PostgreSQL cannot be read: ",
            "  5,000  ",
        ],
    );
}

#[tokio::test]
async fn a_terminal_shows_how_far_it_is_and_a_pipe_does_not() {
    let create = "CREATE TABLE orders (order_id bigint PRIMARY KEY, updated_at timestamptz NOT \
        NULL DEFAULT now()); CREATE INDEX ON orders (updated_at)";
    let scene = Scene::new(
        &format!("{create}; INSERT INTO orders SELECT generate_series(1, 2500000)"),
        "orders: {}",
    )
    .await;
    scene.fill(2_500_000).await;
    let verify = format!(
        "{BINARY} verify --config {}",
        scene.folder.join("inlet.yml").display()
    );
    let on_terminal = Inlet::run(
        "script",
        &["--quiet", "--return", "--command", &verify, "/dev/null"],
        &[("TERM", "xterm")],
    )
    .await
    .unwrap();
    said(
        &on_terminal,
        0,
        &[
            "verify public.orders  █",
            " of about 2,5",
            " rows/s, ",
            "public.orders: equal, 2500000 rows",
        ],
    );
    assert_eq!(scene.run("verify", &[]).await.stderr, "");
}

#[tokio::test]
async fn a_statement_comes_from_a_file_and_its_answer_in_any_format() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    let file = scene.folder.join("ask.sql").display().to_string();
    fs::write(&file, "SELECT count(*) AS n -- all of them\nFROM orders;\n").unwrap();
    for (format, expected) in [("csv", "n\n5000\n"), ("json", "[{\"n\":5000}]\n")] {
        let found = scene.run("query", &["-f", &file, "--format", format]).await;
        assert_eq!(
            (found.code, found.stdout.as_str()),
            (0, expected),
            "{found:?}"
        );
    }
    // The answer is a file, which goes to another program.
    let answer = scene.folder.join("answer.parquet").display().to_string();
    let config = scene.folder.join("inlet.yml").display().to_string();
    let command = format!(
        "{BINARY} query --config {config} --format parquet 'SELECT order_id FROM orders' > {answer}"
    );
    let written = Inlet::run("/bin/sh", &["-c", &command], &[]).await.unwrap();
    assert_eq!(written.code, 0, "{written:?}");
    let count = format!("SELECT count(*), max(order_id) FROM '{answer}'");
    assert_eq!(duckdb::query(&count).await.unwrap(), [["5000", "5000"]]);

    let nothing = scene.run("query", &[]).await;
    assert_eq!(nothing.code, 2, "{nothing:?}");
    assert!(
        nothing.stderr.contains("a statement is missing"),
        "{nothing:?}"
    );
    let missing = scene.run("query", &["-f", "no/such.sql"]).await;
    assert!(
        missing.code == 1 && missing.stderr.contains("`no/such.sql`"),
        "{missing:?}"
    );
}

#[tokio::test]
async fn without_a_statement_duckdb_starts_on_a_terminal_with_the_views() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    let config = scene.folder.join("inlet.yml").display().to_string();
    // DuckDB asks the terminal for its colours before it reads, so another program stands for it:
    // one that runs the same first statements, and then a question.
    let program = scene.folder.join("duckdb").display().to_string();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = -init ] && [ -t 0 ] && {{ cat \"$2\"; echo 'SELECT count(*) + 37 AS n FROM \
         public.orders;'; }} | {} -batch -bail\n",
        duckdb::program().unwrap().display()
    );
    write_program(Path::new(&program), &script);
    let query = format!("{BINARY} query --config {config}");
    let found = Inlet::run(
        "script",
        &["--quiet", "--return", "--command", &query, "/dev/null"],
        &[("INLET_DUCKDB", &program)],
    )
    .await
    .unwrap();
    assert!(found.stdout.contains("5037"), "{found:?}");
}

#[tokio::test]
async fn a_query_reads_the_files_of_the_log_alone() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    let file = scene.data_file();
    fs::copy(&file, file.with_file_name("copy.parquet")).unwrap();
    // The log does not name it, so a query does not read it.
    let count = "SELECT count(*) AS n FROM orders_history";
    said(
        &scene.run("query", &["--json", count]).await,
        0,
        &["[{\"n\":5000}]"],
    );
    fs::remove_file(&file).unwrap();
    let fewer = scene.run("query", &["--json", count]).await;
    assert!(
        fewer.code == 0 && fewer.stderr.contains("files of the lake are missing"),
        "{fewer:?}"
    );
}

#[tokio::test]
async fn views_show_what_arrives_after_they_were_printed() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    scene.fill(5000).await;
    let views = scene.run("views", &[]).await.stdout;
    scene
        .database
        .sql("UPDATE orders SET city = 'Oslo', updated_at = now() WHERE order_id <= 10")
        .await
        .unwrap();
    scene.fill(5010).await;
    let asked = "SELECT count(*), count(*) FILTER (city = 'Oslo') FROM orders; SELECT count(*) FROM \
                 public.orders_history; SELECT count(*) FROM orders_quarantine";
    for version in duckdb::Version::ALL {
        let found = duckdb::query_by(version, &format!("{views}{asked}")).await;
        assert_eq!(
            found.unwrap(),
            [vec!["5000", "10"], vec!["5010"], vec!["0"]],
            "{version:?}"
        );
    }
    let unknown = scene.run("views", &["customers"]).await;
    assert!(
        unknown.code == 78
            && unknown
                .stderr
                .contains("`customers` is not in the configuration"),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn without_duckdb_the_line_to_type_is_shown() {
    let scene = Scene::new(ORDERS, "orders: {}").await;
    let config = scene.folder.join("inlet.yml").display().to_string();
    let empty = scene.folder.display().to_string();
    let arguments = scene.arguments(&config, "query", &["SELECT count(*) FROM orders"]);
    let finished = Inlet::run(
        BINARY,
        &arguments,
        &[("PATH", &empty), ("INLET_CACHE", &empty)],
    )
    .await
    .unwrap();
    said(&finished, 1, &[]);
    for part in [
        "duckdb -c \"CREATE OR REPLACE VIEW \\\"orders\\\" AS",
        "SELECT count(*) FROM orders\n;\"",
        "pip install duckdb-cli",
    ] {
        assert!(finished.stderr.contains(part), "{finished:?}");
    }
}

#[tokio::test]
async fn an_unknown_table_is_a_question_of_configuration() {
    let scene = Scene::new(ORDERS, "orders: {}").await;
    let finished = scene.run("verify", &["customers"]).await;
    said(&finished, 78, &[]);
    assert!(
        finished
            .stderr
            .contains("table `customers` is not in the configuration; it has orders"),
        "{finished:?}"
    );
}

/// Runs the pipeline until the lake holds this many rows, and the progress has a base for what
/// PostgreSQL counts from there on; then stops it.
async fn settled(scene: &Scene, rows: u64) {
    let mut inlet = scene.start();
    scene.holds(rows).await;
    eventually(DEADLINE, "counters have a base", async || {
        let table = &scene.look().await["tables"][0];
        Ok(table["hidden_versions"] == 0 && table["hidden_deletes"] == 0)
    })
    .await;
    inlet.terminate().unwrap();
    assert!(inlet.wait_exit(DEADLINE).await.unwrap().success());
}

#[tokio::test]
async fn status_claims_no_freshness_while_an_update_is_hidden_from_polls() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    settled(&scene, 5000).await;
    let update = "UPDATE orders SET city = 'Oslo' WHERE order_id BETWEEN 101 AND 400";
    scene.database.sql(update).await.unwrap();
    eventually(DEADLINE, "the updates are counted", async || {
        let table = &scene.look().await["tables"][0];
        Ok(table["hidden_versions"] == 300 && table["waiting_rows"] == 0)
    })
    .await;
    said(
        &scene.run("status", &["--max-lag", "1ms"]).await,
        1,
        &[
            "Freshness: at most ",
            ": up to 300 versions of public.orders may wait in PostgreSQL where no poll sees them, \
             until a sweep.",
            "public.orders: up to 300 versions that no poll sees since the sweep ",
            "; the next sweep comes in ",
        ],
    );
    // The service finds them long before the next sweep by the clock.
    scene.fill(5300).await;
    let table = &scene.look().await["tables"][0];
    assert_eq!(table["hidden_versions"], 0, "{table}");
}

#[tokio::test]
async fn status_claims_no_freshness_while_deletes_are_not_found() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    settled(&scene, 5000).await;
    let delete = "DELETE FROM orders WHERE order_id > 4900";
    scene.database.sql(delete).await.unwrap();
    eventually(DEADLINE, "the deletes are counted", async || {
        Ok(scene.look().await["tables"][0]["hidden_deletes"] == 100)
    })
    .await;
    said(
        &scene.run("status", &["--max-lag", "1ms"]).await,
        1,
        &[
            ": up to 100 deletes of public.orders are not found yet.",
            "public.orders: up to 100 deletes not found yet, since the comparison of keys ",
        ],
    );
}

#[tokio::test]
async fn status_shows_missing_files_and_which_services_run() {
    let scene = Scene::new(&format!("{ORDERS}; {ROWS}"), "orders: {}").await;
    let mut inlet = scene.start();
    scene.holds(5000).await;
    said(
        &scene.run("status", &["--max-lag", "1h"]).await,
        0,
        &["Services: `inlet run` is running.\n"],
    );
    inlet.terminate().unwrap();
    inlet.wait_exit(DEADLINE).await.unwrap();
    said(
        &scene.run("status", &["--max-lag", "1h"]).await,
        0,
        &[
            "counters show; no service is running.\n",
            "Services: `inlet run` is not running.\n",
        ],
    );
    fs::remove_file(scene.data_file()).unwrap();
    said(
        &scene.run("status", &["--max-lag", "1h"]).await,
        1,
        &[
            "Freshness: unknown, see below.",
            "public.orders: 1 committed file with ",
            " are missing in its folder, such as ",
        ],
    );
    assert_eq!(scene.look().await["tables"][0]["missing_files"], 1);
}

fn table<'a>(status: &'a Value, name: &str) -> &'a Value {
    let tables = status["tables"].as_array().unwrap();
    let is_it = |table: &&Value| table["table"].as_str().unwrap().ends_with(name);
    tables.iter().find(is_it).unwrap()
}

#[tokio::test]
async fn status_counts_a_topic_that_the_lake_has_not_begun_and_passes_over_an_empty_table() {
    let create = format!(
        "{ORDERS}; {ROWS}; CREATE TABLE nothing (id bigint PRIMARY KEY, updated_at timestamptz); \
         CREATE INDEX ON nothing (updated_at)"
    );
    let scene = Scene::new(&create, "orders: {}\n  nothing: {}").await;
    let kafka = shared_kafka().await;
    let path = scene.folder.join("inlet.yml");
    let config = fs::read_to_string(&path).unwrap();
    let section = format!(
        "pipeline: {}\nkafka:\n  brokers: \"{}\"\n",
        scene.folder.file_name().unwrap().to_str().unwrap(),
        kafka.bootstrap()
    );
    fs::write(&path, config + &section).unwrap();
    let config = path.display().to_string();
    let mut producer =
        Inlet::start(BINARY, &scene.arguments(&config, "producer", &[]), &[]).unwrap();
    eventually(DEADLINE, "the topic is ahead of the lake", async || {
        let status = scene.look().await;
        Ok(table(&status, "orders")["lag_rows"].as_u64() >= Some(5000)
            && table(&status, "nothing")["phase"] == "tailing")
    })
    .await;
    said(
        &scene.run("status", &["--max-lag", "1ms"]).await,
        1,
        &[
            "public.orders is behind PostgreSQL: 5,0",
            " rows wait in Kafka for `inlet consumer`, which is not running.",
            "Services: `inlet producer` is running, `inlet consumer` is not running.",
        ],
    );
    producer.terminate().unwrap();
    producer.wait_exit(DEADLINE).await.unwrap();
    scene.fill(5000).await;
    let status = scene.look().await;
    assert!(status["freshness_seconds"].is_number(), "{status}");
    let empty = table(&status, "nothing");
    assert_eq!(empty["rows"], Value::Null, "the lake has no log: {status}");
    assert_eq!(empty["freshness_seconds"], 0.0, "{status}");
}

/// Dates that are older than `keep` leave while a service runs: `verify` knows them, and still
/// finds what is missing without that reason.
#[tokio::test]
async fn rows_of_dates_that_left_are_known_and_others_are_still_missed() {
    let create = "CREATE TABLE visits (visit_id int PRIMARY KEY, place text, created_at \
        timestamptz NOT NULL);
        CREATE INDEX ON visits (created_at);
        INSERT INTO visits SELECT n, 'place ' || n, now() - n * INTERVAL '7 days' FROM \
        generate_series(0, 8) n;
        INSERT INTO visits SELECT n, 'place ' || n, now() FROM generate_series(60, 99) n";
    let scene = Scene::new(create, "visits:\n    keep: 30d").await;
    let path = scene.folder.join("inlet.yml");
    let config = fs::read_to_string(&path).unwrap();
    let config = config
        .replace("datalake:\n", "datalake:\n  compaction_interval: 200ms\n")
        .replace("streaming:\n", "streaming:\n  sweep_interval: 1s\n");
    fs::write(&path, config).unwrap();
    let config = path.display().to_string();
    let mut run = Inlet::start(BINARY, &scene.arguments(&config, "run", &[]), &[]).unwrap();
    let lake = async |verb: &str, more: &[&str]| {
        let arguments = [&["lake", verb, "--config", &config], more].concat();
        Inlet::run(BINARY, &arguments, &[]).await.unwrap()
    };
    // Four weeks ago is kept, also when the day changes during the test.
    let stay = 45;
    eventually(DEADLINE, "four dates left", async || {
        let shown = lake("show", &["--json"]).await;
        let shown: Value = serde_json::from_str(&shown.stdout)?;
        let rows = shown["tables"][0]["rows"].as_u64();
        Ok(rows == Some(stay))
    })
    .await;
    let sql = "SELECT count(*) AS rows, count(DISTINCT visit_id) AS keys FROM visits";
    let answer = scene.run("query", &["--json", sql]).await;
    let answer: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(answer, json!([{ "rows": stay, "keys": stay }]));
    // A row of a date that left comes again, another one is deleted.
    let sql = "UPDATE visits SET place = 'home', created_at = created_at WHERE visit_id = 5;
        DELETE FROM visits WHERE visit_id IN (6, 3)";
    scene.database.sql(sql).await.unwrap();
    let verified = eventually(DEADLINE, "the delete arrives", async || {
        let finished = scene.run("verify", &["--json", "--timeout", "5"]).await;
        let found: Value = serde_json::from_str(&finished.stdout)?;
        Ok((finished.code == 0).then_some(found))
    })
    .await;
    let table = &verified["tables"][0];
    assert!(
        (2..=3).contains(&table["left"].as_u64().unwrap()),
        "{table:#}"
    );
    assert_eq!((&table["missing"], &table["rows"]), (&json!(0), &json!(47)));
    let whole = lake("fsck", &[]).await;
    run.terminate().unwrap();
    run.wait_exit(DEADLINE).await.unwrap();
    assert!(whole.stdout.contains("0 errors, 0 warnings"), "{whole:?}");
    // The rows of today's file are missing for no reason.
    let lake = scene.folder.join("lake");
    let dates = fs::read_dir(&lake)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_date = |path: &PathBuf| path.display().to_string().contains("/date=2");
    fs::remove_dir_all(dates.filter(is_date).max().unwrap()).unwrap();
    let finished = scene.run("verify", &["--json", "--timeout", "0"]).await;
    let found: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(finished.code, 3);
    let missing = &found["tables"][0];
    assert!(missing["missing"].as_u64().unwrap() >= 40, "{missing:#}");
    assert!(
        missing["as_duckdb_reads_it"]["missing"].as_u64().unwrap() >= 40,
        "{missing:#}"
    );
}
