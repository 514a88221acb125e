//! The control topic: schemas by fingerprint, the poller's progress, the sequences, and the name of
//! the process that owns the pipeline.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use inlet_model::record::control::{ControlKey, OWNER};
use inlet_model::{Fingerprint, Progress, ProgressDelta, TableName};
use inlet_service::retry::pause;

use super::client::{self, Watch};
use super::{KafkaSinkSettings, fault};
use inlet_service::sink::SinkError;

/// The sink's own part of a table's progress: a JSON object kafka_partition -> next sequence, with
/// every kafka_partition of the topic.
pub const SEQUENCES: &str = "sequences";

/// The topic's only partition.
const PARTITION: i32 = 0;
const POLL_TIME: Duration = Duration::from_millis(100);

/// What the control topic says, last record of every key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// Progress of every table, with the part [`SEQUENCES`].
    pub(super) progress: BTreeMap<TableName, Progress>,
    /// Schemas that consumers can find.
    pub(super) schemas: HashSet<Fingerprint>,
    /// The process that took the pipeline last.
    pub(super) owner: Option<Claim>,
}

/// The record of an owner.
///
/// A reader may miss the newest claim for a moment; counting them tells an older one, which means
/// nothing, from a newer.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Claim {
    /// One more than that of the owner before.
    pub(super) generation: u64,
    /// The process's name.
    pub(super) instance: String,
}

/// Key and value of a control record; no value removes the key.
pub(super) type Record = (String, Option<Vec<u8>>);

/// The records of a delta.
pub(super) fn records(table: &TableName, delta: ProgressDelta) -> impl Iterator<Item = Record> {
    let parts = delta.0.into_iter();
    parts.map(move |(part, value)| {
        (
            ControlKey::Progress(table.clone(), part).encode(),
            value.map(String::into_bytes),
        )
    })
}

/// Reads the control topic from its beginning to the end that it has now.
///
/// Committed records only. Behind `init_transactions` this is all that earlier owners have
/// committed; at any other time the newest of it may be missing, because the broker marks a
/// transaction as committed a moment after it said so.
pub(super) fn read(settings: &KafkaSinkSettings, deadline: Instant) -> Result<Contents, SinkError> {
    let topic = settings.control_topic.as_str();
    let failed = |error| fault::failed(format!("control topic `{topic}` was not read"), error);
    let consumer: BaseConsumer<Watch> = client::reader(settings)
        .create_with_context(Watch::default())
        .map_err(failed)?;
    let (low, end) = ends(&consumer, topic, PARTITION, deadline).map_err(failed)?;
    let mut contents = Contents::default();
    if low >= end {
        return Ok(contents);
    }
    let mut assignment = TopicPartitionList::with_capacity(1);
    assignment
        .add_partition_offset(topic, PARTITION, Offset::Offset(low))
        .map_err(failed)?;
    consumer.assign(&assignment).map_err(failed)?;
    loop {
        match consumer.poll(POLL_TIME) {
            Some(Ok(message)) => contents.take(message.key(), message.payload()),
            // The end of what is committed, behind any transaction markers; it was taken after
            // `end`, so nothing below that is missing.
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(contents),
            Some(Err(error)) if passes(&error) => {
                tracing::debug!(%error, "reading the control topic goes on")
            }
            Some(Err(error)) => return Err(failed(error)),
            None => {}
        }
        if Instant::now() >= deadline {
            return Err(fault::late(
                format!("control topic `{topic}` was not read to its end in time"),
                consumer.context(),
            ));
        }
    }
}

/// The offsets between which the records lie that this reader may see.
pub(super) fn ends(
    consumer: &BaseConsumer<Watch>,
    topic: &str,
    partition: i32,
    deadline: Instant,
) -> Result<(i64, i64), KafkaError> {
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        match consumer.fetch_watermarks(topic, partition, time_left.max(POLL_TIME)) {
            // A topic that was just made has a leader that does not know it yet.
            Err(error) if passes(&error) && Instant::now() < deadline => pause(POLL_TIME),
            answer => return answer,
        }
    }
}

/// Errors that pass by themselves, or that concern the group which is never joined.
pub(super) fn passes(error: &KafkaError) -> bool {
    let passing = [
        Code::BrokerTransportFailure,
        Code::AllBrokersDown,
        Code::Resolve,
        Code::OperationTimedOut,
        Code::GroupAuthorizationFailed,
        Code::NotCoordinator,
        Code::CoordinatorNotAvailable,
        Code::CoordinatorLoadInProgress,
        Code::LeaderNotAvailable,
        Code::NotLeaderForPartition,
    ];
    matches!(error, KafkaError::MessageConsumption(code) | KafkaError::MetadataFetch(code) if passing.contains(code))
}

impl Contents {
    fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let Some(key) = key.and_then(|key| std::str::from_utf8(key).ok()) else {
            return;
        };
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        if key == OWNER {
            self.owner = text.and_then(|text| serde_json::from_str(text).ok());
        }
        match ControlKey::decode(key) {
            Some(ControlKey::Progress(table, part)) => {
                let delta = ProgressDelta(BTreeMap::from([(part, text.map(str::to_owned))]));
                self.progress.entry(table).or_default().apply(delta);
            }
            Some(ControlKey::Schema(fingerprint)) => {
                if value.is_some() {
                    self.schemas.insert(fingerprint)
                } else {
                    self.schemas.remove(&fingerprint)
                };
            }
            None => {}
        }
    }
}

/// The next sequence of every kafka_partition, from the part [`SEQUENCES`].
///
/// Refuses a topic whose number of kafka_partitions has changed: keys would move to others, and
/// lose the order of their versions.
pub(super) fn sequences(
    settings: &KafkaSinkSettings,
    topic: &str,
    partitions: i32,
    part: Option<&String>,
) -> Result<Vec<u64>, SinkError> {
    let count = usize::try_from(partitions).expect("a topic has a positive number of partitions");
    let Some(part) = part else {
        return Ok(vec![0; count]);
    };
    let control = &settings.control_topic;
    let stored: BTreeMap<usize, u64> = serde_json::from_str(part).map_err(|error| SinkError {
        source: Some(Box::new(error)),
        ..fault::bug(format!("the sequences of topic `{topic}` in the control topic `{control}` cannot be read: {part}"))
    })?;
    if stored.keys().copied().eq(0..count) {
        return Ok(stored.into_values().collect());
    }
    Err(fault::config(
        format!(
            "topic `{topic}` had {} partitions when it was last written and has {partitions} now",
            stored.len()
        ),
        "the versions of a key would lie in two partitions, without an order between them: \
         use a new topic (`kafka.topic`) and a new pipeline name (`pipeline`)",
    ))
}

/// The text of the part [`SEQUENCES`].
pub(super) fn sequences_text(next: &[u64]) -> String {
    let next: BTreeMap<usize, u64> = next.iter().copied().enumerate().collect();
    serde_json::to_string(&next).expect("a map of numbers is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TableName {
        TableName::new("public", "orders")
    }

    #[test]
    fn the_last_record_of_a_key_counts_and_a_null_removes_it() {
        let mut contents = Contents::default();
        let delta = |poll: &str| {
            ProgressDelta(BTreeMap::from([
                ("poll".to_owned(), Some(poll.to_owned())),
                ("covered/3".to_owned(), None),
            ]))
        };
        contents.take(Some(b"progress/public.orders/covered/3"), Some(b"1"));
        contents.take(Some(b"schema/00000000000000ab"), Some(b"{}"));
        contents.take(
            Some(b"owner"),
            Some(br#"{"generation":1,"instance":"first"}"#),
        );
        contents.take(Some(b"of someone else"), Some(b"x"));
        for poll in ["1", "2"] {
            for (key, value) in records(&table(), delta(poll)) {
                contents.take(Some(key.as_bytes()), value.as_deref());
            }
        }
        contents.take(
            Some(b"owner"),
            Some(br#"{"generation":2,"instance":"second"}"#),
        );
        let progress = Progress(BTreeMap::from([("poll".to_owned(), "2".to_owned())]));
        let expected = Contents {
            progress: BTreeMap::from([(table(), progress)]),
            schemas: HashSet::from([Fingerprint(0xab)]),
            owner: Some(Claim {
                generation: 2,
                instance: "second".to_owned(),
            }),
        };
        assert_eq!(contents, expected);
    }

    #[test]
    fn sequences_read_back_and_another_number_of_partitions_is_refused() {
        let settings = KafkaSinkSettings::default();
        let text = sequences_text(&[5, 0, 7]);
        assert_eq!(text, r#"{"0":5,"1":0,"2":7}"#);
        assert_eq!(
            sequences(&settings, "orders", 3, Some(&text)).unwrap(),
            [5, 0, 7]
        );
        assert_eq!(sequences(&settings, "orders", 2, None).unwrap(), [0, 0]);
        let error = sequences(&settings, "orders", 4, Some(&text)).unwrap_err();
        assert_eq!(error.kind, inlet_service::error::Kind::Config);
    }
}
