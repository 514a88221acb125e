//! The keys that a table has published, which a census compares with PostgreSQL.

use std::time::Duration;

use inlet_model::{ProgressDelta, Xid};
use inlet_postgres::ServerTime;

use super::super::census::Census;
use super::super::held::HeldKeys;
use super::super::keys::{Chunk, NewKeys, PublishedKeys};
use super::super::look_up::Version;
use super::super::phase::Phase;
use super::super::scan::Scanned;
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

    /// Those of the keys that a journal names as deleted which are published; none while keys
    /// cannot be compared.
    pub fn published_among(&self, keys: Chunk) -> Chunk {
        match &self.held.keys {
            Some(held) if self.is_comparable() => held.published(keys),
            _ => Chunk::none(&self.table.captured.schema),
        }
    }

    /// Those of the keys that a journal names as changed which can be looked up.
    pub fn hidden_among(&mut self, keys: Chunk) -> Chunk {
        let captured = &self.table.captured;
        let none = Chunk::none(&captured.schema);
        // A load reads every row, and a pause reads none. Without an index on the key, or for a key
        // that may be null, each look would read the whole table.
        let mut key = captured.schema.key.iter();
        let never_null = key.all(|at| captured.schema.columns[*at].not_null);
        let has_index = captured.finds_rows && never_null;
        if !self.is_tailing() || self.is_paused() || !has_index {
            return none;
        }
        let room = self.coverage.looked_up.room() as u64;
        if keys.len() > room / 2 {
            // A sweep makes room, and finds what is not looked up now.
            self.tiers.ask(self.tiers.deepest());
        }
        if keys.len() > room { none } else { keys }
    }

    /// Every version with a smaller xid was emitted, or is read by a load: a scan asks for none.
    pub fn emitted_below(&self) -> Xid {
        let pending = self.tiers.xid_bound();
        let open = match &self.phase {
            Phase::Tailing(activity) => activity.xid_bound(),
            Phase::Loading(_) | Phase::Joining(_) => Xid::MAX,
        };
        pending.min(open).max(self.loaded)
    }

    /// Records what a look at keys has found: rows that were deleted, and versions that no scan has
    /// emitted.
    pub fn looked_up(
        &mut self,
        gone: &Chunk,
        found: Option<Scanned>,
        versions: Vec<Version>,
        detected_at: i64,
    ) {
        if !gone.is_empty() || !versions.is_empty() {
            self.detection.record(detected_at);
            self.unsaved = true;
        }
        self.held.left(gone);
        if let Some(found) = found {
            self.published(found.keys);
            if self.is_countable() {
                self.unseen.found(found.rows);
                self.unseen_stored = false;
            }
        }
        for (xid, key) in versions {
            self.coverage.looked_up.add(xid, &key);
        }
    }

    /// Records keys of rows that were emitted.
    pub fn published(&mut self, new: NewKeys) {
        self.unsaved |= self.held.published(new);
    }

    /// Records keys of rows that were published before keys were held, read up to this key; `None`
    /// after the last row.
    pub fn adopted(&mut self, new: NewKeys, until: Option<Vec<String>>) {
        self.held.adopt(new, until);
        self.unsaved = true;
    }

    /// Records a chunk of the pass: how many keys it had, and the deletes that were emitted.
    pub fn compared(&mut self, keys: u64, gone: &Chunk, until: Option<String>, detected_at: i64) {
        if !gone.is_empty() {
            self.detection.record(detected_at);
        }
        self.unsaved |= self
            .held
            .compared(keys, gone, until, ServerTime(detected_at));
    }
}
