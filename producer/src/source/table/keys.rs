//! The keys that a table has published, which a census compares with PostgreSQL.

use std::time::Duration;

use inlet_model::ProgressDelta;
use inlet_postgres::ServerTime;

use super::super::census::Census;
use super::super::held::HeldKeys;
use super::super::keys::{Chunk, NewKeys, PublishedKeys};
use super::PolledTable;

impl PolledTable {
    /// Holds the keys of its rows from now on, to compare them with the table.
    pub fn with_keys(&mut self, keys: PublishedKeys, census: Census, memory: usize) {
        self.held = HeldKeys::new(self.name().clone(), keys, census, memory);
    }

    /// Holds no keys; those of the progress are removed.
    pub fn without_keys(&mut self, removed: ProgressDelta) {
        self.unsaved |= !removed.0.is_empty();
        self.held = HeldKeys::none(self.name().clone(), removed);
    }

    /// Starts a pass over the keys as soon as one can be made.
    pub fn compare_at_once(&mut self) {
        self.unsaved |= self.held.compare_at_once();
    }

    /// True while the keys of its rows can be compared: a load brings rows in other snapshots'
    /// order, so it ends first.
    pub fn is_comparable(&self) -> bool {
        self.held.keys.is_some() && self.is_tailing() && !self.control.paused
    }

    /// True while a chunk of its keys is due.
    pub fn compares(&self) -> bool {
        self.is_comparable() && self.held.has_due_chunk()
    }

    /// Looks at the deletes that the server has counted in it.
    pub fn look_at_deletes(&mut self, counted: i64, now: ServerTime, interval: Duration) {
        if self.is_comparable() {
            self.held.look(counted, now, interval);
        }
    }

    /// Records keys of rows that were handed on.
    pub fn published(&mut self, new: NewKeys) {
        self.unsaved |= self.held.published(new);
    }

    /// Records keys of rows that were published before keys were held, read up to this key; `None`
    /// after the last row.
    pub fn adopted(&mut self, new: NewKeys, until: Option<Vec<String>>) {
        self.held.adopt(new, until);
        self.unsaved = true;
    }

    /// Records a chunk of the pass: how many keys it had, and the deletes that were handed on.
    pub fn compared(&mut self, keys: u64, gone: &Chunk, until: Option<String>, detected_at: i64) {
        if !gone.is_empty() {
            self.detection.record(detected_at);
        }
        self.unsaved |= self
            .held
            .compared(keys, gone, until, ServerTime(detected_at));
    }
}
