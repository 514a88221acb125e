//! What every user of a transactional producer has to do around librdkafka.

use std::time::{Duration, Instant};

use inlet_service::retry::pause;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;

use crate::client::Producer;

const RETRY_INTERVAL: Duration = Duration::from_millis(1);
/// The count of messages in flight only bounds the waiting events from above, so one call takes a
/// part of them.
const EVENTS_MAX: i32 = 64;

/// Fences earlier owners of the transactional id and ends their transactions. Asks again until the
/// deadline while the broker prepares what it needs for that.
pub fn init_transactions(producer: &Producer, deadline: Instant) -> Result<(), KafkaError> {
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        let answer = producer.init_transactions(time_left.max(RETRY_INTERVAL));
        if answer.is_ok() {
            return answer;
        }
        take_events(producer);
        match answer {
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && Instant::now() < deadline =>
            {
                tracing::debug!(%error, "asking for the transactional id again");
                pause(RETRY_INTERVAL);
            }
            answer => return answer,
        }
    }
}

/// Delivers waiting reports (failures, errors, log lines) to the producer's context, without
/// waiting for others.
pub fn take_events(producer: &Producer) {
    // `poll` with a time spins for it, and delivers one event for each call.
    for _ in 0..producer.in_flight_count().min(EVENTS_MAX) {
        producer.poll(Duration::ZERO);
    }
}
