//! The rows of a batch, by day and by kafka_partition. Pure.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use inlet_model::change::{KAFKA_PARTITION, OFFSET};
use inlet_model::{KafkaPartition, Offset};

use super::dates::Day;
use super::names::STAGING;
use crate::error::LakeError;

/// Rows of a date that are gathered before they are encoded.
pub(super) const RUN_ROWS: usize = 8192;

/// Splits rows by day, in their order; rows of one day alone are not copied.
pub(super) fn split(
    rows: &RecordBatch,
    days: &[Day],
) -> Result<Vec<(Day, RecordBatch)>, LakeError> {
    // Most batches have one date.
    if days.iter().all(|day| *day == days[0]) {
        return Ok(vec![(days[0], rows.clone())]);
    }
    let mut by_day: BTreeMap<Day, Vec<u32>> = BTreeMap::new();
    for (row, day) in (0..).zip(days) {
        by_day.entry(*day).or_default().push(row);
    }
    let part = |indices: Vec<u32>| {
        let (first, count) = (indices[0] as usize, indices.len());
        // A long run is encoded at once and needs no copy. A short one waits, and a slice of it
        // would keep the memory of the whole batch.
        if count >= RUN_ROWS && indices[count - 1] as usize - first == count - 1 {
            return Ok(rows.slice(first, count));
        }
        take_record_batch(rows, &UInt32Array::from(indices))
    };
    let parts = by_day
        .into_iter()
        .map(|(day, indices)| part(indices).map(|rows| (day, rows)));
    parts
        .collect::<Result<_, _>>()
        .map_err(|error| LakeError::Encode {
            path: STAGING.to_owned(),
            source: error.into(),
        })
}

/// Runs of rows of one kafka_partition whose offsets do not fall: partition, first and last
/// offset. Several rows of one message have its offset, and are beside each other.
pub(super) fn runs(rows: &RecordBatch) -> impl Iterator<Item = (KafkaPartition, Offset, Offset)> {
    let column = |name: &str| {
        rows.column_by_name(name)
            .expect("a batch of the lake has its position columns")
    };
    let partitions = column(KAFKA_PARTITION)
        .as_primitive::<Int32Type>()
        .values()
        .clone();
    let offsets = column(OFFSET).as_primitive::<Int64Type>().values().clone();
    let mut start = 0;
    std::iter::from_fn(move || {
        let partition = *partitions.get(start)?;
        let mut end = start + 1;
        while end < partitions.len()
            && partitions[end] == partition
            && offsets[end] >= offsets[end - 1]
        {
            end += 1;
        }
        let run = (
            KafkaPartition(partition),
            Offset(offsets[start]),
            Offset(offsets[end - 1]),
        );
        start = end;
        Some(run)
    })
}
