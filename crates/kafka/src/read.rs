//! Reads kafka_partitions up to the end that they have now.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use inlet_model::{KafkaPartition, Offset};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset as RawOffset, TopicPartitionList};

use crate::client::Consumer;
use crate::error::{Error, is_transient};

const POLL_TIME: Duration = Duration::from_millis(100);

/// Reads every record from the given offsets to the end that each kafka_partition has.
///
/// `visit` sees each record; when it breaks, the rest of that record's kafka_partition is skipped.
/// The end is that of the reader's isolation: a reader of committed records stops before an open
/// transaction. Fails when the deadline passes first.
pub fn read_to_end(
    reader: &Consumer,
    topic: &str,
    starts: &BTreeMap<KafkaPartition, Offset>,
    deadline: Instant,
    mut visit: impl FnMut(&BorrowedMessage<'_>) -> ControlFlow<()>,
) -> Result<(), Error> {
    let failed = |error| Error::failed(format!("topic `{topic}` was not read"), error);
    let mut assignment = TopicPartitionList::with_capacity(starts.len());
    for (partition, start) in starts {
        assignment
            .add_partition_offset(topic, partition.0, RawOffset::Offset(start.0))
            .map_err(failed)?;
    }
    // `assign` bypasses the group: this reader has no part in its rebalances.
    reader.assign(&assignment).map_err(failed)?;
    let mut pending: BTreeSet<i32> = starts.keys().map(|partition| partition.0).collect();
    while !pending.is_empty() {
        match reader.poll(POLL_TIME) {
            // Messages of a finished kafka_partition may still be in librdkafka's queue.
            Some(Ok(message)) if !pending.contains(&message.partition()) => {}
            Some(Ok(message)) if visit(&message).is_break() => {
                pending.remove(&message.partition());
            }
            Some(Ok(_)) => {}
            // librdkafka reports the end after the last record and after the markers of
            // transactions, which take offsets too. So no offset has to be compared.
            Some(Err(KafkaError::PartitionEOF(partition))) => _ = pending.remove(&partition),
            Some(Err(error)) if is_transient(&error) => {
                tracing::debug!(topic, %error, "reading continues");
            }
            Some(Err(error)) => return Err(failed(error)),
            None => {}
        }
        if !pending.is_empty() && Instant::now() >= deadline {
            let act = format!("topic `{topic}` was not read to its end in time");
            return Err(Error::late(act, reader.context()));
        }
    }
    Ok(())
}
