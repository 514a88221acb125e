//! What an error of Kafka means for the process, and what to do about it.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use inlet_service::error::{Hint, Kind};

use super::client::Watch;
use inlet_service::sink::SinkError;

/// A configuration that cannot work.
pub(super) fn config(act: impl Into<String>, hint: impl Into<String>) -> SinkError {
    SinkError {
        kind: Kind::Config,
        act: act.into(),
        hint: Some(Hint::text(hint)),
        source: None,
    }
}

/// A broken invariant of the sink or of its caller.
pub(super) fn bug(act: impl Into<String>) -> SinkError {
    SinkError {
        kind: Kind::Bug,
        act: act.into(),
        hint: None,
        source: None,
    }
}

/// The broker did not do something in time.
pub(super) fn late(act: impl Into<String>, watch: &Watch) -> SinkError {
    match watch.last_error() {
        Some(reported) => of_code(act, reported.code, reported),
        None => SinkError {
            kind: Kind::Unavailable,
            act: act.into(),
            hint: None,
            source: None,
        },
    }
}

/// A call that failed.
pub(super) fn failed(act: impl Into<String>, error: KafkaError) -> SinkError {
    match &error {
        // The value may be a secret: neither it nor the message that quotes it is shown.
        KafkaError::ClientConfig(_, _, key, _) => config(
            format!("property `{key}` is unknown, or its value is not valid for it"),
            format!("see `{key}` under the key `kafka.properties` of the configuration"),
        ),
        KafkaError::ClientCreation(_) | KafkaError::AdminOpCreation(_) => SinkError {
            kind: Kind::Config,
            act: act.into(),
            hint: Some(Hint::key("kafka.properties")),
            source: Some(Box::new(error)),
        },
        KafkaError::AdminOp(code) => of_code(act, *code, error.clone()),
        _ => match error.rdkafka_error_code() {
            Some(code) => of_code(act, code, error),
            None => SinkError {
                kind: Kind::Unavailable,
                act: act.into(),
                hint: None,
                source: Some(Box::new(error)),
            },
        },
    }
}

/// An error whose code is known.
pub(super) fn of_code(
    act: impl Into<String>,
    code: Code,
    source: impl std::error::Error + Send + Sync + 'static,
) -> SinkError {
    SinkError {
        kind: kind(code),
        act: act.into(),
        hint: hint(code),
        source: Some(Box::new(source)),
    }
}

fn kind(code: Code) -> Kind {
    match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => Kind::Fenced,
        // A handshake also breaks when the broker stops in the middle of it.
        Code::SSL => Kind::Unavailable,
        code if hint(code).is_some() => Kind::Config,
        _ => Kind::Unavailable,
    }
}

/// The remedy; waiting does not mend what has one.
fn hint(code: Code) -> Option<Hint> {
    let text = match code {
        Code::TopicAuthorizationFailed => {
            "grant DESCRIBE, READ and WRITE on the topics and on the control topic, and CREATE where they do not exist yet"
        }
        Code::ClusterAuthorizationFailed => {
            "grant CREATE on the topics (or create them), and IDEMPOTENT_WRITE on a cluster before Kafka 2.8"
        }
        Code::TransactionalIdAuthorizationFailed => {
            "grant DESCRIBE and WRITE on the transactional id `inlet-<pipeline>`"
        }
        Code::GroupAuthorizationFailed => "grant READ on the group of the control topic's reader",
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::SSL => {
            "see `security.protocol`, `sasl.*` and `ssl.*` under the key `kafka.properties` of the configuration"
        }
        Code::InvalidTopic => {
            "a topic's name has up to 249 letters, digits, dots, underscores and hyphens: see the key `kafka.topic`"
        }
        Code::InvalidPartitions => "see the key `kafka.partitions` of the configuration",
        Code::InvalidReplicationFactor => {
            "there are fewer brokers than copies: see the key `kafka.replication_factor` of the configuration"
        }
        Code::InvalidTransactionTimeout => {
            "the broker's `transaction.max.timeout.ms` is lower: set `transaction.timeout.ms` under `kafka.properties`"
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            "raise `max.message.bytes` of the topic, and `message.max.bytes` under the key `kafka.properties`"
        }
        Code::PolicyViolation | Code::InvalidConfig => {
            "the broker's policy refuses the topic's settings: create the topic by hand"
        }
        Code::UnsupportedVersion | Code::UnsupportedFeature => {
            "transactions need Kafka 0.11 or later"
        }
        _ => return None,
    };
    Some(Hint::text(text))
}
