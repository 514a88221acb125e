//! The proof that nothing is missing and nothing comes twice.
//!
//! The producer numbers the records of each kafka_partition without a gap. A number that was seen
//! is a double and is left out; a number too high is a hole: a record is lost between the producer
//! and us, and going on would hide it.

use std::collections::BTreeMap;

use inlet_model::{KafkaPartition, Offset, OffsetRange};

use crate::source::{Headed, Slab};

/// Where a table's kafka_partitions stand.
#[derive(Debug, Clone, Default)]
pub struct Positions(BTreeMap<KafkaPartition, Position>);

/// Where a kafka_partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The next offset to come, or a later one.
    pub next: Offset,
    /// The sequence that the next record must carry; `None` when the topic's beginning has expired
    /// and any may come first.
    pub sequence: Option<u64>,
}

/// What a slab brings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The numbers of the messages to take.
    pub kept: Vec<u32>,
    /// Messages that were there before.
    pub doubles: u64,
    /// The offsets that the slab covers, and the sequence to come next.
    pub covered: BTreeMap<KafkaPartition, (OffsetRange, u64)>,
}

/// Records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    /// Where.
    pub partition: KafkaPartition,
    /// Where.
    pub offset: Offset,
    /// The sequence that should have come.
    pub expected: u64,
    /// The sequence that came.
    pub got: u64,
}

impl Positions {
    /// Where a kafka_partition begins.
    pub fn begin(&mut self, partition: KafkaPartition, position: Position) {
        self.0.insert(partition, position);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Checks a slab and moves on behind it; messages of kafka_partitions that are not ours are
    /// left out.
    pub fn advance(&mut self, slab: &Slab) -> Result<Checked, Hole> {
        let mut checked = Checked {
            kept: Vec::with_capacity(slab.len()),
            ..Checked::default()
        };
        for (number, message) in (0..).zip(slab.iter()) {
            let Some(position) = self.0.get_mut(&message.partition) else {
                continue;
            };
            let from = position.next;
            let is_new = message.offset >= from
                && position.follows(message.headed, message.partition, message.offset)?;
            if is_new {
                checked.kept.push(number)
            } else {
                checked.doubles += 1
            }
            position.next = from.max(message.offset.next());
            let sequence = position.sequence.unwrap_or(0);
            let covered = checked
                .covered
                .entry(message.partition)
                .or_insert((OffsetRange { from, next: from }, sequence));
            (covered.0.next, covered.1) = (position.next, sequence);
        }
        Ok(checked)
    }
}

impl Position {
    /// Whether a message comes for the first time. Messages of others carry no sequence.
    fn follows(
        &mut self,
        headed: Headed,
        partition: KafkaPartition,
        offset: Offset,
    ) -> Result<bool, Hole> {
        let Headed::Ours(header) = headed else {
            return Ok(true);
        };
        let (got, expected) = (header.sequence, self.sequence.unwrap_or(header.sequence));
        if got > expected {
            return Err(Hole {
                partition,
                offset,
                expected,
                got,
            });
        }
        if got == expected {
            self.sequence = Some(expected + 1);
        }
        Ok(got == expected)
    }
}

#[cfg(test)]
mod tests {
    use inlet_model::Fingerprint;
    use inlet_model::Xid;
    use inlet_model::record::header::Header;

    use super::*;
    use crate::source::Message;

    const PARTITION: KafkaPartition = KafkaPartition(1);

    fn slab(messages: &[(i64, Option<u64>)]) -> Slab {
        let mut slab = Slab::new("orders".into(), 0);
        for (offset, sequence) in messages {
            let header = |sequence| Header {
                op: b'u',
                xid: Xid(3),
                sequence,
                fingerprint: Fingerprint(0),
                detected_at: 0,
            };
            let headed =
                sequence.map_or(Headed::Missing, |sequence| Headed::Ours(header(sequence)));
            slab.push(Message {
                partition: PARTITION,
                offset: Offset(*offset),
                key: None,
                value: None,
                headed,
            });
        }
        slab
    }

    fn positions(next: i64, sequence: Option<u64>) -> Positions {
        let mut positions = Positions::default();
        positions.begin(
            PARTITION,
            Position {
                next: Offset(next),
                sequence,
            },
        );
        positions
    }

    fn covered(
        from: i64,
        next: i64,
        sequence: u64,
    ) -> BTreeMap<KafkaPartition, (OffsetRange, u64)> {
        BTreeMap::from([(
            PARTITION,
            (
                OffsetRange {
                    from: Offset(from),
                    next: Offset(next),
                },
                sequence,
            ),
        )])
    }

    #[test]
    fn markers_and_foreign_messages_take_offsets_but_no_sequence() {
        let mut positions = positions(10, Some(4));
        let checked = positions
            .advance(&slab(&[(11, Some(4)), (13, None), (20, Some(5))]))
            .unwrap();
        assert_eq!(
            checked,
            Checked {
                kept: vec![0, 1, 2],
                doubles: 0,
                covered: covered(10, 21, 6)
            }
        );
        assert_eq!(
            positions.advance(&slab(&[(21, Some(6))])).unwrap().covered,
            covered(21, 22, 7)
        );
    }

    #[test]
    fn a_double_is_left_out_and_its_offset_covered() {
        let checked = positions(10, Some(4))
            .advance(&slab(&[
                (10, Some(4)),
                (11, Some(3)),
                (12, Some(4)),
                (13, Some(5)),
            ]))
            .unwrap();
        assert_eq!(
            checked,
            Checked {
                kept: vec![0, 3],
                doubles: 2,
                covered: covered(10, 14, 6)
            }
        );
    }

    #[test]
    fn an_offset_that_was_covered_is_not_taken_again() {
        let checked = positions(10, Some(4))
            .advance(&slab(&[(9, None), (10, Some(4))]))
            .unwrap();
        assert_eq!(
            checked,
            Checked {
                kept: vec![1],
                doubles: 1,
                covered: covered(10, 11, 5)
            }
        );
    }

    #[test]
    fn a_hole_is_told() {
        let hole = positions(10, Some(4))
            .advance(&slab(&[(10, Some(4)), (11, Some(6))]))
            .unwrap_err();
        assert_eq!(
            hole,
            Hole {
                partition: PARTITION,
                offset: Offset(11),
                expected: 5,
                got: 6
            }
        );
    }

    #[test]
    fn where_the_beginning_has_expired_the_first_sequence_is_taken_and_the_next_must_follow() {
        let mut positions = positions(10, None);
        assert_eq!(
            positions
                .advance(&slab(&[(10, None), (11, Some(90))]))
                .unwrap()
                .covered,
            covered(10, 12, 91)
        );
        assert!(positions.advance(&slab(&[(12, Some(92))])).is_err());
    }

    #[test]
    fn messages_of_a_kafka_partition_that_is_not_ours_are_nothing() {
        assert_eq!(
            Positions::default()
                .advance(&slab(&[(1, Some(1))]))
                .unwrap(),
            Checked::default()
        );
    }
}
