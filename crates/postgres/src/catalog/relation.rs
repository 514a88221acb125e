//! Which relation a name means, and whether its kind and our rights allow to capture it.

use inlet_model::{TableName, TableReference};
use sqlx::postgres::PgRow;
use sqlx::postgres::types::Oid;
use sqlx::{FromRow, PgConnection, Row};

use super::error::{CatalogError, Names};

/// Why views and foreign tables cannot be polled.
const NO_VERSIONS: &str = "its rows have no version (`xmin`)";

const FIND: &str = "\
SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
       c.relpersistence::text AS persistence, m.amname::text AS storage, current_user::text AS role,
       has_schema_privilege(n.oid, 'USAGE') AS may_use_schema, has_table_privilege(c.oid, \
    'SELECT') AS may_select,
       row_security_active(c.oid) AS row_security, current_setting('server_encoding') = \
    'SQL_ASCII' AS any_bytes
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am m ON m.oid = c.relam
WHERE c.relname = $2
  AND CASE WHEN $1::text IS NULL THEN n.nspname = ANY(current_schemas(true)) ELSE n.nspname = $1 END
ORDER BY array_position(current_schemas(true), n.nspname)
LIMIT 1";

/// A right to the whole table is one to each of its columns. `xmin` is the version of a row, `ctid`
/// and `tableoid` choose rows of blocks and of partitions.
const NOT_GRANTED: &str = "\
SELECT a.attname::text FROM pg_catalog.pg_attribute a
WHERE a.attrelid = $1 AND (a.attnum = ANY($2) OR a.attname IN ('xmin', 'ctid', 'tableoid'))
  AND NOT has_table_privilege(a.attrelid, 'SELECT')
  AND NOT has_column_privilege(a.attrelid, a.attnum, 'SELECT')
ORDER BY a.attnum";

/// A relation as the catalog names it, with what decides whether it can be captured.
#[derive(Debug)]
pub(super) struct Relation {
    pub(super) oid: Oid,
    schema: String,
    name: String,
    kind: String,
    persistence: String,
    /// The table access method; a partitioned table has none before PostgreSQL 17.
    storage: Option<String>,
    role: String,
    may_use_schema: bool,
    may_select: bool,
    row_security: bool,
    /// True in a database that accepts any bytes as text (`SQL_ASCII`).
    pub(super) any_bytes: bool,
}

impl<'r> FromRow<'r, PgRow> for Relation {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            oid: row.try_get("oid")?,
            schema: row.try_get("schema")?,
            name: row.try_get("name")?,
            kind: row.try_get("kind")?,
            persistence: row.try_get("persistence")?,
            storage: row.try_get("storage")?,
            role: row.try_get("role")?,
            may_use_schema: row.try_get("may_use_schema")?,
            may_select: row.try_get("may_select")?,
            row_security: row.try_get("row_security")?,
            any_bytes: row.try_get("any_bytes")?,
        })
    }
}

/// Finds a relation as SQL does: first with unquoted parts folded to lower case, then exactly as
/// given.
pub(super) async fn find(
    connection: &mut PgConnection,
    asked: &TableReference,
) -> Result<Option<Relation>, CatalogError> {
    // The folded name goes first, as in SQL.
    for (schema, relation) in asked.candidates() {
        let found = sqlx::query_as(FIND)
            .bind(schema)
            .bind(relation)
            .fetch_optional(&mut *connection)
            .await
            .map_err(CatalogError::read("tables"))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

impl Relation {
    pub(super) fn name(&self) -> TableName {
        TableName::new(&self.schema, &self.name)
    }

    pub(super) fn is_partitioned(&self) -> bool {
        self.kind == "p"
    }

    /// Refuses what cannot be captured without losing rows.
    ///
    /// With `by_column` the role may lack the right to the whole table:
    /// [`Self::check_columns`] looks at the columns.
    pub(super) fn check(&self, by_column: bool) -> Result<(), CatalogError> {
        let table = self.name();
        // What the relation is goes before our rights: no GRANT helps with a view.
        if let Some((what, why)) = self.unfit() {
            return Err(CatalogError::Refused { table, what, why });
        }
        let role = self.role.clone();
        if !self.may_use_schema {
            return Err(CatalogError::NoUsage { table, role });
        }
        if !self.may_select && !by_column {
            return Err(CatalogError::NoSelect { table, role });
        }
        if self.row_security {
            return Err(CatalogError::RowSecurity { table, role });
        }
        Ok(())
    }

    /// Refuses a table of which the role may not read these columns, or those that PostgreSQL adds
    /// to a row and a poll needs.
    pub(super) async fn check_columns(
        &self,
        connection: &mut PgConnection,
        columns: &[i16],
    ) -> Result<(), CatalogError> {
        let columns: Vec<String> = sqlx::query_scalar(NOT_GRANTED)
            .bind(self.oid)
            .bind(columns)
            .fetch_all(connection)
            .await
            .map_err(CatalogError::read("rights"))?;
        if columns.is_empty() {
            return Ok(());
        }
        Err(CatalogError::NoColumns {
            table: self.name(),
            role: self.role.clone(),
            columns: Names(columns),
        })
    }

    /// What the relation is instead of an ordinary table, and why that cannot be captured.
    fn unfit(&self) -> Option<(String, String)> {
        let unfit = |what: &str, why: &str| Some((what.to_owned(), why.to_owned()));
        let named = format!("{NO_VERSIONS}: name its table instead");
        match self.kind.as_str() {
            "r" | "p" => {}
            "v" => return unfit("a view", &named),
            "m" => return unfit("a materialized view", &named),
            "f" => {
                let there = format!("{NO_VERSIONS}: capture it in the database where it lives");
                return unfit("a foreign table", &there);
            }
            "i" | "I" => return unfit("an index", "name its table"),
            "S" => return unfit("a sequence", "only tables are captured"),
            _ => return unfit("no table", "only tables are captured"),
        }
        if self.persistence == "t" {
            return unfit("a temporary table", "other sessions cannot read it");
        }
        let storage = self
            .storage
            .as_deref()
            .filter(|storage| *storage != "heap")?;
        unfit(
            &format!("a table in the storage `{storage}`"),
            "only the storage `heap` is known to keep the version (`xmin`) of a row",
        )
    }
}
