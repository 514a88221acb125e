//! The thread that owns the consumer: it polls, copies messages into slabs, stores the group's
//! offsets, and applies rebalances (`rebalance`).
//!
//! One step of its loop:
//! 1. Get a share of the memory budget for the next slab. While there is none, the group's offsets
//!    are still stored; after two seconds fetching is paused and polls continue, because a group
//!    expels a member that does not poll.
//! 2. Poll without waiting, and copy the message into the slab. A full slab goes to the pipeline.
//! 3. When no message is ready: store the group's offsets, apply a rebalance, and send a slab that
//!    has waited for 10 ms.

use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use inlet_kafka::{Consumer, Error, GROUP_INSTANCE, ensure_answers, give_up_partitions};
use inlet_model::{KafkaPartition, Offset, Offsets};
use inlet_service::retry::Reach;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset as RawOffset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::error::{Reaction, classify};
use super::member::Member;
use super::slab::{SLAB_BYTES, Slab, borrowed};
use super::{Event, GroupOffsets, Partitions, SHARE_BYTES_MIN, SourceError};
use crate::settings::ConsumerSettings;

/// How long one poll waits, and so how long a command may have to wait.
const IDLE: Duration = Duration::from_millis(50);
/// How long the first message of a slab waits for others.
const LINGER: Duration = Duration::from_millis(10);
/// How long the reader waits for memory before it pauses fetching and polls again, so that the
/// group keeps it as a member.
const PAUSE_AFTER: Duration = Duration::from_secs(2);
/// A running broker answers sooner.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// How long the reader waits until it has left the group. The session ends by itself in any case.
const LEAVE_DEADLINE: Duration = Duration::from_secs(4);
/// How long one question about that may take.
const LEAVE_ANSWER_TIME: Duration = Duration::from_millis(500);
/// How long the broker may take to remove a member that leaves, before the reader joins again.
const LEAVE_TIME: Duration = Duration::from_millis(500);

/// The consumer and what it reads into.
pub(super) struct Reader {
    brokers: String,
    pub(super) reach: Reach,
    /// `None` once the group was left.
    consumer: Option<Consumer>,
    _member: Option<Member>,
    group: String,
    /// This member's name in the group, which outlives the process.
    instance: Option<String>,
    topics: Vec<String>,
    events: mpsc::Sender<Event>,
    group_offsets: std_mpsc::Receiver<GroupOffsets>,
    budget: Arc<Semaphore>,
    runtime: Handle,
    pub(super) slab: Option<Slab>,
    slab_since: Instant,
    slab_bytes_expected: usize,
    permit: Option<OwnedSemaphorePermit>,
    /// Where each assigned kafka_partition started.
    pub(super) started: Partitions<Offset>,
    /// An assignment whose offsets the broker has not returned yet.
    pub(super) pending: Option<Vec<(String, KafkaPartition)>>,
    /// How often in a row the broker did not return them.
    pub(super) failed_marks: u32,
    missing_is_logged: bool,
    unreachable_is_logged: bool,
}

/// Why the loop ends.
pub(super) enum End {
    Left,
    Failed(SourceError),
}

impl From<SourceError> for End {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Reader {
    pub fn new(
        settings: &ConsumerSettings,
        reach: Reach,
        events: mpsc::Sender<Event>,
        group_offsets: std_mpsc::Receiver<GroupOffsets>,
        budget: Arc<Semaphore>,
        runtime: Handle,
    ) -> Result<Self, SourceError> {
        let member = settings
            .tables
            .first()
            .and_then(|table| Member::claim(&table.path));
        let named = settings
            .connection
            .property(GROUP_INSTANCE)
            .map(str::to_owned);
        let instance = named.or_else(|| {
            member
                .as_ref()
                .map(|member| member.instance(&settings.group))
        });
        let consumer = settings
            .connection
            .member(&settings.group, instance.as_deref())?;
        let topics: Vec<String> = settings
            .tables
            .iter()
            .map(|table| table.topic.clone())
            .collect();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer
            .subscribe(&names)
            .map_err(|error| Error::failed("the topics were not subscribed to", error))?;
        Ok(Self {
            brokers: settings.connection.brokers().to_owned(),
            reach,
            consumer: Some(consumer),
            _member: member,
            group: settings.group.clone(),
            instance,
            topics,
            events,
            group_offsets,
            budget,
            runtime,
            slab: None,
            slab_since: Instant::now(),
            slab_bytes_expected: 0,
            permit: None,
            started: Partitions::new(),
            pending: None,
            failed_marks: 0,
            missing_is_logged: false,
            unreachable_is_logged: false,
        })
    }

    /// Reads until the source is closed, or until it cannot continue.
    pub fn run(&mut self) -> Result<(), SourceError> {
        let consumer = self.consumer.take().expect("a reader runs once");
        let end = self.read(&consumer);
        self.consumer = Some(consumer);
        match end {
            End::Left => Ok(()),
            End::Failed(error) => Err(error),
        }
    }

    /// Leaves the group.
    ///
    /// A member with a lasting name that only closes keeps its kafka_partitions until its session
    /// ends. It leaves by unsubscribing:
    /// 1. `close` answers every rebalance from now on, and `give_up_partitions` the one that still
    ///    waits: the group and librdkafka do nothing before that.
    /// 2. `unsubscribe` sends the member's id. A member whose first join is not answered yet has
    ///    none, and sends nothing.
    /// 3. The group is asked whether it still has the member. If so, the member joins again, which
    ///    gives it the id, and unsubscribes once more.
    pub fn leave(&mut self) {
        let Some(consumer) = self.consumer.take() else {
            return;
        };
        consumer.context().close();
        give_up_partitions(&consumer);
        consumer.unsubscribe();
        let (since, mut unsubscribed) = (Instant::now(), Instant::now());
        while since.elapsed() < LEAVE_DEADLINE {
            consumer.poll(Duration::from_millis(10));
            // A broker that is busy or restarts answers the next time.
            match self.is_member(&consumer) {
                Some(false) => break,
                Some(true) if unsubscribed.elapsed() > LEAVE_TIME => {
                    self.join_again(&consumer, since + LEAVE_DEADLINE);
                    consumer.unsubscribe();
                    unsubscribed = Instant::now();
                }
                _ => {}
            }
        }
    }

    /// Joins, so that the member has the id that it needs to leave.
    fn join_again(&self, consumer: &Consumer, deadline: Instant) {
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let answered = consumer.context().answered();
        // An error leaves the member until its session ends.
        let _ = consumer.subscribe(&topics);
        while consumer.context().answered() == answered && Instant::now() < deadline {
            consumer.poll(Duration::from_millis(10));
        }
    }

    /// Whether the group has a member with our lasting name: librdkafka does not report when it has
    /// left. `None` when the broker does not answer.
    fn is_member(&self, consumer: &Consumer) -> Option<bool> {
        let Some(instance) = &self.instance else {
            return Some(false);
        };
        let groups = consumer
            .fetch_group_list(Some(&self.group), LEAVE_ANSWER_TIME)
            .ok()?;
        let group = groups
            .groups()
            .iter()
            .find(|group| group.name() == self.group)?;
        // The broker derives a member's id from its name.
        let ours = format!("{instance}-");
        Some(
            group
                .members()
                .iter()
                .any(|member| member.id().starts_with(&ours)),
        )
    }

    fn read(&mut self, consumer: &Consumer) -> End {
        loop {
            if let Err(end) = self.step(consumer) {
                return end;
            }
        }
    }

    fn step(&mut self, consumer: &Consumer) -> Result<(), End> {
        self.ensure_room(consumer)?;
        match consumer.poll(Duration::ZERO) {
            Some(result) => self.accept(consumer, result),
            None => {
                self.store_offsets(consumer)?;
                // librdkafka pauses fetching for a rebalance, so its messages end and this is
                // reached soon.
                self.apply_rebalance(consumer)?;
                self.check_reached(consumer)?;
                let patience = match &self.slab {
                    None => IDLE,
                    Some(_) => LINGER.saturating_sub(self.slab_since.elapsed()),
                };
                if patience.is_zero() {
                    return self.send_slab();
                }
                match consumer.poll(patience) {
                    Some(result) => self.accept(consumer, result),
                    None => Ok(()),
                }
            }
        }
    }

    fn accept(
        &mut self,
        consumer: &Consumer,
        polled: Result<BorrowedMessage<'_>, KafkaError>,
    ) -> Result<(), End> {
        let message = match polled {
            Ok(message) => message,
            Err(error) => return self.react(consumer, error),
        };
        // A message proves that the broker answers again; the next outage is logged.
        self.reach.set();
        self.unreachable_is_logged = false;
        if self
            .slab
            .as_ref()
            .is_some_and(|slab| slab.is_full() || **slab.topic() != *message.topic())
        {
            self.send_slab()?;
        }
        // The time starts with the first message, so a slab waits LINGER at most, however many
        // follow.
        if self.slab.is_none() {
            self.slab_since = Instant::now();
        }
        let expected = self.slab_bytes_expected;
        self.slab
            .get_or_insert_with(|| Slab::new(message.topic().into(), expected))
            .push(borrowed(&message));
        Ok(())
    }

    fn react(&mut self, consumer: &Consumer, error: KafkaError) -> Result<(), End> {
        let reason = reason(consumer);
        let is_reading = !self.started.is_empty();
        match classify(error, reason.clone(), is_reading) {
            // Both are logged once, not with each attempt.
            Reaction::Continue => {
                if !std::mem::replace(&mut self.unreachable_is_logged, true) {
                    tracing::warn!(reason, "the broker does not answer, trying again");
                }
            }
            Reaction::AwaitTopic => {
                self.reach.set();
                if !std::mem::replace(&mut self.missing_is_logged, true) {
                    tracing::info!(
                        topics = self.topics.join(", "),
                        reason,
                        "waiting for the topic"
                    );
                }
            }
            Reaction::FindOffset => return Err(self.find_missing(consumer, &reason).into()),
            Reaction::End(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Ends when no broker has answered since the start. A group may take long to form, so before
    /// that the broker is asked a question that it answers at once.
    fn check_reached(&self, consumer: &Consumer) -> Result<(), End> {
        if !self.reach.is_overdue() {
            return Ok(());
        }
        let topic = self.topics.first().map(String::as_str);
        ensure_answers(consumer, &self.brokers, topic, ANSWER_TIME_MAX)
            .map_err(SourceError::Unreached)?;
        self.reach.set();
        Ok(())
    }

    /// Sends the slab to the pipeline. The channel has a place for every share of the budget, so a
    /// slab never waits for one.
    fn send_slab(&mut self) -> Result<(), End> {
        let Some(mut slab) = self.slab.take() else {
            return Ok(());
        };
        self.slab_bytes_expected = slab.size_bytes().min(SLAB_BYTES);
        if let Some(mut permit) = self.permit.take() {
            let share = slab.size_bytes().clamp(SHARE_BYTES_MIN, SLAB_BYTES);
            // The share was acquired for a full slab. What this slab does not need is returned at
            // once.
            drop(permit.split(SLAB_BYTES - share));
            slab.hold(permit);
        }
        self.send(Event::Messages(slab))
    }

    pub(super) fn send(&self, event: Event) -> Result<(), End> {
        self.events.blocking_send(event).map_err(|_| End::Left)
    }

    /// Waits for the next slab's share of the memory.
    fn ensure_room(&mut self, consumer: &Consumer) -> Result<(), End> {
        let share = u32::try_from(SLAB_BYTES).expect("a slab is far below 4 GiB");
        let since = Instant::now();
        let mut paused = false;
        while self.permit.is_none() {
            let room = self.budget.clone().acquire_many_owned(share);
            match self.budget.clone().try_acquire_many_owned(share) {
                Ok(permit) => self.permit = Some(permit),
                Err(_) => {
                    self.permit = self
                        .runtime
                        .block_on(async { tokio::time::timeout(IDLE, room).await })
                        .ok()
                        .and_then(Result::ok)
                }
            }
            if self.permit.is_some() {
                break;
            }
            self.store_offsets(consumer)?;
            if since.elapsed() < PAUSE_AFTER {
                continue;
            }
            if !std::mem::replace(&mut paused, true) {
                set_paused(consumer, true)?;
            }
            // A paused consumer may still return a message that librdkafka had fetched before.
            if let Some(result) = consumer.poll(Duration::ZERO) {
                self.accept(consumer, result)?;
            }
            self.apply_rebalance(consumer)?;
        }
        if paused {
            set_paused(consumer, false)
        } else {
            Ok(())
        }
    }

    /// Stores what waits for the group; ends when the pipeline has closed the source.
    fn store_offsets(&mut self, consumer: &Consumer) -> Result<(), End> {
        loop {
            match self.group_offsets.try_recv() {
                Ok(GroupOffsets { topic, offsets }) => commit(consumer, &topic, &offsets),
                Err(std_mpsc::TryRecvError::Disconnected) => return Err(End::Left),
                Err(std_mpsc::TryRecvError::Empty) => return Ok(()),
            }
        }
    }
}

fn set_paused(consumer: &Consumer, paused: bool) -> Result<(), End> {
    let change = |list| {
        if paused {
            consumer.pause(&list)
        } else {
            consumer.resume(&list)
        }
    };
    let changed = consumer.assignment().and_then(change);
    changed.map_err(|error| Error::failed("fetching was not paused", error).into())
}

fn commit(consumer: &Consumer, topic: &str, offsets: &Offsets) {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    let mut add = |(partition, offset): (&KafkaPartition, &Offset)| {
        list.add_partition_offset(topic, partition.0, RawOffset::Offset(offset.0))
    };
    if let Err(error) = offsets
        .iter()
        .try_for_each(&mut add)
        .and_then(|()| consumer.commit(&list, CommitMode::Async))
    {
        tracing::debug!(topic, %error, "the group's offsets were not committed");
    }
}

/// librdkafka's message for the last error.
pub(super) fn reason(consumer: &Consumer) -> String {
    consumer
        .context()
        .last_error()
        .map_or_else(String::new, |reported| reported.reason)
}
