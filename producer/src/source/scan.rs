//! One scan: the rows of a table within bounds, streamed in binary, straight into batches.
//!
//! Budget: the server's output of a row costs 350 ns, this side 250 ns; no allocation a row. There
//! is one way of reading for polls, sweeps and the initial load; only the condition differs.

use std::time::Instant;

use futures::TryStreamExt;
use inlet_model::Xid;
use inlet_model::change::{ChangeBatch, UPSERT};
use inlet_model::quote;
use inlet_postgres::block::Snapshot;
use inlet_postgres::catalog::Captured;
use inlet_postgres::decode::{RowDecoder, cursor_value, select_list, xmin};
use inlet_postgres::{Error, Floor};
use inlet_service::bar::Bar;
use roaring::RoaringTreemap;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tracing::warn;

use super::coverage::Coverage;
use super::error::PollError;
use inlet_service::sink::Sink;

/// Rows of one batch at most.
const BATCH_ROWS_MAX: usize = 65_536;
/// Bytes of one batch at most, about.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// A bar moves after so many rows.
const BAR_ROWS: u64 = 16_384;
/// Ages are compared modulo 2^32: a bound further back than this asks for every row.
const AGE_MAX: u64 = 1 << 31;

/// Which rows.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Rows with `cursor >= floor` and `xmin >= xid`.
    Since {
        /// In the cursor's unit; `None`: whatever the cursor says.
        floor: Option<Floor>,
        /// The lowest xid.
        xid: Xid,
    },
    /// Rows of a key range with `xmin < before`: `after` exclusive, `until` inclusive, `None`
    /// unbounded.
    Chunk {
        /// Text per key column.
        after: Option<Vec<String>>,
        /// Text per key column.
        until: Option<Vec<String>>,
        /// The xid at which the load began.
        before: Xid,
    },
    /// Every row of the descendants that no poll has read yet; the other conditions leave these
    /// out.
    Unread,
}

/// What a scan did.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The xids of all returned rows.
    pub returned: RoaringTreemap,
    /// Rows handed to the sink.
    pub rows: u64,
    /// Rows handed to the sink with a timestamp below `late_below`.
    pub late: u64,
    /// How long it took.
    pub took: std::time::Duration,
}

impl Scanned {
    /// Both scans as one: of the same snapshot, and without a row in common.
    pub fn and(mut self, other: Self) -> Self {
        self.returned |= other.returned;
        Self {
            returned: self.returned,
            rows: self.rows + other.rows,
            late: self.late + other.late,
            took: self.took + other.took,
        }
    }
}

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    /// The table.
    pub captured: &'a Captured,
    /// What has been emitted of it.
    pub coverage: &'a Coverage,
    /// Which rows.
    pub condition: &'a Condition,
    /// The snapshot that is open.
    pub snapshot: Snapshot,
    /// Rows with a timestamp below are counted as late.
    pub late_below: Floor,
    /// Told of every row that is read.
    pub bar: &'a Bar,
}

/// Reads the rows of a condition that are not covered into the sink.
pub async fn scan<S: Sink>(
    connection: &mut PgConnection,
    scan: Scan<'_>,
    sink: &mut S,
) -> Result<Scanned, PollError> {
    let Scan {
        captured,
        coverage,
        condition,
        snapshot,
        late_below,
        bar,
    } = scan;
    let started = Instant::now();
    let (sql, values) = statement(captured, condition, snapshot.xid_end);
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in values {
        query = query.bind(value);
    }
    let table = &captured.schema.table;
    let mut decoder = RowDecoder::new(captured.schema.clone(), 1024)
        .impossible_as_null(captured.impossible_as_null);
    let mut scanned = Scanned::default();
    let mut last = None;
    let mut read = 0_u64;
    let mut rows = query.fetch(connection);
    while let Some(row) = rows
        .try_next()
        .await
        .map_err(|error| Error::rows(table, error))?
    {
        read += 1;
        if read.is_multiple_of(BAR_ROWS) {
            bar.add(BAR_ROWS);
        }
        let xid = Xid::widen(xmin(&row), snapshot.xid_end);
        // Rows of one transaction mostly stand together.
        if last.replace(xid) != Some(xid) {
            scanned.returned.insert(xid.0);
        }
        let at = captured
            .cursor
            .as_ref()
            .and_then(|cursor| cursor_value(&row, cursor))
            .unwrap_or(Floor::MIN);
        if coverage.covers(xid, at) {
            continue;
        }
        decoder
            .append(&row, xid, UPSERT)
            .map_err(|error| Error::decode(table, error))?;
        scanned.rows += 1;
        scanned.late += u64::from(at < late_below);
        if decoder.rows() >= BATCH_ROWS_MAX || decoder.bytes() >= BATCH_BYTES_MAX {
            sink.write(finish(&mut decoder, snapshot)).await?;
        }
    }
    if decoder.rows() > 0 {
        sink.write(finish(&mut decoder, snapshot)).await?;
    }
    bar.add(read % BAR_ROWS);
    scanned.took = started.elapsed();
    Ok(scanned)
}

/// The rows so far as a batch; says how many of their values it holds as null because there is no
/// other place for them.
fn finish(decoder: &mut RowDecoder, snapshot: Snapshot) -> ChangeBatch {
    let batch = decoder.finish(snapshot.taken_at);
    let values = decoder.take_nulled();
    if values > 0 {
        warn!(table = %batch.schema.table, values, rows = batch.rows.num_rows(), "values that the lake's types cannot hold are written as null");
    }
    batch
}

/// The statement and its values, all bound as text and cast in the server once a statement.
pub fn statement(
    captured: &Captured,
    condition: &Condition,
    xid_end: Xid,
) -> (String, Vec<String>) {
    let (filter, values) = filter(captured, condition, xid_end);
    (
        format!(
            "SELECT {} FROM {}{filter}",
            select_list(&captured.schema),
            captured.schema.table.quoted()
        ),
        values,
    )
}

/// The `WHERE` of a condition, empty where it is every row, and its values.
pub fn filter(captured: &Captured, condition: &Condition, xid_end: Xid) -> (String, Vec<String>) {
    let mut clauses = Vec::new();
    let mut values = Vec::new();
    let mut bind = |value: String, sql_type: &str| {
        values.push(value);
        format!("${}::text::{sql_type}", values.len())
    };
    match condition {
        Condition::Since { floor, xid } => {
            if let (Some(cursor), Some(floor)) = (&captured.cursor, floor)
                && let Some(text) = cursor.kind.text(*floor)
            {
                let column = quote(&captured.schema.columns[cursor.column].name);
                clauses.push(format!(
                    "{column} >= {}",
                    bind(text, cursor.kind.sql_type())
                ));
            }
            if xid.0 + AGE_MAX > xid_end.0 {
                clauses.push(format!(
                    "age(xmin) BETWEEN 0 AND (SELECT age({}))",
                    bind(xid.low().to_string(), "xid")
                ));
            }
        }
        Condition::Chunk {
            after,
            until,
            before,
        } => {
            for (edge, operator) in [(after, ">"), (until, "<=")] {
                if let Some(key) = edge {
                    clauses.push(format!(
                        "{} {operator} {}",
                        key_columns(captured),
                        key_values(captured, key, &mut bind)
                    ));
                }
            }
            // The complement of what the joining scan asks for: each row is in exactly one of the
            // two, also a frozen one of an older epoch.
            clauses.push(format!(
                "age(xmin) NOT BETWEEN 0 AND (SELECT age({}))",
                bind(before.low().to_string(), "xid")
            ));
        }
        Condition::Unread => {}
    }
    if !captured.unread.is_empty() {
        let not = if matches!(condition, Condition::Unread) {
            ""
        } else {
            "NOT "
        };
        let unread: Vec<_> = captured.unread.iter().map(u32::to_string).collect();
        clauses.push(format!("tableoid {not}IN ({})", unread.join(", ")));
    }
    let filter = if clauses.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", clauses.join(" AND "))
    };
    (filter, values)
}

/// The statement that finds where a chunk of so many rows ends, and the values it binds.
pub fn chunk_end(
    captured: &Captured,
    after: Option<&[String]>,
    rows: u32,
) -> (String, Vec<String>) {
    let mut values = Vec::new();
    let mut bind = |value: String, sql_type: &str| {
        values.push(value);
        format!("${}::text::{sql_type}", values.len())
    };
    let columns: Vec<_> = captured
        .schema
        .key
        .iter()
        .map(|at| quote(&captured.schema.columns[*at].name))
        .collect();
    let texts: Vec<_> = columns
        .iter()
        .map(|column| format!("{column}::text"))
        .collect();
    let mut clauses: Vec<_> = after
        .map(|key| {
            format!(
                "{} > {}",
                key_columns(captured),
                key_values(captured, key, &mut bind)
            )
        })
        .into_iter()
        .collect();
    if captured.any_bytes {
        // A chunk ends at a key that the progress can hold as text.
        clauses.extend(texts.iter().map(|text| format!("{text} ~ '^[ -~]*$'")));
    }
    let filter = if clauses.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", clauses.join(" AND "))
    };
    let table = captured.schema.table.quoted();
    // A bare name in ORDER BY is that of an output column, which is text here: no index has that
    // order.
    let order: Vec<_> = columns.iter().map(|column| format!("t.{column}")).collect();
    let sql = format!(
        "SELECT {} FROM {table} AS t{filter} ORDER BY {} OFFSET {rows} LIMIT 1",
        texts.join(", "),
        order.join(", ")
    );
    (sql, values)
}

fn key_columns(captured: &Captured) -> String {
    let columns: Vec<_> = captured
        .schema
        .key
        .iter()
        .map(|at| quote(&captured.schema.columns[*at].name))
        .collect();
    format!("({})", columns.join(", "))
}

fn key_values(
    captured: &Captured,
    key: &[String],
    bind: &mut impl FnMut(String, &str) -> String,
) -> String {
    let columns = captured
        .schema
        .key
        .iter()
        .map(|at| &captured.schema.columns[*at].postgres_type);
    let values: Vec<_> = key
        .iter()
        .zip(columns)
        .map(|(value, sql_type)| bind(value.clone(), sql_type))
        .collect();
    format!("({})", values.join(", "))
}
