//! Consecutive rows of one schema, under construction.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, RecordBatch, TimestampMicrosecondBuilder, UInt8Array,
    UInt64Array,
};
use inlet_model::TableSchema;
use inlet_model::change::{ChangeBatch, Origin, positioned_schema};
use inlet_model::record::format::Changes;

use super::DecodedBatch;
use crate::source::Message;

/// The change and position columns of rows of one layout.
pub(super) struct Run<Layout> {
    pub layout: Layout,
    pub origin: Origin,
    messages: Vec<u32>,
    pub changes: Changes,
    kafka_partition: Int32Builder,
    offset: Int64Builder,
    detected_at: TimestampMicrosecondBuilder,
    newest: i64,
}

impl<Layout> Run<Layout> {
    pub fn new(layout: Layout, origin: Origin) -> Self {
        Self {
            layout,
            origin,
            messages: Vec::new(),
            changes: Changes::default(),
            kafka_partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            detected_at: TimestampMicrosecondBuilder::new(),
            newest: i64::MIN,
        }
    }

    /// Gives the rows that a message has added their position.
    pub fn position(&mut self, number: u32, message: &Message<'_>, detected_at: i64) {
        for _ in self.messages.len()..self.changes.ops.len() {
            self.messages.push(number);
            self.kafka_partition.append_value(message.partition.0);
            self.offset.append_value(message.offset.0);
            self.detected_at.append_value(detected_at);
        }
        // Messages of several snapshots share a batch; the latest one dates it.
        self.newest = self.newest.max(detected_at);
    }

    /// Whether it has no rows: all its messages were rejected.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The rows of the run; `columns` are those of the table.
    pub fn finish(mut self, schema: Arc<TableSchema>, mut columns: Vec<ArrayRef>) -> DecodedBatch {
        let change: [ArrayRef; 5] = [
            Arc::new(UInt8Array::from(self.changes.ops)),
            Arc::new(UInt64Array::from(self.changes.xids)),
            Arc::new(self.kafka_partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.detected_at.finish().with_timezone("UTC")),
        ];
        columns.extend(change);
        let rows = RecordBatch::try_new(positioned_schema(&schema), columns)
            .expect("the decoder's columns are those of its schema");
        assert_eq!(
            rows.num_rows(),
            self.messages.len(),
            "every row has a position"
        );
        DecodedBatch {
            changes: ChangeBatch {
                schema,
                rows,
                detected_at: self.newest,
                origin: self.origin,
            },
            messages: self.messages,
        }
    }
}
