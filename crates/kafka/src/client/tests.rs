use std::collections::BTreeSet;

use inlet_service::config::PropertyName;
use inlet_service::error::{Explain, Kind};
use proptest::prelude::*;

use super::*;

fn connection(properties: &[(&str, &str)]) -> Connection {
    let properties = Properties::new(properties.iter().copied()).unwrap();
    Connection::new("127.0.0.1:1", properties)
}

/// Creates every client; none of them needs a broker for that.
fn start(connection: &Connection) -> Result<(), Error> {
    connection.producer("inlet-test")?;
    connection.reader(Isolation::Committed)?;
    connection.member("inlet-test", Some("inlet-test-0"))?;
    crate::Admin::new(connection, std::time::Duration::from_secs(1))?;
    Ok(())
}

#[test]
fn every_property_that_a_client_sets_itself_is_refused_or_left_to_the_user() {
    let given = "given-by-the-user";
    let is_ours = |name: &str, config: &ClientConfig| config.get(name) != Some(given);
    let ours = Connection::default();
    let mut names = BTreeSet::new();
    for config in [
        ours.admin_config(),
        ours.producer_config("id"),
        ours.reader_config(Isolation::Committed),
    ] {
        names.extend(config.config_map().keys().map(|name| (*name).to_owned()));
    }
    for name in names {
        if PropertyName::parse(&name).is_err() {
            continue;
        }
        let connection = connection(&[(name.as_str(), given)]);
        assert!(!is_ours(&name, &connection.admin_config()), "{name}");
        assert!(!is_ours(&name, &connection.producer_config("id")), "{name}");
        assert!(
            !is_ours(&name, &connection.reader_config(Isolation::Committed)),
            "{name}"
        );
    }
}

#[test]
fn accepted_properties_start_every_client() {
    let accepted = [
        ("client.id", "inlet"),
        ("client.rack", "a"),
        ("security.protocol", "plaintext"),
        ("compression.type", "zstd"),
        // This build of librdkafka has no zlib, so `gzip` is not a value here.
        ("compression.codec", "snappy"),
        ("compression.level", "3"),
        ("linger.ms", "20"),
        ("queue.buffering.max.ms", "20"),
        ("batch.size", "100000"),
        ("batch.num.messages", "1000"),
        ("queue.buffering.max.kbytes", "65536"),
        ("queue.buffering.max.messages", "1000"),
        ("max.in.flight", "1"),
        ("max.in.flight.requests.per.connection", "2"),
        ("retries", "5"),
        ("retry.backoff.ms", "200"),
        ("message.timeout.ms", "30000"),
        ("delivery.timeout.ms", "30000"),
        // Defaults of ours that are larger than these give way.
        ("transaction.timeout.ms", "5000"),
        ("transaction.timeout.ms", "900000"),
        ("socket.timeout.ms", "30000"),
        ("socket.keepalive.enable", "true"),
        ("reconnect.backoff.ms", "5000"),
        ("reconnect.backoff.max.ms", "60000"),
        ("message.max.bytes", "1000"),
        ("message.max.bytes", "300000000"),
        ("message.max.bytes", "1000000000"),
        ("fetch.max.bytes", "1048576"),
        ("fetch.max.bytes", "100000000"),
        ("receive.message.max.bytes", "1048576"),
        ("receive.message.max.bytes", "1000000000"),
        ("max.partition.fetch.bytes", "1000000"),
        ("fetch.message.max.bytes", "1000000"),
        ("fetch.min.bytes", "1000"),
        ("fetch.wait.max.ms", "500"),
        ("fetch.queue.backoff.ms", "10"),
        ("queued.max.messages.kbytes", "1024"),
        ("queued.min.messages", "1000"),
        ("check.crcs", "false"),
        ("session.timeout.ms", "45000"),
        ("heartbeat.interval.ms", "3000"),
        ("max.poll.interval.ms", "600000"),
        ("group.instance.id", "mine"),
        ("topic.metadata.refresh.interval.ms", "60000"),
        ("metadata.max.age.ms", "60000"),
        ("broker.address.family", "v4"),
        ("api.version.request.timeout.ms", "5000"),
        ("statistics.interval.ms", "0"),
        ("debug", "broker"),
    ];
    let mut failed = Vec::new();
    for property in accepted {
        if let Err(error) = start(&connection(&[property])) {
            failed.push((property, error));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_property_that_does_not_exist_is_named_without_its_value() {
    let connection = connection(&[("sasl.pasword", "hunter2")]);
    let error = start(&connection).unwrap_err();
    let shown = format!("{connection:?} {error:?} {error}");
    assert_eq!(error.kind(), Kind::Config);
    assert!(
        shown.contains("sasl.pasword") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn a_large_message_gets_room_in_the_queue_and_in_the_responses() {
    let connection = connection(&[("message.max.bytes", "300000000")]);
    let producer = connection.producer_config("id");
    let reader = connection.reader_config(Isolation::Committed);
    assert_eq!(producer.get("queue.buffering.max.kbytes"), Some("325737"));
    assert_eq!(reader.get("fetch.max.bytes"), Some("300000000"));
    assert_eq!(reader.get("receive.message.max.bytes"), Some("367108864"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn our_sizes_fit_to_any_one_size_of_the_user(
        which in 0..3,
        bytes in 2_000_u64..=1_000_000_000,
    ) {
        let given = |at| (which == at).then_some(bytes);
        let FetchSizes { message, fetch, response } = fetch_sizes(given(0), given(1), given(2));
        prop_assert!(message <= fetch, "{message} {fetch}");
        prop_assert!(fetch + RESPONSE_FRAME_BYTES <= response, "{fetch} {response}");
        prop_assert!(response <= 2_147_483_647);
        prop_assert_eq!([message, fetch, response][which as usize], bytes);
    }
}
