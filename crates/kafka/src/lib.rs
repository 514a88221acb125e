//! What producer, consumer and the checks share of Kafka: one configuration of every client, one
//! table of error codes, admin calls, watermarks, and the reader of the control topic.
//!
//! Promises: a property that exactly-once delivery depends on is never the user's; every call is
//! bounded in time; an error has its meaning for the process and what to do. Leaves to others:
//! what is published (producer), where reading starts (consumer).
//!
//! librdkafka's calls block and it runs threads of its own, so everything here belongs on a thread
//! that may block. Read in this order: `client`, `closing`, `context`, `error`, `read`, `control`.
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod admin;
mod broker;
mod client;
mod closing;
mod context;
mod control;
mod error;
mod read;
mod rights;
mod topic;
mod transactions;
mod watermarks;

pub use admin::{Admin, Created, NewTopic, TopicSettings};
pub use broker::{advertised, ensure_answers, is_reachable, silent};
pub use client::{Connection, Consumer, GROUP_INSTANCE, Isolation, MESSAGE_BYTES_MAX, Producer};
pub use closing::{Client, Close};
pub use context::{Context, Rebalance, Reported, give_up_partitions};
pub use control::{ControlFault, ControlFollower, ControlTopic, OpenTransactions, control_faults};
pub use error::{Code, Error, Meaning, meaning};
pub use read::read_to_end;
pub use rights::Right;
pub use topic::{Topic, await_leaders, find_topic};
pub use transactions::{init_transactions, take_events};
pub use watermarks::{Marks, all_watermarks, group_offsets, watermarks};
