//! Whether a broker answers, and at which address it wants to be reached.

use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use inlet_service::error::{Hint, Section};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;

use crate::client::{Consumer, Producer};
use crate::context::Context;
use crate::error::Error;
use crate::transactions::take_events;

/// A connection inside a network takes less.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Events that are looked at for the reason of a failure.
const EVENTS_MAX: usize = 64;

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

/// Makes sure that a broker answers. The error has the reason why none does, which the errors of
/// single calls lack: they only time out.
pub fn ensure_answers(
    reader: &Consumer,
    brokers: &str,
    topic: Option<&str>,
    time_max: Duration,
) -> Result<(), Error> {
    match reader.client().fetch_metadata(topic, time_max) {
        Ok(_) => Ok(()),
        Err(_) => {
            // The reason arrives as an event of its own, which only a poll delivers.
            for _ in 0..EVENTS_MAX {
                if reader.poll(Duration::ZERO).is_none() {
                    break;
                }
            }
            Err(silent(brokers, reader.context()))
        }
    }
}

/// The error about brokers that have not answered; the client's context has the reason.
pub fn silent(brokers: &str, context: &Context) -> Error {
    let act = format!("kafka at `{brokers}` does not answer");
    Error::late(act, context).or_hint(|| {
        Hint::text(format!(
            "start the broker at `{brokers}`, or see the key `kafka.brokers`"
        ))
        .see(Section::KafkaSilent)
    })
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
