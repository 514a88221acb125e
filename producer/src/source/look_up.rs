//! A look at single rows of a table, by their keys, in a snapshot of its own.
//!
//! The snapshot is younger than those of all scans so far, and its rows are published after theirs,
//! so a key's versions keep their order. A row that a scan has emitted is left out, and one that
//! the look emits is remembered ([`super::coverage::looked_up`]), so each version is emitted once.

use inlet_model::Xid;
use inlet_model::change::{ChangeBatch, Origin, XID};
use inlet_model::quote;
use inlet_postgres::{Block, Captured, Error, Floor, Gate, Postgres, Snapshot};
use inlet_service::sink::SinkError;
use roaring::RoaringTreemap;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, raw_sql};

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;

use super::census::{and_membership, looked_up};
use super::error::PollError;
use super::keys::{Chunk, KeysOf, integers, own_keys};
use super::out::{Event, Out};
use super::scan::{BatchLimits, ReadBy, Scan, Scanned, Versions, scan};
use super::statement::{Condition, array_text};
use super::table::PolledTable;

/// Keys of one statement at most.
const KEYS_MAX: usize = 4096;

/// Few rows are read, far apart: an index finds each. A plan that has to read the table all the
/// same has a cost that would make the server compile it.
const BY_INDEX: &str = "SET LOCAL enable_seqscan = off; SET LOCAL jit = off; \
                        SET LOCAL max_parallel_workers_per_gather = 0";

/// What to look for.
pub(super) struct Asked {
    /// Published keys whose rows may have been deleted.
    pub(super) gone: Chunk,
    /// Keys whose rows may have a version that no scan has emitted.
    pub(super) changed: Chunk,
}

/// What a look has emitted.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) deletes: u64,
    pub(super) rows: u64,
    /// What must be flushed before they become durable.
    pub(super) gate: Gate,
}

/// A version that was emitted: its xid, and the key of its record.
pub type Version = (Xid, Vec<u8>);

/// Looks for rows, and emits what was deleted and what is new.
pub(super) async fn look_up(
    postgres: &mut Postgres,
    table: &mut PolledTable,
    asked: &Asked,
    out: &mut impl Out,
) -> Result<Found, PollError> {
    // A standby may lag: it must have replayed what the earlier scans have shown.
    postgres.catch_up().await?;
    let captured = &table.table.captured;
    let connection = postgres.reader();
    let block = Block::begin(connection, &[captured]).await?;
    raw_sql(BY_INDEX)
        .execute(&mut *connection)
        .await
        .map_err(|error| Error::rows_of(captured, error))?;
    let snapshot = table.detection.of(block.snapshot);
    let missing = absent(connection, captured, &asked.gone).await?;
    if !missing.is_empty() {
        let deletes = missing.deletes(&captured.schema, snapshot.xid_end, snapshot.taken_at);
        out.write(deletes).await?;
    }
    let mut versions = Vec::new();
    let mut noted = Noted {
        out,
        versions: &mut versions,
    };
    let mut found = Vec::new();
    for keys in asked.changed.parts(KEYS_MAX) {
        found.push(unseen(connection, table, snapshot, &keys, &mut noted).await?);
    }
    // The gate holds for these changes as it does for those of a scan.
    let gate = block.end(connection).await?;
    let found = found.into_iter().reduce(Scanned::and);
    let rows = found.as_ref().map_or(0, |found| found.rows);
    table.looked_up(&missing, found, versions, snapshot.taken_at);
    Ok(Found {
        deletes: missing.len(),
        rows,
        gate,
    })
}

/// Emits those rows with these keys whose versions no scan has emitted.
async fn unseen(
    connection: &mut PgConnection,
    table: &PolledTable,
    snapshot: Snapshot,
    keys: &Chunk,
    out: &mut impl Out,
) -> Result<Scanned, PollError> {
    let columns = keys.texts(&table.table.captured.schema);
    let by_key = Scan {
        table: &table.table,
        attached: &table.attached,
        coverage: &table.coverage,
        keys: table.held.keys.as_ref().map(KeysOf::Missing),
        wanted: Versions::NewSince(table.emitted_below()),
        condition: &Condition::Keys {
            columns: columns.iter().map(|texts| array_text(texts)).collect(),
        },
        snapshot,
        late_below: Floor::MIN,
        origin: Origin::Poll,
        read_by: ReadBy::Short,
        batch: BatchLimits::default(),
    };
    scan(connection, by_key, out).await
}

/// Those of these keys that the open snapshot does not show.
async fn absent(
    connection: &mut PgConnection,
    captured: &Captured,
    keys: &Chunk,
) -> Result<Chunk, PollError> {
    match keys {
        keys if keys.is_empty() => Ok(keys.clone()),
        Chunk::Integers(keys) => {
            let absent = absent_integers(connection, captured, keys).await?;
            Ok(Chunk::Integers(absent))
        }
        // The server compares: only it knows what equal means for every type.
        Chunk::Texts(_) => looked_up(connection, captured, keys).await,
    }
}

async fn absent_integers(
    connection: &mut PgConnection,
    captured: &Captured,
    keys: &RoaringTreemap,
) -> Result<RoaringTreemap, PollError> {
    let column = quote(&captured.schema.columns[captured.key[0]].name);
    let sql = format!(
        "SELECT {column}::bigint FROM {} WHERE {column} = ANY ($1){}",
        captured.schema.table.quoted(),
        and_membership(captured)
    );
    let asked: Vec<i64> = keys.iter().map(integers::integer).collect();
    let present: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(asked)
        .fetch_all(connection)
        .await
        .map_err(|error| Error::rows_of(captured, error))?;
    let mut absent = keys.clone();
    for key in present {
        absent.remove(integers::ordered(key));
    }
    Ok(absent)
}

/// Emits rows, and remembers which versions these are.
struct Noted<'a, O> {
    out: &'a mut O,
    versions: &'a mut Vec<Version>,
}

impl<O: Out> Out for Noted<'_, O> {
    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        let xids = batch.rows.column_by_name(XID).expect("a polled batch");
        let xids = xids.as_primitive::<UInt64Type>().values();
        let xids = xids.iter().map(|xid| Xid(*xid));
        self.versions.extend(xids.zip(own_keys(&batch)));
        self.out.write(batch).await
    }

    fn observe(&mut self, event: Event<'_>) {
        self.out.observe(event);
    }
}
