//! The broker: whether it answers, at an address that is reached from here, and takes transactions.

use std::time::{Duration, Instant};

use inlet_producer::sink::kafka::{Reported, Watch, answers, init_transactions};
use inlet_service::config::KafkaConfig;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer};

use super::finding::{Finding, Hop};
use super::kafka::{ANSWER_TIME_MAX, failed};

/// The first transaction of a broker makes its own topic first.
const TRANSACTION_TIME_MAX: Duration = Duration::from_secs(20);

/// True when the broker can be asked further.
pub fn check(kafka: &KafkaConfig, findings: &mut Vec<Finding>) -> bool {
    let producer: BaseProducer<Watch> =
        match connection(kafka).create_with_context(Watch::default()) {
            Ok(producer) => producer,
            Err(error) => {
                findings.push(unknown(&kafka.brokers, &error));
                return false;
            }
        };
    // The control topic alone: a cluster may have thousands of others.
    let metadata = match producer
        .client()
        .fetch_metadata(Some(&kafka.control_topic()), ANSWER_TIME_MAX)
    {
        Ok(metadata) => metadata,
        Err(error) => {
            // The words come as events of their own, which only a poll delivers, one at a time.
            for _ in 0..producer.in_flight_count() {
                producer.poll(Duration::ZERO);
            }
            findings.push(silent(kafka, &error, producer.context().last_error()));
            return false;
        }
    };
    let advertised: Vec<_> = metadata
        .brokers()
        .iter()
        .map(|broker| (broker.host().to_owned(), broker.port()))
        .collect();
    let reached = reachable(&kafka.brokers, &advertised, findings);
    if reached {
        findings.push(transactions(kafka));
    }
    reached
}

/// How every client of the checks reaches the broker.
pub fn connection(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in &kafka.properties {
        config.set(name, value);
    }
    config
        .set("bootstrap.servers", &kafka.brokers)
        .set("allow.auto.create.topics", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// The value of a property may be a secret: only its name is shown.
fn unknown(brokers: &str, error: &KafkaError) -> Finding {
    let KafkaError::ClientConfig(_, _, key, _) = error else {
        return failed(brokers, error);
    };
    let finding = Finding::error(
        Hop::Kafka,
        format!("kafka.properties.{key}"),
        "not a property of librdkafka, or not a value of it",
    );
    finding.fix(format!("fix or remove `{key}` under `kafka.properties`"))
}

fn silent(kafka: &KafkaConfig, error: &KafkaError, words: Option<Reported>) -> Finding {
    let (code, reason) = words.map_or_else(
        || (None, error.to_string()),
        |reported| (Some(reported.code), reported.reason),
    );
    // How long it took, and how often it was the same, tells nothing.
    let reason = reason.split(" (after ").next().unwrap_or(&reason);
    let finding = Finding::error(
        Hop::Kafka,
        &kafka.brokers,
        format!("does not answer: {reason}"),
    );
    let secured = kafka.properties.contains_key("security.protocol");
    match code {
        Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism | Code::SSL) => {
            finding.fix("see `security.protocol`, `sasl.*` and `ssl.*` under `kafka.properties`")
        }
        _ if secured => finding.fix("start the broker, or see `kafka.brokers`, and `security.protocol` under `kafka.properties`"),
        _ => finding
            .fix("start the broker, or see `kafka.brokers`; a broker with TLS or SASL needs `security.protocol` under `kafka.properties`"),
    }
}

/// A broker hands out the addresses at which it wants to be reached.
fn reachable(brokers: &str, advertised: &[(String, i32)], findings: &mut Vec<Finding>) -> bool {
    let (reached, missed): (Vec<_>, Vec<_>) = advertised
        .iter()
        .partition(|(host, port)| answers(host, *port));
    let names = |of: &[&(String, i32)]| {
        of.iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let fix = "set `advertised.listeners` of the broker to an address that this machine reaches";
    if reached.is_empty() {
        let evidence = format!(
            "answers, but advertises itself as {}, which is not reached from here",
            names(&missed)
        );
        findings.push(
            Finding::error(Hop::Kafka, brokers, evidence)
                .effect("every call behind the first goes to that address")
                .fix(fix),
        );
        return false;
    }
    if !missed.is_empty() {
        let finding = Finding::warning(
            Hop::Kafka,
            brokers,
            format!("brokers that are not reached from here: {}", names(&missed)),
        );
        findings.push(
            finding
                .effect("partitions that they lead cannot be written or read")
                .fix(fix),
        );
    }
    findings.push(Finding::ok(
        Hop::Kafka,
        brokers,
        format!("answers; advertised and reached: {}", names(&reached)),
    ));
    true
}

/// Takes a transactional id of our own, below the pipeline's so that its rights cover it, and sends
/// nothing.
fn transactions(kafka: &KafkaConfig) -> Finding {
    let id = format!("{}-check-{}", kafka.transactional_id(), std::process::id());
    let mut config = connection(kafka);
    config.set("transactional.id", &id);
    let producer: BaseProducer<Watch> = match config.create_with_context(Watch::default()) {
        Ok(producer) => producer,
        Err(error) => return unknown(&kafka.brokers, &error),
    };
    let object = format!("transactional id {}", kafka.transactional_id());
    let Err(error) = init_transactions(&producer, Instant::now() + TRANSACTION_TIME_MAX) else {
        return Finding::ok(
            Hop::Kafka,
            object,
            format!("transactions work, tried as {id}"),
        );
    };
    let finding = Finding::error(
        Hop::Kafka,
        object,
        format!("no transaction as {id}: {error}"),
    );
    match error.rdkafka_error_code() {
        Some(Code::TransactionalIdAuthorizationFailed) => finding.fix(format!(
            "kafka-acls.sh --add --operation Describe --operation Write --transactional-id {} --resource-pattern-type prefixed",
            kafka.transactional_id()
        )),
        Some(Code::UnsupportedVersion | Code::UnsupportedFeature) => finding.fix("transactions need Kafka 0.11 or later"),
        Some(Code::InvalidTransactionTimeout) => {
            finding.fix("the broker's `transaction.max.timeout.ms` is lower: set `transaction.timeout.ms` under `kafka.properties`")
        }
        _ => finding.fix("look at the broker's log: its topic `__transaction_state` needs enough brokers for its replicas"),
    }
}
