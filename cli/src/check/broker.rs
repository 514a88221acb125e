//! The broker: whether it answers, at an address that is reachable from here, and accepts
//! transactions.

use std::time::{Duration, Instant};

use inlet_kafka::{
    Code, Connection, Error, Isolation, Meaning, Reported, Right, advertised, init_transactions,
    is_reachable, meaning,
};
use inlet_service::config::KafkaConfig;
use inlet_service::error::Explain;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;

use super::finding::{Finding, Hop};

/// A running broker answers sooner.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// The first transaction of a broker waits until the broker has created its own topic.
const TRANSACTION_TIME_MAX: Duration = Duration::from_secs(20);

/// Returns true when the broker can be asked further.
pub fn check(kafka: &KafkaConfig, findings: &mut Vec<Finding>) -> bool {
    // Below the pipeline's id, so that the same rights cover it.
    let id = format!("{}-check-{}", kafka.transactional_id(), std::process::id());
    let connection = Connection::from(kafka);
    // The same clients that the services start with: what they refuse is found here.
    let clients = connection.producer(&id).and_then(|producer| {
        connection.reader(Isolation::Committed)?;
        connection.member(&kafka.group, None)?;
        Ok(producer)
    });
    let producer = match clients {
        Ok(producer) => producer,
        Err(error) => {
            findings.push(refused(&connection, &error));
            return false;
        }
    };
    let addresses = match advertised(&producer, &kafka.control_topic(), ANSWER_TIME_MAX) {
        Ok(addresses) => addresses,
        Err(error) => {
            findings.push(silent(kafka, &error, producer.context().last_error()));
            return false;
        }
    };
    // The advertised addresses are tried before the transaction, which would only time out if none
    // of them answers.
    let reached = reachable(&kafka.brokers, &addresses, findings);
    if reached {
        let answer = init_transactions(&producer, Instant::now() + TRANSACTION_TIME_MAX);
        findings.push(transactions(kafka, &id, answer));
    }
    reached
}

/// A call that failed.
pub fn failed(object: &str, error: &Error) -> Finding {
    let finding = Finding::of(Hop::Kafka, object, error);
    match error.hint() {
        Some(_) => finding,
        None => finding.fix("see the keys `kafka.brokers` and `kafka.properties`"),
    }
}

/// The command that gives our user a right.
pub fn grant(kafka: &KafkaConfig, right: Right<'_>) -> String {
    let user = kafka.properties.get("sasl.username");
    right.command(&kafka.brokers, user.unwrap_or("ANONYMOUS"))
}

/// A property that librdkafka refuses. Its value may be a secret, so only its name is shown.
fn refused(connection: &Connection, error: &Error) -> Finding {
    match error.property() {
        None => failed(connection.brokers(), error),
        Some(name) => Finding::error(
            Hop::Kafka,
            format!("kafka.properties.{name}"),
            "not a property of librdkafka, or not a value of it",
        )
        .fix(format!("fix or remove `{name}` under `kafka.properties`")),
    }
}

fn silent(kafka: &KafkaConfig, error: &KafkaError, reported: Option<Reported>) -> Finding {
    let (code, reason) = reported.map_or_else(
        || (None, error.to_string()),
        |reported| (Some(reported.code), reported.reason),
    );
    // The rest tells how long an attempt took, and how often it failed.
    let reason = reason.split(" (after ").next().unwrap_or(&reason);
    let evidence = format!("does not answer: {reason}");
    let finding = Finding::error(Hop::Kafka, &kafka.brokers, evidence);
    let secured = kafka.properties.get("security.protocol").is_some();
    match code.map(meaning) {
        Some(Meaning::Denied | Meaning::Handshake) => {
            finding.fix("see `security.protocol`, `sasl.*` and `ssl.*` under `kafka.properties`")
        }
        _ if secured => finding.fix(
            "start the broker, or see `kafka.brokers`, and `security.protocol` under \
             `kafka.properties`",
        ),
        _ => finding.fix(
            "start the broker, or see `kafka.brokers`; a broker with TLS or SASL needs \
             `security.protocol` under `kafka.properties`",
        ),
    }
}

/// A broker returns the addresses at which it wants to be reached.
fn reachable(brokers: &str, advertised: &[(String, i32)], findings: &mut Vec<Finding>) -> bool {
    let (reached, missed): (Vec<_>, Vec<_>) = advertised
        .iter()
        .partition(|(host, port)| is_reachable(host, *port));
    let names = |of: &[&(String, i32)]| {
        of.iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let fix = "set `advertised.listeners` of the broker to an address that this machine reaches";
    if reached.is_empty() {
        let evidence = format!(
            "answers, but advertises itself as {}, which cannot be reached from here",
            names(&missed)
        );
        findings.push(
            Finding::error(Hop::Kafka, brokers, evidence)
                .effect("every call after the first goes to that address")
                .fix(fix),
        );
        return false;
    }
    if !missed.is_empty() {
        let evidence = format!(
            "brokers that cannot be reached from here: {}",
            names(&missed)
        );
        findings.push(
            Finding::warning(Hop::Kafka, brokers, evidence)
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

/// The check sends no record, and the broker forgets its transactional id by itself.
fn transactions(kafka: &KafkaConfig, id: &str, answer: Result<(), KafkaError>) -> Finding {
    let pipeline = kafka.transactional_id();
    let object = format!("transactional id {pipeline}");
    let Err(error) = answer else {
        let evidence = format!("transactions work, tried as {id}");
        return Finding::ok(Hop::Kafka, object, evidence);
    };
    if error.rdkafka_error_code() == Some(Code::TransactionalIdAuthorizationFailed) {
        let evidence = format!("no transaction as {id}: {error}");
        return Finding::error(Hop::Kafka, object, evidence)
            .fix(grant(kafka, Right::UseTransactionalIds(&pipeline)));
    }
    let error = Error::failed(format!("no transaction as {id}"), error);
    let finding = Finding::of(Hop::Kafka, object, &error);
    match error.hint() {
        Some(_) => finding,
        None => finding.fix(
            "look at the broker's log: its topic `__transaction_state` needs enough brokers for \
             its replicas",
        ),
    }
}
