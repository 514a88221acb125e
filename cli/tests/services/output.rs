//! Readers of the output that end, or that do not read: a service goes on without its log, and
//! every other verb ends quietly.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use inlet_harness::{Finished, Inlet, Kafka, Postgres, eventually, shared_kafka, shared_postgres};
use rustix::fs::OFlags;

use crate::orders::{INLET, Orders, PATIENCE};

const FAST: &str = "streaming: { poll_interval: 20ms, flush_interval: 100ms }\n";

/// Becomes `"$@"`, whose log has a reader that ends after the first line.
const LOG_ENDS: &str = r#"
    mkfifo "$0"
    { head -n 1 <"$0" >/dev/null; touch "$0.ended"; } &
    exec "$@" 2>"$0""#;
/// Becomes `"$@"`, whose log is a pipe that exists.
const LOG_IS: &str = r#"exec "$@" 2>"$0""#;
/// Becomes `"$@"`, whose output has a reader that has ended.
const STDOUT_ENDED: &str = r#"
    mkfifo "$0"
    : <"$0" &
    exec 3>"$0"
    wait
    exec "$@" >&3 3>&-"#;
/// Becomes `"$@"`, whose output is a full disk.
const STDOUT_FULL: &str = r#"exec "$@" >/dev/full"#;
/// Becomes `"$@"` without an open output.
const STDOUT_CLOSED: &str = r#"exec "$@" >&-"#;

/// The arguments of `sh` for a script about this pipe and this `inlet`.
fn scripted(script: &str, pipe: &Path, inlet: &[String]) -> Vec<String> {
    let head = ["-c", script, &pipe.display().to_string(), INLET].map(str::to_owned);
    head.into_iter().chain(inlet.iter().cloned()).collect()
}

fn start(script: &str, pipe: &Path, inlet: &[String]) -> Inlet {
    Inlet::start("/bin/sh", &scripted(script, pipe, inlet), &[]).unwrap()
}

async fn run(script: &str, pipe: &Path, inlet: &[String]) -> Finished {
    let arguments = scripted(script, pipe, inlet);
    Inlet::run("/bin/sh", &arguments, &[]).await.unwrap()
}

async fn orders(kafka: Option<&Kafka>) -> Orders {
    let postgres: &Postgres = shared_postgres().await;
    let mut orders = Orders::new(postgres, kafka, false).await.unwrap();
    orders.configure(FAST).unwrap();
    orders
}

/// Starts services whose logs have no reader any more.
async fn without_log(orders: &Orders, verbs: &[&str], round: u32) -> Vec<Inlet> {
    let mut services = Vec::new();
    for verb in verbs {
        let log = orders.folder.join(format!("{verb}-{round}"));
        services.push(start(LOG_ENDS, &log, &orders.arguments(verb)));
        let ended = log.with_extension("ended");
        eventually(PATIENCE, "the reader of the log ends", async || {
            ended.exists()
        })
        .await;
    }
    services
}

async fn stop(services: &mut [Inlet]) {
    for service in services {
        service.terminate().unwrap();
        let ended = service.wait_exit(PATIENCE).await.unwrap();
        assert_eq!(ended.code(), Some(0));
    }
}

/// Rows arrive without a log, and a signal ends the services while they wait and while rows arrive.
async fn go_on_without_a_log(kafka: Option<&Kafka>, verbs: &[&str]) {
    const ROWS: usize = 40;
    let orders = orders(kafka).await;
    let mut services = without_log(&orders, verbs, 1).await;
    orders.insert(&["1.00"]).await.unwrap();
    orders.await_lake_rows(1).await;
    stop(&mut services).await;

    let mut services = without_log(&orders, verbs, 2).await;
    let write = async {
        for _ in 0..ROWS {
            orders.insert(&["2.00"]).await.unwrap();
        }
    };
    let interrupt = async {
        eventually(PATIENCE, "rows arrive", async || {
            Ok(orders.lake_rows().await? > 1)
        })
        .await;
        stop(&mut services).await;
    };
    tokio::join!(write, interrupt);

    let _services: Vec<_> = verbs
        .iter()
        .map(|verb| orders.start(verb).unwrap())
        .collect();
    orders.await_lake_rows(ROWS as u64 + 1).await;
    orders.check_equal().await.unwrap();
}

#[tokio::test]
async fn a_run_whose_log_has_lost_its_reader_goes_on_and_stops_when_asked() {
    go_on_without_a_log(None, &["run"]).await;
}

#[tokio::test]
async fn a_run_with_a_broker_whose_log_has_lost_its_reader_goes_on_and_stops_when_asked() {
    go_on_without_a_log(Some(shared_kafka().await), &["run"]).await;
}

#[tokio::test]
async fn producer_and_consumer_whose_logs_have_lost_their_readers_go_on_and_stop_when_asked() {
    go_on_without_a_log(Some(shared_kafka().await), &["producer", "consumer"]).await;
}

#[tokio::test]
async fn a_reader_of_the_log_that_is_restarted_learns_how_many_lines_it_has_missed() {
    let orders = orders(None).await;
    let mut services = without_log(&orders, &["run"], 1).await;
    orders.insert(&["1.00"]).await.unwrap();
    orders.await_lake_rows(1).await;
    let log = orders.folder.join("run-1");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        File::open(log).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    // Its end is that of the service.
    eventually(PATIENCE, "the service ends", async || {
        orders.insert(&["2.00"]).await?;
        if orders.lake_rows().await? > 20 {
            services[0].terminate()?;
        }
        anyhow::Ok(reader.is_finished())
    })
    .await;
    let text = reader.join().unwrap();
    assert!(text.contains("batch committed"), "{text}");
    assert!(text.contains("lines of the log were dropped"), "{text}");
    stop(&mut services).await;
}

#[tokio::test]
async fn a_log_that_is_not_read_neither_delays_a_service_nor_its_end() {
    let orders = orders(None).await;
    let path = orders.folder.join("log");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    // A pipe that is open in both ways has a reader, which reads nothing here; and it is full.
    let mut pipe = File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(&path)
        .unwrap();
    while pipe.write(b"line of another program\n").is_ok() {}
    let mut service = start(LOG_IS, &path, &orders.arguments("run"));
    orders.insert(&["1.00", "2.00"]).await.unwrap();
    orders.await_lake_rows(2).await;
    service.terminate().unwrap();
    assert!(service.wait_exit(PATIENCE).await.unwrap().success());
}

/// What every verb of the matrix is run with; a service runs beside them.
fn reporting(orders: &Orders) -> Vec<Vec<String>> {
    let on_orders = |verb: &str, more: &[&str]| {
        let mut arguments = orders.arguments(verb);
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        arguments
    };
    let url = orders.database.url();
    let output = orders.folder.join("init.yml").display().to_string();
    let plain: [&[&str]; 5] = [
        &["init", "--url", url, "--output", &output],
        &["completions", "bash"],
        &["man"],
        &["schema"],
        &["--help"],
    ];
    let owned = |words: &&[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let mut verbs: Vec<Vec<String>> = plain.iter().map(owned).collect();
    verbs.extend([
        on_orders("check", &[]),
        on_orders("check", &["--json"]),
        on_orders("status", &[]),
        on_orders("status", &["--json"]),
        on_orders("status", &["--watch=1"]),
        on_orders("verify", &[]),
        on_orders("verify", &["--json"]),
        on_orders("views", &[]),
        on_orders("tail", &["roll001_orders"]),
        on_orders("tail", &["roll001_orders", "--json"]),
        on_orders("top", &["--once"]),
        on_orders("grants", &[]),
        on_orders("compact", &[]),
        on_orders("compact", &["--json"]),
        on_orders("pause", &["roll001_orders"]),
        on_orders("resume", &["roll001_orders"]),
        on_orders("reload", &["roll001_orders"]),
    ]);
    for verb in ["show", "files", "log", "fsck"] {
        for more in [&[][..], &["--json"]] {
            let mut lake = on_orders(verb, more);
            lake.insert(0, "lake".to_owned());
            verbs.push(lake);
        }
    }
    verbs
}

/// An orders table with two rows in its lake, and the service that has brought them.
async fn loaded() -> (Orders, Inlet) {
    let orders = orders(None).await;
    orders.insert(&["1.00", "2.00"]).await.unwrap();
    let service = orders.start("run").unwrap();
    orders.await_lake_rows(2).await;
    (orders, service)
}

#[tokio::test]
async fn a_verb_whose_reader_has_ended_ends_quietly_with_the_code_of_a_closed_pipe() {
    let (orders, _service) = loaded().await;
    let mut verbs = reporting(&orders);
    for more in [&[][..], &["--json"], &["--format", "parquet"]] {
        let mut query = orders.arguments("query");
        query.push("SELECT * FROM roll001_orders, range(100000)".to_owned());
        query.extend(more.iter().map(|&argument| argument.to_owned()));
        verbs.push(query);
    }
    for (number, verb) in verbs.iter().enumerate() {
        let pipe = orders.folder.join(format!("stdout-{number}"));
        let finished = run(STDOUT_ENDED, &pipe, verb).await;
        assert_eq!(finished.code, 141, "{verb:?}: {}", finished.stderr);
        for word in ["panicked", "error:", "Broken pipe"] {
            let text = &finished.stderr;
            assert!(!text.contains(word), "{verb:?}: {text}");
        }
    }
}

#[tokio::test]
async fn a_verb_whose_output_finds_no_room_reports_it() {
    let (orders, _service) = loaded().await;
    for verb in &reporting(&orders) {
        let finished = run(STDOUT_FULL, Path::new("unused"), verb).await;
        let text = &finished.stderr;
        assert_eq!(finished.code, 1, "{verb:?}: {text}");
        assert!(text.contains("standard output cannot be written"), "{text}");
        assert!(text.contains("No space left"), "{text}");
    }
}

#[tokio::test]
async fn a_verb_without_an_open_output_works() {
    let (orders, _service) = loaded().await;
    for verb in ["check", "verify", "views"] {
        let finished = run(STDOUT_CLOSED, Path::new("unused"), &orders.arguments(verb)).await;
        assert_eq!(finished.code, 0, "{verb}: {}", finished.stderr);
    }
}
