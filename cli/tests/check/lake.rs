use std::fs;
use std::time::Duration;

use inlet_harness::{Inlet, eventually};

use crate::case::{Case, INLET, PATIENCE};

const LAKE: &str = "/data/lake";

#[tokio::test]
async fn a_lake_below_a_file() {
    let case = Case::new().await;
    fs::write(case.folder.join("lake"), "not a folder").unwrap();
    case.check().await.names(
        "a file in the place of the lake",
        "error",
        LAKE,
        "`datalake.path`",
    );
}

#[tokio::test]
async fn a_lake_of_another_table() {
    let mut case = Case::new().await;
    case.load().await;
    case.items().await;
    case.replace("table: orders", "table: items");
    case.check().await.names(
        "a folder that holds another table",
        "error",
        LAKE,
        "its own folder",
    );
}

#[tokio::test]
async fn a_broker_for_a_lake_that_was_written_without_one() {
    let mut case = Case::new().await;
    case.load().await;
    case.add("kafka:\n  brokers: 127.0.0.1:1\n");
    case.check().await.names(
        "a `kafka:` section for a lake of `inlet run`",
        "error",
        LAKE,
        "a new `datalake.path`",
    );
}

#[tokio::test]
async fn a_second_table_for_a_lake_of_one() {
    let mut case = Case::new().await;
    case.load().await;
    case.items().await;
    case.add("tables:\n  orders: {}\n  items: {}\n");
    case.check().await.names(
        "a second table in a pipeline of one",
        "error",
        LAKE,
        "`datalake.path` of its own",
    );
}

#[tokio::test]
async fn one_table_of_a_lake_of_two() {
    let mut case = Case::new().await;
    case.items().await;
    case.add("tables:\n  orders: {}\n  items: {}\n");
    case.load().await;
    case.forget("  items: {}\n");
    case.check().await.names(
        "one table left of a pipeline of two",
        "error",
        LAKE,
        "datalake.path: /data/lake/orders",
    );
}

#[tokio::test]
async fn another_writer() {
    let case = Case::new().await;
    let mut inlet = Inlet::start(INLET, &["run", "--config", &case.config()], &[]).unwrap();
    eventually(PATIENCE, "rows are committed", async || {
        Ok(inlet.stderr()?.contains("batch committed"))
    })
    .await;
    let masks = [("process ", " writes", "4711"), ("kill ", "", "4711")];
    case.check().await.names_with(
        "another process that writes",
        "warning",
        LAKE,
        "kill 4711",
        &masks,
    );
    inlet.terminate().unwrap();
    inlet.wait_exit(Duration::from_secs(20)).await.unwrap();
}

#[tokio::test]
async fn a_machine_without_duckdb() {
    let case = Case::new().await;
    let nothing = case.folder.display().to_string();
    let checked = case
        .check_with(&[], &[("PATH", &nothing), ("INLET_CACHE", &nothing)])
        .await;
    checked.names(
        "no DuckDB on PATH",
        "warning",
        "duckdb",
        "pip install duckdb-cli",
    );
}

#[tokio::test]
async fn tables_that_duckdb_reads_as_another_name() {
    let mut case = Case::new().await;
    let sql = "CREATE SCHEMA temp; CREATE TABLE temp.t (id int PRIMARY KEY, at timestamptz); \
               CREATE TABLE \"Orders\" (id int PRIMARY KEY, at timestamptz)";
    case.database.sql(sql).await.unwrap();
    case.replace("  table: orders\n", "")
        .add("tables:\n  orders: {}\n  '\"Orders\"': {}\n  temp.t: {}\n");
    let checked = case.check().await;
    checked.names(
        "tables `orders` and `\"Orders\"`",
        "warning",
        "Orders",
        "SELECT * FROM \"Orders_1\"",
    );
    checked.names(
        "a table of a schema `temp`",
        "warning",
        "temp.t",
        "SELECT * FROM \"temp_1\".\"t\"",
    );
}

#[tokio::test]
async fn a_log_that_cannot_be_read() {
    let case = Case::new().await;
    case.load().await;
    fs::write(
        case.folder
            .join("lake/_log")
            .join(format!("{:020}.json", 1)),
        "{\"table\":{\"schema\":\"public\",\"name\":\"orders\"}}",
    )
    .unwrap();
    let checked = case.check().await;
    assert!(
        checked
            .complaints()
            .iter()
            .any(|text| text.contains("_log/")),
        "{:#?}",
        checked.findings
    );
}

#[tokio::test]
async fn nothing_stays_in_the_lake() {
    let case = Case::new().await;
    let lake = case.folder.join("lake");
    fs::create_dir(&lake).unwrap();
    case.check().await;
    assert_eq!(fs::read_dir(&lake).unwrap().count(), 0);
}
