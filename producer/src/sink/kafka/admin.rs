//! What must be there before the first row: a broker that answers, an address of it that can be
//! reached, the topics.

use std::collections::BTreeMap;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{IsError, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, Producer};

use inlet_service::error::{Hint, Kind};
use inlet_service::retry::pause;

use super::client::{self, MESSAGE_BYTES_MAX, Watch};
use super::{KafkaSinkSettings, fault};
use inlet_service::sink::SinkError;

/// A broker that runs answers sooner; one that does not is asked again by the caller.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// A connection inside a network takes less.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Between two looks at something that the broker is about to do.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Settings of the control topic: it keeps the last record of every key, and stays short enough to
/// be read at every start.
const CONTROL_TOPIC: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "16777216"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("max.message.bytes", MESSAGE_BYTES_MAX),
];

/// Checks the broker and creates the topics that are missing; answers how many kafka_partitions
/// each topic has.
pub(super) fn prepare(
    settings: &KafkaSinkSettings,
    producer: &BaseProducer<Watch>,
    topics: &[&str],
    deadline: Instant,
) -> Result<BTreeMap<String, i32>, SinkError> {
    check_broker(settings, producer, deadline)?;
    let control = settings.control_topic.as_str();
    let mut partitions = BTreeMap::new();
    let mut missing = Vec::new();
    for &topic in topics.iter().chain([&control]) {
        match look_up(producer, topic, deadline)? {
            Some(count) => _ = partitions.insert(topic.to_owned(), count),
            None => missing.push(topic),
        }
    }
    let admin = Admin::new(settings)?;
    if partitions.get(control).is_some_and(|count| *count != 1) {
        return Err(fault::config(
            format!(
                "control topic `{control}` has {} partitions, it must have one",
                partitions[control]
            ),
            format!("delete the topic `{control}`, or give the pipeline another name (`pipeline`)"),
        ));
    }
    if partitions.contains_key(control) {
        admin.check_control_topic(control)?;
    }
    admin.create(settings, &missing)?;
    for topic in missing {
        partitions.insert(topic.to_owned(), await_topic(producer, topic, deadline)?);
    }
    Ok(partitions)
}

fn check_broker(
    settings: &KafkaSinkSettings,
    producer: &BaseProducer<Watch>,
    deadline: Instant,
) -> Result<(), SinkError> {
    let brokers = &settings.brokers;
    // The control topic alone: a cluster may have thousands of others.
    let metadata = producer.client().fetch_metadata(
        Some(&settings.control_topic),
        remaining(deadline).min(ANSWER_TIME_MAX),
    );
    let metadata = metadata.map_err(|_| {
        take_events(producer);
        let mut error = fault::late(
            format!("kafka at `{brokers}` does not answer"),
            producer.context(),
        );
        error.hint.get_or_insert_with(|| {
            Hint::text(format!(
                "start the broker at `{brokers}`, or see the key `kafka.brokers`"
            ))
        });
        error
    })?;
    let advertised: Vec<_> = metadata
        .brokers()
        .iter()
        .map(|broker| (broker.host().to_owned(), broker.port()))
        .collect();
    check_advertised(brokers, &advertised)
}

/// Why the broker does not answer comes as events of their own, which only a poll delivers, one at
/// a time.
fn take_events(producer: &BaseProducer<Watch>) {
    for _ in 0..producer.in_flight_count() {
        producer.poll(Duration::ZERO);
    }
}

/// A broker hands out the address at which it wants to be reached; where that is another one than
/// was asked, and does not answer, every later call would run into its time-out without a word
/// about the reason.
fn check_advertised(asked: &str, advertised: &[(String, i32)]) -> Result<(), SinkError> {
    let asked_names: Vec<_> = asked
        .split(',')
        .map(|broker| broker.trim().rsplit("://").next().unwrap_or_default())
        .collect();
    let as_asked = |(host, port): &(String, i32)| {
        asked_names.iter().any(|name| {
            *name == format!("{host}:{port}")
                || *name == format!("[{host}]:{port}")
                || (*port == 9092 && name == host)
        })
    };
    if advertised.iter().any(as_asked) || advertised.iter().any(|(host, port)| answers(host, *port))
    {
        return Ok(());
    }
    let names: Vec<_> = advertised
        .iter()
        .map(|(host, port)| format!("{host}:{port}"))
        .collect();
    Err(SinkError {
        kind: Kind::Unavailable,
        act: format!(
            "kafka answers at `{asked}`, but advertises itself as `{}`, which cannot be reached from here",
            names.join(",")
        ),
        hint: Some(Hint::text(
            "set `advertised.listeners` of the broker to an address that this machine reaches",
        )),
        source: None,
    })
}

/// True when something takes connections at this address.
pub fn answers(host: &str, port: i32) -> bool {
    let Ok(port) = u16::try_from(port) else {
        return false;
    };
    let Ok(mut addresses) = (host, port).to_socket_addrs() else {
        return false;
    };
    addresses.any(|address| TcpStream::connect_timeout(&address, CONNECT_TIME_MAX).is_ok())
}

/// How many kafka_partitions a topic has; `None` when it does not exist.
fn look_up(
    producer: &BaseProducer<Watch>,
    topic: &str,
    deadline: Instant,
) -> Result<Option<i32>, SinkError> {
    let act = || format!("look up of topic `{topic}` failed");
    let metadata = producer
        .client()
        .fetch_metadata(Some(topic), remaining(deadline))
        .map_err(|error| fault::failed(act(), error))?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(None);
    };
    match found.error().map(Code::from) {
        None => Ok(i32::try_from(found.partitions().len())
            .ok()
            .filter(|count| *count > 0)),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
        // It is there; its leaders are still being elected.
        Some(Code::LeaderNotAvailable) => await_topic(producer, topic, deadline).map(Some),
        Some(code) => Err(fault::of_code(act(), code, code)),
    }
}

fn await_topic(
    producer: &BaseProducer<Watch>,
    topic: &str,
    deadline: Instant,
) -> Result<i32, SinkError> {
    loop {
        let metadata = producer
            .client()
            .fetch_metadata(Some(topic), remaining(deadline));
        if let Some(count) = metadata
            .as_ref()
            .ok()
            .and_then(|metadata| led_partitions(metadata, topic))
        {
            return Ok(count);
        }
        if Instant::now() >= deadline {
            return Err(fault::late(
                format!("topic `{topic}` has no leader"),
                producer.context(),
            ));
        }
        pause(LOOK_INTERVAL);
    }
}

/// The number of kafka_partitions, once each has a leader.
fn led_partitions(metadata: &Metadata, topic: &str) -> Option<i32> {
    let found = metadata
        .topics()
        .iter()
        .find(|found| found.name() == topic)?;
    let led = found.error().is_none_or(|error| !error.is_error())
        && found
            .partitions()
            .iter()
            .all(|partition| partition.leader() >= 0);
    i32::try_from(found.partitions().len())
        .ok()
        .filter(|count| led && *count > 0)
}

fn remaining(deadline: Instant) -> Duration {
    // Zero would mean to librdkafka that no time is left even for an answer that is already there.
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

/// The binding's admin calls are futures that its own thread completes; this thread waits for them.
struct Admin {
    client: AdminClient<Watch>,
    runtime: tokio::runtime::Runtime,
    options: AdminOptions,
}

impl Admin {
    fn new(settings: &KafkaSinkSettings) -> Result<Self, SinkError> {
        let mut config = client::connection(settings);
        config.set("allow.auto.create.topics", "false");
        let client = config
            .create_with_context(Watch::default())
            .map_err(|error| fault::failed("kafka's admin client was not created", error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| SinkError {
                kind: Kind::Unavailable,
                act: "a runtime for kafka's admin client was not created".to_owned(),
                hint: None,
                source: Some(Box::new(error)),
            })?;
        let options = AdminOptions::new()
            .request_timeout(Some(settings.deadline))
            .operation_timeout(Some(settings.deadline));
        Ok(Self {
            client,
            runtime,
            options,
        })
    }

    /// Progress in a topic that forgets old records would be lost without a word.
    fn check_control_topic(&self, topic: &str) -> Result<(), SinkError> {
        let asked = [ResourceSpecifier::Topic(topic)];
        let answer = self
            .runtime
            .block_on(self.client.describe_configs(&asked, &self.options));
        let described = answer
            .ok()
            .and_then(|mut resources| resources.pop())
            .and_then(Result::ok);
        let Some(policy) = described
            .as_ref()
            .and_then(|resource| resource.get("cleanup.policy")?.value.clone())
        else {
            tracing::warn!(
                topic,
                "the settings of the control topic cannot be read: its cleanup.policy must be compact"
            );
            return Ok(());
        };
        if policy == "compact" {
            return Ok(());
        }
        Err(fault::config(
            format!(
                "control topic `{topic}` has the cleanup policy `{policy}`, it must be `compact` or the progress is lost with time"
            ),
            format!(
                "run: kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config cleanup.policy=compact"
            ),
        ))
    }

    fn create(&self, settings: &KafkaSinkSettings, topics: &[&str]) -> Result<(), SinkError> {
        if topics.is_empty() {
            return Ok(());
        }
        let replication = || TopicReplication::Fixed(settings.replication_factor);
        let new: Vec<_> = topics
            .iter()
            .map(|&topic| {
                if topic == settings.control_topic {
                    let new = NewTopic::new(topic, 1, replication());
                    CONTROL_TOPIC
                        .iter()
                        .fold(new, |new, (key, value)| new.set(key, value))
                } else {
                    NewTopic::new(topic, settings.partitions, replication())
                        .set("max.message.bytes", MESSAGE_BYTES_MAX)
                }
            })
            .collect();
        let act = |topic: &str| format!("topic `{topic}` was not created");
        let created = self
            .runtime
            .block_on(self.client.create_topics(&new, &self.options));
        for result in created.map_err(|error| fault::failed(act(&topics.join("`, `")), error))? {
            match result {
                Ok(topic) => tracing::info!(topic, "topic created"),
                // Someone else was faster: the same in effect.
                Err((_, Code::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(fault::of_code(act(&topic), code, code)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertised_address_that_was_asked_needs_no_probe() {
        for asked in [
            "nowhere.invalid:9",
            "PLAINTEXT://nowhere.invalid:9",
            "other:1, nowhere.invalid:9",
        ] {
            assert!(
                check_advertised(asked, &[("nowhere.invalid".to_owned(), 9)]).is_ok(),
                "{asked}"
            );
        }
        assert!(
            check_advertised("nowhere.invalid", &[("nowhere.invalid".to_owned(), 9092)]).is_ok()
        );
        assert!(check_advertised("[::1]:1", &[("::1".to_owned(), 1)]).is_ok());
    }

    #[test]
    fn an_advertised_address_that_does_not_answer_is_named() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let error = check_advertised(
            "127.0.0.1:1",
            &[("127.0.0.1".to_owned(), i32::from(closed))],
        )
        .unwrap_err();
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(
            error
                .act
                .contains(&format!("advertises itself as `127.0.0.1:{closed}`")),
            "{}",
            error.act
        );
    }

    #[test]
    fn an_advertised_address_that_answers_is_good_whatever_was_asked() {
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = i32::from(open.local_addr().unwrap().port());
        assert!(check_advertised("localhost:1", &[("127.0.0.1".to_owned(), port)]).is_ok());
    }
}
