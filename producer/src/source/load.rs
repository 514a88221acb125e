//! The initial load: chunks along the key, each a short transaction of its own, resumable after
//! every one.
//!
//! A table that is tailing is loaded again in the same way, while its cycles go on: scans leave out
//! what is older than the load, and no scan has to join it.
//!
//! A chunk reads only rows that were settled when the load began (`xmin < begin`); the scan that
//! joins the table to the cycles reads the rest. So each version is emitted once, no snapshot is
//! held for longer than a chunk, and updates between two chunks cost nothing. Source:
//! docs/polling.md, "Initial load".
//!
//! Where the chunk is large, [`parts`] reads it over several connections.

mod parts;

use inlet_model::change::Origin;
use inlet_postgres::{Block, Captured, Gate, Snapshot, heap_blocks};
use inlet_postgres::{Error, Floor, Postgres, Table};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use self::parts::Parts;
use super::coverage::Coverage;
use super::error::PollError;
use super::keys::{KeyForm, KeysOf, PublishedKeys};
use super::out::{Event, Out, Reading};
use super::phase::{Load, Phase};
use super::recorded::{Named, Recorded, recorded_by};
use super::resume::PollSettings;
use super::scan::{BatchLimits, ReadBy, Scan, Scanned, Versions, scan};
use super::statement::{Condition, chunk_end};
use super::table::PolledTable;

/// What reading a chunk produced.
#[derive(Debug)]
pub struct Chunk {
    /// Rows that were emitted.
    pub rows: u64,
    /// What must be flushed before they become durable.
    pub gate: Gate,
    /// What the rows of a journal have named, with the place of their table.
    pub(super) named: Option<(usize, Named)>,
}

/// What every part of a chunk has in common.
#[derive(Debug, Clone)]
struct Common {
    table: Table,
    left_out: Vec<u32>,
    snapshot: Snapshot,
    load: Load,
    only: Option<String>,
    /// How keys are held, if they are.
    keys: Option<KeyForm>,
}

/// Reads the next chunk of the first table that is being loaded; `None` when there is none.
pub async fn load_chunk(
    postgres: &mut Postgres,
    tables: &mut [PolledTable],
    settings: PollSettings,
    out: &mut impl Out,
) -> Result<Option<Chunk>, PollError> {
    // A first load goes before another one: a table without rows in the lake is the more urgent.
    let due = tables
        .iter()
        .enumerate()
        .filter_map(|(at, table)| Some((at, table.due_load()?.clone(), &table.phase)));
    let next = due.min_by_key(|(at, _, phase)| (!matches!(phase, Phase::Loading(_)), *at));
    let Some((at, load, _)) = next else {
        return Ok(None);
    };
    let mut named = recorded_by(tables, at).map(|of| {
        let named = Named::of(&tables[of].table.captured.schema);
        (of, named)
    });
    let out = &mut Recorded {
        out,
        named: named.as_mut().map(|(_, named)| named),
    };
    let table = &mut tables[at];
    // A standby may lag: rows that the sessions showed as ended must be replayed before they are
    // read.
    postgres.catch_up().await?;
    out.observe(Event::Starts {
        reading: Reading::Load,
        table: table.name(),
        expected: table.expected_rows,
    });
    let extent = Extent::of(postgres.reader(), table, &load, settings).await?;
    // The connections are made before the snapshot is taken, which then lives shorter.
    let helpers = match extent.readers(table, settings) {
        0 | 1 => Vec::new(),
        readers => postgres.take_helpers(readers).await,
    };
    let connection = postgres.reader();
    let captured = &table.table.captured;
    let block = Block::begin(connection, &[captured]).await?;
    let common = Common::of(table, &load, block.snapshot);
    let xid_end = block.snapshot.xid_end;
    let (scanned, until, helpers) = if helpers.is_empty() {
        let (scanned, until) = common
            .read(connection, extent, settings.chunk_rows, out)
            .await?;
        (scanned, until, helpers)
    } else {
        let snapshot = block.export(connection).await?;
        let parts = Parts::of(extent, helpers.len(), settings.chunk_rows);
        common
            .read_side_by_side(connection, &snapshot, helpers, parts, out)
            .await?
    };
    // The position is taken even though the rows are old: an asynchronous commit may have made them
    // visible before they were flushed.
    let gate = block.end(connection).await?;
    postgres.return_helpers(helpers);
    if until.is_none() {
        out.observe(Event::Ends(Reading::Load));
    }
    let rows = scanned.rows;
    table.detected(&scanned);
    table.published(scanned.keys);
    table.loaded(load, xid_end, until);
    Ok(Some(Chunk { rows, gate, named }))
}

/// The rows of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// The whole table.
    Whole {
        /// Its size, where it is one heap whose blocks can be read apart.
        blocks: Option<u32>,
    },
    /// As many rows as a chunk has, along the key.
    ByKey,
}

impl Extent {
    async fn of(
        connection: &mut PgConnection,
        table: &PolledTable,
        load: &Load,
        settings: PollSettings,
    ) -> Result<Self, Error> {
        let captured = &table.table.captured;
        let is_keyed = !captured.key.is_empty();
        if is_keyed && load.after.is_some() {
            return Ok(Self::ByKey);
        }
        let blocks = heap_blocks(connection, captured.oid).await;
        let blocks = blocks.map_err(|error| Error::rows(table.name(), error))?;
        // Without an index a row costs a third less. The snapshot lives for a few seconds then, and
        // that long is how much is read again after a crash.
        let is_small = blocks.is_some_and(|blocks| blocks <= settings.whole_blocks_max);
        // A table without a key cannot be resumed in the middle.
        if is_small || !is_keyed {
            Ok(Self::Whole { blocks })
        } else {
            Ok(Self::ByKey)
        }
    }

    /// The connections that are worth their making.
    fn readers(self, table: &PolledTable, settings: PollSettings) -> usize {
        let is_small = table
            .expected_rows
            .is_some_and(|rows| rows < settings.side_by_side_rows_min);
        if is_small || self == (Self::Whole { blocks: None }) {
            1
        } else {
            settings.load_connections
        }
    }
}

impl Common {
    fn of(table: &PolledTable, load: &Load, snapshot: Snapshot) -> Self {
        let reload = table.reload.as_ref();
        Self {
            table: table.table.clone(),
            left_out: table.left_out_of_chunks(),
            snapshot: table.detection.of(snapshot),
            load: load.clone(),
            only: reload.and_then(|reload| reload.condition.clone()),
            keys: table.held.keys.as_ref().map(PublishedKeys::form),
        }
    }

    /// Reads a chunk over one connection.
    async fn read(
        &self,
        connection: &mut PgConnection,
        extent: Extent,
        chunk_rows: u32,
        out: &mut impl Out,
    ) -> Result<(Scanned, Option<Vec<String>>), PollError> {
        let after = self.after();
        // The end is found in the same snapshot as the rows, so a key that is inserted in between
        // cannot fall between two chunks.
        let until = match extent {
            Extent::Whole { .. } => None,
            Extent::ByKey => self.end_of_part(connection, after, chunk_rows).await?,
        };
        let condition = self.by_key(after.map(<[_]>::to_vec), until.clone());
        let scanned = self
            .scan(connection, &condition, BatchLimits::default(), out)
            .await?;
        Ok((scanned, until))
    }

    async fn scan(
        &self,
        connection: &mut PgConnection,
        condition: &Condition,
        batch: BatchLimits,
        out: &mut impl Out,
    ) -> Result<Scanned, PollError> {
        let part = Scan {
            table: &self.table,
            attached: &self.left_out,
            // The load reads old rows, which no scan has covered.
            coverage: &Coverage::default(),
            keys: self.keys.map(KeysOf::Every),
            wanted: Versions::New,
            condition,
            snapshot: self.snapshot,
            late_below: Floor::MIN,
            origin: Origin::Load,
            read_by: ReadBy::Long,
            batch,
        };
        scan(connection, part, out).await
    }

    /// The key after which the chunk starts.
    fn after(&self) -> Option<&[String]> {
        let after = self.load.after.as_ref()?;
        Some(after.values.as_slice())
    }

    fn by_key(&self, after: Option<Vec<String>>, until: Option<Vec<String>>) -> Condition {
        Condition::Chunk {
            after,
            until,
            before: self.load.begin,
            only: self.only.clone(),
        }
    }

    /// The key at which a part of this many rows ends; `None` when fewer rows are left.
    async fn end_of_part(
        &self,
        connection: &mut PgConnection,
        after: Option<&[String]>,
        rows: u32,
    ) -> Result<Option<Vec<String>>, Error> {
        end_of_part(connection, &self.table.captured, after, rows).await
    }
}

/// The key at which a part of this many rows ends; `None` when fewer rows are left.
pub(super) async fn end_of_part(
    connection: &mut PgConnection,
    captured: &Captured,
    after: Option<&[String]>,
    rows: u32,
) -> Result<Option<Vec<String>>, Error> {
    let failed = |error| Error::rows(&captured.schema.table, error);
    let (sql, values) = chunk_end(captured, after, rows);
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in values {
        query = query.bind(value);
    }
    let row = query.fetch_optional(connection).await.map_err(failed)?;
    let Some(row) = row else {
        return Ok(None);
    };
    let columns = captured.key.len();
    let key: Result<Vec<String>, _> = (0..columns).map(|at| row.try_get(at)).collect();
    key.map(Some).map_err(failed)
}
