//! From one connection to its first error: the poll, and the sink that makes its rows durable.

use std::collections::BTreeMap;

use inlet_model::TableName;
use inlet_model::change::ChangeBatch;
use inlet_postgres::{Known, Postgres, Tables};
use inlet_service::config::Config;
use sqlx::PgConnection;
use tracing::debug;

use crate::loads::Loads;
use crate::progress_bar::ProgressBar;
use crate::source::error::PollError;
use crate::source::out::{Event, Out};
use crate::source::poll::{Due, Poll, Step};
use crate::source::progress;
use crate::source::resume::PollSettings;
use crate::source::table::PolledTable;
use crate::trim::Trims;
use inlet_service::sink::{Sink, SinkError};

/// A connected server and the tables that were found in it.
#[derive(Debug)]
pub struct Source {
    pub postgres: Postgres,
    /// The tables, from one reading of the catalog.
    pub tables: Tables,
}

impl Source {
    /// Connects and finds the tables. A known table may be missing, every other table that the
    /// configuration names must exist.
    pub async fn open(config: &Config, known: &Known) -> Result<Self, PollError> {
        let source = Self::look(config, known).await?;
        Ok(Self {
            tables: source.tables.strict()?,
            ..source
        })
    }

    /// Connects and finds the tables, also those that cannot be captured.
    pub async fn look(config: &Config, known: &Known) -> Result<Self, PollError> {
        let address = config
            .require_postgres()
            .map_err(inlet_postgres::Error::from)?;
        let mut postgres = Postgres::connect(address).await?;
        let tables = Tables::find(postgres.primary(), config, known).await?;
        Ok(Self { postgres, tables })
    }
}

/// A poll with its sink. The sink stays the caller's, because it outlives the session.
#[derive(Debug)]
pub struct Session {
    poll: Poll,
    bar: ProgressBar,
    loads: Loads,
    trims: Trims,
}

impl Session {
    /// Reads back what the sink has durably, and resumes from there. Tables that were set aside
    /// are not polled: only the reason becomes durable, for those who look at the progress.
    pub async fn start(
        source: Source,
        settings: PollSettings,
        sink: &mut impl Sink,
        set_aside: Vec<(TableName, String)>,
    ) -> Result<Self, PollError> {
        let mut names = source.tables.names();
        names.extend(set_aside.iter().map(|(table, _)| table.clone()));
        // The sink fences an earlier owner before the first row is read, so two processes never
        // publish from the same progress.
        let progress = sink.resume(&names).await?;
        let now = |(table, reason): (TableName, String)| (table, progress::set_aside(&reason));
        let set_aside: BTreeMap<_, _> = set_aside.into_iter().map(now).collect();
        let poll = Poll::resume(source.postgres, source.tables, settings, progress).await?;
        if !set_aside.is_empty() {
            sink.checkpoint(set_aside).await?;
        }
        Ok(Self {
            poll,
            bar: ProgressBar::default(),
            loads: Loads::default(),
            trims: Trims::default(),
        })
    }

    /// One step of the poll, and the checkpoint that covers what it found. After an error the
    /// session must be thrown away.
    pub async fn step(&mut self, due: Due, sink: &mut impl Sink) -> Result<Stepped, PollError> {
        if due.dropped {
            let requests = sink.requests().await;
            self.poll.follow(&requests).await?;
        }
        let mut out = Output {
            sink,
            bar: &mut self.bar,
            loads: &mut self.loads,
        };
        let was_loading = self.poll.is_loading();
        let mut step = self.poll.step(due, &mut out).await?;
        self.loads.observe(self.poll.tables());
        let mut stepped = Stepped::default();
        // The rows of this progress are already in the sink: `poll.step` writes them before it
        // returns.
        let progress = std::mem::take(&mut step.progress);
        if !progress.is_empty() {
            let durable = sink.checkpoint(progress).await?.durable_rows();
            debug!(rows = step.rows, durable, "checkpoint");
            stepped.checkpointed = true;
            stepped.durable_rows = durable;
        }
        if was_loading && !self.poll.is_loading() {
            // Its last rows become durable while the scan runs that joins the table to the cycles.
            stepped.durable_rows += sink.start_flush().await?;
        }
        if step.joined {
            // The load is over, so no later rows will fill the batch that its last rows are in.
            stepped.durable_rows += sink.flush().await?.durable_rows();
        }
        if due.dropped {
            self.trims.step(&mut self.poll, sink).await?;
        }
        if let Some(table) = self.poll.with_next_cursor() {
            let table = table.clone();
            sink.flush().await?;
            return Err(PollError::OtherCursor(table));
        }
        stepped.step = step;
        Ok(stepped)
    }

    /// True while a table is not loaded yet.
    pub fn is_loading(&self) -> bool {
        self.poll.is_loading()
    }

    /// True while keys of a table are compared with it.
    pub fn is_comparing(&self) -> bool {
        self.poll.is_comparing()
    }

    /// Makes a pass over the keys of every table due in the next step.
    pub fn compare_now(&mut self) {
        self.poll.compare_now();
    }

    /// True once every table is loaded and has joined the cycles.
    pub fn is_tailing(&self) -> bool {
        self.poll.is_tailing()
    }

    /// The tables that are polled.
    pub fn tables(&self) -> &[PolledTable] {
        self.poll.tables()
    }

    /// The connection to the primary, between two steps.
    pub fn primary(&mut self) -> &mut PgConnection {
        self.poll.primary()
    }

    /// The servers' processes that answer: the primary's, and the standby's if there is one.
    pub fn backends(&self) -> (i32, Option<i32>) {
        self.poll.backends()
    }

    /// Loads every table again, beside its polls.
    pub async fn load_again(&mut self) -> Result<(), PollError> {
        self.poll.load_again().await
    }

    /// Makes the sweep of every table due in the next step.
    pub fn sweep_now(&mut self) {
        self.poll.sweep_now();
    }
}

/// What a step of a session did.
#[derive(Debug, Default)]
pub struct Stepped {
    /// What the poll did; its progress went to the sink.
    pub step: Step,
    /// True when progress was handed to the sink.
    pub checkpointed: bool,
    /// Rows that became durable.
    pub durable_rows: u64,
}

struct Output<'a, S> {
    sink: &'a mut S,
    bar: &'a mut ProgressBar,
    loads: &'a mut Loads,
}

impl<S: Sink> Out for Output<'_, S> {
    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        self.loads.add(&batch);
        self.sink.write(batch).await
    }

    fn observe(&mut self, event: Event<'_>) {
        self.bar.observe(event);
    }
}
