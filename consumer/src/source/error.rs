//! Why the topic cannot be read, and what that means.

use inlet_model::{KafkaPartition, Offset};
use inlet_service::error::{Explain, Hint, Kind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::start::Marks;

/// Why the topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A property that exactly-once delivery depends on.
    #[error("property `{property}` cannot be set, exactly-once delivery depends on it")]
    Reserved {
        /// The property.
        property: String,
    },
    /// librdkafka refuses the configuration.
    #[error("the consumer was not created")]
    Settings {
        /// Why.
        source: KafkaError,
    },
    /// The broker does not let us in.
    #[error("the broker refuses the consumer: {reason}")]
    Denied {
        /// Its words.
        reason: String,
        /// The error.
        source: KafkaError,
    },
    /// The broker does not answer, or the client has to be created anew.
    #[error("{act}")]
    Unavailable {
        /// What did not succeed.
        act: String,
        /// Why.
        source: KafkaError,
    },
    /// The broker does not answer in time.
    #[error("{act} took too long")]
    Late {
        /// What did.
        act: String,
    },
    /// The topic does not hold any more, or not yet, what the lake waits for.
    #[error(
        "kafka_partition {} of topic `{topic}` has offsets {}..{}, the lake waits for offset {}",
        partition.0, marks.low.0, marks.end.0, next.0
    )]
    Gone {
        /// The topic.
        topic: String,
        /// Its kafka_partition.
        partition: KafkaPartition,
        /// What it has.
        marks: Marks,
        /// What the lake waits for.
        next: Offset,
    },
    /// Messages that cannot be read: skipping them would lose rows.
    #[error("messages of the topic cannot be read: {reason}")]
    Corrupt {
        /// librdkafka's words, with topic, kafka_partition and offset.
        reason: String,
        /// The error.
        source: KafkaError,
    },
    /// Another member with the same `group.instance.id` took our place.
    #[error("another consumer has taken this one's place in the group")]
    Replaced {
        /// The error.
        source: KafkaError,
    },
    /// The thread ended without a reason.
    #[error("the thread that reads the topic has ended")]
    Ended,
}

impl Explain for SourceError {
    fn kind(&self) -> Kind {
        match self {
            Self::Reserved { .. } | Self::Settings { .. } | Self::Denied { .. } => Kind::Config,
            Self::Unavailable { .. } | Self::Late { .. } => Kind::Unavailable,
            Self::Gone { .. } | Self::Corrupt { .. } => Kind::Data,
            Self::Replaced { .. } => Kind::Fenced,
            Self::Ended => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<Hint> {
        Some(match self {
            Self::Reserved { property } => Hint::text(format!(
                "remove `{property}` from the key `kafka.properties` of the configuration"
            )),
            Self::Settings { .. } => Hint::key("kafka.properties"),
            Self::Denied { .. } => Hint::text(
                "the consumer needs READ and DESCRIBE on its topics and on the control topic, and READ on its group; \
                 credentials come from the key `kafka.properties` of the configuration",
            ),
            Self::Unavailable { .. } | Self::Late { .. } => Hint::key("kafka.brokers"),
            Self::Gone { marks, next, .. } if *next > marks.end => Hint::text(
                "the topic was deleted and created again, or lost its end: let the producer publish into a new topic (`kafka.topic`) and the consumer \
                 write a new lake folder (`datalake.path`)",
            ),
            Self::Gone { .. } => Hint::text(
                "rows have left the topic before they reached the lake: raise the topic's `retention.ms`, then let the producer load the table \
                 again into a new topic (`kafka.topic`) and the consumer write a new lake folder (`datalake.path`)",
            ),
            Self::Corrupt { .. } => Hint::text(
                "check the broker's disk and its log; another replica of the kafka_partition may still be whole",
            ),
            Self::Replaced { .. } => {
                Hint::text("give each consumer a `group.instance.id` of its own")
            }
            Self::Ended => return None,
        })
    }
}

/// What an error that polling brings means for the reader.
pub(super) enum Verdict {
    /// librdkafka goes on by itself.
    Passing,
    /// The topic does not exist yet.
    NoTopic,
    /// An offset does not exist; its kafka_partition has to be found.
    OutOfRange,
    /// Reading ends here.
    Fatal(SourceError),
}

/// Judges an error of `poll`. What is not known to pass ends the client: a new one goes on from the
/// lake's log, and nothing is skipped.
pub(super) fn judge(error: KafkaError, reason: String) -> Verdict {
    let code = match &error {
        KafkaError::MessageConsumption(code)
        | KafkaError::MessageConsumptionFatal(code)
        | KafkaError::Global(code) => *code,
        _ => Code::Fail,
    };
    if code == Code::FencedInstanceId {
        return Verdict::Fatal(SourceError::Replaced { source: error });
    }
    if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
        return Verdict::Fatal(SourceError::Unavailable {
            act: format!("the consumer cannot go on: {reason}"),
            source: error,
        });
    }
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::BrokerNotAvailable
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::CoordinatorLoadInProgress
        | Code::CoordinatorNotAvailable
        | Code::NotCoordinator
        | Code::NetworkException
        | Code::RebalanceInProgress
        | Code::UnknownMemberId
        | Code::IllegalGeneration
        | Code::PollExceeded => Verdict::Passing,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            Verdict::NoTopic
        }
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => Verdict::OutOfRange,
        Code::BadMessage
        | Code::BadCompression
        | Code::NotImplemented
        | Code::InvalidMessage
        | Code::MessageSizeTooLarge => Verdict::Fatal(SourceError::Corrupt {
            reason,
            source: error,
        }),
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::SSL => Verdict::Fatal(SourceError::Denied {
            reason,
            source: error,
        }),
        _ => Verdict::Fatal(SourceError::Unavailable {
            act: format!("reading has to begin anew: {reason}"),
            source: error,
        }),
    }
}
