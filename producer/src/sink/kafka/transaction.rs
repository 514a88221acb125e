//! One transactional producer: begin, send, commit, abort, each bounded in time. After any error it
//! is dropped.
//!
//! A transaction, step by step:
//! 1. `init` (once for a producer): the broker ends the transactions of earlier owners of the
//!    transactional id and fences them. It returns when all of them are marked as ended.
//! 2. `begin`: local, the broker hears of it with the first record. If every broker was unreachable
//!    since `init`, the producer is not used any more: a broker that restarts may leave the end of
//!    the last transaction out (see `hanging`), and only a take-over finds that.
//! 3. `send`: a record goes into librdkafka's queue. `send` waits only while the queue is full.
//! 4. `check`: has any record failed? Called after each batch, so that a failure ends the
//!    transaction early.
//! 5. `commit`: waits until every record is acknowledged, checks again, then asks the broker to
//!    commit. An error here, or every broker unreachable meanwhile, leaves the outcome unknown: the
//!    next owner reads it from the control topic.
//! 6. `abort`: removes what is queued, waits for what is in flight, then asks the broker to abort.
//!    A failed abort is harmless, because the next `init` ends the transaction in any case.
//!
//! The binding's `flush`, and with it `commit_transaction`, polls in slices of 100 ms that a
//! delivery does not end early, and a `poll` of a millisecond spins for that millisecond. So this
//! file never lets the binding wait: it takes events one by one without waiting, and sleeps in
//! between.

use std::time::{Duration, Instant};

use inlet_kafka::{Code, Error, Producer, init_transactions, take_events};
use inlet_service::retry::pause;
use inlet_service::sink::SinkError;
use rdkafka::error::KafkaError;
use rdkafka::message::ToBytes;
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig};

use super::settings::KafkaSinkSettings;

/// An acknowledgement takes half a millisecond on a quiet broker: the waits are short for as long
/// as that is likely.
const WAIT_SHORT: Duration = Duration::from_micros(100);
const WAIT_LONG: Duration = Duration::from_millis(1);
const SHORT_WAITS_FOR: Duration = Duration::from_millis(10);
/// An abort only saves the readers a wait; the next owner ends the transaction in any case.
const ABORT_TIME_MAX: Duration = Duration::from_secs(3);

/// A producer and its transaction.
pub(super) struct Transactions {
    producer: Producer,
    deadline: Duration,
    is_open: bool,
    /// The outages before the broker had ended every earlier transaction.
    outages: u64,
}

impl Transactions {
    /// A producer that has not connected yet.
    pub fn new(settings: &KafkaSinkSettings) -> Result<Self, SinkError> {
        let producer = settings.connection.producer(&settings.transactional_id)?;
        Ok(Self {
            producer,
            deadline: settings.deadline,
            is_open: false,
            outages: 0,
        })
    }

    /// The producer, to look up topics.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Ends the transactions of earlier owners and fences them.
    pub fn init(&mut self, deadline: Instant) -> Result<(), SinkError> {
        init_transactions(&self.producer, deadline).map_err(|error| {
            self.explain("the broker did not assign the transactional id", error)
        })?;
        take_events(&self.producer);
        self.outages = self.producer.context().outages();
        Ok(())
    }

    /// Opens a transaction if none is open.
    pub fn begin(&mut self) -> Result<(), SinkError> {
        if !self.is_open {
            self.check_outage()?;
            let started = self.producer.begin_transaction();
            started.map_err(|error| self.explain("a transaction was not started", error))?;
            self.is_open = true;
        }
        Ok(())
    }

    /// Queues a record of the open transaction; waits while the queue is full.
    pub fn send<K: ToBytes + ?Sized, V: ToBytes + ?Sized>(
        &self,
        record: BaseRecord<'_, K, V>,
    ) -> Result<(), SinkError> {
        assert!(self.is_open, "a record belongs to a transaction");
        let mut record = record;
        let mut full_since = None;
        loop {
            record = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), record)) => record,
                Err((error, record)) => {
                    let act = format!("a record for topic `{}` was not accepted", record.topic);
                    return Err(self.explain(&act, error));
                }
            };
            // The queue shrinks only when the events of delivered records are taken.
            self.check()?;
            if full_since.get_or_insert_with(Instant::now).elapsed() > self.deadline {
                let act = "kafka accepted no records for too long";
                return Err(Error::late(act, self.producer.context()).into());
            }
            pause(WAIT_LONG);
        }
    }

    /// Takes waiting events, and fails when a record of the transaction was not delivered.
    pub fn check(&self) -> Result<(), SinkError> {
        take_events(&self.producer);
        self.check_fatal()?;
        match self.producer.context().failures() {
            None => Ok(()),
            Some((count, code)) => {
                let act = format!("{count} records of the transaction were not delivered");
                Err(Error::of_code(act, code, code).into())
            }
        }
    }

    /// Waits until every record is acknowledged, then commits. After an error the outcome is
    /// unknown.
    pub fn commit(&mut self) -> Result<(), SinkError> {
        assert!(self.is_open, "a commit ends a transaction");
        self.await_delivery(self.deadline)?;
        // The wait also ends for a record that failed: only this check proves that all arrived.
        self.check()?;
        self.producer
            .commit_transaction(self.deadline)
            .map_err(|error| self.explain("the outcome of the transaction is unknown", error))?;
        self.is_open = false;
        self.check_outage()
    }

    /// Aborts the open transaction. The producer must not be used afterwards.
    pub fn abort(&mut self) {
        if !self.is_open {
            return;
        }
        // The abort waits for the reports of all records that it removes, and only this thread
        // takes reports: so they are removed and taken before.
        self.producer.purge(PurgeConfig::default().queue());
        let aborted = self
            .await_delivery(ABORT_TIME_MAX)
            .map(|()| self.producer.abort_transaction(ABORT_TIME_MAX));
        if !matches!(aborted, Ok(Ok(()))) {
            tracing::debug!("the transaction was left to its timeout");
        }
        self.is_open = false;
    }

    /// Aborts the open transaction after all its records have arrived. The producer may begin the
    /// next one.
    pub fn abort_delivered(&mut self) -> Result<(), SinkError> {
        self.await_delivery(self.deadline)?;
        self.check()?;
        self.producer
            .abort_transaction(self.deadline)
            .map_err(|error| self.explain("the transaction was not aborted", error))?;
        self.is_open = false;
        Ok(())
    }

    fn await_delivery(&self, time_max: Duration) -> Result<(), SinkError> {
        let since = Instant::now();
        // librdkafka's own threads count delivered records out; the events are failures only.
        while self.producer.in_flight_count() > 0 {
            take_events(&self.producer);
            self.check_fatal()?;
            let waited = since.elapsed();
            if waited > time_max {
                let act = "kafka did not acknowledge the records in time";
                return Err(Error::late(act, self.producer.context()).into());
            }
            pause(if waited < SHORT_WAITS_FOR {
                WAIT_SHORT
            } else {
                WAIT_LONG
            });
        }
        Ok(())
    }

    /// Fails when every broker was unreachable since `init`.
    fn check_outage(&self) -> Result<(), SinkError> {
        take_events(&self.producer);
        match self.producer.context().outages() == self.outages {
            true => Ok(()),
            false => {
                let act = "kafka was unreachable, so what it has is read back first";
                Err(Error::late(act, self.producer.context()).into())
            }
        }
    }

    fn check_fatal(&self) -> Result<(), SinkError> {
        self.fatal("kafka's producer had to stop")
            .map_or(Ok(()), Err)
    }

    /// The error of a call. Once the producer has stopped, the reason for that explains more than
    /// the error of the call.
    fn explain(&self, act: &str, error: KafkaError) -> SinkError {
        self.fatal(act)
            .unwrap_or_else(|| Error::failed(act, error).into())
    }

    fn fatal(&self, act: &str) -> Option<SinkError> {
        let (code, reason) = self.producer.client().fatal_error()?;
        Some(Error::of_code(act, code, std::io::Error::other(reason)).into())
    }
}
