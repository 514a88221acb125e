//! The keys of a table's published rows within their bound of memory, and what the census has
//! compared of them.
//!
//! Pure. The table decides when keys can be compared, and when what changed becomes durable.

use std::time::Duration;

use inlet_model::{ProgressDelta, TableName};
use inlet_postgres::ServerTime;
use tracing::warn;

use super::census::Census;
use super::keys::{Chunk, NewKeys, PublishedKeys};

#[derive(Debug, Clone)]
pub struct HeldKeys {
    table: TableName,
    /// `None` where deletes are not looked for.
    pub keys: Option<PublishedKeys>,
    /// Bytes of these keys at most.
    memory: usize,
    /// Parts of keys that are held no longer: the next checkpoint removes them.
    removed: ProgressDelta,
    /// What was compared of them.
    pub census: Census,
    census_stored: bool,
    /// Up to where rows were read whose keys were not held before.
    pub adopted: Option<Vec<String>>,
}

impl HeldKeys {
    /// No keys; those of the progress are removed.
    pub fn none(table: TableName, removed: ProgressDelta) -> Self {
        Self {
            table,
            keys: None,
            memory: 0,
            removed,
            census: Census::default(),
            census_stored: true,
            adopted: None,
        }
    }

    /// These keys, unless the census has found that they do not fit.
    pub fn new(table: TableName, keys: PublishedKeys, census: Census, memory: usize) -> Self {
        let mut held = Self {
            memory,
            census,
            ..Self::none(table, ProgressDelta::default())
        };
        // Keys that did not fit would only be read again until they do not.
        if held
            .census
            .too_large
            .is_none_or(|bytes| bytes < memory as u64)
        {
            held.keys = Some(keys);
            held.census.too_large = None;
        } else {
            held.warn_of_memory();
        }
        held
    }

    /// Asks for a pass as soon as one can be made; true when that has to be stored.
    pub fn compare_at_once(&mut self) -> bool {
        if self.keys.is_none() {
            return false;
        }
        self.census.due = true;
        self.census_stored = false;
        true
    }

    /// True while a pass is under way, or keys of earlier rows are read.
    pub fn has_due_chunk(&self) -> bool {
        let keys = self.keys.as_ref();
        keys.is_some_and(|keys| !keys.is_complete() || self.census.pass.is_some())
    }

    /// Looks at the deletes that the server has counted.
    pub fn look(&mut self, counted: i64, now: ServerTime, interval: Duration) {
        if self.census.look(counted, now, interval) {
            self.census_stored = false;
        }
    }

    /// Takes in keys of rows that were emitted; true when they do not fit any more, which has to
    /// be stored.
    pub fn published(&mut self, new: NewKeys) -> bool {
        let Some(keys) = &mut self.keys else {
            return false;
        };
        keys.add(new);
        let bytes = keys.bytes();
        if bytes <= self.memory {
            return false;
        }
        self.removed = keys.removed();
        self.keys = None;
        self.census = Census {
            too_large: Some(bytes as u64),
            deletes: self.census.deletes,
            ..Census::default()
        };
        self.census_stored = false;
        self.warn_of_memory();
        true
    }

    /// Takes in keys of rows that were published before keys were held, read up to this key; `None`
    /// after the last row.
    pub fn adopt(&mut self, new: NewKeys, until: Option<Vec<String>>) {
        self.published(new);
        if let (Some(keys), None) = (&mut self.keys, &until) {
            keys.complete();
        }
        self.adopted = until;
    }

    /// Records a chunk of the pass: how many keys it had, and the deletes that were emitted. True
    /// when that has to be stored.
    pub fn compared(
        &mut self,
        keys: u64,
        gone: &Chunk,
        until: Option<String>,
        now: ServerTime,
    ) -> bool {
        if !gone.is_empty() {
            let held = self.keys.as_mut();
            held.expect("a chunk is of the keys that are held")
                .remove(gone);
        }
        let ended = self.census.compared(keys, gone.len(), until, now);
        self.census_stored = false;
        // A chunk without deletes is compared again after a crash, which costs less than a
        // checkpoint of its own.
        !gone.is_empty() || ended
    }

    /// Takes out keys of rows that were emitted as deletes because they have left the table's
    /// membership.
    pub fn left(&mut self, gone: &Chunk) {
        let Some(keys) = self.keys.as_mut().filter(|_| !gone.is_empty()) else {
            return;
        };
        keys.remove(gone);
        self.census.deletes += gone.len();
        self.census_stored = false;
    }

    /// What the durable progress does not contain of the census.
    pub fn unstored_census(&self) -> Option<&Census> {
        (!self.census_stored).then_some(&self.census)
    }

    /// The changes for the progress; they and the census count as durable from here on.
    pub fn take_delta(&mut self, delta: &mut ProgressDelta) {
        delta.merge(std::mem::take(&mut self.removed));
        if let Some(keys) = &mut self.keys {
            keys.take_delta(delta);
        }
        self.census_stored = true;
    }

    fn warn_of_memory(&self) {
        let mebibytes = self.memory >> 20;
        warn!(table = %self.table, mebibytes, "the keys of the table take more memory than they \
            may: its deletes are not found; raise `streaming.census_memory`, or set \
            `tables.<name>.deletes: ignore`");
    }
}
