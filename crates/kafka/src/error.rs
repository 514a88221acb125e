//! Why a call to Kafka failed, what that means for the process, and what to do about it.
//!
//! [`meaning`] is the one table of error codes. Retry, exit code and hint follow from it.

use std::error::Error as StdError;

use inlet_service::error::{Explain, Hint, Kind, Section};
use inlet_service::sink::SinkError;
use rdkafka::error::KafkaError;

use crate::context::Context;
use crate::rights;

/// An error code of the protocol or of librdkafka.
pub use rdkafka::error::RDKafkaErrorCode as Code;

/// A call to Kafka that failed.
#[derive(Debug, thiserror::Error)]
#[error("{act}")]
pub struct Error {
    kind: Kind,
    act: String,
    hint: Option<Hint>,
    code: Option<Code>,
    property: Option<String>,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What an error code means, whatever the call was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It passes by itself: librdkafka or the next attempt continues.
    Transient,
    /// The topic or one of its partitions does not exist (yet).
    MissingTopic,
    /// The partition has no such offset.
    MissingOffset,
    /// Bytes that do not decode or fail their checksum.
    Corrupt,
    /// A message that is larger than a topic or a client accepts.
    TooLarge,
    /// The broker ended the session of a transactional producer.
    Fenced,
    /// Another member of the group joined with the same `group.instance.id`.
    Replaced,
    /// Credentials or rights are missing.
    Denied,
    /// TLS failed: wrong certificates, or a broker that stopped during the handshake.
    Handshake,
    /// The broker refuses a name or a setting.
    Refused,
    /// A code that this table does not list; it is retried.
    Unknown,
}

/// What a code means. The only table of it.
pub fn meaning(code: Code) -> Meaning {
    match code {
        code if is_retriable(code) => Meaning::Transient,
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownTopicId
        | Code::UnknownPartition => Meaning::MissingTopic,
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => {
            Meaning::MissingOffset
        }
        Code::BadMessage | Code::BadCompression | Code::NotImplemented | Code::InvalidMessage => {
            Meaning::Corrupt
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            Meaning::TooLarge
        }
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Meaning::Fenced,
        Code::FencedInstanceId => Meaning::Replaced,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::UnsupportedSASLMechanism => Meaning::Denied,
        Code::SSL => Meaning::Handshake,
        Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidTransactionTimeout
        | Code::PolicyViolation
        | Code::InvalidConfig
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature => Meaning::Refused,
        _ => Meaning::Unknown,
    }
}

/// Whether an error passes by itself. Part of the table of [`meaning`].
fn is_retriable(code: Code) -> bool {
    matches!(
        code,
        // librdkafka's own.
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::BrokerDestroy
            | Code::DestroyBroker
            | Code::Resolve
            | Code::NodeUpdate
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::MessageTimedOut
            | Code::WaitingForCoordinator
            | Code::WaitCache
            | Code::Retry
            | Code::PollExceeded
            // Those that the protocol calls retriable, and a member's that has to join again.
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::RequestTimedOut
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::StaleControllerEpoch
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::RebalanceInProgress
            | Code::NotController
            | Code::ConcurrentTransactions
            | Code::KafkaStorageError
            | Code::FetchSessionIdNotFound
            | Code::InvalidFetchSessionEpoch
            | Code::ListenerNotFound
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::StaleBrokerEpoch
            | Code::OffsetNotAvailable
            | Code::PreferredLeaderNotAvailable
            | Code::EligibleLeadersNotAvailable
            | Code::UnstableOffsetCommit
            | Code::ThrottlingQuotaExceeded
            | Code::RebootstrapRequired
    )
}

impl Meaning {
    fn kind(self) -> Kind {
        match self {
            Self::Denied | Self::Refused | Self::TooLarge => Kind::Config,
            Self::Fenced | Self::Replaced => Kind::Fenced,
            // A handshake also breaks when the broker stops in the middle of it, so it is retried.
            Self::Handshake
            | Self::Transient
            | Self::MissingTopic
            | Self::MissingOffset
            | Self::Corrupt
            | Self::Unknown => Kind::Unavailable,
        }
    }
}

impl Error {
    /// A configuration that cannot work.
    pub fn config(act: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(Hint::text(hint)),
            ..Self::of(Kind::Config, act)
        }
    }

    /// A call that ran out of time. What librdkafka reported meanwhile is the reason.
    pub fn late(act: impl Into<String>, context: &Context) -> Self {
        match context.last_error() {
            // A call that only timed out carries no reason; the last error of the client mostly
            // does.
            Some(reported) => Self::of_code(act, reported.code, reported),
            None => Self::of(Kind::Unavailable, act),
        }
    }

    /// A call that librdkafka refused or the broker answered with an error.
    pub fn failed(act: impl Into<String>, error: KafkaError) -> Self {
        match &error {
            // The value may be a secret: neither it nor the text that quotes it is shown.
            KafkaError::ClientConfig(_, _, name, _) => Self {
                property: Some(name.clone()),
                ..Self::config(
                    format!("property `{name}` is unknown, or its value is not valid for it"),
                    format!("see `{name}` under the key `kafka.properties` of the configuration"),
                )
            },
            KafkaError::ClientCreation(_) | KafkaError::AdminOpCreation(_) => Self {
                hint: Some(Hint::key("kafka.properties")),
                source: Some(Box::new(error)),
                ..Self::of(Kind::Config, act)
            },
            KafkaError::AdminOp(code) => Self::of_code(act, *code, error),
            _ => match error.rdkafka_error_code() {
                Some(code) => Self::of_code(act, code, error),
                None => Self {
                    source: Some(Box::new(error)),
                    ..Self::of(Kind::Unavailable, act)
                },
            },
        }
    }

    /// An error whose code is known; `source` has the text.
    pub fn of_code(
        act: impl Into<String>,
        code: Code,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self {
            hint: hint(code),
            code: Some(code),
            source: Some(Box::new(source)),
            ..Self::of(meaning(code).kind(), act)
        }
    }

    /// The same error with a hint, unless it has one.
    #[must_use]
    pub fn or_hint(mut self, hint: impl FnOnce() -> Hint) -> Self {
        self.hint.get_or_insert_with(hint);
        self
    }

    /// The code, where the error has one.
    pub fn code(&self) -> Option<Code> {
        self.code
    }

    /// The property that librdkafka refused.
    pub fn property(&self) -> Option<&str> {
        self.property.as_deref()
    }

    /// What failed, without the cause.
    pub fn act(&self) -> &str {
        &self.act
    }

    fn of(kind: Kind, act: impl Into<String>) -> Self {
        Self {
            kind,
            act: act.into(),
            hint: None,
            code: None,
            property: None,
            source: None,
        }
    }
}

impl Explain for Error {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn hint(&self) -> Option<Hint> {
        self.hint.clone()
    }
}

impl From<Error> for SinkError {
    fn from(error: Error) -> Self {
        Self {
            kind: error.kind,
            act: error.act,
            hint: error.hint,
            table: None,
            source: error.source,
        }
    }
}

/// What to do about a code that waiting does not fix.
fn hint(code: Code) -> Option<Hint> {
    let text = match code {
        Code::InvalidTopic => {
            "a topic's name has up to 249 letters, digits, dots, underscores and hyphens: see the \
             key `kafka.topic`"
        }
        Code::InvalidPartitions => "see the key `kafka.partitions` of the configuration",
        Code::InvalidReplicationFactor => {
            "there are fewer brokers than replicas: see the key `kafka.replication_factor` of the \
             configuration"
        }
        Code::InvalidTransactionTimeout => {
            "the broker's `transaction.max.timeout.ms` is lower: set `transaction.timeout.ms` \
             under `kafka.properties`"
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            "raise `max.message.bytes` of the topic, and `message.max.bytes` under the key \
             `kafka.properties`"
        }
        // Bytes of another protocol are read as the size of a response, which is then far too
        // large.
        Code::BadMessage => {
            "what answers at `kafka.brokers` is no broker, or one that expects TLS: see the key \
             `kafka.brokers`, and `security.protocol` under the key `kafka.properties`"
        }
        Code::PolicyViolation | Code::InvalidConfig => {
            "the broker's policy refuses the topic's settings: create the topic by hand"
        }
        Code::UnsupportedVersion | Code::UnsupportedFeature => {
            "transactions need Kafka 0.11 or later"
        }
        _ => return rights::missing(code),
    };
    let hint = Hint::text(text);
    Some(match code {
        Code::BadMessage => hint.see(Section::KafkaForeign),
        _ => hint,
    })
}

/// Whether an error of a reader passes by itself.
pub(crate) fn is_transient(error: &KafkaError) -> bool {
    let fatal = matches!(error, KafkaError::MessageConsumptionFatal(_));
    // A reader never joins its group, so the rights on it do not matter.
    let passes =
        |code| meaning(code) == Meaning::Transient || code == Code::GroupAuthorizationFailed;
    !fatal && error.rdkafka_error_code().is_some_and(passes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_waiting_does_not_fix_has_a_hint() {
        let codes = [
            Code::TopicAuthorizationFailed,
            Code::GroupAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::TransactionalIdAuthorizationFailed,
            Code::Authentication,
            Code::UnsupportedSASLMechanism,
            Code::InvalidTopic,
            Code::InvalidReplicationFactor,
            Code::MessageSizeTooLarge,
            Code::PolicyViolation,
            Code::UnsupportedVersion,
        ];
        for code in codes {
            let error = Error::of_code("a call", code, code);
            assert_eq!(error.kind(), Kind::Config, "{code}");
            assert!(error.hint().is_some(), "{code}");
        }
    }

    #[test]
    fn what_the_protocol_calls_retriable_passes() {
        // Every error of Kafka's Java client that extends RetriableException and has a code.
        let retriable = [
            Code::LeaderNotAvailable,
            Code::NotLeaderForPartition,
            Code::RequestTimedOut,
            Code::ReplicaNotAvailable,
            Code::NetworkException,
            Code::CoordinatorLoadInProgress,
            Code::CoordinatorNotAvailable,
            Code::NotCoordinator,
            Code::NotEnoughReplicas,
            Code::NotEnoughReplicasAfterAppend,
            Code::NotController,
            Code::ConcurrentTransactions,
            Code::KafkaStorageError,
            Code::FetchSessionIdNotFound,
            Code::InvalidFetchSessionEpoch,
            Code::ListenerNotFound,
            Code::FencedLeaderEpoch,
            Code::UnknownLeaderEpoch,
            Code::OffsetNotAvailable,
            Code::PreferredLeaderNotAvailable,
            Code::EligibleLeadersNotAvailable,
            Code::UnstableOffsetCommit,
            Code::ThrottlingQuotaExceeded,
        ];
        for code in retriable {
            assert_eq!(meaning(code), Meaning::Transient, "{code}");
        }
        assert_eq!(meaning(Code::UnknownTopicId), Meaning::MissingTopic);
    }

    #[test]
    fn a_broken_handshake_is_retried_and_still_has_a_hint() {
        let error = Error::of_code("a call", Code::SSL, Code::SSL);
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.hint().unwrap().to_string().contains("ssl.*"));
    }

    #[test]
    fn a_refused_property_is_named_without_its_value() {
        let mut config = rdkafka::ClientConfig::new();
        config.set("sasl.pasword", "hunter2");
        let error: Result<rdkafka::consumer::BaseConsumer<Context>, _> =
            config.create_with_context(Context::default());
        let error = Error::failed("creation", error.err().unwrap());
        let shown = format!("{error:?} {error}");
        assert!(
            shown.contains("sasl.pasword") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
