//! A column's name goes to another column or type: the files of before give it up, and a plain
//! reader sees one meaning under each name, at any moment.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use chrono_tz::Tz;
use inlet_harness::duckdb;
use inlet_lake::{StagedBatch, TableReader, TableWriter};
use inlet_model::change::ChangeBatch;
use inlet_model::{Column, KafkaPartition, Scalar, TableSchema};

use crate::fixture::{
    HOUR, NOV_20, P0, P1, batch, column, crash_image, expect_whole, head, last_entry, open,
    options, range, table, texts, try_open,
};

/// `id`, a column of this number, name and type, and `created_at`.
fn schema(number: i16, name: &str, scalar: Scalar) -> Arc<TableSchema> {
    let numbered = |number, column| Column {
        number: Some(number),
        ..column
    };
    table(vec![
        numbered(1, column("id", Scalar::Int64, "bigint")),
        numbered(number, column(name, scalar, "some")),
        numbered(9, column("created_at", Scalar::TimestampTz, "timestamptz")),
    ])
}

/// Rows at these offsets, by turns of two dates.
fn rows(
    schema: &Arc<TableSchema>,
    partition: KafkaPartition,
    offsets: std::ops::Range<i64>,
    detected_at: i64,
) -> ChangeBatch {
    let offsets: Vec<i64> = offsets.collect();
    let values: ArrayRef = match schema.columns[1].column_type.scalar() {
        Scalar::Int32 => Arc::new(Int32Array::from_iter_values(
            offsets.iter().map(|offset| *offset as i32),
        )),
        Scalar::Json => Arc::new(StringArray::from_iter_values(
            offsets.iter().map(|offset| format!("{{\"n\": {offset}}}")),
        )),
        _ => Arc::new(StringArray::from_iter_values(
            offsets.iter().map(|offset| format!("text {offset}")),
        )),
    };
    let times = offsets.iter().map(|offset| NOV_20 + offset % 2 * 24 * HOUR);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(offsets.clone())),
        values,
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
    ];
    let mut rows = batch(schema, columns, partition, &offsets);
    rows.detected_at = detected_at;
    rows
}

async fn stage(
    lake: &mut TableWriter,
    schema: &Arc<TableSchema>,
    partition: KafkaPartition,
    offsets: std::ops::Range<i64>,
    detected_at: i64,
) -> StagedBatch {
    lake.append(rows(schema, partition, offsets.clone(), detected_at))
        .await
        .unwrap();
    lake.cover(partition, range(offsets.clone()), offsets.end as u64)
        .unwrap();
    lake.close().unwrap().stage().await.unwrap()
}

async fn commit(
    lake: &mut TableWriter,
    schema: &Arc<TableSchema>,
    partition: KafkaPartition,
    offsets: std::ops::Range<i64>,
    detected_at: i64,
) {
    let staged = stage(lake, schema, partition, offsets, detected_at).await;
    staged.commit(None).await.unwrap();
}

/// What the README's line shows.
async fn select(path: &Path, what: &str) -> Vec<Vec<String>> {
    let glob = format!("{}/**/*.parquet", path.display());
    let sql =
        format!("SELECT {what} FROM read_parquet('{glob}', union_by_name = true) ORDER BY _offset");
    duckdb::query(&sql).await.unwrap()
}

/// The names and types of the column and of what it was, as a plain reader finds them.
async fn notes(path: &Path) -> Vec<Vec<String>> {
    let glob = format!("{}/**/*.parquet", path.display());
    let sql = format!(
        "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet('{glob}', \
         union_by_name = true)) WHERE column_name LIKE 'note%' ORDER BY 1"
    );
    duckdb::query(&sql).await.unwrap()
}

fn published(path: &Path) -> Vec<PathBuf> {
    let files = TableReader::new(path).data_files().unwrap();
    files.into_iter().collect()
}

/// Commits a column as text, then as a number, to a lake whose files are read elsewhere.
pub async fn a_column_that_changes_its_type(lake: &Path, files: &Path) {
    let mut writer = open(lake, [P0]).await;
    commit(&mut writer, &schema(2, "note", Scalar::Text), P0, 0..4, 1).await;
    commit(&mut writer, &schema(2, "note", Scalar::Int32), P0, 4..8, 2).await;
    let found = notes(files).await;
    assert_eq!(found[0], ["note", "INTEGER"]);
    assert_eq!(found[1][1], "VARCHAR");
    let before = &found[1][0];
    let rows = select(files, &format!("note, {before}")).await;
    assert_eq!(rows[0], ["NULL", "text 0"]);
    assert_eq!(rows[7], ["7", "NULL"]);
    expect_whole(lake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plain_name_is_the_newest_whatever_the_types_before_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut lake = open(path, [P0]).await;
    let text = schema(2, "note", Scalar::Text);
    let json = schema(2, "note", Scalar::Json);
    let number = schema(2, "note", Scalar::Int32);
    let dropped = schema(3, "note", Scalar::Int32);
    for (step, next) in [&text, &json, &number, &text, &dropped].iter().enumerate() {
        let step = step as i64;
        let staged = stage(&mut lake, next, P0, step * 2..step * 2 + 2, step).await;
        staged.commit(None).await.unwrap();
        let expected: &[&[[&str; 2]]] = &[
            &[["note", "VARCHAR"]],
            &[["note", "JSON"], ["note__1", "VARCHAR"]],
            &[
                ["note", "INTEGER"],
                ["note__1", "VARCHAR"],
                ["note__2", "JSON"],
            ],
            &[
                ["note", "VARCHAR"],
                ["note__2", "JSON"],
                ["note__3", "INTEGER"],
            ],
            // The rows of both texts are found under one name, and the dropped column's numbers
            // are not those of the new column.
            &[
                ["note", "INTEGER"],
                ["note__1", "VARCHAR"],
                ["note__2", "JSON"],
                ["note__3", "INTEGER"],
            ],
        ];
        assert_eq!(notes(path).await, expected[step as usize], "step {step}");
    }
    assert_eq!(
        select(path, "note, note__1, note__2, note__3").await,
        texts([
            ["NULL", "text 0", "NULL", "NULL"],
            ["NULL", "text 1", "NULL", "NULL"],
            ["NULL", "NULL", "{\"n\": 2}", "NULL"],
            ["NULL", "NULL", "{\"n\": 3}", "NULL"],
            ["NULL", "NULL", "NULL", "4"],
            ["NULL", "NULL", "NULL", "5"],
            ["NULL", "text 6", "NULL", "NULL"],
            ["NULL", "text 7", "NULL", "NULL"],
            ["8", "NULL", "NULL", "NULL"],
            ["9", "NULL", "NULL", "NULL"],
        ])
    );
    let head = head(path).await;
    assert_eq!(head.names_in_files(&text), ["id", "note__1", "created_at"]);
    let names = head.names_of_column(&number, 1);
    let names: Vec<_> = names.iter().map(|of| of.name.as_str()).collect();
    assert_eq!(names, ["note__3", "note__1", "note__2"]);
    expect_whole(path).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_rows_of_an_older_schema_have_the_older_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (text, json) = (
        schema(2, "note", Scalar::Text),
        schema(2, "note", Scalar::Json),
    );
    let mut late = open(path, [P1]).await;
    let mut lake = open(path, [P0]).await;
    // Staged under the old schema, before the other writer has seen the new one.
    let staged = stage(&mut late, &text, P1, 0..2, 1).await;
    let newer = stage(&mut lake, &json, P0, 0..2, 2).await;
    newer.commit(None).await.unwrap();
    staged.commit(None).await.unwrap();
    let expected = texts([["note", "JSON"], ["note__1", "VARCHAR"]]);
    assert_eq!(notes(path).await, expected);
    // Found before the column was altered, and read from the topic after that.
    let staged = stage(&mut late, &text, P1, 2..4, 1).await;
    staged.commit(None).await.unwrap();
    assert_eq!(notes(path).await, expected);
    let rows = select(path, "_kafka_partition, note, note__1").await;
    assert_eq!(rows.len(), 6);
    expect_whole(path).await;
    assert!(
        rows.contains(&texts([["1", "NULL", "text 3"]])[0]),
        "{rows:?}"
    );
    assert!(
        rows.contains(&texts([["0", "{\"n\": 1}", "NULL"]])[0]),
        "{rows:?}"
    );
    // The first writer knows the name now: it writes the file under it and copies none.
    let footers = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let before: Vec<_> = published(path).iter().map(|path| footers(path)).collect();
    commit(&mut late, &text, P1, 4..5, 1).await;
    let after: Vec<_> = published(path).iter().map(|path| footers(path)).collect();
    assert_eq!(before.iter().filter(|at| !after.contains(at)).count(), 0);
    assert_eq!(notes(path).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_every_step_of_renaming_columns_is_rolled_forward() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (text, json) = (
        schema(2, "note", Scalar::Text),
        schema(2, "note", Scalar::Json),
    );
    let mut lake = open(path, [P0]).await;
    for step in 0..3 {
        let staged = stage(&mut lake, &text, P0, step * 2..step * 2 + 2, 1).await;
        staged.commit(None).await.unwrap();
    }
    let old = published(path);
    let staged = stage(&mut lake, &json, P0, 6..8, 2).await;
    let before = crash_image(path);
    staged.commit(None).await.unwrap();
    let entry = last_entry(path);
    let name = format!("_log/{:020}.json", entry["seq"].as_u64().unwrap());
    let new: Vec<_> = entry["files"].as_array().unwrap().clone();
    assert_eq!((old.len(), new.len()), (6, 2));
    let relative = |file: &PathBuf| file.strip_prefix(path).unwrap().to_owned();
    for (renamed, shown) in (0..=6).map(|renamed| (renamed, 0)).chain([(6, 1), (6, 2)]) {
        let image = crash_image(before.path());
        fs::copy(path.join(&name), image.path().join(&name)).unwrap();
        for file in &old[..renamed] {
            fs::copy(file, image.path().join(relative(file))).unwrap();
        }
        for file in &new[..shown] {
            let place = |key: &str| image.path().join(file[key].as_str().unwrap());
            fs::rename(place("staged"), place("path")).unwrap();
        }
        let seen = select(image.path(), "_offset").await.len();
        assert_eq!(
            seen,
            6 + shown,
            "a reader sees all rows before and no mixture"
        );
        let opened = try_open(image.path(), options(Tz::UTC)).await.unwrap();
        assert_eq!(
            notes(image.path()).await,
            texts([["note", "JSON"], ["note__1", "VARCHAR"]]),
            "{renamed} files had their names"
        );
        assert_eq!(select(image.path(), "_offset").await.len(), 8);
        for file in &old {
            let theirs = fs::read(image.path().join(relative(file))).unwrap();
            assert!(
                theirs == fs::read(file).unwrap(),
                "every writer makes the same file"
            );
        }
        drop(opened);
        let staging = fs::read_dir(image.path().join("_staging")).unwrap();
        let staged = staging.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_str().unwrap().ends_with(".staged")
        });
        assert_eq!(staged.count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_that_finish_renaming_at_once_make_one_lake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (text, json) = (
        schema(2, "note", Scalar::Text),
        schema(2, "note", Scalar::Json),
    );
    let mut lake = open(path, [P0]).await;
    commit(&mut lake, &text, P0, 0..2, 1).await;
    let staged = stage(&mut lake, &json, P0, 2..4, 2).await;
    let image = crash_image(path);
    staged.commit(None).await.unwrap();
    let name = format!(
        "_log/{:020}.json",
        last_entry(path)["seq"].as_u64().unwrap()
    );
    fs::copy(path.join(&name), image.path().join(&name)).unwrap();
    let opened = || try_open(image.path(), options(Tz::UTC));
    let (one, two, three) = tokio::join!(opened(), opened(), opened());
    for opened in [one, two, three] {
        assert_eq!(opened.unwrap().head().rows, 4);
    }
    assert_eq!(
        notes(image.path()).await,
        texts([["note", "JSON"], ["note__1", "VARCHAR"]])
    );
    assert_eq!(select(image.path(), "_offset").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_removed_by_hand_stops_no_renaming() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (text, json) = (
        schema(2, "note", Scalar::Text),
        schema(2, "note", Scalar::Json),
    );
    let mut lake = open(path, [P0]).await;
    commit(&mut lake, &text, P0, 0..2, 1).await;
    fs::remove_file(&published(path)[0]).unwrap();
    commit(&mut lake, &json, P0, 2..4, 2).await;
    assert_eq!(
        select(path, "note, note__1").await,
        texts([
            ["NULL", "text 1"],
            ["{\"n\": 2}", "NULL"],
            ["{\"n\": 3}", "NULL"]
        ])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_lists_its_files_with_what_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (text, json) = (
        schema(2, "note", Scalar::Text),
        schema(2, "note", Scalar::Json),
    );
    let mut lake = open(path, [P0]).await;
    commit(&mut lake, &text, P0, 0..4, 1).await;
    commit(&mut lake, &json, P0, 4..5, 2).await;
    let files = TableReader::new(path).files(&head(path).await).unwrap();
    assert_eq!(files.len(), 3);
    let first = &files[0];
    assert_eq!(first.schema, Some(text.fingerprint()));
    assert_eq!((first.rows, first.date.as_deref()), (2, Some("2026-11-20")));
    let note = &first.columns["note"];
    assert_eq!((note.values, note.nulls), (2, Some(0)));
    assert_eq!(note.min.as_deref(), Some("text 0"));
    assert_eq!(note.max.as_deref(), Some("text 2"));
    let created = &first.columns["created_at"];
    assert_eq!(
        created.min.as_deref(),
        Some("2026-11-20 00:00:00.000000+00")
    );
    assert_eq!(first.columns["_offset"].max.as_deref(), Some("2"));
    let json = &files[2].columns["note"];
    assert_eq!((json.min.as_deref(), json.values), (None, 1));
    for file in &files {
        let size = fs::metadata(&file.path).unwrap().len();
        let is_renamed = file.schema == Some(text.fingerprint());
        assert_eq!(
            size != file.bytes,
            is_renamed,
            "another footer has another size"
        );
        assert!(file.data_bytes.unwrap() < size);
    }
    let ids = format!(
        "SELECT DISTINCT name, field_id FROM parquet_schema('{}/**/*.parquet') \
         WHERE field_id IS NOT NULL ORDER BY 2, 1",
        path.display()
    );
    assert_eq!(
        duckdb::query(&ids).await.unwrap(),
        texts([
            ["id", "1"],
            ["note", "2"],
            ["note__1", "2"],
            ["created_at", "9"]
        ])
    );
}
