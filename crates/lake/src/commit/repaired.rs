//! The offsets of rows that a repair brought: their mark in the lake.
//!
//! A part of a log entry, so it stays when files are merged, and readers of the files see rows like
//! any others. Stored as `{"<kafka_partition>":[{"from":5,"next":7},..]}`, half-open.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use inlet_model::change::{ChangeBatch, KAFKA_PARTITION, OFFSET};
use inlet_model::{KafkaPartition, Offset, OffsetRange};
use serde::{Deserialize, Serialize};

/// Offsets of repaired rows, in ranges that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Repaired(BTreeMap<KafkaPartition, Vec<OffsetRange>>);

impl Repaired {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn ranges(&self) -> impl Iterator<Item = (KafkaPartition, OffsetRange)> {
        let of = |(partition, ranges): (&KafkaPartition, &Vec<OffsetRange>)| {
            let partition = *partition;
            ranges
                .clone()
                .into_iter()
                .map(move |range| (partition, range))
        };
        self.0.iter().flat_map(of)
    }

    /// Adds the positions of a batch; those of a kafka_partition grow.
    pub fn add(&mut self, batch: &ChangeBatch) {
        let column = |name| {
            let column = batch.rows.column_by_name(name);
            column.expect("a positioned batch has this column")
        };
        let partitions = column(KAFKA_PARTITION).as_primitive::<Int32Type>().values();
        let offsets = column(OFFSET).as_primitive::<Int64Type>().values();
        for (partition, offset) in partitions.iter().zip(offsets) {
            self.add_offset(KafkaPartition(*partition), Offset(*offset));
        }
    }

    fn add_offset(&mut self, partition: KafkaPartition, offset: Offset) {
        let ranges = self.0.entry(partition).or_default();
        let next = offset.next();
        match ranges.last_mut() {
            // Several rows of one record have its offset.
            Some(last) if offset.0 <= last.next.0 => last.next = next.max(last.next),
            _ => ranges.push(OffsetRange { from: offset, next }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(offsets: &[(i32, i64)]) -> Repaired {
        let mut repaired = Repaired::default();
        for (partition, offset) in offsets {
            repaired.add_offset(KafkaPartition(*partition), Offset(*offset));
        }
        repaired
    }

    #[test]
    fn neighbours_are_one_range_and_a_gap_starts_another() {
        let repaired = of(&[(0, 5), (0, 6), (0, 6), (1, 0), (0, 9)]);
        let range = |from, next| OffsetRange {
            from: Offset(from),
            next: Offset(next),
        };
        let expected = [
            (KafkaPartition(0), range(5, 7)),
            (KafkaPartition(0), range(9, 10)),
            (KafkaPartition(1), range(0, 1)),
        ];
        assert_eq!(repaired.ranges().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let repaired = of(&[(0, 5), (3, 7)]);
        let text = serde_json::to_string(&repaired).expect("numbers are JSON");
        let expected = r#"{"0":[{"from":5,"next":6}],"3":[{"from":7,"next":8}]}"#;
        assert_eq!(text, expected);
        assert_eq!(
            serde_json::from_str::<Repaired>(&text).expect("it was just written"),
            repaired
        );
    }
}
