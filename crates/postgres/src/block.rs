//! One locked snapshot: the transaction that scans read in.
//!
//! 1. Lock the tables.
//! 2. Take the snapshot: one that is older than a lock we waited for would miss what the lock's
//!    owner committed.
//! 3. Compare the tables with the catalog reading.
//! 4. Scan.
//! 5. End the transaction.
//!
//! The transaction is short and read-only, and every lock ends with it.
//! Source: PostgreSQL manual, "Data Consistency Checks at the Application Level"; docs/polling.md,
//! "Locks before the snapshot".

use std::collections::BTreeSet;
use std::sync::Arc;

use inlet_model::TableName;
use inlet_model::Xid;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row, raw_sql};

use crate::catalog::{Captured, Structure, read_structures};
use crate::error::Error;
use crate::server;
use crate::sqlstate::{self, Meaning};

/// We wait two seconds for a lock, then the cycle is repeated: while we wait, other sessions queue
/// after us. The settings make text forms the same on every server, turn rows that row security
/// would hide into an error, and keep the planner from compiling a statement of microseconds.
const SETTINGS: &str = "\
SET LOCAL lock_timeout = '2s';
SET LOCAL row_security = off;
SET LOCAL jit = off;
SET LOCAL DateStyle = 'ISO, YMD';
SET LOCAL IntervalStyle = 'postgres';
SET LOCAL bytea_output = 'hex';";

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;";

/// One table alone, to find out which of several cannot be locked. A lock that others hold shows at
/// once, because nothing was waited for before.
const TRY: &str = "BEGIN; SET LOCAL lock_timeout = '100ms'; LOCK TABLE ";

const SNAPSHOT: &str = "\
SELECT pg_snapshot_xmax(pg_current_snapshot())::text, statement_timestamp(),
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_insert_lsn()::text END";

/// The snapshot that a scan reads in.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    /// Its `xmax`: every row that it sees has a smaller xid.
    pub xid_end: Xid,
    /// When it was taken, microseconds since 1970-01-01 UTC.
    pub taken_at: i64,
}

/// An open transaction with its snapshot.
#[derive(Debug)]
pub struct Block {
    /// The snapshot that all its statements read with.
    pub snapshot: Snapshot,
    /// Up to where the log must be flushed before its rows may be shown; a standby replays only
    /// what is flushed.
    flush_to: Option<String>,
    /// The tables that are compared again at the end.
    trees: Vec<Tree>,
}

/// A table that may change before its scan locks it: it is read with others below it, or was not
/// locked before the snapshot.
#[derive(Debug)]
struct Tree {
    table: TableName,
    oid: u32,
    types: Arc<BTreeSet<u32>>,
    structure: Structure,
}

impl Block {
    /// Opens the transaction, locks the tables, takes the snapshot, and compares the tables with
    /// the catalog reading.
    pub async fn begin(connection: &mut PgConnection, tables: &[&Captured]) -> Result<Self, Error> {
        // LOCK TABLE asks for the right to the whole table. A table of which only columns are read
        // is locked by its scan, and compared again at the end: whatever changed it before the scan
        // shows there.
        let locked = tables.iter().filter(|table| !table.leaves_out_columns());
        let names: Vec<_> = locked.map(|table| table.schema.table.quoted()).collect();
        let lock = match names.as_slice() {
            [] => String::new(),
            names => format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", ")),
        };
        // One round trip for BEGIN, the settings and all locks. A simple query may hold several
        // statements.
        let begin = format!("{BEGIN}{SETTINGS}{lock}");
        if let Err(error) = raw_sql(AssertSqlSafe(begin))
            .execute(&mut *connection)
            .await
        {
            return Err(refused(connection, tables, error).await);
        }
        // In REPEATABLE READ the first query takes the snapshot: after the locks, which LOCK TABLE
        // has waited for without one.
        let row = sqlx::query(SNAPSHOT)
            .fetch_one(&mut *connection)
            .await
            .map_err(unread)?;
        let xid_end = server::xid(&row.try_get::<String, _>(0).map_err(unread)?).map_err(unread)?;
        let taken_at = server::time(&row, 1)
            .map_err(unread)?
            .ok_or(sqlx::Error::RowNotFound)
            .map_err(unread)?
            .0;
        let asked: Vec<_> = tables
            .iter()
            .map(|table| (table.oid, table.types.as_ref()))
            .collect();
        let structures = read_structures(connection, &asked).await?;
        for table in tables {
            if !structures.contains(&(table.oid, table.structure)) {
                return Err(Error::Altered(table.schema.table.clone()));
            }
        }
        // LOCK TABLE locks the descendants that exist at that moment; one that is attached later is
        // only seen by comparing again at the end.
        let trees = tables
            .iter()
            .filter(|table| table.is_read_with_others() || table.leaves_out_columns());
        let trees = trees
            .map(|table| Tree {
                table: table.schema.table.clone(),
                oid: table.oid,
                types: Arc::clone(&table.types),
                structure: table.structure,
            })
            .collect();
        Ok(Self {
            snapshot: Snapshot { xid_end, taken_at },
            flush_to: row.try_get(2).map_err(unread)?,
            trees,
        })
    }

    /// Lets other sessions of the server read in this snapshot, for as long as the transaction is
    /// open. Source: PostgreSQL manual, "Snapshot Synchronization Functions".
    pub async fn export(&self, connection: &mut PgConnection) -> Result<SharedSnapshot, Error> {
        let id = sqlx::query_scalar("SELECT pg_export_snapshot()");
        id.fetch_one(connection)
            .await
            .map(SharedSnapshot)
            .map_err(unread)
    }

    /// Ends the transaction; the position to flush to is what remains of it.
    ///
    /// Our locks do not prevent that a table is attached. A scan includes it from that moment on,
    /// although the snapshot's catalog does not contain it: then the cycle is repeated.
    pub async fn end(self, connection: &mut PgConnection) -> Result<Gate, Error> {
        raw_sql("COMMIT")
            .execute(&mut *connection)
            .await
            .map_err(unread)?;
        if !self.trees.is_empty() {
            // This reads after COMMIT, with a new snapshot: the old one cannot see what was
            // attached meanwhile.
            let asked: Vec<_> = self
                .trees
                .iter()
                .map(|tree| (tree.oid, tree.types.as_ref()))
                .collect();
            let structures = read_structures(connection, &asked).await?;
            if let Some(tree) = self
                .trees
                .iter()
                .find(|tree| !structures.contains(&(tree.oid, tree.structure)))
            {
                return Err(Error::Altered(tree.table.clone()));
            }
        }
        Ok(Gate {
            flush_to: self.flush_to,
        })
    }
}

/// The name of a snapshot that other sessions may read in.
#[derive(Debug, Clone)]
pub struct SharedSnapshot(String);

impl SharedSnapshot {
    /// Opens a transaction in this snapshot. It takes no locks of its own: the block that exported
    /// the snapshot has locked the tables and keeps them as they are.
    pub async fn join(&self, connection: &mut PgConnection) -> Result<(), Error> {
        // The snapshot is set before the first query, which would take another one.
        let begin = format!("{BEGIN}SET TRANSACTION SNAPSHOT '{}';{SETTINGS}", self.0);
        let joined = raw_sql(AssertSqlSafe(begin)).execute(connection).await;
        joined.map(drop).map_err(unread)
    }

    /// Ends a transaction that was opened with [`Self::join`].
    pub async fn leave(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let left = raw_sql("COMMIT").execute(connection).await;
        left.map(drop).map_err(unread)
    }
}

/// What a refused lock means. `LOCK TABLE` of several tables fails as a whole, so each is tried
/// alone: the trouble of one table is then known as its own.
async fn refused(connection: &mut PgConnection, tables: &[&Captured], error: sqlx::Error) -> Error {
    let name = |table: &Captured| table.schema.table.clone();
    let first = tables.first().expect("a block reads a table");
    if tables.len() == 1 || Meaning::of(&error) == Meaning::Altered || !sqlstate::is_own(&error) {
        return Error::locking(&name(first), error);
    }
    for table in tables.iter().filter(|table| !table.leaves_out_columns()) {
        // A failure of the ROLLBACK is one of the connection, and shows in the next statement.
        let _ = raw_sql("ROLLBACK").execute(&mut *connection).await;
        let lock = format!("{TRY}{} IN ACCESS SHARE MODE", table.schema.table.quoted());
        match raw_sql(AssertSqlSafe(lock)).execute(&mut *connection).await {
            Err(own) if sqlstate::is_own(&own) => return Error::locking(&name(table), own),
            Err(other) => return Error::locking(&name(first), other),
            Ok(_) => {}
        }
    }
    match Meaning::of(&error) {
        // The lock was released while we looked for it.
        Meaning::Locked => Error::Locked {
            table: None,
            source: error,
        },
        // Each alone fits into the server's table of locks, all together do not. The table with the
        // most partitions takes the most room.
        _ => {
            let largest = tables.iter().max_by_key(|table| table.descendants.len());
            Error::rows(&name(largest.unwrap_or(first)), error)
        }
    }
}

/// The flush gate: the rows of a snapshot may be published once a crash cannot take them back.
///
/// With asynchronous commits a crash removes rows that other sessions have seen, and their xids are
/// given out again.
#[derive(Debug)]
#[must_use = "rows may be published only after the gate"]
pub struct Gate {
    flush_to: Option<String>,
}

impl Gate {
    /// Waits at most about three times `wal_writer_delay`; with synchronous commits it is open
    /// already, or after a second on an idle server.
    pub async fn pass(self, primary: &mut PgConnection) -> Result<(), Error> {
        match self.flush_to {
            Some(position) => server::flushed(primary, &position).await.map_err(unread),
            None => Ok(()),
        }
    }
}

fn unread(source: sqlx::Error) -> Error {
    Error::Server {
        act: "snapshot could not be read".to_owned(),
        source,
    }
}
