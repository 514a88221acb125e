//! How many records of the topics the lake has not read yet, and since when; or why that is not
//! known: the topic does not continue what the lake has read.
//!
//! Blocking. It commits nothing and joins no group.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use chrono::Utc;
use inlet_consumer::{SourceError, start};
use inlet_kafka::{
    Code, Connection, Consumer, Error, Isolation, Marks, all_watermarks, ensure_answers,
    find_topic, read_to_end,
};
use inlet_lake::{Head, PartitionHead};
use inlet_model::record::header::{HEADER, Header};
use inlet_model::record::sequences::Sequences;
use inlet_model::{KafkaPartition, Offset};
use inlet_service::config::KafkaConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::message::{BorrowedMessage, Headers, Message};

/// How long the questions about one topic may take.
const TOPIC_TIME_MAX: Duration = Duration::from_secs(5);

/// What the lake has not read of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lag {
    /// Rows after the lake's offsets, as far as the offsets tell: the high watermark less the next
    /// offset, markers of transactions included; 0 when all of them are markers. See
    /// [`Self::count_rows`].
    pub rows: u64,
    /// How long the oldest of them has been in the topic.
    pub age: Duration,
    /// The sequence of the first record of each kafka_partition that has some; `None` for that of
    /// another program.
    first: BTreeMap<KafkaPartition, Option<u64>>,
}

impl Lag {
    /// Counts the rows by the sequences, where the producer's next ones are known: a record may
    /// have many rows.
    pub fn count_rows(&mut self, next: &Sequences) {
        let rows = self.first.iter().map(|(partition, first)| {
            let next = next.0.get(usize::try_from(partition.0).ok()?)?;
            Some(next.saturating_sub((*first)?))
        });
        let rows: Option<u64> = rows.sum();
        self.rows = rows.unwrap_or(self.rows);
    }
}

/// Where reading a kafka_partition begins, and what is expected there.
#[derive(Debug, Clone, Copy)]
struct Begin {
    /// The first offset that the lake lacks.
    next: Offset,
    unread: u64,
    /// The last record that the lake has, if the topic still has it: its offset, and the sequence
    /// after its rows.
    last: Option<(Offset, u64)>,
}

/// What the first records of a kafka_partition have shown.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    last: bool,
    unread: bool,
}

/// The lag of every topic, given with the head of its lake.
pub fn of_topics(
    kafka: &KafkaConfig,
    topics: &[(String, Option<Head>)],
) -> Result<Vec<Result<Lag, SourceError>>, Error> {
    let reader = Connection::from(kafka).reader(Isolation::Committed)?;
    // A broker that does not answer costs its time once, not for each topic.
    let first = topics.first().map(|(topic, _)| topic.as_str());
    ensure_answers(&reader, &kafka.brokers, first, TOPIC_TIME_MAX)?;
    Ok(topics
        .iter()
        .map(|(topic, head)| of_topic(&reader, topic, head.as_ref()))
        .collect())
}

fn of_topic(reader: &Consumer, topic: &str, head: Option<&Head>) -> Result<Lag, SourceError> {
    let deadline = Instant::now() + TOPIC_TIME_MAX;
    let Some(found) = find_topic(reader.client(), topic, deadline)? else {
        let code = Code::UnknownTopicOrPartition;
        let act = format!("topic `{topic}` does not exist");
        return Err(Error::of_code(act, code, code).into());
    };
    let partitions = (0..found.partitions).map(|number| (topic.to_owned(), KafkaPartition(number)));
    let marks = all_watermarks(reader, &partitions.collect::<Vec<_>>(), deadline)?;
    let mut begins = BTreeMap::new();
    for (number, marks) in (0..).zip(marks) {
        let partition = KafkaPartition(number);
        let known = head
            .map(|head| head.partition(partition))
            .unwrap_or_default();
        begins.insert(partition, begin(topic, partition, known, marks)?);
    }
    if let Some(head) = head {
        // A kafka_partition that the topic does not have holds nothing of what the lake waits for.
        let empty = Marks {
            low: Offset(0),
            end: Offset(0),
        };
        for (partition, known) in &head.offsets {
            if !begins.contains_key(partition) && known.next.is_some() {
                begin(topic, *partition, *known, empty)?;
            }
        }
    }
    read(reader, topic, &begins, deadline)
}

/// Where to begin, if the topic has what the lake waits for.
fn begin(
    topic: &str,
    partition: KafkaPartition,
    known: PartitionHead,
    marks: Marks,
) -> Result<Begin, SourceError> {
    let next = start(known.next, marks).map_err(|_| SourceError::Missing {
        topic: topic.to_owned(),
        partition,
        marks,
        next: known.next.expect("a lake without offsets waits for none"),
    })?;
    // The log ends after a record, so the offset before it has that record, or has expired.
    let last = known.next.and_then(|next| {
        let last = Offset(next.0.checked_sub(1)?);
        let is_kept = last >= marks.low && last < marks.end;
        (is_kept && known.sequence > 0).then_some((last, known.sequence))
    });
    Ok(Begin {
        next,
        unread: u64::try_from(marks.end.0 - next.0).unwrap_or(0),
        last,
    })
}

/// Reads the first records of every kafka_partition: the last one that the lake has, and the first
/// one that it lacks. A topic that was deleted and created again has other records there. A
/// kafka_partition that reaches its end without an unread record holds only markers of
/// transactions.
fn read(
    reader: &Consumer,
    topic: &str,
    begins: &BTreeMap<KafkaPartition, Begin>,
    deadline: Instant,
) -> Result<Lag, SourceError> {
    let mut starts = BTreeMap::new();
    for (partition, begin) in begins {
        if let Some((last, _)) = begin.last {
            starts.insert(*partition, last);
        } else if begin.unread > 0 {
            starts.insert(*partition, begin.next);
        }
    }
    let now = Utc::now().timestamp_millis();
    let mut lag = Lag::default();
    let mut seen = BTreeMap::<KafkaPartition, Seen>::new();
    let mut replaced = None;
    read_to_end(reader, topic, &starts, deadline, |message| {
        let partition = KafkaPartition(message.partition());
        let begin = &begins[&partition];
        let seen = seen.entry(partition).or_default();
        if message.offset() < begin.next.0 {
            let is_it = is_record(message, begin.last);
            seen.last = true;
            if !is_it {
                replaced = Some(partition);
                return ControlFlow::Break(());
            }
            return match begin.unread {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            };
        }
        seen.unread = true;
        let sequence = header(message).map(|header| header.sequence);
        lag.first.insert(partition, sequence);
        let written_at = message.timestamp().to_millis().unwrap_or_default();
        let age = Duration::from_millis(u64::try_from(now - written_at).unwrap_or(0));
        lag.rows += begin.unread;
        lag.age = lag.age.max(age);
        // The first unread message of a kafka_partition is the oldest, so the rest need not be
        // read.
        ControlFlow::Break(())
    })?;
    let is_lost = |(partition, begin): &(&KafkaPartition, &Begin)| {
        let seen = seen.get(partition).copied().unwrap_or_default();
        begin.last.is_some() && !seen.last
    };
    let lost = begins.iter().find(is_lost).map(|(partition, _)| *partition);
    match replaced.or(lost) {
        None => Ok(lag),
        Some(partition) => Err(SourceError::Recreated {
            topic: topic.to_owned(),
            partition,
            next: begins[&partition].next,
        }),
    }
}

/// Whether a message is the last record that the lake has. A message of another program carries no
/// sequence, and is taken for it.
fn is_record(message: &BorrowedMessage<'_>, last: Option<(Offset, u64)>) -> bool {
    let Some((offset, next)) = last else {
        return true;
    };
    let follows = |header: Header| header.sequence.checked_add(header.rows.into()) == Some(next);
    message.offset() == offset.0 && header(message).is_none_or(follows)
}

fn header(message: &BorrowedMessage<'_>) -> Option<Header> {
    let mut headers = message.headers().into_iter().flat_map(Headers::iter);
    let header = headers.find(|header| header.key == HEADER);
    Header::decode(header?.value?).ok()
}
