//! What earlier releases stored is read and continued, exactly once: see `dev/fixtures/README.md`.

#![allow(clippy::unwrap_used)]

mod fixture;
mod replay;

use std::collections::HashSet;

use inlet_harness::{Folder, Inlet, Kafka, Postgres, duckdb, shared_kafka};
use inlet_lake::{Numbering, TableReader};
use inlet_model::record::control::ControlRecord;
use inlet_model::record::header::{HEADER, Header};
use inlet_model::{Fingerprint, TableSchema};

use fixture::{INLET, Pipeline, Release};

const RELEASES: [&str; 1] = ["0.1.0"];

#[test]
fn every_fingerprint_of_a_release_is_the_hash_of_the_text_that_it_stored() {
    for release in RELEASES.map(Release::load) {
        let mut known = HashSet::new();
        for record in release.records("broker_control") {
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let read = ControlRecord::decode(key, value).expect("a record of ours");
            if let ControlRecord::Schema { fingerprint, text } = read {
                let text = text.as_deref().unwrap();
                let schema = TableSchema::decode(text).unwrap();
                assert_eq!(Fingerprint::of(text), fingerprint);
                assert_eq!(schema.fingerprint(), fingerprint);
                assert_eq!(schema.text().as_bytes(), text);
                // This build writes the same text for the same columns.
                let again = TableSchema::new(
                    schema.table.clone(),
                    schema.columns.clone(),
                    schema.key.clone(),
                );
                assert_eq!(again, schema);
                known.insert(fingerprint);
            }
        }
        assert_eq!(known.len(), 2, "before and after the new column");
        for record in release.records("broker.orders") {
            let (name, bytes) = &record.headers[0];
            assert_eq!(name, HEADER);
            assert!(known.contains(&Header::decode(bytes).unwrap().fingerprint));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_lake_of_a_release_is_continued_exactly_once() {
    for release in RELEASES.map(Release::load) {
        let postgres = Postgres::start().await.unwrap();
        let pipeline = Pipeline::restore(&release, "direct", &postgres, None).await;
        continued(&pipeline, &["run"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_and_its_lake_of_a_release_are_continued_exactly_once() {
    let kafka: &Kafka = shared_kafka().await;
    for release in RELEASES.map(Release::load) {
        let postgres = Postgres::start().await.unwrap();
        let pipeline = Pipeline::restore(&release, "broker", &postgres, Some(kafka)).await;
        continued(&pipeline, &["producer", "consumer"]).await;
    }
}

#[tokio::test]
async fn a_lake_of_a_release_tells_who_numbered_its_rows() {
    for release in RELEASES.map(Release::load) {
        for (name, numbering) in [("direct", Numbering::Local), ("broker", Numbering::Topic)] {
            let folder = Folder::new("numbering").unwrap();
            release.unpack(name, &folder.join("lake"));
            let head = TableReader::new(folder.join("lake")).head().await.unwrap();
            assert_eq!(head.unwrap().numbering(), Some(numbering), "{name}");
        }
    }
}

/// Starts the services on what the release left, changes two rows, and finds these two alone behind
/// the rows of the release.
async fn continued(pipeline: &Pipeline, verbs: &[&str]) {
    let before = pipeline.lake_rows().await;
    assert!(before >= 7, "the release wrote {before} rows");
    let mut services: Vec<Inlet> = verbs.iter().map(|verb| pipeline.start(verb)).collect();
    pipeline.change_two_rows().await;

    // `verify` waits until the lake has caught up.
    let verified = Inlet::run(INLET, &pipeline.arguments("verify"), &[])
        .await
        .unwrap();
    let logs: Vec<_> = services.iter().map(|s| s.stderr().unwrap()).collect();
    assert_eq!(verified.code, 0, "{verified:?}\n{}", logs.join("\n"));
    for service in &mut services {
        service.terminate().unwrap();
        let status = service.wait_exit(fixture::PATIENCE).await.unwrap();
        assert!(status.success(), "{}", service.stderr().unwrap());
    }
    assert!(
        logs[0].contains("progress found: resuming"),
        "the poll goes on from the stored progress: {}",
        logs[0]
    );
    assert_eq!(pipeline.lake_rows().await, before + 2);
    assert_eq!(pipeline.latest().await, pipeline.source().await);
    let duplicates = format!(
        "SELECT count(*) - count(DISTINCT (order_id, _xid)) FROM {}",
        pipeline.files()
    );
    assert_eq!(duckdb::query(&duplicates).await.unwrap(), [["0"]]);
}
