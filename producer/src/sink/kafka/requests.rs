//! What users ask of tables, read from the control topic while the producer runs.
//!
//! One reader follows the topic from the end that the take-over has read. It also sees the
//! producer's own records and leaves them out: a few kilobytes for each checkpoint.

use std::collections::BTreeMap;

use inlet_kafka::{ControlFollower, ControlTopic};
use inlet_model::record::control::ControlRecord;
use inlet_model::{Offset, Request, TableName};

use super::settings::KafkaSinkSettings;
use super::stored::apply_request;

pub(super) struct Requests {
    topic: ControlTopic,
    follower: Option<ControlFollower>,
    /// Where the next follower starts.
    from: Offset,
    known: BTreeMap<TableName, Request>,
}

impl Requests {
    /// Those that were read so far, and where the topic is read on.
    pub(super) fn new(
        settings: &KafkaSinkSettings,
        known: BTreeMap<TableName, Request>,
        from: Offset,
    ) -> Self {
        Self {
            topic: settings.control(),
            follower: None,
            from,
            known,
        }
    }

    /// The last request of each table. A broker that does not answer fails the next checkpoint
    /// anyway, so here it only means that there is no news.
    pub(super) fn read(&mut self) -> BTreeMap<TableName, Request> {
        if self.follower.is_none() {
            self.follower = self.topic.follow(self.from).ok();
        }
        if let Some(follower) = &mut self.follower {
            let known = &mut self.known;
            let read = follower.read(|record| {
                if let ControlRecord::Request { table, text } = record {
                    apply_request(known, table, text);
                }
            });
            self.from = follower.next();
            if let Err(error) = read {
                tracing::debug!(%error, "requests are read again later");
                self.follower = None;
            }
        }
        self.known.clone()
    }
}
