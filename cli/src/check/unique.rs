//! What identifies the rows of a table that has no key, or another one than its data allow.
//!
//! Rows are looked at within bounds: a table up to a size, and no statement for longer than that of
//! every check. Where the answer is unknown, the advice is one that works in any case.

use inlet_model::{Column, TableName, quote};
use inlet_postgres::Captured;
use sqlx::postgres::types::Oid;
use sqlx::{AssertSqlSafe, PgConnection};

/// Up to this size the rows of a table are looked at.
const BYTES_MAX: i64 = 256 << 20;
/// How many columns are tried.
const COLUMNS_MAX: usize = 3;
/// How names of columns end that identify a row. An amount that happens to be unique does not.
const IDENTIFYING: [&str; 7] = ["id", "uuid", "key", "code", "number", "no", "nr"];

/// The columns of the primary key, in its order.
const PRIMARY: &str = "\
SELECT a.attname::text
FROM pg_index i
CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
WHERE i.indrelid = $1 AND i.indisprimary AND k.place <= i.indnkeyatts
ORDER BY k.place";

/// How to give a table a key: one of its columns where that holds, else a new one.
pub async fn new_key(
    object: &str,
    captured: &Captured,
    bytes: i64,
    connection: &mut PgConnection,
) -> String {
    let table = &captured.schema.table;
    let or = format!("or name what is unique: tables.{object}.key");
    // A key of a partitioned table has to contain the columns that it is partitioned by.
    if captured.partitioned {
        return format!("name what is unique: tables.{object}.key");
    }
    let column = match bytes <= BYTES_MAX {
        true => unique_column(captured, connection).await,
        false => None,
    };
    if let Some(column) = column {
        let column = quote(&column.name);
        return format!(
            "ALTER TABLE {} ADD PRIMARY KEY ({column});\n{or}",
            table.quoted()
        );
    }
    let is_taken = |name: &&str| captured.schema.columns.iter().any(|one| one.name == *name);
    let name = ["row_id", "inlet_row_id"]
        .into_iter()
        .find(|name| !is_taken(name))
        .unwrap_or("inlet_row_number");
    format!(
        "ALTER TABLE {} ADD COLUMN {name} bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;\n{or}",
        table.quoted()
    )
}

/// A column whose values are unique and never null now.
async fn unique_column<'a>(
    captured: &'a Captured,
    connection: &mut PgConnection,
) -> Option<&'a Column> {
    let schema = &captured.schema;
    let identifies = |column: &&Column| {
        let name = column.name.to_lowercase();
        IDENTIFYING.iter().any(|end| name.ends_with(end))
    };
    let candidates = schema.columns.iter().filter(identifies);
    for column in candidates.take(COLUMNS_MAX) {
        let name = [column.name.as_str()];
        if has_repeated(&schema.table, &name, connection).await == Some(false) {
            return Some(column);
        }
    }
    None
}

/// Whether some rows have the same values in these columns, or a null in one of them; `None` where
/// that cannot be found out within the time of a check.
pub async fn has_repeated(
    table: &TableName,
    columns: &[&str],
    connection: &mut PgConnection,
) -> Option<bool> {
    let quoted: Vec<String> = columns.iter().map(|column| quote(column)).collect();
    let nulls: Vec<String> = quoted
        .iter()
        .map(|name| format!("{name} IS NULL"))
        .collect();
    let sql = format!(
        "SELECT EXISTS (SELECT FROM {0} WHERE {1}) OR EXISTS (SELECT FROM {0} GROUP BY {2} HAVING \
            count(*) > 1)",
        table.quoted(),
        nulls.join(" OR "),
        quoted.join(", ")
    );
    // A type without an equality, and a table that takes too long, have no answer.
    let answer = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection);
    answer.await.ok()
}

/// The columns of the table's primary key; none where it has none.
pub async fn primary_key(
    captured: &Captured,
    connection: &mut PgConnection,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(PRIMARY)
        .bind(Oid(captured.oid))
        .fetch_all(connection)
        .await
}
