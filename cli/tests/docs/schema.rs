//! configs/inlet.schema.json takes every configuration of the repository, and refuses what Inlet
//! refuses.

use std::fs;
use std::path::{Path, PathBuf};

use inlet_harness::{Folder, Inlet, check_file_by};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn schema() -> PathBuf {
    root().join("configs/inlet.schema.json")
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yml");
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(is_yaml)
        .collect()
}

/// The checker's verdict on a text.
fn validated_by_schema(text: &str) -> Result<(), String> {
    let folder = Folder::new("schema").unwrap();
    fs::write(folder.join("inlet.yml"), text).unwrap();
    check_file_by(&schema(), &folder.join("inlet.yml")).map_err(|error| error.to_string())
}

#[test]
fn every_configuration_of_the_repository_is_taken() {
    let mut files = yaml_files(&root().join("configs"));
    for scenario in fs::read_dir(root().join("dev/scenarios")).unwrap() {
        files.extend(yaml_files(&scenario.unwrap().path()));
    }
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        check_file_by(&schema(), &file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

#[test]
fn what_is_odd_and_right_is_taken() {
    let text = "pipeline: 2024\npostgres:\n  port: ${PGPORT:-5432}\n  password: 007\n  table: \
        orders\n\
                kafka:\n  brokers: [a:1, b:2]\n  replication_factor: -1\n  properties:\n    \
                sasl.password_file: /run/secrets/kafka\n\
                streaming:\n  flush_rows: ${ROWS}\n  flush_bytes: 64 MiB\n  poll_interval: \
                ${POLL:-5ms}\n  batch_interval: 5\n\
                tables:\n  orders:\n    impossible_values: null\n    key: order_id\n    skip: \
                no\n  'shop.*':\ndatalake:\n";
    validated_by_schema(text).unwrap();
}

#[test]
fn planted_mistakes_are_refused() {
    let mistakes = [
        ("postgres:\n  tabel: orders\n", "tabel"),
        ("postgre: {}\n", "postgre"),
        ("tables:\n  orders:\n    curser: at\n", "curser"),
        ("postgres: localhost\n", "postgres"),
        ("postgres:\n  table: [orders]\n", "postgres.table"),
        ("postgres:\n  port: 70000\n", "postgres.port"),
        ("datalake:\n  format: delta\n", "datalake.format"),
        (
            "tables:\n  orders:\n    impossible_values: drop\n",
            "impossible_values",
        ),
        ("tables:\n  orders:\n    skip: 3\n", "skip"),
        (
            "streaming:\n  poll_interval: 5\n",
            "streaming.poll_interval",
        ),
        (
            "streaming:\n  poll_interval: 5 minutes\n",
            "streaming.poll_interval",
        ),
        ("streaming:\n  flush_rows: 0\n", "streaming.flush_rows"),
        ("streaming:\n  flush_bytes: 64MB\n", "streaming.flush_bytes"),
        (
            "kafka:\n  replication_factor: 0\n",
            "kafka.replication_factor",
        ),
        (
            "kafka:\n  properties:\n    enable.idempotence: false\n",
            "enable.idempotence",
        ),
        (
            "kafka:\n  properties:\n    sasl: { password: x }\n",
            "kafka.properties.sasl",
        ),
    ];
    for (text, named) in mistakes {
        let refusal = validated_by_schema(text).expect_err(text);
        assert!(refusal.contains(named), "`{named}` is not named: {refusal}");
    }
}

#[tokio::test]
async fn the_binary_prints_the_schema() {
    let printed = Inlet::run(env!("CARGO_BIN_EXE_inlet"), &["schema"], &[])
        .await
        .unwrap();
    assert_eq!(
        (printed.code, printed.stdout),
        (0, fs::read_to_string(schema()).unwrap())
    );
}
