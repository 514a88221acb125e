//! A client whose end never keeps the thread that drops it.
//!
//! librdkafka ends its own threads when a client is dropped, and has no limit of time for that. A
//! service that waits there would neither work nor report anything.

use std::ops::Deref;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::BaseProducer;

use crate::context::Context;

/// A client mostly ends within milliseconds.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long one look for the end of a consumer waits.
const CLOSE_INTERVAL: Duration = Duration::from_millis(1);

/// A client of librdkafka. Dropping it waits until it has ended, at most for a few seconds; then a
/// thread of its own waits for the rest.
pub struct Client<T: Close>(Option<T>);

/// How a kind of client ends.
pub trait Close: Send + 'static {
    /// Ends what the client still does, before it is dropped.
    fn close(&self);
}

impl<T: Close> Client<T> {
    pub(crate) fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Close> Deref for Client<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("only drop takes the client")
    }
}

impl<T: Close> Drop for Client<T> {
    fn drop(&mut self) {
        if let Some(client) = self.0.take()
            && !close_within(client, CLOSE_TIME_MAX)
        {
            tracing::warn!("a client of kafka does not end; the service goes on without it");
        }
    }
}

/// Ends a client; false when that takes longer.
fn close_within(client: impl Close, time_max: Duration) -> bool {
    let (ending, ended) = channel::<()>();
    let close = move || {
        client.close();
        drop(client);
        drop(ending);
    };
    // If no thread starts, the closure is dropped here, and the client ends in this one.
    _ = std::thread::Builder::new()
        .name("kafka-close".to_owned())
        .spawn(close);
    ended.recv_timeout(time_max) != Err(RecvTimeoutError::Timeout)
}

impl Close for BaseProducer<Context> {
    fn close(&self) {}
}

impl Close for BaseConsumer<Context> {
    fn close(&self) {
        self.context().close();
        // The binding would look for the end only every 100 ms.
        if self.close_queue().is_ok() {
            while !self.closed() {
                self.poll(CLOSE_INTERVAL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender};

    use super::*;

    /// Ends when the other side of the channel is dropped.
    struct Waits(Mutex<Receiver<()>>);

    impl Waits {
        fn new() -> (Sender<()>, Self) {
            let (end, ended) = channel();
            (end, Self(Mutex::new(ended)))
        }
    }

    impl Close for Waits {
        fn close(&self) {
            _ = self.0.lock().unwrap().recv();
        }
    }

    #[test]
    fn a_client_that_does_not_end_is_left_behind() {
        let (_never, client) = Waits::new();
        assert!(!close_within(client, Duration::from_millis(10)));
    }

    #[test]
    fn a_client_that_ends_is_waited_for() {
        let (end, client) = Waits::new();
        drop(end);
        assert!(close_within(client, Duration::MAX));
    }
}
