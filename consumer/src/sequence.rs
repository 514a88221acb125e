//! Checks that no record is missing, and leaves out duplicates.
//!
//! The producer numbers the rows of each kafka_partition without a gap; a record has the number of
//! its first row. A record with a number that arrived before is a duplicate and is left out. A
//! number that is too high shows a hole: a record was lost between the producer and the consumer,
//! and continuing would hide it.

use std::collections::BTreeMap;

use inlet_model::{KafkaPartition, Offset, OffsetRange};

use crate::source::{Headed, Slab};

/// The positions of a table's kafka_partitions.
#[derive(Debug, Clone, Default)]
pub struct Positions(BTreeMap<KafkaPartition, Position>);

/// The position of a kafka_partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The next offset; the next record has it or a later one.
    pub next: Offset,
    /// The sequence that the next record must carry; `None` when the topic's beginning has expired
    /// and the first record may carry any.
    pub sequence: Option<u64>,
}

/// The outcome of checking a slab.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The numbers of the messages to decode.
    pub kept: Vec<u32>,
    /// The number of messages that arrived before.
    pub duplicates: u64,
    /// The offsets that the slab covers, and the next sequence.
    pub covered: BTreeMap<KafkaPartition, (OffsetRange, u64)>,
}

/// Records are missing before an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hole {
    pub partition: KafkaPartition,
    pub offset: Offset,
    /// The sequence that the record at the offset had to carry.
    pub expected: u64,
    /// The sequence that it carries.
    pub got: u64,
}

impl Positions {
    /// Sets the position at which a kafka_partition starts.
    pub fn start(&mut self, partition: KafkaPartition, position: Position) {
        self.0.insert(partition, position);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Checks a slab and moves past it. Messages of kafka_partitions without a position are left
    /// out: they belong to another consumer.
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
            // Both checks are needed: after a restart the broker may send offsets that are
            // committed already, and a producer that retried may have written a record again at a
            // new offset.
            let is_new = message.offset >= from
                && position.follows(message.headed, message.partition, message.offset)?;
            if is_new {
                checked.kept.push(number)
            } else {
                checked.duplicates += 1
            }
            // A duplicate moves the position as well, or the commit would not cover its offset and
            // it would be read for ever.
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
    /// True when a message arrives for the first time. Messages of other programs carry no
    /// sequence.
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
        // A lower sequence is a duplicate and does not change what is expected. The rows of a
        // record arrive together, so no record is a duplicate in part.
        if got == expected {
            self.sequence = Some(expected + u64::from(header.rows));
        }
        Ok(got == expected)
    }
}

#[cfg(test)]
mod tests {
    use inlet_model::change::Origin;
    use inlet_model::record::encoding::Encoding;
    use inlet_model::record::header::Header;
    use inlet_model::{Fingerprint, Xid};
    use proptest::collection::vec;
    use proptest::prelude::*;

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
                rows: 1,
                encoding: Encoding::Json,
            };
            let headed =
                sequence.map_or(Headed::Missing, |sequence| Headed::Ours(header(sequence)));
            slab.push(Message {
                partition: PARTITION,
                offset: Offset(*offset),
                key: None,
                value: None,
                headed,
                origin: Origin::Poll,
            });
        }
        slab
    }

    fn positions(next: i64, sequence: Option<u64>) -> Positions {
        let mut positions = Positions::default();
        positions.start(
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

    /// The next thing in a topic.
    #[derive(Debug, Clone)]
    enum Next {
        /// The next record of the producer.
        Record,
        /// An earlier record again, as after a lost acknowledgement.
        Again { back: u64 },
        /// A message of another program.
        Foreign,
        /// A transaction marker: an offset without a message.
        Marker,
    }

    /// Messages as offset and sequence.
    fn topic() -> impl Strategy<Value = Vec<(i64, Option<u64>)>> {
        let next = prop_oneof![
            6 => Just(Next::Record),
            2 => (1..5_u64).prop_map(|back| Next::Again { back }),
            1 => Just(Next::Foreign),
            2 => Just(Next::Marker),
        ];
        vec(next, 0..60).prop_map(|nexts| {
            let (mut messages, mut sequence) = (Vec::new(), 0_u64);
            for (offset, next) in (0..).zip(nexts) {
                match next {
                    Next::Record => {
                        messages.push((offset, Some(sequence)));
                        sequence += 1;
                    }
                    Next::Again { back } if back <= sequence => {
                        messages.push((offset, Some(sequence - back)));
                    }
                    Next::Foreign => messages.push((offset, None)),
                    Next::Again { .. } | Next::Marker => {}
                }
            }
            messages
        })
    }

    /// Reads messages in slabs of these sizes; returns the offsets that were kept.
    fn read(
        positions: &mut Positions,
        messages: &[(i64, Option<u64>)],
        sizes: &[usize],
    ) -> Result<(Vec<i64>, u64), Hole> {
        let (mut kept, mut duplicates, mut rest) = (Vec::new(), 0, messages);
        let mut end = None;
        for size in sizes.iter().copied().chain([usize::MAX]) {
            let (part, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            let checked = positions.advance(&slab(part))?;
            kept.extend(checked.kept.iter().map(|number| part[*number as usize].0));
            duplicates += checked.duplicates;
            if let Some((range, _)) = checked.covered.get(&PARTITION) {
                assert!(
                    end.is_none_or(|end| end == range.from),
                    "ranges follow each other"
                );
                end = Some(range.next);
            }
        }
        Ok((kept, duplicates))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn every_record_is_kept_once_however_the_topic_is_cut_into_slabs(
            messages in topic(), sizes in vec(0..9_usize, 0..20)
        ) {
            let (kept, duplicates) = read(&mut positions(0, Some(0)), &messages, &sizes).unwrap();
            let mut expected = Vec::new();
            let mut next = 0;
            for (offset, sequence) in &messages {
                if sequence.is_none_or(|sequence| sequence == next) {
                    expected.push(*offset);
                    next += u64::from(sequence.is_some());
                }
            }
            prop_assert_eq!(duplicates as usize, messages.len() - expected.len());
            prop_assert_eq!(kept, expected);
        }

        #[test]
        fn a_restart_in_the_middle_keeps_what_one_run_keeps(
            messages in topic(),
            cut in any::<prop::sample::Index>(),
            sizes in vec(0..9_usize, 0..20),
        ) {
            let cut = cut.index(messages.len() + 1);
            let whole = read(&mut positions(0, Some(0)), &messages, &sizes).unwrap();
            let mut first = positions(0, Some(0));
            let before = read(&mut first, &messages[..cut], &sizes).unwrap();
            // A restart knows what the log stored, and reads again from there or from earlier.
            let stored = first.0[&PARTITION];
            let mut second = positions(stored.next.0, stored.sequence);
            let after = read(&mut second, &messages[cut..], &sizes).unwrap();
            prop_assert_eq!(whole.0, [before.0, after.0].concat());
        }

        #[test]
        fn a_lost_record_is_a_hole(records in 2..40_u64, lost in any::<prop::sample::Index>()) {
            // The last record cannot be missed before a later one arrives.
            let lost = lost.index(records as usize - 1);
            let mut messages: Vec<_> = (0..records).map(|n| (n as i64, Some(n))).collect();
            messages.remove(lost);
            let hole = read(&mut positions(0, Some(0)), &messages, &[]).unwrap_err();
            prop_assert_eq!((hole.expected, hole.got), (lost as u64, lost as u64 + 1));
        }
    }

    #[test]
    fn markers_and_foreign_messages_have_offsets_but_no_sequence() {
        let mut positions = positions(10, Some(4));
        let checked = positions
            .advance(&slab(&[(11, Some(4)), (13, None), (20, Some(5))]))
            .unwrap();
        assert_eq!(
            checked,
            Checked {
                kept: vec![0, 1, 2],
                duplicates: 0,
                covered: covered(10, 21, 6)
            }
        );
        assert_eq!(
            positions.advance(&slab(&[(21, Some(6))])).unwrap().covered,
            covered(21, 22, 7)
        );
    }

    #[test]
    fn a_duplicate_is_left_out_and_its_offset_covered() {
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
                duplicates: 2,
                covered: covered(10, 14, 6)
            }
        );
    }

    #[test]
    fn an_offset_that_was_covered_is_not_kept_again() {
        let checked = positions(10, Some(4))
            .advance(&slab(&[(9, None), (10, Some(4))]))
            .unwrap();
        assert_eq!(
            checked,
            Checked {
                kept: vec![1],
                duplicates: 1,
                covered: covered(10, 11, 5)
            }
        );
    }

    #[test]
    fn a_hole_is_an_error() {
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
    fn where_the_beginning_has_expired_any_sequence_may_be_first_and_the_next_must_follow() {
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
    fn messages_of_a_kafka_partition_without_a_position_are_left_out() {
        assert_eq!(
            Positions::default()
                .advance(&slab(&[(1, Some(1))]))
                .unwrap(),
            Checked::default()
        );
    }
}
