//! How an assignment changes hands: between the group, the reader's thread and the pipeline.
//!
//! Rebalances are eager: each revokes all kafka_partitions of a member before it assigns others.
//! librdkafka reports a rebalance to its callback and fetches nothing until the member confirms it
//! with `assign` or `unassign`. The group waits for that confirmation, for at most
//! `max.poll.interval.ms`.
//!
//! Revoked, step by step:
//! 1. The callback (`inlet_kafka::Context`) queues the rebalance; the thread takes it between two
//!    polls.
//! 2. The thread drops the slab that it was filling. Its messages were not handed over, so the next
//!    member reads them again.
//! 3. The thread sends [`Event::Revoked`] after all slabs in the channel, and waits for the reply.
//! 4. The pipeline drops its open batches and waits for the commits in progress; then it replies.
//!    Now the lake's log tells the next member where to start.
//! 5. The thread calls `unassign`: the group may give the kafka_partitions away.
//!
//! Assigned, step by step:
//! 1. The thread asks the broker for the offsets of each kafka_partition, and of the group. While
//!    the broker does not answer, the assignment stays pending, and a later rebalance may replace
//!    it.
//! 2. The thread sends [`Event::Assigned`] with these offsets, and waits for the reply.
//! 3. The pipeline reads the lake's log and replies where each kafka_partition starts. It fails
//!    when the topic does not hold the offset that the lake waits for.
//! 4. The thread calls `assign` with these starts, and only now librdkafka fetches. The group's own
//!    offsets are no starts; they show that a lake which has nothing had something before.
//!
//! A reply channel that closes means that the pipeline has ended; then the thread ends, too.

use std::time::{Duration, Instant};

use inlet_kafka::{Consumer, Error, Marks, Rebalance, all_watermarks, group_offsets, watermarks};
use inlet_model::{KafkaPartition, Offset};
use inlet_service::error::{Explain, Kind, chain};
use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset as RawOffset, TopicPartitionList};
use tokio::sync::oneshot;

use super::thread::{End, Reader};
use super::{Event, Partitions, SourceError};

/// How long the broker may take to return the offsets of an assignment.
const MARKS_TIME_MAX: Duration = Duration::from_secs(5);
/// The failed attempt at which a warning is logged.
const FAILED_MARKS_SHOWN: u32 = 3;

impl Reader {
    /// Applies a waiting rebalance.
    pub(super) fn apply_rebalance(&mut self, consumer: &Consumer) -> Result<(), End> {
        if let Some(rebalance) = consumer.context().take_rebalance() {
            self.reach.set();
            // Messages of the former assignment must not follow the rebalance in the channel.
            self.slab = None;
            self.started.clear();
            match rebalance {
                Rebalance::Assign(partitions) => self.pending = Some(partitions),
                Rebalance::Revoke => {
                    self.pending = None;
                    self.revoke(consumer)?;
                }
            }
        }
        match self.pending.take() {
            Some(partitions) => self.assign(consumer, partitions),
            None => Ok(()),
        }
    }

    fn revoke(&mut self, consumer: &Consumer) -> Result<(), End> {
        let (reply, replied) = oneshot::channel();
        self.send(Event::Revoked { reply })?;
        // The group waits here, up to `max.poll.interval.ms`; the pipeline replies within its own
        // deadline.
        replied.blocking_recv().map_err(|_| End::Left)?;
        consumer
            .unassign()
            .map_err(|error| Error::failed("the kafka_partitions were not given back", error))?;
        Ok(())
    }

    fn assign(
        &mut self,
        consumer: &Consumer,
        partitions: Vec<(String, KafkaPartition)>,
    ) -> Result<(), End> {
        let asked = marks(consumer, &partitions)
            .and_then(|marks| Ok((marks, read_by_group(consumer, &partitions)?)));
        let (marks, read) = match asked {
            Ok(answered) => {
                self.failed_marks = 0;
                answered
            }
            // Missing rights do not pass by themselves.
            Err(error) if error.kind() == Kind::Config => return Err(error.into()),
            Err(error) => {
                // A broker that restarts does not answer once or twice. After that the member holds
                // kafka_partitions that it does not read, so a person should hear of it.
                self.failed_marks += 1;
                if self.failed_marks == FAILED_MARKS_SHOWN {
                    tracing::warn!(
                        reason = chain(&error),
                        partitions = partitions.len(),
                        "the broker does not return the offsets of the assignment: asking again"
                    );
                } else {
                    tracing::debug!(%error, "the offsets of the assignment are asked for again");
                }
                self.pending = Some(partitions);
                return Ok(());
            }
        };
        let (reply, replied) = oneshot::channel();
        self.send(Event::Assigned {
            partitions: marks,
            read,
            reply,
        })?;
        let started = replied.blocking_recv().map_err(|_| End::Left)?;
        let failed = |error| Error::failed("the kafka_partitions were not assigned", error);
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in &started {
            for (partition, offset) in partitions {
                list.add_partition_offset(topic, partition.0, RawOffset::Offset(offset.0))
                    .map_err(failed)?;
            }
        }
        consumer.assign(&list).map_err(failed)?;
        self.started = started;
        Ok(())
    }

    /// Finds the kafka_partition that has lost the offset to read next: librdkafka's error does not
    /// name it.
    pub(super) fn find_missing(&self, consumer: &Consumer, reason: &str) -> SourceError {
        let deadline = Instant::now() + MARKS_TIME_MAX;
        let positions = consumer
            .position()
            .map(|list| list.to_topic_map())
            .unwrap_or_default();
        for (topic, partitions) in &self.started {
            for (&partition, started) in partitions {
                // librdkafka has no position before the first message; reading then starts at the
                // assigned offset.
                let next = match positions.get(&(topic.clone(), partition.0)) {
                    Some(RawOffset::Offset(next)) => Offset(*next),
                    _ => *started,
                };
                match watermarks(consumer, topic, partition, deadline) {
                    Ok(marks) if next < marks.low || next > marks.end => {
                        return SourceError::Missing {
                            topic: topic.clone(),
                            partition,
                            marks,
                            next,
                        };
                    }
                    Ok(_) => {}
                    Err(error) => return error.into(),
                }
            }
        }
        // The offset exists again, or the error was about the moment: a new client finds out.
        let act = format!("an offset was not found ({reason})");
        Error::late(act, consumer.context()).into()
    }
}

/// The offsets of each kafka_partition, all within one deadline.
fn marks(
    consumer: &Consumer,
    partitions: &[(String, KafkaPartition)],
) -> Result<Partitions<Marks>, Error> {
    let deadline = Instant::now() + MARKS_TIME_MAX;
    let found = all_watermarks(consumer, partitions, deadline)?;
    let mut marks = Partitions::<Marks>::new();
    for ((topic, partition), found) in partitions.iter().zip(found) {
        marks
            .entry(topic.clone())
            .or_default()
            .insert(*partition, found);
    }
    Ok(marks)
}

/// Up to where the group has read, for the kafka_partitions that it has read.
fn read_by_group(
    consumer: &Consumer,
    partitions: &[(String, KafkaPartition)],
) -> Result<Partitions<Offset>, Error> {
    let found = group_offsets(consumer, partitions, Instant::now() + MARKS_TIME_MAX)?;
    let mut read = Partitions::<Offset>::new();
    for ((topic, partition), offset) in partitions.iter().zip(found) {
        if let Some(offset) = offset {
            read.entry(topic.clone())
                .or_default()
                .insert(*partition, offset);
        }
    }
    Ok(read)
}
