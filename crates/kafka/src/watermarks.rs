//! The offsets that a kafka_partition holds.

use std::time::{Duration, Instant};

use inlet_model::{KafkaPartition, Offset};
use inlet_service::retry::pause;

use crate::client::Consumer;
use crate::error::{Error, is_transient};
use rdkafka::consumer::Consumer as _;

/// The wait between two attempts, and the least time that one attempt has.
const ATTEMPT_TIME: Duration = Duration::from_millis(100);

/// The offsets that a kafka_partition holds at one moment, as a reader sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// The first offset that still exists.
    pub low: Offset,
    /// The end of what the reader may see.
    pub end: Offset,
}

/// Asks the leader of a kafka_partition for its offsets, and asks again until the deadline while
/// the error is transient.
pub fn watermarks(
    consumer: &Consumer,
    topic: &str,
    partition: KafkaPartition,
    deadline: Instant,
) -> Result<Marks, Error> {
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        // At least one attempt is made, also when the deadline has just passed.
        match consumer.fetch_watermarks(topic, partition.0, time_left.max(ATTEMPT_TIME)) {
            Ok((low, end)) => {
                return Ok(Marks {
                    low: Offset(low),
                    end: Offset(end),
                });
            }
            // The leader of a new topic does not know it for a moment.
            Err(error) if is_transient(&error) && Instant::now() < deadline => pause(ATTEMPT_TIME),
            Err(error) => {
                let act = format!("the offsets of topic `{topic}` were not read");
                return Err(Error::failed(act, error));
            }
        }
    }
}
