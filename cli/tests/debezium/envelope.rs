//! The same table through Debezium's connector and through `format: debezium`: the messages are
//! compared field by field, and programs that are made for Debezium read ours.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use inlet_harness::{Connect, Connector, Folder, Inlet, Kafka, eventually};
use serde_json::Value;
use tokio::process::Command;

use crate::case::{CASE, Case, create_tables, insert};
use crate::{INLET, PATIENCE, connector, logical_postgres};

/// The settings in which both write the same.
const MODES: [(&str, &str); 3] = [
    ("precise", "adaptive"),
    ("string", "adaptive_time_microseconds"),
    ("double", "connect"),
];

/// What differs in every message, by the path in it. docs/debezium.md lists the same.
const DIFFERENT: [&str; 13] = [
    "source.lsn",
    "source.name",
    "source.sequence",
    "source.snapshot",
    "source.ts_ms",
    "source.ts_ns",
    "source.ts_us",
    "source.txId",
    "source.version",
    "source.xmin",
    "ts_ms",
    "ts_ns",
    "ts_us",
];

#[tokio::test]
async fn our_envelope_is_that_of_the_connector_but_for_what_a_poll_does_not_know() {
    let (postgres, kafka) = (logical_postgres().await, Kafka::start().await.unwrap());
    let database = postgres.database().await.unwrap();
    let folder = Folder::new("envelope").unwrap();
    database.sql(&create_tables()).await.unwrap();
    database.sql(&insert(1..=40)).await.unwrap();
    let mut connectors = Vec::new();
    let mut producers = Vec::new();
    for (decimals, times) in MODES {
        let case = Case {
            name: decimals,
            decimals,
            times,
            ..CASE
        };
        connectors.push(connector(&postgres, database.name(), &case));
        let text = format!(
            "pipeline: ours_{decimals}
postgres: {{ url: '{}' }}
kafka:
  brokers: {}
  format: debezium
debezium: {{ schemas: true, decimals: {decimals}, times: {times} }}
tables:
  orders: {{ topic: ours_{decimals}.public.orders }}
",
            postgres.url(database.name()),
            kafka.bootstrap(),
        );
        let path = folder.join(format!("{decimals}.yml"));
        std::fs::write(&path, text).unwrap();
        let args = ["producer", "--config", &path.display().to_string()];
        producers.push(Inlet::start(INLET, &args, &[]).unwrap());
    }
    let mut connect = Connect::start(&kafka, &connectors).unwrap();
    for (decimals, _) in MODES {
        let topics = [decimals.to_owned(), format!("ours_{decimals}")]
            .map(|prefix| format!("{prefix}.public.orders"));
        let arrived = async || -> Result<bool> {
            connect.ensure_running()?;
            for topic in &topics {
                let found = messages(&kafka, topic).await?.len();
                ensure!(found == 40, "{topic} has {found} messages");
            }
            Ok(true)
        };
        eventually(
            PATIENCE,
            &format!("the rows arrive in mode {decimals}"),
            arrived,
        )
        .await;
        let [theirs, ours] = &topics;
        let theirs = messages(&kafka, theirs).await.unwrap();
        let ours = messages(&kafka, ours).await.unwrap();
        let mut found = BTreeSet::new();
        for (key, theirs) in &theirs {
            compare(theirs, &ours[key], &mut found);
        }
        let found: Vec<_> = found.into_iter().collect();
        assert!(found.is_empty(), "mode {decimals}:\n{}", found.join("\n"));
    }
    unwrapped(&kafka).await.unwrap();
    read_by_python(&kafka).await.unwrap();
    connect.stop().await.unwrap();
}

/// The messages of a topic by the payload of their key.
async fn messages(kafka: &Kafka, topic: &str) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for record in kafka.read(topic).await.unwrap_or_default() {
        let key: Value = serde_json::from_str(&record.key_text())?;
        let value: Value = serde_json::from_str(&record.value_text())?;
        found.insert(key["payload"].to_string(), value);
    }
    Ok(found)
}

/// Adds what differs and is not known to differ.
fn compare(theirs: &Value, ours: &Value, found: &mut BTreeSet<String>) {
    let (theirs_payload, ours_payload) = (&theirs["payload"], &ours["payload"]);
    let [mut theirs_flat, mut ours_flat] = [BTreeMap::new(), BTreeMap::new()];
    flatten("", theirs_payload, &mut theirs_flat);
    flatten("", ours_payload, &mut ours_flat);
    let names: BTreeSet<_> = theirs_flat.keys().chain(ours_flat.keys()).collect();
    for name in names {
        let (theirs, ours) = (theirs_flat.get(name), ours_flat.get(name));
        if theirs.is_none() || ours.is_none() {
            found.insert(format!("`{name}` is in one of the two"));
        } else if theirs != ours && !DIFFERENT.contains(&name.as_str()) {
            let [theirs, ours] = [theirs, ours].map(|text| text.map_or("", |text| text));
            found.insert(format!(
                "`{name}` is {theirs} of the connector, and ours is {ours}"
            ));
        }
    }
    // Both are read by a snapshot or a load.
    for message in [theirs_payload, ours_payload] {
        if message["op"] != "r" {
            found.insert(format!("`op` is {}", message["op"]));
        }
    }
    for field in [
        "after",
        "before",
        "source",
        "op",
        "transaction",
        "ts_ms",
        "ts_us",
        "ts_ns",
    ] {
        let [theirs, ours] = [theirs, ours].map(|message| columns(message, field));
        for (theirs, ours) in theirs
            .iter()
            .zip(&ours)
            .filter(|(theirs, ours)| theirs != ours)
        {
            found.insert(format!("the schema in `{field}`: {theirs} and ours {ours}"));
        }
        if theirs.len() != ours.len() {
            found.insert(format!(
                "the schema of `{field}` has another number of fields"
            ));
        }
    }
}

/// Every value that is no object, by its path.
fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) if path != "after" => {
            for (name, member) in members {
                let path = match path {
                    "" => name.clone(),
                    _ => format!("{path}.{name}"),
                };
                flatten(&path, member, into);
            }
        }
        other => _ = into.insert(path.to_owned(), as_double(other).to_string()),
    }
}

/// The same value with `38.0` in place of `38`: a reader of such a number takes both for one.
fn as_double(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter();
            members
                .map(|(name, member)| (name.clone(), as_double(member)))
                .collect()
        }
        Value::Number(number) if number.is_i64() => match number.as_i64() {
            Some(number @ -1_000_000..=1_000_000) => (number as f64).into(),
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

/// The schema of a member and of its own members, without what polling does not know: the default,
/// and whether a value is required.
fn columns(message: &Value, field: &str) -> Vec<Value> {
    let fields = message["schema"]["fields"].as_array().unwrap();
    let member = fields.iter().find(|member| member["field"] == field);
    let member = member.cloned().unwrap_or_default();
    let mut columns = member["fields"]
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![member]);
    if field == "before" || field == "after" {
        for column in &mut columns {
            let column = column.as_object_mut().unwrap();
            column.remove("optional");
            column.remove("default");
        }
    }
    columns
}

/// Debezium's own `ExtractNewRecordState` unwraps our messages in Kafka Connect.
async fn unwrapped(kafka: &Kafka) -> Result<()> {
    let folder = Folder::new("unwrapped")?;
    let file = folder.join("rows");
    let sink = Connector::new("unwrap")
        .set(
            "connector.class",
            "org.apache.kafka.connect.file.FileStreamSinkConnector",
        )
        .set("topics", "ours_string.public.orders")
        .set("file", file.display().to_string())
        .set("transforms", "unwrap")
        .set(
            "transforms.unwrap.type",
            "io.debezium.transforms.ExtractNewRecordState",
        )
        .set(
            "value.converter",
            "org.apache.kafka.connect.json.JsonConverter",
        )
        .set("value.converter.schemas.enable", "true")
        .set("consumer.override.auto.offset.reset", "earliest");
    let mut connect = Connect::start(kafka, &[sink])?;
    let written = async || -> Result<bool> {
        connect.ensure_running()?;
        let text = std::fs::read_to_string(&file).context("the sink has not started")?;
        ensure!(text.lines().count() == 40, "the sink wrote {text}");
        Ok(true)
    };
    eventually(PATIENCE, "the rows are unwrapped", written).await;
    let text = std::fs::read_to_string(&file)?;
    let first = text
        .lines()
        .find(|line| line.starts_with("Struct{id=7,"))
        .context(text.clone())?;
    ensure!(first.contains("amount=2.51"), "{first}");
    connect.stop().await
}

/// A program that is made for Debezium's envelope, with kafka-python.
async fn read_by_python(kafka: &Kafka) -> Result<()> {
    let program = "
import json, os, sys
from kafka import KafkaConsumer, TopicPartition
consumer = KafkaConsumer(bootstrap_servers=sys.argv[1], isolation_level='read_committed',
    value_deserializer=lambda value: json.loads(value))
partition = TopicPartition('ours_string.public.orders', 0)
consumer.assign([partition])
consumer.seek_to_beginning(partition)
count, total = 0, 0
while count < 40:
    for messages in consumer.poll(timeout_ms=1000).values():
        for message in messages:
            after = message.value['payload']['after']
            count += 1
            total += float(after['amount'] or 0)
print(count, round(total, 2))
";
    let python = Command::new("python3")
        .args(["-c", program, &kafka.bootstrap()])
        .env("PYTHONPATH", inlet_harness::kafka_python()?)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, python).await??;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // The sum of the 36 amounts that are not null, from their formula.
    let amount = |i: i32| f64::from(i * 7 - 300) / 100.0 * if i % 2 == 0 { 1.0 } else { -1.0 };
    let total: f64 = (1..=40).filter(|i| i % 10 != 0).map(amount).sum();
    let expected = format!("40 {}", (total * 100.0).round() / 100.0);
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(
        printed == expected,
        "{printed} instead of {expected}\n{error}"
    );
    Ok(())
}
