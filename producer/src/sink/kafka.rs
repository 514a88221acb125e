//! Kafka as the sink: rows and the progress that covers them in one transaction.
//!
//! Promises: a checkpoint is in the topics whole or not at all, for every reader with
//! `isolation.level=read_committed`; each record has the next sequence of its kafka_partition,
//! without a hole; the versions of a key keep their order; a process that was replaced by another
//! with the same pipeline name cannot publish any more, and reports so. Leaves to others: what to
//! publish and what the progress means (the poll), when to retry (the pipeline).
//!
//! After any error the client is dropped, because it cannot tell whether its transaction was
//! committed: [`inlet_service::sink::Sink::resume`] ends or fences what is left of it and reads the
//! truth from the control topic.
//!
//! Read in this order: `sink` and `thread` (who does it), `publisher` (take-over, and what is
//! published), `transaction`, `hanging`, `stored`, `requests`, `topics`, `arrived`.

mod arrived;
mod fault;
mod hanging;
mod publisher;
mod requests;
mod settings;
mod sink;
mod stored;
mod thread;
mod topics;
mod transaction;

pub use settings::{KafkaSinkSettings, RecordSettings, instance_name};
pub use sink::KafkaSink;
pub use stored::{store_request, stored_progress, stored_requests};
