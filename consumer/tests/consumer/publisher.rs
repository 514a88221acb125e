//! A producer that writes records by the topic's definition, with faults on demand.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use inlet_harness::Kafka;
use inlet_model::{Column, TableName, TableSchema};
use inlet_model::{ColumnType, Scalar};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::task::block_in_place;

const DEADLINE: Duration = Duration::from_secs(60);

/// The table `orders` as its schema is stored in the control topic.
pub fn orders() -> TableSchema {
    let column = |name: &str, column_type, postgres_type: &str| Column {
        name: name.into(),
        column_type,
        postgres_type: postgres_type.into(),
        as_text: false,
        not_null: false,
        generated: false,
        number: None,
    };
    let columns = vec![
        column("order_id", ColumnType::Scalar(Scalar::Int64), "bigint"),
        column(
            "amount",
            ColumnType::Scalar(Scalar::Decimal {
                precision: 10,
                scale: 2,
            }),
            "numeric(10,2)",
        ),
        column("note", ColumnType::Scalar(Scalar::Text), "text"),
        column(
            "created_at",
            ColumnType::Scalar(Scalar::Timestamp),
            "timestamp without time zone",
        ),
    ];
    TableSchema::new(TableName::new("public", "orders"), columns, vec![0])
}

/// A value of the table.
pub fn value(id: i64) -> String {
    let day = id % 3 + 1;
    format!(
        r#"{{"order_id":{id},"amount":"{id}.25","note":"row {id}","created_at":"2026-11-{day:02}T12:34:56.000001"}}"#
    )
}

/// A key of the table.
pub fn key(id: i64) -> String {
    format!(r#"{{"order_id":{id}}}"#)
}

/// Publishes in transactions and counts the sequences.
pub struct Publisher {
    producer: BaseProducer,
    topic: String,
    control: String,
    schema: TableSchema,
    sequences: BTreeMap<i32, u64>,
    schema_is_published: bool,
}

impl Publisher {
    pub fn new(kafka: &Kafka, topic: &str, control: &str) -> Result<Self> {
        let producer: BaseProducer = kafka
            .client()
            .set("transactional.id", format!("{topic}-publisher"))
            .set("linger.ms", "0")
            .create()?;
        block_in_place(|| producer.init_transactions(DEADLINE))?;
        let (topic, control) = (topic.to_owned(), control.to_owned());
        Ok(Self {
            producer,
            topic,
            control,
            schema: orders(),
            sequences: BTreeMap::new(),
            schema_is_published: false,
        })
    }

    /// Publishes rows with these ids in one transaction, each in kafka_partition `id % partitions`.
    pub fn publish(&mut self, ids: impl IntoIterator<Item = i64>, partitions: i32) -> Result<()> {
        let rows: Vec<_> = ids
            .into_iter()
            .map(|id| {
                (
                    i32::try_from(id % i64::from(partitions)).unwrap(),
                    key(id),
                    Some(value(id)),
                )
            })
            .collect();
        self.publish_records(&rows)
    }

    /// Publishes records of kafka_partition, key and value in one transaction.
    pub fn publish_records(&mut self, records: &[(i32, String, Option<String>)]) -> Result<()> {
        block_in_place(|| {
            self.begin()?;
            self.send(records)?;
            self.producer.commit_transaction(DEADLINE)?;
            Ok(())
        })
    }

    /// Publishes records in a transaction that is aborted.
    pub fn abort(&mut self, ids: impl IntoIterator<Item = i64>, partitions: i32) -> Result<()> {
        let before = (self.sequences.clone(), self.schema_is_published);
        let rows: Vec<_> = ids
            .into_iter()
            .map(|id| {
                (
                    i32::try_from(id % i64::from(partitions)).unwrap(),
                    key(id),
                    Some(value(id)),
                )
            })
            .collect();
        block_in_place(|| {
            self.begin()?;
            self.send(&rows)?;
            self.producer.abort_transaction(DEADLINE)?;
            anyhow::Ok(())
        })?;
        (self.sequences, self.schema_is_published) = before;
        Ok(())
    }

    /// Begins a transaction that has written into the control topic, and leaves it open.
    pub fn open_transaction(&mut self) -> Result<()> {
        block_in_place(|| {
            self.begin()?;
            Ok(self.producer.flush(DEADLINE)?)
        })
    }

    /// Ends the open transaction without its records.
    pub fn abort_open(&mut self) -> Result<()> {
        block_in_place(|| Ok(self.producer.abort_transaction(DEADLINE)?))
    }

    /// Changes the next sequence of a kafka_partition: higher for a lost record, lower for a
    /// duplicate.
    pub fn shift_sequence(&mut self, partition: i32, by: i64) {
        let sequence = self.sequences.entry(partition).or_default();
        *sequence = sequence.checked_add_signed(by).unwrap();
    }

    fn begin(&mut self) -> Result<()> {
        self.producer.begin_transaction()?;
        if !std::mem::replace(&mut self.schema_is_published, true) {
            let (key, value) = (
                format!("schema/{}", self.schema.fingerprint()),
                serde_json::to_vec(&self.schema)?,
            );
            let record = BaseRecord::to(&self.control)
                .partition(0)
                .key(&key)
                .payload(&value);
            self.producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    fn send(&mut self, records: &[(i32, String, Option<String>)]) -> Result<()> {
        for (partition, key, value) in records {
            let sequence = self.sequences.entry(*partition).or_default();
            let header = header(
                &self.schema,
                if value.is_some() { b'u' } else { b'd' },
                *sequence,
            );
            let headers = OwnedHeaders::new().insert(Header {
                key: "inlet",
                value: Some(&header),
            });
            let mut record = BaseRecord::<String, String>::to(&self.topic)
                .partition(*partition)
                .key(key)
                .headers(headers);
            record.payload = value.as_ref();
            self.producer.send(record).map_err(|(error, _)| error)?;
            *sequence += 1;
            self.producer.poll(Duration::ZERO);
        }
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Layout 1 of the header, written from its definition: layout, operation, xid, sequence,
/// fingerprint, time.
fn header(schema: &TableSchema, op: u8, sequence: u64) -> Vec<u8> {
    let mut bytes = vec![1, op];
    bytes.extend_from_slice(&1000_u64.to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&schema.fingerprint().0.to_be_bytes());
    bytes.extend_from_slice(&1_795_000_000_000_000_i64.to_be_bytes());
    bytes
}
