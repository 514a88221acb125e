//! The initial load: chunks along the key, each a short transaction of its own, resumable after
//! every one.
//!
//! A chunk reads only rows that were settled when the load began (`xmin < begin`); the scan that
//! joins the table to the cycles reads the rest. So each version is emitted once, no snapshot is
//! held for longer than a chunk, and updates between two chunks cost nothing. Source:
//! docs/polling.md, "Initial load".

use inlet_model::Xid;
use inlet_postgres::block::Block;
use inlet_postgres::server;
use inlet_postgres::{Error, Floor};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::coverage::Coverage;
use super::error::PollError;
use super::explain;
use super::poll::{Found, Source};
use super::scan::{Condition, Scan, chunk_end, scan};
use super::table::{Load, Phase};
use inlet_service::sink::Sink;

/// The xid below which every transaction has ended.
pub async fn begin(primary: &mut PgConnection) -> Result<Xid, PollError> {
    let unread = |source| Error::Server {
        act: "snapshot could not be read".to_owned(),
        source,
    };
    let row = sqlx::query("SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
        .fetch_one(primary)
        .await
        .map_err(unread)?;
    Ok(server::xid(&row.try_get::<String, _>(0).map_err(unread)?).map_err(unread)?)
}

impl Source {
    /// Reads the next chunk of a table that is being loaded; `None` when there is none.
    pub async fn load_chunk<S: Sink>(&mut self, sink: &mut S) -> Result<Option<Found>, PollError> {
        let Some((at, load)) = self
            .tables
            .iter()
            .enumerate()
            .find_map(|(at, table)| match &table.phase {
                Phase::Loading(load) => Some((at, load.clone())),
                Phase::Joining { .. } | Phase::Tailing => None,
            })
        else {
            return Ok(None);
        };
        let captured = self.tables[at].captured.clone();
        let rows = self.chunk_rows();
        self.catch_up().await?;
        let connection = self.standby.as_mut().unwrap_or(&mut self.primary);
        if self
            .loading
            .as_ref()
            .is_none_or(|(table, _)| *table != captured.schema.table)
        {
            let table = captured.schema.table.clone();
            self.loading = Some((
                table.clone(),
                explain::reading(connection, "load", &table).await,
            ));
        }
        let block = Block::begin(connection, &[&captured]).await?;
        let until = if captured.schema.key.is_empty() {
            None
        } else {
            let (sql, values) = chunk_end(&captured, load.after.as_deref(), rows);
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for value in values {
                query = query.bind(value);
            }
            let unread = |error| Error::rows(&captured.schema.table, error);
            let row = query
                .fetch_optional(&mut *connection)
                .await
                .map_err(unread)?;
            row.map(|row| {
                (0..captured.schema.key.len())
                    .map(|at| row.try_get(at))
                    .collect::<Result<Vec<String>, _>>()
            })
            .transpose()
            .map_err(unread)?
        };
        let condition = Condition::Chunk {
            after: load.after,
            until: until.clone(),
            before: load.begin,
        };
        let (coverage, snapshot) = (Coverage::default(), block.snapshot);
        let (_, bar) = self.loading.as_ref().expect("it was set before the block");
        let chunk = Scan {
            captured: &captured,
            coverage: &coverage,
            condition: &condition,
            snapshot,
            late_below: Floor::MIN,
            bar,
        };
        let scanned = scan(connection, chunk, sink).await?;
        self.gate = Some(block.end(connection).await?);
        self.tables[at].unsaved = true;
        self.tables[at].phase = match until {
            Some(until) => Phase::Loading(Load {
                begin: load.begin,
                after: Some(until),
                finished: false,
            }),
            None => {
                self.loading = None;
                Phase::Joining { begin: load.begin }
            }
        };
        Ok(Some(Found {
            rows: scanned.rows,
            late: 0,
        }))
    }
}
