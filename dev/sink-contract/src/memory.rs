//! A sink in memory that keeps the contract of [`Sink`]: the test double of the poll.
//!
//! All sinks of one [`MemoryStore`] share what is durable, as those of one broker do, and the last
//! that resumed fences the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, UInt8Type};
use inlet_model::TableName;
use inlet_model::change::{ChangeBatch, OP, UPSERT};
use inlet_model::{Progress, ProgressDelta, Request};

use inlet_service::error::Kind;
use inlet_service::sink::{Checkpointed, DurableEnd, Sink, SinkError};

use crate::TestPipeline;

/// The durable state that the sinks of one pipeline share, and the calls that will fail.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Durable>>);

#[derive(Debug, Default)]
struct Durable {
    batches: Vec<ChangeBatch>,
    progress: BTreeMap<TableName, Progress>,
    requests: BTreeMap<TableName, Request>,
    owner: u64,
    calls: u64,
    faults: BTreeMap<u64, Fault>,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It has no effect.
    Undone,
    /// It has its effect and then fails: the answer is lost.
    Done,
}

impl MemoryStore {
    /// A sink that writes here.
    pub fn sink(&self) -> MemorySink {
        MemorySink {
            store: self.clone(),
            owner: 0,
            whole: false,
            open: Vec::new(),
        }
    }

    /// The batches that are visible, in the order of their writes.
    pub fn batches(&self) -> Vec<ChangeBatch> {
        self.durable().batches.clone()
    }

    /// A table's durable progress, empty when it has none.
    pub fn progress(&self, table: &TableName) -> Progress {
        self.durable()
            .progress
            .get(table)
            .cloned()
            .unwrap_or_default()
    }

    /// Removes parts of a table's progress, as if it were of a version that did not store them.
    pub fn forget(&self, table: &TableName, is_part: impl Fn(&str) -> bool) {
        if let Some(progress) = self.durable().progress.get_mut(table) {
            progress.0.retain(|part, _| !is_part(part));
        }
    }

    /// Stores what a user asks of a table.
    pub fn request(&self, table: &TableName, request: Request) {
        self.durable().requests.insert(table.clone(), request);
    }

    /// How many calls its sinks have had.
    pub fn calls(&self) -> u64 {
        self.durable().calls
    }

    /// Makes a call fail with [`Kind::Unavailable`]; `nth` counts from here, 0 is the next call of
    /// any of its sinks.
    pub fn fail(&self, nth: u64, fault: Fault) {
        let mut durable = self.durable();
        let call = durable.calls + nth;
        durable.faults.insert(call, fault);
    }

    fn durable(&self) -> MutexGuard<'_, Durable> {
        self.0
            .lock()
            .expect("no thread panics while it holds the lock")
    }
}

/// One sink of a [`MemoryStore`].
#[derive(Debug)]
pub struct MemorySink {
    store: MemoryStore,
    owner: u64,
    whole: bool,
    open: Vec<ChangeBatch>,
}

impl MemorySink {
    /// Counts the call, runs it, and fails it where that was asked.
    fn call<T>(
        &mut self,
        act: impl FnOnce(&mut Self, &mut Durable) -> Result<T, SinkError>,
    ) -> Result<T, SinkError> {
        let store = self.store.clone();
        let mut durable = store.durable();
        let number = durable.calls;
        durable.calls += 1;
        let fault = durable.faults.remove(&number);
        let outcome = match fault {
            Some(Fault::Undone) => Err(unavailable(number)),
            Some(Fault::Done) => act(self, &mut durable).and_then(|_| Err(unavailable(number))),
            None => act(self, &mut durable),
        };
        if outcome.is_err() {
            self.whole = false;
        }
        outcome
    }

    fn check(&self, durable: &Durable) -> Result<(), SinkError> {
        if !self.whole {
            return Err(SinkError::new(Kind::Bug, "the sink must be resumed first"));
        }
        if durable.owner != self.owner {
            return Err(SinkError::new(
                Kind::Fenced,
                "another producer with the same pipeline name took over",
            ));
        }
        Ok(())
    }
}

impl Sink for MemorySink {
    async fn resume(
        &mut self,
        tables: &[TableName],
    ) -> Result<BTreeMap<TableName, Progress>, SinkError> {
        self.call(|sink, durable| {
            sink.open.clear();
            if sink.owner != 0 && sink.owner != durable.owner {
                return Err(SinkError::new(
                    Kind::Fenced,
                    "another producer with the same pipeline name took over",
                ));
            }
            if sink.owner == 0 {
                durable.owner += 1;
                sink.owner = durable.owner;
            }
            sink.whole = true;
            let known = |table: &TableName| {
                durable
                    .progress
                    .get(table)
                    .map(|progress| (table.clone(), progress.clone()))
            };
            Ok(tables
                .iter()
                .filter_map(known)
                .filter(|(_, progress)| !progress.0.is_empty())
                .collect())
        })
    }

    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        self.call(|sink, durable| {
            sink.check(durable)?;
            if batch.rows.num_rows() > 0 {
                sink.open.push(batch);
            }
            Ok(())
        })
    }

    async fn checkpoint(
        &mut self,
        progress: BTreeMap<TableName, ProgressDelta>,
    ) -> Result<Checkpointed, SinkError> {
        self.call(|sink, durable| {
            sink.check(durable)?;
            let rows = sink
                .open
                .iter()
                .map(|batch| batch.rows.num_rows() as u64)
                .sum();
            durable.batches.append(&mut sink.open);
            for (table, delta) in progress {
                durable.progress.entry(table).or_default().apply(delta);
            }
            Ok(Checkpointed::Durable { rows })
        })
    }

    async fn flush(&mut self) -> Result<Checkpointed, SinkError> {
        self.call(|sink, durable| {
            sink.check(durable)
                .map(|()| Checkpointed::Durable { rows: 0 })
        })
    }

    fn due(&self) -> Option<tokio::time::Instant> {
        None
    }

    async fn requests(&mut self) -> BTreeMap<TableName, Request> {
        self.store.durable().requests.clone()
    }

    async fn durable_end(&mut self, _table: &TableName) -> Option<DurableEnd> {
        Some(DurableEnd::default())
    }

    async fn is_in_lake(&mut self, _table: &TableName, _end: &DurableEnd) -> bool {
        true
    }

    async fn rollback(&mut self) -> Result<(), SinkError> {
        self.call(|sink, _| {
            sink.open.clear();
            sink.whole = false;
            Ok(())
        })
    }
}

fn unavailable(call: u64) -> SinkError {
    SinkError::new(
        Kind::Unavailable,
        format!("call {call} fails, as the test asked"),
    )
}

impl TestPipeline for MemoryStore {
    type Sink = MemorySink;
    const FENCED: &str = "another producer with the same pipeline name";

    fn sink(&self) -> MemorySink {
        Self::sink(self)
    }

    async fn visible(&self) -> Vec<(i64, Option<String>)> {
        let mut visible = Vec::new();
        for batch in self.batches() {
            let ops = batch
                .rows
                .column_by_name(OP)
                .expect("a change batch has its operation")
                .as_primitive::<UInt8Type>();
            let (ids, notes) = (
                batch.rows.column(0).as_primitive::<Int64Type>(),
                batch.rows.column(1).as_string::<i32>(),
            );
            let note = |row| (ops.value(row) == UPSERT).then(|| notes.value(row).to_owned());
            visible.extend((0..batch.rows.num_rows()).map(|row| (ids.value(row), note(row))));
        }
        visible.sort();
        visible
    }
}
