//! The reader of the control topic. What its records are is defined in `inlet_model`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use inlet_model::record::control::ControlRecord;
use inlet_model::{KafkaPartition, Offset};
use inlet_service::retry::pause;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset as RawOffset, TopicPartitionList};

use crate::admin::TopicSettings;
use crate::broker::ensure_answers;
use crate::client::{Connection, Consumer, Isolation};
use crate::error::{Error, is_transient};
use crate::read::read_to_end;
use crate::topic::find_topic;
use crate::transactions::take_events;
use crate::watermarks::watermarks;

/// The topic's only kafka_partition.
const PARTITION: KafkaPartition = KafkaPartition(0);
/// The wait before the next question whether a transaction has ended.
const ASK_INTERVAL: Duration = Duration::from_millis(5);

/// What to do about records of transactions that are still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenTransactions {
    /// Stop before them.
    Skip,
    /// Wait until those that are open now have ended.
    Await,
}

/// The control topic of a pipeline.
#[derive(Debug, Clone)]
pub struct ControlTopic {
    connection: Connection,
    name: String,
}

/// A reader that stays at the end of a control topic, for records that others write.
pub struct ControlFollower {
    reader: Consumer,
    next: Offset,
}

/// Records of one call at most: what is left comes with the next one.
const FOLLOWED_MAX: usize = 10_000;

/// What makes a topic unfit as a control topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlFault {
    /// It has several kafka_partitions, between which its records have no order.
    Partitions(i32),
    /// It has this cleanup policy, which drops old records: the progress would be lost with time.
    Policy(String),
    /// The broker does not show its settings, so the policy is unknown.
    Hidden,
}

/// Checks the settings of a control topic; an empty result means that it is right.
pub fn control_faults(partitions: i32, settings: &TopicSettings) -> Vec<ControlFault> {
    let mut faults = Vec::new();
    if partitions != 1 {
        faults.push(ControlFault::Partitions(partitions));
    }
    match settings.get("cleanup.policy") {
        Some(policy) if policy == "compact" => {}
        Some(policy) => faults.push(ControlFault::Policy(policy.clone())),
        None => faults.push(ControlFault::Hidden),
    }
    faults
}

impl ControlTopic {
    /// The topic of this name. Connects when it is read.
    pub fn new(connection: Connection, name: &str) -> Self {
        Self {
            connection,
            name: name.to_owned(),
        }
    }

    /// Follows the committed records from `from` on.
    pub fn follow(&self, from: Offset) -> Result<ControlFollower, Error> {
        let failed = |error| Error::failed(format!("topic `{}` was not read", self.name), error);
        let reader = self.connection.follower()?;
        let mut assignment = TopicPartitionList::with_capacity(1);
        assignment
            .add_partition_offset(&self.name, PARTITION.0, RawOffset::Offset(from.0))
            .map_err(failed)?;
        // `assign` bypasses the group: this reader has no part in its rebalances.
        reader.assign(&assignment).map_err(failed)?;
        Ok(ControlFollower { reader, next: from })
    }

    /// Writes one record, durably, without a transaction.
    pub fn write(&self, record: ControlRecord, deadline: Instant) -> Result<(), Error> {
        let failed = |error| Error::failed(format!("topic `{}` was not written", self.name), error);
        let producer = self.connection.writer()?;
        let (key, value) = record.encode();
        let mut sent = BaseRecord::<str, [u8]>::to(&self.name)
            .partition(PARTITION.0)
            .key(&key);
        sent.payload = value.as_deref();
        producer.send(sent).map_err(|(error, _)| failed(error))?;
        producer
            .flush(deadline.saturating_duration_since(Instant::now()))
            .map_err(failed)?;
        take_events(&producer);
        match producer.context().failures() {
            None => Ok(()),
            Some((_, code)) => {
                let act = format!("a record for topic `{}` was not delivered", self.name);
                Err(Error::of_code(act, code, code))
            }
        }
    }

    /// Makes sure that a broker answers; the error has the reason why none does.
    pub fn ensure_answers(&self, time_max: Duration) -> Result<(), Error> {
        let reader = self.connection.reader(Isolation::Committed)?;
        let topic = Some(self.name.as_str());
        ensure_answers(&reader, self.connection.brokers(), topic, time_max)
    }

    /// Whether the topic exists.
    pub fn exists(&self, deadline: Instant) -> Result<bool, Error> {
        let reader = self.connection.reader(Isolation::Committed)?;
        Ok(find_topic(reader.client(), &self.name, deadline)?.is_some())
    }

    /// Reads the committed records from `from` to the end that the topic has now; returns that end.
    ///
    /// After `init_transactions` these are all records of earlier owners. At any other time
    /// [`OpenTransactions::Skip`] may miss the latest ones: the broker marks a transaction as
    /// committed a moment after the commit returned. A record that is not ours is skipped.
    pub fn read(
        &self,
        from: Offset,
        open: OpenTransactions,
        deadline: Instant,
        mut visit: impl FnMut(ControlRecord),
    ) -> Result<Offset, Error> {
        let written = match open {
            OpenTransactions::Skip => Offset::ZERO,
            OpenTransactions::Await => {
                // The end of all records is read first. A reader of committed records sees it as
                // soon as the transactions below have ended.
                let reader = self.connection.reader(Isolation::Uncommitted)?;
                watermarks(&reader, &self.name, PARTITION, deadline)?.end
            }
        };
        let reader = self.connection.reader(Isolation::Committed)?;
        let marks = loop {
            let marks = watermarks(&reader, &self.name, PARTITION, deadline)?;
            if marks.end >= written {
                break marks;
            }
            if Instant::now() >= deadline {
                let topic = &self.name;
                let act = format!("a transaction in control topic `{topic}` did not end in time");
                return Err(Error::late(act, reader.context()));
            }
            pause(ASK_INTERVAL);
        };
        // A topic that was deleted and created again starts again, too.
        let start = match from > marks.end {
            true => marks.low,
            false => from.max(marks.low),
        };
        if start >= marks.end {
            return Ok(marks.end);
        }
        // The end that this reads to was fetched after `marks.end`, so it is not below it.
        let starts = BTreeMap::from([(PARTITION, start)]);
        read_to_end(&reader, &self.name, &starts, deadline, |message| {
            if let Some(record) = ControlRecord::decode(message.key(), message.payload()) {
                visit(record);
            }
            ControlFlow::Continue(())
        })?;
        Ok(marks.end)
    }
}

impl ControlFollower {
    /// Hands out the records that have arrived since the last call, without waiting.
    pub fn read(&mut self, mut visit: impl FnMut(ControlRecord)) -> Result<(), Error> {
        for _ in 0..FOLLOWED_MAX {
            match self.reader.poll(Duration::ZERO) {
                Some(Ok(message)) => {
                    self.next = Offset(message.offset()).next();
                    if let Some(record) = ControlRecord::decode(message.key(), message.payload()) {
                        visit(record);
                    }
                }
                // The end is reported each time it is reached.
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) if is_transient(&error) => {}
                Some(Err(error)) => {
                    return Err(Error::failed("the control topic was not followed", error));
                }
                None => break,
            }
        }
        Ok(())
    }

    /// Where another follower goes on.
    pub fn next(&self) -> Offset {
        self.next
    }
}
