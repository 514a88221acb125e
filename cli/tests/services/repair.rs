//! `inlet verify --repair`: what the lake has otherwise than PostgreSQL is published again, by the
//! service that runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use inlet_harness::{Inlet, duckdb, eventually, judge, shared_database};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use crate::orders::{INLET, PATIENCE};
use crate::tables::{Copy, WAYS};

const ORDERS: &str = "\
    CREATE TABLE orders (id integer PRIMARY KEY, state text, updated_at timestamptz NOT NULL
        DEFAULT '2026-03-01');
    CREATE TABLE notes (line text);
    CREATE INDEX ON orders (updated_at);
    INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 10) n";
/// An update that leaves the cursor as it was, and a delete, both uncounted: polls see neither.
const HIDDEN: &str = "SET track_counts = off; UPDATE orders SET state = 'sent' WHERE id = 3;
    DELETE FROM orders WHERE id = 4";

fn data_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("_staging") {
            files.extend(data_files(&path));
        } else if path.extension().is_some_and(|found| found == "parquet") {
            files.push(path);
        }
    }
    files
}

/// Writes a data file again, with other rows: 5 is missing, 99 is too many, and 6 has another
/// value. As many rows as were committed, so nothing but their values shows it.
fn damage(path: &Path) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let zstd = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder()
        .set_created_by("inlet of a test".to_owned())
        .set_compression(zstd)
        .build();
    let staged = path.with_extension("damaged");
    let file = File::create(&staged).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).unwrap();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let mut columns = batch.columns().to_vec();
        let place = |name| schema.index_of(name).unwrap();
        let ids = batch.column(place("id")).as_primitive::<Int32Type>();
        let states = batch.column(place("state")).as_string::<i32>();
        let state = |row| match ids.value(row) {
            6 => "damaged",
            _ => states.value(row),
        };
        let states: StringArray = (0..ids.len()).map(|row| Some(state(row))).collect();
        columns[place("state")] = Arc::new(states);
        let ids: Int32Array = ids.unary(|id| if id == 5 { 99 } else { id });
        columns[place("id")] = Arc::new(ids);
        let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
        writer.write(&batch).unwrap();
    }
    writer.close().unwrap();
    fs::rename(&staged, path).unwrap();
}

impl Copy {
    async fn verify(&self, more: &[&str]) -> (i32, String) {
        let finished = self.run_with("verify", more).await;
        (finished.code, finished.stdout + &finished.stderr)
    }

    /// Waits until every table is loaded and polled, and the keys of `orders` were compared once:
    /// no other comparison is due for an hour.
    async fn await_tailing(&self) {
        eventually(PATIENCE, "every table is polled", async || {
            let status = self.run_with("status", &["--json"]).await.stdout;
            let status: Value = serde_json::from_str(&status)?;
            let tables = status["tables"].as_array().cloned().unwrap_or_default();
            let is_compared = |table: &Value| {
                table["table"] != "public.orders" || !table["deletes"]["seen_until"].is_null()
            };
            let is_done = |table: &Value| table["phase"] == "tailing" && is_compared(table);
            anyhow::Ok(tables.iter().all(is_done))
        })
        .await;
    }
}

#[tokio::test]
async fn rows_that_differ_are_published_again_and_marked_in_the_log() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(ORDERS).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { orders: , notes: }\n").await;
        let _services = copy.start(verbs);
        copy.await_rows("orders", 10).await;
        copy.await_tailing().await;
        copy.database.sql(HIDDEN).await.unwrap();
        let files = data_files(&copy.folder.join("lake/orders"));
        assert_eq!(files.len(), 1, "{files:?}");
        damage(&files[0]);
        let (code, report) = copy.verify(&["orders", "--timeout", "0"]).await;
        assert_eq!(code, 3, "{report}");
        // A late count of the first rows can have made a sweep due, which has found the update.
        let found = [1, 2].map(|others| {
            format!("9 rows, 1 missing in the lake, {others} with other values, 2 only in the lake")
        });
        assert!(found.iter().any(|found| report.contains(found)), "{report}");
        let (code, report) = copy.verify(&["--repair", "--timeout", "10"]).await;
        assert_eq!(code, 0, "{report}");
        // The sweep finds the update; 5 and 6 come again, 4 and 99 leave.
        assert!(
            report.contains("repair: 2 rows were published again, "),
            "{report}"
        );
        assert!(report.contains(" found, 2 rows were deleted"), "{report}");
        assert!(report.contains("public.notes: equal"), "{report}");
        copy.verified().await;
        judge::equal(INLET, &copy.config, &copy.database, "orders").await;
        // Which rows a repair brought is in the log of the lake, whatever becomes of their files.
        let arguments = ["lake", "log", "--config", &copy.config, "--json", "orders"];
        let log = Inlet::run(INLET, &arguments, &[]).await.unwrap();
        let log: Value = serde_json::from_str(&log.stdout).unwrap();
        let entries = log["entries"].as_array().unwrap();
        let repaired: Vec<_> = entries
            .iter()
            .flat_map(|entry| entry["repaired"].as_array().unwrap())
            .collect();
        let mut marked = Vec::new();
        for range in repaired {
            let of_range = format!(
                "SELECT id, _op FROM {} WHERE _kafka_partition = {} AND _offset >= {} AND _offset < \
                 {}",
                copy.files("orders"),
                range["kafka_partition"],
                range["from"],
                range["next"]
            );
            marked.extend(duckdb::query(&of_range).await.unwrap());
        }
        marked.sort();
        assert_eq!(marked, [["4", "d"], ["5", "u"], ["6", "u"], ["99", "d"]]);
        // The request is carried out once, and both sides are equal now.
        let (code, report) = copy.verify(&["--repair"]).await;
        assert_eq!((code, report.contains("repair:")), (0, false), "{report}");
        let versions = format!("SELECT count(*) FROM {}", copy.files("orders"));
        assert_eq!(duckdb::query(&versions).await.unwrap(), [["15"]]);
    }
}

#[tokio::test]
async fn without_a_service_the_request_waits_for_one() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(ORDERS).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { orders: , notes: }\n").await;
        let mut services = copy.start(verbs);
        copy.await_rows("orders", 10).await;
        copy.await_tailing().await;
        services[0].kill_9().unwrap();
        copy.database
            .sql("UPDATE orders SET state = 'sent' WHERE id = 3; DELETE FROM orders WHERE id = 4")
            .await
            .unwrap();
        let (code, report) = copy.verify(&["--repair", "--timeout", "1"]).await;
        assert_eq!(code, 3, "{report}");
        let waits = "repair: requested for 2 of 2 rows. No service has answered yet; the request is \
                     stored";
        assert!(report.contains(waits), "{report}");
        services[0] = copy.start(&verbs[..1]).remove(0);
        copy.await_rows("orders", 12).await;
        copy.verified().await;
    }
}

#[tokio::test]
async fn a_table_without_a_key_is_not_repaired_and_the_words_say_why() {
    let database = shared_database().await;
    database.sql(ORDERS).await.unwrap();
    database
        .sql("INSERT INTO notes VALUES ('x')")
        .await
        .unwrap();
    let copy = Copy::of(database, &["run"], "tables: { notes: }\n").await;
    let mut services = copy.start(&["run"]);
    copy.await_rows("", 1).await;
    copy.await_tailing().await;
    services[0].kill_9().unwrap();
    copy.database.sql("DELETE FROM notes").await.unwrap();
    let (code, report) = copy.verify(&["--repair", "--timeout", "1"]).await;
    assert_eq!(code, 3, "{report}");
    assert!(report.contains("repair: the table has no key"), "{report}");
}

#[tokio::test]
async fn a_repair_through_kills_while_others_write_brings_each_version_once() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(ORDERS).await.unwrap();
        // Rows above 10,000 are those of the writer.
        let more = "INSERT INTO orders SELECT n, 'new' FROM generate_series(11, 3000) n";
        database.sql(more).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { orders: , notes: }\n").await;
        let mut services = copy.start(verbs);
        copy.await_rows("orders", 3000).await;
        copy.await_tailing().await;
        let hidden = "SET track_counts = off;
            UPDATE orders SET state = 'sent' WHERE id BETWEEN 101 AND 600;
            DELETE FROM orders WHERE id BETWEEN 1001 AND 1500";
        copy.database.sql(hidden).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (stop, url) = (stop.clone(), copy.database.url().to_owned());
            tokio::spawn(write(url, stop))
        };
        let repair = async {
            // A repair that meets a kill is asked for again, as a user would.
            for _ in 0..3 {
                let (code, report) = copy.verify(&["orders", "--repair", "--timeout", "2"]).await;
                assert!([0, 3].contains(&code), "{report}");
            }
        };
        let kill = async {
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(rand::random_range(500..3000))).await;
                services[0].kill_9().unwrap();
                services[0] = copy.start(&verbs[..1]).remove(0);
            }
        };
        tokio::join!(repair, kill);
        stop.store(true, Ordering::Relaxed);
        writer.await.unwrap();
        eventually(PATIENCE, "both sides are equal", async || {
            anyhow::Ok(
                copy.verify(&["orders", "--repair", "--timeout", "5"])
                    .await
                    .0
                    == 0,
            )
        })
        .await;
        judge::equal(INLET, &copy.config, &copy.database, "orders").await;
        // A repair that was asked for twice is made twice; each of them brings a row once.
        let versions = format!(
            "SELECT count(DISTINCT id), count(*) - count(DISTINCT (id, _detected_at)) FROM {} WHERE id \
             BETWEEN 101 AND 600 OR id BETWEEN 1001 AND 1500",
            copy.files("orders")
        );
        let folder = copy.folder.join("lake/orders");
        let counted = duckdb::read(&folder, &versions).await.unwrap();
        assert_eq!(counted, [["1000", "0"]]);
    }
}

/// Inserts, updates and deletes rows until it is stopped.
async fn write(url: String, stop: Arc<AtomicBool>) {
    use sqlx::Connection;
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    let mut id = 10_000;
    while !stop.load(Ordering::Relaxed) {
        id += 1;
        let sql = format!(
            "INSERT INTO orders VALUES ({id}, 'w', now());
             UPDATE orders SET state = 'w2', updated_at = now() WHERE id = {id} - 3;
             DELETE FROM orders WHERE id = {id} - 7"
        );
        let sql = sqlx::AssertSqlSafe(sql);
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
