//! Where rows land.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int64Array, StringArray};
use chrono_tz::Tz;
use inlet_harness::duckdb;
use inlet_lake::{LakeError, TableReader};
use inlet_model::{ColumnType, Scalar, TableSchema};
use inlet_service::error::{Explain, Kind};

use crate::fixture::{
    HOUR, NOV_20, P0, P1, batch, column, files, open, options, orders_at, range, select, table,
    texts, try_open,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_date_is_the_date_in_the_configured_zone() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = try_open(folder.path(), options(Tz::Asia__Kolkata))
        .await
        .unwrap();
    lake.take_over([P0]).await.unwrap();
    // Midnight in Kolkata is 18:30 UTC.
    let midnight = NOV_20 + 18 * HOUR + HOUR / 2;
    let created = [
        Some(midnight - 1),
        Some(midnight),
        Some(midnight + 24 * HOUR - 1),
        None,
    ];
    lake.append(orders_at(P0, 0..4, |offset| created[offset as usize]))
        .await
        .unwrap();
    lake.cover(P0, range(0..4), 4).unwrap();
    lake.commit(None).await.unwrap();
    let expected = texts([
        ["0", "2026-11-20"],
        ["1", "2026-11-21"],
        ["2", "2026-11-21"],
        ["3", "NULL"],
    ]);
    assert_eq!(select(folder.path(), "_offset, date").await, expected);
    assert!(
        folder
            .path()
            .join("date=2026-11-20/0-00000000000000000000-1.parquet")
            .exists()
    );
    assert!(
        folder
            .path()
            .join("date=__HIVE_DEFAULT_PARTITION__/0-00000000000000000003-1.parquet")
            .exists()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_dates_in_one_batch_keep_every_row_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = open(folder.path(), [P0, P1]).await;
    for part in 0..4 {
        for partition in [P0, P1] {
            let offsets = part * 10_000..(part + 1) * 10_000;
            // Runs of one date, and dates that alternate from row to row.
            lake.append(orders_at(partition, offsets.clone(), |offset| {
                Some(NOV_20 + (offset % 40 + offset / 9000) * 24 * HOUR)
            }))
            .await
            .unwrap();
            lake.cover(partition, range(offsets.clone()), offsets.end as u64)
                .unwrap();
        }
    }
    assert_eq!(lake.size().unwrap().rows, 80_000);
    lake.commit(None).await.unwrap();
    let expected = texts([["80000", "80000", "0"]]);
    let what = "count(*), count(DISTINCT (_kafka_partition, _offset)), count(*) FILTER (date <> \
                created_at::DATE)";
    assert_eq!(select(folder.path(), what).await, expected);
    let glob = format!("{}/**/*.parquet", folder.path().display());
    let disorder = format!(
        "SELECT count(*) FROM (SELECT _offset < lag(_offset) OVER (PARTITION BY filename, \
         _kafka_partition ORDER BY file_row_number) AS back \
         FROM read_parquet('{glob}', filename = true, file_row_number = true)) WHERE back"
    );
    assert_eq!(
        duckdb::query(&disorder).await.unwrap(),
        [["0"]],
        "rows of a kafka_partition are in the order of their offsets"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_event_time_has_the_date_on_which_the_row_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut without = options(Tz::America__New_York);
    without.date_column = None;
    let mut lake = try_open(folder.path(), without).await.unwrap();
    lake.take_over([P0]).await.unwrap();
    let schema = table(vec![column(
        "id",
        ColumnType::Scalar(Scalar::Int64),
        "bigint",
    )]);
    lake.append(batch(
        &schema,
        vec![Arc::new(Int64Array::from(vec![1]))],
        P0,
        &[0],
    ))
    .await
    .unwrap();
    lake.cover(P0, range(0..1), 1).unwrap();
    lake.commit(None).await.unwrap();
    assert_eq!(
        select(folder.path(), "id, date").await,
        texts([["1", "2026-11-19"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_a_column_called_date_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let schema = table(vec![
        column("id", ColumnType::Scalar(Scalar::Int64), "bigint"),
        column("Date", ColumnType::Scalar(Scalar::Text), "text"),
        column("day", ColumnType::Scalar(Scalar::Date), "date"),
    ]);
    let mut by_day = options(Tz::UTC);
    by_day.date_column = Some("day".into());
    let mut lake = try_open(folder.path(), by_day).await.unwrap();
    lake.take_over([P0]).await.unwrap();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(StringArray::from(vec!["mine"])),
        Arc::new(Date32Array::from(vec![20_777])),
    ];
    lake.append(batch(&schema, columns, P0, &[0]))
        .await
        .unwrap();
    lake.cover(P0, range(0..1), 1).unwrap();
    lake.commit(None).await.unwrap();
    assert_eq!(
        select(folder.path(), "\"Date\", _date, day").await,
        texts([["mine", "2026-11-20", "2026-11-20"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_hides_one_of_ours_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = open(folder.path(), [P0]).await;
    let schema = table(vec![
        column("_OP", ColumnType::Scalar(Scalar::Int64), "bigint"),
        column(
            "created_at",
            ColumnType::Scalar(Scalar::TimestampTz),
            "timestamptz",
        ),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![NOV_20]).with_timezone("UTC")),
    ];
    lake.append(batch(&schema, columns, P0, &[0]))
        .await
        .unwrap();
    lake.cover(P0, range(0..1), 1).unwrap();
    let error = lake.close().unwrap().stage().await.unwrap_err();
    assert!(
        matches!(&error, LakeError::Column { column, .. } if column == "_OP"),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::Config);
    assert_eq!(files(&folder.path().join("_staging"), ".staged").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_column_appears_in_new_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = open(folder.path(), [P0]).await;
    let orders = crate::fixture::orders();
    let mut with_note = orders.columns.clone();
    let old = orders_at(P0, 0..2, |_| Some(NOV_20));
    with_note.push(column("note", ColumnType::Scalar(Scalar::Text), "text"));
    let schema = TableSchema::new(orders.table.clone(), with_note, orders.key.clone());
    let mut columns = old.rows.columns()[..4].to_vec();
    columns.push(Arc::new(StringArray::from(vec![Some("new"), None])));
    lake.append(old).await.unwrap();
    lake.append(batch(&Arc::new(schema), columns, P0, &[2, 3]))
        .await
        .unwrap();
    lake.cover(P0, range(0..4), 4).unwrap();
    lake.commit(None).await.unwrap();
    assert_eq!(lake.head().schemas.len(), 2);
    let glob = format!("{}/**/*.parquet", folder.path().display());
    let rows = duckdb::query(&format!(
        "SELECT _offset, note FROM read_parquet('{glob}', union_by_name = true) ORDER BY 1"
    ))
    .await
    .unwrap();
    assert_eq!(
        rows,
        texts([["0", "NULL"], ["1", "NULL"], ["2", "new"], ["3", "NULL"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_schema_is_that_of_the_rows_that_were_found_last() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = open(folder.path(), [P0, P1]).await;
    let first = crate::fixture::orders();
    let mut with_note = first.columns.clone();
    with_note.push(column("note", ColumnType::Scalar(Scalar::Text), "text"));
    let second = Arc::new(TableSchema::new(
        first.table.clone(),
        with_note,
        first.key.clone(),
    ));
    let reader = TableReader::new(folder.path());
    // The column is added and dropped again; then rows of before arrive late by another
    // kafka_partition.
    let steps = [
        (P0, 0, &first, 1, &first),
        (P0, 1, &second, 2, &second),
        (P0, 2, &first, 3, &first),
        (P1, 0, &second, 2, &first),
    ];
    for (partition, offset, schema, detected_at, latest) in steps {
        let mut rows = orders_at(partition, offset..offset + 1, |_| Some(NOV_20));
        if *schema == second {
            let mut columns = rows.rows.columns()[..4].to_vec();
            columns.push(Arc::new(StringArray::from(vec!["new"])));
            rows = batch(schema, columns, partition, &[offset]);
        }
        rows.detected_at = detected_at;
        lake.append(rows).await.unwrap();
        let covered = range(offset..offset + 1);
        lake.cover(partition, covered, offset as u64 + 1).unwrap();
        lake.commit(None).await.unwrap();
        let head = reader.head().await.unwrap().unwrap();
        assert_eq!(head.latest_schema(), Some(&**latest), "offset {offset}");
        assert_eq!(reader.latest_schema(&head).as_ref(), Some(&**latest));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_date_column_is_found_as_the_configuration_writes_it() {
    for (written, catalog) in [("Created_At", "created_at"), ("\"Created\"", "Created")] {
        let folder = tempfile::tempdir().unwrap();
        let mut columns = crate::fixture::orders().columns.clone();
        columns[3].name = catalog.to_owned();
        let rows = orders_at(P0, 0..1, |_| Some(NOV_20));
        let schema = crate::fixture::table(columns);
        let rows = batch(&schema, rows.rows.columns()[..4].to_vec(), P0, &[0]);
        let mut options = crate::fixture::options(Tz::UTC);
        options.date_column = Some(written.to_owned());
        let mut lake = crate::fixture::try_open(folder.path(), options)
            .await
            .unwrap();
        lake.take_over([P0]).await.unwrap();
        lake.append(rows).await.unwrap();
        lake.cover(P0, range(0..1), 1).unwrap();
        lake.commit(None).await.unwrap();
        assert!(folder.path().join("date=2026-11-20").exists(), "{written}");
    }
}
