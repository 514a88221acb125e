//! Offsets of a topic; ranges are half-open, and the one place that adds one is here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A partition of a Kafka topic (0 when there is no broker).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KafkaPartition(pub i32);

/// A position in a kafka_partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl Offset {
    /// The first position of every kafka_partition.
    pub const ZERO: Self = Self(0);

    /// Returns the position after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Offsets from `from` up to but without `next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    /// The first offset covered.
    pub from: Offset,
    /// The next offset to read.
    pub next: Offset,
}

/// The next offset to read, per kafka_partition.
pub type Offsets = BTreeMap<KafkaPartition, Offset>;
