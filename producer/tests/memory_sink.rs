//! The double keeps the contract of the real sinks.
#![allow(clippy::unwrap_used)]

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, UInt8Type};
use inlet_model::change::{OP, UPSERT};
use inlet_producer::sink::Sink;
use inlet_producer::sink::memory::{Fault, MemorySink, MemoryStore};
use inlet_service::error::Kind;

mod contract;

use contract::{Pipeline, orders, poll, progress, rows, upserts};

impl Pipeline for MemoryStore {
    type Sink = MemorySink;

    fn sink(&self) -> MemorySink {
        Self::sink(self)
    }

    async fn visible(&self) -> Vec<(i64, Option<String>)> {
        let mut visible = Vec::new();
        for batch in self.batches() {
            let ops = batch
                .rows
                .column_by_name(OP)
                .unwrap()
                .as_primitive::<UInt8Type>();
            let (ids, notes) = (
                batch.rows.column(0).as_primitive::<Int64Type>(),
                batch.rows.column(1).as_string::<i32>(),
            );
            let note = |row| (ops.value(row) == UPSERT).then(|| notes.value(row).to_owned());
            visible.extend((0..batch.rows.num_rows()).map(|row| (ids.value(row), note(row))));
        }
        visible.sort();
        visible
    }
}

contract!(MemoryStore::default());

#[tokio::test]
async fn a_call_fails_without_effect_or_after_it() {
    let store = MemoryStore::default();
    let mut sink = store.sink();
    sink.resume(&[orders()]).await.unwrap();
    for (fault, seen) in [(Fault::Undone, 0..0), (Fault::Done, 0..3)] {
        sink.write(upserts(0..3, "a")).await.unwrap();
        store.fail(0, fault);
        assert_eq!(
            sink.checkpoint(poll("1")).await.unwrap_err().kind,
            Kind::Unavailable
        );
        assert_eq!(store.visible().await, rows(seen, "a"), "{fault:?}");
        assert_eq!(
            sink.write(upserts(0..3, "a")).await.unwrap_err().kind,
            Kind::Bug,
            "only resume helps after an error"
        );
        let found = sink.resume(&[orders()]).await.unwrap();
        assert_eq!(!found.is_empty(), fault == Fault::Done);
    }
    assert_eq!(
        store.sink().resume(&[orders()]).await.unwrap(),
        progress(&[("poll", "1")])
    );
}
