//! What must exist before the first row: a broker that answers, an address of it that can be
//! reached, the topics.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use inlet_kafka::{
    Admin, Code, ControlFault, Error, NewTopic, Producer, advertised, await_leaders,
    control_faults, find_topic, is_reachable, silent,
};
use inlet_service::error::{Hint, Kind};
use inlet_service::sink::SinkError;
use rdkafka::producer::Producer as _;

use super::fault;
use super::settings::KafkaSinkSettings;

/// A running broker answers sooner. The caller retries when it does not run.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// The topics after [`prepare`].
pub(super) struct Prepared {
    /// How many kafka_partitions each topic has.
    pub partitions: BTreeMap<String, i32>,
    /// Those that did not exist before.
    pub created: BTreeSet<String>,
}

/// Checks the broker and creates missing topics.
pub(super) fn prepare(
    settings: &KafkaSinkSettings,
    producer: &Producer,
    topics: &[&str],
    deadline: Instant,
) -> Result<Prepared, SinkError> {
    // The broker comes first: its errors explain more than those of a topic that cannot be found.
    check_broker(settings, producer, deadline)?;
    let control = settings.control_topic.as_str();
    let mut partitions = BTreeMap::new();
    let mut missing = Vec::new();
    for &topic in topics.iter().chain([&control]) {
        match find_topic(producer.client(), topic, deadline)? {
            None => missing.push(topic),
            Some(found) => {
                let count = match found.is_led {
                    true => found.partitions,
                    false => await_leaders(producer.client(), topic, deadline)?,
                };
                partitions.insert(topic.to_owned(), count);
            }
        }
    }
    let admin = Admin::new(&settings.connection, settings.deadline)?;
    check_policies(&admin, &settings.topics_without_keys(&partitions))?;
    if let Some(count) = partitions.get(control) {
        check_control_topic(&admin, control, *count)?;
    }
    let created = create(&admin, settings, &missing)?;
    for topic in missing {
        let count = await_leaders(producer.client(), topic, deadline)?;
        partitions.insert(topic.to_owned(), count);
    }
    Ok(Prepared {
        partitions,
        created,
    })
}

fn check_broker(
    settings: &KafkaSinkSettings,
    producer: &Producer,
    deadline: Instant,
) -> Result<(), SinkError> {
    let brokers = settings.connection.brokers();
    let time_left = deadline.saturating_duration_since(Instant::now());
    // librdkafka reads a timeout of 0 as "do not wait at all".
    let time_max = time_left.clamp(Duration::from_millis(1), ANSWER_TIME_MAX);
    let addresses = advertised(producer, &settings.control_topic, time_max)
        .map_err(|_| silent(brokers, producer.context()))?;
    check_advertised(brokers, &addresses)
}

/// A broker returns the address at which it wants to be reached. When this address differs from the
/// one in the configuration and does not answer, every later call would time out without a reason.
fn check_advertised(asked: &str, advertised: &[(String, i32)]) -> Result<(), SinkError> {
    let asked_names: Vec<_> = asked
        .split(',')
        .map(|broker| broker.trim().rsplit("://").next().unwrap_or_default())
        .collect();
    let is_asked = |(host, port): &(String, i32)| {
        asked_names.iter().any(|name| {
            *name == format!("{host}:{port}")
                || *name == format!("[{host}]:{port}")
                // librdkafka takes 9092 when a broker is written without a port.
                || (*port == 9092 && name == host)
        })
    };
    if advertised.iter().any(is_asked)
        || advertised
            .iter()
            .any(|(host, port)| is_reachable(host, *port))
    {
        return Ok(());
    }
    let names: Vec<_> = advertised
        .iter()
        .map(|(host, port)| format!("{host}:{port}"))
        .collect();
    let act = format!(
        "kafka answers at `{asked}`, but advertises itself as `{}`, which cannot be reached from \
         here",
        names.join(",")
    );
    let hint = "set `advertised.listeners` of the broker to an address that this machine reaches";
    Err(SinkError {
        hint: Some(Hint::text(hint)),
        ..fault::of(Kind::Unavailable, act)
    })
}

/// A compacted topic refuses messages without a key, each as an invalid record.
fn check_policies(admin: &Admin, topics: &[&str]) -> Result<(), SinkError> {
    let described = admin.describe(topics).unwrap_or_default();
    for (topic, settings) in topics.iter().zip(described) {
        let policy = settings.get("cleanup.policy");
        if let Some(policy) = policy.filter(|policy| policy.contains("compact")) {
            return Err(fault::config(
                format!(
                    "topic `{topic}` has the cleanup policy `{policy}`, and messages of the format \
                     `arrow` have no key, by which Kafka compacts"
                ),
                format!(
                    "use another `format`, or run: kafka-configs.sh --alter --entity-type topics \
                     --entity-name {topic} --add-config cleanup.policy=delete"
                ),
            ));
        }
    }
    Ok(())
}

/// A topic that drops old records would lose the progress without an error.
fn check_control_topic(admin: &Admin, topic: &str, partitions: i32) -> Result<(), SinkError> {
    // Describing needs a right that many installations withhold, so a refusal is a warning only.
    let described = admin
        .describe(&[topic])
        .unwrap_or_default()
        .pop()
        .unwrap_or_default();
    for fault in control_faults(partitions, &described) {
        match fault {
            ControlFault::Partitions(count) => {
                return Err(fault::config(
                    format!("control topic `{topic}` has {count} partitions, it must have one"),
                    format!(
                        "delete the topic `{topic}`, or give the pipeline another name \
                         (`pipeline`)"
                    ),
                ));
            }
            ControlFault::Policy(policy) => {
                return Err(fault::config(
                    format!(
                        "control topic `{topic}` has the cleanup policy `{policy}`, it must be \
                         `compact` or the progress is lost with time"
                    ),
                    format!(
                        "run: kafka-configs.sh --alter --entity-type topics --entity-name {topic} \
                         --add-config cleanup.policy=compact"
                    ),
                ));
            }
            ControlFault::Hidden => tracing::warn!(
                topic,
                "the settings of the control topic cannot be read: its cleanup.policy must be \
                 compact"
            ),
        }
    }
    Ok(())
}

fn create(
    admin: &Admin,
    settings: &KafkaSinkSettings,
    topics: &[&str],
) -> Result<BTreeSet<String>, SinkError> {
    let new = |topic: &&str| {
        if *topic == settings.control_topic {
            NewTopic::control(topic, settings.replication_factor)
        } else {
            NewTopic::rows(topic, settings.partitions, settings.replication_factor)
                .retention(settings.retention)
                .cleanup(settings.cleanup.as_deref())
        }
    };
    let new: Vec<NewTopic> = topics.iter().map(new).collect();
    let mut created = BTreeSet::new();
    for result in admin.create(&new)? {
        match result {
            Ok(topic) => _ = created.insert(topic),
            // Another process created it a moment earlier: the effect is the same.
            Err((_, Code::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                let act = format!("topic `{topic}` was not created");
                return Err(Error::of_code(act, code, code).into());
            }
        }
    }
    Ok(created)
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
