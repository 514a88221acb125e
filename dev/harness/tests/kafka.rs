//! A Kafka that accepts messages, is killed and restarts.

#![allow(clippy::unwrap_used)] // In helpers, too: a failure ends the test.

use std::time::Duration;

use anyhow::Result;
use inlet_harness::{Kafka, eventually, shared_kafka};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const SECONDS: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_foreign_client_reads_what_was_put_in() -> Result<()> {
    let kafka = shared_kafka().await;
    kafka.create_topic("plain", 2, &[]).await?;
    kafka
        .produce(
            "plain",
            &[
                (1, Some(b"k"), None),
                (0, Some(b"{\"id\":1}"), Some(b"line\none")),
                (0, None, Some(b"")),
            ],
        )
        .await?;
    let records = kafka.read("plain").await?;
    let shown: Vec<_> = records
        .iter()
        .map(|r| {
            (
                r.kafka_partition,
                r.offset,
                r.key_text(),
                r.value.as_deref(),
            )
        })
        .collect();
    let expected = [
        (0, 0, "{\"id\":1}".to_owned(), Some(&b"line\none"[..])),
        (0, 1, String::new(), Some(b"")),
        (1, 0, "k".to_owned(), None),
    ];
    assert_eq!(shown, expected);
    Ok(())
}

#[tokio::test]
async fn an_aborted_transaction_is_not_read() -> Result<()> {
    let kafka = shared_kafka().await;
    kafka.create_topic("transactions", 1, &[]).await?;
    let producer: BaseProducer = kafka.client().set("transactional.id", "harness").create()?;
    tokio::task::spawn_blocking(move || -> Result<()> {
        producer.init_transactions(SECONDS)?;
        for (value, commit) in [("kept", true), ("dropped", false)] {
            producer.begin_transaction()?;
            producer
                .send(
                    BaseRecord::<str, str>::to("transactions")
                        .partition(0)
                        .payload(value),
                )
                .map_err(|(error, _)| error)?;
            producer.flush(SECONDS)?;
            if commit {
                producer.commit_transaction(SECONDS)?
            } else {
                producer.abort_transaction(SECONDS)?
            }
        }
        Ok(())
    })
    .await??;
    let values: Vec<String> = kafka
        .read("transactions")
        .await?
        .iter()
        .map(|record| record.value_text())
        .collect();
    assert_eq!(values, ["kept"]);
    Ok(())
}

#[tokio::test]
async fn messages_survive_kill_9() -> Result<()> {
    let mut kafka = Kafka::start_with("256m", &[("message.max.bytes", "200000")]).await?;
    kafka
        .create_topic("orders", 1, &[("retention.ms", "-1")])
        .await?;
    kafka
        .produce("orders", &[(0, None, Some(b"before"))])
        .await?;
    let bootstrap = kafka.bootstrap();
    kafka.kill_9()?;
    kafka.restart().await?;
    assert_eq!(kafka.bootstrap(), bootstrap);
    kafka
        .produce("orders", &[(0, None, Some(b"after"))])
        .await?;
    let values = async || {
        Ok(kafka
            .read("orders")
            .await?
            .iter()
            .map(|record| record.value_text())
            .collect::<Vec<_>>()
            == ["before", "after"])
    };
    eventually(SECONDS, "both messages are there", values).await;
    Ok(())
}
