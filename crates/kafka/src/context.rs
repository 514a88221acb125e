//! What librdkafka reports beside the results of the calls: errors, delivery failures, rebalances,
//! log lines.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use inlet_model::KafkaPartition;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;

/// Keeps what librdkafka reports until the thread that owns the client asks for it.
#[derive(Debug, Default)]
pub struct Context {
    failed: AtomicU64,
    first_failure: Mutex<Option<Code>>,
    last_error: Mutex<Option<Reported>>,
    outages: AtomicU64,
    closing: AtomicBool,
    answered: AtomicU64,
    /// The group starts no rebalance of this member before the last one was applied, so few wait.
    rebalances: Mutex<VecDeque<Rebalance>>,
}

/// An error that belongs to no call: a broken connection, a refused certificate.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct Reported {
    /// The code that librdkafka gave, or passed on from the broker.
    pub code: Code,
    /// The message that librdkafka gave, in its own words.
    pub reason: String,
}

/// A change of the assignment that the owner of the consumer has to apply.
#[derive(Debug)]
pub enum Rebalance {
    /// The group assigns these kafka_partitions, and only these.
    Assign(Vec<(String, KafkaPartition)>),
    /// The group revokes all kafka_partitions.
    Revoke,
}

impl Context {
    /// How many messages were not delivered, and why the first one was not.
    pub fn failures(&self) -> Option<(u64, Code)> {
        let first = (*lock(&self.first_failure))?;
        Some((self.failed.load(Ordering::Acquire), first))
    }

    /// The last error that was reported beside the calls.
    pub fn last_error(&self) -> Option<Reported> {
        lock(&self.last_error).clone()
    }

    /// How often every broker that the client knows was unreachable at the same time.
    pub fn outages(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }

    /// Takes the oldest rebalance that was not applied.
    pub fn take_rebalance(&self) -> Option<Rebalance> {
        lock(&self.rebalances).pop_front()
    }

    /// Accepts every later rebalance at once, so that closing the consumer does not wait for its
    /// owner.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// How many rebalances were accepted since `close`.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            // Each client warns about the properties that only the other ones use.
            _ if facility == "CONFWARN" => tracing::debug!(facility, message, "librdkafka"),
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(facility, message, "librdkafka");
            }
            // A broker that does not answer is logged with each attempt. The same text is reported
            // as an error, and whoever waits for the broker logs it once.
            _ => tracing::debug!(facility, message, "librdkafka"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka reports an error");
        if let Some(code) = error.rdkafka_error_code() {
            let is_outage = code == Code::AllBrokersDown;
            self.outages.fetch_add(is_outage.into(), Ordering::Relaxed);
            let mut last = lock(&self.last_error);
            // `AllBrokersDown` only follows from the error before it, which has the reason.
            if !is_outage || last.is_none() {
                *last = Some(Reported {
                    code,
                    reason: reason.to_owned(),
                });
            }
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            // The count is raised before the code is stored; `failures` looks at the code first, so
            // it never returns a code without a count.
            self.failed.fetch_add(1, Ordering::Release);
            let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
            // The first failure names the cause; those after it mostly follow from it.
            lock(&self.first_failure).get_or_insert(code);
        }
    }
}

/// Answers whatever rebalance waits for the owner of the consumer, with no kafka_partitions.
pub fn give_up_partitions(consumer: &BaseConsumer<Context>) {
    // librdkafka takes `assign` alone as the answer to an assignment, and `unassign` alone as the
    // answer to a revocation. An error changes nothing: the group releases the member in the end.
    let _ = consumer.assign(&TopicPartitionList::new());
    let _ = consumer.unassign();
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        if self.closing.load(Ordering::Acquire) {
            give_up_partitions(consumer);
            self.answered.fetch_add(1, Ordering::Release);
            return;
        }
        let name = |element: &TopicPartitionListElem<'_>| {
            (
                element.topic().to_owned(),
                KafkaPartition(element.partition()),
            )
        };
        // librdkafka calls this from within `poll`. Applying the rebalance here would wait for the
        // pipeline inside of that call, so it is only queued.
        let rebalance = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                Rebalance::Assign(partitions.elements().iter().map(name).collect())
            }
            _ => Rebalance::Revoke,
        };
        lock(&self.rebalances).push_back(rebalance);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        // The group's offsets serve tools that show lag. Reading resumes from the lake's log.
        if let Err(error) = result {
            tracing::debug!(%error, "the group's offsets were not committed");
        }
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value
        .lock()
        .expect("no thread panics while it holds the lock")
}
