//! The topic as a foreign client sees it: kcat, read_committed.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use inlet_harness::{eventually, shared_database, shared_kafka, shared_postgres};
use serde_json::Value;

use crate::load::Load;
use crate::orders::{Orders, PATIENCE};
use crate::tables::Copy;

#[tokio::test]
async fn a_foreign_client_reads_each_version_once_and_in_commit_order_per_key() {
    let (postgres, kafka) = (shared_postgres().await, shared_kafka().await);
    let mut orders = Orders::new(postgres, Some(kafka), false).await.unwrap();
    orders
        .configure("kafka: { partitions: 4 }\nstreaming: { poll_interval: 5ms }\n")
        .unwrap();
    let load = Load::start(orders.database.url(), 3, 11);
    let mut producer = orders.start("producer").unwrap();
    eventually(PATIENCE, "400 transactions are committed", async || {
        load.committed() > 400
    })
    .await;
    producer.kill_9().unwrap();
    let mut producer = orders.start("producer").unwrap();
    eventually(PATIENCE, "800 transactions are committed", async || {
        load.committed() > 800
    })
    .await;
    load.stop().await;
    eventually(
        PATIENCE,
        "the topic has the last state of every row",
        async || latest_equals(&orders, kafka).await,
    )
    .await;
    producer.terminate().unwrap();
    producer.wait_exit(Duration::from_secs(20)).await.unwrap();

    let records = kafka.read(orders.database.name()).await.unwrap();
    let mut versions = HashSet::new();
    let mut partitions = BTreeMap::new();
    for record in &records {
        // Every update of the load changes the amount, so no two versions of a key have the same
        // value. A key that came back may be deleted another time.
        assert!(
            record.value.is_none() || versions.insert((record.key_text(), record.value_text())),
            "a version of {} is a duplicate",
            record.key_text()
        );
        let partition = partitions
            .entry(record.key_text())
            .or_insert(record.kafka_partition);
        assert_eq!(
            *partition, record.kafka_partition,
            "a key stays in its kafka_partition"
        );
    }
    assert!(
        partitions.values().collect::<HashSet<_>>().len() == 4,
        "keys spread over all kafka_partitions"
    );
}

/// The last record of each key is the row as PostgreSQL has it: so the versions of a key are in
/// commit order.
async fn latest_equals(orders: &Orders, kafka: &inlet_harness::Kafka) -> Result<bool> {
    let mut topic = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for record in kafka.read(orders.database.name()).await? {
        if record.value.is_none() {
            // The delete of a row that was published before, under the same key.
            let id = ids.get(&record.key_text()).context("a row before")?;
            topic.remove(id);
            continue;
        }
        let value: Value = serde_json::from_str(&record.value_text())?;
        let id = value["order_id"].as_i64().context("a number")?;
        ids.insert(record.key_text(), id);
        topic.insert(
            id,
            (
                value["amount"].as_str().unwrap_or("NULL").to_owned(),
                value["order_status"].as_str().unwrap_or("NULL").to_owned(),
            ),
        );
    }
    let rows = orders
        .database
        .rows("SELECT order_id, amount, order_status FROM ROLL001_orders")
        .await?;
    let table: BTreeMap<i64, _> = rows
        .into_iter()
        .map(|row| {
            (
                row[0].parse().unwrap_or(-1),
                (row[1].clone(), row[2].clone()),
            )
        })
        .collect();
    Ok(table == topic)
}

#[tokio::test]
async fn a_consumer_of_another_pipeline_names_what_it_waits_for() {
    let database = shared_database().await;
    let notes =
        "CREATE TABLE notes (id integer PRIMARY KEY, text text); INSERT INTO notes VALUES (1, 'a')";
    database.sql(notes).await.unwrap();
    let topic = format!("{}_notes", database.name());
    let tables = format!("tables: {{ notes: {{ topic: {topic} }} }}\n");
    let copy = Copy::of(database, &["producer", "consumer"], &tables).await;
    let _producer = copy.start(&["producer"]);
    eventually(PATIENCE, "the topic has the row", async || {
        Ok(!shared_kafka().await.read(&topic).await?.is_empty())
    })
    .await;
    let config = fs::read_to_string(&copy.config).unwrap();
    let other = config.replace("pipeline: ", "pipeline: other_");
    fs::write(&copy.config, other).unwrap();
    let lost = copy.start(&["consumer"]);
    let words = "producer and consumer need the same `pipeline`";
    lost[0].logs(words, PATIENCE).await;
    // With the name of the producer's pipeline, it goes on.
    drop(lost);
    fs::write(&copy.config, config).unwrap();
    let _consumer = copy.start(&["consumer"]);
    copy.await_rows("", 1).await;
}
