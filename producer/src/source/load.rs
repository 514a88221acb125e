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

use inlet_postgres::{Block, Gate};
use inlet_postgres::{Error, Floor, Postgres};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::coverage::Coverage;
use super::error::PollError;
use super::out::{Event, Out, Reading};
use super::phase::{Load, Phase};
use super::scan::{Scan, Versions, scan};
use super::statement::{Condition, chunk_end};
use super::table::PolledTable;

/// What reading a chunk produced.
#[derive(Debug)]
pub struct Chunk {
    /// Rows that were handed on.
    pub rows: u64,
    /// What must be flushed before they become durable.
    pub gate: Gate,
}

/// Reads the next chunk of the first table that is being loaded; `None` when there is none.
pub async fn load_chunk(
    postgres: &mut Postgres,
    tables: &mut [PolledTable],
    chunk_rows: u32,
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
    let table = &mut tables[at];
    // A standby may lag: rows that the sessions showed as ended must be replayed before they are
    // read.
    postgres.catch_up().await?;
    let connection = postgres.reader();
    let captured = &table.table.captured;
    out.observe(Event::Starts {
        reading: Reading::Load,
        table: table.name(),
        expected: table.expected_rows,
    });
    let block = Block::begin(connection, &[captured]).await?;
    // The end is found in the same snapshot as the rows, so a key that is inserted in between
    // cannot fall between two chunks.
    let until = end_of_chunk(connection, table, &load, chunk_rows).await?;
    let condition = Condition::Chunk {
        after: load.after.as_ref().map(|after| after.values.clone()),
        until: until.clone(),
        before: load.begin,
        only: table
            .reload
            .as_ref()
            .and_then(|reload| reload.condition.clone()),
    };
    let left_out = table.left_out_of_chunks();
    let chunk = Scan {
        table: &table.table,
        attached: &left_out,
        // The load reads old rows, which no scan has covered.
        coverage: &Coverage::default(),
        wanted: Versions::New,
        condition: &condition,
        snapshot: table.detection.of(block.snapshot),
        late_below: Floor::MIN,
        is_load: true,
    };
    let xid_end = block.snapshot.xid_end;
    let scanned = scan(connection, chunk, out).await?;
    // The position is taken even though the rows are old: an asynchronous commit may have made them
    // visible before they were flushed.
    let gate = block.end(connection).await?;
    if until.is_none() {
        out.observe(Event::Ends(Reading::Load));
    }
    table.detected(&scanned);
    table.loaded(load, xid_end, until);
    Ok(Some(Chunk {
        rows: scanned.rows,
        gate,
    }))
}

/// The key at which the chunk ends; `None` for the last chunk, and for a table without a key, which
/// is read in one.
async fn end_of_chunk(
    connection: &mut PgConnection,
    table: &PolledTable,
    load: &Load,
    chunk_rows: u32,
) -> Result<Option<Vec<String>>, Error> {
    let captured = &table.table.captured;
    let columns = captured.key.len();
    if columns == 0 {
        return Ok(None);
    }
    let failed = |error| Error::rows(table.name(), error);
    let after = load.after.as_ref().map(|after| after.values.as_slice());
    let (sql, values) = chunk_end(captured, after, chunk_rows);
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in values {
        query = query.bind(value);
    }
    let row = query.fetch_optional(connection).await.map_err(failed)?;
    // Fewer rows than a chunk are left: the last chunk has no end.
    let Some(row) = row else {
        return Ok(None);
    };
    let key: Result<Vec<String>, _> = (0..columns).map(|at| row.try_get(at)).collect();
    key.map(Some).map_err(failed)
}
