//! The demo as a process: it succeeds, prints the result, and removes its folders.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use inlet_harness::{Folder, Inlet, eventually};

const INLET: &str = env!("CARGO_BIN_EXE_inlet");
/// The time limit of a wait on a busy machine ..
const PATIENCE: Duration = Duration::from_secs(90);
/// .. and a whole demo, which starts a Kafka.
const DEMO_PATIENCE: Duration = Duration::from_secs(300);

/// Folders of a process that has ended are removed by its watchdog, a moment later.
async fn folders_are_removed(temp: &Path) {
    eventually(PATIENCE, "the demo's folders are removed", async || {
        fs::read_dir(temp).unwrap().next().is_none()
    })
    .await;
}

fn start(mode: &str, temp: &Path, env: &[(&str, &str)]) -> Inlet {
    let env = [&[("TMPDIR", temp.to_str().unwrap())], env].concat();
    Inlet::start(INLET, &["demo", "--mode", mode], &env).unwrap()
}

/// A demo's exit code and output.
struct Output {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn demo(mode: &str, env: &[(&str, &str)]) -> Output {
    let temp = Folder::new("temp").unwrap();
    let mut demo = start(mode, &temp, env);
    let code = demo.wait_exit(DEMO_PATIENCE).await.unwrap().code();
    folders_are_removed(&temp).await;
    Output {
        code,
        stdout: demo.stdout().unwrap(),
        stderr: demo.stderr().unwrap(),
    }
}

fn assert_equal(output: &Output) {
    assert_eq!(output.code, Some(0), "{}\n{}", output.stdout, output.stderr);
    let equal = "PostgreSQL and lake are equal: 20 rows, value for value; the other 2 of 22 are in \
        quarantine.";
    assert!(output.stdout.contains(equal), "{}", output.stdout);
    assert!(
        !output.stdout.contains('\x1b'),
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
async fn without_servers_the_demo_names_the_installation_command() {
    let output = demo("direct", &[("INLET_TEST_PG_BIN", "/nowhere")]).await;
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    assert!(
        output.stderr.contains("make setup") && output.stderr.contains("dev/scripts/setup.sh"),
        "{}",
        output.stderr
    );
}

#[tokio::test]
async fn a_demo_whose_reader_has_ended_ends_quietly_and_removes_its_folders() {
    let (temp, folder) = (Folder::new("temp").unwrap(), Folder::new("demo").unwrap());
    let script = "mkfifo \"$0\"; : <\"$0\" & exec 3>\"$0\"; wait; exec \"$@\" >&3 3>&-";
    let pipe = folder.join("stdout").display().to_string();
    let arguments = ["-c", script, &pipe, INLET, "demo", "--mode", "direct"];
    let env = [("TMPDIR", temp.to_str().unwrap())];
    let mut demo = Inlet::start("/bin/sh", &arguments, &env).unwrap();
    let ended = demo.wait_exit(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(141), "{}", demo.stderr().unwrap());
    assert_eq!(demo.stderr().unwrap(), "");
    folders_are_removed(&temp).await;
}

#[tokio::test]
async fn an_interrupted_demo_removes_its_folders() {
    let temp = Folder::new("temp").unwrap();
    let mut demo = start("direct", &temp, &[]);
    eventually(PATIENCE, "a service was started", async || {
        Ok(demo.stdout()?.contains("$ inlet run"))
    })
    .await;
    demo.terminate().unwrap();
    assert_eq!(demo.wait_exit(PATIENCE).await.unwrap().code(), Some(130));
    folders_are_removed(&temp).await;
}
