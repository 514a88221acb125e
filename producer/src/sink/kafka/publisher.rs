//! What the owner of a pipeline holds and does: sequences and known schemas; batches into records,
//! progress into control records.
//!
//! A process takes a pipeline over in these steps, each of which relies on the one before:
//! 1. Check the broker and create missing topics, so that a transaction has a place to go to.
//! 2. Read the control topic: refuse a table that was published into another topic, before a
//!    producer that is right is fenced. If this process has owned the pipeline before and another
//!    one is named there as the later owner, stop as fenced instead of fencing it in turn.
//! 3. `init_transactions`: the broker fences every earlier owner and ends its transaction. It
//!    returns when the end is marked in every kafka_partition, so the next step sees all of it.
//! 4. Read the control topic: progress, sequences, schemas and the generation of the last owner.
//! 5. End transactions that the broker did not end (`hanging`). If that committed anything, read
//!    the control topic again.
//! 6. Publish our own name with the next generation, in a transaction of its own. From here on a
//!    process that was fenced finds out by whom.
//!
//! Afterwards each checkpoint is one transaction: rows, their schemas, the progress that covers
//! them and the sequences become visible together.
//!
//! Budget: 1 us a message beside the encoding: one copy of key and value into librdkafka, three
//! small allocations for its header.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use inlet_model::change::{ChangeBatch, Origin};
use inlet_model::record::codec::encoder;
use inlet_model::record::control::{ControlRecord, Owner};
use inlet_model::record::format::{EncodeError, Encoder, Messages};
use inlet_model::record::header::{HEADER, Header, REPAIR_HEADER};
use inlet_model::record::sequences::{PART, Sequences, TOPIC_PART, former_topic};
use inlet_model::{Fingerprint, Offset, Progress, ProgressDelta, Request, TableName};
use inlet_service::error::{Hint, Kind, Section};
use inlet_service::sink::{Checkpointed, SinkError};

use super::requests::Requests;
use super::settings::KafkaSinkSettings;
use super::stored::{Stored, sequences};
use super::transaction::Transactions;
use super::{fault, hanging, topics};

/// The open client of the process that owns the pipeline.
pub(super) struct Publisher {
    transactions: Transactions,
    control_topic: String,
    topics: BTreeMap<TableName, Topic>,
    schemas: HashSet<Fingerprint>,
    requests: Requests,
    /// Rows of the open transaction.
    rows: u64,
    messages: Messages,
}

struct Topic {
    name: String,
    encoder: Box<dyn Encoder>,
    /// The next sequence of each kafka_partition, the open transaction included.
    next: Vec<u64>,
    /// True when the open transaction holds rows of this topic.
    written: bool,
    /// True when the progress has its name.
    is_stored: bool,
}

impl Publisher {
    /// Fences the owner before, and reads back what is durable; the steps are at the top of this
    /// file.
    ///
    /// `held` is this process's own claim to the pipeline, if it has had one before. A process that
    /// another one has fenced stays fenced.
    pub(super) fn take_over(
        settings: &KafkaSinkSettings,
        tables: &[TableName],
        held: &mut Option<Owner>,
    ) -> Result<(Self, BTreeMap<TableName, Progress>), SinkError> {
        // One deadline for all steps: a broker that answers slowly each time must not add up to
        // minutes.
        let deadline = Instant::now() + settings.deadline;
        let topics = topic_names(settings, tables)?;
        let mut transactions = Transactions::new(settings)?;
        let names: Vec<_> = topics.values().map(String::as_str).collect();
        let topics::Prepared {
            partitions,
            created,
        } = topics::prepare(settings, transactions.producer(), &names, deadline)?;
        // What is wrong here must not end a producer that is right, as `init` does.
        let mut stored = Stored::read(settings, deadline)?;
        check_topics(&topics, &stored.progress)?;
        if let Some(held) = held {
            check_owner(settings, held, stored.owner.clone())?;
        }
        transactions.init(deadline)?;
        // This reads before the first write. `init` waits until the broker has marked every earlier
        // transaction as ended, but a commit returns before its mark, and a reader does not see a
        // record without the mark.
        stored = stored.read_on(settings, deadline)?;
        if hanging::end_forgotten(
            settings,
            &mut transactions,
            &topics,
            &partitions,
            &stored.progress,
            deadline,
        )? {
            stored = stored.read_on(settings, deadline)?;
        }
        check_topics(&topics, &stored.progress)?;
        log_created(&created, &topics, &stored.progress);
        let generation = stored.owner.map_or(0, |owner| owner.generation) + 1;
        // The claim is held before it is published: when the outcome of this transaction is
        // unknown, the name in the control topic may be ours.
        let owner = held.insert(Owner {
            generation,
            instance: settings.instance.clone(),
        });
        transactions.begin()?;
        let record = ControlRecord::Owner(Some(owner.clone()));
        send_control(&transactions, &settings.control_topic, record)?;
        transactions.commit()?;

        let mut progress = stored.progress;
        let opened = open_topics(settings, topics, &partitions, &mut progress)?;
        // Tables that are not polled now keep their progress in the control topic; the poll gets
        // only its own.
        progress.retain(|table, progress| opened.contains_key(table) && !progress.0.is_empty());
        let control_topic = settings.control_topic.clone();
        let publisher = Self {
            transactions,
            control_topic,
            topics: opened,
            schemas: stored.schemas,
            requests: Requests::new(
                settings,
                stored.requests,
                stored.end.unwrap_or(Offset::ZERO),
            ),
            rows: 0,
            messages: Messages::default(),
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
            let text = batch.schema.text().as_bytes().to_vec();
            // The schema is a record of the same transaction: a consumer that reads one of these
            // rows finds it in the control topic.
            let record = ControlRecord::Schema {
                fingerprint,
                text: Some(text),
            };
            send_control(&self.transactions, &self.control_topic, record)?;
        }
        let kafka_partitions =
            u32::try_from(topic.next.len()).expect("a topic has fewer partitions than 2^31");
        let mut start = 0;
        while start < batch.rows.num_rows() {
            let count = topic.encoder.rows_at_a_time();
            let rows = batch
                .rows
                .slice(start, count.min(batch.rows.num_rows() - start));
            start += rows.num_rows();
            let part = ChangeBatch {
                schema: Arc::clone(&batch.schema),
                rows,
                detected_at: batch.detected_at,
                origin: batch.origin,
            };
            topic
                .encoder
                .encode(&part, kafka_partitions, &mut self.messages)
                .map_err(not_encoded)?;
            self.rows += send_messages(&self.transactions, topic, &part, &self.messages)?;
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
            for part in [PART, TOPIC_PART] {
                if delta.0.contains_key(part) {
                    return Err(fault::bug(format!(
                        "the part `{part}` of the progress of table `{table}` belongs to the sink"
                    )));
                }
            }
            self.send_progress(&table, delta)?;
        }
        let written: Vec<_> = self
            .topics
            .iter()
            .filter(|(_, topic)| topic.written)
            .collect();
        for (table, topic) in written {
            // The sequences are part of the same transaction as the rows that used them: an abort
            // takes both back.
            let text = Sequences(topic.next.clone()).encode();
            let mut parts = BTreeMap::from([(PART.to_owned(), Some(text))]);
            if !topic.is_stored {
                parts.insert(TOPIC_PART.to_owned(), Some(topic.name.clone()));
            }
            self.send_progress(table, ProgressDelta(parts))?;
        }
        self.transactions.commit()?;
        // The flags change only after the commit: after an error the publisher is dropped with
        // them.
        for topic in self.topics.values_mut() {
            topic.is_stored |= topic.written;
            topic.written = false;
        }
        Ok(Checkpointed::Durable {
            rows: std::mem::take(&mut self.rows),
        })
    }

    /// What users ask of tables, as far as it has arrived.
    pub(super) fn requests(&mut self) -> BTreeMap<TableName, Request> {
        self.requests.read()
    }

    /// Ends the open transaction without its rows.
    pub(super) fn abort(mut self) {
        self.transactions.abort();
    }

    /// Takes what librdkafka reports between two commands. An error is left to the next command,
    /// which finds it again.
    pub(super) fn take_events(&self) {
        if let Err(error) = self.transactions.check() {
            tracing::debug!(%error, "the producer has to be replaced");
        }
    }

    fn send_progress(&self, table: &TableName, delta: ProgressDelta) -> Result<(), SinkError> {
        for (part, text) in delta.0 {
            let record = ControlRecord::Progress {
                table: table.clone(),
                part,
                text,
            };
            send_control(&self.transactions, &self.control_topic, record)?;
        }
        Ok(())
    }
}

/// Whether this process may still own the pipeline. It is fenced when the control topic names
/// another process of the same or a later generation.
pub(super) fn check_owner(
    settings: &KafkaSinkSettings,
    held: &Owner,
    found: Option<Owner>,
) -> Result<(), SinkError> {
    match found {
        Some(other) if other.instance != held.instance && other.generation >= held.generation => {
            let act = format!(
                "another producer with the same pipeline name (`{}`) took over: {}",
                settings.transactional_id, other.instance
            );
            let hint = "run one producer for each pipeline, or give each its own `pipeline`";
            Err(SinkError {
                hint: Some(Hint::text(hint).see(Section::TakenOver)),
                ..fault::of(Kind::Fenced, act)
            })
        }
        _ => Ok(()),
    }
}

fn topic_names(
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

/// Moves the sequences out of the progress, which the poll does not know, into the topics.
fn open_topics(
    settings: &KafkaSinkSettings,
    topics: BTreeMap<TableName, String>,
    partitions: &BTreeMap<String, i32>,
    progress: &mut BTreeMap<TableName, Progress>,
) -> Result<BTreeMap<TableName, Topic>, SinkError> {
    let mut opened = BTreeMap::new();
    for (table, name) in topics {
        let mut part = |part: &str| progress.get_mut(&table)?.0.remove(part);
        let (part, stored) = (part(PART), part(TOPIC_PART));
        let next = sequences(settings, &name, partitions[&name], part.as_ref())?;
        let records = settings.records.get(&table).cloned().unwrap_or_default();
        let topic = Topic {
            encoder: encoder(records.encoding, records.target),
            name,
            next,
            written: false,
            is_stored: stored.is_some(),
        };
        opened.insert(table, topic);
    }
    Ok(opened)
}

/// Refuses tables that were published into another topic.
fn check_topics(
    topics: &BTreeMap<TableName, String>,
    progress: &BTreeMap<TableName, Progress>,
) -> Result<(), SinkError> {
    for (table, name) in topics {
        let former = progress.get(table).and_then(|of| former_topic(of, name));
        if let Some(former) = former {
            return Err(another_topic(table, former, name));
        }
    }
    Ok(())
}

/// The rows of before are in another topic, so that the new one would have the later changes alone.
fn another_topic(table: &TableName, former: &str, now: &str) -> SinkError {
    let act = format!(
        "table `{table}` was published into topic `{former}`, and the configuration names `{now}`: \
         that would have its later changes alone"
    );
    let hint = format!(
        "set its topic to `{former}` again; or, to publish every row into `{now}`, give the \
         producer a new name (`pipeline`), and the consumer the same and a new lake folder \
         (`datalake.path`)"
    );
    fault::config(act, hint)
}

fn send_control(
    transactions: &Transactions,
    topic: &str,
    record: ControlRecord,
) -> Result<(), SinkError> {
    let (key, value) = record.encode();
    let mut record = BaseRecord::<str, [u8]>::to(topic).partition(0).key(&key);
    record.payload = value.as_deref();
    transactions.send(record)
}

/// Logs the topics that this take-over created. A table that has sequences was published before, so
/// its topic was deleted in between: the rows in it are lost to every reader that had not read
/// them.
fn log_created(
    created: &BTreeSet<String>,
    topics: &BTreeMap<TableName, String>,
    progress: &BTreeMap<TableName, Progress>,
) {
    for topic in created {
        if was_published(topic, topics, progress) {
            tracing::warn!(
                topic,
                "the topic was deleted and is created again: it starts with the next changes, \
                 rows that were published before are not in it, and a consumer that was reading it \
                 stops; to publish every row again, use a new pipeline name (`pipeline`)"
            );
        } else {
            tracing::info!(topic, "topic created");
        }
    }
}

/// Whether the stored progress counts records that were published into this topic.
fn was_published(
    topic: &str,
    topics: &BTreeMap<TableName, String>,
    progress: &BTreeMap<TableName, Progress>,
) -> bool {
    let tables = topics
        .iter()
        .filter(|(_, name)| *name == topic)
        .map(|(table, _)| table);
    tables
        .filter_map(|table| progress.get(table)?.0.get(PART))
        .any(|part| {
            Sequences::decode(part).is_some_and(|Sequences(next)| next.iter().any(|next| *next > 0))
        })
}

/// Sends encoded messages, each with the next sequences of its kafka_partition; returns how many
/// rows they have.
fn send_messages(
    transactions: &Transactions,
    topic: &mut Topic,
    batch: &ChangeBatch,
    messages: &Messages,
) -> Result<u64, SinkError> {
    let fingerprint = batch.schema.fingerprint();
    let mut rows = 0;
    for (message, facts) in messages.facts.iter().enumerate() {
        // The kafka_partition is chosen here and not by librdkafka, because the sequence in the
        // header belongs to it.
        let kafka_partition = facts.kafka_partition;
        let sequence = &mut topic.next[kafka_partition.0 as usize];
        let header = Header {
            op: facts.op,
            xid: facts.xid,
            sequence: *sequence,
            fingerprint,
            detected_at: batch.detected_at,
            rows: facts.rows,
            encoding: facts.encoding,
        };
        let mut headers = OwnedHeaders::new_with_capacity(2).insert(KafkaHeader {
            key: HEADER,
            value: Some(&*header.encode()),
        });
        if batch.origin == Origin::Repair {
            headers = headers.insert(KafkaHeader {
                key: REPAIR_HEADER,
                value: None::<&[u8]>,
            });
        }
        let mut record = BaseRecord::<[u8], [u8]>::to(&topic.name)
            .partition(kafka_partition.0)
            .headers(headers);
        record.key = messages.keys.get(message);
        record.payload = messages.values.get(message);
        transactions.send(record)?;
        // The numbers are used up only by a record that librdkafka has accepted.
        *sequence += u64::from(facts.rows);
        rows += u64::from(facts.rows);
    }
    assert_eq!(
        rows,
        batch.rows.num_rows() as u64,
        "every row is in a message"
    );
    Ok(rows)
}

fn not_encoded(error: EncodeError) -> SinkError {
    let hint = match &error {
        EncodeError::TopicKey { .. } => Hint::key("kafka.topic_key"),
    };
    SinkError {
        hint: Some(hint),
        ..fault::of(Kind::Config, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_whose_sequences_have_started_was_published_before() {
        let table = |name| TableName::new("public", name);
        let topics = BTreeMap::from([
            (table("orders"), "shop.orders".to_owned()),
            (table("items"), "shop.items".to_owned()),
            (table("empty"), "shop.empty".to_owned()),
        ]);
        let part = |next: Vec<u64>| {
            Progress(BTreeMap::from([(
                PART.to_owned(),
                Sequences(next).encode(),
            )]))
        };
        let progress = BTreeMap::from([
            (table("orders"), part(vec![0, 7])),
            (table("empty"), part(vec![0, 0])),
        ]);
        let published = |topic| was_published(topic, &topics, &progress);
        assert!(published("shop.orders"));
        assert!(!published("shop.items"), "without progress");
        assert!(!published("shop.empty"), "without a record");
        assert!(!published("shop_control"));
    }

    #[test]
    fn only_another_process_of_a_later_generation_is_another_owner() {
        let claim = |generation, instance: &str| Owner {
            generation,
            instance: instance.to_owned(),
        };
        let fenced =
            |found| check_owner(&KafkaSinkSettings::default(), &claim(3, "a"), found).is_err();
        assert!(fenced(Some(claim(4, "b"))), "a later generation took over");
        assert!(
            fenced(Some(claim(3, "b"))),
            "the same generation was published before a claim of ours that failed"
        );
        assert!(
            !fenced(Some(claim(2, "b"))),
            "our own claim is not visible yet"
        );
        assert!(
            !fenced(Some(claim(4, "a"))),
            "the claim with the unknown outcome was ours"
        );
        assert!(!fenced(None));
    }
}
