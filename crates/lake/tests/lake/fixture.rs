//! A small table, its rows, and what DuckDB reads of its lake.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt8Array, UInt64Array,
};
use chrono_tz::Tz;
use inlet_harness::duckdb;
use inlet_lake::{
    Committed, LakeError, LakeOptions, Limits, Numbering, StagedBatch, TableReader, TableWriter,
};
use inlet_model::change::{ChangeBatch, Origin, UPSERT, positioned_schema};
use inlet_model::{
    Column, ColumnType, KafkaPartition, Offset, OffsetRange, Scalar, TableName, TableSchema,
};

pub const P0: KafkaPartition = KafkaPartition(0);
pub const P1: KafkaPartition = KafkaPartition(1);
/// 2026-11-20T00:00:00Z.
pub const NOV_20: i64 = 1_795_132_800_000_000;
pub const HOUR: i64 = 3_600_000_000;

pub fn column(name: &str, column_type: impl Into<ColumnType>, postgres_type: &str) -> Column {
    Column {
        name: name.into(),
        column_type: column_type.into(),
        postgres_type: postgres_type.into(),
        as_text: false,
        not_null: false,
        generated: false,
        number: None,
    }
}

pub fn table(columns: Vec<Column>) -> Arc<TableSchema> {
    Arc::new(TableSchema::new(
        TableName::new("public", "orders"),
        columns,
        vec![0],
    ))
}

/// `order_id`, `city`, `amount`, `created_at`.
pub fn orders() -> Arc<TableSchema> {
    table(vec![
        column("order_id", ColumnType::Scalar(Scalar::Int64), "bigint"),
        column("city", ColumnType::Scalar(Scalar::Text), "text"),
        column(
            "amount",
            ColumnType::Scalar(Scalar::Decimal {
                precision: 10,
                scale: 2,
            }),
            "numeric(10,2)",
        ),
        column(
            "created_at",
            ColumnType::Scalar(Scalar::TimestampTz),
            "timestamp with time zone",
        ),
    ])
}

pub fn options(timezone: Tz) -> LakeOptions {
    LakeOptions {
        table: orders().table.clone(),
        timezone,
        date_column: Some("created_at".into()),
        numbering: Numbering::Topic,
        compaction: None,
        retention: None,
    }
}

/// The change columns of upserts, for rows of a kafka_partition.
pub fn change_columns(partition: KafkaPartition, offsets: &[i64]) -> Vec<ArrayRef> {
    vec![
        Arc::new(UInt8Array::from(vec![UPSERT; offsets.len()])),
        Arc::new(UInt64Array::from_iter_values(
            offsets.iter().map(|offset| 1000 + *offset as u64),
        )),
        Arc::new(Int32Array::from(vec![partition.0; offsets.len()])),
        Arc::new(Int64Array::from(offsets.to_vec())),
        Arc::new(TimestampMicrosecondArray::from(vec![NOV_20; offsets.len()]).with_timezone("UTC")),
    ]
}

pub fn batch(
    schema: &Arc<TableSchema>,
    columns: Vec<ArrayRef>,
    partition: KafkaPartition,
    offsets: &[i64],
) -> ChangeBatch {
    let columns = columns
        .into_iter()
        .chain(change_columns(partition, offsets))
        .collect();
    let rows = RecordBatch::try_new(positioned_schema(schema), columns).unwrap();
    ChangeBatch {
        schema: schema.clone(),
        rows,
        detected_at: NOV_20,
        origin: Origin::Poll,
    }
}

/// Orders at these offsets; `created` gives the time at which each was created.
pub fn orders_at(
    partition: KafkaPartition,
    offsets: std::ops::Range<i64>,
    created: impl Fn(i64) -> Option<i64>,
) -> ChangeBatch {
    let offsets: Vec<i64> = offsets.collect();
    let amounts = Decimal128Array::from_iter_values(
        offsets.iter().map(|offset| i128::from(*offset) * 100 + 25),
    );
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(offsets.clone())),
        Arc::new(StringArray::from_iter_values(
            offsets.iter().map(|offset| format!("city {}", offset % 7)),
        )),
        Arc::new(amounts.with_precision_and_scale(10, 2).unwrap()),
        Arc::new(
            TimestampMicrosecondArray::from_iter(offsets.iter().map(|offset| created(*offset)))
                .with_timezone("UTC"),
        ),
    ];
    batch(&orders(), columns, partition, &offsets)
}

pub fn range(offsets: std::ops::Range<i64>) -> OffsetRange {
    OffsetRange {
        from: Offset(offsets.start),
        next: Offset(offsets.end),
    }
}

/// Fills the open batch with one order an offset, alternating between 2026-11-20 and 2026-11-21.
pub async fn fill(
    table: &mut TableWriter,
    partition: KafkaPartition,
    offsets: std::ops::Range<i64>,
) -> Result<(), LakeError> {
    table
        .append(orders_at(partition, offsets.clone(), |offset| {
            Some(NOV_20 + offset % 2 * 24 * HOUR)
        }))
        .await?;
    table.cover(partition, range(offsets.clone()), offsets.end as u64)
}

pub async fn stage(
    table: &mut TableWriter,
    partition: KafkaPartition,
    offsets: std::ops::Range<i64>,
) -> Result<StagedBatch, LakeError> {
    let filled = fill(table, partition, offsets).await;
    let closed = table.close().unwrap();
    filled?;
    closed.stage().await
}

pub async fn commit(
    table: &mut TableWriter,
    partition: KafkaPartition,
    offsets: std::ops::Range<i64>,
) -> Result<Committed, LakeError> {
    stage(table, partition, offsets).await?.commit(None).await
}

/// An opened lake that owns these kafka_partitions.
pub async fn open(
    path: &Path,
    partitions: impl IntoIterator<Item = KafkaPartition>,
) -> TableWriter {
    let mut table = try_open(path, options(Tz::UTC)).await.unwrap();
    table.take_over(partitions).await.unwrap();
    table
}

/// Opens a lake without taking anything over.
pub async fn try_open(path: &Path, options: LakeOptions) -> Result<TableWriter, LakeError> {
    let limits = Limits {
        rows: u64::MAX,
        bytes: u64::MAX,
        age: std::time::Duration::MAX,
    };
    TableWriter::open(path, options, limits).await
}

/// The head of a lake, read without becoming a writer.
pub async fn head(path: &Path) -> inlet_lake::Head {
    TableReader::new(path).head().await.unwrap().unwrap()
}

/// Reads everything in the folder: nothing is wrong with it.
pub async fn expect_whole(path: &Path) {
    let audit = TableReader::new(path).audit().await.unwrap();
    assert!(audit.is_clean(), "{audit:#?}");
}

/// What a user reads: a plain glob over the folder.
pub async fn select(path: &Path, what: &str) -> Vec<Vec<String>> {
    let glob = format!("{}/**/*.parquet", path.display());
    duckdb::query(&format!(
        "SELECT {what} FROM read_parquet('{glob}', hive_partitioning = true) ORDER BY ALL"
    ))
    .await
    .unwrap()
}

pub async fn count(path: &Path) -> u64 {
    duckdb::count_glob(format!("{}/**/*.parquet", path.display()))
        .await
        .unwrap()
}

/// Rows, distinct positions, first and last offset of each kafka_partition: `rows` = `distinct` and
/// no gap means that no row is missing and none is a duplicate.
pub async fn positions(path: &Path) -> Vec<Vec<String>> {
    let glob = format!("{}/**/*.parquet", path.display());
    let sql = format!(
        "SELECT _kafka_partition, count(*), count(DISTINCT _offset), min(_offset), max(_offset) \
         FROM read_parquet('{glob}') GROUP BY 1 ORDER BY 1"
    );
    duckdb::query(&sql).await.unwrap()
}

pub fn texts<const R: usize, const C: usize>(rows: [[&str; C]; R]) -> Vec<Vec<String>> {
    rows.iter()
        .map(|row| row.iter().map(|text| (*text).to_owned()).collect())
        .collect()
}

/// The folder as a crash at this moment leaves it: all files, no process that holds a lock.
pub fn crash_image(path: &Path) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    copy(path, image.path());
    image
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Files in a folder whose name ends so, sorted.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    found.sort();
    found
}

/// The last entry of the log, as JSON.
pub fn last_entry(path: &Path) -> serde_json::Value {
    let entries: Vec<_> = files(&path.join("_log"), ".json")
        .into_iter()
        .filter(|path| !path.ends_with("_checkpoint.json"))
        .collect();
    serde_json::from_slice(&fs::read(entries.last().unwrap()).unwrap()).unwrap()
}
