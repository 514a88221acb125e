//! The thread that owns the consumer: polls it, copies messages into slabs, and answers rebalances
//! with the pipeline's word.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc as commands;
use std::time::{Duration, Instant};

use inlet_model::{KafkaPartition, Offset, Offsets};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset as RawOffset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::client::{self, INSTANCE, Rebalance, Watch};
use super::error::{Verdict, judge};
use super::member::Member;
use super::slab::{SLAB_BYTES, Slab, borrowed};
use super::{Command, Event, Marks, Partitions, SHARE_BYTES_MIN, SourceError};
use crate::settings::ConsumerSettings;

/// How long one poll waits: as long as a command may have to.
const IDLE: Duration = Duration::from_millis(50);
/// How long the first message of a slab waits for company.
const LINGER: Duration = Duration::from_millis(10);
/// How long room is waited for before reading is paused, so that the group does not take us for
/// dead.
const PAUSE_AFTER: Duration = Duration::from_secs(2);
/// How long it is asked whether the group was left. It is only courtesy: the session ends by
/// itself.
const LEAVE_DEADLINE: Duration = Duration::from_secs(3);
/// How long the broker may take to answer that; where it does not, as long is waited for
/// librdkafka's threads.
const LEAVE_TIME: Duration = Duration::from_millis(200);
/// How long one request for a kafka_partition's offsets may take.
const MARKS_DEADLINE: Duration = Duration::from_secs(5);

/// The consumer and what it reads into.
pub(super) struct Reader {
    /// `None` once the group was left.
    consumer: Option<BaseConsumer<Watch>>,
    _member: Option<Member>,
    group: String,
    /// Our name in the group that outlives the process.
    instance: Option<String>,
    topics: Vec<String>,
    events: mpsc::Sender<Event>,
    commands: commands::Receiver<Command>,
    budget: Arc<Semaphore>,
    runtime: Handle,
    slab: Option<Slab>,
    slab_since: Instant,
    slab_bytes_expected: usize,
    permit: Option<OwnedSemaphorePermit>,
    /// Where each assigned kafka_partition began.
    begun: Partitions<Offset>,
    /// An assignment whose offsets the broker has not told yet.
    unanswered: Option<Vec<(String, KafkaPartition)>>,
    missing_said: bool,
    unreachable_said: bool,
}

/// Why the loop ends.
enum End {
    Left,
    Failed(SourceError),
}

impl From<SourceError> for End {
    fn from(error: SourceError) -> Self {
        Self::Failed(error)
    }
}

impl Reader {
    pub fn new(
        settings: &ConsumerSettings,
        events: mpsc::Sender<Event>,
        commands: commands::Receiver<Command>,
        budget: Arc<Semaphore>,
        runtime: Handle,
    ) -> Result<Self, SourceError> {
        let member = settings
            .tables
            .first()
            .and_then(|table| Member::take(&table.path));
        let named = settings.properties.get(INSTANCE).cloned();
        let instance = named.or_else(|| {
            member
                .as_ref()
                .map(|member| member.instance(&settings.group))
        });
        let created =
            client::member(settings, instance.as_deref()).create_with_context(Watch::default());
        let consumer: BaseConsumer<Watch> =
            created.map_err(|source| SourceError::Settings { source })?;
        let topics: Vec<String> = settings
            .tables
            .iter()
            .map(|table| table.topic.clone())
            .collect();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer
            .subscribe(&names)
            .map_err(|source| SourceError::Settings { source })?;
        Ok(Self {
            consumer: Some(consumer),
            _member: member,
            group: settings.group.clone(),
            instance,
            topics,
            events,
            commands,
            budget,
            runtime,
            slab: None,
            slab_since: Instant::now(),
            slab_bytes_expected: 0,
            permit: None,
            begun: Partitions::new(),
            unanswered: None,
            missing_said: false,
            unreachable_said: false,
        })
    }

    /// Reads until it is told to leave or cannot go on.
    pub fn run(&mut self) -> Result<(), SourceError> {
        let consumer = self.consumer.take().expect("a reader runs once");
        let end = self.read(&consumer);
        self.consumer = Some(consumer);
        match end {
            End::Left => Ok(()),
            End::Failed(error) => Err(error),
        }
    }

    /// Leaves the group; may take as long as the broker likes.
    pub fn leave(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            consumer.context().close();
            // A member with a lasting name that only closes keeps its kafka_partitions until its
            // session ends: it has to leave before.
            consumer.unsubscribe();
            let since = Instant::now();
            while since.elapsed() < LEAVE_DEADLINE
                && self
                    .is_member(&consumer)
                    .unwrap_or(since.elapsed() < LEAVE_TIME)
            {
                consumer.poll(Duration::from_millis(10));
            }
            drop(consumer);
        }
    }

    /// Whether the group has a member by our lasting name; librdkafka does not tell when it has
    /// left. `None` while the broker does not say.
    fn is_member(&self, consumer: &BaseConsumer<Watch>) -> Option<bool> {
        let Some(instance) = &self.instance else {
            return Some(false);
        };
        let groups = consumer
            .fetch_group_list(Some(&self.group), LEAVE_TIME)
            .ok()?;
        let group = groups
            .groups()
            .iter()
            .find(|group| group.name() == self.group)?;
        // The broker makes a member's id of its name.
        Some(
            group
                .members()
                .iter()
                .any(|member| member.id().starts_with(&format!("{instance}-"))),
        )
    }

    fn read(&mut self, consumer: &BaseConsumer<Watch>) -> End {
        loop {
            if let Err(end) = self.step(consumer) {
                return end;
            }
        }
    }

    fn step(&mut self, consumer: &BaseConsumer<Watch>) -> Result<(), End> {
        self.ensure_room(consumer)?;
        match consumer.poll(Duration::ZERO) {
            Some(result) => self.take(consumer, result),
            None => {
                // Nothing waits: there is time to look around, and then to wait a little.
                self.obey(consumer)?;
                self.answer(consumer)?;
                let patience = match &self.slab {
                    None => IDLE,
                    Some(_) => LINGER.saturating_sub(self.slab_since.elapsed()),
                };
                if patience.is_zero() {
                    return self.send_slab();
                }
                match consumer.poll(patience) {
                    Some(result) => self.take(consumer, result),
                    None => Ok(()),
                }
            }
        }
    }

    fn take(
        &mut self,
        consumer: &BaseConsumer<Watch>,
        polled: Result<rdkafka::message::BorrowedMessage<'_>, KafkaError>,
    ) -> Result<(), End> {
        let message = match polled {
            Ok(message) => message,
            Err(error) => return self.take_error(consumer, error),
        };
        self.unreachable_said = false;
        if self
            .slab
            .as_ref()
            .is_some_and(|slab| slab.is_full() || **slab.topic() != *message.topic())
        {
            self.send_slab()?;
        }
        if self.slab.is_none() {
            self.slab_since = Instant::now();
        }
        let expected = self.slab_bytes_expected;
        self.slab
            .get_or_insert_with(|| Slab::new(message.topic().into(), expected))
            .push(borrowed(&message));
        Ok(())
    }

    fn take_error(&mut self, consumer: &BaseConsumer<Watch>, error: KafkaError) -> Result<(), End> {
        let reason = consumer.context().reason();
        match judge(error, reason.clone()) {
            Verdict::Passing => {
                if !std::mem::replace(&mut self.unreachable_said, true) {
                    tracing::warn!(reason, "the broker does not answer, trying again");
                }
            }
            Verdict::NoTopic => {
                if !std::mem::replace(&mut self.missing_said, true) {
                    tracing::info!(
                        topics = self.topics.join(", "),
                        reason,
                        "waiting for the topic"
                    );
                }
            }
            Verdict::OutOfRange => return Err(self.find_gone(consumer, reason).into()),
            Verdict::Fatal(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Hands the slab over. There is a place in the channel for every share of the budget.
    fn send_slab(&mut self) -> Result<(), End> {
        let Some(mut slab) = self.slab.take() else {
            return Ok(());
        };
        self.slab_bytes_expected = slab.size_bytes().min(SLAB_BYTES);
        if let Some(mut permit) = self.permit.take() {
            let share = slab.size_bytes().clamp(SHARE_BYTES_MIN, SLAB_BYTES);
            drop(permit.split(SLAB_BYTES - share));
            slab.hold(permit);
        }
        self.send(Event::Messages(slab))
    }

    fn send(&self, event: Event) -> Result<(), End> {
        self.events.blocking_send(event).map_err(|_| End::Left)
    }

    /// Takes the next slab's share of the memory. Polls go on when that takes long: a group expels
    /// who does not poll.
    fn ensure_room(&mut self, consumer: &BaseConsumer<Watch>) -> Result<(), End> {
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
            self.obey(consumer)?;
            if since.elapsed() < PAUSE_AFTER {
                continue;
            }
            if !std::mem::replace(&mut paused, true) {
                set_paused(consumer, true)?;
            }
            if let Some(result) = consumer.poll(Duration::ZERO) {
                self.take(consumer, result)?;
            }
            self.answer(consumer)?;
        }
        if paused {
            set_paused(consumer, false)
        } else {
            Ok(())
        }
    }

    fn obey(&mut self, consumer: &BaseConsumer<Watch>) -> Result<(), End> {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Commit { topic, offsets }) => commit(consumer, &topic, &offsets),
                Ok(Command::Leave) | Err(commands::TryRecvError::Disconnected) => {
                    return Err(End::Left);
                }
                Err(commands::TryRecvError::Empty) => return Ok(()),
            }
        }
    }

    /// Carries a waiting rebalance out.
    fn answer(&mut self, consumer: &BaseConsumer<Watch>) -> Result<(), End> {
        if let Some(rebalance) = consumer.context().rebalance() {
            // Every rebalance revokes all: what was read and not handed over is read again by
            // whoever gets it.
            self.slab = None;
            self.begun.clear();
            match rebalance {
                Rebalance::Assign(partitions) => self.unanswered = Some(partitions),
                Rebalance::Revoke => {
                    self.unanswered = None;
                    self.revoke(consumer)?;
                }
            }
        }
        match self.unanswered.take() {
            Some(partitions) => self.assign(consumer, partitions),
            None => Ok(()),
        }
    }

    fn revoke(&mut self, consumer: &BaseConsumer<Watch>) -> Result<(), End> {
        let (reply, answer) = oneshot::channel();
        self.send(Event::Revoked { reply })?;
        answer.blocking_recv().map_err(|_| End::Left)?;
        consumer
            .unassign()
            .map_err(|source| unavailable("the kafka_partitions were not given back", source))?;
        Ok(())
    }

    fn assign(
        &mut self,
        consumer: &BaseConsumer<Watch>,
        partitions: Vec<(String, KafkaPartition)>,
    ) -> Result<(), End> {
        let marks = match marks(consumer, &partitions) {
            Ok(marks) => marks,
            Err(error) => {
                match judge(error, consumer.context().reason()) {
                    Verdict::Fatal(error @ SourceError::Denied { .. }) => return Err(error.into()),
                    // The broker is asked again, and in between the group may decide otherwise.
                    _ => self.unanswered = Some(partitions),
                }
                return Ok(());
            }
        };
        let (reply, answer) = oneshot::channel();
        self.send(Event::Assigned {
            partitions: marks,
            reply,
        })?;
        let begun = answer.blocking_recv().map_err(|_| End::Left)?;
        let failed = |source| unavailable("the kafka_partitions were not taken", source);
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in &begun {
            for (partition, offset) in partitions {
                list.add_partition_offset(topic, partition.0, RawOffset::Offset(offset.0))
                    .map_err(failed)?;
            }
        }
        consumer.assign(&list).map_err(failed)?;
        self.begun = begun;
        Ok(())
    }

    /// Which kafka_partition has lost the offset that comes next.
    fn find_gone(&self, consumer: &BaseConsumer<Watch>, reason: String) -> SourceError {
        let positions = consumer
            .position()
            .map(|list| list.to_topic_map())
            .unwrap_or_default();
        for (topic, partitions) in &self.begun {
            for (partition, begun) in partitions {
                let next = match positions.get(&(topic.clone(), partition.0)) {
                    Some(RawOffset::Offset(next)) => Offset(*next),
                    _ => *begun,
                };
                match watermarks(consumer, topic, *partition) {
                    Ok(marks) if next < marks.low || next > marks.end => {
                        return SourceError::Gone {
                            topic: topic.clone(),
                            partition: *partition,
                            marks,
                            next,
                        };
                    }
                    Ok(_) => {}
                    Err(source) => {
                        return unavailable("the offsets of the topic are not known", source);
                    }
                }
            }
        }
        SourceError::Late {
            act: format!("finding a lost offset ({reason})"),
        }
    }
}

fn unavailable(act: &str, source: KafkaError) -> SourceError {
    SourceError::Unavailable {
        act: act.to_owned(),
        source,
    }
}

fn set_paused(consumer: &BaseConsumer<Watch>, paused: bool) -> Result<(), End> {
    let change = |list| {
        if paused {
            consumer.pause(&list)
        } else {
            consumer.resume(&list)
        }
    };
    let changed = consumer.assignment().and_then(change);
    changed.map_err(|source| unavailable("reading was not paused", source).into())
}

fn marks(
    consumer: &BaseConsumer<Watch>,
    partitions: &[(String, KafkaPartition)],
) -> Result<Partitions<Marks>, KafkaError> {
    let mut marks: Partitions<Marks> = BTreeMap::new();
    for (topic, partition) in partitions {
        let found = watermarks(consumer, topic, *partition)?;
        marks
            .entry(topic.clone())
            .or_default()
            .insert(*partition, found);
    }
    Ok(marks)
}

fn watermarks(
    consumer: &BaseConsumer<Watch>,
    topic: &str,
    partition: KafkaPartition,
) -> Result<Marks, KafkaError> {
    let (low, end) = consumer.fetch_watermarks(topic, partition.0, MARKS_DEADLINE)?;
    Ok(Marks {
        low: Offset(low),
        end: Offset(end),
    })
}

fn commit(consumer: &BaseConsumer<Watch>, topic: &str, offsets: &Offsets) {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    let mut add = |(partition, offset): (&KafkaPartition, &Offset)| {
        list.add_partition_offset(topic, partition.0, RawOffset::Offset(offset.0))
    };
    if let Err(error) = offsets
        .iter()
        .try_for_each(&mut add)
        .and_then(|()| consumer.commit(&list, CommitMode::Async))
    {
        tracing::debug!(topic, %error, "offsets of the group were not committed");
    }
}
