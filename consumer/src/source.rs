//! Topics -> slabs of messages, as a member of a consumer group, on one thread of its own.
//!
//! Promises: messages and rebalances come through one channel, in the order in which they happened.
//! Reading begins where the lake's log says and nowhere else; what does not exist any more, cannot
//! be read, or fails its checksum is an error, never a jump. Only committed transactions are seen.
//! Memory is bounded in bytes: a slab's share is taken before its first message is read. Closing
//! has a deadline. Leaves to others: what a message means (`decode`), where the log ends
//! (`pipeline`). Budget: one copy of key and value, no allocation a message; librdkafka alone
//! brings 1.9 M messages a second.

mod client;
mod error;
mod member;
mod schemas;
mod slab;
mod start;
mod thread;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc as commands;
use std::time::Duration;

use inlet_model::{KafkaPartition, Offset, Offsets};
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use error::SourceError;
pub use schemas::Schemas;
pub use slab::{Headed, Message, Slab};
pub use start::{Gone, Marks, start};

use crate::settings::ConsumerSettings;
use thread::Reader;

/// Bytes of all slabs that are read and not taken yet.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Each slab takes at least this share, so that the channel never holds more slabs than it has
/// places.
const SHARE_BYTES_MIN: usize = 32 << 10;
/// How long leaving the group may take. Nothing is lost when it takes longer: everything durable is
/// in the lake.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// Kafka_partitions by topic, each with what is said of it.
pub type Partitions<T> = BTreeMap<String, BTreeMap<KafkaPartition, T>>;

/// What happens at the topics.
#[derive(Debug)]
pub enum Event {
    /// Messages of one topic.
    Messages(Slab),
    /// The group gave us kafka_partitions; nothing is read until `reply` says where each one
    /// begins. Those left out are not read.
    Assigned {
        /// All that we have now, with the offsets that they hold.
        partitions: Partitions<Marks>,
        /// Takes the answer.
        reply: oneshot::Sender<Partitions<Offset>>,
    },
    /// The group takes all kafka_partitions away; it waits for `reply`.
    Revoked {
        /// Takes the answer.
        reply: oneshot::Sender<()>,
    },
}

/// What the thread is asked to do between two polls.
#[derive(Debug)]
enum Command {
    /// Store offsets in the group, for tools that show lag.
    Commit { topic: String, offsets: Offsets },
    /// Leave the group and end.
    Leave,
}

/// A member of the group.
#[derive(Debug)]
pub struct Source {
    events: mpsc::Receiver<Event>,
    commands: commands::Sender<Command>,
    ended: oneshot::Receiver<Result<(), SourceError>>,
}

impl Source {
    /// Joins the group. Must be called inside a tokio runtime with time. A topic that does not
    /// exist yet is waited for.
    pub fn join(settings: &ConsumerSettings) -> Result<Self, SourceError> {
        client::check_properties(settings)?;
        let (sender, events) = mpsc::channel(WAITING_BYTES_MAX / SHARE_BYTES_MIN + 1);
        let (command_sender, commands) = commands::channel();
        let (ending, ended) = oneshot::channel();
        let budget = Arc::new(Semaphore::new(WAITING_BYTES_MAX));
        let mut reader = Reader::new(
            settings,
            sender,
            commands,
            budget,
            tokio::runtime::Handle::current(),
        )?;
        let thread = std::thread::Builder::new().name("inlet-source".to_owned());
        let run = move || {
            let result = reader.run();
            reader.leave();
            // Its place in the group is free before anyone hears of the end: who joins again would
            // take another, and leave this one to its time-out.
            drop(reader);
            // Who does not listen any more has given up waiting.
            let _ = ending.send(result);
        };
        thread.spawn(run).map_err(|_| SourceError::Ended)?;
        Ok(Self {
            events,
            commands: command_sender,
            ended,
        })
    }

    /// The next event; waits for it. After an error nothing comes any more.
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

    /// Tells the group how far the lake is. Advisory: nobody resumes from it, and a failure is only
    /// logged.
    pub fn commit(&self, topic: &str, offsets: Offsets) {
        // When the thread has ended, the next event says why.
        let _ = self.commands.send(Command::Commit {
            topic: topic.to_owned(),
            offsets,
        });
    }

    /// Leaves the group. A broker that does not let us go in time is left behind with its thread:
    /// it takes nothing any more.
    pub async fn close(self) {
        let Self {
            events,
            commands,
            ended,
        } = self;
        let _ = commands.send(Command::Leave);
        drop(events);
        if tokio::time::timeout(CLOSE_DEADLINE, ended).await.is_err() {
            tracing::warn!(deadline = ?CLOSE_DEADLINE, "the group was not left in time, the broker will notice");
        }
    }
}
