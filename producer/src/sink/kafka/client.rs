//! How every Kafka client of the sink is configured, and what it says on the side: delivery
//! failures, errors, log lines.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

use super::KafkaSinkSettings;
use super::fault;
use inlet_service::sink::SinkError;

/// Properties that exactly-once delivery rests on, and those that have a key of their own: refused
/// in `kafka.properties`.
const RESERVED: [&str; 14] = [
    "transactional.id",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "isolation.level",
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "delivery.report.only.error",
    "allow.auto.create.topics",
];

/// Our values where librdkafka's do not suit, under every name that librdkafka knows for them;
/// `kafka.properties` goes before.
///
/// A single row must not wait for company, so nothing lingers: while five requests are in flight
/// the next ones fill by themselves. What is queued is bounded to 32 MiB, and to a number of
/// messages, because each costs some 350 bytes beside its own.
const PRODUCER: [(&[&str], &str); 9] = [
    (&["compression.type", "compression.codec"], "lz4"),
    (&["linger.ms", "queue.buffering.max.ms"], "0"),
    (&["batch.num.messages"], "10000"),
    (&["queue.buffering.max.kbytes"], "32768"),
    (&["queue.buffering.max.messages"], "100000"),
    (&["message.max.bytes"], MESSAGE_BYTES_MAX),
    (&["transaction.timeout.ms"], "60000"),
    (&["message.timeout.ms", "delivery.timeout.ms"], "50000"),
    (
        &["max.in.flight.requests.per.connection", "max.in.flight"],
        "5",
    ),
];

/// A broker that comes back is found again within a second.
const CONNECTION: [(&[&str], &str); 4] = [
    (&["socket.timeout.ms"], "10000"),
    (&["socket.connection.setup.timeout.ms"], "5000"),
    (&["reconnect.backoff.ms"], "50"),
    (&["reconnect.backoff.max.ms"], "1000"),
];

/// The largest record; topics that the sink creates take as much.
pub(super) const MESSAGE_BYTES_MAX: &str = "16777216";

/// Refuses properties that the sink depends on.
pub(super) fn check_properties(settings: &KafkaSinkSettings) -> Result<(), SinkError> {
    match settings
        .properties
        .keys()
        .find(|key| RESERVED.contains(&key.as_str()))
    {
        None => Ok(()),
        Some(key) => Err(fault::config(
            format!("property `{key}` cannot be set, exactly-once delivery depends on it"),
            format!("remove `{key}` from the key `kafka.properties` of the configuration"),
        )),
    }
}

/// What an admin client needs: addresses, security, time-outs.
pub(super) fn connection(settings: &KafkaSinkSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (key, value) in &settings.properties {
        config.set(key, value);
    }
    config
        .set("bootstrap.servers", &settings.brokers)
        .set_log_level(RDKafkaLogLevel::Warning);
    set_unless_given(&mut config, settings, &CONNECTION);
    config
}

/// The transactional producer.
pub(super) fn producer(settings: &KafkaSinkSettings) -> ClientConfig {
    let mut config = connection(settings);
    set_unless_given(&mut config, settings, &PRODUCER);
    config
        .set("transactional.id", &settings.transactional_id)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("allow.auto.create.topics", "false")
        // Delivered messages are counted out by librdkafka's own threads: no report to poll for, no
        // callback a row.
        .set("delivery.report.only.error", "true");
    config
}

/// The reader of the control topic. It never joins its group; the binding wants a name for one.
pub(super) fn reader(settings: &KafkaSinkSettings) -> ClientConfig {
    let mut config = connection(settings);
    config
        .set("group.id", format!("{}-control", settings.transactional_id))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "10")
        .set("queued.max.messages.kbytes", "16384");
    config
}

fn set_unless_given(
    config: &mut ClientConfig,
    settings: &KafkaSinkSettings,
    values: &[(&[&str], &str)],
) {
    for (names, value) in values {
        if !names
            .iter()
            .any(|name| settings.properties.contains_key(*name))
        {
            config.set(names[0], *value);
        }
    }
}

/// Keeps what librdkafka reports beside the calls' own results.
#[derive(Default)]
pub struct Watch {
    failed: AtomicU64,
    first_failure: Mutex<Option<RDKafkaErrorCode>>,
    last_error: Mutex<Option<Reported>>,
}

/// An error that belongs to no call: a connection that broke, a certificate that was refused.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct Reported {
    /// librdkafka's code.
    pub code: RDKafkaErrorCode,
    /// Its own words.
    pub reason: String,
}

impl Watch {
    /// Messages that were not delivered, and why the first one was not.
    pub fn failures(&self) -> Option<(u64, RDKafkaErrorCode)> {
        let first = (*self
            .first_failure
            .lock()
            .expect("no thread panics while it holds the lock"))?;
        Some((self.failed.load(Ordering::Acquire), first))
    }

    /// The last error that was reported beside the calls.
    pub fn last_error(&self) -> Option<Reported> {
        self.last_error
            .lock()
            .expect("no thread panics while it holds the lock")
            .clone()
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            // Each client of the sink is told about the properties of the others.
            _ if facility == "CONFWARN" => tracing::debug!(facility, message, "librdkafka"),
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                tracing::warn!(facility, message, "librdkafka");
            }
            _ => tracing::debug!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka reports an error");
        if let Some(code) = error.rdkafka_error_code() {
            let mut last = self
                .last_error
                .lock()
                .expect("no thread panics while it holds the lock");
            // That all brokers are down only follows from the error before, which says why.
            if code != RDKafkaErrorCode::AllBrokersDown || last.is_none() {
                *last = Some(Reported {
                    code,
                    reason: reason.to_owned(),
                });
            }
        }
    }
}

impl ProducerContext for Watch {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed.fetch_add(1, Ordering::Release);
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
            self.first_failure
                .lock()
                .expect("no thread panics while it holds the lock")
                .get_or_insert(code);
        }
    }
}

impl ConsumerContext for Watch {}
