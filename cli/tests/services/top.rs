//! `inlet top`, the status page, and what the log states about a service's way.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use inlet_harness::{Inlet, Port, eventually, shared_database};
use serde_json::Value;

use crate::observe::get;
use crate::orders::{INLET, PATIENCE};
use crate::tables::{Copy, WAYS};

const TABLE: &str = "
    CREATE TABLE orders (id integer PRIMARY KEY, updated_at timestamptz DEFAULT clock_timestamp());
    CREATE INDEX ON orders (updated_at);
    CREATE TABLE \"<img src=x onerror=alert(1)>\" (LIKE orders INCLUDING ALL);
    INSERT INTO orders SELECT generate_series(1, 500)";
const TABLES: &str = "tables: { orders: , \"\\\"<img src=x onerror=alert(1)>\\\"\": }\n";

#[tokio::test]
async fn the_page_has_the_values_of_the_status_and_escapes_names() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let copy = Copy::of(database, &["run"], TABLES).await;
    let http = Port::claim().unwrap();
    let address = format!("127.0.0.1:{}", http.number());
    let arguments = ["run", "--config", &copy.config, "--http", &address];
    let _service = Inlet::start(INLET, &arguments, &[]).unwrap();
    copy.await_rows("orders", 500).await;
    let rows = |status: &Value| status["tables"][0]["rows"].as_u64();
    let served = eventually(PATIENCE, "the page has the rows", async || {
        let (code, json) = get(http.number(), "/status.json")?;
        anyhow::ensure!(code == 200, "{json}");
        let json: Value = serde_json::from_str(&json)?;
        Ok((json["tables"]
            .as_array()
            .is_some_and(|tables| tables.len() == 2)
            && json["tables"].to_string().contains("500"))
        .then_some(json))
    })
    .await;
    let finished = copy.run_with("status", &["--json"]).await;
    let status: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(rows(&served), rows(&status));
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&served), keys(&status));
    assert_eq!(keys(&served["tables"][0]), keys(&status["tables"][0]));
    assert!(
        status["processes"][0]["memory_bytes"].as_u64() > Some(1 << 20),
        "{status}"
    );

    let (code, page) = get(http.number(), "/").unwrap();
    assert_eq!(code, 200);
    assert!(
        page.contains("public.orders") && page.contains(">500<"),
        "{page}"
    );
    assert!(
        page.contains("&lt;img src=x onerror=alert(1)&gt;"),
        "{page}"
    );
    assert!(
        !page.contains("<img") && !page.contains("<script"),
        "{page}"
    );
    assert_eq!(tags(&page), Vec::<String>::new(), "every tag is closed");
}

/// The tags of a page that are not closed in their order.
fn tags(page: &str) -> Vec<String> {
    const EMPTY: [&str; 3] = ["!doctype", "meta", "br"];
    let mut open = Vec::new();
    for part in page.split('<').skip(1) {
        let name = part.split(['>', ' ']).next().unwrap();
        match name.strip_prefix('/') {
            Some(name) if open.last().is_some_and(|last| last == name) => drop(open.pop()),
            Some(name) => return vec![format!("</{name}> in {open:?}")],
            None if EMPTY.contains(&name) => {}
            None => open.push(name.to_owned()),
        }
    }
    open
}

#[tokio::test]
async fn a_frame_of_top_has_tables_and_processes() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(TABLE).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { orders: }\n").await;
        let _services = copy.start(verbs);
        copy.await_rows("", 500).await;
        eventually(PATIENCE, "the frame has the table", async || {
            let frame = copy.run_with("top", &["--once"]).await;
            anyhow::ensure!(frame.code == 0, "{}", frame.stderr);
            let text = frame.stdout;
            let words = ["Freshness: ", "public.orders", " of memory, ", "BEHIND"];
            Ok(words.iter().all(|word| text.contains(word)) && !text.contains('\x1b'))
        })
        .await;
    }
}

#[tokio::test]
async fn a_screen_ends_with_its_key_and_restores_the_terminal() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { orders: }\n").await;
    let _services = copy.start(&["run"]);
    copy.await_rows("", 500).await;
    // The terminal's settings before and after, and what was shown between.
    let script = format!(
        "stty -g > {0}/before; {INLET} top --config {1}; echo code $? > {0}/code; stty -g > \
         {0}/after",
        copy.folder.join("").display(),
        copy.config
    );
    let screen = copy.folder.join("screen");
    let mut terminal = Command::new("script")
        .args(["-qefc", &script, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(File::create(&screen).unwrap())
        .spawn()
        .unwrap();
    let shown = || String::from_utf8_lossy(&std::fs::read(&screen).unwrap()).into_owned();
    eventually(PATIENCE, "the screen has the table", async || {
        shown().contains("public.orders")
    })
    .await;
    terminal.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    eventually(PATIENCE, "it has ended", async || {
        Ok(terminal.try_wait()?.is_some())
    })
    .await;
    let shown = shown();
    let read = |name: &str| std::fs::read_to_string(copy.folder.join(name)).unwrap();
    assert_eq!(read("code"), "code 0\n", "{shown}");
    assert_eq!(read("before"), read("after"));
    for sequence in [
        "\x1b[?1049h",
        "\x1b[?25l",
        "public.orders",
        "\x1b[?25h",
        "\x1b[?1049l",
    ] {
        assert!(shown.contains(sequence), "{sequence:?}: {shown:?}");
    }
}

#[tokio::test]
async fn the_log_states_what_is_carried_and_once_that_it_has_caught_up() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(TABLE).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { orders: }\n").await;
        let services = copy.start(verbs);
        copy.await_rows("", 500).await;
        for service in &services {
            service.logs("caught up: ", PATIENCE).await;
        }
        copy.database
            .sql("INSERT INTO orders VALUES (501)")
            .await
            .unwrap();
        copy.await_rows("", 501).await;
        for service in &services {
            let log = service.stderr().unwrap();
            assert_eq!(log.matches("caught up").count(), 1, "{log}");
            let start = log.lines().next().unwrap();
            assert!(
                start.contains("starting") && start.contains("tables=\"orders\""),
                "{log}"
            );
            assert!(log.contains("inlet status --config "), "{log}");
            assert!(!log.contains('\x1b'), "{log}");
        }
        assert!(
            services[0].stderr().unwrap().contains("rows=500"),
            "rows of the load"
        );
    }
}

#[tokio::test]
async fn a_log_is_as_long_as_it_is_asked_for() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { orders: }\n").await;
    for (option, has, lacks) in [("-q", None, " INFO "), ("-v", Some("DEBUG"), "TRACE")] {
        let arguments = ["run", option, "--config", &copy.config];
        let mut service = Inlet::start(INLET, &arguments, &[]).unwrap();
        copy.await_rows("", 500).await;
        if let Some(word) = has {
            service.logs(word, PATIENCE).await;
        }
        service.terminate().unwrap();
        assert!(service.wait_exit(PATIENCE).await.unwrap().success());
        let log = service.stderr().unwrap();
        assert!(!log.contains(lacks), "{log}");
    }
}

#[tokio::test]
async fn colors_are_for_terminals_and_for_who_wants_them() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { orders: }\n").await;
    let mut service = copy.start(&["run"]);
    copy.await_rows("", 500).await;
    service[0].terminate().unwrap();
    service[0].wait_exit(PATIENCE).await.unwrap();
    let command = format!("{INLET} tail -n 1 orders --config {}", copy.config);
    for (no_color, is_colored) in [("", true), ("1", false)] {
        let environment = [("NO_COLOR", no_color)];
        let terminal = Inlet::start("script", &["-qefc", &command, "/dev/null"], &environment);
        let terminal = terminal.unwrap();
        eventually(PATIENCE, "a change is shown", async || {
            Ok(terminal.stdout()?.contains("id=500"))
        })
        .await;
        let shown = terminal.stdout().unwrap();
        assert_eq!(shown.contains('\x1b'), is_colored, "{shown:?}");
    }
}
