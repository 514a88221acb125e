//! Polled rows on their way straight into the lake: position, fitness and rules, as a consumer
//! would give them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch,
    TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use bytes::Bytes;
use inlet_lake::Rejected;
use inlet_lake::validate::{BoundRules, RuleError, Rules};
use inlet_model::Fingerprint;
use inlet_model::change::{ChangeBatch, UNFIT, positioned_schema};
use inlet_model::record::json::{Rows, encode_keys, encode_values};
use inlet_model::{KafkaPartition, Offset};

/// One table's rules, bound to each schema that comes.
pub struct Judge {
    rules: Rules,
    bound: HashMap<Fingerprint, BoundRules>,
}

/// A batch, parted.
pub struct Judged {
    /// Rows for the data files, with their positions.
    pub accepted: ChangeBatch,
    /// Rows for quarantine.
    pub rejected: Vec<Rejected>,
}

impl Judge {
    /// A judge by these rules.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            bound: HashMap::new(),
        }
    }

    /// Parts a polled batch whose first row has the offset `first`. A row is rejected when a value
    /// fits no column, or when it breaks a rule.
    pub fn judge(
        &mut self,
        batch: ChangeBatch,
        partition: KafkaPartition,
        first: Offset,
    ) -> Result<Judged, RuleError> {
        let fingerprint = batch.schema.fingerprint();
        if !self.bound.contains_key(&fingerprint) {
            self.bound
                .insert(fingerprint, self.rules.bind(&batch.schema)?);
        }
        let unfit = batch
            .rows
            .column_by_name(UNFIT)
            .expect("a polled batch has this column")
            .as_string::<i32>()
            .clone();
        let positioned = positioned(&batch, partition, first);
        let verdict = self.bound[&fingerprint].judge(&positioned);
        let mut reasons: Vec<Option<String>> = vec![None; positioned.num_rows()];
        for (row, reason) in verdict.rejected {
            reasons[row] = Some(reason);
        }
        for row in (0..unfit.len()).filter(|row| unfit.is_valid(*row)) {
            reasons[row] = Some(format!(
                "no column of the lake can hold {}",
                unfit.value(row)
            ));
        }
        let rejected = rejected(&batch, &reasons, partition, first);
        let rows = if rejected.is_empty() {
            positioned
        } else {
            let accepted: BooleanArray = reasons
                .iter()
                .map(|reason| Some(reason.is_none()))
                .collect();
            filter_record_batch(&positioned, &accepted).expect("a flag for each row")
        };
        assert_eq!(
            rows.num_rows() + rejected.len(),
            reasons.len(),
            "every row is accepted or rejected"
        );
        Ok(Judged {
            accepted: ChangeBatch {
                schema: batch.schema,
                rows,
                detected_at: batch.detected_at,
            },
            rejected,
        })
    }
}

fn positioned(batch: &ChangeBatch, partition: KafkaPartition, first: Offset) -> RecordBatch {
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
    RecordBatch::try_new(positioned_schema(&batch.schema), columns)
        .expect("a polled batch has the columns of its schema")
}

/// The rejected rows, each as the message that it would have been.
fn rejected(
    batch: &ChangeBatch,
    reasons: &[Option<String>],
    partition: KafkaPartition,
    first: Offset,
) -> Vec<Rejected> {
    if reasons.iter().all(Option::is_none) {
        return Vec::new();
    }
    let (mut values, mut keys) = (Rows::default(), Rows::default());
    encode_values(batch, &mut values);
    encode_keys(batch, &values, &mut keys);
    let reject = |(row, reason): (usize, &Option<String>)| {
        Some(Rejected {
            reason: reason.clone()?,
            topic: String::new(),
            kafka_partition: partition,
            offset: Offset(first.0 + row as i64),
            key: keys.get(row).map(Bytes::copy_from_slice),
            value: values.get(row).map(Bytes::copy_from_slice),
        })
    };
    reasons.iter().enumerate().filter_map(reject).collect()
}
