//! The tables that a SELECT from a table reads along: partitions, and those that inherit.

use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::error::CatalogError;

/// A table below another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descendant {
    /// Its `oid` in `pg_class`.
    pub oid: u32,
    /// True when it existed before it was attached: it may hold rows that are older than the
    /// attachment.
    pub attached: bool,
}

/// A table's system columns are written into the catalog once, so their xid is that of the table's
/// creation. A row of `pg_inherits` has the xid that linked two tables. A table that was created as
/// a partition is as old as its oldest link, or older.
const DESCENDANTS: &str = "WITH RECURSIVE tree (oid, linked) AS (
         SELECT i.inhrelid, i.xmin FROM pg_catalog.pg_inherits i WHERE i.inhparent = $1
         UNION ALL
         SELECT i.inhrelid, CASE WHEN age(i.xmin) < age(t.linked) THEN i.xmin ELSE t.linked END
         FROM pg_catalog.pg_inherits i JOIN tree t ON i.inhparent = t.oid)
     SELECT t.oid, bool_or(age(t.linked) < age(a.xmin))
     FROM tree t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = -1
     GROUP BY t.oid ORDER BY t.oid";

/// Reads all tables below one, however deep.
pub(super) async fn read(
    conn: &mut PgConnection,
    oid: Oid,
) -> Result<Vec<Descendant>, CatalogError> {
    let rows: Vec<(Oid, bool)> = sqlx::query_as(DESCENDANTS)
        .bind(oid)
        .fetch_all(conn)
        .await
        .map_err(CatalogError::read("partitions"))?;
    Ok(rows
        .into_iter()
        .map(|(oid, attached)| Descendant {
            oid: oid.0,
            attached,
        })
        .collect())
}
