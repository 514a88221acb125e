//! Polled rows as the lake stores them: with their position, and rejected ones as the message that
//! a producer would have sent.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use bytes::Bytes;
use inlet_model::change::{ChangeBatch, UNFIT, positioned_schema};
use inlet_model::record::Rows;
use inlet_model::record::json::{encode_keys, encode_values};
use inlet_model::{KafkaPartition, Offset};

use crate::files::Rejected;

/// The rows with a value that no column can hold, each with the reason.
pub(super) fn unfit(batch: &ChangeBatch) -> Vec<(usize, String)> {
    let unfit = batch
        .rows
        .column_by_name(UNFIT)
        .expect("a polled batch has this column")
        .as_string::<i32>();
    if unfit.null_count() == unfit.len() {
        return Vec::new();
    }
    let reason = |value: &str| format!("no column of the lake can hold {value}");
    (0..)
        .zip(unfit)
        .filter_map(|(row, value)| Some((row, reason(value?))))
        .collect()
}

/// The batch with the position of each row; the first one has the offset `first`.
pub(super) fn positioned(
    batch: &ChangeBatch,
    partition: KafkaPartition,
    first: Offset,
) -> ChangeBatch {
    let count = batch.rows.num_rows();
    let unfit = batch
        .rows
        .schema()
        .index_of(UNFIT)
        .expect("a polled batch has this column");
    let mut columns: Vec<ArrayRef> = batch.rows.columns().to_vec();
    columns.remove(unfit);
    let offsets = first.0..first.0 + count as i64;
    columns.push(Arc::new(Int32Array::from_value(partition.0, count)));
    columns.push(Arc::new(offsets.collect::<Int64Array>()));
    columns.push(Arc::new(
        TimestampMicrosecondArray::from_value(batch.detected_at, count).with_timezone("UTC"),
    ));
    ChangeBatch {
        schema: batch.schema.clone(),
        rows: RecordBatch::try_new(positioned_schema(&batch.schema), columns)
            .expect("a polled batch has the columns of its schema"),
        detected_at: batch.detected_at,
        origin: batch.origin,
    }
}

/// The rejected rows of a polled batch, each as the message that it would have been.
pub(super) fn rejected(
    batch: &ChangeBatch,
    reasons: &[(usize, String)],
    partition: KafkaPartition,
    first: Offset,
) -> Vec<Rejected> {
    if reasons.is_empty() {
        return Vec::new();
    }
    let (mut values, mut keys) = (Rows::default(), Rows::default());
    encode_values(batch, &mut values);
    encode_keys(batch, &values, &mut keys);
    let reject = |(row, reason): &(usize, String)| Rejected {
        reason: reason.clone(),
        topic: String::new(),
        kafka_partition: partition,
        offset: Offset(first.0 + *row as i64),
        key: keys.get(*row).map(Bytes::copy_from_slice),
        value: values.get(*row).map(Bytes::copy_from_slice),
    };
    reasons.iter().map(reject).collect()
}
