//! SIGHUP: a running service gets another configuration, or keeps its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use inlet_harness::{Inlet, Port, duckdb, eventually, shared_database};

use crate::observe::get;
use crate::orders::{INLET, PATIENCE};
use crate::tables::{Copy, WAYS};

const TABLES: &str = "
    CREATE TABLE a (id integer PRIMARY KEY, updated_at timestamptz DEFAULT clock_timestamp());
    CREATE TABLE b (LIKE a INCLUDING ALL);
    CREATE TABLE c (LIKE a INCLUDING ALL);
    CREATE INDEX ON a (updated_at); CREATE INDEX ON b (updated_at); CREATE INDEX ON c (updated_at);
    INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1); INSERT INTO c VALUES (1), (2), (3)";

fn hang_up(services: &mut [Inlet]) {
    for service in services {
        service.hang_up().unwrap();
    }
}

#[tokio::test]
async fn a_table_is_added_and_a_broken_file_changes_nothing() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(TABLES).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { a: , b: }\n").await;
        let ports: Vec<_> = verbs.iter().map(|_| Port::claim().unwrap()).collect();
        let start = |(verb, port): (&&str, &Port)| {
            let http = format!("127.0.0.1:{}", port.number());
            let arguments = [*verb, "--config", &copy.config, "--http", &http];
            Inlet::start(INLET, &arguments, &[]).unwrap()
        };
        let mut services: Vec<_> = verbs.iter().zip(&ports).map(start).collect();
        copy.await_rows("a", 2).await;
        copy.await_rows("b", 1).await;

        let right = fs::read_to_string(&copy.config).unwrap();
        let with = |tables: &str| right.replace("{ a: , b: }", tables);
        fs::write(&copy.config, with("{ a: , b: , c: }")).unwrap();
        hang_up(&mut services);
        copy.await_rows("c", 3).await;
        for service in &services {
            service
                .logs("the configuration is loaded again", PATIENCE)
                .await;
        }
        copy.database.sql("INSERT INTO a VALUES (3)").await.unwrap();
        copy.await_rows("a", 3).await;
        for port in &ports {
            assert_eq!(get(port.number(), "/livez").unwrap().0, 200);
            let (_, page) = get(port.number(), "/").unwrap();
            assert!(
                page.contains("public.c"),
                "the page has the new table: {page}"
            );
        }

        fs::write(&copy.config, with("{ a: , b: , c: { curser: x } }")).unwrap();
        hang_up(&mut services);
        for service in &services {
            service
                .logs("unknown key `tables.c.curser`", PATIENCE)
                .await;
            service
                .logs("the configuration is not loaded again", PATIENCE)
                .await;
        }
        copy.database.sql("INSERT INTO c VALUES (4)").await.unwrap();
        copy.await_rows("c", 4).await;
        for service in &mut services {
            service.terminate().unwrap();
            assert!(service.wait_exit(PATIENCE).await.unwrap().success());
        }
        for (table, rows) in [("a", 3), ("b", 1), ("c", 4)] {
            let sql = format!("SELECT count(DISTINCT id) FROM {}", copy.files(table));
            let folder = copy.folder.join("lake").join(table);
            let found = duckdb::read(&folder, &sql).await.unwrap().concat();
            assert_eq!(found, [rows.to_string()], "{table}");
        }
    }
}

#[tokio::test]
async fn a_table_that_does_not_exist_does_not_end_the_service() {
    let database = shared_database().await;
    database.sql(TABLES).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { a: , b: }\n").await;
    let mut services = copy.start(&["run"]);
    copy.await_rows("a", 2).await;
    let right = fs::read_to_string(&copy.config).unwrap();
    let wrong = [
        (
            right.replace("b: }", "missing: }"),
            "table `missing` does not exist",
        ),
        (
            format!("{right}kafka: {{ brokers: \"127.0.0.1:1\" }}\n"),
            "cannot get or lose its section `kafka`",
        ),
    ];
    for (text, words) in wrong {
        fs::write(&copy.config, text).unwrap();
        hang_up(&mut services);
        services[0].logs(words, PATIENCE).await;
    }
    copy.database.sql("INSERT INTO a VALUES (3)").await.unwrap();
    copy.await_rows("a", 3).await;
    services[0].terminate().unwrap();
    assert!(services[0].wait_exit(PATIENCE).await.unwrap().success());
}

#[tokio::test]
async fn a_service_ends_with_the_terminal_on_which_it_was_started() {
    let database = shared_database().await;
    database.sql(TABLES).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { a: , b: }\n").await;
    let http = Port::claim().unwrap();
    let command = format!(
        "{INLET} run --config {} --http 127.0.0.1:{}",
        copy.config,
        http.number()
    );
    let terminal = Inlet::start("script", &["-qefc", &command, "/dev/null"], &[]).unwrap();
    copy.await_rows("a", 2).await;
    assert_eq!(get(http.number(), "/livez").unwrap().0, 200);
    let shown = terminal.stdout().unwrap();
    assert!(shown.contains("\x1b["), "the log has colors there: {shown}");
    // The program that shows the terminal ends, and the kernel hangs up.
    let pid = terminal.pid().to_string();
    let killed = Command::new("kill").args(["-9", &pid]).status().unwrap();
    assert!(killed.success());
    eventually(PATIENCE, "the service has ended", async || {
        Ok(get(http.number(), "/livez").is_err())
    })
    .await;
    let staging = copy.folder.join("lake/a/_staging");
    eventually(PATIENCE, "it has left no lock", async || {
        Ok(locks(&staging) == 0)
    })
    .await;
}

fn locks(folder: &Path) -> usize {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    names
        .filter(|name| name.path().extension().is_some_and(|end| end == "lock"))
        .count()
}
