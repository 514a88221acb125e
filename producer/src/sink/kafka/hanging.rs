//! Transactions that a broker has forgotten to end.
//!
//! A broker that has no leader for a kafka_partition in the moment in which it ends a transaction
//! there takes the kafka_partition for deleted, and leaves the transaction open for ever
//! (KAFKA-20734: Kafka 4.x; one broker that is killed and started again is enough). It tells the
//! producer that everything has ended; readers of committed records stand still; and our next
//! commit there would commit the forgotten records as well. So whoever takes the pipeline over
//! looks for them. Where nothing of the transaction can be read, it is thrown away whole, and
//! polled again. Where a part of it can be read, the broker had begun to commit it: then the rest
//! is committed, by a copy of the last record in each kafka_partition that hangs, which consumers
//! of ours drop because it has the same sequence.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use inlet_model::record::header::{HEADER, Header};
use inlet_model::{Progress, TableName};
use inlet_service::error::{Hint, Kind};
use inlet_service::retry::pause;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header as KafkaHeader, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{self, Watch};
use super::transaction::Transactions;
use super::{KafkaSinkSettings, control, fault};
use inlet_service::sink::SinkError;

/// Between two looks whether the broker has ended what was aborted.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
const POLL_TIME: Duration = Duration::from_millis(100);
/// So many offsets before a kafka_partition's end hold a record for sure, and not only ends of
/// transactions.
const LOOK_BACK: i64 = 64;

/// A kafka_partition and its offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    topic: String,
    partition: i32,
    /// The end for readers of committed records.
    committed: i64,
    /// The end of all records.
    end: i64,
}

impl Place {
    fn hangs(&self) -> bool {
        self.committed < self.end
    }
}

/// Ends what hangs in the pipeline's topics; true when something became visible by that, so that
/// what was read before has to be read again.
///
/// Only the owner may call it, behind `init_transactions`: then nothing else can be open. `topics`
/// holds the topic of each table, `partitions` how many kafka_partitions each topic has, the
/// control topic among them.
pub(super) fn settle(
    settings: &KafkaSinkSettings,
    transactions: &mut Transactions,
    topics: &BTreeMap<TableName, String>,
    partitions: &BTreeMap<String, i32>,
    progress: &BTreeMap<TableName, Progress>,
    deadline: Instant,
) -> Result<bool, SinkError> {
    let look = Look::new(settings, partitions)?;
    let places = look.places(deadline)?;
    let hanging: Vec<_> = places.iter().filter(|place| place.hangs()).collect();
    if hanging.is_empty() {
        return Ok(false);
    }
    let mut begun = false;
    for (table, topic) in topics {
        let part = progress
            .get(table)
            .and_then(|progress| progress.0.get(control::SEQUENCES));
        let next = control::sequences(settings, topic, partitions[topic], part)?;
        for place in places.iter().filter(|place| place.topic == *topic) {
            let next = next[usize::try_from(place.partition).expect("it counts from 0")];
            begun |= look.is_partly_committed(place, next, deadline)?;
        }
    }
    let names = hanging
        .iter()
        .map(|place| format!("{}/{}", place.topic, place.partition))
        .collect::<Vec<_>>()
        .join(", ");
    let outcome = if begun {
        "the rest of it is committed"
    } else {
        "it is thrown away and polled again"
    };
    tracing::warn!(
        partitions = names,
        "the broker has forgotten to end a transaction (KAFKA-20734): {outcome}"
    );
    transactions.begin()?;
    for place in hanging {
        let last = look.hanging_records(place, deadline)?.pop();
        let copy = BaseRecord::<[u8], [u8]>::to(&place.topic).partition(place.partition);
        match &last {
            Some(last) => transactions.send(last.fill(copy))?,
            None => transactions.send(copy)?,
        }
    }
    if begun {
        transactions.commit()?
    } else {
        transactions.abort_delivered()?
    }
    // The broker says that it has ended a transaction a moment before it has.
    while look.places(deadline)?.iter().any(Place::hangs) {
        if Instant::now() > deadline {
            let mut error = fault::late(
                format!("a transaction of an earlier producer does not end in {names}"),
                transactions.producer().context(),
            );
            error.hint = Some(Hint::text(
                "find it with kafka-transactions.sh find-hanging, and end it with abort",
            ));
            return Err(error);
        }
        pause(LOOK_INTERVAL);
    }
    Ok(begun)
}

/// A record of a transaction that hangs.
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
struct Look<'a> {
    partitions: &'a BTreeMap<String, i32>,
    committed: BaseConsumer<Watch>,
    all: BaseConsumer<Watch>,
}

impl<'a> Look<'a> {
    fn new(
        settings: &KafkaSinkSettings,
        partitions: &'a BTreeMap<String, i32>,
    ) -> Result<Self, SinkError> {
        let reader = |isolation: &str| {
            let reader = client::reader(settings)
                .set("isolation.level", isolation)
                .create_with_context(Watch::default());
            reader.map_err(|error| fault::failed("a reader of the topics was not created", error))
        };
        Ok(Self {
            partitions,
            committed: reader("read_committed")?,
            all: reader("read_uncommitted")?,
        })
    }

    fn places(&self, deadline: Instant) -> Result<Vec<Place>, SinkError> {
        let failed = |error| fault::failed("the ends of the topics were not read", error);
        // First the end that stands behind the other, so that nothing that is written in between
        // looks like hanging.
        let end = ends(&self.all, self.partitions, deadline).map_err(failed)?;
        let mut committed = ends(&self.committed, self.partitions, deadline).map_err(failed)?;
        let place = |((topic, partition), end): ((String, i32), i64)| {
            let committed = committed.remove(&(topic.clone(), partition)).unwrap_or(end);
            Place {
                topic,
                partition,
                committed,
                end,
            }
        };
        Ok(end.into_iter().map(place).collect())
    }

    /// Whether the topic shows that the transaction was committed elsewhere: by a record that hangs
    /// although the progress covers it, or by one that can be read although no progress covers it.
    /// `next` is the sequence that the progress has next.
    fn is_partly_committed(
        &self,
        place: &Place,
        next: u64,
        deadline: Instant,
    ) -> Result<bool, SinkError> {
        if place.hangs() {
            let covered =
                |record: &Record| record.sequence().is_some_and(|sequence| sequence < next);
            return Ok(self
                .hanging_records(place, deadline)?
                .first()
                .is_some_and(covered));
        }
        let records = records(
            &self.committed,
            place,
            (place.end - LOOK_BACK).max(0),
            deadline,
        )?;
        Ok(records
            .last()
            .and_then(Record::sequence)
            .is_some_and(|sequence| sequence >= next))
    }

    fn hanging_records(&self, place: &Place, deadline: Instant) -> Result<Vec<Record>, SinkError> {
        records(&self.all, place, place.committed, deadline)
    }
}

fn ends(
    reader: &BaseConsumer<Watch>,
    partitions: &BTreeMap<String, i32>,
    deadline: Instant,
) -> Result<BTreeMap<(String, i32), i64>, KafkaError> {
    let mut ends = BTreeMap::new();
    for (topic, count) in partitions {
        for partition in 0..*count {
            let (_, end) = control::ends(reader, topic, partition, deadline)?;
            ends.insert((topic.clone(), partition), end);
        }
    }
    Ok(ends)
}

/// The first and the last record from an offset to the end that the reader sees; one when there is
/// only one.
fn records(
    reader: &BaseConsumer<Watch>,
    place: &Place,
    from: i64,
    deadline: Instant,
) -> Result<Vec<Record>, SinkError> {
    let failed = |error| fault::failed(format!("topic `{}` was not read", place.topic), error);
    let mut assignment = TopicPartitionList::with_capacity(1);
    assignment
        .add_partition_offset(&place.topic, place.partition, Offset::Offset(from))
        .map_err(failed)?;
    reader.assign(&assignment).map_err(failed)?;
    let mut found = Vec::new();
    loop {
        match reader.poll(POLL_TIME) {
            Some(Ok(message)) => {
                found.truncate(1);
                found.push(Record::of(&message));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(found),
            Some(Err(error)) if !control::passes(&error) => return Err(failed(error)),
            Some(Err(_)) | None => {}
        }
        if Instant::now() >= deadline {
            return Err(SinkError {
                kind: Kind::Unavailable,
                act: format!("topic `{}` was not read in time", place.topic),
                hint: None,
                source: None,
            });
        }
    }
}
