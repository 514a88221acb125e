//! One transactional producer: begin, send, commit, abort, each bounded in time. After any error it
//! is thrown away.
//!
//! The binding's `flush`, and with it `commit_transaction`, polls in slices of 100 ms that no
//! delivery ends early, and a `poll` of a millisecond spins for that millisecond. So nothing here
//! leaves waiting to the binding: events are taken one by one without waiting, and between two
//! looks the thread sleeps.

use std::time::{Duration, Instant};

use inlet_service::retry::pause;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::ToBytes;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, PurgeConfig};

use super::client::{self, Watch};
use super::{KafkaSinkSettings, fault};
use inlet_service::sink::SinkError;

/// An acknowledgement takes half a millisecond on a quiet broker: short looks for as long as that
/// is likely.
const LOOK_SHORT: Duration = Duration::from_micros(100);
const LOOK_LONG: Duration = Duration::from_millis(1);
const SHORT_LOOKS_FOR: Duration = Duration::from_millis(10);
/// An abort only spares the readers a wait; the next owner ends the transaction in any case.
const ABORT_TIME_MAX: Duration = Duration::from_secs(3);

/// A producer and its transaction.
pub(super) struct Transactions {
    producer: BaseProducer<Watch>,
    deadline: Duration,
    open: bool,
}

impl Transactions {
    /// A producer that has not yet spoken with the broker.
    pub(super) fn new(settings: &KafkaSinkSettings) -> Result<Self, SinkError> {
        let producer = client::producer(settings).create_with_context(Watch::default());
        let producer =
            producer.map_err(|error| fault::failed("kafka's producer was not created", error))?;
        Ok(Self {
            producer,
            deadline: settings.deadline,
            open: false,
        })
    }

    /// The producer, for look ups.
    pub(super) fn producer(&self) -> &BaseProducer<Watch> {
        &self.producer
    }

    /// Ends the transactions of earlier owners and fences them.
    pub(super) fn init(&self, deadline: Instant) -> Result<(), SinkError> {
        let given = init_transactions(&self.producer, deadline);
        given.map_err(|error| {
            self.explain("the transactional id was not given to this producer", error)
        })
    }

    /// Opens a transaction if none is open.
    pub(super) fn begin(&mut self) -> Result<(), SinkError> {
        if !self.open {
            self.producer
                .begin_transaction()
                .map_err(|error| self.explain("a transaction was not begun", error))?;
            self.open = true;
        }
        Ok(())
    }

    /// Queues a record of the open transaction; waits while the queue is full.
    pub(super) fn send<K: ToBytes + ?Sized, V: ToBytes + ?Sized>(
        &self,
        record: BaseRecord<'_, K, V>,
    ) -> Result<(), SinkError> {
        assert!(self.open, "a record belongs to a transaction");
        let mut record = record;
        let mut full_since = None;
        loop {
            record = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), record)) => record,
                Err((error, record)) => {
                    return Err(self.explain(
                        &format!("a record for topic `{}` was not taken", record.topic),
                        error,
                    ));
                }
            };
            self.check()?;
            if full_since.get_or_insert_with(Instant::now).elapsed() > self.deadline {
                return Err(fault::late(
                    "kafka took no records for too long",
                    self.producer.context(),
                ));
            }
            pause(LOOK_LONG);
        }
    }

    /// Takes waiting events, and fails when a record of the transaction was not delivered.
    pub(super) fn check(&self) -> Result<(), SinkError> {
        self.take_events();
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            return Err(fault::of_code(
                "kafka's producer had to stop",
                code,
                std::io::Error::other(reason),
            ));
        }
        match self.producer.context().failures() {
            None => Ok(()),
            Some((count, code)) => Err(fault::of_code(
                format!("{count} records of the transaction were not delivered"),
                code,
                code,
            )),
        }
    }

    /// Waits until every record is acknowledged, then commits. After an error the outcome is
    /// unknown.
    pub(super) fn commit(&mut self) -> Result<(), SinkError> {
        assert!(self.open, "a commit ends a transaction");
        self.await_delivery(self.deadline)?;
        self.check()?;
        self.producer
            .commit_transaction(self.deadline)
            .map_err(|error| self.explain("the transaction was not committed for sure", error))?;
        self.open = false;
        Ok(())
    }

    /// Aborts the open transaction. The producer is of no use afterwards.
    pub(super) fn abort(&mut self) {
        if !self.open {
            return;
        }
        // The abort itself waits for the reports of all that it purges, and only this thread takes
        // them: so they are taken before.
        self.producer.purge(PurgeConfig::default().queue());
        let aborted = self
            .await_delivery(ABORT_TIME_MAX)
            .map(|()| self.producer.abort_transaction(ABORT_TIME_MAX));
        if !matches!(aborted, Ok(Ok(()))) {
            tracing::debug!("the transaction was left to its time-out");
        }
        self.open = false;
    }

    /// Aborts the open transaction when all its records have arrived; the next one may begin.
    pub(super) fn abort_delivered(&mut self) -> Result<(), SinkError> {
        self.await_delivery(self.deadline)?;
        self.check()?;
        self.producer
            .abort_transaction(self.deadline)
            .map_err(|error| self.explain("the transaction was not aborted", error))?;
        self.open = false;
        Ok(())
    }

    fn await_delivery(&self, time_max: Duration) -> Result<(), SinkError> {
        let begun = Instant::now();
        while self.producer.in_flight_count() > 0 {
            self.take_events();
            if let Some((code, reason)) = self.producer.client().fatal_error() {
                return Err(fault::of_code(
                    "kafka's producer had to stop",
                    code,
                    std::io::Error::other(reason),
                ));
            }
            let waited = begun.elapsed();
            if waited > time_max {
                return Err(fault::late(
                    "kafka did not acknowledge the records in time",
                    self.producer.context(),
                ));
            }
            pause(if waited < SHORT_LOOKS_FOR {
                LOOK_SHORT
            } else {
                LOOK_LONG
            });
        }
        Ok(())
    }

    /// Reports of failures, errors and log lines. The count holds the messages in flight too, so it
    /// is only the most that can wait.
    fn take_events(&self) {
        take_events(&self.producer);
    }

    /// The error of a call; once the producer has stopped, the reason for that says more than what
    /// the call says.
    fn explain(&self, act: &str, error: KafkaError) -> SinkError {
        match self.producer.client().fatal_error() {
            Some((code, reason)) => fault::of_code(act, code, std::io::Error::other(reason)),
            None => fault::failed(act, error),
        }
    }
}

/// Asks for a transactional id, and again while the broker is about to have what it needs for that.
pub fn init_transactions(
    producer: &BaseProducer<Watch>,
    deadline: Instant,
) -> Result<(), KafkaError> {
    loop {
        let time_left = deadline.saturating_duration_since(Instant::now());
        let answer = producer.init_transactions(time_left.max(LOOK_LONG));
        if answer.is_ok() {
            return answer;
        }
        take_events(producer);
        match answer {
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && Instant::now() < deadline =>
            {
                tracing::debug!(%error, "the transactional id is asked for again");
                pause(LOOK_LONG);
            }
            answer => return answer,
        }
    }
}

fn take_events(producer: &BaseProducer<Watch>) {
    const EVENTS_MAX: i32 = 64;
    for _ in 0..producer.in_flight_count().min(EVENTS_MAX) {
        producer.poll(Duration::ZERO);
    }
}
