//! Whether a broker answers, and at which address it wants to be reached.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;

use crate::client::Producer;
use crate::transactions::take_events;

/// A connection inside a network takes less.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// The addresses that the brokers advertise. After an error the producer's context has the reason.
///
/// Asks for one topic only: a cluster may have thousands of others.
pub fn advertised(
    producer: &Producer,
    topic: &str,
    time_max: Duration,
) -> Result<Vec<(String, i32)>, KafkaError> {
    let metadata = producer.client().fetch_metadata(Some(topic), time_max);
    let metadata = metadata.inspect_err(|_| {
        // The reason arrives as an event of its own, which only a poll delivers.
        take_events(producer);
    })?;
    let address =
        |broker: &rdkafka::metadata::MetadataBroker| (broker.host().to_owned(), broker.port());
    Ok(metadata.brokers().iter().map(address).collect())
}

/// Whether something accepts connections at this address.
pub fn is_reachable(host: &str, port: i32) -> bool {
    let Ok(port) = u16::try_from(port) else {
        return false;
    };
    let Ok(mut addresses) = (host, port).to_socket_addrs() else {
        return false;
    };
    // A name may have an address of IPv6 that does not lead anywhere, so every address is tried.
    addresses.any(|address| TcpStream::connect_timeout(&address, CONNECT_TIME_MAX).is_ok())
}
