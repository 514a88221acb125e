use inlet_harness::{AUTHORIZED, Kafka, Port, shared_kafka};

use crate::case::Case;

/// A case with a broker, and the topic's name.
async fn over(bootstrap: &str, more: &str) -> (Case, String) {
    let mut case = Case::new().await;
    let topic = case.database.name().to_owned();
    case.add(&format!(
        "kafka:\n  brokers: {bootstrap}\n  topic: {topic}\n{more}"
    ));
    case.show(bootstrap, "127.0.0.1:9092");
    (case, topic)
}

/// The shared broker, with a data topic of these settings.
async fn topic(settings: &[(&str, &str)]) -> Case {
    let kafka = shared_kafka().await;
    let (case, topic) = over(&kafka.bootstrap(), "").await;
    kafka.create_topic(&topic, 1, settings).await.unwrap();
    case
}

#[tokio::test]
async fn a_broker_that_is_down() {
    let nobody = Port::claim().unwrap();
    let nobody = format!("127.0.0.1:{}", nobody.number());
    let (mut case, _) = over(&nobody, "").await;
    let kafka = shared_kafka().await.bootstrap();
    case.fixed_by(
        "no broker at `kafka.brokers`",
        "error",
        "127.0.0.1:9092",
        "start the broker",
        |case| {
            case.replace_rest(&nobody, &kafka);
        },
    )
    .await;
}

#[tokio::test]
async fn a_broker_that_advertises_another_address() {
    let nobody = Port::claim().unwrap();
    let listeners = format!("PLAINTEXT://127.0.0.1:{}", nobody.number());
    let kafka = Kafka::start_with("512m", &[("advertised.listeners", &listeners)])
        .await
        .unwrap();
    let (mut case, _) = over(&kafka.bootstrap(), "").await;
    case.show(format!("127.0.0.1:{}", nobody.number()), "172.17.0.2:9092");
    case.check().await.names(
        "`advertised.listeners` that is not reached",
        "error",
        "127.0.0.1:9092",
        "advertised.listeners",
    );
}

#[tokio::test]
async fn a_topic_that_may_not_be_created() {
    let kafka = Kafka::start_with("512m", AUTHORIZED).await.unwrap();
    kafka.deny_topic_creation().await.unwrap();
    let (case, _) = over(&kafka.bootstrap(), "").await;
    case.check().await.names(
        "no right to create topics",
        "error",
        "topic shop",
        "--operation Create --topic shop",
    );
}

#[tokio::test]
async fn more_copies_than_brokers() {
    let (mut case, _) = over(
        &shared_kafka().await.bootstrap(),
        "  replication_factor: 3\n",
    )
    .await;
    case.fixed(
        "`replication_factor: 3` with one broker",
        "error",
        "topic shop",
        "kafka.replication_factor",
    )
    .await;
}

#[tokio::test]
async fn a_property_that_librdkafka_does_not_know() {
    let (case, _) = over(
        &shared_kafka().await.bootstrap(),
        "  properties:\n    sasl.pasword: secret\n",
    )
    .await;
    let checked = case.check().await;
    checked.names(
        "a misspelt property",
        "error",
        "kafka.properties.sasl.pasword",
        "`sasl.pasword`",
    );
    assert!(!format!("{:?}", checked.findings).contains("secret"));
}

#[tokio::test]
async fn encryption_that_the_broker_does_not_have() {
    let (case, _) = over(
        &shared_kafka().await.bootstrap(),
        "  properties:\n    security.protocol: ssl\n",
    )
    .await;
    // The reason is the TLS library's, and its versions word it differently.
    let masks = [("/bootstrap: ", "", "<reason>")];
    case.check().await.names_with(
        "`security.protocol: ssl`, and a broker without TLS",
        "error",
        "127.0.0.1:9092",
        "security.protocol",
        &masks,
    );
}

#[tokio::test]
async fn a_compacted_topic_of_rows() {
    let mut case = topic(&[("cleanup.policy", "compact")]).await;
    case.fixed(
        "a data topic with cleanup.policy=compact",
        "warning",
        "topic shop",
        "--add-config cleanup.policy=delete",
    )
    .await;
}

#[tokio::test]
async fn a_compacted_topic_of_batches() {
    let mut case = topic(&[("cleanup.policy", "compact")]).await;
    case.replace_rest("kafka:\n", "kafka:\n  format: arrow\n");
    case.fixed(
        "a data topic with cleanup.policy=compact, and `format: arrow`",
        "error",
        "topic shop",
        "--add-config cleanup.policy=delete",
    )
    .await;
}

#[tokio::test]
async fn rows_that_expire_within_the_hour() {
    let mut case = topic(&[("retention.ms", "3600000")]).await;
    case.fixed(
        "a data topic with retention.ms=3600000",
        "warning",
        "topic shop",
        "--add-config retention.ms=604800000",
    )
    .await;
}

#[tokio::test]
async fn a_topic_for_small_rows() {
    let mut case = topic(&[("max.message.bytes", "100000")]).await;
    case.fixed(
        "a data topic with max.message.bytes=100000",
        "warning",
        "topic shop",
        "max.message.bytes=16777216",
    )
    .await;
}

#[tokio::test]
async fn a_control_topic_that_forgets() {
    let kafka = shared_kafka().await;
    let (mut case, topic) = over(&kafka.bootstrap(), "").await;
    kafka
        .create_topic(
            &format!("{topic}_control"),
            1,
            &[("cleanup.policy", "delete")],
        )
        .await
        .unwrap();
    let fix = "--entity-name shop_control --add-config cleanup.policy=compact";
    case.fixed(
        "a control topic with cleanup.policy=delete",
        "error",
        "topic shop_control",
        fix,
    )
    .await;
}

#[tokio::test]
async fn a_control_topic_with_several_partitions() {
    let kafka = shared_kafka().await;
    let (mut case, topic) = over(&kafka.bootstrap(), "").await;
    kafka
        .create_topic(
            &format!("{topic}_control"),
            3,
            &[("cleanup.policy", "compact")],
        )
        .await
        .unwrap();
    case.fixed(
        "a control topic with three partitions",
        "error",
        "topic shop_control",
        "--delete --topic shop_control",
    )
    .await;
}

#[tokio::test]
async fn a_topic_that_drops_records_by_size() {
    let mut case = topic(&[("retention.bytes", "1000000")]).await;
    case.fixed(
        "a data topic with retention.bytes=1000000",
        "warning",
        "topic shop",
        "--add-config retention.bytes=-1",
    )
    .await;
}

#[tokio::test]
async fn messages_of_another_program_in_a_topic() {
    let case = topic(&[]).await;
    let kafka = shared_kafka().await;
    let messages = [(0, Some(&b"1"[..]), Some(&b"{}"[..]))];
    let topic = case.database.name();
    kafka.produce(topic, &messages).await.unwrap();
    case.check().await.names(
        "a message of another program in the topic",
        "warning",
        "topic shop",
        "a topic of its own",
    );
}
