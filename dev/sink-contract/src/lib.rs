//! The contract of [`Sink`] as a list of tests: the sinks in memory, over Kafka and over the lake
//! run the same one.
//!
//! A crate runs it with `inlet_sink_contract::sink_contract!(pipeline().await)`, where the
//! expression makes a [`TestPipeline`] of its own for every claim.
#![allow(clippy::unwrap_used)]
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt8Array, UInt64Array};
use inlet_model::change::{ChangeBatch, DELETE, Origin, UPSERT, polled_schema};
use inlet_model::{Column, Progress, ProgressDelta, TableName, TableSchema};
use inlet_model::{ColumnType, Scalar};

use inlet_service::error::{Kind, chain};
use inlet_service::sink::{Checkpointed, Sink, SinkError};

const VISIBLE_TIME_MAX: Duration = Duration::from_secs(60);

/// A pipeline with one table, `public.orders (id bigint primary key, note text)`.
#[allow(async_fn_in_trait)] // The tests of one claim run on one task.
pub trait TestPipeline {
    /// The kind of sink under test.
    type Sink: Sink;
    /// Part of the message that the user of a fenced sink gets.
    const FENCED: &str;
    /// A new sink of this pipeline, as another process would make it.
    fn sink(&self) -> Self::Sink;
    /// The visible rows, sorted: id and note, no note for a delete.
    async fn visible(&self) -> Vec<(i64, Option<String>)>;
}

/// Runs every claim as a test of its own, each with its own pipeline:
/// `sink_contract!(pipeline().await)`.
#[macro_export]
macro_rules! sink_contract {
    ($pipeline:expr; $($claim:ident),+ $(,)?) => {
        $(#[tokio::test]
        async fn $claim() {
            $crate::$claim(&$pipeline).await;
        })+
    };
    ($pipeline:expr) => {
        $crate::sink_contract!($pipeline;
            rows_and_progress_appear_together,
            a_rollback_leaves_nothing,
            the_next_owner_starts_without_rows_that_no_checkpoint_covered,
            a_second_sink_fences_the_first,
            progress_changes_part_by_part,
            a_checkpoint_without_rows_keeps_its_progress,
            an_empty_checkpoint_does_nothing,
            a_sink_must_be_resumed_before_it_is_used,
            a_delete_has_its_key,
            a_flush_does_not_show_rows_that_no_checkpoint_covers,
            after_an_error_only_resume_is_accepted,
        );
    };
}

pub fn orders() -> TableName {
    TableName::new("public", "orders")
}

pub fn schema() -> Arc<TableSchema> {
    let column = |name: &str, column_type, postgres_type: &str, not_null| Column {
        name: name.to_owned(),
        column_type,
        postgres_type: postgres_type.to_owned(),
        as_text: false,
        not_null,
        generated: false,
        number: None,
    };
    let columns = vec![
        column("id", ColumnType::Scalar(Scalar::Int64), "bigint", true),
        column("note", ColumnType::Scalar(Scalar::Text), "text", false),
    ];
    Arc::new(TableSchema::new(orders(), columns, vec![0]))
}

/// Upserts of rows with these ids and one note.
pub fn upserts(ids: impl IntoIterator<Item = i64>, note: &str) -> ChangeBatch {
    batch(ids, Some(note))
}

/// A delete of each id.
pub fn deletes(ids: impl IntoIterator<Item = i64>) -> ChangeBatch {
    batch(ids, None)
}

fn batch(ids: impl IntoIterator<Item = i64>, note: Option<&str>) -> ChangeBatch {
    let ids: Int64Array = ids.into_iter().collect();
    let rows = arrow::array::Array::len(&ids);
    let op = if note.is_some() { UPSERT } else { DELETE };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids),
        Arc::new(StringArray::from(vec![note; rows])),
        Arc::new(UInt8Array::from(vec![op; rows])),
        Arc::new(UInt64Array::from(vec![700; rows])),
        Arc::new(StringArray::from(vec![None::<&str>; rows])),
    ];
    let schema = schema();
    let rows = RecordBatch::try_new(polled_schema(&schema), columns).unwrap();
    ChangeBatch {
        schema,
        rows,
        detected_at: 1_795_226_400_000_000,
        origin: Origin::Poll,
    }
}

/// A delta of the only table.
pub fn delta(parts: &[(&str, Option<&str>)]) -> BTreeMap<TableName, ProgressDelta> {
    let parts = parts
        .iter()
        .map(|(part, value)| ((*part).to_owned(), value.map(str::to_owned)));
    BTreeMap::from([(orders(), ProgressDelta(parts.collect()))])
}

/// The part `poll` alone.
pub fn poll(value: &str) -> BTreeMap<TableName, ProgressDelta> {
    delta(&[("poll", Some(value))])
}

/// The answer of a resume that finds these parts.
pub fn progress(parts: &[(&str, &str)]) -> BTreeMap<TableName, Progress> {
    let parts = parts
        .iter()
        .map(|(part, value)| ((*part).to_owned(), (*value).to_owned()));
    BTreeMap::from([(orders(), Progress(parts.collect()))])
}

pub fn rows(ids: impl IntoIterator<Item = i64>, note: &str) -> Vec<(i64, Option<String>)> {
    ids.into_iter()
        .map(|id| (id, Some(note.to_owned())))
        .collect()
}

/// Waits until these rows are visible: Kafka acknowledges a commit a moment before readers see it.
pub async fn assert_visible(
    pipeline: &impl TestPipeline,
    expected: impl Into<Vec<(i64, Option<String>)>>,
) {
    let expected = expected.into();
    let mut seen = Vec::new();
    let end = Instant::now() + VISIBLE_TIME_MAX;
    while seen != expected && Instant::now() < end {
        seen = pipeline.visible().await;
    }
    assert_eq!(seen, expected);
}

/// Makes a checkpoint durable; returns its rows.
async fn checkpoint(
    sink: &mut impl Sink,
    progress: BTreeMap<TableName, ProgressDelta>,
) -> Result<u64, SinkError> {
    let checkpointed = match sink.checkpoint(progress).await? {
        Checkpointed::Pending => sink.flush().await?,
        durable => durable,
    };
    let Checkpointed::Durable { rows } = checkpointed else {
        panic!("a checkpoint is durable after a flush");
    };
    assert_eq!(sink.due(), None, "a durable checkpoint leaves no flush due");
    Ok(rows)
}

async fn resumed<P: TestPipeline>(pipeline: &P) -> P::Sink {
    let mut sink = pipeline.sink();
    sink.resume(&[orders()]).await.unwrap();
    sink
}

pub async fn rows_and_progress_appear_together(pipeline: &impl TestPipeline) {
    let mut sink = pipeline.sink();
    assert_eq!(
        sink.resume(&[orders()]).await.unwrap(),
        BTreeMap::new(),
        "a new pipeline has no progress"
    );
    sink.write(upserts(0..5, "a")).await.unwrap();
    sink.write(upserts(5..10, "a")).await.unwrap();
    assert_eq!(pipeline.visible().await, []);
    assert_eq!(checkpoint(&mut sink, poll("1")).await.unwrap(), 10);
    assert_visible(pipeline, rows(0..10, "a")).await;
    assert_eq!(
        pipeline.sink().resume(&[orders()]).await.unwrap(),
        progress(&[("poll", "1")])
    );
}

pub async fn a_rollback_leaves_nothing(pipeline: &impl TestPipeline) {
    let mut sink = resumed(pipeline).await;
    sink.write(upserts(0..3, "kept")).await.unwrap();
    checkpoint(&mut sink, poll("1")).await.unwrap();
    sink.write(upserts(3..6, "lost")).await.unwrap();
    sink.rollback().await.unwrap();
    assert_eq!(
        sink.resume(&[orders()]).await.unwrap(),
        progress(&[("poll", "1")])
    );
    sink.write(upserts(6..9, "kept")).await.unwrap();
    assert_eq!(checkpoint(&mut sink, poll("2")).await.unwrap(), 3);
    assert_visible(pipeline, rows((0..3).chain(6..9), "kept")).await;
}

pub async fn the_next_owner_starts_without_rows_that_no_checkpoint_covered(
    pipeline: &impl TestPipeline,
) {
    let mut sink = resumed(pipeline).await;
    sink.write(upserts(0..3, "kept")).await.unwrap();
    checkpoint(&mut sink, poll("1")).await.unwrap();
    sink.write(upserts(3..6, "lost")).await.unwrap();
    let mut next = pipeline.sink();
    assert_eq!(
        next.resume(&[orders()]).await.unwrap(),
        progress(&[("poll", "1")])
    );
    next.write(upserts(3..6, "kept")).await.unwrap();
    checkpoint(&mut next, poll("2")).await.unwrap();
    assert_visible(pipeline, rows(0..6, "kept")).await;
}

pub async fn a_second_sink_fences_the_first<P: TestPipeline>(pipeline: &P) {
    let mut first = resumed(pipeline).await;
    first.write(upserts(0..3, "first")).await.unwrap();
    let mut second = resumed(pipeline).await;
    let fenced = checkpoint(&mut first, poll("1")).await.unwrap_err();
    assert_eq!(fenced.kind, Kind::Fenced, "{fenced:?}");
    assert!(chain(&fenced).contains(P::FENCED), "{}", chain(&fenced));
    let fenced = first.resume(&[orders()]).await.unwrap_err();
    assert_eq!(
        fenced.kind,
        Kind::Fenced,
        "a fenced sink does not take the pipeline back: {fenced:?}"
    );
    second.write(upserts(0..3, "second")).await.unwrap();
    checkpoint(&mut second, poll("2")).await.unwrap();
    assert_visible(pipeline, rows(0..3, "second")).await;
}

pub async fn progress_changes_part_by_part(pipeline: &impl TestPipeline) {
    let mut sink = resumed(pipeline).await;
    checkpoint(
        &mut sink,
        delta(&[
            ("poll", Some("1")),
            ("covered/7", Some("[1]")),
            ("load", Some("{}")),
        ]),
    )
    .await
    .unwrap();
    checkpoint(
        &mut sink,
        delta(&[("covered/7", None), ("covered/9", Some("[2]"))]),
    )
    .await
    .unwrap();
    checkpoint(&mut sink, poll("2")).await.unwrap();
    let expected = progress(&[("covered/9", "[2]"), ("load", "{}"), ("poll", "2")]);
    assert_eq!(pipeline.sink().resume(&[orders()]).await.unwrap(), expected);
}

pub async fn a_checkpoint_without_rows_keeps_its_progress(pipeline: &impl TestPipeline) {
    let mut sink = resumed(pipeline).await;
    sink.write(upserts([], "nothing")).await.unwrap();
    assert_eq!(checkpoint(&mut sink, poll("1")).await.unwrap(), 0);
    assert_eq!(
        pipeline.sink().resume(&[orders()]).await.unwrap(),
        progress(&[("poll", "1")])
    );
    assert_eq!(pipeline.visible().await, []);
}

pub async fn an_empty_checkpoint_does_nothing(pipeline: &impl TestPipeline) {
    let mut sink = resumed(pipeline).await;
    assert_eq!(checkpoint(&mut sink, BTreeMap::new()).await.unwrap(), 0);
    assert_eq!(checkpoint(&mut sink, delta(&[])).await.unwrap(), 0);
    assert_eq!(sink.flush().await.unwrap().durable_rows(), 0);
    assert_eq!(
        pipeline.sink().resume(&[orders()]).await.unwrap(),
        BTreeMap::new()
    );
}

pub async fn a_sink_must_be_resumed_before_it_is_used(pipeline: &impl TestPipeline) {
    let mut sink = pipeline.sink();
    assert_eq!(
        sink.write(upserts(0..1, "a")).await.unwrap_err().kind,
        Kind::Bug
    );
    let mut sink = resumed(pipeline).await;
    sink.rollback().await.unwrap();
    assert_eq!(
        checkpoint(&mut sink, poll("1")).await.unwrap_err().kind,
        Kind::Bug
    );
    assert_eq!(sink.resume(&[orders()]).await.unwrap(), BTreeMap::new());
    checkpoint(&mut sink, poll("1")).await.unwrap();
}

pub async fn a_delete_has_its_key(pipeline: &impl TestPipeline) {
    let mut sink = resumed(pipeline).await;
    sink.write(upserts([1, 2], "a")).await.unwrap();
    sink.write(deletes([2])).await.unwrap();
    assert_eq!(checkpoint(&mut sink, poll("1")).await.unwrap(), 3);
    let expected = [
        (1, Some("a".to_owned())),
        (2, None),
        (2, Some("a".to_owned())),
    ];
    assert_visible(pipeline, expected).await;
}

pub async fn a_flush_does_not_show_rows_that_no_checkpoint_covers(pipeline: &impl TestPipeline) {
    let mut sink = resumed(pipeline).await;
    sink.write(upserts(0..3, "a")).await.unwrap();
    assert_eq!(sink.flush().await.unwrap().durable_rows(), 0);
    assert_eq!(pipeline.visible().await, []);
    assert_eq!(checkpoint(&mut sink, poll("1")).await.unwrap(), 3);
    assert_visible(pipeline, rows(0..3, "a")).await;
}

pub async fn after_an_error_only_resume_is_accepted(pipeline: &impl TestPipeline) {
    let mut first = resumed(pipeline).await;
    first.write(upserts(0..3, "first")).await.unwrap();
    let _second = resumed(pipeline).await;
    let fenced = checkpoint(&mut first, poll("1")).await.unwrap_err();
    assert_eq!(fenced.kind, Kind::Fenced, "{fenced:?}");
    let refused = first.write(upserts(3..6, "first")).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Bug, "{refused:?}");
    let refused = checkpoint(&mut first, poll("1")).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Bug, "{refused:?}");
    assert_eq!(pipeline.visible().await, []);
}
