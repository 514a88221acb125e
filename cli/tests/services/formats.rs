//! Every format of the topic: our consumer brings the table into the lake, exactly once, through
//! kills of both services.

use anyhow::{Result, ensure};
use inlet_harness::{Inlet, Kafka, arrow, duckdb, eventually, shared_kafka, shared_postgres};
use serde_json::{Value, json};

use crate::load::Load;
use crate::orders::{INLET, Orders, PATIENCE};

const SHOWN: &str = "order_id, amount, order_status, item";

/// A pipeline with this layer of the configuration, under a load and through kills, until the
/// latest state is the table.
async fn carried(layer: &str, seed: u64) -> Orders {
    let (postgres, kafka) = (shared_postgres().await, shared_kafka().await);
    let mut orders = Orders::new(postgres, Some(kafka), false).await.unwrap();
    let intervals = "streaming: { poll_interval: 10ms, flush_interval: 200ms }\n";
    orders.configure(&format!("{layer}\n{intervals}")).unwrap();
    orders.insert(&["1.00", "2.50", "-0.05"]).await.unwrap();
    // The writers change rows below the greatest number, and leave these as the load finds them.
    let far = "SELECT setval(pg_get_serial_sequence('roll001_orders', 'order_id'), 10000)";
    orders.database.sql(far).await.unwrap();
    orders.insert(&["3.00"]).await.unwrap();
    let load = Load::start(orders.database.url(), 2, seed);
    let mut services = ["producer", "consumer"].map(|verb| orders.start(verb).unwrap());
    for committed in [100, 200, 300] {
        let what = format!("{committed} transactions are committed");
        let enough = async || Ok(load.committed() > committed);
        eventually(PATIENCE, &what, enough).await;
        for (service, verb) in services.iter_mut().zip(["producer", "consumer"]) {
            service.kill_9().unwrap();
            *service = orders.start(verb).unwrap();
        }
    }
    load.stop().await;
    let equals = async || latest_equals(&orders).await;
    eventually(PATIENCE, "the latest state is the table", equals).await;
    assert_eq!(orders.duplicates().await.unwrap(), 0);
    assert_eq!(orders.quarantined().await.unwrap(), 0);
    orders
}

async fn latest_equals(orders: &Orders) -> Result<bool> {
    let sql = format!("SELECT {SHOWN} FROM roll001_orders ORDER BY order_id");
    let mut query = orders.arguments("query");
    query.extend(["--format", "json", &sql].map(str::to_owned));
    let asked = Inlet::run(INLET, &query, &[]).await?;
    ensure!(asked.code == 0, "{}", asked.stderr);
    let found: Vec<Value> = serde_json::from_str(&asked.stdout)?;
    let rows = orders.database.rows(&sql).await?;
    ensure!(
        found.len() == rows.len(),
        "{} rows of {}",
        found.len(),
        rows.len()
    );
    for (found, row) in found.iter().zip(&rows) {
        let names = SHOWN.split(", ");
        let values: Vec<_> = names.map(|name| shown(&found[name])).collect();
        ensure!(
            same(&values, row),
            "the lake has {values:?}, PostgreSQL {row:?}"
        );
    }
    Ok(true)
}

/// A decimal is a number in this output, with or without its zeros.
fn same(found: &[String], expected: &[String]) -> bool {
    found.iter().zip(expected).all(|(found, expected)| {
        let numbers = (found.parse::<f64>(), expected.parse::<f64>());
        found == expected || matches!(numbers, (Ok(one), Ok(other)) if one == other)
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The keys and values of a topic; the value of a tombstone is null.
async fn values(kafka: &Kafka, orders: &Orders) -> Vec<(String, Value)> {
    let records = kafka.read(orders.database.name()).await.unwrap();
    let value = |record: &inlet_harness::Record| {
        let value = record
            .value
            .as_deref()
            .map_or(Ok(Value::Null), serde_json::from_slice);
        (record.key_text(), value.unwrap())
    };
    records.iter().map(value).collect()
}

#[tokio::test]
async fn plain_rows_with_keys_of_other_columns_keep_the_latest_state_right() {
    // The status changes, so the versions of an order are in several kafka_partitions.
    let layer = "kafka: { format: plain, topic_key: [order_status], partitions: 3 }";
    let orders = carried(layer, 21).await;
    for (key, value) in values(shared_kafka().await, &orders).await {
        if value.is_null() {
            // The census knows no values but those of the row's own key.
            assert!(key.starts_with("{\"order_id\":"), "{key}");
            continue;
        }
        let status = &value["order_status"];
        assert_eq!(key, format!("{{\"order_status\":{status}}}"));
        assert!(value["amount"].is_number(), "{value}");
        assert!(
            value["created_at"].as_str().unwrap().ends_with('Z'),
            "{value}"
        );
    }
}

#[tokio::test]
async fn a_value_is_the_row_alone_in_the_order_of_its_columns() {
    for (format, amount, utc) in [("plain", "12.50", "Z"), ("json", "\"12.50\"", "")] {
        let (postgres, kafka) = (shared_postgres().await, shared_kafka().await);
        let mut orders = Orders::new(postgres, Some(kafka), false).await.unwrap();
        orders
            .configure(&format!("kafka: {{ format: {format} }}"))
            .unwrap();
        orders
            .database
            .sql(
                "INSERT INTO ROLL001_orders (customer_name, item, amount, order_status, created_at,
                    updated_at)
                 VALUES ('Asha', 'Dosa', 12.50, 'PLACED', '2026-11-20 10:00', '2026-11-20 10:00Z')",
            )
            .await
            .unwrap();
        let _services = ["producer", "consumer"].map(|verb| orders.start(verb).unwrap());
        orders.await_lake_rows(1).await;
        let records = kafka.read(orders.database.name()).await.unwrap();
        let value = String::from_utf8(records[0].value.clone().unwrap()).unwrap();
        let expected = format!(
            "{{\"order_id\":1,\"customer_name\":\"Asha\",\"restaurant_name\":null,\"item\":\"Dosa\",\
             \"amount\":{amount},\"order_status\":\"PLACED\",\"created_at\":\"2026-11-20T10:00:00.000000{utc}\",\
             \"updated_at\":\"2026-11-20T10:00:00.000000Z\"}}"
        );
        assert_eq!(value, expected, "{format}");
    }
}

#[tokio::test]
async fn envelopes_are_read_back_and_tell_a_load_an_insert_and_an_update_apart() {
    let layer = "kafka: { format: debezium }\ndebezium: { decimals: string }";
    let orders = carried(layer, 22).await;
    let _services = ["producer", "consumer"].map(|verb| orders.start(verb).unwrap());
    let steps = [
        "INSERT INTO ROLL001_orders (item, amount, created_at, updated_at)
         VALUES ('Marked', 1.50, now() AT TIME ZONE 'UTC', now())",
        "UPDATE ROLL001_orders SET amount = 2.50, updated_at = clock_timestamp()
         WHERE item = 'Marked'",
    ];
    for step in steps {
        orders.database.sql(step).await.unwrap();
        let equals = async || latest_equals(&orders).await;
        eventually(PATIENCE, "the change arrives", equals).await;
    }
    let values = values(shared_kafka().await, &orders).await;
    let ops = |item: &str| -> Vec<String> {
        let of_item = values
            .iter()
            .filter(|(_, value)| value["after"]["item"] == item);
        of_item.map(|(_, value)| shown(&value["op"])).collect()
    };
    assert_eq!(ops("Marked"), ["c", "u"]);
    let (_, first) = &values[0];
    assert_eq!(first["op"], "r", "the first rows are those of the load");
    assert_eq!(first["source"]["db"], orders.database.name());
    let amount = first["after"]["amount"].as_str().unwrap();
    assert!(amount.parse::<f64>().is_ok(), "{first}");
}

#[tokio::test]
async fn a_format_that_changes_between_two_runs_needs_no_change_of_the_consumer() {
    let layer = "kafka: { format: debezium }\ndebezium: { schemas: true }";
    let mut orders = carried(layer, 23).await;
    let (_, first) = &values(shared_kafka().await, &orders).await[0];
    assert_eq!(first["schema"]["type"], "struct");
    // Where a program that is made for Debezium looks for the row.
    assert!(first["payload"]["after"]["amount"].is_string(), "{first}");
    orders.configure("kafka: { format: json }").unwrap();
    orders.insert(&["7.00"]).await.unwrap();
    let _services = ["producer", "consumer"].map(|verb| orders.start(verb).unwrap());
    let equals = async || latest_equals(&orders).await;
    eventually(PATIENCE, "the row of another format arrives", equals).await;
}

/// The rows of each message of a topic of the format `arrow`, as pyarrow reads them.
async fn rows_by_pyarrow(orders: &Orders) -> Vec<Vec<Value>> {
    let topic = orders.database.name();
    let records = shared_kafka().await.read(topic).await.unwrap();
    let keys = records.iter().filter(|record| record.key.is_some());
    assert_eq!(keys.count(), 0, "rows have no common key");
    let values = records.iter().filter_map(|record| record.value.as_deref());
    arrow::rows(&values.collect::<Vec<_>>()).await.unwrap()
}

#[tokio::test]
async fn batches_of_arrow_carry_every_change_and_pyarrow_reads_them() {
    let mut orders = carried("kafka: { format: arrow, partitions: 3 }", 24).await;
    let messages = rows_by_pyarrow(&orders).await;
    let rows = messages.iter().max_by_key(|rows| rows.len()).unwrap();
    assert!(rows.len() > 1, "a message has many rows");
    let row = rows.iter().find(|row| row["_op"] == "u").unwrap();
    assert!(row["_xid"].is_u64() && row["order_id"].is_u64(), "{row}");
    assert!(
        row["amount"].is_string() && row["updated_at"].is_string(),
        "{row}"
    );
    let fsck = orders.arguments("fsck");
    let fsck = [&["lake".to_owned()], fsck.as_slice()].concat();
    let checked = Inlet::run(INLET, &fsck, &[]).await.unwrap();
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);

    // Another format in the same topic, and back.
    for format in ["json", "arrow"] {
        orders
            .configure(&format!("kafka: {{ format: {format} }}"))
            .unwrap();
        orders.insert(&["7.00", "8.00"]).await.unwrap();
        let change = "UPDATE ROLL001_orders SET amount = amount + 1, updated_at = \
            clock_timestamp() WHERE order_id < 50";
        orders.database.sql(change).await.unwrap();
        let _services = ["producer", "consumer"].map(|verb| orders.start(verb).unwrap());
        let equals = async || latest_equals(&orders).await;
        eventually(PATIENCE, "rows of another format arrive", equals).await;
    }
    assert_eq!(orders.duplicates().await.unwrap(), 0);
}

#[tokio::test]
async fn a_row_of_a_batch_that_breaks_a_rule_is_alone_in_quarantine() {
    let (postgres, kafka) = (shared_postgres().await, shared_kafka().await);
    let mut orders = Orders::new(postgres, Some(kafka), true).await.unwrap();
    orders.configure("kafka: { format: arrow }").unwrap();
    orders.insert(&["1.00", "-5.00", "2.00"]).await.unwrap();
    let _services = ["producer", "consumer"].map(|verb| orders.start(verb).unwrap());
    orders.await_lake_rows(2).await;
    eventually(PATIENCE, "a row is in quarantine", async || {
        Ok(orders.quarantined().await? == 1)
    })
    .await;
    let sql = format!(
        "SELECT key, value FROM read_json('{}')",
        orders.quarantine()
    );
    let row = &duckdb::query(&sql).await.unwrap()[0];
    let (key, value): (Value, Value) = (
        serde_json::from_str(&row[0]).unwrap(),
        serde_json::from_str(&row[1]).unwrap(),
    );
    assert_eq!(key, json!({"order_id": 2}));
    assert_eq!(
        (&value["order_id"], &value["amount"]),
        (&json!(2), &json!("-5.00"))
    );
    let batches = rows_by_pyarrow(&orders).await;
    let amounts: Vec<_> = batches[0].iter().map(|row| row["amount"].clone()).collect();
    assert_eq!(
        amounts,
        ["1.00", "-5.00", "2.00"],
        "one message has all rows"
    );
}
