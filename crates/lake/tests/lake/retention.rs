//! Dates that are older than the table keeps leave: all their rows at once, and no older version of
//! a row comes back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, UInt8Array};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use inlet_harness::{duckdb, eventually};
use inlet_lake::{Compactor, Expired, LakeError, Rejected, Retention, TableReader, TableWriter};
use inlet_model::change::{ChangeBatch, DELETE, OP};
use inlet_model::{Offset, Scalar};

use crate::fixture::{
    HOUR, NOV_20, P0, batch, column, commit, count, expect_whole, head, open, orders_at, range,
    select, table, texts,
};

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

fn keep(days: u32) -> Retention {
    Retention {
        history: Some(days),
        quarantine: None,
        timezone: Tz::UTC,
        date_column: Some("created_at".to_owned()),
    }
}

fn at(day: &str) -> DateTime<Utc> {
    format!("2026-11-{day}T12:00:00Z").parse().unwrap()
}

/// Lets leave what is too old at noon of a day in November.
async fn expire(path: &Path, retention: &Retention, day: &str) -> Expired {
    let compactor = Compactor::open(path, PAUSE).await.unwrap().unwrap();
    let expire = compactor.expire(retention.clone(), at(day), Arc::default());
    expire.await.unwrap()
}

/// The same until these dates have left: a busy machine may have no moment without readers.
async fn expect_to_leave(path: &Path, retention: &Retention, day: &str, dates: &[&str]) {
    let mut left = Vec::new();
    eventually(PATIENCE, "dates leave", async || {
        left.extend(expire(path, retention, day).await.dates);
        Ok(left.len() >= dates.len())
    })
    .await;
    left.sort();
    assert_eq!(left, dates);
}

/// Versions of keys, each at its day of November: (key, day).
async fn versions(lake: &mut TableWriter, first: i64, versions: &[(i64, i64)]) {
    let end = first + versions.len() as i64;
    for (offset, (key, day)) in (first..).zip(versions) {
        let created = NOV_20 + (day - 20) * 24 * HOUR;
        let orders = orders_at(P0, offset..offset + 1, |_| Some(created));
        lake.append(with_key(orders, *key)).await.unwrap();
    }
    lake.cover(P0, range(first..end), end as u64).unwrap();
    lake.commit(None).await.unwrap();
}

fn with_key(orders: ChangeBatch, key: i64) -> ChangeBatch {
    let mut columns = orders.rows.columns().to_vec();
    columns[0] = Arc::new(arrow::array::Int64Array::from(vec![key]));
    let rows = RecordBatch::try_new(orders.rows.schema(), columns).unwrap();
    ChangeBatch { rows, ..orders }
}

/// The latest state as the page of the lake shows it: the key and the offset of each row.
async fn latest(path: &Path) -> Vec<Vec<String>> {
    let glob = format!("{}/**/*.parquet", path.display());
    let sql = format!(
        "SELECT order_id, _offset FROM read_parquet('{glob}', union_by_name = true) QUALIFY \
         row_number() OVER (PARTITION BY order_id ORDER BY _offset DESC) = 1 AND _op = 'u' ORDER \
         BY ALL"
    );
    duckdb::read(path, &sql).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_dates_leave_with_their_rows_and_the_lake_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut lake = open(path, [P0]).await;
    for n in 0..4 {
        commit(&mut lake, P0, n * 10..n * 10 + 10).await.unwrap();
    }
    assert_eq!(expire(path, &keep(2), "22").await, Expired::default());
    expect_to_leave(path, &keep(2), "23", &["2026-11-20"]).await;
    assert!(!path.join("date=2026-11-20").exists());
    let after = head(path).await;
    assert_eq!(
        (after.rows, after.files, after.offsets[&P0].next),
        (20, 4, Some(Offset(40)))
    );
    assert_eq!(after.expired_dates.len(), 1);
    assert_eq!(count(path).await, 20);
    assert_eq!(select(path, "DISTINCT date").await, texts([["2026-11-21"]]));
    expect_whole(path).await;
    // The writer of before goes on, also with a late row of the date, which leaves next time.
    commit(&mut lake, P0, 40..50).await.unwrap();
    assert_eq!(count(path).await, 30);
    drop(lake);
    assert_eq!(open(path, [P0]).await.head().rows, 30);
    expect_to_leave(path, &keep(2), "23", &["2026-11-20"]).await;
    assert_eq!(head(path).await.rows, 25);
    // A file of another program stays: only what the log names leaves.
    let foreign = path.join("date=2026-11-21/notes.txt");
    std::fs::write(&foreign, "x").unwrap();
    expect_to_leave(path, &keep(1), "29", &["2026-11-21"]).await;
    assert!(foreign.exists());
    assert_eq!((count(path).await, head(path).await.rows), (0, 0));
    expect_whole(path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_stays_while_it_has_the_latest_version_of_a_row_whose_older_one_would_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut lake = open(path, [P0]).await;
    // The date of key 1 was corrected to an earlier day; key 2 stays on its day.
    versions(&mut lake, 0, &[(1, 22), (2, 20), (3, 22)]).await;
    versions(&mut lake, 3, &[(1, 20)]).await;
    let expected = texts([["1", "3"], ["2", "1"], ["3", "2"]]);
    assert_eq!(latest(path).await, expected);
    let found = expire(path, &keep(1), "23").await;
    assert_eq!(found.waiting, [("2026-11-20".to_owned(), 1)]);
    assert_eq!(latest(path).await, expected);
    // Once a later version hides both, the date leaves, and the state loses its own rows only.
    versions(&mut lake, 4, &[(1, 23)]).await;
    expect_to_leave(path, &keep(1), "23", &["2026-11-20"]).await;
    assert_eq!(latest(path).await, texts([["1", "4"], ["3", "2"]]));
    expect_whole(path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_that_are_too_old_leave_in_an_order_that_brings_no_version_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut lake = open(path, [P0]).await;
    versions(&mut lake, 0, &[(1, 22), (2, 23)]).await;
    versions(&mut lake, 2, &[(1, 20)]).await;
    expect_to_leave(path, &keep(1), "24", &["2026-11-20", "2026-11-22"]).await;
    assert_eq!(latest(path).await, texts([["2", "1"]]));
    let log = TableReader::new(path).log(&head(path).await, 2);
    let left = log
        .iter()
        .map(|(_, entry)| entry.as_ref().unwrap().expired.clone());
    let left: Vec<_> = left.map(|left| left.unwrap().0.unwrap()).collect();
    assert_eq!(left, ["2026-11-20", "2026-11-22"], "the latest entry first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_row_stays_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut lake = open(path, [P0]).await;
    versions(&mut lake, 0, &[(1, 20), (2, 20), (3, 23)]).await;
    // A delete has no date, and stays.
    let mut deleted = with_key(orders_at(P0, 3..4, |_| None), 1);
    let mut columns = deleted.rows.columns().to_vec();
    let at = deleted.rows.schema().index_of(OP).unwrap();
    columns[at] = Arc::new(UInt8Array::from(vec![DELETE]));
    deleted.rows = RecordBatch::try_new(deleted.rows.schema(), columns).unwrap();
    lake.append(deleted).await.unwrap();
    lake.cover(P0, range(3..4), 4).unwrap();
    lake.commit(None).await.unwrap();
    assert_eq!(latest(path).await, texts([["2", "1"], ["3", "2"]]));
    expect_to_leave(path, &keep(1), "23", &["2026-11-20"]).await;
    assert_eq!(latest(path).await, texts([["3", "2"]]));
    assert_eq!(count(path).await, 2, "the delete, and the row that stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_rows_leave_by_the_day_of_their_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut lake = open(path, [P0]).await;
    let rejected = Rejected {
        reason: "amount >= 0".into(),
        topic: "orders".into(),
        kafka_partition: P0,
        offset: Offset(0),
        key: None,
        value: None,
    };
    lake.reject(vec![rejected]).await.unwrap();
    lake.cover(P0, range(0..1), 1).unwrap();
    lake.commit(None).await.unwrap();
    commit(&mut lake, P0, 1..11).await.unwrap();
    let retention = Retention {
        history: None,
        quarantine: Some(7),
        ..keep(0)
    };
    let compactor = Compactor::open(path, PAUSE).await.unwrap().unwrap();
    let expire = async |days: i64| {
        let now = Utc::now() + chrono::TimeDelta::days(days);
        let expired = compactor.expire(retention.clone(), now, Arc::default());
        expired.await.unwrap()
    };
    assert_eq!(expire(6).await, Expired::default());
    eventually(PATIENCE, "the rejected row leaves", async || {
        Ok(expire(9).await.rows == 1)
    })
    .await;
    let after = head(path).await;
    assert_eq!((after.rows, after.quarantined), (10, 0));
    assert!(
        TableReader::new(path)
            .quarantine_files()
            .unwrap()
            .is_empty()
    );
    expect_whole(path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_date_of_its_own_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let schema = table(vec![column("order_id", Scalar::Int64, "bigint")]);
    let mut options = crate::fixture::options(Tz::UTC);
    options.date_column = None;
    let mut lake = crate::fixture::try_open(folder.path(), options)
        .await
        .unwrap();
    lake.take_over([P0]).await.unwrap();
    let ids: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
    lake.append(batch(&schema, vec![ids], P0, &[0]))
        .await
        .unwrap();
    lake.cover(P0, range(0..1), 1).unwrap();
    lake.commit(None).await.unwrap();
    let compactor = Compactor::open(folder.path(), PAUSE)
        .await
        .unwrap()
        .unwrap();
    let retention = Retention {
        date_column: None,
        ..keep(1)
    };
    let error = compactor.expire(retention, at("29"), Arc::default()).await;
    assert!(matches!(error, Err(LakeError::Undated { .. })), "{error:?}");
    assert_eq!(count(folder.path()).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_plain_pattern_sees_a_date_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let mut lake = open(&path, [P0]).await;
    for n in 0..60 {
        commit(&mut lake, P0, n * 10..n * 10 + 10).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (reads, stopped) = (path.clone(), stop.clone());
    let reader = tokio::spawn(async move {
        let glob = format!("{}/**/*.parquet", reads.display());
        let sql = format!("SELECT count(*) FROM read_parquet('{glob}')");
        let mut answers = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            answers.extend(duckdb::read_once(&reads, &sql).await.unwrap());
            // Files leave in a moment without readers.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        answers.concat().concat()
    });
    expect_to_leave(&path, &keep(2), "23", &["2026-11-20"]).await;
    eventually(PATIENCE, "a reading after", async || {
        Ok(count(&path).await == 300)
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let answers = reader.await.unwrap();
    assert!(!answers.is_empty());
    assert!(
        answers.iter().all(|rows| rows == "600" || rows == "300"),
        "{answers:?}"
    );
}
