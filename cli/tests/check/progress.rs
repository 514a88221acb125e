use inlet_harness::{Inlet, Kafka, shared_kafka};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;

use crate::case::{Case, INLET, PATIENCE};

const TABLE: &str =
    "CREATE TABLE orders (order_id serial PRIMARY KEY, amount numeric(10,2), created_at \
        timestamptz NOT NULL DEFAULT now());
                     CREATE INDEX ON orders (created_at); INSERT INTO orders (amount) VALUES (1), \
        (2);";

async fn with_broker(kafka: &Kafka) -> (Case, String) {
    let mut case = Case::new().await;
    let topic = case.database.name().to_owned();
    case.add(&format!(
        "kafka:\n  brokers: {}\n  topic: {topic}\n",
        kafka.bootstrap()
    ));
    (case, topic)
}

fn committed(inlet: &Inlet) -> anyhow::Result<bool> {
    Ok(inlet.stderr()?.contains("batch committed"))
}

#[tokio::test]
async fn the_lake_of_another_database() {
    let mut case = Case::new().await;
    case.load().await;
    let other = inlet_harness::shared_database().await;
    other.sql(TABLE).await.unwrap();
    let (ours, theirs) = (case.database.url().to_owned(), other.url().to_owned());
    case.replace(&ours, &theirs);
    case.shown.insert(0, (other.name().to_owned(), "store"));
    let masks = [
        ("`shop` of cluster ", " instead", "73"),
        ("`store` of cluster ", "", "73"),
    ];
    case.check().await.names_with(
        "progress of another database",
        "error",
        "orders",
        "its own `pipeline` name",
        &masks,
    );
}

#[tokio::test]
async fn another_cursor_than_before() {
    let mut case = Case::new().await;
    case.load().await;
    let sql = "ALTER TABLE orders ADD COLUMN changed_on timestamptz NOT NULL DEFAULT now(); CREATE \
        INDEX ON orders (changed_on)";
    case.database.sql(sql).await.unwrap();
    case.add("tables:\n  orders:\n    cursor: changed_on\n");
    case.check().await.names(
        "another cursor than that of the progress",
        "info",
        "orders",
        "",
    );
}

#[tokio::test]
async fn partitions_that_were_added() {
    let kafka = shared_kafka().await;
    let (case, topic) = with_broker(kafka).await;
    case.service("producer", "two rows are published", async |_| {
        Ok(kafka.read(&topic).await?.len() == 2)
    })
    .await;
    let admin: AdminClient<DefaultClientContext> = kafka.client().create().unwrap();
    admin
        .create_partitions(&[NewPartitions::new(&topic, 3)], &AdminOptions::new())
        .await
        .unwrap()[0]
        .as_ref()
        .unwrap();
    case.check().await.names(
        "partitions added to a topic with rows",
        "error",
        "topic shop",
        "a new topic (`kafka.topic`)",
    );
}

#[tokio::test]
async fn another_topic_than_before() {
    let kafka = shared_kafka().await;
    let (mut case, topic) = with_broker(kafka).await;
    case.service("run", "rows are committed", async |inlet| committed(inlet))
        .await;
    case.add(&format!("tables:\n  orders:\n    topic: {topic}_2\n"));
    case.fixed(
        "a table whose topic was changed",
        "error",
        "orders",
        "tables.orders.topic: shop",
    )
    .await;
}

#[tokio::test]
async fn a_topic_that_was_recreated() {
    let kafka = shared_kafka().await;
    let (case, topic) = with_broker(kafka).await;
    case.service("run", "rows are committed", async |inlet| committed(inlet))
        .await;
    kafka.delete_topic(&topic).await.unwrap();
    kafka.create_topic(&topic, 1, &[]).await.unwrap();
    let masks = [("waits for offset ", "", "2")];
    case.check().await.names_with(
        "a topic that was deleted and recreated",
        "error",
        "topic shop",
        "a new lake folder",
        &masks,
    );
}

#[tokio::test]
async fn another_database_over_the_same_broker() {
    let kafka = shared_kafka().await;
    let (mut case, topic) = with_broker(kafka).await;
    case.service("producer", "two rows are published", async |_| {
        Ok(kafka.read(&topic).await?.len() == 2)
    })
    .await;
    let other = inlet_harness::shared_database().await;
    other.sql(TABLE).await.unwrap();
    let (ours, theirs) = (case.database.url().to_owned(), other.url().to_owned());
    case.replace(&ours, &theirs);
    let found = case.check().await.complaints();
    assert!(
        found
            .iter()
            .any(|text| text.contains("belongs to another database")),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_cursor_in_capitals_is_the_same_cursor() {
    let mut case = Case::new().await;
    case.add("tables:\n  orders:\n    cursor: Created_At\n");
    case.load().await;
    assert_eq!(case.check().await.complaints(), [""; 0]);
    case.service("run", "the poll goes on", async |inlet| {
        Ok(inlet.stderr()?.contains("resuming"))
    })
    .await;
}

/// Neither a second load without a word nor a hole: the consumer asks for the lake that it wrote.
#[tokio::test]
async fn a_lake_that_is_not_where_it_was() {
    let kafka = shared_kafka().await;
    let (mut case, topic) = with_broker(kafka).await;
    case.show(kafka.bootstrap(), "127.0.0.1:9092");
    case.service("run", "rows are committed", async |inlet| committed(inlet))
        .await;
    let lake = case.folder.join("lake");
    std::fs::remove_dir_all(&lake).unwrap();
    let masks = [("offset ", " into", "3")];
    let checked = case.check().await;
    checked.names_with(
        "a lake that is not where it was",
        "error",
        "orders",
        "start once with `--new-lake`",
        &masks,
    );
    let consumer = &["consumer", "--config", &case.config()];
    let refused = Inlet::run(INLET, consumer, &[]).await.unwrap();
    assert_eq!(refused.code, 78, "{refused:?}");
    assert!(refused.stderr.contains(&topic), "{}", refused.stderr);
    assert!(refused.stderr.contains("--new-lake"), "{refused:?}");

    let again = [consumer.as_slice(), &["--new-lake"]].concat();
    let mut again = Inlet::start(INLET, &again, &[]).unwrap();
    again.logs("batch committed", PATIENCE).await;
    again.terminate().unwrap();
    again.wait_exit(PATIENCE).await.unwrap();
    assert_eq!(case.check().await.complaints(), [""; 0]);
    let rows = format!("{}/**/*.parquet", lake.display());
    assert_eq!(inlet_harness::duckdb::count_glob(&rows).await.unwrap(), 2);
}
