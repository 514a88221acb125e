//! PostgreSQL and Kafka brought to where they were when a release was recorded.
//!
//! Rows get the same xids, and records the same offsets, so that the stored progress means the same
//! rows here. Two numbers cannot be repeated: a cluster draws its system identifier when it is
//! made, and a table its oid. The stored progress would refuse another cluster and load another
//! table again, rightly. So the test writes the new numbers in the place of the recorded ones, and
//! changes nothing else.

use inlet_harness::{Database, Kafka, Postgres};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::fixture::{PATIENCE, Partition, Source, StoredRecord};

/// Runs the table's history, every statement under its recorded xid.
pub async fn history(postgres: &Postgres, source: &Source) -> Database {
    let database = postgres.create_database(&source.database).await.unwrap();
    database
        .sql(
            "CREATE PROCEDURE burn(last bigint) LANGUAGE plpgsql AS $$ BEGIN
                 WHILE pg_current_xact_id()::text::bigint < last LOOP COMMIT; END LOOP; END $$",
        )
        .await
        .unwrap();
    let mut last = 0;
    for statement in &source.statements {
        if last + 1 < statement.xid {
            let burn = format!("CALL burn({})", statement.xid - 1);
            database.sql(&burn).await.unwrap();
        }
        let sql = format!(
            "BEGIN; {}; SELECT pg_current_xact_id(); COMMIT",
            statement.sql
        );
        let rows = database.rows(&sql).await.unwrap();
        assert_eq!(rows, [[statement.xid.to_string()]], "{}", statement.sql);
        last = statement.xid;
    }
    database
}

/// The numbers of the recorded cluster and table, and those of this one.
pub struct Identity {
    system: (String, String),
    oid: (u32, String),
}

impl Identity {
    pub async fn read(database: &Database, source: &Source) -> Self {
        let sql = "SELECT system_identifier, 'orders'::regclass::oid FROM pg_control_system()";
        let rows = database.rows(sql).await.unwrap();
        Self {
            system: (source.system.to_string(), rows[0][0].clone()),
            oid: (source.oid, rows[0][1].clone()),
        }
    }

    /// Writes this cluster's and this table's numbers, also where a text is quoted in JSON.
    pub fn transplant(&self, text: &str) -> String {
        let mut text = text.replace(&self.system.0, &self.system.1);
        for quote in ["\"", "\\\""] {
            let oid = |number: &str| format!("{quote}oid{quote}:{number}");
            text = text.replace(&oid(&self.oid.0.to_string()), &oid(&self.oid.1));
        }
        text
    }

    /// The same in the progress of the control topic.
    pub fn transplant_progress(&self, partitions: &mut [Partition]) {
        let records = partitions.iter_mut().flat_map(|found| &mut found.records);
        for record in records {
            let key = record.key.as_deref().unwrap_or_default();
            if let (true, Some(value)) = (key.starts_with(b"progress/"), &mut record.value) {
                let text = String::from_utf8(std::mem::take(value)).unwrap();
                *value = self.transplant(&text).into_bytes();
            }
        }
    }
}

/// Creates the topics and writes their records to the recorded offsets.
pub async fn topics(kafka: &Kafka, partitions: &[Partition]) {
    let mut names: Vec<_> = partitions.iter().map(|p| p.topic.as_str()).collect();
    names.dedup();
    for name in names {
        let count = partitions.iter().filter(|p| p.topic == name).count();
        let settings: &[(&str, &str)] = match name.ends_with("_control") {
            true => &[("cleanup.policy", "compact")],
            false => &[],
        };
        let count = i32::try_from(count).unwrap();
        kafka.create_topic(name, count, settings).await.unwrap();
    }
    for partition in partitions {
        let mut client = kafka.client();
        client.set("transactional.id", format!("replay-{}", partition.topic));
        let partition = partition.clone();
        tokio::task::spawn_blocking(move || write(&client, &partition))
            .await
            .unwrap();
    }
}

/// A transaction's end takes an offset of its own: so a gap in the offsets is where one ended.
fn write(client: &ClientConfig, partition: &Partition) {
    let producer: ThreadedProducer<DefaultProducerContext> = client.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    let mut next = 0;
    for transaction in partition
        .records
        .chunk_by(|a: &StoredRecord, b| a.offset + 1 == b.offset)
    {
        assert_eq!(transaction[0].offset, next, "{}", partition.topic);
        producer.begin_transaction().unwrap();
        for record in transaction {
            producer
                .send(unsent(partition, record))
                .map_err(|(error, _)| error)
                .unwrap();
            next += 1;
        }
        producer.commit_transaction(PATIENCE).unwrap();
        next += 1;
    }
}

fn unsent<'a>(partition: &'a Partition, record: &'a StoredRecord) -> BaseRecord<'a, [u8], [u8]> {
    let mut unsent = BaseRecord::to(&partition.topic).partition(partition.partition);
    unsent.key = record.key.as_deref();
    unsent.payload = record.value.as_deref();
    let mut headers = OwnedHeaders::new();
    for (key, value) in &record.headers {
        let value = Some(value);
        headers = headers.insert(Header { key, value });
    }
    unsent.headers(headers)
}
