//! One scan: the rows of a table within bounds, streamed in binary, straight into batches.
//!
//! Budget: the server's output of a row costs 350 ns, this side 250 ns; no allocation a row. Polls,
//! sweeps and the initial load read in the same way; only the condition and the protocol differ.

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use inlet_model::Xid;
use inlet_model::change::{ChangeBatch, Origin, UPSERT};
use inlet_postgres::Snapshot;
use inlet_postgres::{BinaryRow, CopyRows, RowDecoder, cursor_value, xmin};
use inlet_postgres::{Error, Floor, Table};
use inlet_service::config::ImpossibleValues;
use roaring::RoaringTreemap;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tracing::warn;

use super::coverage::Coverage;
use super::error::PollError;
use super::keys::{Chunk, KeysOf, NewKeys, own_keys};
use super::out::{Event, Out};
use super::repair::Republished;
use super::statement::{Condition, statement, statement_of_copy};

/// Rows of one batch at most.
const BATCH_ROWS_MAX: usize = 65_536;
/// Bytes of one batch at most, about.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Smaller batches cost more by their number than they save in memory.
const ROWS_LEAST: usize = 8_192;
const BYTES_LEAST: usize = 1 << 20;
/// An event is reported after this many rows.
const EVENT_ROWS: u64 = 16_384;

#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    pub table: &'a Table,
    /// Attached tables whose rows are read by a condition of their own.
    pub attached: &'a [u32],
    /// What was emitted of the table.
    pub coverage: &'a Coverage,
    /// The keys of its rows that were emitted, if they are held.
    pub keys: Option<KeysOf<'a>>,
    /// Which of the versions are emitted.
    pub wanted: Versions,
    pub condition: &'a Condition,
    /// The snapshot that is open, with the time that its rows are detected at.
    pub snapshot: Snapshot,
    /// Rows with a timestamp below are counted as late.
    pub late_below: Floor,
    /// Why the rows are read.
    pub origin: Origin,
    /// How many rows are likely to come.
    pub read_by: ReadBy,
    pub batch: BatchLimits,
}

/// How the server sends the rows. The values are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBy {
    /// By a prepared statement, whose plan the server keeps: the answer is a few rows most times.
    Short,
    /// By COPY, which is planned each time and costs half as much a row on this side.
    Long,
}

/// Which versions a scan emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Those that were not emitted.
    New,
    /// Those of them with this xid or a later one: the map forgets what is below the bound of every
    /// later scan.
    NewSince(Xid),
    /// Those that were emitted before a scan with this xid bound: another load brings them again.
    EmittedBefore(Xid),
}

impl Versions {
    fn contain(self, xid: Xid, is_covered: bool) -> bool {
        match self {
            Self::New => !is_covered,
            Self::NewSince(bound) => !is_covered && xid >= bound,
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
    /// Keys of rows that were emitted, and are not held yet.
    pub keys: NewKeys,
    /// Published keys whose deletes were emitted.
    pub deleted_keys: Vec<Chunk>,
    /// Rows that were emitted.
    pub rows: u64,
    /// Those of them that are deletes.
    pub deletes: u64,
    /// New versions of rows outside the table's membership, which may have been emitted as
    /// deletes.
    pub outside: u64,
    /// What a repair has emitted.
    pub repaired: Republished,
    /// Versions that are new to the poll, in rows that were emitted or are outside: none of
    /// another load, of an attached table, or of altered columns.
    pub found: u64,
    /// Those of them with a timestamp below `late_below`.
    pub late: u64,
    pub took: Duration,
    /// The time that the rows were detected at.
    pub detected_at: i64,
}

impl Scanned {
    /// Adds a scan of other rows in the same snapshot.
    pub fn and(mut self, other: Self) -> Self {
        self.returned |= other.returned;
        self.keys.extend(other.keys);
        self.deleted_keys.extend(other.deleted_keys);
        Self {
            returned: self.returned,
            keys: self.keys,
            deleted_keys: self.deleted_keys,
            rows: self.rows + other.rows,
            deletes: self.deletes + other.deletes,
            outside: self.outside + other.outside,
            repaired: self.repaired.and(other.repaired),
            found: self.found,
            late: self.late + other.late,
            took: self.took + other.took,
            detected_at: self.detected_at,
        }
    }

    /// Adds rows that were emitted although no scan asked for them: the other rows of their
    /// transactions may be missing, so their xids do not count as returned.
    pub fn and_without_xids(self, other: Self) -> Self {
        self.and(Self {
            returned: RoaringTreemap::new(),
            ..other
        })
    }
}

/// How much one batch holds at most.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    pub rows: usize,
    pub bytes: usize,
}

impl BatchLimits {
    /// Those of each of several scans that run side by side: together they hold what one holds.
    pub fn shared_by(readers: usize) -> Self {
        let whole = Self::default();
        Self {
            rows: (whole.rows / readers).max(ROWS_LEAST),
            bytes: (whole.bytes / readers).max(BYTES_LEAST),
        }
    }
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            rows: BATCH_ROWS_MAX,
            bytes: BATCH_BYTES_MAX,
        }
    }
}

/// Reads the rows of a condition and emits those that are wanted.
pub async fn scan(
    connection: &mut PgConnection,
    scan: Scan<'_>,
    out: &mut impl Out,
) -> Result<Scanned, PollError> {
    let started = Instant::now();
    let mut wanted = WantedRows::new(scan);
    if !scan.is_empty() {
        let captured = &scan.table.captured;
        let failed = |error| Error::rows_of(captured, error);
        match scan.read_by {
            ReadBy::Short => {
                let (sql, values) = scan.statement();
                let mut query = sqlx::query(AssertSqlSafe(sql));
                for value in values {
                    query = query.bind(value);
                }
                let mut rows = query.fetch(connection);
                while let Some(row) = rows.try_next().await.map_err(failed)? {
                    if wanted.take(&row, out)? {
                        wanted.emit(out).await?;
                    }
                }
            }
            ReadBy::Long => {
                let copied = CopyRows::start(connection, &scan.statement_of_copy()).await;
                let mut rows = copied.map_err(failed)?;
                while let Some(row) = rows.try_next().await.map_err(failed)? {
                    if wanted.take(&row, out)? {
                        wanted.emit(out).await?;
                    }
                }
            }
        }
    }
    wanted.emit(out).await?;
    out.observe(Event::Read(wanted.read % EVENT_ROWS));
    wanted.scanned.took = started.elapsed();
    Ok(wanted.scanned)
}

impl Scan<'_> {
    /// True when no row can match: all visible rows have smaller xids. Then the joining scan of a
    /// database in which nothing was written since costs no reading of the whole table.
    fn is_empty(&self) -> bool {
        matches!(self.condition, Condition::Since { xid, .. } if *xid >= self.snapshot.xid_end)
    }

    /// True when its rows tell whether they exist for readers.
    fn asks_membership(&self) -> bool {
        self.table.captured.membership.is_some() && self.condition.reads_outside()
    }

    fn statement(&self) -> (String, Vec<String>) {
        let (captured, xid_end) = (&self.table.captured, self.snapshot.xid_end);
        statement(captured, self.condition, self.attached, xid_end)
    }

    fn statement_of_copy(&self) -> String {
        let (captured, xid_end) = (&self.table.captured, self.snapshot.xid_end);
        statement_of_copy(captured, self.condition, self.attached, xid_end)
    }
}

/// Rows that do not exist for readers, as deletes: the last column of a row tells which these are.
struct Outside {
    decoder: RowDecoder,
    column: usize,
}

/// Keeps the rows that are wanted, and gathers them into batches.
struct WantedRows<'a> {
    scan: Scan<'a>,
    decoder: RowDecoder,
    /// Decodes one row for its key.
    single: Option<RowDecoder>,
    /// Rows outside the membership, where the statement reads them.
    outside: Option<Outside>,
    scanned: Scanned,
    /// The xid of the row before.
    last: Option<Xid>,
    /// Rows that were returned.
    read: u64,
}

impl<'a> WantedRows<'a> {
    fn new(scan: Scan<'a>) -> Self {
        let table = scan.table;
        let as_null = table.config.impossible_values == ImpossibleValues::Null;
        let decoder = || table.captured.decoder(1024);
        Self {
            decoder: decoder().impossible_as_null(as_null),
            single: None,
            outside: scan.asks_membership().then(|| Outside {
                decoder: decoder(),
                column: 1 + table.captured.schema.columns.len(),
            }),
            scanned: Scanned {
                keys: scan.keys.map(KeysOf::none).unwrap_or_default(),
                detected_at: scan.snapshot.taken_at,
                ..Scanned::default()
            },
            scan,
            last: None,
            read: 0,
        }
    }

    /// Looks at the next row; true when a batch is full.
    #[inline]
    fn take(&mut self, row: &impl BinaryRow, out: &mut impl Out) -> Result<bool, Error> {
        let scan = &self.scan;
        let captured = &scan.table.captured;
        self.read += 1;
        if self.read.is_multiple_of(EVENT_ROWS) {
            out.observe(Event::Read(EVENT_ROWS));
        }
        let xid = Xid::widen(xmin(row), scan.snapshot.xid_end);
        // The rows of one transaction mostly follow each other, and the bitmap costs more than the
        // comparison.
        if self.last.replace(xid) != Some(xid) {
            self.scanned.returned.insert(xid.0);
        }
        // A row without a stamp is older than every floor.
        let cursor = captured.cursor.as_ref();
        let at = cursor
            .and_then(|cursor| cursor_value(row, cursor))
            .unwrap_or(Floor::MIN);
        let is_covered = scan.coverage.covers(xid, at)
            || (scan.coverage.looked_up.has_xid(xid) && self.was_looked_up(row, xid)?);
        let scan = &self.scan;
        if !scan.wanted.contain(xid, is_covered) {
            return Ok(false);
        }
        let failed = |error| Error::decode(&captured.schema.table, error);
        if let Some(outside) = &mut self.outside {
            if row.value(outside.column) == Some(&[0]) {
                self.scanned.outside += 1;
                // Without a key a row of the history cannot be deleted.
                if !captured.schema.key.is_empty() {
                    outside.decoder.append_delete(row, xid).map_err(failed)?;
                }
                return Ok(outside.decoder.rows() >= scan.batch.rows);
            }
            self.decoder
                .append_first(row, xid, UPSERT)
                .map_err(failed)?;
        } else {
            self.decoder.append(row, xid, UPSERT).map_err(failed)?;
        }
        self.scanned.rows += 1;
        // A late row is one that a shallower scan would have missed; the count tells operators how
        // good their timestamps are.
        self.scanned.late += u64::from(at < scan.late_below);
        // Rows may be narrow or wide, so a batch ends by whichever bound it reaches first.
        let BatchLimits { rows, bytes } = scan.batch;
        Ok(self.decoder.rows() >= rows || self.decoder.bytes() >= bytes)
    }

    /// True for a version that was emitted because a journal named its row.
    #[cold]
    fn was_looked_up(&mut self, row: &impl BinaryRow, xid: Xid) -> Result<bool, Error> {
        let captured = &self.scan.table.captured;
        let single = self.single.get_or_insert_with(|| captured.decoder(1));
        single
            .append_first(row, xid, UPSERT)
            .map_err(|error| Error::decode(&captured.schema.table, error))?;
        let keys = own_keys(&single.finish(self.scan.snapshot.taken_at));
        let mut keys = keys.iter();
        Ok(keys.any(|key| self.scan.coverage.looked_up.contains(xid, key)))
    }

    /// Emits the rows so far.
    async fn emit(&mut self, out: &mut impl Out) -> Result<(), PollError> {
        if self.decoder.rows() > 0 {
            out.write(self.finish()).await?;
        }
        if let Some(deletes) = self.finish_outside() {
            out.write(deletes).await?;
        }
        Ok(())
    }

    /// The deletes of those rows outside the membership that are published. Which these are is
    /// unknown where no keys are held: there the delete of a row that was never published does no
    /// harm.
    fn finish_outside(&mut self) -> Option<ChangeBatch> {
        let outside = self.outside.as_mut()?;
        if outside.decoder.rows() == 0 {
            return None;
        }
        let mut batch = outside.decoder.finish(self.scan.snapshot.taken_at);
        if let Some(KeysOf::Missing(keys)) = self.scan.keys {
            let (published, left) = keys.published_of(batch);
            batch = published;
            self.scanned.deleted_keys.push(left);
        }
        let rows = batch.rows.num_rows() as u64;
        self.scanned.rows += rows;
        self.scanned.deletes += rows;
        (rows > 0).then_some(batch)
    }

    /// The rows so far as a batch, with a warning when values had to become null.
    fn finish(&mut self) -> ChangeBatch {
        let mut batch = self.decoder.finish(self.scan.snapshot.taken_at);
        batch.origin = self.scan.origin;
        if let Some(keys) = self.scan.keys {
            keys.collect(&batch, &mut self.scanned.keys);
        }
        let values = self.decoder.take_nulled();
        if values > 0 {
            warn!(table = %batch.schema.table, values, rows = batch.rows.num_rows(), "values that \
                the lake's types cannot hold are written as null");
        }
        batch
    }
}
