//! The sequences of a topic, stored as the part [`PART`] of the table's progress: a JSON object
//! with the next sequence of every kafka_partition, `{"0":5,"1":0}`. Beside it is the part
//! [`TOPIC_PART`]: the name of this topic, as it is.

use std::collections::BTreeMap;

use crate::Progress;

/// The part of a table's progress that belongs to the sink.
pub const PART: &str = "sequences";
/// The part of a table's progress with the topic that has its rows; 0.1.0 stored none.
pub const TOPIC_PART: &str = "topic";

/// The topic that the rows of a table were published into, where it is another one than `topic`.
pub fn former_topic<'a>(progress: &'a Progress, topic: &str) -> Option<&'a str> {
    let stored = progress.0.get(TOPIC_PART)?;
    (stored != topic).then_some(stored)
}

/// The next sequence of each kafka_partition, from the first to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequences(pub Vec<u64>);

impl Sequences {
    /// Encodes the sequences as the text that the control topic stores.
    pub fn encode(&self) -> String {
        let next: BTreeMap<usize, u64> = self.0.iter().copied().enumerate().collect();
        serde_json::to_string(&next).expect("a map of numbers is JSON")
    }

    /// Reads the stored text; `None` when it is damaged.
    pub fn decode(text: &str) -> Option<Self> {
        let stored: BTreeMap<usize, u64> = serde_json::from_str(text).ok()?;
        // A map with a gap is damaged: without one number the order of that kafka_partition is
        // unknown.
        let is_whole = stored.keys().copied().eq(0..stored.len());
        is_whole.then(|| Self(stored.into_values().collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sequences_read_back(next: Vec<u64>) {
            let sequences = Sequences(next);
            prop_assert_eq!(Sequences::decode(&sequences.encode()), Some(sequences));
        }
    }

    #[test]
    fn the_stored_format_stays_as_it_is() {
        assert_eq!(Sequences(vec![5, 0, 7]).encode(), r#"{"0":5,"1":0,"2":7}"#);
        assert_eq!(
            Sequences::decode(r#"{"0":5,"2":7}"#),
            None,
            "a kafka_partition is missing"
        );
        assert_eq!(Sequences::decode("[5]"), None);
    }
}
