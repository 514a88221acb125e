//! Cheap values by which a cycle notices that a table was altered.

use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::error::CatalogError;

/// Values of a table that differ after it was altered or rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structure {
    /// The table's file, which is another one after TRUNCATE, a rewriting ALTER, VACUUM FULL or
    /// CLUSTER. 0 for a partitioned table.
    pub relfilenode: u32,
    /// Sum of the xids that wrote the table's row and its columns' rows in the catalog: name,
    /// rights, columns and their types.
    pub definition: i64,
    /// The same of its indexes: key and cursor may have changed.
    pub indexes: i64,
    /// The same of the links to the tables below it, with these tables' oids.
    pub descendants: i64,
}

/// Every ALTER writes new versions of catalog rows, with its xid, while VACUUM and ANALYZE write in
/// place: so the sums are the same exactly as long as nothing was altered.
const STRUCTURES: &str = "\
SELECT c.oid, c.relfilenode,
       c.xmin::text::bigint + (SELECT coalesce(sum(a.xmin::text::bigint), 0)::bigint
                               FROM pg_catalog.pg_attribute a
                               WHERE a.attrelid = c.oid AND a.attnum > 0),
       (SELECT coalesce(sum(i.xmin::text::bigint), 0)::bigint FROM pg_catalog.pg_index i WHERE \
    i.indrelid = c.oid),
       CASE WHEN c.relhassubclass THEN (
           WITH RECURSIVE tree (oid, linked) AS (
               SELECT i.inhrelid, i.xmin FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid
               UNION ALL
               SELECT i.inhrelid, i.xmin FROM pg_catalog.pg_inherits i JOIN tree t ON i.inhparent \
    = t.oid)
           SELECT coalesce(sum(t.oid::bigint + t.linked::text::bigint), 0)::bigint FROM tree t)
       ELSE 0 END
FROM pg_catalog.pg_class c
WHERE c.oid = ANY($1)";

/// Reads the structure of tables by oid. A dropped table is absent from the answer.
pub async fn read_structures(
    connection: &mut PgConnection,
    oids: &[u32],
) -> Result<Vec<(u32, Structure)>, CatalogError> {
    type Row = (Oid, Oid, i64, i64, i64);
    let oids: Vec<Oid> = oids.iter().copied().map(Oid).collect();
    let rows: Vec<Row> = sqlx::query_as(STRUCTURES)
        .bind(oids)
        .fetch_all(connection)
        .await
        .map_err(CatalogError::read("structure"))?;
    let split = |(oid, relfilenode, definition, indexes, descendants): Row| {
        let structure = Structure {
            relfilenode: relfilenode.0,
            definition,
            indexes,
            descendants,
        };
        (oid.0, structure)
    };
    Ok(rows.into_iter().map(split).collect())
}
