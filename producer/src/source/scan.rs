//! One scan: the rows of a table within bounds, streamed in binary, straight into batches.
//!
//! Budget: the server's output of a row costs 350 ns, this side 250 ns; no allocation a row. Polls,
//! sweeps and the initial load read in the same way; only the condition differs.

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use inlet_model::Xid;
use inlet_model::change::{ChangeBatch, UPSERT};
use inlet_postgres::Snapshot;
use inlet_postgres::{Error, Floor, Table};
use inlet_postgres::{RowDecoder, cursor_value, xmin};
use inlet_service::config::ImpossibleValues;
use roaring::RoaringTreemap;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tracing::warn;

use super::coverage::Coverage;
use super::error::PollError;
use super::out::{Event, Out};
use super::statement::{Condition, statement};

/// Rows of one batch at most.
const BATCH_ROWS_MAX: usize = 65_536;
/// Bytes of one batch at most, about.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// An event is reported after this many rows.
const EVENT_ROWS: u64 = 16_384;

#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    pub table: &'a Table,
    /// Attached tables whose rows are read by a condition of their own.
    pub attached: &'a [u32],
    /// What was emitted of the table.
    pub coverage: &'a Coverage,
    /// Which of the versions are handed on.
    pub wanted: Versions,
    pub condition: &'a Condition,
    /// The snapshot that is open, with the time that its rows are detected at.
    pub snapshot: Snapshot,
    /// Rows with a timestamp below are counted as late.
    pub late_below: Floor,
    /// True for a part of a load.
    pub is_load: bool,
}

/// Which versions a scan hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Those that were not emitted.
    New,
    /// Those that were emitted before a scan with this xid bound: another load brings them again.
    EmittedBefore(Xid),
}

impl Versions {
    fn contain(self, xid: Xid, is_covered: bool) -> bool {
        match self {
            Self::New => !is_covered,
            // The coverage forgets what is below the bound of every later scan.
            Self::EmittedBefore(bound) => is_covered || xid < bound,
        }
    }
}

/// What a scan did.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The xids of all returned rows.
    pub returned: RoaringTreemap,
    /// Rows that were handed on.
    pub rows: u64,
    /// Those of them with a timestamp below `late_below`.
    pub late: u64,
    /// How long the scan took.
    pub took: Duration,
    /// The time that the rows were detected at.
    pub detected_at: i64,
}

impl Scanned {
    /// Adds a scan of other rows in the same snapshot.
    pub fn and(mut self, other: Self) -> Self {
        self.returned |= other.returned;
        Self {
            returned: self.returned,
            rows: self.rows + other.rows,
            late: self.late + other.late,
            took: self.took + other.took,
            detected_at: self.detected_at,
        }
    }
}

/// Reads the rows of a condition and hands on those that are wanted.
pub async fn scan(
    connection: &mut PgConnection,
    scan: Scan<'_>,
    out: &mut impl Out,
) -> Result<Scanned, PollError> {
    let Scan {
        table,
        coverage,
        snapshot,
        ..
    } = scan;
    let captured = &table.captured;
    let name = &captured.schema.table;
    let started = Instant::now();
    let (sql, values) = statement(captured, scan.condition, scan.attached, snapshot.xid_end);
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in values {
        query = query.bind(value);
    }
    let as_null = table.config.impossible_values == ImpossibleValues::Null;
    let mut decoder = RowDecoder::new(captured.schema.clone(), 1024).impossible_as_null(as_null);
    let mut scanned = Scanned {
        detected_at: snapshot.taken_at,
        ..Scanned::default()
    };
    let mut last = None;
    let mut read = 0_u64;
    let mut rows = query.fetch(connection);
    while let Some(row) = rows
        .try_next()
        .await
        .map_err(|error| Error::rows(name, error))?
    {
        read += 1;
        if read.is_multiple_of(EVENT_ROWS) {
            out.observe(Event::Read(EVENT_ROWS));
        }
        let xid = Xid::widen(xmin(&row), snapshot.xid_end);
        // The rows of one transaction mostly follow each other, and the bitmap costs more than the
        // comparison.
        if last.replace(xid) != Some(xid) {
            scanned.returned.insert(xid.0);
        }
        // A row without a stamp is older than every floor.
        let at = captured
            .cursor
            .as_ref()
            .and_then(|cursor| cursor_value(&row, cursor))
            .unwrap_or(Floor::MIN);
        if !scan.wanted.contain(xid, coverage.covers(xid, at)) {
            continue;
        }
        decoder
            .append(&row, xid, UPSERT)
            .map_err(|error| Error::decode(name, error))?;
        scanned.rows += 1;
        // A late row is one that a shallower scan would have missed; the count tells operators how
        // good their timestamps are.
        scanned.late += u64::from(at < scan.late_below);
        // Rows may be narrow or wide, so a batch ends by whichever bound it reaches first.
        if decoder.rows() >= BATCH_ROWS_MAX || decoder.bytes() >= BATCH_BYTES_MAX {
            out.write(finish(&mut decoder, scan)).await?;
        }
    }
    if decoder.rows() > 0 {
        out.write(finish(&mut decoder, scan)).await?;
    }
    out.observe(Event::Read(read % EVENT_ROWS));
    scanned.took = started.elapsed();
    Ok(scanned)
}

/// The rows so far as a batch, with a warning when values had to become null.
fn finish(decoder: &mut RowDecoder, scan: Scan<'_>) -> ChangeBatch {
    let mut batch = decoder.finish(scan.snapshot.taken_at);
    batch.is_load = scan.is_load;
    let values = decoder.take_nulled();
    if values > 0 {
        warn!(table = %batch.schema.table, values, rows = batch.rows.num_rows(), "values that the \
            lake's types cannot hold are written as null");
    }
    batch
}
