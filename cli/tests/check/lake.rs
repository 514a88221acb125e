use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inlet_harness::{Inlet, eventually};

use crate::case::{Case, INLET, PATIENCE};

const LAKE: &str = "/data/lake";

#[tokio::test]
async fn a_lake_below_a_file() {
    let mut case = Case::new().await;
    fs::write(case.folder.join("lake"), "not a folder").unwrap();
    case.fixed_by(
        "a file in the place of the lake",
        "error",
        LAKE,
        "`datalake.path`",
        |case| {
            case.set("datalake.path: other");
        },
    )
    .await;
}

#[tokio::test]
async fn a_lake_of_another_table() {
    let mut case = Case::new().await;
    case.load().await;
    case.items().await;
    case.replace("table: orders", "table: items");
    case.fixed_by(
        "a folder that holds another table",
        "error",
        LAKE,
        "its own folder",
        |case| {
            case.set("datalake.path: other");
        },
    )
    .await;
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
    case.fixed_by(
        "a second table in a pipeline of one",
        "error",
        LAKE,
        "`datalake.path` of its own",
        |case| {
            case.set("datalake.path: other");
        },
    )
    .await;
}

#[tokio::test]
async fn one_table_of_a_lake_of_two() {
    let mut case = Case::new().await;
    case.items().await;
    case.add("tables:\n  orders: {}\n  items: {}\n");
    case.load().await;
    case.forget("  items: {}\n");
    case.fixed(
        "one table left of a pipeline of two",
        "error",
        LAKE,
        "datalake.path: /data/lake/orders",
    )
    .await;
}

#[tokio::test]
async fn another_writer() {
    let case = Case::new().await;
    let mut inlet = Inlet::start(INLET, &["run", "--config", &case.config()], &[]).unwrap();
    eventually(PATIENCE, "rows are committed", async || {
        Ok(inlet.stderr()?.contains("batch committed"))
    })
    .await;
    let masks = [("process ", " writes", "4711")];
    case.check()
        .await
        .names_with("a service that runs", "info", LAKE, "", &masks);
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
async fn a_duckdb_that_is_too_old() {
    let case = Case::new().await;
    let program = case.folder.join("duckdb");
    fs::write(
        &program,
        "#!/bin/sh\necho 'v1.1.3 (Eisenbahn) 19864453f7'\n",
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let named = program.display().to_string();
    let checked = case.check_with(&[], &[("INLET_DUCKDB", &named)]).await;
    checked.names(
        "DuckDB 1.1",
        "warning",
        "duckdb",
        "pip install duckdb-cli --upgrade",
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

#[tokio::test]
async fn a_lake_behind_a_link_to_a_disk_that_is_not_mounted() {
    let mut case = Case::new().await;
    let disk = case.folder.join("disk");
    case.show(disk.display().to_string(), "/mnt/disk");
    case.shown.rotate_right(1);
    std::os::unix::fs::symlink(&disk, case.folder.join("lake")).unwrap();
    let complaints = case.check().await.complaints().concat();
    assert!(!complaints.contains("uid"), "{complaints}");
    case.fixed_by(
        "a link to a disk that is not mounted, as the lake",
        "error",
        LAKE,
        "mount the disk",
        |_| fs::create_dir(&disk).unwrap(),
    )
    .await;
}

/// The path of the first data file below a lake.
fn data_file(lake: &Path) -> PathBuf {
    let entries = fs::read_dir(lake)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_date = |path: &PathBuf| path.to_str().unwrap().contains("/date=");
    let date = entries.into_iter().find(is_date).unwrap();
    fs::read_dir(date).unwrap().next().unwrap().unwrap().path()
}

/// A loaded lake, in which the path of its data file is shown without its date.
async fn loaded() -> (Case, PathBuf) {
    let mut case = Case::new().await;
    case.load().await;
    let file = data_file(&case.folder.join("lake"));
    let date = file.parent().unwrap().file_name().unwrap().to_owned();
    case.show(date.to_str().unwrap(), "date=2026-11-20");
    (case, file)
}

#[tokio::test]
async fn a_file_of_another_program_among_the_data_files() {
    let (mut case, file) = loaded().await;
    fs::copy(&file, file.with_file_name("copy.parquet")).unwrap();
    case.fixed(
        "a copied data file",
        "warning",
        "/data/lake/date=2026-11-20/copy.parquet",
        "mv '/data/lake/date=2026-11-20/copy.parquet' '/data/lake-foreign'",
    )
    .await;
}

#[tokio::test]
async fn a_data_file_that_was_deleted() {
    let (mut case, file) = loaded().await;
    let copy = case.folder.join("copy.parquet");
    fs::copy(&file, &copy).unwrap();
    fs::remove_file(&file).unwrap();
    case.fixed_by(
        "a deleted data file",
        "error",
        "/data/lake/date=2026-11-20/0-00000000000000000000-1.parquet",
        "restore it from a copy of the lake",
        |_| {
            fs::copy(&copy, &file).unwrap();
        },
    )
    .await;
}

#[tokio::test]
async fn a_data_file_that_was_cut_off() {
    let (case, file) = loaded().await;
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..100]).unwrap();
    case.check().await.names_with(
        "a data file that was cut off",
        "error",
        "/data/lake/date=2026-11-20/0-00000000000000000000-1.parquet",
        "restore it from a copy of the lake",
        &[("100 bytes, and ", " were", "2345")],
    );
}

#[tokio::test]
async fn an_entry_that_a_power_cut_tore() {
    let case = Case::new().await;
    case.load().await;
    let log = case.folder.join("lake/_log");
    let last = fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('_'))
        .max()
        .unwrap();
    let next = last.strip_suffix(".json").unwrap().parse::<u64>().unwrap() + 1;
    fs::write(log.join(format!("{next:020}.json")), "{\"seq\":").unwrap();
    let mut case = case;
    case.show(format!("{next:020}"), "00000000000000000012");
    case.check().await.names(
        "an entry that a power cut left incomplete",
        "info",
        "/data/lake/_log/00000000000000000012.json",
        "",
    );
}

#[tokio::test]
async fn a_column_that_delta_has_no_type_for() {
    let mut case = Case::new().await;
    let sql = "ALTER TABLE orders ADD COLUMN token uuid";
    case.database.sql(sql).await.unwrap();
    case.add("tables:\n  orders:\n    exports: delta\n");
    case.fixed(
        "a column of type uuid, and `exports: delta`",
        "error",
        "orders",
        "tables.orders.exports: none",
    )
    .await;
}
