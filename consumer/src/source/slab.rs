//! Messages of one topic, copied back to back into one buffer.

use std::ops::Range;
use std::sync::Arc;

use inlet_model::change::Origin;
use inlet_model::record::header::{HEADER, Header, HeaderError, REPAIR_HEADER};
use inlet_model::{KafkaPartition, Offset};
use rdkafka::message::{Headers, Message as _};
use tokio::sync::OwnedSemaphorePermit;

/// A slab is full with this many bytes; its last message may exceed them.
pub(super) const SLAB_BYTES: usize = 1 << 20;
/// Memory of a message beside its key and value.
const MESSAGE_BYTES: usize = size_of::<Entry>();

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headed {
    Ours(Header),
    /// The message has no header of our name.
    Missing,
    /// The header has our name, and bytes that this version cannot decode.
    Unknown(HeaderError),
}

impl Headed {
    /// True for a message whose value is no row alone.
    pub fn has_many_rows(self) -> bool {
        matches!(self, Self::Ours(header) if header.encoding.has_many_rows())
    }
}

/// Messages of one topic in the order in which they were read; each kafka_partition's offsets rise.
#[derive(Debug)]
pub struct Slab {
    topic: Arc<str>,
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    permit: Option<OwnedSemaphorePermit>,
}

/// A message of a slab.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    pub partition: KafkaPartition,
    pub offset: Offset,
    pub key: Option<&'a [u8]>,
    /// `None` is Kafka's null, a delete.
    pub value: Option<&'a [u8]>,
    pub headed: Headed,
    /// Whether a poll or a repair has published it: a load looks like a poll here.
    pub origin: Origin,
}

#[derive(Debug)]
struct Entry {
    partition: KafkaPartition,
    offset: Offset,
    key: Option<Range<u32>>,
    value: Option<Range<u32>>,
    headed: Headed,
    origin: Origin,
}

impl Slab {
    /// An empty slab with room for `expected_bytes`.
    pub fn new(topic: Arc<str>, expected_bytes: usize) -> Self {
        Self {
            topic,
            bytes: Vec::with_capacity(expected_bytes),
            entries: Vec::new(),
            permit: None,
        }
    }

    /// The topic of all messages.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Memory of the messages.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * MESSAGE_BYTES
    }

    pub fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        (0..self.entries.len()).map(|at| self.message(at))
    }

    pub fn message(&self, at: usize) -> Message<'_> {
        let entry = &self.entries[at];
        let part = |range: &Option<Range<u32>>| {
            range
                .as_ref()
                .map(|range| &self.bytes[range.start as usize..range.end as usize])
        };
        Message {
            partition: entry.partition,
            offset: entry.offset,
            key: part(&entry.key),
            value: part(&entry.value),
            headed: entry.headed,
            origin: entry.origin,
        }
    }

    pub fn push(&mut self, message: Message<'_>) {
        let key = message.key.map(|key| self.copy(key));
        let value = message.value.map(|value| self.copy(value));
        self.entries.push(Entry {
            partition: message.partition,
            offset: message.offset,
            key,
            value,
            headed: message.headed,
            origin: message.origin,
        });
    }

    /// Keeps a share of the memory budget until the slab is dropped.
    pub(super) fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    pub(super) fn is_full(&self) -> bool {
        self.size_bytes() >= SLAB_BYTES
    }

    fn copy(&mut self, part: &[u8]) -> Range<u32> {
        // Four bytes for a position instead of eight: an entry stays small beside the messages.
        let position =
            |at: usize| u32::try_from(at).expect("a slab and its last message are far below 4 GiB");
        let start = position(self.bytes.len());
        self.bytes.extend_from_slice(part);
        start..position(self.bytes.len())
    }
}

/// Borrows a message from librdkafka.
pub(super) fn borrowed<'a>(message: &'a rdkafka::message::BorrowedMessage<'_>) -> Message<'a> {
    Message {
        partition: KafkaPartition(message.partition()),
        offset: Offset(message.offset()),
        key: message.key(),
        value: message.payload(),
        headed: headed(message),
        origin: origin(message),
    }
}

fn origin(message: &rdkafka::message::BorrowedMessage<'_>) -> Origin {
    let mut headers = message.headers().into_iter().flat_map(Headers::iter);
    if headers.any(|header| header.key == REPAIR_HEADER) {
        Origin::Repair
    } else {
        Origin::Poll
    }
}

fn headed(message: &rdkafka::message::BorrowedMessage<'_>) -> Headed {
    let Some(headers) = message.headers() else {
        return Headed::Missing;
    };
    let Some(ours) = headers.iter().find(|header| header.key == HEADER) else {
        return Headed::Missing;
    };
    match Header::decode(ours.value.unwrap_or_default()) {
        Ok(header) => Headed::Ours(header),
        Err(error) => Headed::Unknown(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_and_null_is_not_empty() {
        let mut slab = Slab::new("orders".into(), 0);
        let message = |offset, key, value| Message {
            partition: KafkaPartition(2),
            offset: Offset(offset),
            key,
            value,
            headed: Headed::Missing,
            origin: Origin::Poll,
        };
        slab.push(message(5, Some(&b"k"[..]), Some(&b"value"[..])));
        slab.push(message(7, None, Some(&b""[..])));
        slab.push(message(8, Some(&b"gone"[..]), None));
        let read: Vec<_> = slab
            .iter()
            .map(|message| (message.offset.0, message.key, message.value))
            .collect();
        assert_eq!(
            read,
            [
                (5, Some(&b"k"[..]), Some(&b"value"[..])),
                (7, None, Some(&b""[..])),
                (8, Some(&b"gone"[..]), None)
            ]
        );
        assert_eq!(slab.size_bytes(), 10 + 3 * MESSAGE_BYTES);
    }
}
