//! `shop.*`: every table of a schema, as the catalog has them.

use std::fs;

use anyhow::Result;
use inlet_harness::{
    Finished, Folder, Inlet, PASSWORD, USER, duckdb, eventually, shared_database, shared_kafka,
};

use crate::orders::{INLET, PATIENCE};

const TABLES: &str = r#"
    CREATE SCHEMA "Shop";
    CREATE TABLE "Shop"."Order Lines" (id integer PRIMARY KEY, "select" text);
    CREATE TABLE "Shop"."order lines" (id integer PRIMARY KEY, note text);
    CREATE TABLE "Shop".by_day (id integer, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE "Shop".by_day_1 PARTITION OF "Shop".by_day FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE TABLE "Shop".audit_1 (id integer PRIMARY KEY);
    CREATE TABLE elsewhere (id integer PRIMARY KEY);
    INSERT INTO "Shop"."Order Lines" VALUES (1, 'a'), (2, 'b');
    INSERT INTO "Shop"."order lines" VALUES (1, 'c');
    INSERT INTO "Shop".by_day VALUES (1, '2026-11-20'), (2, '2026-11-21'), (3, '2026-11-21');
    INSERT INTO "Shop".audit_1 VALUES (1);
    INSERT INTO elsewhere VALUES (1);"#;

async fn verify(config: &str) -> Result<Finished> {
    Inlet::run(INLET, &["verify", "--config", config], &[]).await
}

#[tokio::test]
async fn every_table_of_a_schema_arrives_on_both_ways() {
    let kafka = shared_kafka().await;
    for verbs in [&["run"][..], &["producer", "consumer"]] {
        let (database, folder) = (shared_database().await, Folder::new("patterns").unwrap());
        database.sql(TABLES).await.unwrap();
        let broker = format!(
            "kafka: {{ brokers: \"{}\" }}\npipeline: {}\n",
            kafka.bootstrap(),
            database.name()
        );
        let broker = if verbs == ["run"] { "" } else { &broker };
        let lake = folder.join("lake");
        let text = format!(
            "{broker}postgres: {{ url: \"{}\" }}\ndatalake: {{ path: {} }}\nstreaming: {{ \
                flush_interval: 100ms }}\n\
             tables:\n  Shop.*:\n  Shop.audit_*: {{ skip: true }}\n",
            database.url(),
            lake.display()
        );
        let config = folder.join("inlet.yml").display().to_string();
        fs::write(&config, text).unwrap();
        let _services: Vec<_> = verbs
            .iter()
            .map(|verb| Inlet::start(INLET, &[verb, "--config", &config], &[]).unwrap())
            .collect();
        let glob = format!("{}/**/*.parquet", lake.display());
        eventually(PATIENCE, "six rows are in the lake", async || {
            Ok(duckdb::count_glob(&glob).await? == 6)
        })
        .await;
        let finished = verify(&config).await.unwrap();
        assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
        for line in [
            "Shop.Order Lines: equal, 2 rows",
            "Shop.order lines: equal, 1 row",
            "Shop.by_day: equal, 3 rows",
        ] {
            assert!(
                finished.stdout.contains(line),
                "`{line}` is missing in: {}",
                finished.stdout
            );
        }
        assert!(
            !finished.stdout.contains("audit_1") && !finished.stdout.contains("elsewhere"),
            "{}",
            finished.stdout
        );
    }
}

#[tokio::test]
async fn a_table_that_is_made_while_the_services_run_is_taken_and_one_that_cannot_be_is_named() {
    let kafka = shared_kafka().await;
    for verbs in [&["run"][..], &["producer", "consumer"]] {
        let (database, folder) = (shared_database().await, Folder::new("discover").unwrap());
        let role = format!("reader_{}", database.name());
        let tables = "CREATE SCHEMA shop; CREATE TABLE shop.a (id serial PRIMARY KEY); INSERT INTO \
            shop.a DEFAULT VALUES; CREATE TABLE named (id serial PRIMARY KEY)";
        database.sql(tables).await.unwrap();
        let broker = format!(
            "kafka: {{ brokers: \"{}\" }}\npipeline: {}\n",
            kafka.bootstrap(),
            database.name()
        );
        let broker = if verbs == ["run"] { "" } else { &broker };
        let lake = folder.join("lake");
        let text = format!(
            "{broker}postgres: {{ url: \"{}\" }}\ndatalake: {{ path: {} }}\nstreaming: {{ \
                flush_interval: 100ms, discover_interval: 200ms }}\n\
             tables:\n  shop.*:\n  named:\n",
            database
                .url()
                .replace(&format!("//{USER}"), &format!("//{role}")),
            lake.display()
        );
        let config = folder.join("inlet.yml").display().to_string();
        fs::write(&config, text).unwrap();
        let grants = Inlet::run(INLET, &["grants", "--config", &config], &[])
            .await
            .unwrap();
        database
            .sql(&format!(
                "{}ALTER ROLE {role} PASSWORD '{PASSWORD}'",
                grants.stdout
            ))
            .await
            .unwrap();
        let mut services: Vec<_> = verbs
            .iter()
            .map(|verb| Inlet::start(INLET, &[verb, "--config", &config], &[]).unwrap())
            .collect();
        let rows = async |table: &str, rows: u64| {
            let glob = format!("{}/{table}/**/*.parquet", lake.display());
            eventually(PATIENCE, &format!("{rows} rows of {table}"), async || {
                Ok(duckdb::count_glob(&glob).await? == rows)
            })
            .await;
        };
        rows("shop.a", 1).await;
        // One that may not be read keeps none from going on, and neither does one that goes away.
        database
            .sql(&format!(
                "CREATE TABLE shop.closed (id int); REVOKE ALL ON shop.closed FROM \
            {role}; DROP TABLE named"
            ))
            .await
            .unwrap();
        database
            .sql(
                "CREATE TABLE shop.b (id serial PRIMARY KEY); INSERT INTO shop.b DEFAULT VALUES; \
                INSERT INTO shop.a DEFAULT VALUES",
            )
            .await
            .unwrap();
        rows("shop.b", 1).await;
        rows("shop.a", 2).await;
        let log = services[0].stderr().unwrap();
        assert!(
            log.contains("a table that matches the configuration is left out")
                && log.contains("GRANT SELECT ON \"shop\".\"closed\""),
            "{log}"
        );
        database
            .sql(
                "DROP TABLE shop.a; CREATE TABLE shop.c (id serial PRIMARY KEY); INSERT INTO \
            shop.c DEFAULT VALUES",
            )
            .await
            .unwrap();
        rows("shop.c", 1).await;
        database
            .sql(
                "INSERT INTO shop.b DEFAULT VALUES; CREATE TABLE named (id serial PRIMARY KEY); \
                INSERT INTO named DEFAULT VALUES",
            )
            .await
            .unwrap();
        database
            .sql(&format!("GRANT SELECT ON named TO {role}"))
            .await
            .unwrap();
        rows("shop.b", 2).await;
        rows("named", 1).await;
        // The next start does not fail on it either.
        services[0].kill_9().unwrap();
        services[0] = Inlet::start(INLET, &[verbs[0], "--config", &config], &[]).unwrap();
        database
            .sql("INSERT INTO shop.b DEFAULT VALUES")
            .await
            .unwrap();
        rows("shop.b", 3).await;
        for service in &mut services {
            assert!(
                service.is_running().unwrap(),
                "{}",
                service.stderr().unwrap()
            );
        }
    }
}

#[tokio::test]
async fn two_hundred_tables_go_through_one_pipeline() {
    const TABLES: u64 = 200;
    let (database, folder) = (shared_database().await, Folder::new("many").unwrap());
    let tables: String = (0..TABLES)
        .map(|at| {
            format!(
                "CREATE TABLE t{at} (id serial PRIMARY KEY, n integer, updated_at timestamptz \
                    DEFAULT now());
                 CREATE INDEX ON t{at} (updated_at); INSERT INTO t{at} (n) VALUES ({at}), ({at});"
            )
        })
        .collect();
    database.sql(&tables).await.unwrap();
    let lake = folder.join("lake");
    let config = folder.join("inlet.yml").display().to_string();
    let text = format!(
        "postgres:\n  url: {}\n  table: \"*\"\ndatalake:\n  path: {}\n",
        database.url(),
        lake.display()
    );
    fs::write(&config, text).unwrap();
    let _inlet = Inlet::start(INLET, &["run", "--config", &config], &[]).unwrap();
    let glob = format!("{}/**/*.parquet", lake.display());
    eventually(PATIENCE, "all rows are in the lake", async || {
        Ok(duckdb::count_glob(&glob).await? == 2 * TABLES)
    })
    .await;
    let more: String = (0..TABLES)
        .map(|at| format!("INSERT INTO t{at} (n) VALUES (-1);"))
        .collect();
    database.sql(&more).await.unwrap();
    eventually(PATIENCE, "one more of each arrives", async || {
        Ok(duckdb::count_glob(&glob).await? == 3 * TABLES)
    })
    .await;
    let finished = verify(&config).await.unwrap();
    assert_eq!(
        (
            finished.code,
            finished.stdout.matches(": equal, 3 rows").count()
        ),
        (0, 200),
        "{}",
        finished.stderr
    );
}

#[tokio::test]
async fn a_pattern_that_means_no_table_is_named() {
    let (database, folder) = (shared_database().await, Folder::new("nothing").unwrap());
    let config = folder.join("inlet.yml").display().to_string();
    fs::write(
        &config,
        format!(
            "postgres:\n  url: {}\n  table: shp.*\ndatalake:\n  path: {}\n",
            database.url(),
            folder.display()
        ),
    )
    .unwrap();
    let finished = Inlet::run(INLET, &["run", "--config", &config], &[])
        .await
        .unwrap();
    assert_eq!(finished.code, 78, "{}", finished.stderr);
    assert!(
        finished
            .stderr
            .contains("no table of the database matches `shp.*`"),
        "{}",
        finished.stderr
    );
}

#[tokio::test]
async fn what_looks_at_the_lake_takes_its_tables_for_a_pattern_when_postgresql_is_away() {
    let (database, folder) = (shared_database().await, Folder::new("patterns").unwrap());
    database
        .sql(
            "CREATE TABLE a (id integer PRIMARY KEY); CREATE TABLE b (id integer PRIMARY \
        KEY); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1), (2)",
        )
        .await
        .unwrap();
    let lake = folder.join("lake");
    let config = folder.join("inlet.yml").display().to_string();
    let write = |url: &str| {
        let text = format!(
            "postgres: {{ url: \"{url}\" }}\ndatalake: {{ path: {} }}\ntables: {{ \"*\": }}\n",
            lake.display()
        );
        fs::write(&config, text).unwrap();
    };
    write(database.url());
    let service = Inlet::start(INLET, &["run", "--config", &config], &[]).unwrap();
    let glob = format!("{}/**/*.parquet", lake.display());
    eventually(PATIENCE, "three rows are in the lake", async || {
        Ok(duckdb::count_glob(&glob).await? == 3)
    })
    .await;
    drop(service);
    write(&format!("postgres://{USER}:{PASSWORD}@127.0.0.1:1/nowhere"));
    let ask = async |arguments: &[&str]| {
        Inlet::run(INLET, &[arguments, &["--config", &config]].concat(), &[])
            .await
            .unwrap()
    };
    let query = ask(&[
        "query",
        "--json",
        "SELECT (SELECT count(*) FROM a) AS a, (SELECT count(*) FROM b) AS b",
    ])
    .await;
    assert_eq!(query.stdout.trim(), r#"[{"a":1,"b":2}]"#, "{query:?}");
    let status = ask(&["status"]).await;
    for part in [
        "public.a: PostgreSQL cannot be read",
        "public.b: PostgreSQL cannot be read",
    ] {
        assert!(status.stdout.contains(part), "{status:?}");
    }
    let check = ask(&["check"]).await;
    assert!(
        check.code == 1
            && check.stdout.contains("127.0.0.1:1 failed")
            && check.stdout.contains("\nLake\n"),
        "{check:?}"
    );
}
