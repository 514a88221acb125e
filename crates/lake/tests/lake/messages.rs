//! Rows of messages that hold several: they share an offset.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray};
use inlet_lake::{ContentFlaw, TableReader, TableWriter};

use crate::fixture::{
    HOUR, NOV_20, P0, batch, count, expect_whole, open, orders, range, select, texts,
};

/// Commits orders with these ids at these offsets, alternating between two dates.
async fn commit(lake: &mut TableWriter, rows: &[(i64, i64)], covered: std::ops::Range<i64>) {
    let (offsets, ids): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
    let created = ids.iter().map(|id| NOV_20 + id % 2 * 24 * HOUR);
    let amounts = Decimal128Array::from_iter_values(ids.iter().map(|id| i128::from(*id)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.clone())),
        Arc::new(StringArray::from(vec!["a city"; ids.len()])),
        Arc::new(amounts.with_precision_and_scale(10, 2).unwrap()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(created).with_timezone("UTC")),
    ];
    let rows = batch(&orders(), columns, P0, &offsets);
    lake.append(rows).await.unwrap();
    lake.cover(P0, range(covered), ids.len() as u64).unwrap();
    lake.commit(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_one_offset_and_several_dates_are_a_whole_lake() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = open(folder.path(), [P0]).await;
    let first = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (3, 2), (3, 5)];
    commit(&mut lake, &first, 0..4).await;
    commit(&mut lake, &[(4, 1), (4, 2)], 4..6).await;
    expect_whole(folder.path()).await;
    assert_eq!(count(folder.path()).await, 9);
    let last = select(folder.path(), "arg_max(order_id, _offset), count(*)").await;
    assert_eq!(last[0][1], texts([["9"]])[0][0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_message_has_more_than_once_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut lake = open(folder.path(), [P0]).await;
    commit(&mut lake, &[(0, 1), (0, 3), (0, 1), (1, 3)], 0..2).await;
    let audit = TableReader::new(folder.path()).audit().await.unwrap();
    let flaws: Vec<_> = audit.contents.into_iter().map(|(_, flaw)| flaw).collect();
    assert_eq!(flaws, [ContentFlaw::Repeated { rows: 1, first: 0 }]);
}
