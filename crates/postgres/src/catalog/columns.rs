//! A table's columns and their types.

use inlet_model::change::is_reserved;
use inlet_model::{CatalogType, ColumnType, Scalar};
use inlet_model::{Column, TableName};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::error::CatalogError;
use crate::text::Input;

/// A column with what the catalog knows of it beside its description.
pub(super) struct Numbered {
    /// Its identity in the catalog, by which indexes name it.
    pub(super) ordered: Ordered,
    pub(super) column: Column,
    /// How a value is read back from its text.
    pub(super) input: Input,
    /// True when the type has values that the lake cannot hold.
    pub(super) has_impossible_values: bool,
}

/// A column's number in the catalog, and what the order of its values depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// Its `attnum`: it stays with the column when that is renamed, and is never used again.
    pub number: i16,
    /// The oid of its type.
    pub type_oid: u32,
    /// The oid of its collation; 0 where its type has none.
    pub collation: u32,
}

/// A domain is read as its base type, with the modifier that the domain gives it. An array is read
/// by the type of its elements, again down to the base type. `typarray` distinguishes arrays from
/// other types that have elements (`name`, `point`, `int2vector`). A NOT NULL that was never
/// validated (PostgreSQL 18) does not count.
const COLUMNS: &str = "SELECT a.attnum, a.atttypid, a.attcollation, a.attname::text, format_type(a.atttypid, a.atttypmod),
            a.attnotnull AND NOT EXISTS (
                SELECT FROM pg_catalog.pg_constraint n
                WHERE n.conrelid = a.attrelid AND n.contype = 'n' AND n.conkey[1] = a.attnum AND \
    NOT n.convalidated),
            a.attgenerated <> '', b.name, b.modifier, b.plain, b.is_array, b.sql_type, b.is_own
     FROM pg_catalog.pg_attribute a
     CROSS JOIN LATERAL (
         WITH RECURSIVE base (oid, modifier, is_array) AS (
             SELECT a.atttypid, a.atttypmod, false
             UNION ALL
             SELECT CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END,
                    CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE base.modifier END,
                    base.is_array OR t.typtype <> 'd'
             FROM base
             JOIN pg_catalog.pg_type t ON t.oid = base.oid
             LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
             WHERE t.typtype = 'd' OR e.oid IS NOT NULL AND NOT base.is_array)
         SELECT t.typname::text AS name, base.modifier, base.is_array,
                t.typnamespace = 'pg_catalog'::regnamespace AND t.typsend <> 0 AS plain,
                format_type(t.oid, NULL) AS sql_type,
                t.typnamespace <> 'pg_catalog'::regnamespace AND NOT base.is_array AS is_own
         FROM base
         JOIN pg_catalog.pg_type t ON t.oid = base.oid
         LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
         WHERE t.typtype <> 'd' AND (e.oid IS NULL OR base.is_array)
         ORDER BY base.is_array DESC
         LIMIT 1) b
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
     ORDER BY a.attnum";

type Row = (
    i16,
    Oid,
    Oid,
    String,
    String,
    bool,
    bool,
    String,
    i32,
    bool,
    bool,
    String,
    bool,
);

/// Reads the columns in table order.
pub(super) async fn read(
    conn: &mut PgConnection,
    table: Oid,
) -> Result<Vec<Numbered>, CatalogError> {
    let rows: Vec<Row> = sqlx::query_as(COLUMNS)
        .bind(table)
        .fetch_all(conn)
        .await
        .map_err(CatalogError::read("columns"))?;
    Ok(rows.into_iter().map(numbered).collect())
}

/// Refuses columns whose names the change columns already use in a batch or in the lake.
pub(super) fn refuse_reserved(table: &TableName, columns: &[Numbered]) -> Result<(), CatalogError> {
    match columns
        .iter()
        .find(|numbered| is_reserved(&numbered.column.name))
    {
        Some(numbered) => Err(CatalogError::Reserved {
            table: table.clone(),
            column: numbered.column.name.clone(),
        }),
        None => Ok(()),
    }
}

/// Turns the columns that may be impossible into text. The `kept` columns stay, because rows are
/// compared by their times.
pub(super) fn carry_as_text(columns: &mut [Column], impossible: &[bool], kept: &[Option<usize>]) {
    for (at, column) in columns.iter_mut().enumerate() {
        if impossible[at] && !kept.contains(&Some(at)) {
            (column.column_type, column.as_text) = (ColumnType::Scalar(Scalar::Text), true);
        }
    }
}

/// `plain` is true for a type of `pg_catalog` that has a binary format.
fn numbered(
    (
        number,
        type_oid,
        collation,
        name,
        postgres_type,
        not_null,
        generated,
        base,
        modifier,
        plain,
        array,
        sql_type,
        is_own,
    ): Row,
) -> Numbered {
    let catalog = CatalogType {
        name: &base,
        modifier,
        array,
    };
    // A type of another schema may have the name of a built-in one, and a type without a binary
    // form has to be read as text.
    let mapped = ColumnType::of(catalog).filter(|_| plain);
    let column_type = mapped.unwrap_or(ColumnType::Scalar(Scalar::Text));
    let input = Input {
        sql_type: if is_own {
            sql_type
        } else {
            postgres_type.clone()
        },
        has_own_casts: is_own,
    };
    Numbered {
        ordered: Ordered {
            number,
            type_oid: type_oid.0,
            collation: collation.0,
        },
        column: Column {
            name,
            column_type,
            postgres_type,
            as_text: mapped.is_none(),
            not_null,
            generated,
            number: Some(number),
        },
        input,
        has_impossible_values: plain && catalog.has_impossible_values(),
    }
}
