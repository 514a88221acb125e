//! How every client is configured: the user's properties, our defaults where librdkafka's do not
//! suit, and the values that exactly-once delivery depends on.

use inlet_service::config::{KafkaConfig, Properties};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::BaseProducer;

use crate::closing::{Client, Close};
use crate::context::Context;
use crate::error::Error;

/// A producer whose reports arrive in its [`Context`].
pub type Producer = Client<BaseProducer<Context>>;
/// A consumer whose reports and rebalances arrive in its [`Context`].
pub type Consumer = Client<BaseConsumer<Context>>;

/// The property that names a member of a group for longer than its process lives.
pub const GROUP_INSTANCE: &str = "group.instance.id";

/// The property that tells how long a broker may wait for records before it answers a fetch.
const FETCH_WAIT: &str = "fetch.wait.max.ms";

/// The largest record in bytes; topics that Inlet creates accept this much.
pub const MESSAGE_BYTES_MAX: u64 = 16_777_216;

/// The group of readers that never join one: librdkafka's binding needs a name.
const READER_GROUP: &str = "inlet-reader";

/// Bytes of the records that wait in a producer.
const QUEUE_KBYTES: u64 = 32_768;
/// Bytes that a consumer asks for at once.
const FETCH_BYTES: u64 = 8_388_608;
/// Bytes of the largest response: a response is larger than the records in it.
const RESPONSE_BYTES: u64 = 67_108_864;
/// librdkafka wants this much room in a response beside the records.
const RESPONSE_FRAME_BYTES: u64 = 512;
/// The broker ends a transaction that was open for longer.
const TRANSACTION_TIMEOUT_MS: u64 = 60_000;
/// A record that was not delivered for this long fails its transaction.
const MESSAGE_TIMEOUT_MS: u64 = 50_000;
const SOCKET_TIMEOUT_MS: u64 = 10_000;
const RECONNECT_MS: u64 = 50;
const RECONNECT_MAX_MS: u64 = 1_000;

/// The records that a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Records of committed transactions.
    Committed,
    /// All records, also those of open and aborted transactions.
    Uncommitted,
}

/// The address of the brokers and the user's properties of librdkafka: how a client connects.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    brokers: String,
    properties: Properties,
}

impl Connection {
    /// A connection to `brokers` (`host:port`, several with commas).
    pub fn new(brokers: &str, properties: Properties) -> Self {
        Self {
            brokers: brokers.to_owned(),
            properties,
        }
    }

    /// The addresses of the brokers.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The user's value of a property.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name)
    }

    /// The transactional producer. It connects in the background.
    pub fn producer(&self, transactional_id: &str) -> Result<Producer, Error> {
        create("producer", &self.producer_config(transactional_id))
    }

    /// A producer of single records without a transaction. It connects in the background.
    pub fn writer(&self) -> Result<Producer, Error> {
        let mut config = self.admin_config();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("delivery.report.only.error", "true");
        create("writer", &config)
    }

    /// A reader that joins no group: its partitions are assigned by hand, and it reports the end of
    /// each.
    pub fn reader(&self, isolation: Isolation) -> Result<Consumer, Error> {
        create("reader", &self.reader_config(isolation))
    }

    /// A reader of committed records that stays open, and asks seldom while nothing arrives.
    pub(crate) fn follower(&self) -> Result<Consumer, Error> {
        let mut config = self.reader_config(Isolation::Committed);
        self.wait_at_the_end(&mut config, "500");
        create("follower", &config)
    }

    /// A member of `group`, with a lasting name where it has one.
    ///
    /// Rebalances are eager: each revokes all partitions. This is simple, and cheap because the
    /// lake's log tells where to resume.
    pub fn member(&self, group: &str, instance: Option<&str>) -> Result<Consumer, Error> {
        let mut config = self.reader_config(Isolation::Committed);
        if let Some(instance) = instance {
            config.set(GROUP_INSTANCE, instance);
        }
        config
            .set("group.id", group)
            .set("partition.assignment.strategy", "range")
            .set("enable.partition.eof", "false");
        self.wait_at_the_end(&mut config, "100");
        create("consumer", &config)
    }

    /// How long a fetch at the end of a topic waits; a record that arrives ends the wait. A reader
    /// wants to hear of the end soon; who stays open would ask a hundred times a second for
    /// nothing.
    fn wait_at_the_end(&self, config: &mut ClientConfig, milliseconds: &str) {
        let wait = self.property(FETCH_WAIT).unwrap_or(milliseconds);
        config.set(FETCH_WAIT, wait);
    }

    pub(crate) fn admin_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in self.properties.iter() {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", &self.brokers)
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        // A broker that returns is found again within a second.
        let backoff = self.number("reconnect.backoff.ms").unwrap_or(RECONNECT_MS);
        // librdkafka refuses a transaction timeout that is shorter than the socket's.
        let socket = SOCKET_TIMEOUT_MS.min(self.transaction_timeout_ms());
        self.set_default(&mut config, &["socket.timeout.ms"], socket);
        self.set_default(&mut config, &["socket.connection.setup.timeout.ms"], 5_000);
        self.set_default(&mut config, &["reconnect.backoff.ms"], RECONNECT_MS);
        let backoff_max = RECONNECT_MAX_MS.max(backoff);
        self.set_default(&mut config, &["reconnect.backoff.max.ms"], backoff_max);
        config
    }

    fn producer_config(&self, transactional_id: &str) -> ClientConfig {
        let mut config = self.admin_config();
        let message_kbytes = self.number("message.max.bytes").unwrap_or(0).div_ceil(1024);
        // A record that is larger than the queue would wait for room for ever.
        let queue_kbytes = match message_kbytes > QUEUE_KBYTES {
            true => message_kbytes + QUEUE_KBYTES,
            false => QUEUE_KBYTES,
        };
        // A message must fail before its transaction expires, or the broker would abort first and
        // the error would name the wrong cause.
        let message_timeout = MESSAGE_TIMEOUT_MS.min(self.transaction_timeout_ms());
        let defaults: [(&[&str], String); 9] = [
            (&["compression.type", "compression.codec"], "lz4".to_owned()),
            // A single row does not wait for others: while five requests are in flight, the next
            // ones fill by themselves.
            (&["linger.ms", "queue.buffering.max.ms"], "0".to_owned()),
            (
                &["max.in.flight.requests.per.connection", "max.in.flight"],
                "5".to_owned(),
            ),
            (&["batch.num.messages"], "10000".to_owned()),
            (&["queue.buffering.max.kbytes"], queue_kbytes.to_string()),
            // Each message costs some 350 bytes beside its own, so their number has a bound too.
            (&["queue.buffering.max.messages"], "100000".to_owned()),
            (&["message.max.bytes"], MESSAGE_BYTES_MAX.to_string()),
            (
                &["transaction.timeout.ms"],
                TRANSACTION_TIMEOUT_MS.to_string(),
            ),
            (
                &["message.timeout.ms", "delivery.timeout.ms"],
                message_timeout.to_string(),
            ),
        ];
        for (names, value) in defaults {
            self.set_default(&mut config, names, value);
        }
        config
            .set("transactional.id", transactional_id)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // librdkafka's own threads count the delivered messages: no report to poll for, no
            // callback for each row.
            .set("delivery.report.only.error", "true");
        config
    }

    fn reader_config(&self, isolation: Isolation) -> ClientConfig {
        let mut config = self.admin_config();
        let sizes = self.fetch_sizes();
        let defaults: [(&[&str], String); 12] = [
            // Without the checksums a damaged record would reach the lake.
            (&["check.crcs"], "true".to_owned()),
            (&["queued.min.messages"], "100000".to_owned()),
            // What waits in librdkafka is bounded to 16 MiB; a fetch that paused for it resumes at
            // once.
            (&["queued.max.messages.kbytes"], "16384".to_owned()),
            (&["fetch.queue.backoff.ms"], "2".to_owned()),
            (
                &["fetch.message.max.bytes", "max.partition.fetch.bytes"],
                "2097152".to_owned(),
            ),
            (&["fetch.max.bytes"], sizes.fetch.to_string()),
            (&["message.max.bytes"], sizes.message.to_string()),
            (&["receive.message.max.bytes"], sizes.response.to_string()),
            (&[FETCH_WAIT], "10".to_owned()),
            // A dead member is noticed after six seconds, the least that brokers allow by default.
            (&["session.timeout.ms"], "6000".to_owned()),
            (&["heartbeat.interval.ms"], "1000".to_owned()),
            // A new topic is found within a second.
            (&["topic.metadata.refresh.interval.ms"], "1000".to_owned()),
        ];
        for (names, value) in defaults {
            self.set_default(&mut config, names, value);
        }
        let isolation = match isolation {
            Isolation::Committed => "read_committed",
            Isolation::Uncommitted => "read_uncommitted",
        };
        config
            .set("group.id", READER_GROUP)
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true");
        config
    }

    /// Sets one of our defaults, unless the user gave the property under any of its names.
    fn set_default(&self, config: &mut ClientConfig, names: &[&str], value: impl ToString) {
        if !names.iter().any(|name| self.property(name).is_some()) {
            // A property has older names as well; a user who sets one of them means the same
            // property.
            config.set(names[0], value.to_string());
        }
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.property(name)?.trim().parse().ok()
    }

    fn transaction_timeout_ms(&self) -> u64 {
        self.number("transaction.timeout.ms")
            .unwrap_or(TRANSACTION_TIMEOUT_MS)
    }

    fn fetch_sizes(&self) -> FetchSizes {
        fetch_sizes(
            self.number("message.max.bytes"),
            self.number("fetch.max.bytes"),
            self.number("receive.message.max.bytes"),
        )
    }
}

impl From<&KafkaConfig> for Connection {
    fn from(config: &KafkaConfig) -> Self {
        Self::new(&config.brokers, config.properties.clone())
    }
}

/// Bytes of the largest message, of a fetch and of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FetchSizes {
    message: u64,
    fetch: u64,
    response: u64,
}

/// Sizes that fit to those that the user gave: librdkafka refuses a client unless a fetch holds the
/// largest message, and a response holds a fetch.
fn fetch_sizes(message: Option<u64>, fetch: Option<u64>, response: Option<u64>) -> FetchSizes {
    // librdkafka wants a response to hold a fetch and 512 bytes of frame, and a fetch to hold a
    // message. What the user set is kept; the others follow from it.
    let room = response.map_or(u64::MAX, |bytes| bytes.saturating_sub(RESPONSE_FRAME_BYTES));
    let fetch = fetch.unwrap_or_else(|| FETCH_BYTES.max(message.unwrap_or(0)).min(room));
    let message = message.unwrap_or_else(|| FETCH_BYTES.min(fetch));
    let response = response.unwrap_or(match fetch > FETCH_BYTES {
        true => fetch + RESPONSE_BYTES,
        false => RESPONSE_BYTES,
    });
    FetchSizes {
        message,
        fetch,
        response,
    }
}

fn create<T: FromClientConfigAndContext<Context> + Close>(
    role: &str,
    config: &ClientConfig,
) -> Result<Client<T>, Error> {
    config
        .create_with_context(Context::default())
        .map(Client::new)
        .map_err(|error| Error::failed(format!("kafka's {role} was not created"), error))
}

#[cfg(test)]
mod tests;
