//! A table's statistics, as far as findings need them.

use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

/// Updates and deletes are counted since the statistics were last reset.
const FACTS: &str = "\
SELECT c.reltuples::float8, pg_table_size(c.oid), c.relpersistence = 'u', coalesce(s.n_tup_upd, \
0), coalesce(s.n_tup_del, 0), \
current_setting('track_counts') = 'on'
FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
WHERE c.oid = $1";

/// The statistics of a table.
#[derive(Debug)]
pub struct Facts {
    /// Its rows as the planner knows them; negative before the first ANALYZE.
    pub rows: f64,
    /// Its size on the disk.
    pub bytes: i64,
    /// True when a crash empties it.
    pub unlogged: bool,
    /// Updates that were counted.
    pub updates: i64,
    /// Deletes that were counted.
    pub deletes: i64,
    /// True when the server counts.
    pub counts: bool,
}

impl Facts {
    /// Reads them from the catalog.
    pub async fn read(connection: &mut PgConnection, oid: u32) -> Result<Self, sqlx::Error> {
        let (rows, bytes, unlogged, updates, deletes, counts) = sqlx::query_as(FACTS)
            .bind(Oid(oid))
            .fetch_one(connection)
            .await?;
        Ok(Self {
            rows,
            bytes,
            unlogged,
            updates,
            deletes,
            counts,
        })
    }
}
