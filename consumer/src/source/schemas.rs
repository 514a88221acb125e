//! Schemas by fingerprint, from the control topic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inlet_model::record::control::ControlKey;
use inlet_model::{Fingerprint, TableName, TableSchema};
use inlet_service::retry::pause;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{self, Watch};
use super::error::{SourceError, Verdict, judge};
use super::slab::{Headed, Slab};
use crate::settings::ConsumerSettings;

/// The topic's only partition.
const PARTITION: i32 = 0;
const POLL_TIME: Duration = Duration::from_millis(100);
/// How long another transaction may keep the records that we need from being read: longer than the
/// broker lets one stay open.
const DEADLINE: Duration = Duration::from_secs(70);
const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// How long to wait before looking again whether a transaction has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The schemas that the control topic has brought so far.
#[derive(Debug, Clone)]
pub struct Schemas {
    settings: Arc<ConsumerSettings>,
    known: Arc<HashMap<Fingerprint, Arc<TableSchema>>>,
    next: i64,
}

impl Schemas {
    /// Knows none until it is refreshed.
    pub fn new(settings: Arc<ConsumerSettings>) -> Self {
        Self {
            settings,
            known: Arc::default(),
            next: 0,
        }
    }

    /// What was read.
    pub fn known(&self) -> Arc<HashMap<Fingerprint, Arc<TableSchema>>> {
        self.known.clone()
    }

    /// True when the schema of every message is known.
    pub fn has_all(&self, slab: &Slab) -> bool {
        let mut last = None;
        slab.iter().all(|message| match message.headed {
            Headed::Ours(header) if last != Some(header.fingerprint) => {
                last = Some(header.fingerprint);
                self.known.contains_key(&header.fingerprint)
            }
            _ => true,
        })
    }

    /// The tables that have a schema.
    pub fn tables(&self) -> impl Iterator<Item = &TableName> + Clone {
        self.known.values().map(|schema| &schema.table)
    }

    /// Schemas of a table.
    pub fn of<'a>(&'a self, table: &'a TableName) -> impl Iterator<Item = &'a Arc<TableSchema>> {
        self.known
            .values()
            .filter(move |schema| schema.table == *table)
    }

    /// Reads on to the end. Blocking. Without a control topic there is nothing to read.
    ///
    /// A record that we could read was committed together with its schema, so the schema lies below
    /// the end that the control topic has now. But transactions end in one kafka_partition after
    /// the other: what is committed up to that end is waited for. So a fingerprint that is unknown
    /// behind this is in no schema at all.
    pub fn refresh(&mut self) -> Result<(), SourceError> {
        let deadline = Instant::now() + DEADLINE;
        let topic = self.settings.control_topic.clone();
        let failed = |source| SourceError::Unavailable {
            act: format!("control topic `{topic}` was not read"),
            source,
        };
        let create = |isolation| -> Result<BaseConsumer<Watch>, SourceError> {
            let created =
                client::reader(&self.settings, isolation).create_with_context(Watch::default());
            created.map_err(|source| SourceError::Settings { source })
        };
        let written = create("read_uncommitted")?;
        if !exists(&written, &topic).map_err(failed)? {
            return Ok(());
        }
        let (_, written) = written
            .fetch_watermarks(&topic, PARTITION, REQUEST_DEADLINE)
            .map_err(failed)?;
        let consumer = create("read_committed")?;
        let (low, end) = loop {
            let (low, end) = consumer
                .fetch_watermarks(&topic, PARTITION, REQUEST_DEADLINE)
                .map_err(failed)?;
            if end >= written {
                break (low, end);
            }
            if Instant::now() >= deadline {
                return Err(SourceError::Late {
                    act: format!("waiting for an open transaction in control topic `{topic}`"),
                });
            }
            pause(LOOK_AGAIN);
        };
        // A topic that was created again begins anew.
        let next = if self.next > end {
            low
        } else {
            self.next.max(low)
        };
        if next >= end {
            return Ok(());
        }
        let mut assignment = TopicPartitionList::with_capacity(1);
        assignment
            .add_partition_offset(&topic, PARTITION, Offset::Offset(next))
            .map_err(failed)?;
        consumer.assign(&assignment).map_err(failed)?;
        self.read(&consumer, deadline)?;
        self.next = end;
        Ok(())
    }

    fn read(
        &mut self,
        consumer: &BaseConsumer<Watch>,
        deadline: Instant,
    ) -> Result<(), SourceError> {
        loop {
            match consumer.poll(POLL_TIME) {
                Some(Ok(message)) => self.take(&message),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) => match judge(error, consumer.context().reason()) {
                    Verdict::Fatal(error) => return Err(error),
                    _ => tracing::debug!("reading the control topic goes on"),
                },
                None => {}
            }
            if Instant::now() >= deadline {
                return Err(SourceError::Late {
                    act: format!("reading control topic `{}`", self.settings.control_topic),
                });
            }
        }
    }

    fn take(&mut self, message: &BorrowedMessage<'_>) {
        let key = message
            .key()
            .and_then(|key| std::str::from_utf8(key).ok())
            .and_then(ControlKey::decode);
        let (Some(ControlKey::Schema(fingerprint)), Some(value)) = (key, message.payload()) else {
            return;
        };
        match TableSchema::decode(value) {
            Ok(schema) if schema.fingerprint() == fingerprint => {
                Arc::make_mut(&mut self.known).insert(fingerprint, Arc::new(schema));
            }
            _ => {
                tracing::warn!(%fingerprint, offset = message.offset(), "a schema of the control topic is not one")
            }
        }
    }
}

/// Asked of the metadata, which answers at once.
fn exists(consumer: &BaseConsumer<Watch>, topic: &str) -> Result<bool, KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_DEADLINE)?;
    Ok(metadata.topics().iter().any(|found| {
        found.name() == topic && found.error().is_none() && !found.partitions().is_empty()
    }))
}
