//! From one connection to its first error: the poll, and the sink that makes its rows durable.

use inlet_model::change::ChangeBatch;
use inlet_postgres::{Known, Postgres, Tables};
use inlet_service::config::Config;
use tracing::debug;

use crate::progress_bar::ProgressBar;
use crate::source::error::PollError;
use crate::source::out::{Event, Out};
use crate::source::poll::{Due, Poll, Step};
use crate::source::resume::PollSettings;
use crate::source::table::PolledTable;
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
    /// configuration names must be capturable.
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
}

impl Session {
    /// Reads back what the sink has durably, and resumes from there.
    pub async fn start(
        source: Source,
        settings: PollSettings,
        sink: &mut impl Sink,
    ) -> Result<Self, PollError> {
        // The sink fences an earlier owner before the first row is read, so two processes never
        // publish from the same progress.
        let progress = sink.resume(&source.tables.names()).await?;
        let poll = Poll::resume(source.postgres, source.tables, settings, progress).await?;
        Ok(Self {
            poll,
            bar: ProgressBar::default(),
        })
    }

    /// One step of the poll, and the checkpoint that covers what it found. After an error the
    /// session must be thrown away.
    pub async fn step(&mut self, due: Due, sink: &mut impl Sink) -> Result<Stepped, PollError> {
        let mut out = Output {
            sink,
            bar: &mut self.bar,
        };
        let mut step = self.poll.step(due, &mut out).await?;
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
        if step.joined {
            // The load is over, so no later rows will fill the batch that its last rows are in.
            stepped.durable_rows += sink.flush().await?.durable_rows();
        }
        stepped.step = step;
        Ok(stepped)
    }

    /// True while a table is not loaded yet.
    pub fn is_loading(&self) -> bool {
        self.poll.is_loading()
    }

    /// True once every table is loaded and has joined the cycles.
    pub fn is_tailing(&self) -> bool {
        self.poll.is_tailing()
    }

    /// The tables that are polled.
    pub fn tables(&self) -> &[PolledTable] {
        self.poll.tables()
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
}

impl<S: Sink> Out for Output<'_, S> {
    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        self.sink.write(batch).await
    }

    fn observe(&mut self, event: Event<'_>) {
        self.bar.observe(event);
    }
}
