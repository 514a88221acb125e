//! Topics -> slabs of messages, as a member of a consumer group, on one thread of its own.
//!
//! Promises: messages and rebalances arrive through one channel, in the order in which they
//! happened. Reading starts only where the lake's log ends. An offset that does not exist any more,
//! or a message that cannot be read or fails its checksum, is an error and never skipped. Only
//! committed transactions are seen. Memory is bounded in bytes: a slab's share is acquired before
//! its first message is read. Closing has a deadline. Leaves to others: what a message means
//! (`decode`), where the log ends (`pipeline`). Budget: one copy of key and value, no allocation
//! for a message; librdkafka alone delivers 1.9 M messages a second.
//!
//! The thread, the pipeline and the group change an assignment together: `rebalance` tells how,
//! step by step.

mod error;
mod member;
mod rebalance;
mod schemas;
mod slab;
mod start;
mod thread;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use inlet_kafka::Marks;
use inlet_model::{KafkaPartition, Offset, Offsets};
use inlet_service::retry::Reach;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use error::SourceError;
pub use schemas::Schemas;
pub use slab::{Headed, Message, Slab};
pub use start::{Missing, start};

use crate::settings::ConsumerSettings;
use thread::Reader;

/// Bytes of all slabs that are read and not dropped yet.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// The least share of a slab, so that the channel has a place for each of them.
const SHARE_BYTES_MIN: usize = 32 << 10;
/// Commits whose offsets wait to be stored in the group.
const WAITING_OFFSETS_MAX: usize = 256;
/// How long leaving the group may take. A longer time loses nothing: everything durable is in the
/// lake.
const CLOSE_DEADLINE: Duration = Duration::from_secs(6);

/// Kafka_partitions by topic, each with a value.
pub type Partitions<T> = BTreeMap<String, BTreeMap<KafkaPartition, T>>;

/// What the thread reports.
#[derive(Debug)]
pub enum Event {
    /// Messages of one topic.
    Messages(Slab),
    /// The group assigned kafka_partitions. Reading starts when `reply` has the offset of each one;
    /// those that it omits are not read.
    Assigned {
        /// The whole assignment, with the offsets that each kafka_partition holds.
        partitions: Partitions<Marks>,
        /// Up to where the group has read each of them before, if it has.
        read: Partitions<Offset>,
        reply: oneshot::Sender<Partitions<Offset>>,
    },
    /// The group revokes all kafka_partitions, and waits for `reply`.
    Revoked { reply: oneshot::Sender<()> },
}

/// Offsets to store in the group, for tools that show lag. The thread stores them between two
/// polls; without a sender it leaves the group and ends.
#[derive(Debug)]
struct GroupOffsets {
    topic: String,
    offsets: Offsets,
}

/// A member of the group.
#[derive(Debug)]
pub struct Source {
    events: mpsc::Receiver<Event>,
    group_offsets: std_mpsc::SyncSender<GroupOffsets>,
    ended: oneshot::Receiver<Result<(), SourceError>>,
}

impl Source {
    /// Joins the group, inside a tokio runtime with time. Waits for topics that do not exist yet.
    /// Fails when no broker has answered in the time of `reach`.
    pub fn join(settings: &ConsumerSettings, reach: &Reach) -> Result<Self, SourceError> {
        // Every slab holds a share of at least SHARE_BYTES_MIN, so the channel always has a place
        // for it; one more is for a rebalance.
        let (sender, events) = mpsc::channel(WAITING_BYTES_MAX / SHARE_BYTES_MIN + 1);
        let (group_offsets, stored) = std_mpsc::sync_channel(WAITING_OFFSETS_MAX);
        let (ending, ended) = oneshot::channel();
        let budget = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
        let mut reader = Reader::new(
            settings,
            reach.clone(),
            sender,
            stored,
            budget,
            tokio::runtime::Handle::current(),
        )?;
        let thread = std::thread::Builder::new().name("inlet-source".to_owned());
        let run = move || {
            let result = reader.run();
            reader.leave();
            // The reader frees its place in the group before the end is reported. Otherwise a
            // source that joins again would get another place, and this one would wait for its
            // timeout.
            drop(reader);
            // A failed send means that `close` has stopped waiting.
            let _ = ending.send(result);
        };
        thread.spawn(run).map_err(|_| SourceError::Ended)?;
        Ok(Self {
            events,
            group_offsets,
            ended,
        })
    }

    /// Waits for the next event. An error is the last one.
    pub async fn next(&mut self) -> Result<Event, SourceError> {
        match self.events.recv().await {
            Some(event) => Ok(event),
            None => Err((&mut self.ended)
                .await
                .ok()
                .and_then(Result::err)
                .unwrap_or(SourceError::Ended)),
        }
    }

    /// Stores the lake's offsets in the group. They only serve tools that show lag, so a failure is
    /// only logged.
    pub fn commit(&self, topic: &str, offsets: Offsets) {
        let offsets = GroupOffsets {
            topic: topic.to_owned(),
            offsets,
        };
        // The thread takes them several times a second, unless it waits for the broker; what finds
        // no place then is replaced by the next commit. When it has ended, the next event has the
        // reason.
        let _ = self.group_offsets.try_send(offsets);
    }

    /// Leaves the group. When the broker does not answer in time, the thread continues alone until
    /// it does; it reads no more messages.
    pub async fn close(self) {
        let Self {
            events,
            group_offsets,
            ended,
        } = self;
        drop(group_offsets);
        // Without a receiver the thread's next send fails, so it ends even while it waits to hand a
        // slab over.
        drop(events);
        // `next` may have reported the end already; the group was left then.
        if ended.is_terminated() {
            return;
        }
        if tokio::time::timeout(CLOSE_DEADLINE, ended).await.is_err() {
            tracing::warn!(deadline = ?CLOSE_DEADLINE, "the group was not left in time; the broker \
                removes the member when its session ends");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_source_that_has_reported_its_end_can_still_be_closed() {
        let (_, events) = mpsc::channel(1);
        let (group_offsets, _) = std_mpsc::sync_channel(1);
        let (ending, ended) = oneshot::channel();
        let mut source = Source {
            events,
            group_offsets,
            ended,
        };
        ending.send(Err(SourceError::Ended)).unwrap();
        assert!(matches!(source.next().await, Err(SourceError::Ended)));
        source.close().await;
    }
}
