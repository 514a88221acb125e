//! What the owner of a pipeline holds and does: sequences and known schemas; batches into records,
//! progress into control records.
//!
//! Budget: 1 us a row beside the encoding: one copy of key and value into librdkafka, three small
//! allocations for its header.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{UInt8Type, UInt64Type};
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use inlet_model::Xid;
use inlet_model::change::{ChangeBatch, OP, XID};
use inlet_model::record::control::{ControlKey, OWNER};
use inlet_model::record::header::{HEADER, Header};
use inlet_model::record::json::{Rows, encode_keys, encode_values};
use inlet_model::record::partition::partition_of;
use inlet_model::{Fingerprint, Progress, ProgressDelta, TableName};

use inlet_service::error::{Hint, Kind};

use super::control::{self, Claim, SEQUENCES};
use super::transaction::Transactions;
use super::{KafkaSinkSettings, admin, fault, hanging};
use inlet_service::sink::{Checkpointed, SinkError};

/// Rows that are encoded at a time: enough to pay for the call, few enough that their text stays in
/// the processor's cache.
const ENCODE_ROWS: usize = 4096;

/// The open client of the process that owns the pipeline.
pub(super) struct Publisher {
    transactions: Transactions,
    control_topic: String,
    topics: BTreeMap<TableName, Topic>,
    schemas: HashSet<Fingerprint>,
    /// Rows of the open transaction.
    rows: u64,
    encoded: Encoded,
}

/// Keys and values of the rows in work; the memory is used again.
#[derive(Default)]
struct Encoded {
    keys: Rows,
    values: Rows,
}

/// A table's topic.
struct Topic {
    name: String,
    /// The next sequence of each kafka_partition, the open transaction included.
    next: Vec<u64>,
    /// True when the open transaction holds rows of this topic.
    written: bool,
}

impl Publisher {
    /// Fences the owner before, and reads back what is durable.
    ///
    /// `held` is this process's own claim to the pipeline, if it has had one before: who was fenced
    /// by another process stays so.
    pub(super) fn take_over(
        settings: &KafkaSinkSettings,
        tables: &[TableName],
        held: &mut Option<Claim>,
    ) -> Result<(Self, BTreeMap<TableName, Progress>), SinkError> {
        let deadline = Instant::now() + settings.deadline;
        let topics = topics(settings, tables)?;
        let mut transactions = Transactions::new(settings)?;
        let names: Vec<_> = topics.values().map(String::as_str).collect();
        let partitions = admin::prepare(settings, transactions.producer(), &names, deadline)?;
        if let Some(held) = held {
            check_owner(settings, held, control::read(settings, deadline)?.owner)?;
        }
        transactions.init(deadline)?;
        // Read before anything is written: only `init_transactions` waits until the broker has
        // marked every earlier transaction as ended, a commit returns before that, and what has no
        // mark yet is not shown.
        let mut contents = control::read(settings, deadline)?;
        if hanging::settle(
            settings,
            &mut transactions,
            &topics,
            &partitions,
            &contents.progress,
            deadline,
        )? {
            contents = control::read(settings, deadline)?;
        }
        let generation = contents.owner.map_or(0, |owner| owner.generation) + 1;
        let claim = held.insert(Claim {
            generation,
            instance: settings.instance.clone(),
        });
        let claim = serde_json::to_vec(claim).expect("a number and a string are JSON");
        transactions.begin()?;
        transactions.send(control_record(&settings.control_topic, OWNER).payload(&claim))?;
        transactions.commit()?;

        let mut progress = contents.progress;
        let mut opened = BTreeMap::new();
        for (table, name) in topics {
            let sequences = progress
                .get_mut(&table)
                .and_then(|progress| progress.0.remove(SEQUENCES));
            let next = control::sequences(settings, &name, partitions[&name], sequences.as_ref())?;
            opened.insert(
                table,
                Topic {
                    name,
                    next,
                    written: false,
                },
            );
        }
        progress.retain(|table, progress| opened.contains_key(table) && !progress.0.is_empty());
        let control_topic = settings.control_topic.clone();
        let publisher = Self {
            transactions,
            control_topic,
            topics: opened,
            schemas: contents.schemas,
            rows: 0,
            encoded: Encoded::default(),
        };
        Ok((publisher, progress))
    }

    /// Queues the records of a batch, and before them its schema if readers cannot find it yet.
    pub(super) fn write(&mut self, batch: &ChangeBatch) -> Result<(), SinkError> {
        let table = &batch.schema.table;
        let topic = self
            .topics
            .get_mut(table)
            .ok_or_else(|| fault::bug(format!("table `{table}` was not resumed")))?;
        if batch.rows.num_rows() == 0 {
            return Ok(());
        }
        self.transactions.begin()?;
        topic.written = true;
        let fingerprint = batch.schema.fingerprint();
        if self.schemas.insert(fingerprint) {
            let schema = batch.schema.text();
            let key = ControlKey::Schema(fingerprint).encode();
            self.transactions
                .send(control_record(&self.control_topic, &key).payload(schema.as_bytes()))?;
        }
        let mut start = 0;
        while start < batch.rows.num_rows() {
            let rows = batch
                .rows
                .slice(start, ENCODE_ROWS.min(batch.rows.num_rows() - start));
            start += rows.num_rows();
            let part = ChangeBatch {
                schema: Arc::clone(&batch.schema),
                rows,
                detected_at: batch.detected_at,
            };
            encode_values(&part, &mut self.encoded.values);
            encode_keys(&part, &self.encoded.values, &mut self.encoded.keys);
            self.rows += send_rows(&self.transactions, topic, &part, fingerprint, &self.encoded)?;
            self.transactions.check()?;
        }
        Ok(())
    }

    /// Commits the rows together with the progress that covers them.
    pub(super) fn checkpoint(
        &mut self,
        progress: BTreeMap<TableName, ProgressDelta>,
    ) -> Result<Checkpointed, SinkError> {
        if self.rows == 0 && progress.values().all(|delta| delta.0.is_empty()) {
            return Ok(Checkpointed::Durable { rows: 0 });
        }
        self.transactions.begin()?;
        for (table, delta) in progress {
            if delta.0.contains_key(SEQUENCES) {
                return Err(fault::bug(format!(
                    "the part `{SEQUENCES}` of the progress of table `{table}` belongs to the sink"
                )));
            }
            self.send_progress(&table, delta)?;
        }
        let written: Vec<_> = self
            .topics
            .iter()
            .filter(|(_, topic)| topic.written)
            .collect();
        for (table, topic) in written {
            let text = control::sequences_text(&topic.next);
            self.send_progress(
                table,
                ProgressDelta(BTreeMap::from([(SEQUENCES.to_owned(), Some(text))])),
            )?;
        }
        self.transactions.commit()?;
        for topic in self.topics.values_mut() {
            topic.written = false;
        }
        Ok(Checkpointed::Durable {
            rows: std::mem::take(&mut self.rows),
        })
    }

    /// Ends the open transaction without its rows.
    pub(super) fn abort(mut self) {
        self.transactions.abort();
    }

    /// Takes what librdkafka reports while nothing is asked of it. What it says is judged with the
    /// next call.
    pub(super) fn idle(&self) {
        if let Err(error) = self.transactions.check() {
            tracing::debug!(%error, "the producer is of no more use");
        }
    }

    fn send_progress(&self, table: &TableName, delta: ProgressDelta) -> Result<(), SinkError> {
        for (key, value) in control::records(table, delta) {
            let mut record = control_record(&self.control_topic, &key);
            record.payload = value.as_deref();
            self.transactions.send(record)?;
        }
        Ok(())
    }
}

/// Whether the pipeline may still be this process's own; fenced when the control topic names
/// another process that came later.
pub(super) fn check_owner(
    settings: &KafkaSinkSettings,
    held: &Claim,
    found: Option<Claim>,
) -> Result<(), SinkError> {
    match found {
        Some(other) if other.instance != held.instance && other.generation >= held.generation => {
            Err(SinkError {
                kind: Kind::Fenced,
                act: format!(
                    "another producer with the same pipeline name (`{}`) took over: {}",
                    settings.transactional_id, other.instance
                ),
                hint: Some(Hint::text(
                    "run one producer a pipeline, or give each its own `pipeline`",
                )),
                source: None,
            })
        }
        _ => Ok(()),
    }
}

/// The topic of each table.
fn topics(
    settings: &KafkaSinkSettings,
    tables: &[TableName],
) -> Result<BTreeMap<TableName, String>, SinkError> {
    let topic = |table: &TableName| {
        settings
            .topics
            .get(table)
            .cloned()
            .ok_or_else(|| fault::bug(format!("table `{table}` has no topic")))
    };
    tables
        .iter()
        .map(|table| Ok((table.clone(), topic(table)?)))
        .collect()
}

fn control_record<'a>(topic: &'a str, key: &'a str) -> BaseRecord<'a, str, [u8]> {
    BaseRecord::to(topic).partition(0).key(key)
}

/// Sends encoded rows, each with the next sequence of its kafka_partition; answers how many there
/// were.
fn send_rows(
    transactions: &Transactions,
    topic: &mut Topic,
    batch: &ChangeBatch,
    fingerprint: Fingerprint,
    encoded: &Encoded,
) -> Result<u64, SinkError> {
    let ops = column(batch, OP)?.as_primitive::<UInt8Type>();
    let xids = column(batch, XID)?.as_primitive::<UInt64Type>();
    let partitions =
        u32::try_from(topic.next.len()).expect("a topic has fewer partitions than 2^31");
    let rows = batch.rows.num_rows();
    assert_eq!(
        (encoded.keys.len(), encoded.values.len()),
        (rows, rows),
        "one key and one value a row"
    );
    for row in 0..rows {
        let key = encoded.keys.get(row).expect("a key is never empty");
        let kafka_partition = partition_of(key, partitions);
        let sequence = &mut topic.next[kafka_partition.0 as usize];
        let detected_at = batch.detected_at;
        let header = Header {
            op: ops.value(row),
            xid: Xid(xids.value(row)),
            sequence: *sequence,
            fingerprint,
            detected_at,
        };
        let headers = OwnedHeaders::new_with_capacity(1).insert(KafkaHeader {
            key: HEADER,
            value: Some(&header.encode()),
        });
        let mut record = BaseRecord::<[u8], [u8]>::to(&topic.name)
            .partition(kafka_partition.0)
            .key(key)
            .headers(headers);
        record.payload = encoded.values.get(row);
        transactions.send(record)?;
        *sequence += 1;
    }
    Ok(rows as u64)
}

fn column<'a>(batch: &'a ChangeBatch, name: &str) -> Result<&'a dyn Array, SinkError> {
    batch
        .rows
        .column_by_name(name)
        .map(AsRef::as_ref)
        .ok_or_else(|| fault::bug(format!("a polled batch has no column `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_process_that_came_later_is_another_owner() {
        let claim = |generation, instance: &str| Claim {
            generation,
            instance: instance.to_owned(),
        };
        let fenced =
            |found| check_owner(&KafkaSinkSettings::default(), &claim(3, "a"), found).is_err();
        assert!(fenced(Some(claim(4, "b"))), "who came later took over");
        assert!(
            fenced(Some(claim(3, "b"))),
            "who has our number had it before a claim of ours that failed"
        );
        assert!(
            !fenced(Some(claim(2, "b"))),
            "our own claim is not shown yet"
        );
        assert!(!fenced(Some(claim(4, "a"))), "a claim in doubt was ours");
        assert!(!fenced(None));
    }
}
