//! A table in PostgreSQL, in one snapshot that every reading of it shares.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use inlet_model::TableSchema;
use inlet_model::Xid;
use inlet_model::change::UPSERT;
use inlet_postgres::{Block, Captured, Error, RowDecoder, Table, expected_rows, xmin};
use inlet_service::bar::Bar;
use inlet_service::config::ImpossibleValues;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row, raw_sql};
use tokio::time::Instant;

use super::compare::Sight;

const BATCH_ROWS_MAX: usize = 8192;
const BATCH_BYTES_MAX: usize = 8 << 20;
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// The snapshot is held while the lake catches up, which does not stop other sessions from writing.
const PATIENT: &str =
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";

/// An open transaction on one table.
pub struct Snapshot<'a> {
    /// The table as it is in the snapshot.
    pub schema: Arc<TableSchema>,
    /// Which transactions it sees.
    pub sight: Sight,
    connection: &'a mut PgConnection,
    captured: Captured,
    xid_end: Xid,
    impossible_values: ImpossibleValues,
}

impl<'a> Snapshot<'a> {
    /// Opens a snapshot of the table. A table that is being altered or locked is awaited until the
    /// deadline.
    pub async fn open(
        connection: &'a mut PgConnection,
        mut table: Table,
        deadline: Instant,
    ) -> Result<Self, Error> {
        loop {
            match begin(connection, &table.captured).await {
                Ok((sight, xid_end)) => {
                    return Ok(Self {
                        schema: Arc::clone(&table.captured.schema),
                        captured: table.captured,
                        sight,
                        connection,
                        xid_end,
                        impossible_values: table.config.impossible_values,
                    });
                }
                Err(Error::Altered(_) | Error::Locked { .. }) if Instant::now() < deadline => {
                    end(connection).await?;
                    tokio::time::sleep(ASK_AGAIN).await;
                    table.read_again(connection).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The session, for more questions to the same snapshot.
    pub fn connection(&mut self) -> &mut PgConnection {
        self.connection
    }

    /// The table as the catalog has it.
    pub fn captured(&self) -> &Captured {
        &self.captured
    }

    /// What the rows that exist for readers are read from: the table, and their condition.
    pub fn source(&self) -> String {
        source(&self.captured)
    }

    /// The first xid that the snapshot does not see.
    pub fn xid_end(&self) -> Xid {
        self.xid_end
    }

    /// Whether the lake holds null for a value that its types cannot hold.
    pub fn nulls_impossible_values(&self) -> bool {
        self.impossible_values == ImpossibleValues::Null
    }

    /// Whether the server's texts have to be converted to UTF-8. A database that accepts any bytes
    /// as text has no conversion: there the bytes are compared as they are.
    pub async fn converts_texts(&mut self) -> Result<bool, Error> {
        let encoding: String = sqlx::query_scalar("SELECT current_setting('server_encoding')")
            .fetch_one(&mut *self.connection)
            .await
            .map_err(Error::server("encoding could not be read"))?;
        Ok(!matches!(encoding.as_str(), "UTF8" | "SQL_ASCII"))
    }

    /// Ends the transaction; the connection can be used again.
    pub async fn end(self) -> Result<(), Error> {
        end(self.connection).await
    }

    /// Hands over every row of the snapshot, in batches as the poller reads them.
    pub async fn read(&mut self, mut take: impl FnMut(&RecordBatch)) -> Result<(), Error> {
        let table = &self.schema.table;
        let captured = &self.captured;
        let (list, source) = (captured.select_list(), source(captured));
        let sql = format!("SELECT {list} FROM {source}");
        let decoder = self.captured.decoder(BATCH_ROWS_MAX);
        let mut decoder =
            decoder.impossible_as_null(self.impossible_values == ImpossibleValues::Null);
        let expected = expected_rows(self.connection, table).await;
        let bar = Bar::new(format!("verify {table}"), expected);
        let mut finish = |decoder: &mut RowDecoder| {
            let batch = decoder.finish(0);
            bar.add(batch.rows.num_rows() as u64);
            tokio::task::block_in_place(|| take(&batch.rows));
        };
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut *self.connection);
        while let Some(row) = rows
            .try_next()
            .await
            .map_err(|error| Error::rows_of(captured, error))?
        {
            let xid = Xid::widen(xmin(&row), self.xid_end);
            decoder
                .append(&row, xid, UPSERT)
                .map_err(|error| Error::decode(table, error))?;
            if decoder.rows() >= BATCH_ROWS_MAX || decoder.bytes() >= BATCH_BYTES_MAX {
                finish(&mut decoder);
            }
        }
        if decoder.rows() > 0 {
            finish(&mut decoder);
        }
        Ok(())
    }
}

fn source(captured: &Captured) -> String {
    let table = captured.schema.table.quoted();
    match &captured.membership {
        Some(membership) => format!("{table} WHERE {membership}"),
        None => table,
    }
}

async fn end(connection: &mut PgConnection) -> Result<(), Error> {
    raw_sql("ROLLBACK")
        .execute(connection)
        .await
        .map(drop)
        .map_err(Error::server("transaction could not be ended"))
}

async fn begin(connection: &mut PgConnection, captured: &Captured) -> Result<(Sight, Xid), Error> {
    let block = Block::begin(connection, &[captured]).await?;
    raw_sql(PATIENT)
        .execute(&mut *connection)
        .await
        .map_err(Error::server("timeouts could not be set"))?;
    let unread = |source| Error::Server {
        act: "snapshot could not be read".to_owned(),
        source,
    };
    let row = sqlx::query("SELECT pg_current_snapshot()::text")
        .fetch_one(connection)
        .await
        .map_err(unread)?;
    let text: String = row.try_get(0).map_err(unread)?;
    let sight = Sight::parse(&text)
        .ok_or_else(|| unread(sqlx::Error::Protocol(format!("a snapshot reads `{text}`"))))?;
    Ok((sight, block.snapshot.xid_end))
}
