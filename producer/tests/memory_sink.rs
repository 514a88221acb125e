//! The sink in memory keeps the contract of the real sinks.
#![allow(clippy::unwrap_used)]

use inlet_service::error::Kind;
use inlet_service::sink::Sink;
use inlet_sink_contract::memory::{Fault, MemoryStore};

use inlet_sink_contract::{TestPipeline, orders, poll, progress, rows, upserts};

inlet_sink_contract::sink_contract!(MemoryStore::default());

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
