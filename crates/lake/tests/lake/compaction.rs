//! Small files become one of each date: the rows stay, whatever happens beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono_tz::Tz;
use inlet_harness::{duckdb, eventually};
use inlet_lake::{
    Compacted, CompactionOptions, Compactor, LakeError, LakeOptions, Rejected, TableReader,
    TableWriter,
};
use inlet_model::Offset;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::fixture::{
    HOUR, NOV_20, P0, P1, batch, commit, count, expect_whole, files, head, open, options, orders,
    orders_at, positions, range, select, texts, try_open,
};

const PATIENCE: Duration = Duration::from_secs(120);
/// Half an hour.
const COMMITS: i64 = 360;
const READ_EVERY: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(200);

async fn compact(path: &Path) -> Compacted {
    let compactor = Compactor::open(path, PAUSE).await.unwrap().unwrap();
    compactor.merge_small(Arc::default()).await.unwrap()
}

/// A lake with a file of each date for every ten orders.
async fn filled(path: &Path, commits: i64) -> TableWriter {
    let mut table = open(path, [P0]).await;
    for n in 0..commits {
        commit(&mut table, P0, n * 10..n * 10 + 10).await.unwrap();
    }
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn the_small_files_of_a_date_become_one_and_every_value_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    // The same keys from two kafka_partitions.
    let mut table = open(path, [P0, P1]).await;
    for (partition, n) in [(P0, 0), (P1, 0), (P0, 1), (P1, 1)] {
        let orders = orders_at(partition, n * 10..n * 10 + 10, |offset| {
            Some(NOV_20 + offset % 2 * 24 * HOUR)
        });
        table.append(orders).await.unwrap();
        table
            .cover(partition, range(n * 10..n * 10 + 10), 0)
            .unwrap();
        table
            .commit(None)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
    }
    let (rows, before) = (select(path, "*").await, head(path).await);
    assert_eq!((before.files, before.rows), (8, 40));
    let merged = compact(path).await;
    assert_eq!((merged.replaced, merged.files, merged.rows), (8, 2, 40));
    assert_eq!(select(path, "*").await, rows);
    let after = head(path).await;
    assert_eq!((after.files, after.rows), (2, 40));
    assert_eq!(after.offsets, before.offsets);
    assert_eq!(after.bytes, merged.bytes);
    let listed = TableReader::new(path).files(&after).unwrap();
    assert_eq!(listed.len(), 2);
    for file in listed {
        assert_eq!((file.rows, file.level), (20, 1));
        let reader = SerializedFileReader::new(fs::File::open(&file.path).unwrap()).unwrap();
        let size = fs::metadata(&file.path).unwrap().len();
        assert_eq!(file.bytes, size);
        assert_eq!(reader.metadata().file_metadata().num_rows(), 20);
        let key = &file.columns["order_id"];
        assert_eq!((key.values, key.nulls), (20, Some(0)));
        assert!(key.min.is_some() && file.data_bytes.is_some());
        let sql = format!(
            "SELECT order_id FROM read_parquet('{}')",
            file.path.display()
        );
        let ids: Vec<i64> = duckdb::query(&sql)
            .await
            .unwrap()
            .concat()
            .iter()
            .map(|id| id.parse().unwrap())
            .collect();
        assert!(ids.is_sorted(), "{ids:?}");
    }
    expect_whole(path).await;
    assert_eq!(
        compact(path).await,
        Compacted::default(),
        "nothing is left to merge"
    );
    // The writer of before goes on.
    commit(&mut table, P0, 20..30).await.unwrap();
    assert_eq!(count(path).await, 50);
    drop(table);
    assert_eq!(open(path, [P0]).await.head().rows, 50);
    assert_eq!(files(&path.join("_staging"), ".hidden").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_before_beside_and_after_a_merge_are_found_after_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut table = filled(path, 30).await;
    for n in 30..100 {
        if n % 20 == 0 {
            assert!(compact(path).await.replaced > 0);
        }
        commit(&mut table, P0, n * 10..n * 10 + 10).await.unwrap();
    }
    compact(path).await;
    let expected = texts([["0", "1000", "1000", "0", "999"]]);
    assert_eq!(positions(path).await, expected);
    for _ in 0..2 {
        let table = try_open(path, options(Tz::UTC)).await.unwrap();
        assert_eq!((table.head().rows, table.head().files), (1000, 2));
        assert_eq!(positions(path).await, expected);
    }
    let listed = TableReader::new(path).files(&head(path).await).unwrap();
    assert_eq!(listed.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_rows_are_merged_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut table = open(path, [P0]).await;
    for offset in 0..5 {
        let rejected = Rejected {
            reason: "amount >= 0".into(),
            topic: "orders".into(),
            kafka_partition: P0,
            offset: Offset(offset),
            key: None,
            value: Some(bytes(offset)),
        };
        table.reject(vec![rejected]).await.unwrap();
        table.cover(P0, range(offset..offset + 1), 0).unwrap();
        table.commit(None).await.unwrap();
    }
    let merged = compact(path).await;
    assert_eq!((merged.replaced, merged.files, merged.rows), (5, 1, 5));
    let found = files(&path.join("_quarantine"), ".jsonl");
    assert_eq!(found.len(), 1);
    let mut offsets = Vec::new();
    let take = |row: Rejected| {
        assert_eq!(row.value, Some(bytes(row.offset.0)));
        offsets.push(row.offset.0);
    };
    TableReader::rejected(&found[0], take).unwrap();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    assert_eq!(head(path).await.quarantined, 5);
    expect_whole(path).await;
}

fn bytes(offset: i64) -> bytes::Bytes {
    bytes::Bytes::from(format!("{{\"n\": {offset}}}\nsecond line"))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_schema_stay_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut table = filled(path, 3).await;
    let wider = Arc::new(inlet_model::TableSchema::new(
        orders().table.clone(),
        orders()
            .columns
            .iter()
            .cloned()
            .chain([crate::fixture::column(
                "note",
                inlet_model::Scalar::Text,
                "text",
            )])
            .collect(),
        vec![0],
    ));
    for n in 3..6 {
        let offsets: Vec<i64> = (n * 10..n * 10 + 10).collect();
        let narrow = orders_at(P0, n * 10..n * 10 + 10, |_| Some(NOV_20));
        let notes = arrow::array::StringArray::from_iter_values(
            offsets.iter().map(|offset| format!("note {offset}")),
        );
        let mut columns = narrow.rows.columns()[..4].to_vec();
        columns.push(Arc::new(notes));
        table
            .append(batch(&wider, columns, P0, &offsets))
            .await
            .unwrap();
        table.cover(P0, range(n * 10..n * 10 + 10), 0).unwrap();
        table.commit(None).await.unwrap();
    }
    let merged = compact(path).await;
    assert_eq!((merged.replaced, merged.files), (9, 3));
    let glob = format!("{}/**/*.parquet", path.display());
    let sql = format!(
        "SELECT count(*), count(note), count(DISTINCT _offset) FROM read_parquet('{glob}', \
         union_by_name = true)"
    );
    assert_eq!(
        duckdb::query(&sql).await.unwrap(),
        texts([["60", "30", "60"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_merges_at_a_time_and_a_query_holds_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let _table = filled(path, 3).await;
    let held = TableReader::new(path).hold();
    let compactor = Compactor::open(path, PAUSE).await.unwrap().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let running = tokio::spawn({
        let (compactor, stop) = (compactor.clone(), stop.clone());
        async move { compactor.merge_small(stop).await }
    });
    let other = Compactor::open(path, PAUSE).await.unwrap().unwrap();
    let is_refused = async || {
        let refused = other.merge_small(Arc::new(AtomicBool::new(true))).await;
        anyhow::Ok(matches!(refused, Err(LakeError::Compacting { .. })))
    };
    eventually(PATIENCE, "the other one is refused", is_refused).await;
    assert_eq!(head(path).await.files, 6);
    drop(held);
    let merged = running.await.unwrap().unwrap();
    assert_eq!((merged.replaced, merged.files), (6, 2));
}

/// Reads a plain pattern again and again until it is stopped: every answer has each row once, and
/// all that were committed before. Returns the number of answers, and of readings that ended with
/// an error because a file was replaced between their listing and their opening of it.
async fn read_on(path: PathBuf, committed: Arc<AtomicU64>, stop: Arc<AtomicBool>) -> (u64, u64) {
    let (mut answers, mut errors) = (0, 0);
    let mut clock = tokio::time::interval(READ_EVERY);
    for pattern in ["*/*.parquet', union_by_name = true", "**/*.parquet'"]
        .iter()
        .cycle()
    {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        clock.tick().await;
        let least = committed.load(Ordering::Relaxed);
        let sql = format!(
            "SELECT count(*), count(DISTINCT _offset), sum(order_id - _offset) \
             FROM read_parquet('{}/{pattern})",
            path.display()
        );
        let Some(row) = duckdb::read_once(&path, &sql).await.unwrap() else {
            errors += 1;
            continue;
        };
        let row = row.concat();
        assert_eq!((&row[0], &*row[2]), (&row[1], "0"), "{row:?}");
        let rows: u64 = row[0].parse().unwrap();
        assert!(rows >= least, "{rows} rows after {least}");
        answers += 1;
    }
    (answers, errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_plain_pattern_sees_every_row_once_all_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let compaction = CompactionOptions {
        interval: Duration::from_millis(50),
        rate: u64::MAX,
        pause: PAUSE,
    };
    let options = LakeOptions {
        compaction: Some(compaction),
        ..options(Tz::UTC)
    };
    let mut table = try_open(&path, options).await.unwrap();
    table.take_over([P0]).await.unwrap();
    commit(&mut table, P0, 0..10).await.unwrap();
    let (committed, stop) = (Arc::new(AtomicU64::new(10)), Arc::default());
    let reader = tokio::spawn(read_on(path.clone(), committed.clone(), Arc::clone(&stop)));
    let mut next = 10;
    let mut has_merged = async || {
        commit(&mut table, P0, next..next + 10).await?;
        next += 10;
        committed.store(next as u64, Ordering::Relaxed);
        let files = TableReader::new(&path).files(&table.head())?;
        anyhow::Ok(files.iter().filter(|file| file.level > 0).count() >= 4)
    };
    eventually(PATIENCE, "each date is merged again", &mut has_merged).await;
    stop.store(true, Ordering::Relaxed);
    let (answers, _) = reader.await.unwrap();
    assert!(answers > 0);
    expect_whole(&path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_footer_of_the_file_of_before_leads_nowhere_in_the_merged_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let _table = filled(path, 3).await;
    let first = files(&path.join("date=2026-11-20"), ".parquet").remove(0);
    let before = fs::read(&first).unwrap();
    compact(path).await;
    let merged = fs::read(&first).unwrap();
    assert_eq!(merged[..4], before[..4]);
    assert!(merged[4..before.len()].iter().all(|byte| *byte == 0));
    assert_eq!(count(path).await, 30);
}

/// Five rows every five seconds, without the seconds between them.
#[tokio::test(flavor = "multi_thread")]
async fn a_date_that_grows_keeps_few_files_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut table = open(path, [P0]).await;
    let compactor = Compactor::open(path, Duration::from_millis(50)).await;
    let compactor = compactor.unwrap().unwrap();
    let mut most = 0;
    for commits in 1..=COMMITS {
        let next = commits * 5;
        let orders = orders_at(P0, next - 5..next, |_| Some(NOV_20));
        table.append(orders).await.unwrap();
        table.cover(P0, range(next - 5..next), 0).unwrap();
        table.commit(None).await.unwrap();
        // The service looks every minute.
        if commits % 12 == 0 {
            compactor.merge_due(Arc::default()).await.unwrap();
        }
        let head = table.head();
        most = most.max(head.files);
    }
    assert!(most <= 64, "{most} files");
    assert_eq!(count(path).await, COMMITS as u64 * 5);
    expect_whole(path).await;
}
