//! A polled batch into messages of many rows.
//!
//! The rows are dealt to the kafka_partitions in their order. A message ends where it is full, and
//! before a row whose key it has already.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{UInt8Type, UInt64Type};
use arrow::ipc::MetadataVersion;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use super::{BYTES_MAX, ROWS_MAX, message_schema};
use crate::change::{ChangeBatch, UPSERT};
use crate::record::Rows;
use crate::record::encoding::Encoding;
use crate::record::format::{self, EncodeError, Facts, Messages, TopicKey};
use crate::record::json::{
    self, Style, encode_keys, encode_own_keys, encode_topic_keys, encode_values,
};
use crate::record::partition::partition_of;
use crate::{KafkaPartition, Xid};

/// Rows of a batch that are encoded at a time: several messages for each of a few
/// kafka_partitions.
const ROWS_AT_A_TIME: usize = 65_536;

/// The format's side of the producer.
#[derive(Debug)]
pub struct Encoder {
    topic_key: TopicKey,
    /// Writes the rows that no column can hold.
    json: json::Encoder,
    of_json: Messages,
    keys: Keys,
}

/// The texts of the keys of a batch; the memory is used again.
#[derive(Debug, Default)]
struct Keys {
    /// The rows' own; empty for a table without a key.
    own: Rows,
    /// Those that choose the kafka_partition, where they are others.
    chosen: Rows,
    values: Rows,
}

/// The message that a kafka_partition gets next.
#[derive(Debug, Default)]
struct Open<'a> {
    rows: Vec<u32>,
    keys: HashSet<&'a [u8]>,
}

impl Encoder {
    /// An encoder of a topic.
    pub fn new(topic_key: TopicKey) -> Self {
        Self {
            json: json::Encoder::new(Style::Json, topic_key.clone()),
            topic_key,
            of_json: Messages::default(),
            keys: Keys::default(),
        }
    }
}

impl format::Encoder for Encoder {
    fn rows_at_a_time(&self) -> usize {
        ROWS_AT_A_TIME
    }

    fn encode(
        &mut self,
        batch: &ChangeBatch,
        kafka_partitions: u32,
        messages: &mut Messages,
    ) -> Result<(), EncodeError> {
        messages.clear();
        let places = self.keys.encode(batch, &self.topic_key, kafka_partitions)?;
        let mut out = Out::new(batch, messages);
        let mut open: Vec<Open<'_>> = (0..kafka_partitions).map(|_| Open::default()).collect();
        let keys = Some(&self.keys.own).filter(|keys| !keys.is_empty());
        for (row, place) in (0..).zip(places) {
            let open = &mut open[place.0 as usize];
            if out.is_unfit(row) {
                // The order of a kafka_partition's rows is that of the batch.
                out.close(place, open);
                out.add_json(row, kafka_partitions, &mut self.json, &mut self.of_json)?;
                continue;
            }
            let key = keys.and_then(|keys| keys.get(row as usize));
            if open.rows.len() == out.rows_max || key.is_some_and(|key| open.keys.contains(key)) {
                out.close(place, open);
            }
            open.rows.push(row);
            open.keys.extend(key);
        }
        for (number, open) in (0..).zip(&mut open) {
            out.close(KafkaPartition(number), open);
        }
        Ok(())
    }
}

impl Keys {
    /// Encodes the keys; returns the kafka_partition of each row.
    fn encode(
        &mut self,
        batch: &ChangeBatch,
        topic_key: &TopicKey,
        kafka_partitions: u32,
    ) -> Result<Vec<KafkaPartition>, EncodeError> {
        let rows = batch.rows.num_rows();
        let topic_key = topic_key.resolve(&batch.schema)?;
        self.own.clear();
        if !batch.schema.key.is_empty() {
            encode_own_keys(batch, &mut self.own);
        }
        if kafka_partitions == 1 {
            return Ok(vec![KafkaPartition(0); rows]);
        }
        let chosen = match topic_key {
            Some(columns) => {
                encode_topic_keys(batch, &columns, &mut self.chosen);
                &self.chosen
            }
            None if batch.schema.key.is_empty() => {
                // Equal rows are in one kafka_partition, as in the format `json`.
                encode_values(batch, &mut self.values);
                encode_keys(batch, &self.values, &mut self.chosen);
                &self.chosen
            }
            None => &self.own,
        };
        let place = |row| {
            let key = chosen.get(row).expect("a key is never empty");
            partition_of(key, kafka_partitions)
        };
        Ok((0..rows).map(place).collect())
    }
}

/// The messages of a batch under construction.
struct Out<'a> {
    batch: &'a ChangeBatch,
    ops: &'a [u8],
    xids: &'a [u64],
    unfit: Option<&'a StringArray>,
    /// The columns of a message, of all rows.
    columns: RecordBatch,
    /// Rows whose message is about as large as it may be.
    rows_max: usize,
    messages: &'a mut Messages,
}

impl<'a> Out<'a> {
    fn new(batch: &'a ChangeBatch, messages: &'a mut Messages) -> Self {
        let count = batch.schema.columns.len();
        // The change columns follow the table's: operation, xid, unfit values.
        let ops = batch
            .rows
            .column(count)
            .as_primitive::<UInt8Type>()
            .values();
        let xids = batch
            .rows
            .column(count + 1)
            .as_primitive::<UInt64Type>()
            .values();
        let unfit = batch.rows.column(count + 2).as_string::<i32>();
        let mut columns: Vec<ArrayRef> = batch.rows.columns()[..count].to_vec();
        let words = ops.iter().map(|op| if *op == UPSERT { "u" } else { "d" });
        columns.push(Arc::new(StringArray::from_iter_values(words)));
        let signed = xids.iter().map(|xid| xid.cast_signed());
        columns.push(Arc::new(Int64Array::from_iter_values(signed)));
        let bytes: usize = columns
            .iter()
            .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
            .sum();
        let each = bytes.div_ceil(batch.rows.num_rows().max(1)).max(1);
        Self {
            batch,
            ops,
            xids,
            unfit: Some(unfit).filter(|unfit| unfit.null_count() < unfit.len()),
            columns: RecordBatch::try_new(message_schema(&batch.schema), columns)
                .expect("a polled batch has the columns of its schema"),
            rows_max: (BYTES_MAX / each).clamp(1, ROWS_MAX),
            messages,
        }
    }

    fn is_unfit(&self, row: u32) -> bool {
        self.unfit.is_some_and(|unfit| unfit.is_valid(row as usize))
    }

    /// Adds a message of the rows of a kafka_partition, if there are any.
    fn close(&mut self, kafka_partition: KafkaPartition, open: &mut Open<'_>) {
        let numbers = std::mem::take(&mut open.rows);
        open.keys.clear();
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
            return;
        };
        let first = *first as usize;
        // The rows of a topic with one kafka_partition need no copy.
        let rows = match *last as usize - first == numbers.len() - 1 {
            true => self.columns.slice(first, numbers.len()),
            false => take_record_batch(&self.columns, &UInt32Array::from(numbers.clone()))
                .expect("the rows are in the batch"),
        };
        self.add(kafka_partition, &rows, &numbers, 0..numbers.len());
    }

    /// Adds messages of a range of `rows`, which have these numbers in the batch: more than one
    /// where one would be too large.
    fn add(
        &mut self,
        kafka_partition: KafkaPartition,
        rows: &RecordBatch,
        numbers: &[u32],
        range: Range<usize>,
    ) {
        let values = &mut self.messages.values;
        let start = values.bytes.len();
        write(&rows.slice(range.start, range.len()), &mut values.bytes);
        if values.bytes.len() - start > BYTES_MAX && range.len() > 1 {
            values.bytes.truncate(start);
            let middle = range.start + range.len() / 2;
            self.add(kafka_partition, rows, numbers, range.start..middle);
            self.add(kafka_partition, rows, numbers, middle..range.end);
            return;
        }
        values.end();
        self.messages.keys.end();
        let first = numbers[range.start] as usize;
        self.messages.facts.push(Facts {
            encoding: Encoding::Arrow,
            kafka_partition,
            op: self.ops[first],
            xid: Xid(self.xids[first]),
            rows: u32::try_from(range.len()).expect("a message has few rows"),
        });
    }

    /// Adds the message of a row that no column can hold.
    fn add_json(
        &mut self,
        row: u32,
        kafka_partitions: u32,
        json: &mut json::Encoder,
        of_json: &mut Messages,
    ) -> Result<(), EncodeError> {
        let row = ChangeBatch {
            rows: self.batch.rows.slice(row as usize, 1),
            ..self.batch.clone()
        };
        format::Encoder::encode(json, &row, kafka_partitions, of_json)?;
        self.messages.append(of_json);
        Ok(())
    }
}

/// Writes rows as a stream of one batch.
fn write(rows: &RecordBatch, out: &mut Vec<u8>) {
    // Padding to eight bytes, which the format asks for, keeps the message of a single row small.
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5)
        .expect("eight is an alignment of the format");
    let written = StreamWriter::try_new_with_options(out, rows.schema_ref(), options).and_then(
        |mut writer| {
            writer.write(rows)?;
            writer.finish()
        },
    );
    written.expect("rows of the lake's types are written to memory");
}
