//! The Kafka sink against a real broker; another client reads the topics.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use inlet_harness::{Kafka, Port, eventually, shared_kafka};
use inlet_kafka::Connection;
use inlet_model::record::encoding::Encoding;
use inlet_model::record::header::{HEADER, Header};
use inlet_model::{ProgressDelta, TableName};
use inlet_producer::sink::kafka::{KafkaSink, KafkaSinkSettings, RecordSettings};
use inlet_service::config::Properties;
use inlet_service::error::Kind;
use inlet_service::sink::{Checkpointed, Sink, SinkError};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use inlet_sink_contract::{
    TestPipeline, assert_visible, delta, orders, poll, progress, rows, schema, upserts,
};

const PARTITIONS: i32 = 3;
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(120);

/// Makes a checkpoint durable.
async fn durable(
    sink: &mut KafkaSink,
    progress: BTreeMap<TableName, ProgressDelta>,
) -> Result<Checkpointed, SinkError> {
    sink.checkpoint(progress).await?;
    sink.flush().await
}

/// A pipeline with a name of its own on a broker.
struct OnKafka {
    brokers: String,
    settings: KafkaSinkSettings,
    /// Whether a record with the sequence of the one before it is dropped, as consumers do.
    drops_repeats: bool,
}

impl OnKafka {
    fn new(kafka: &Kafka) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let settings = KafkaSinkSettings {
            connection: Connection::new(&kafka.bootstrap(), Properties::default()),
            transactional_id: format!("inlet-p{number}"),
            control_topic: format!("p{number}_control"),
            topics: BTreeMap::from([(orders(), format!("p{number}_orders"))]),
            partitions: PARTITIONS,
            replication_factor: 1,
            deadline: Duration::from_secs(60),
            ..KafkaSinkSettings::default()
        };
        Self {
            brokers: kafka.bootstrap(),
            settings,
            drops_repeats: false,
        }
    }

    async fn shared() -> Self {
        Self::new(shared_kafka().await)
    }

    /// Every process has an instance name of its own.
    fn settings(&self) -> KafkaSinkSettings {
        KafkaSinkSettings {
            instance: inlet_producer::sink::kafka::instance_name(),
            ..self.settings.clone()
        }
    }

    fn topic(&self) -> String {
        self.settings.topics[&orders()].clone()
    }

    async fn read(&self, topic: String) -> Vec<Read> {
        let brokers = self.brokers.clone();
        let mut records = tokio::task::spawn_blocking(move || read(&brokers, &topic))
            .await
            .unwrap();
        if self.drops_repeats {
            let place = |record: &Read| {
                (
                    record.partition,
                    record.header.map(|header| header.sequence),
                )
            };
            records.dedup_by(|record, before| {
                record.header.is_some() && place(record) == place(before)
            });
        }
        records
    }

    /// The same, which publishes many rows a message.
    fn in_batches(mut self) -> Self {
        let records = RecordSettings {
            encoding: Encoding::Arrow,
            ..RecordSettings::default()
        };
        self.settings.records = BTreeMap::from([(orders(), records)]);
        self
    }

    /// The sequences of the rows of each kafka_partition, in the order of the offsets.
    async fn sequences(&self) -> BTreeMap<i32, Vec<u64>> {
        let mut sequences: BTreeMap<i32, Vec<u64>> = BTreeMap::new();
        for record in self.read(self.topic()).await {
            let header = record.header.unwrap();
            let of_rows = header.sequence..header.sequence + u64::from(header.rows);
            sequences
                .entry(record.partition)
                .or_default()
                .extend(of_rows);
        }
        sequences
    }

    async fn assert_sequences_without_hole(&self) {
        for (partition, sequences) in self.sequences().await {
            assert!(
                sequences.iter().copied().eq(0..sequences.len() as u64),
                "kafka_partition {partition}: {sequences:?}"
            );
        }
    }
}

impl TestPipeline for OnKafka {
    type Sink = KafkaSink;
    const FENCED: &str = "another producer with the same pipeline name";

    fn sink(&self) -> KafkaSink {
        KafkaSink::new(self.settings()).unwrap()
    }

    async fn visible(&self) -> Vec<(i64, Option<String>)> {
        let records = self.read(self.topic()).await;
        let is_arrow = |record: &&Read| {
            let header = record.header;
            header.is_some_and(|header| header.encoding == Encoding::Arrow)
        };
        let (batches, rows): (Vec<_>, Vec<_>) = records.iter().partition(is_arrow);
        let mut visible = rows_of(&batches).await;
        let row = |record: &&Read| {
            let field = |json: &[u8], name: &str| {
                serde_json::from_slice::<serde_json::Value>(json).unwrap()[name].clone()
            };
            let note = record
                .value
                .as_ref()
                .map(|value| field(value, "note").as_str().unwrap().to_owned());
            (field(&record.key, "id").as_i64().unwrap(), note)
        };
        visible.extend(rows.iter().map(row));
        visible.sort();
        visible
    }
}

/// The rows of messages that hold batches of Arrow, as pyarrow reads them.
async fn rows_of(batches: &[&Read]) -> Vec<(i64, Option<String>)> {
    if batches.is_empty() {
        return Vec::new();
    }
    let values: Vec<_> = batches
        .iter()
        .filter_map(|record| record.value.as_deref())
        .collect();
    let messages = inlet_harness::arrow::rows(&values).await.unwrap();
    let counted = batches.iter().filter_map(|record| record.header);
    let counted: Vec<_> = counted.map(|header| header.rows as usize).collect();
    assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>(), counted);
    let row = |row: &serde_json::Value| {
        let note = row["note"].as_str().map(str::to_owned);
        assert_eq!(row["_op"], if note.is_some() { "u" } else { "d" });
        (row["id"].as_i64().unwrap(), note)
    };
    messages.iter().flatten().map(row).collect()
}

struct Read {
    partition: i32,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    header: Option<Header>,
}

/// All committed records of a topic, by kafka_partition and offset.
fn read(brokers: &str, topic: &str) -> Vec<Read> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", "reader")
        .set("isolation.level", "read_committed");
    config
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer
        .fetch_metadata(Some(topic), RECOVERY_TIME_MAX)
        .unwrap();
    let partitions = metadata.topics()[0].partitions().len();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition as i32, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut records: Vec<(i64, Read)> = Vec::new();
    let mut ended = BTreeSet::new();
    let end = Instant::now() + RECOVERY_TIME_MAX;
    while ended.len() < partitions {
        assert!(
            Instant::now() < end,
            "topic `{topic}` was not read to its end"
        );
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                let header = message.headers().map(|headers| {
                    assert_eq!((headers.count(), headers.get(0).key), (1, HEADER));
                    Header::decode(headers.get(0).value.unwrap()).unwrap()
                });
                let (key, value) = (
                    message.key().unwrap_or_default().to_vec(),
                    message.payload().map(<[u8]>::to_vec),
                );
                records.push((
                    message.offset(),
                    Read {
                        partition: message.partition(),
                        key,
                        value,
                        header,
                    },
                ));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = ended.insert(partition),
            Some(Err(_)) | None => {}
        }
    }
    records.sort_by_key(|(offset, record)| (record.partition, *offset));
    records.into_iter().map(|(_, record)| record).collect()
}

inlet_sink_contract::sink_contract!(OnKafka::shared().await);

mod in_batches_of_arrow {
    use super::OnKafka;

    inlet_sink_contract::sink_contract!(OnKafka::shared().await.in_batches());
}

#[tokio::test]
async fn the_topics_are_created_as_configured() {
    let pipeline = OnKafka::shared().await;
    pipeline.sink().resume(&[orders()]).await.unwrap();
    let (brokers, topic, control) = (
        pipeline.brokers.clone(),
        pipeline.topic(),
        pipeline.settings.control_topic.clone(),
    );
    let count = move |topic: &str| {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .create()
            .unwrap();
        consumer
            .fetch_metadata(Some(topic), RECOVERY_TIME_MAX)
            .unwrap()
            .topics()[0]
            .partitions()
            .len()
    };
    let counts = tokio::task::spawn_blocking(move || (count(&topic), count(&control)))
        .await
        .unwrap();
    assert_eq!(counts, (PARTITIONS as usize, 1));
}

#[tokio::test]
async fn the_versions_of_a_key_stay_in_one_partition_and_in_order() {
    let pipeline = OnKafka::shared().await;
    let mut sink = pipeline.sink();
    sink.resume(&[orders()]).await.unwrap();
    for version in 0..20 {
        sink.write(upserts(0..50, &format!("{version:02}")))
            .await
            .unwrap();
        if version % 3 == 0 {
            durable(&mut sink, poll(&version.to_string()))
                .await
                .unwrap();
        }
    }
    durable(&mut sink, poll("end")).await.unwrap();
    let all =
        (0..50).flat_map(|id| (0..20).map(move |version| (id, Some(format!("{version:02}")))));
    assert_visible(&pipeline, all.collect::<Vec<_>>()).await;
    let mut versions: BTreeMap<Vec<u8>, Vec<(i32, String)>> = BTreeMap::new();
    for record in pipeline.read(pipeline.topic()).await {
        let value: serde_json::Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
        versions
            .entry(record.key)
            .or_default()
            .push((record.partition, value["note"].as_str().unwrap().to_owned()));
    }
    assert_eq!(versions.len(), 50);
    assert_eq!(
        versions
            .values()
            .map(|versions| versions[0].0)
            .collect::<BTreeSet<_>>()
            .len(),
        PARTITIONS as usize,
        "all partitions are used"
    );
    for (key, versions) in versions {
        let expected: Vec<_> = (0..20)
            .map(|version| (versions[0].0, format!("{version:02}")))
            .collect();
        assert_eq!(versions, expected, "{}", String::from_utf8_lossy(&key));
    }
}

#[tokio::test]
async fn sequences_have_no_hole_whatever_was_aborted() {
    no_hole_whatever_was_aborted(OnKafka::shared().await).await;
    no_hole_whatever_was_aborted(OnKafka::shared().await.in_batches()).await;
}

async fn no_hole_whatever_was_aborted(pipeline: OnKafka) {
    let mut sink = pipeline.sink();
    sink.resume(&[orders()]).await.unwrap();
    sink.write(upserts(0..100, "kept")).await.unwrap();
    durable(&mut sink, poll("1")).await.unwrap();
    sink.write(upserts(100..200, "lost")).await.unwrap();
    sink.rollback().await.unwrap();
    sink.resume(&[orders()]).await.unwrap();
    sink.write(upserts(200..300, "kept")).await.unwrap();
    durable(&mut sink, poll("2")).await.unwrap();
    sink.write(upserts(300..400, "lost")).await.unwrap();
    // The process dies in the middle of its transaction, so only the next owner ends it.
    std::mem::forget(sink);
    let mut next = pipeline.sink();
    assert_eq!(
        next.resume(&[orders()]).await.unwrap(),
        progress(&[("poll", "2")])
    );
    next.write(upserts(400..500, "kept")).await.unwrap();
    durable(&mut next, poll("3")).await.unwrap();
    assert_visible(
        &pipeline,
        rows((0..100).chain(200..300).chain(400..500), "kept"),
    )
    .await;
    pipeline.assert_sequences_without_hole().await;
}

#[tokio::test]
async fn a_schema_is_published_once_and_with_the_first_of_its_rows() {
    let pipeline = OnKafka::shared().await;
    let key = format!("schema/{}", schema().fingerprint());
    for round in 1..=2 {
        let mut sink = pipeline.sink();
        sink.resume(&[orders()]).await.unwrap();
        for id in 0..3 {
            sink.write(upserts([id], "a")).await.unwrap();
            durable(&mut sink, poll(&format!("{round}{id}")))
                .await
                .unwrap();
        }
        assert_visible(&pipeline, rows((0..3).flat_map(|id| vec![id; round]), "a")).await;
        let control = pipeline.read(pipeline.settings.control_topic.clone()).await;
        let schemas: Vec<_> = control
            .iter()
            .filter(|record| record.key == key.as_bytes())
            .collect();
        assert_eq!(schemas.len(), 1, "round {round}");
        assert_eq!(
            serde_json::from_slice::<inlet_model::TableSchema>(schemas[0].value.as_ref().unwrap())
                .unwrap(),
            *schema()
        );
        let fingerprints: BTreeSet<_> = pipeline
            .read(pipeline.topic())
            .await
            .iter()
            .map(|record| record.header.unwrap().fingerprint)
            .collect();
        assert_eq!(fingerprints, BTreeSet::from([schema().fingerprint()]));
    }
}

#[tokio::test]
async fn the_part_of_the_sequences_belongs_to_the_sink() {
    let pipeline = OnKafka::shared().await;
    let mut sink = pipeline.sink();
    sink.resume(&[orders()]).await.unwrap();
    let error = durable(&mut sink, delta(&[("sequences", Some("{}"))]))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Bug);
}

#[tokio::test]
async fn a_write_whose_future_was_dropped_needs_a_resume() {
    let pipeline = OnKafka::shared().await;
    let mut sink = pipeline.sink();
    sink.resume(&[orders()]).await.unwrap();
    sink.write(upserts(0..50_000, "lost")).await.unwrap();
    // The first write is still pending, so this one waits, and is dropped meanwhile.
    let dropped = tokio::time::timeout(Duration::ZERO, sink.write(upserts(0..10, "lost"))).await;
    assert!(dropped.is_err());
    assert_eq!(
        durable(&mut sink, poll("1")).await.unwrap_err().kind,
        Kind::Bug
    );
    assert_eq!(sink.resume(&[orders()]).await.unwrap(), BTreeMap::new());
    sink.write(upserts(0..10, "kept")).await.unwrap();
    durable(&mut sink, poll("1")).await.unwrap();
    assert_visible(&pipeline, rows(0..10, "kept")).await;
    pipeline.assert_sequences_without_hole().await;
}

#[tokio::test]
async fn a_sink_that_closes_ends_its_transaction_so_that_readers_continue() {
    let pipeline = OnKafka::shared().await;
    let mut sink = pipeline.sink();
    sink.resume(&[orders()]).await.unwrap();
    sink.write(upserts(0..10, "lost")).await.unwrap();
    sink.close(Duration::from_secs(20)).await;
    // A foreign record after the open transaction is visible only when that has ended. This test
    // does not resume, so only the close can end it.
    let kafka = shared_kafka().await;
    let records: Vec<_> = (0..PARTITIONS)
        .map(|partition| {
            (
                partition,
                Some(&b"{\"id\":1}"[..]),
                Some(&b"{\"note\":\"x\"}"[..]),
            )
        })
        .collect();
    kafka.produce(&pipeline.topic(), &records).await.unwrap();
    eventually(
        Duration::from_secs(10),
        "the foreign records are visible",
        async || pipeline.visible().await.len() == records.len(),
    )
    .await;
}

#[tokio::test]
async fn a_property_that_does_not_exist_is_named_without_its_value() {
    let pipeline = OnKafka::shared().await;
    let properties = Properties::new([("sasl.pasword", "secret")]).unwrap();
    let mut sink = KafkaSink::new(KafkaSinkSettings {
        connection: Connection::new(&pipeline.brokers, properties),
        ..pipeline.settings()
    })
    .unwrap();
    let error = sink.resume(&[orders()]).await.unwrap_err();
    assert_eq!(error.kind, Kind::Config);
    assert!(error.act.contains("sasl.pasword"), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn a_broker_that_is_down_is_named() {
    let port = Port::claim().unwrap();
    let brokers = format!("127.0.0.1:{}", port.number());
    let settings = KafkaSinkSettings {
        connection: Connection::new(&brokers, Properties::default()),
        deadline: Duration::from_secs(2),
        ..OnKafka::shared().await.settings()
    };
    let error = KafkaSink::new(settings)
        .unwrap()
        .resume(&[orders()])
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    let report = inlet_service::error::report(&error);
    assert!(
        report.contains(&format!("kafka at `{brokers}` does not answer"))
            && report.contains("Connection refused"),
        "{report}"
    );
}

#[tokio::test]
async fn a_control_topic_that_drops_records_is_refused() {
    let pipeline = OnKafka::shared().await;
    let kafka = shared_kafka().await;
    kafka
        .create_topic(
            &pipeline.settings.control_topic,
            1,
            &[("cleanup.policy", "delete")],
        )
        .await
        .unwrap();
    let error = pipeline.sink().resume(&[orders()]).await.unwrap_err();
    assert_eq!(error.kind, Kind::Config);
    assert!(error.act.contains("`compact`"), "{error:?}");
}

#[tokio::test]
async fn a_compacted_topic_is_refused_for_messages_without_keys() {
    let pipeline = OnKafka::shared().await.in_batches();
    let settings = [("cleanup.policy", "compact,delete")];
    shared_kafka()
        .await
        .create_topic(&pipeline.topic(), 1, &settings)
        .await
        .unwrap();
    let error = pipeline.sink().resume(&[orders()]).await.unwrap_err();
    assert_eq!(error.kind, Kind::Config);
    let expected = format!(
        "topic `{}` has the cleanup policy `compact",
        pipeline.topic()
    );
    assert!(error.act.contains(&expected), "{error:?}");
    assert!(
        error
            .hint
            .unwrap()
            .to_string()
            .contains("cleanup.policy=delete")
    );
}

#[tokio::test]
async fn an_existing_topic_keeps_its_partitions() {
    let pipeline = OnKafka::shared().await;
    shared_kafka()
        .await
        .create_topic(&pipeline.topic(), 5, &[])
        .await
        .unwrap();
    let mut sink = pipeline.sink();
    sink.resume(&[orders()]).await.unwrap();
    sink.write(upserts(0..200, "a")).await.unwrap();
    durable(&mut sink, poll("1")).await.unwrap();
    assert_visible(&pipeline, rows(0..200, "a")).await;
    assert_eq!(pipeline.sequences().await.len(), 5);
}

#[tokio::test]
async fn the_time_of_a_small_commit() {
    let pipeline = OnKafka::shared().await;
    let mut sink = pipeline.sink();
    sink.resume(&[orders()]).await.unwrap();
    let mut times = Vec::new();
    for id in 0..200 {
        let begun = Instant::now();
        sink.write(upserts([id], "a")).await.unwrap();
        durable(&mut sink, poll(&id.to_string())).await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort();
    println!(
        "a row from write to durable: p50 {:?}, p90 {:?}, p99 {:?}",
        times[100], times[180], times[198]
    );
    assert_visible(&pipeline, rows(0..200, "a")).await;
}

#[tokio::test]
async fn a_transaction_that_timed_out_is_not_mistaken_for_another_owner() {
    let settings = [(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "100",
    )];
    let kafka = Kafka::start_with("512m", &settings).await.unwrap();
    let mut pipeline = OnKafka::new(&kafka);
    let short = [
        "transaction.timeout.ms",
        "message.timeout.ms",
        "socket.timeout.ms",
    ]
    .map(|key| (key, "3000"));
    pipeline.settings.connection =
        Connection::new(&pipeline.brokers, Properties::new(short).unwrap());
    let mut sink = pipeline.sink();
    sink.resume(&[orders()]).await.unwrap();
    sink.write(upserts(0..10, "kept")).await.unwrap();
    durable(&mut sink, poll("1")).await.unwrap();
    let error = eventually(
        RECOVERY_TIME_MAX,
        "the broker ends the transaction",
        async || sink.write(upserts([10], "lost")).await.err(),
    )
    .await;
    assert_eq!(error.kind, Kind::Unavailable, "{error:?}");
    assert_eq!(
        sink.resume(&[orders()]).await.unwrap(),
        progress(&[("poll", "1")])
    );
    sink.write(upserts(10..20, "kept")).await.unwrap();
    durable(&mut sink, poll("2")).await.unwrap();
    assert_visible(&pipeline, rows(0..20, "kept")).await;
    pipeline.assert_sequences_without_hole().await;
}

#[tokio::test]
async fn a_broker_killed_in_a_checkpoint_keeps_all_of_it_or_nothing() {
    const ROWS: i64 = 5_000;
    let mut kafka = Kafka::start().await.unwrap();
    let mut pipeline = OnKafka::new(&kafka);
    pipeline.settings.deadline = Duration::from_secs(5);
    // A transaction that the broker did not end is ended with a copy of a record, see `hanging`.
    pipeline.drops_repeats = true;
    let mut sink = pipeline.sink();
    eventually(RECOVERY_TIME_MAX, "the sink starts", async || {
        sink.resume(&[orders()])
            .await
            .map_err(|error| println!("{error:?}"))
            .ok()
    })
    .await;
    let mut committed = 0;
    // Each kill is at another moment of the checkpoint.
    for delay_ms in [0, 5, 20, 80, 320] {
        sink.write(upserts(committed..committed + ROWS, "a"))
            .await
            .unwrap();
        let part = (committed + ROWS).to_string();
        let kill = async {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            kafka.kill_9().unwrap();
        };
        let (outcome, ()) = tokio::join!(durable(&mut sink, poll(&part)), kill);
        kafka.restart().await.unwrap();
        let found = eventually(RECOVERY_TIME_MAX, "the sink resumes", async || {
            sink.resume(&[orders()])
                .await
                .map_err(|error| println!("{error:?}"))
                .ok()
        })
        .await;
        let durable = found
            .get(&orders())
            .map_or(0, |progress| progress.0["poll"].parse::<i64>().unwrap());
        println!(
            "killed after {delay_ms} ms: {}, durable {durable}",
            if outcome.is_ok() {
                "acknowledged"
            } else {
                "unknown"
            }
        );
        // An acknowledged checkpoint may disappear as a whole when the broker did not end it in any
        // kafka_partition.
        assert!(
            [committed, committed + ROWS].contains(&durable),
            "{outcome:?}: {durable} after {committed}"
        );
        assert_visible(&pipeline, rows(0..durable, "a")).await;
        committed = durable;
    }
    sink.write(upserts(committed..committed + 10, "a"))
        .await
        .unwrap();
    durable(&mut sink, poll("end")).await.unwrap();
    assert_visible(&pipeline, rows(0..committed + 10, "a")).await;
    pipeline.assert_sequences_without_hole().await;
}

#[tokio::test]
async fn after_an_outage_nothing_is_published_before_the_topics_are_read_back() {
    let mut kafka = Kafka::start().await.unwrap();
    let mut pipeline = OnKafka::new(&kafka);
    // A transaction that the broker did not end is ended with a copy of a record, see `hanging`.
    pipeline.drops_repeats = true;
    let mut sink = pipeline.sink();
    sink.resume(&[orders()]).await.unwrap();
    sink.write(upserts(0..10, "a")).await.unwrap();
    durable(&mut sink, poll("1")).await.unwrap();
    kafka.kill_9().unwrap();
    kafka.restart().await.unwrap();
    // The broker has acknowledged the rows, and may have left out the end of their transaction.
    let error = match sink.write(upserts(10..20, "a")).await {
        Ok(()) => durable(&mut sink, poll("2")).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind, Kind::Unavailable, "{error:?}");
    assert!(error.act.contains("kafka was unreachable"), "{error:?}");
    let found = eventually(RECOVERY_TIME_MAX, "the sink resumes", async || {
        sink.resume(&[orders()]).await.ok()
    })
    .await;
    // The transaction was ended as a whole or not at all; the poll reads again what is missing.
    let next = if found.is_empty() { 0 } else { 10 };
    sink.write(upserts(next..20, "a")).await.unwrap();
    durable(&mut sink, poll("2")).await.unwrap();
    assert_visible(&pipeline, rows(0..20, "a")).await;
}
