//! Whether a topic exists, and how many kafka_partitions it has.

use std::time::{Duration, Instant};

use inlet_service::retry::pause;
use rdkafka::client::Client;
use rdkafka::error::IsError;

use crate::context::Context;
use crate::error::{Code, Error, Meaning, meaning};

/// The wait between two questions about something that the broker is about to do.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// A topic that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// How many kafka_partitions it has.
    pub partitions: i32,
    /// Whether each of them has a leader, so that it can be read and written.
    pub is_led: bool,
}

/// Asks the broker for a topic; `None` when it does not exist.
pub fn find_topic(
    client: &Client<Context>,
    topic: &str,
    deadline: Instant,
) -> Result<Option<Topic>, Error> {
    let act = || format!("topic `{topic}` was not looked up");
    // With zero librdkafka would not even wait for an answer that has arrived already.
    let time_left = deadline.saturating_duration_since(Instant::now());
    let metadata = client
        .fetch_metadata(Some(topic), time_left.max(Duration::from_millis(1)))
        .map_err(|error| Error::failed(act(), error))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(None);
    };
    let error = found.error().filter(IsError::is_error).map(Code::from);
    match error {
        Some(code) if meaning(code) == Meaning::MissingTopic => return Ok(None),
        // The topic exists; the leaders are still being elected.
        None | Some(Code::LeaderNotAvailable) => {}
        Some(code) => return Err(Error::of_code(act(), code, code)),
    }
    let partitions = found.partitions();
    let is_led = error.is_none() && partitions.iter().all(|partition| partition.leader() >= 0);
    let count = i32::try_from(partitions.len()).expect("Kafka counts partitions in 32 bits");
    match (count, error) {
        // The metadata of a topic that is being deleted has no partition.
        (0, None) => Ok(None),
        (partitions, _) => Ok(Some(Topic {
            partitions,
            is_led: is_led && partitions > 0,
        })),
    }
}

/// Waits until every kafka_partition of a topic has a leader; returns how many there are.
pub fn await_leaders(
    client: &Client<Context>,
    topic: &str,
    deadline: Instant,
) -> Result<i32, Error> {
    loop {
        // An error here is an answer of a broker that does not know the new topic yet.
        if let Ok(Some(found)) = find_topic(client, topic, deadline)
            && found.is_led
        {
            return Ok(found.partitions);
        }
        if Instant::now() >= deadline {
            return Err(Error::late(
                format!("topic `{topic}` has no leader"),
                client.context(),
            ));
        }
        pause(ASK_INTERVAL);
    }
}
