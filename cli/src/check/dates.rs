//! How many dates a table's rows fall on: each is a folder of the lake, with files of its own.

use inlet_model::{Column, ColumnType, Scalar};
use inlet_postgres::Captured;
use inlet_service::config::TableConfig;
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::finding::{Finding, Hop};

/// Ten years of days.
const DATES_MAX: f64 = 3_660.0;

/// The least of two bounds, from the statistics of ANALYZE: how many values the column has, and how
/// many days lie between the first and the last. No row is read.
const DATES: &str = "\
SELECT least(
    CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * greatest(c.reltuples, 0) ELSE s.n_distinct END,
    extract(epoch FROM b.bounds[cardinality(b.bounds)] - b.bounds[1]) / 86400 + 1)::float8
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname
CROSS JOIN LATERAL (SELECT s.histogram_bounds::text::timestamp[] AS bounds) b
WHERE c.oid = $1 AND s.attname = $2
ORDER BY s.inherited DESC
LIMIT 1";

/// Names the column whose dates are folders, and warns where there are very many.
pub async fn check(
    table: &TableConfig,
    captured: &Captured,
    connection: &mut PgConnection,
) -> Option<Finding> {
    let schema = &captured.schema;
    let configured = table.date_column.as_deref();
    let at = match configured {
        Some(name) => schema.resolve(name)?,
        None => schema.event_time()?,
    };
    let column = &schema.columns[at];
    // Without statistics, or the right to see them, there is nothing to state. A value that is no
    // date, such as infinity, ends the question the same way.
    let asked = sqlx::query_scalar::<_, Option<f64>>(DATES)
        .bind(Oid(captured.oid))
        .bind(&column.name)
        .fetch_optional(connection);
    let dates = asked.await.ok()???;
    (dates > DATES_MAX).then(|| of_many(table, captured, column, dates))
}

fn of_many(table: &TableConfig, captured: &Captured, column: &Column, dates: f64) -> Finding {
    let written = table.written();
    let object = format!("{}.{}", captured.schema.table.short(), column.name);
    let evidence = format!(
        "its rows fall on about {dates:.0} dates of column `{}`",
        column.name
    );
    let means = "each date is a folder of the lake with files of its own: a load and readers open \
        all of them";
    let is_moment = |other: &&Column| {
        let kind = ColumnType::from(Scalar::TimestampTz);
        other.name != column.name && other.column_type == kind
    };
    let other = captured.schema.columns.iter().find(is_moment);
    let finding = Finding::warning(Hop::Table, object, evidence).effect(means);
    match other {
        Some(other) => finding.fix(format!("tables.{written}.date_column: {}", other.name)),
        // `created_at` goes before every other column that is chosen by itself.
        None => finding.fix(format!(
            "ALTER TABLE {} ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();",
            captured.schema.table.quoted()
        )),
    }
}
