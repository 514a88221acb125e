//! Unusual tables, values and servers: as wide and as large as PostgreSQL has them, in other
//! encodings, with a pooler in front, dropped and recreated.

use std::fmt::Write as _;
use std::fs;

use inlet_harness::{
    Database, Finished, Folder, Inlet, PASSWORD, Pooler, duckdb, eventually, judge,
    shared_database, shared_kafka, shared_postgres,
};

use crate::orders::{INLET, PATIENCE};

/// Both ways into the lake.
pub const WAYS: [&[&str]; 2] = [&["run"], &["producer", "consumer"]];

/// A database, a lake, and a configuration between them.
pub struct Copy {
    pub database: Database,
    pub folder: Folder,
    pub config: String,
}

impl Copy {
    /// A configuration over a database; `verbs` tell whether there is a broker.
    pub async fn of(database: Database, verbs: &[&str], tables: &str) -> Self {
        let url = database.url().to_owned();
        Self::at(database, &url, verbs, tables).await
    }

    pub async fn at(database: Database, url: &str, verbs: &[&str], tables: &str) -> Self {
        let folder = Folder::new("tables").unwrap();
        let mut text = format!(
            "postgres: {{ url: \"{url}\" }}\ndatalake: {{ path: {} }}\nstreaming: {{ \
                flush_interval: 100ms }}\n{tables}",
            folder.join("lake").display()
        );
        if verbs != ["run"] {
            let broker = shared_kafka().await.bootstrap();
            write!(
                text,
                "pipeline: {}_{}\nkafka: {{ brokers: \"{broker}\" }}\n",
                database.name(),
                rand::random::<u32>()
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

    /// The same with topics of five kafka_partitions, which bring rows of different keys and
    /// schemas in any order.
    pub fn over_five_partitions(self) -> Self {
        let config = fs::read_to_string(&self.config).unwrap();
        let config = config.replace("kafka: { ", "kafka: { partitions: 5, ");
        fs::write(&self.config, config).unwrap();
        self
    }

    pub fn start(&self, verbs: &[&str]) -> Vec<Inlet> {
        verbs
            .iter()
            .map(|verb| Inlet::start(INLET, &[verb, "--config", &self.config], &[]).unwrap())
            .collect()
    }

    pub async fn run(&self, verb: &str) -> Finished {
        self.run_with(verb, &[]).await
    }

    pub async fn run_with(&self, verb: &str, rest: &[&str]) -> Finished {
        Inlet::run(
            INLET,
            &[&[verb, "--config", &self.config], rest].concat(),
            &[],
        )
        .await
        .unwrap()
    }

    /// What DuckDB reads of a folder of the lake.
    pub fn files(&self, folder: &str) -> String {
        let path = self.folder.join("lake").join(folder);
        format!(
            "read_parquet('{}/**/*.parquet', union_by_name = true)",
            path.display()
        )
    }

    pub async fn await_rows(&self, folder: &str, rows: u64) {
        let glob = format!(
            "{}/**/*.parquet",
            self.folder.join("lake").join(folder).display()
        );
        eventually(
            PATIENCE,
            &format!("{rows} rows are in the lake"),
            async || Ok(duckdb::count_glob(&glob).await? >= rows),
        )
        .await;
        assert_eq!(duckdb::count_glob(&glob).await.unwrap(), rows);
    }

    pub async fn verified(&self) {
        let finished = self.run("verify").await;
        assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    }
}

/// How much memory a process has had at most, in MiB.
fn peak_mib(inlet: &Inlet) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", inlet.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn a_table_of_1600_columns_arrives_on_both_ways() {
    const COLUMNS: usize = 1600;
    for verbs in WAYS {
        let database = shared_database().await;
        let columns: String = (3..=COLUMNS)
            .map(|at| {
                format!(
                    ", c{at} {}",
                    ["integer", "text", "boolean", "smallint"][at % 4]
                )
            })
            .collect();
        let values: String = (3..=COLUMNS)
            .map(|at| format!(", {}", ["7", "NULL", "true", "-1"][at % 4]))
            .collect();
        let sql = format!(
            "CREATE TABLE wide (id integer PRIMARY KEY, updated_at timestamptz DEFAULT \
                now(){columns}); CREATE INDEX ON wide (updated_at);
             INSERT INTO wide VALUES (1, now(){values}), (2, now(){values}); INSERT INTO wide (id, \
                c5, c1597) VALUES (3, 'five', 'near the end')"
        );
        database.sql(&sql).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { wide: }\n").await;
        let _services = copy.start(verbs);
        copy.await_rows("", 3).await;
        copy.database
            .sql("UPDATE wide SET c1597 = 'ä', updated_at = now() WHERE id = 1")
            .await
            .unwrap();
        copy.await_rows("", 4).await;
        copy.verified().await;
        let text = "SELECT c1597 FROM wide WHERE id = 1";
        assert_eq!(copy.database.rows(text).await.unwrap(), [["ä"]]);
        assert_eq!(
            duckdb::query(&format!(
                "SELECT c1597 FROM {} ORDER BY id, _offset DESC LIMIT 1",
                copy.files("")
            ))
            .await
            .unwrap(),
            [["ä"]]
        );
    }
}

const LARGE: &str = "\
    CREATE TABLE large (id integer PRIMARY KEY, t text, b bytea, j jsonb, updated_at timestamptz \
    DEFAULT now());
    CREATE INDEX ON large (updated_at);
    INSERT INTO large (id, t) VALUES (1, repeat('0123456789', 10000000));
    INSERT INTO large (id, b) VALUES (2, decode(repeat('00ff', 50000000), 'hex'));
    INSERT INTO large (id, j) VALUES (3, jsonb_build_object('a', repeat('0123456789', 10000000)));
    INSERT INTO large (id, t) VALUES (4, 'small')";

#[tokio::test]
async fn values_of_100_mb_arrive_without_a_broker_in_bounded_memory() {
    let database = shared_database().await;
    database.sql(LARGE).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { large: }\n").await;
    let services = copy.start(&["run"]);
    copy.await_rows("", 4).await;
    // A value is in the connection's buffer, in a column, and in a page that is being written;
    // not one of each for each of the three rows. A buffer that grows moves, so that for a moment
    // there are two of it.
    let peak = peak_mib(&services[0]);
    assert!(peak < 1600, "{peak} MiB");
    let sizes = format!(
        "SELECT id, length(t), octet_length(b), length(j) FROM {} ORDER BY id",
        copy.files("")
    );
    let expected = [
        ["1", "100000000", "NULL", "NULL"],
        ["2", "NULL", "100000000", "NULL"],
        ["3", "NULL", "NULL", "100000009"],
        ["4", "5", "NULL", "NULL"],
    ];
    assert_eq!(duckdb::query(&sizes).await.unwrap(), expected);
    copy.verified().await;
}

#[tokio::test]
async fn a_value_that_is_too_large_for_a_message_ends_the_producer_with_the_keys_to_raise() {
    let database = shared_database().await;
    database.sql(LARGE).await.unwrap();
    let copy = Copy::of(database, &["producer"], "tables: { large: }\n").await;
    let finished = copy.run("producer").await;
    assert_eq!(finished.code, 78, "{}", finished.stderr);
    for words in ["max.message.bytes", "kafka.properties", "large"] {
        assert!(
            finished.stderr.contains(words),
            "`{words}` is missing in: {}",
            finished.stderr
        );
    }
    // With the key that it named it goes on; what else a large message needs follows from it.
    let text = fs::read_to_string(&copy.config).unwrap();
    fs::write(
        &copy.config,
        text.replace(
            "kafka: { ",
            "kafka: { properties: { message.max.bytes: 300000000 }, ",
        ),
    )
    .unwrap();
    let _services = copy.start(&["producer", "consumer"]);
    copy.await_rows("", 4).await;
    copy.verified().await;
}

#[tokio::test]
async fn text_of_other_encodings_arrives_as_utf8() {
    let server = shared_postgres().await;
    for (encoding, text) in [
        ("LATIN1", "café ÿ"),
        ("WIN1252", "€ „Zürich“ Ž"),
        ("EUC_JP", "日本語"),
    ] {
        for verbs in WAYS {
            let name = format!("{}_{}", encoding.to_lowercase(), verbs.len());
            let sql = format!(
                "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE \
                    template0"
            );
            server.sql(&sql).await.unwrap();
            let database = server.named(&name);
            let sql = format!(
                "CREATE TABLE notes (id text PRIMARY KEY, \"{text}\" text, updated_at timestamptz \
                    DEFAULT now());
                 INSERT INTO notes VALUES ('{text}', '{text}'), ('b', NULL)"
            );
            database.sql(&sql).await.unwrap();
            let copy = Copy::of(database, verbs, "tables: { notes: }\n").await;
            let _services = copy.start(verbs);
            copy.await_rows("", 2).await;
            let found = duckdb::query(&format!(
                "SELECT \"{text}\" FROM {} WHERE id = '{text}'",
                copy.files("")
            ))
            .await
            .unwrap();
            assert_eq!(found, [[text]], "{encoding}");
            copy.verified().await;
        }
    }
}

#[tokio::test]
async fn what_is_no_utf8_in_an_sql_ascii_database_is_quarantined_and_the_rest_goes_on() {
    let server = shared_postgres().await;
    for verbs in WAYS {
        let name = format!("sql_ascii_{}", verbs.len());
        let sql = format!(
            "CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE \
                template0"
        );
        server.sql(&sql).await.unwrap();
        let database = server.named(&name);
        let sql = r"CREATE TABLE notes (id text PRIMARY KEY, note text, updated_at timestamptz DEFAULT now()); CREATE INDEX ON notes (updated_at);
            INSERT INTO notes VALUES ('a', 'plain'), ('b', E'caf\xe9'), ('c', E'caf\xc3\xa9'), (E'\xff', 'the key')";
        database.sql(sql).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { notes: }\n").await;
        let _services = copy.start(verbs);
        copy.await_rows("", 2).await;
        copy.database
            .sql(r"INSERT INTO notes VALUES ('d', E'\x80'), ('e', 'later')")
            .await
            .unwrap();
        copy.await_rows("", 3).await;
        let found = duckdb::query(&format!(
            "SELECT id, note FROM {} ORDER BY id",
            copy.files("")
        ))
        .await
        .unwrap();
        assert_eq!(found, [["a", "plain"], ["c", "café"], ["e", "later"]]);
        let quarantine = format!(
            "read_json('{}/_quarantine/*.jsonl')",
            copy.folder.join("lake").display()
        );
        let reasons = format!("SELECT reason FROM {quarantine} ORDER BY reason");
        eventually(PATIENCE, "three rows are in quarantine", async || {
            Ok(duckdb::query(&reasons)
                .await
                .is_ok_and(|rows| rows.len() == 3))
        })
        .await;
        let reasons = duckdb::query(&reasons).await.unwrap().concat().join("\n");
        assert!(
            reasons.contains(r"\\x636166e9")
                && reasons.contains(r"\\xff")
                && reasons.contains("note"),
            "{reasons}"
        );
    }
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_named_by_every_verb() {
    let (server, database) = (shared_postgres().await, shared_database().await);
    database
        .sql(
            "CREATE TABLE orders (id integer PRIMARY KEY, created_at timestamptz); INSERT INTO \
            orders VALUES (1, now())",
        )
        .await
        .unwrap();
    let pooler = Pooler::start(server, "transaction").await.unwrap();
    for tables in ["tables: { orders: }\n", "tables: { '*': }\n"] {
        let through = pooler.named(database.name());
        let copy = Copy::at(
            through,
            pooler.named(database.name()).url(),
            &["run"],
            tables,
        )
        .await;
        let finished = copy.run("run").await;
        assert_eq!(finished.code, 78, "{}", finished.stderr);
        assert!(
            finished.stderr.contains("a pooler in transaction mode")
                && finished.stderr.contains("pool_mode = session"),
            "{}",
            finished.stderr
        );
    }
    let session = Pooler::start(server, "session").await.unwrap();
    let copy = Copy::at(
        database,
        session.named("").url(),
        &["run"],
        "tables: { orders: }\n",
    )
    .await;
    let text = fs::read_to_string(&copy.config)
        .unwrap()
        .replace("/\" }", &format!("/{}\" }}", copy.database.name()));
    fs::write(&copy.config, text).unwrap();
    let _service = copy.start(&["run"]);
    copy.await_rows("", 1).await;
}

#[tokio::test]
async fn a_table_that_is_dropped_and_recreated_is_captured_again_with_a_warning() {
    let database = shared_database().await;
    let sql = "CREATE TABLE orders (id serial PRIMARY KEY, note text, updated_at timestamptz \
        DEFAULT now()); CREATE INDEX ON orders (updated_at);
               CREATE TABLE visits (id serial PRIMARY KEY); INSERT INTO orders (note) VALUES \
        ('first'), ('second'); INSERT INTO visits DEFAULT VALUES";
    database.sql(sql).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { orders: , visits: }\n").await;
    let services = copy.start(&["run"]);
    copy.await_rows("orders", 2).await;
    copy.await_rows("visits", 1).await;
    copy.database
        .sql("DROP TABLE orders; INSERT INTO visits DEFAULT VALUES")
        .await
        .unwrap();
    copy.await_rows("visits", 2).await;
    services[0]
        .logs(
            "table was dropped: the other tables are still polled",
            PATIENCE,
        )
        .await;
    let sql = "CREATE TABLE orders (id serial PRIMARY KEY, amount numeric(10,2), updated_at \
        timestamptz DEFAULT now() - interval '1 year');
               INSERT INTO orders (amount) VALUES (1), (2), (3)";
    copy.database.sql(sql).await.unwrap();
    copy.await_rows("orders", 5).await;
    services[0]
        .logs("another table has this name than before", PATIENCE)
        .await;
    copy.verified().await;
    copy.database
        .sql(
            "ALTER TABLE visits RENAME TO seen; INSERT INTO orders (amount, updated_at) \
        VALUES (4, now())",
        )
        .await
        .unwrap();
    copy.await_rows("orders", 6).await;
    services[0]
        .logs("table was renamed to `public.seen`", PATIENCE)
        .await;
}

#[tokio::test]
async fn a_role_with_the_rights_of_inlet_grants_reads_all_that_the_configuration_means() {
    let database = shared_database().await;
    let sql = r#"CREATE SCHEMA "Shop"; CREATE TABLE "Shop"."Order.Lines" (id integer PRIMARY KEY); CREATE TABLE "Shop".plain (id integer PRIMARY KEY);
        CREATE TABLE "Shop".secret (id integer PRIMARY KEY); CREATE TABLE both_cases (id integer PRIMARY KEY); CREATE TABLE "Both_Cases" (id integer PRIMARY KEY);
        CREATE TABLE elsewhere (id integer PRIMARY KEY); CREATE SCHEMA kinds; CREATE TYPE kinds.kind AS ENUM ('x', 'y');
        CREATE TABLE "select" (kind kinds.kind PRIMARY KEY);
        INSERT INTO "Shop"."Order.Lines" VALUES (1); INSERT INTO "Shop".plain VALUES (1); INSERT INTO both_cases VALUES (1); INSERT INTO "Both_Cases" VALUES (2);
        INSERT INTO "select" VALUES ('x'), ('y')"#;
    database.sql(sql).await.unwrap();
    let tables =
        "tables:\n  Shop.*:\n  Shop.secret: { skip: true }\n  '\"Both_Cases\"':\n  '\"select\"':\n";
    let role = format!("reader_{}", database.name());
    let url = database
        .url()
        .replace(&format!("//{}", inlet_harness::USER), &format!("//{role}"));
    let copy = Copy::at(database, &url, &["run"], tables).await;
    let grants = copy.run("grants").await;
    assert_eq!(grants.code, 0, "{}", grants.stderr);
    assert!(!grants.stdout.contains(PASSWORD), "{}", grants.stdout);
    // A user runs the statements again after a change of the configuration.
    for _ in 0..2 {
        copy.database.sql(&grants.stdout).await.unwrap();
    }
    copy.database
        .sql(&format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'"))
        .await
        .unwrap();
    copy.database
        .sql(
            "CREATE TABLE \"Shop\".later (id integer PRIMARY KEY); INSERT INTO \
        \"Shop\".later VALUES (1)",
        )
        .await
        .unwrap();
    let may = |table: &str| format!("SELECT has_table_privilege('{role}', '{table}', 'SELECT')");
    for (table, expected) in [
        (r#""Shop".plain"#, "t"),
        (r#""Shop".secret"#, "f"),
        ("elsewhere", "f"),
        (r#""Both_Cases""#, "t"),
    ] {
        assert_eq!(
            copy.database.rows(&may(table)).await.unwrap(),
            [[expected]],
            "{table}"
        );
    }
    let _services = copy.start(&["run"]);
    for (folder, rows) in [
        ("Shop.Order%2ELines", 1),
        ("Shop.plain", 1),
        ("Shop.later", 1),
        ("select", 2),
        ("Both_Cases", 1),
    ] {
        copy.await_rows(folder, rows).await;
    }
    assert_eq!(
        duckdb::query(&format!("SELECT id FROM {}", copy.files("Both_Cases")))
            .await
            .unwrap(),
        [["2"]],
        "quotes are meant"
    );
    copy.verified().await;
    let checked = copy.run("check").await;
    assert!(
        checked.code == 0 && checked.stdout.contains("\n0 errors, "),
        "{}",
        checked.stdout
    );
}

#[tokio::test]
async fn the_values_of_a_column_that_is_added_with_a_default_arrive() {
    for way in WAYS {
        let database = shared_database().await;
        let sql = "CREATE TABLE t (id integer PRIMARY KEY, name text); INSERT INTO t VALUES (1, \
            'a'), (2, 'b')";
        database.sql(sql).await.unwrap();
        let copy = Copy::of(database, way, "tables: { t: {} }\n").await;
        let _services = copy.start(way);
        copy.await_rows("", 2).await;
        copy.database
            .sql(
                "ALTER TABLE t ADD COLUMN paid boolean NOT NULL DEFAULT true; INSERT \
            INTO t VALUES (3)",
            )
            .await
            .unwrap();
        copy.await_rows("", 5).await;
        copy.verified().await;
        copy.database
            .sql("ALTER TABLE t RENAME COLUMN name TO label; INSERT INTO t VALUES (4)")
            .await
            .unwrap();
        copy.await_rows("", 9).await;
        copy.verified().await;
        copy.database
            .sql("ALTER TABLE t RENAME COLUMN id TO number; INSERT INTO t VALUES (5)")
            .await
            .unwrap();
        copy.await_rows("", 14).await;
        copy.verified().await;
        judge::equal(INLET, &copy.config, &copy.database, "t").await;
        let found = copy
            .run_with(
                "query",
                &[
                    "--csv",
                    "SELECT number, coalesce(label, '-') AS label, paid FROM t ORDER BY number",
                ],
            )
            .await;
        assert_eq!(
            found.stdout,
            "number,label,paid\n1,a,true\n2,b,true\n3,-,true\n4,-,true\n5,-,true\n"
        );
    }
}

#[tokio::test]
async fn without_a_key_a_column_with_a_default_is_reported_with_the_statement_for_its_values() {
    let database = shared_database().await;
    database
        .sql("CREATE TABLE t (id integer); INSERT INTO t VALUES (1), (2)")
        .await
        .unwrap();
    let copy = Copy::of(database, WAYS[0], "tables: { t: {} }\n").await;
    let services = copy.start(WAYS[0]);
    copy.await_rows("", 2).await;
    copy.database
        .sql(
            "ALTER TABLE t ADD COLUMN paid boolean NOT NULL DEFAULT true, ADD COLUMN note text; \
            INSERT INTO t VALUES (3)",
        )
        .await
        .unwrap();
    copy.await_rows("", 3).await;
    let statement = "UPDATE \"public\".\"t\" SET \"paid\" = \"paid\"";
    let warned = eventually(PATIENCE, "a warning names the column", async || {
        Ok::<_, anyhow::Error>(services[0].stderr()?.contains(statement))
    });
    warned.await;
    assert!(
        !services[0].stderr().unwrap().contains("SET \"note\""),
        "a column without a default is null for the old rows as well"
    );
    copy.database.sql(statement).await.unwrap();
    copy.await_rows("", 6).await;
}
