//! What PostgreSQL's catalog says about a captured table: its columns, key and cursor column, and
//! whether it can be captured at all.
//!
//! Promises: names resolve as SQL does, nothing is guessed that the catalog knows, and a table that
//! would hide rows is refused. Leaves to others: reading rows (`decode`, the poll), and what to do
//! about a cursor without an index. Source: PostgreSQL manual, "System Catalogs": `pg_class`,
//! `pg_attribute`, `pg_index`, `pg_type`.

use std::sync::Arc;

use inlet_model::{TableName, TableReference, TableSchema, quote, similar};
use inlet_service::config::ImpossibleValues;
use sqlx::postgres::PgRow;
use sqlx::postgres::types::Oid;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Row};

pub use self::cursor::{Cursor, CursorKind};
pub use self::descendants::Descendant;
pub use self::error::{CatalogError, Names};

mod columns;
mod cursor;
mod descendants;
mod error;
mod key;

/// The longest identifier that PostgreSQL keeps whole, in bytes (`NAMEDATALEN - 1`).
const IDENTIFIER_BYTES_MAX: usize = 63;

/// What the configuration says about a table in place of the catalog.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The cursor column.
    pub cursor: Option<String>,
    /// The key's columns, in order; an empty list is a table without a key.
    pub key: Option<Vec<String>>,
    /// What becomes of values that the lake's type cannot hold.
    pub impossible_values: ImpossibleValues,
    /// The column that dates a row, where it is not the schema's own choice.
    pub date_column: Option<String>,
}

/// A table that can be captured.
#[derive(Debug, Clone)]
pub struct Captured {
    /// Its object id.
    pub oid: u32,
    /// Its columns and key.
    pub schema: Arc<TableSchema>,
    /// The columns' numbers in the catalog: a number stays with its column when that is renamed,
    /// and never comes again.
    pub numbers: Vec<i16>,
    /// The column by which new rows are found; without one only sweeps find rows.
    pub cursor: Option<Cursor>,
    /// What tells later that the table is not the same any more. It is read before the columns: an
    /// ALTER in between shows as a change.
    pub structure: Structure,
    /// True for a partitioned table, read through its parent.
    pub partitioned: bool,
    /// What a SELECT reads along: its partitions, or the tables that inherit from it.
    pub descendants: Vec<Descendant>,
    /// Those among them whose rows no poll has read yet, though they may be older than all that the
    /// polls ask for. Whoever knows what was polled fills it in.
    pub unread: Vec<u32>,
    /// True when a value that the lake's type cannot hold is read as null, outside the key.
    pub impossible_as_null: bool,
    /// True in a database that takes any bytes for text (`SQL_ASCII`).
    pub any_bytes: bool,
}

impl Captured {
    /// The statement that gives the cursor its index, when it has none.
    pub fn missing_index(&self) -> Option<String> {
        let cursor = self.cursor.filter(|cursor| !cursor.indexed)?;
        Some(index_statement(
            &self.schema.table,
            &self.schema.columns[cursor.column].name,
            self.partitioned,
        ))
    }
}

/// Cheap values of a table that change when it is altered or rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structure {
    /// The table's file: another one after TRUNCATE, a rewriting ALTER, VACUUM FULL or CLUSTER. 0
    /// for a partitioned table.
    pub relfilenode: u32,
    /// Sum of the xids that wrote the table's row and its columns' rows in the catalog: name,
    /// rights, columns and their types.
    pub definition: i64,
    /// The same of its indexes: key and cursor may have changed.
    pub indexes: i64,
    /// The same of the links to the tables below it, with these tables' oids.
    pub descendants: i64,
}

/// The statement by which a cycle reads the [`Structure`] of many tables: `$1` is an array of oids;
/// [`StructureRow::split`] takes its rows. A table that is gone has none.
// Catalog rows are written anew by every ALTER, with its xid, while VACUUM and ANALYZE write in
// place: so the sum is the same exactly as long as nothing was altered.
pub fn structure_sql() -> &'static str {
    "SELECT c.oid, c.relfilenode,
            c.xmin::text::bigint + (SELECT coalesce(sum(a.xmin::text::bigint), 0)::bigint
                                    FROM pg_catalog.pg_attribute a
                                    WHERE a.attrelid = c.oid AND a.attnum > 0),
            (SELECT coalesce(sum(i.xmin::text::bigint), 0)::bigint FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid),
            CASE WHEN c.relhassubclass THEN (
                WITH RECURSIVE tree (oid, linked) AS (
                    SELECT i.inhrelid, i.xmin FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid
                    UNION ALL
                    SELECT i.inhrelid, i.xmin FROM pg_catalog.pg_inherits i JOIN tree t ON i.inhparent = t.oid)
                SELECT coalesce(sum(t.oid::bigint + t.linked::text::bigint), 0)::bigint FROM tree t)
            ELSE 0 END
     FROM pg_catalog.pg_class c
     WHERE c.oid = ANY($1)"
}

/// A row of [`structure_sql`].
#[derive(Debug, Clone, Copy)]
pub struct StructureRow(Oid, Structure);

impl StructureRow {
    /// The table's oid and its structure.
    pub fn split(self) -> (u32, Structure) {
        (self.0.0, self.1)
    }
}

impl<'r> FromRow<'r, PgRow> for StructureRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let (oid, Oid(relfilenode), definition, indexes, descendants) =
            <(Oid, Oid, i64, i64, i64)>::from_row(row)?;
        Ok(Self(
            oid,
            Structure {
                relfilenode,
                definition,
                indexes,
                descendants,
            },
        ))
    }
}

/// Reads the structure of tables by oid; one that is gone is absent from the answer.
pub async fn read_structures(
    conn: &mut PgConnection,
    oids: &[u32],
) -> Result<Vec<(u32, Structure)>, CatalogError> {
    let oids: Vec<Oid> = oids.iter().copied().map(Oid).collect();
    let rows: Vec<StructureRow> = sqlx::query_as(structure_sql())
        .bind(oids)
        .fetch_all(conn)
        .await
        .map_err(CatalogError::read("structure"))?;
    Ok(rows.into_iter().map(StructureRow::split).collect())
}

/// Finds a table by the name that the user gave and reads all that capturing it needs.
pub async fn read_table(
    conn: &mut PgConnection,
    asked: &str,
    overrides: &Overrides,
) -> Result<Captured, CatalogError> {
    let found = find(conn, asked).await?;
    found.check()?;
    let structure = read_structures(conn, &[found.oid.0]).await?;
    let Some((_, structure)) = structure.into_iter().next() else {
        return Err(not_found(conn, asked).await?);
    };
    let rows = columns::read(conn, found.oid).await?;
    let table = found.name();
    columns::refuse_reserved(&table, &rows)?;
    let descendants = descendants::read(conn, found.oid).await?;
    let indexes = key::read(conn, found.oid, &rows).await?;
    let (numbers, columns): (Vec<_>, Vec<_>) =
        rows.into_iter().map(|row| (row.number, row.column)).unzip();
    let key = key::choose(&table, &columns, &indexes, overrides.key.as_deref())?;
    let cursor = cursor::choose(
        &table,
        &columns,
        &key::leading_columns(&indexes),
        overrides.cursor.as_deref(),
    )?;
    let partitioned = found.kind == "p";
    let mut schema = TableSchema::new(table, columns, key);
    if overrides.impossible_values == ImpossibleValues::Text {
        let dated_by = overrides
            .date_column
            .as_ref()
            .and_then(|name| schema.position(name))
            .or_else(|| schema.event_time());
        let mut columns = schema.columns.clone();
        columns::carry_as_text(
            &mut columns,
            &[cursor.map(|cursor| cursor.column), dated_by],
        );
        schema = TableSchema::new(schema.table.clone(), columns, schema.key.clone());
    }
    let impossible_as_null = overrides.impossible_values == ImpossibleValues::Null;
    Ok(Captured {
        oid: found.oid.0,
        schema: Arc::new(schema),
        numbers,
        cursor,
        structure,
        partitioned,
        descendants,
        unread: Vec::new(),
        impossible_as_null,
        any_bytes: found.any_bytes,
    })
}

/// Those of these columns whose values rows have although nobody wrote them: added with a default,
/// or generated when they are read.
pub async fn unwritten(
    conn: &mut PgConnection,
    captured: &Captured,
    columns: &[&str],
) -> Result<Vec<String>, CatalogError> {
    const UNWRITTEN: &str = "SELECT DISTINCT a.attname::text FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = ANY($1) AND a.attname = ANY($2) AND (a.atthasmissing OR a.attgenerated = 'v') ORDER BY 1";
    let oids: Vec<Oid> = captured
        .descendants
        .iter()
        .map(|table| Oid(table.oid))
        .chain([Oid(captured.oid)])
        .collect();
    sqlx::query_scalar(UNWRITTEN)
        .bind(oids)
        .bind(columns)
        .fetch_all(conn)
        .await
        .map_err(CatalogError::read("columns"))
}

/// The statement that creates an index for polling by `column`. PostgreSQL cannot create one of a
/// partitioned table concurrently.
pub fn index_statement(table: &TableName, column: &str, partitioned: bool) -> String {
    let mut name = format!("{}_{column}_idx", table.name);
    while name.len() > IDENTIFIER_BYTES_MAX {
        name.pop();
    }
    let concurrently = if partitioned { "" } else { " CONCURRENTLY" };
    format!(
        "CREATE INDEX{concurrently} {} ON {} ({})",
        quote(&name),
        table.quoted(),
        quote(column)
    )
}

/// A relation as the catalog names it, with what decides whether it can be captured.
#[derive(Debug)]
struct Relation {
    oid: Oid,
    schema: String,
    name: String,
    /// `pg_class.relkind`.
    kind: String,
    /// `pg_class.relpersistence`.
    persistence: String,
    /// The table access method; none for a partitioned table before PostgreSQL 17.
    storage: Option<String>,
    role: String,
    may_use_schema: bool,
    may_select: bool,
    row_security: bool,
    any_bytes: bool,
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

impl Relation {
    fn name(&self) -> TableName {
        TableName::new(&self.schema, &self.name)
    }

    /// Refuses what cannot be captured without losing rows.
    fn check(&self) -> Result<(), CatalogError> {
        let table = self.name();
        let refused = |what: &str, why: &'static str| {
            Err(CatalogError::Refused {
                table: table.clone(),
                what: what.to_owned(),
                why,
            })
        };
        const NO_VERSIONS: &str = "its rows have no version (`xmin`): name the table behind it";
        match self.kind.as_str() {
            "r" | "p" => {}
            "v" => return refused("a view", NO_VERSIONS),
            "m" => return refused("a materialized view", NO_VERSIONS),
            "f" => {
                return refused(
                    "a foreign table",
                    "its rows have no version (`xmin`): capture it in the database where it lives",
                );
            }
            "i" | "I" => return refused("an index", "name its table"),
            "S" => return refused("a sequence", "only tables are captured"),
            _ => return refused("no table", "only tables are captured"),
        }
        if self.persistence == "t" {
            return refused("a temporary table", "other sessions cannot read it");
        }
        if let Some(storage) = self.storage.as_deref().filter(|storage| *storage != "heap") {
            return refused(
                &format!("a table in the storage `{storage}`"),
                "only the storage `heap` is known to keep the version (`xmin`) of a row",
            );
        }
        let role = self.role.clone();
        if !self.may_use_schema {
            return Err(CatalogError::NoUsage { table, role });
        }
        if !self.may_select {
            return Err(CatalogError::NoSelect { table, role });
        }
        if self.row_security {
            return Err(CatalogError::RowSecurity { table, role });
        }
        Ok(())
    }
}

const FIND: &str = "SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
            c.relpersistence::text AS persistence, m.amname::text AS storage, current_user::text AS role,
            has_schema_privilege(n.oid, 'USAGE') AS may_use_schema, has_table_privilege(c.oid, 'SELECT') AS may_select,
            row_security_active(c.oid) AS row_security, current_setting('server_encoding') = 'SQL_ASCII' AS any_bytes
     FROM pg_catalog.pg_class c
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_catalog.pg_am m ON m.oid = c.relam
     WHERE c.relname = $2
       AND CASE WHEN $1::text IS NULL THEN n.nspname = ANY(current_schemas(true)) ELSE n.nspname = $1 END
     ORDER BY array_position(current_schemas(true), n.nspname)
     LIMIT 1";

const TABLES: &str = "SELECT n.nspname::text, c.relname::text
     FROM pg_catalog.pg_class c
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
       AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
     ORDER BY 1, 2";

/// Finds a relation as SQL does: first with what is not quoted folded to lower case, then exactly
/// as given.
async fn find(conn: &mut PgConnection, asked: &str) -> Result<Relation, CatalogError> {
    let reference = TableReference::parse(asked).map_err(|_| CatalogError::Name {
        asked: asked.to_owned(),
    })?;
    for (schema, relation) in reference.candidates() {
        let query = sqlx::query_as(FIND).bind(schema).bind(relation);
        if let Some(found) = query
            .fetch_optional(&mut *conn)
            .await
            .map_err(CatalogError::read("tables"))?
        {
            return Ok(found);
        }
    }
    Err(not_found(conn, asked).await?)
}

/// The tables of users that are no partitions, by name.
pub async fn list_tables(conn: &mut PgConnection) -> Result<Vec<TableName>, CatalogError> {
    let tables: Vec<(String, String)> = sqlx::query_as(TABLES)
        .fetch_all(conn)
        .await
        .map_err(CatalogError::read("tables"))?;
    Ok(tables
        .into_iter()
        .map(|(schema, name)| TableName::new(schema, name))
        .collect())
}

/// True when a name means a relation.
pub async fn is_there(conn: &mut PgConnection, asked: &str) -> Result<bool, CatalogError> {
    match find(conn, asked).await {
        Ok(_) => Ok(true),
        Err(CatalogError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a table is called now; `None` when it was dropped.
pub async fn name_of(conn: &mut PgConnection, oid: u32) -> Result<Option<TableName>, CatalogError> {
    let sql = "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";
    let found: Option<(String, String)> = sqlx::query_as(sql)
        .bind(Oid(oid))
        .fetch_optional(conn)
        .await
        .map_err(CatalogError::read("tables"))?;
    Ok(found.map(|(schema, name)| TableName::new(schema, name)))
}

/// How many rows PostgreSQL's planner expects, partitions and children included; `None` where it
/// does not tell.
pub async fn expected_rows(connection: &mut PgConnection, table: &TableName) -> Option<u64> {
    let sql = format!("EXPLAIN SELECT FROM {}", table.quoted());
    let plan: String = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .ok()?;
    plan.split_once(" rows=")?.1.split(' ').next()?.parse().ok()
}

/// The error for a table that is not there, with those that have a similar name.
async fn not_found(conn: &mut PgConnection, asked: &str) -> Result<CatalogError, CatalogError> {
    let names = list_tables(conn)
        .await?
        .into_iter()
        .map(|table| table.short());
    Ok(CatalogError::NotFound {
        asked: asked.to_owned(),
        similar: Names(similar(asked, names)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_statement_quotes_and_fits_an_identifier() {
        let table = TableName::new("public", "Orders");
        assert_eq!(
            index_statement(&table, "at", false),
            r#"CREATE INDEX CONCURRENTLY "Orders_at_idx" ON "public"."Orders" ("at")"#
        );
        let statement = index_statement(&TableName::new("public", "ü".repeat(31)), "at", true);
        assert_eq!(
            statement,
            format!(
                "CREATE INDEX \"{0}_\" ON \"public\".\"{0}\" (\"at\")",
                "ü".repeat(31)
            )
        );
    }
}
