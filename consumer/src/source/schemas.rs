//! Schemas by fingerprint, from the control topic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inlet_kafka::{ControlTopic, OpenTransactions};
use inlet_model::Offset;
use inlet_model::record::control::ControlRecord;
use inlet_model::{Fingerprint, TableName, TableSchema};

use super::error::SourceError;
use super::slab::{Headed, Slab};
use crate::settings::ConsumerSettings;

/// How long an open transaction may hide the records that we need: longer than the broker lets one
/// stay open.
const DEADLINE: Duration = Duration::from_secs(70);
/// How long one question to the broker may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// The schemas that were read from the control topic so far.
#[derive(Debug, Clone)]
pub struct Schemas {
    control: ControlTopic,
    known: Arc<HashMap<Fingerprint, Arc<TableSchema>>>,
    /// Everything before this offset was read.
    next: Offset,
}

impl Schemas {
    pub fn new(settings: &ConsumerSettings) -> Self {
        Self {
            control: ControlTopic::new(settings.connection.clone(), &settings.control_topic),
            known: Arc::default(),
            next: Offset::ZERO,
        }
    }

    pub fn known(&self) -> Arc<HashMap<Fingerprint, Arc<TableSchema>>> {
        self.known.clone()
    }

    /// True when the schema of every message is known.
    pub fn has_all(&self, slab: &Slab) -> bool {
        // Neighbouring messages nearly always have the same schema, so the map is asked only when
        // it changes.
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

    /// The schemas of a table.
    pub fn of<'a>(&'a self, table: &'a TableName) -> impl Iterator<Item = &'a Arc<TableSchema>> {
        self.known
            .values()
            .filter(move |schema| schema.table == *table)
    }

    /// Reads the records that were written since the last time. Blocking. A control topic that does
    /// not exist yet has no records.
    pub fn refresh(&mut self) -> Result<(), SourceError> {
        let now = Instant::now();
        if !self.control.exists(now + ANSWER_TIME_MAX)? {
            return Ok(());
        }
        // A row that we could read was committed together with its schema, so the schema is below
        // the end that the control topic has now. But the broker ends a transaction in one
        // kafka_partition after the other, and may not have reached the control topic. So we wait
        // for the transactions that are open there: after that, an unknown fingerprint has no
        // schema at all.
        let mut found = Vec::new();
        let open = OpenTransactions::Await;
        self.next = self
            .control
            .read(self.next, open, now + DEADLINE, |record| {
                if let ControlRecord::Schema {
                    fingerprint,
                    text: Some(text),
                } = record
                {
                    found.push((fingerprint, text));
                }
            })?;
        for (fingerprint, text) in found {
            self.add(fingerprint, &text);
        }
        Ok(())
    }

    fn add(&mut self, fingerprint: Fingerprint, text: &[u8]) {
        match TableSchema::decode(text) {
            // The fingerprint is computed from the text, so a damaged record cannot pass for the
            // schema of a row.
            Ok(schema) if schema.fingerprint() == fingerprint => {
                Arc::make_mut(&mut self.known).insert(fingerprint, Arc::new(schema));
            }
            _ => tracing::warn!(%fingerprint, "the control topic holds a damaged schema"),
        }
    }
}
