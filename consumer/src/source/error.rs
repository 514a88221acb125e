//! Why the topic cannot be read, and what that means.

use inlet_kafka::{Code, Error, Marks, Meaning, meaning};
use inlet_model::{KafkaPartition, Offset};
use inlet_service::error::{Explain, Hint, Kind, Section};
use rdkafka::error::KafkaError;

const RECREATED: &str = "the topic was deleted and created again, or lost its end: let the \
    producer publish into a new topic (`kafka.topic`) under a new name (`pipeline`), which \
    publishes every row again, and the consumer write a new lake folder (`datalake.path`)";

/// Why the topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A call to Kafka failed.
    #[error(transparent)]
    Kafka(#[from] Error),
    /// No broker has answered since the start.
    #[error(transparent)]
    Unreached(Error),
    /// The topic does not hold any more, or not yet, what the lake waits for.
    #[error(
        "kafka_partition {} of topic `{topic}` has offsets {}..{}, the lake waits for offset {}",
        partition.0, marks.low.0, marks.end.0, next.0
    )]
    Missing {
        topic: String,
        partition: KafkaPartition,
        marks: Marks,
        /// What the lake waits for.
        next: Offset,
    },
    /// The topic has another record where the lake has read its last one.
    #[error(
        "kafka_partition {} of topic `{topic}` has another record before offset {} than the lake \
         has read there",
        partition.0, next.0
    )]
    Recreated {
        topic: String,
        partition: KafkaPartition,
        /// What the lake waits for.
        next: Offset,
    },
    /// Messages that cannot be read: skipping them would lose rows.
    #[error("messages of the topic cannot be read: {reason}")]
    Corrupt {
        /// librdkafka's message, with topic, kafka_partition and offset.
        reason: String,
        source: KafkaError,
    },
    /// Another member with the same `group.instance.id` joined the group.
    #[error("another consumer has replaced this one in the group")]
    Replaced { source: KafkaError },
    /// The thread ended without a reason.
    #[error("the thread that reads the topic has ended")]
    Ended,
}

impl Explain for SourceError {
    fn kind(&self) -> Kind {
        match self {
            Self::Kafka(error) | Self::Unreached(error) => error.kind(),
            Self::Missing { .. } | Self::Recreated { .. } | Self::Corrupt { .. } => Kind::Data,
            Self::Replaced { .. } => Kind::Fenced,
            Self::Ended => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::Kafka(error) | Self::Unreached(error) => {
                return error.hint().or_else(|| Some(Hint::key("kafka.brokers")));
            }
            Self::Missing { marks, next, .. } if *next > marks.end => {
                Hint::text(RECREATED).see(Section::TopicRecreated)
            }
            Self::Recreated { .. } => Hint::text(RECREATED).see(Section::TopicRecreated),
            Self::Missing { .. } => Hint::text(
                "rows have left the topic before they reached the lake: raise the topic's \
                 `retention.ms`, then let the producer publish into a new topic (`kafka.topic`) \
                 under a new name (`pipeline`), which publishes every row again, and the consumer \
                 write a new lake folder (`datalake.path`)",
            )
            .see(Section::RowsExpired),
            Self::Corrupt { .. } => Hint::text(
                "check the broker's disk and its log; another replica of the kafka_partition may \
                 still be intact",
            ),
            Self::Replaced { .. } => {
                Hint::text("give each consumer a `group.instance.id` of its own")
            }
            Self::Ended => return None,
        })
    }
}

/// What the reader does about an error of `poll`.
pub(super) enum Reaction {
    /// Continue: librdkafka recovers by itself.
    Continue,
    /// Wait: the topic does not exist yet.
    AwaitTopic,
    /// Find out which kafka_partition has lost its offset.
    FindOffset,
    /// End with this error.
    End(SourceError),
}

/// Classifies an error of `poll`. An error that is not known to pass ends the client: a new one
/// resumes from the lake's log, so nothing is skipped. `is_reading`: a kafka_partition is assigned.
pub(super) fn classify(error: KafkaError, reason: String, is_reading: bool) -> Reaction {
    // Errors without a code come from the binding itself; `Fail` falls into the last arm, which
    // starts a new client.
    let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
    let act = |what| format!("{what}: {reason}");
    let end = |error: Error| Reaction::End(error.into());
    match (meaning(code), &error) {
        // A replaced member must not rejoin by itself: the two processes would throw each other out
        // in turn.
        (Meaning::Replaced, _) => Reaction::End(SourceError::Replaced { source: error }),
        // librdkafka cannot be used after a fatal error, whatever its code means elsewhere.
        (_, KafkaError::MessageConsumptionFatal(_)) => {
            end(Error::failed(act("the consumer cannot continue"), error))
        }
        (Meaning::Transient, _) => Reaction::Continue,
        // Before the first message such bytes are the answer of another program at the broker's
        // address, which may be replaced by a broker.
        (Meaning::Corrupt | Meaning::TooLarge, _) if !is_reading => Reaction::Continue,
        (Meaning::MissingTopic, _) => Reaction::AwaitTopic,
        (Meaning::MissingOffset, _) => Reaction::FindOffset,
        (Meaning::Corrupt | Meaning::TooLarge, _) => Reaction::End(SourceError::Corrupt {
            reason,
            source: error,
        }),
        (Meaning::Denied, _) => end(Error::failed(act("the broker refuses the consumer"), error)),
        _ => end(Error::failed(
            act("the consumer has to be restarted"),
            error,
        )),
    }
}
