//! Questions about many tables, or about one whose columns do not matter.

use inlet_model::{TableName, TableReference, similar};
use sqlx::postgres::types::Oid;
use sqlx::{AssertSqlSafe, PgConnection};

use super::error::CatalogError;
use super::error::Names;
use super::relation;

/// Partitions are read through their parent, and system schemas begin with `pg_`.
const TABLES: &str = "\
SELECT n.nspname::text, c.relname::text, n.nspname = ANY(current_schemas(false))
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
ORDER BY 1, 2";

const NAME: &str = "\
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1";

/// The tables of users that are not partitions, sorted by name.
pub async fn list_tables(connection: &mut PgConnection) -> Result<Vec<TableName>, CatalogError> {
    let tables = list(connection).await?;
    Ok(tables.into_iter().map(|(table, _)| table).collect())
}

/// The tables, each with whether `search_path` finds it without its schema.
async fn list(connection: &mut PgConnection) -> Result<Vec<(TableName, bool)>, CatalogError> {
    let tables: Vec<(String, String, bool)> = sqlx::query_as(TABLES)
        .fetch_all(connection)
        .await
        .map_err(CatalogError::read("tables"))?;
    Ok(tables
        .into_iter()
        .map(|(schema, name, in_path)| (TableName::new(schema, name), in_path))
        .collect())
}

/// True when a name means a relation, whatever its kind.
pub(crate) async fn exists(
    connection: &mut PgConnection,
    asked: &TableReference,
) -> Result<bool, CatalogError> {
    Ok(relation::find(connection, asked).await?.is_some())
}

/// The present name of a table; `None` when it was dropped.
pub(crate) async fn name_of(
    connection: &mut PgConnection,
    oid: u32,
) -> Result<Option<TableName>, CatalogError> {
    let found: Option<(String, String)> = sqlx::query_as(NAME)
        .bind(Oid(oid))
        .fetch_optional(connection)
        .await
        .map_err(CatalogError::read("tables"))?;
    Ok(found.map(|(schema, name)| TableName::new(schema, name)))
}

/// The error for a missing table, with the tables of a similar name as the user has to write them:
/// a schema that `search_path` does not contain must be named, also when it is `public`.
pub(super) async fn not_found(
    connection: &mut PgConnection,
    asked: &TableReference,
) -> Result<CatalogError, CatalogError> {
    let written = |(table, in_path): (TableName, bool)| {
        if in_path {
            table.short()
        } else {
            table.to_string()
        }
    };
    let names = list(connection).await?.into_iter().map(written);
    Ok(CatalogError::NotFound {
        similar: Names(similar(&asked.to_string(), names)),
        asked: asked.to_string(),
    })
}

/// How many rows PostgreSQL's planner expects in a table, partitions and children included; `None`
/// where it does not say.
pub async fn expected_rows(connection: &mut PgConnection, table: &TableName) -> Option<u64> {
    // The planner scales its estimate with the size of the files and adds the partitions up;
    // `reltuples` may be unknown or old.
    let sql = format!("EXPLAIN SELECT FROM {}", table.quoted());
    let plan: String = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .ok()?;
    plan.split_once(" rows=")?.1.split(' ').next()?.parse().ok()
}

/// How many blocks a table has that is one heap; `None` for any other table, and where the server
/// cannot scan a range of blocks (before version 14).
pub async fn heap_blocks(
    connection: &mut PgConnection,
    oid: u32,
) -> Result<Option<u32>, sqlx::Error> {
    const BLOCKS: &str = "\
SELECT pg_relation_size(c.oid) / current_setting('block_size')::integer
FROM pg_class c JOIN pg_am a ON a.oid = c.relam
WHERE c.oid = $1 AND c.relkind = 'r' AND a.amname = 'heap'
  AND current_setting('server_version_num')::integer >= 140000
  AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid)";
    let blocks: Option<i64> = sqlx::query_scalar(BLOCKS)
        .bind(Oid(oid))
        .fetch_optional(connection)
        .await?;
    Ok(blocks.and_then(|blocks| u32::try_from(blocks).ok()))
}
