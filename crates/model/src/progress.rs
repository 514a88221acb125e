//! The poller's progress as a sink stores it: a small map of text per table, changed by deltas.
//!
//! It is a map, not one value, so that a cycle writes only what it changed. In Kafka each entry is
//! a record of the compacted control topic; without a broker the lake's log stores the entries.

use std::collections::BTreeMap;

/// A table's durable progress: part -> JSON text. What the parts mean is the poller's own matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Progress(pub BTreeMap<String, String>);

/// The parts that a commit sets (`Some`) or removes (`None`).
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ProgressDelta(pub BTreeMap<String, Option<String>>);

impl Progress {
    /// The progress after a delta.
    pub fn apply(&mut self, delta: ProgressDelta) {
        for (part, value) in delta.0 {
            match value {
                Some(value) => self.0.insert(part, value),
                None => self.0.remove(&part),
            };
        }
    }
}

impl ProgressDelta {
    /// Adds a later delta: its parts win.
    pub fn merge(&mut self, later: Self) {
        self.0.extend(later.0);
    }
}
