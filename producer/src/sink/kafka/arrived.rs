//! Whether the lake has what was published: the consumer stores its offsets in its group after each
//! commit to the lake.
//!
//! Blocking, and without errors: a broker that does not answer shows nothing new.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use inlet_kafka::{Consumer, Error, Marks, all_watermarks, find_topic, group_offsets};
use inlet_model::{KafkaPartition, Offset, TableName};
use inlet_service::sink::DurableEnd;
use rdkafka::consumer::Consumer as _;

use super::settings::KafkaSinkSettings;

/// The publisher waits for the answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// Asks for the ends of topics and for the offsets of the consumer's group, without joining it.
#[derive(Default)]
pub(super) struct Arrived {
    member: Option<Consumer>,
}

impl Arrived {
    /// Where a table's topic ends for readers of committed records.
    pub(super) fn durable_end(
        &mut self,
        settings: &KafkaSinkSettings,
        table: &TableName,
    ) -> Option<DurableEnd> {
        let (member, topic) = self.member(settings, table)?;
        let ends = ends(member, topic);
        let ends = ends.inspect_err(|error| tracing::debug!(%error, "a topic's end is unknown"));
        ends.ok().flatten()
    }

    /// True when the group has read up to these ends.
    pub(super) fn has(
        &mut self,
        settings: &KafkaSinkSettings,
        table: &TableName,
        end: &DurableEnd,
    ) -> bool {
        let Some((member, topic)) = self.member(settings, table) else {
            return false;
        };
        let partitions: Vec<_> = end.0.keys().map(|at| (topic.to_owned(), *at)).collect();
        let read = group_offsets(member, &partitions, Instant::now() + ANSWER_TIME_MAX);
        let Ok(read) = read.inspect_err(|error| tracing::debug!(%error, "a group is unknown"))
        else {
            return false;
        };
        // The marker of our last transaction is behind its records, and a reader's offset is that
        // after a record. So an offset at the last place of the topic has passed all of ours.
        let mut pairs = end.0.values().zip(read);
        pairs.all(|(end, read)| read.map_or(0, |read| read.0) >= end.0 - 1)
    }

    fn member<'a>(
        &mut self,
        settings: &'a KafkaSinkSettings,
        table: &TableName,
    ) -> Option<(&Consumer, &'a str)> {
        let group = settings.lake_group.as_ref()?;
        let topic = settings.topics.get(table)?;
        if self.member.is_none() {
            self.member = settings.connection.member(group, None).ok();
        }
        Some((self.member.as_ref()?, topic))
    }
}

fn ends(member: &Consumer, topic: &str) -> Result<Option<DurableEnd>, Error> {
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    let Some(found) = find_topic(member.client(), topic, deadline)? else {
        return Ok(None);
    };
    let partitions = (0..found.partitions).map(KafkaPartition);
    let asked: Vec<_> = partitions.map(|at| (topic.to_owned(), at)).collect();
    let marks = all_watermarks(member, &asked, deadline)?;
    let end = |((_, at), marks): (&(String, KafkaPartition), Marks)| (*at, marks.end);
    let ends: BTreeMap<KafkaPartition, Offset> = asked.iter().zip(marks).map(end).collect();
    Ok(Some(DurableEnd(ends)))
}
