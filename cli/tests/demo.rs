//! The demo as a process: it ends well, says so, and leaves nothing behind.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use inlet_harness::{Folder, Inlet, eventually};

const INLET: &str = env!("CARGO_BIN_EXE_inlet");
/// How long anything that is awaited may take on a busy machine ..
const PATIENCE: Duration = Duration::from_secs(90);
/// .. and a whole demo, which starts a Kafka.
const DEMO_PATIENCE: Duration = Duration::from_secs(300);

/// Folders of a process that has ended are removed by its watchdog, a moment later.
async fn nothing_is_left(temp: &Path) {
    eventually(PATIENCE, "the demo's folders are gone", async || {
        fs::read_dir(temp).unwrap().next().is_none()
    })
    .await;
}

fn start(mode: &str, temp: &Path, env: &[(&str, &str)]) -> Inlet {
    let env = [&[("TMPDIR", temp.to_str().unwrap())], env].concat();
    Inlet::start(INLET, &["demo", "--mode", mode], &env).unwrap()
}

/// A demo's exit code, and what it said.
struct Told {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn demo(mode: &str, env: &[(&str, &str)]) -> Told {
    let temp = Folder::new("temp").unwrap();
    let mut demo = start(mode, &temp, env);
    let code = demo.wait_exit(DEMO_PATIENCE).await.unwrap().code();
    nothing_is_left(&temp).await;
    Told {
        code,
        stdout: demo.stdout().unwrap(),
        stderr: demo.stderr().unwrap(),
    }
}

fn assert_equal(told: &Told) {
    assert_eq!(told.code, Some(0), "{}\n{}", told.stdout, told.stderr);
    let equal = "PostgreSQL and lake are equal: 20 rows, value for value; the other 2 of 22 are in quarantine.";
    assert!(told.stdout.contains(equal), "{}", told.stdout);
    assert!(
        !told.stdout.contains('\x1b'),
        "no colors outside of a terminal"
    );
}

#[tokio::test]
async fn the_demo_without_a_broker_ends_with_postgresql_and_lake_equal() {
    assert_equal(&demo("direct", &[]).await);
}

#[tokio::test]
async fn the_demo_through_kafka_ends_with_postgresql_and_lake_equal() {
    assert_equal(&demo("kafka", &[]).await);
}

#[tokio::test]
async fn where_servers_are_missing_the_demo_names_what_installs_them() {
    let told = demo("direct", &[("INLET_TEST_PG_BIN", "/nowhere")]).await;
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert!(
        told.stderr.contains("make setup") && told.stderr.contains("dev/scripts/setup.sh"),
        "{}",
        told.stderr
    );
}

#[tokio::test]
async fn a_demo_that_is_interrupted_leaves_nothing_behind() {
    let temp = Folder::new("temp").unwrap();
    let mut demo = start("direct", &temp, &[]);
    eventually(PATIENCE, "a service was started", async || {
        Ok(demo.stdout()?.contains("$ inlet run"))
    })
    .await;
    demo.terminate().unwrap();
    assert_eq!(demo.wait_exit(PATIENCE).await.unwrap().code(), Some(130));
    nothing_is_left(&temp).await;
}
