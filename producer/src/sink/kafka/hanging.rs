//! Ends transactions that a broker has forgotten to end (KAFKA-20734, Kafka 4.x).
//!
//! What a broker forgets: to end a transaction, its coordinator writes a marker into every
//! kafka_partition of it. When a kafka_partition has no leader at that moment (one broker that is
//! killed and restarted is enough), the coordinator takes it for deleted and drops its marker. The
//! producer is informed that everything has ended. In the kafka_partition the transaction stays
//! open for ever: readers of committed records stop there, and the next marker of the same
//! producer, which is our next commit, would commit the forgotten records as well.
//!
//! So every take-over does this, after `init_transactions`:
//! 1. Compare the end of all records with the end of committed records in every kafka_partition.
//!    Ours are all ended then, so a difference is a forgotten transaction.
//! 2. Find out how it ended elsewhere. If a record that hangs is covered by the stored progress, or
//!    a record is readable that the progress does not cover, then the coordinator has committed it;
//!    otherwise no part of it is visible.
//! 3. Write one record into each kafka_partition that hangs: the marker of this transaction then
//!    ends the forgotten one, too. The record is a copy of the last one that hangs. Consumers drop
//!    it as a duplicate, because it has the same sequence.
//! 4. Commit if the coordinator had committed; otherwise abort, and the poll reads the rows again.
//! 5. Wait until the ends are equal: the broker answers a moment before the markers are written.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use inlet_kafka::{Consumer, Error, Isolation, all_watermarks, read_to_end};
use inlet_model::Progress;
use inlet_model::TableName;
use inlet_model::record::header::{HEADER, Header};
use inlet_model::record::sequences::PART;
use inlet_model::{KafkaPartition, Offset};
use inlet_service::error::{Hint, Section};
use inlet_service::retry::pause;
use inlet_service::sink::SinkError;
use rdkafka::message::{BorrowedMessage, Header as KafkaHeader, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};

use super::settings::KafkaSinkSettings;
use super::stored::sequences;
use super::transaction::Transactions;

/// The wait before the next question whether the broker has written its markers.
const ASK_INTERVAL: Duration = Duration::from_millis(5);
/// The last this many offsets of a kafka_partition hold a record, and not only markers.
const LOOK_BACK: i64 = 64;

/// A kafka_partition and its two ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ends {
    topic: String,
    partition: KafkaPartition,
    /// The end of committed records.
    committed: Offset,
    /// The end of all records.
    all: Offset,
}

impl Ends {
    fn hangs(&self) -> bool {
        self.committed < self.all
    }
}

/// Ends forgotten transactions in the pipeline's topics. Returns true when that made records
/// visible, so that what was read before has to be read again.
///
/// Only the owner may call it, after `init_transactions`. `topics` holds the topic of each table,
/// `partitions` how many kafka_partitions each topic has, the control topic among them.
pub(super) fn end_forgotten(
    settings: &KafkaSinkSettings,
    transactions: &mut Transactions,
    topics: &BTreeMap<TableName, String>,
    partitions: &BTreeMap<String, i32>,
    progress: &BTreeMap<TableName, Progress>,
    deadline: Instant,
) -> Result<bool, SinkError> {
    let readers = Readers::new(settings, partitions)?;
    let ends = readers.ends(deadline)?;
    let hanging: Vec<_> = ends.iter().filter(|ends| ends.hangs()).collect();
    if hanging.is_empty() {
        return Ok(false);
    }
    let mut is_committed = false;
    for (table, topic) in topics {
        let part = progress
            .get(table)
            .and_then(|progress| progress.0.get(PART));
        let next = sequences(settings, topic, partitions[topic], part)?;
        for ends in ends.iter().filter(|ends| ends.topic == *topic) {
            let next = next[usize::try_from(ends.partition.0).expect("it counts from 0")];
            is_committed |= readers.is_committed_elsewhere(ends, next, deadline)?;
        }
    }
    let names: Vec<_> = hanging
        .iter()
        .map(|ends| format!("{}/{}", ends.topic, ends.partition.0))
        .collect();
    let names = names.join(", ");
    let outcome = match is_committed {
        true => "Inlet commits the rest of it",
        false => "Inlet aborts it and polls its rows again",
    };
    tracing::warn!(
        partitions = names,
        "the broker did not end a transaction (KAFKA-20734): {outcome}"
    );
    // One transaction for all of them: its markers end every forgotten transaction of this producer
    // id.
    transactions.begin()?;
    for ends in hanging {
        let last = readers.hanging_records(ends, deadline)?.pop();
        let copy = BaseRecord::<[u8], [u8]>::to(&ends.topic).partition(ends.partition.0);
        match &last {
            Some(last) => transactions.send(last.fill(copy))?,
            None => transactions.send(copy)?,
        }
    }
    // The coordinator's decision is repeated. Another outcome here would tear the checkpoint apart.
    if is_committed {
        transactions.commit()?
    } else {
        transactions.abort_delivered()?
    }
    while readers.ends(deadline)?.iter().any(Ends::hangs) {
        if Instant::now() > deadline {
            let act = format!("a transaction of an earlier producer does not end in {names}");
            let hint = "find it with `kafka-transactions.sh find-hanging`, and end it with `abort`";
            let error = Error::late(act, transactions.producer().context());
            return Err(SinkError {
                hint: Some(Hint::text(hint).see(Section::HangingTransaction)),
                ..error.into()
            });
        }
        pause(ASK_INTERVAL);
    }
    Ok(is_committed)
}

/// A record of a forgotten transaction.
struct Record {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    header: Option<Vec<u8>>,
}

impl Record {
    fn of(message: &BorrowedMessage<'_>) -> Self {
        let mut headers = message.headers().into_iter().flat_map(Headers::iter);
        let header = headers
            .find(|header| header.key == HEADER)
            .and_then(|header| header.value.map(<[u8]>::to_vec));
        Self {
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            header,
        }
    }

    fn sequence(&self) -> Option<u64> {
        Header::decode(self.header.as_deref()?)
            .ok()
            .map(|header| header.sequence)
    }

    fn fill<'a>(&'a self, mut record: BaseRecord<'a, [u8], [u8]>) -> BaseRecord<'a, [u8], [u8]> {
        (record.key, record.payload) = (self.key.as_deref(), self.value.as_deref());
        match &self.header {
            Some(header) => {
                record.headers(OwnedHeaders::new_with_capacity(1).insert(KafkaHeader {
                    key: HEADER,
                    value: Some(header),
                }))
            }
            None => record,
        }
    }
}

/// Two readers of the same kafka_partitions: one sees committed records only.
struct Readers<'a> {
    partitions: &'a BTreeMap<String, i32>,
    committed: Consumer,
    all: Consumer,
}

impl<'a> Readers<'a> {
    fn new(
        settings: &KafkaSinkSettings,
        partitions: &'a BTreeMap<String, i32>,
    ) -> Result<Self, SinkError> {
        Ok(Self {
            partitions,
            committed: settings.connection.reader(Isolation::Committed)?,
            all: settings.connection.reader(Isolation::Uncommitted)?,
        })
    }

    fn ends(&self, deadline: Instant) -> Result<Vec<Ends>, SinkError> {
        let of_topic = |(topic, count): (&String, &i32)| {
            let partitions = (0..*count).map(KafkaPartition);
            partitions
                .map(|partition| (topic.clone(), partition))
                .collect::<Vec<_>>()
        };
        let names: Vec<_> = self.partitions.iter().flat_map(of_topic).collect();
        // The end of all records is asked for first: a record that is written in between then
        // raises only the other end, and does not look as if it hangs.
        let all = all_watermarks(&self.all, &names, deadline)?;
        let committed = all_watermarks(&self.committed, &names, deadline)?;
        let ends = names.into_iter().zip(all.into_iter().zip(committed));
        Ok(ends
            .map(|((topic, partition), (all, committed))| Ends {
                topic,
                partition,
                committed: committed.end,
                all: all.end,
            })
            .collect())
    }

    /// Whether the topic shows that the coordinator committed the transaction: by a record that
    /// hangs although the progress covers it, or by one that is readable although the progress does
    /// not cover it. `next` is the next sequence of the progress.
    fn is_committed_elsewhere(
        &self,
        ends: &Ends,
        next: u64,
        deadline: Instant,
    ) -> Result<bool, SinkError> {
        if ends.hangs() {
            let first = self.hanging_records(ends, deadline)?.into_iter().next();
            let sequence = first.and_then(|record| record.sequence());
            return Ok(sequence.is_some_and(|sequence| sequence < next));
        }
        // Markers take offsets, too, so the last offset alone may hold no record.
        let from = Offset((ends.all.0 - LOOK_BACK).max(0));
        let last = first_and_last(&self.committed, ends, from, deadline)?.pop();
        let sequence = last.and_then(|record| record.sequence());
        Ok(sequence.is_some_and(|sequence| sequence >= next))
    }

    fn hanging_records(&self, ends: &Ends, deadline: Instant) -> Result<Vec<Record>, SinkError> {
        first_and_last(&self.all, ends, ends.committed, deadline)
    }
}

/// The first and the last record from an offset to the end that the reader sees; one record when
/// there is only one.
fn first_and_last(
    reader: &Consumer,
    ends: &Ends,
    from: Offset,
    deadline: Instant,
) -> Result<Vec<Record>, SinkError> {
    let mut found = Vec::new();
    let starts = BTreeMap::from([(ends.partition, from)]);
    read_to_end(reader, &ends.topic, &starts, deadline, |message| {
        // The first record stays, every later one replaces the last.
        found.truncate(1);
        found.push(Record::of(message));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}
