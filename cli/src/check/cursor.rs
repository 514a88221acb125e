//! The cursor column: whether the poll finds new rows by it, at once, and through an index.

use std::time::Duration;

use chrono_tz::Tz;
use indicatif::{HumanBytes, HumanCount};
use inlet_model::{Role, TableName, quote};
use inlet_postgres::Meaning;
use inlet_postgres::server;
use inlet_postgres::{Captured, Cursor, CursorKind, index_statement};
use inlet_producer::source::statement::{Condition, statement};
use inlet_service::config::{Config, TableConfig};
use sqlx::postgres::types::Oid;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::facts::Facts;
use super::finding::{Finding, Hop};
use crate::text_table::span;

/// A table below this size is read whole in a moment, and the planner knows it.
const SMALL_BYTES: i64 = 8 << 20;
/// The poll looks so far below the last reading.
const BELOW: Duration = Duration::from_secs(1);
/// Stamps of clocks that are kept by NTP are no further ahead.
const AHEAD: &str = "interval '5 seconds'";
const COUNT_MAX: i64 = 100_000;

/// An index that begins with the column, and does not help.
const USELESS: &str = "\
SELECT i.indexrelid::regclass::text, i.indisvalid
FROM pg_index i
WHERE i.indrelid = $1 AND (NOT i.indisvalid OR i.indpred IS NOT NULL)
  AND i.indkey[0] = (SELECT attnum FROM pg_attribute WHERE attrelid = $1 AND attname = $2)
LIMIT 1";

/// A trigger of a user that runs before every updated row: 1 row, 2 before, 16 update
/// (`pg_trigger.h`).
const MAINTAINED: &str = "\
SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled <> 'D' \
AND tgtype & 19 = 19)";

const HAS_DEFAULT: &str = "\
SELECT coalesce((SELECT atthasdef FROM pg_attribute WHERE attrelid = $1 AND attname = $2), false)";

/// A trigger that would set the column and is switched off.
const DISABLED: &str = "\
SELECT tgname::text FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal AND tgenabled = 'D' \
AND tgtype & 19 = 19 ORDER BY tgname LIMIT 1";

/// Statements against what keeps the planner from indexes.
const ON: &str = "\
SELECT format('ALTER ROLE %I SET %s = on;', current_user, name)
FROM pg_settings
WHERE name IN ('enable_indexscan', 'enable_bitmapscan') AND setting = 'off'
ORDER BY name DESC";

struct Column<'a> {
    table: &'a TableName,
    quoted: String,
    name: &'a str,
    postgres_type: &'a str,
    object: String,
    /// True when the name promises that it moves with every change.
    moves_with_changes: bool,
    cursor: Cursor,
    /// True when the database fills it in where an INSERT leaves it out.
    has_default: bool,
    oid: Oid,
}

/// Looks at the cursor of one table.
pub async fn check(
    config: &Config,
    captured: &Captured,
    facts: &Facts,
    connection: &mut PgConnection,
    findings: &mut Vec<Finding>,
) -> Result<(), sqlx::Error> {
    let table = &captured.schema.table;
    let Some(cursor) = captured.cursor else {
        findings.push(no_cursor(captured, facts));
        return Ok(());
    };
    let column = &captured.schema.columns[cursor.column];
    let (name, postgres_type) = (column.name.as_str(), column.postgres_type.as_str());
    let object = format!("{}.{name}", table.short());
    let column = Column {
        moves_with_changes: matches!(column.role(), Some(Role::Changed(_))),
        table,
        quoted: quote(name),
        name,
        postgres_type,
        object,
        cursor,
        has_default: sqlx::query_scalar(HAS_DEFAULT)
            .bind(Oid(captured.oid))
            .bind(name)
            .fetch_one(&mut *connection)
            .await?,
        oid: Oid(captured.oid),
    };
    let zone = server::writers_zone(&mut *connection).await?;
    let sweep = config.streaming.sweep_interval;
    if let Some(index) = captured.missing_index() {
        // Every poll then reads the whole table, so the column's values cannot hide a row.
        findings.push(no_index(&column, facts, &index, connection).await?);
        return Ok(());
    }
    findings.push(plan(&column, captured, facts, zone, connection).await?);
    findings.extend(resolution(&column, captured, zone));
    findings.extend(nulls(&column, sweep, connection).await?);
    findings.extend(future(&column, captured, zone, connection).await?);
    let is_journal = |own: &TableConfig| own.journal_of.is_some() && own.table.may_mean(table);
    // Triggers only insert into a journal.
    if !config.tables.iter().any(is_journal) {
        findings.extend(still(&column, captured, facts, sweep, connection).await?);
    }
    Ok(())
}

/// What polls without an index cost, and what bounds it.
fn whole_table(facts: &Facts) -> String {
    let bytes = HumanBytes(facts.bytes.unsigned_abs());
    // The planner knows no number before the first ANALYZE.
    let rows = match facts.rows >= 0.0 {
        true => format!("about {} rows in {bytes}", HumanCount(facts.rows as u64)),
        false => bytes.to_string(),
    };
    format!(
        "every poll reads the whole table, {rows}; a poll that took 1 s is repeated after 20 s, so that polls take at most a twentieth of the time"
    )
}

/// The table has no time column, or the poll would not choose one by itself.
fn no_cursor(captured: &Captured, facts: &Facts) -> Finding {
    let table = &captured.schema.table;
    let means = whole_table(facts);
    let Some(column) = captured
        .schema
        .columns
        .iter()
        .find(|column| column.column_type.is_time())
    else {
        let finding = Finding::warning(
            Hop::Table,
            table.short(),
            "no timestamp column to find new rows by",
        );
        return finding.effect(means).fix(captured.change_time_statements());
    };
    let evidence = format!(
        "no cursor column: `{}` has neither an index nor a telling name",
        column.name
    );
    let index = index_statement(table, &column.name, captured.partitioned);
    // A column with an index is chosen by itself.
    Finding::warning(Hop::Table, table.short(), evidence)
        .effect(means)
        .fix(format!("{index};"))
}

async fn no_index(
    column: &Column<'_>,
    facts: &Facts,
    index: &str,
    connection: &mut PgConnection,
) -> Result<Finding, sqlx::Error> {
    let means = whole_table(facts);
    let useless = sqlx::query(USELESS)
        .bind(column.oid)
        .bind(column.name)
        .fetch_optional(connection)
        .await?;
    let finding =
        |evidence: String| Finding::warning(Hop::Table, &column.object, evidence).effect(&means);
    let Some(useless) = useless else {
        return Ok(
            finding("no index begins with the cursor column".to_owned()).fix(format!("{index};"))
        );
    };
    let (name, valid): (String, bool) = (useless.try_get(0)?, useless.try_get(1)?);
    Ok(if valid {
        finding(format!(
            "index `{name}` is partial: it does not hold every row"
        ))
        .fix(format!("{index};"))
    } else {
        finding(format!(
            "index `{name}` is invalid: its creation did not finish"
        ))
        // REINDEX would fail like the creation did, where that was to be unique.
        .fix(format!("DROP INDEX CONCURRENTLY {name};\n{index};"))
    })
}

/// The plan of the statement that a poll runs.
async fn plan(
    column: &Column<'_>,
    captured: &Captured,
    facts: &Facts,
    zone: Tz,
    connection: &mut PgConnection,
) -> Result<Finding, sqlx::Error> {
    // The plan is that of a poll at this moment, built by the poll's own statement.
    let reading = server::read_activity(&mut *connection).await?;
    let floor = column
        .cursor
        .kind
        .floor(reading.read_at.minus(BELOW), reading.read_at, zone);
    let (sql, values) = statement(
        captured,
        &Condition::Since {
            floor: Some(floor),
            xid: reading.xid_end,
            only: None,
        },
        &[],
        reading.xid_end,
    );
    let explain = format!("EXPLAIN (COSTS OFF) {sql}");
    let mut query = sqlx::query_scalar::<_, String>(AssertSqlSafe(explain));
    for value in values {
        query = query.bind(value);
    }
    let lines = query.fetch_all(&mut *connection).await?;
    let nodes: Vec<&str> = lines
        .iter()
        .map(|line| line.trim().trim_start_matches("->").trim())
        .filter(|line| line.contains("Scan"))
        .collect();
    let node = nodes.first().copied().unwrap_or("no scan");
    let sequential = nodes.iter().any(|node| node.contains("Seq Scan"));
    // For a small table a sequential scan is right, and in a partitioned one the small partitions
    // are scanned like that.
    if !sequential || captured.partitioned || facts.bytes <= SMALL_BYTES {
        let small = if sequential {
            ", the cheapest way through a small table"
        } else {
            ""
        };
        return Ok(Finding::ok(
            Hop::Table,
            &column.object,
            format!("cursor column with an index; the poll's plan: {node}{small}"),
        ));
    }
    let finding = Finding::warning(
        Hop::Table,
        &column.object,
        format!("the cursor column has an index, and the poll's plan does not use it: {node}"),
    );
    let finding = finding.effect("every poll reads the whole table");
    let on: Vec<String> = sqlx::query_scalar(ON).fetch_all(&mut *connection).await?;
    if on.is_empty() {
        return Ok(finding.fix(format!(
            "ANALYZE {};\nor a lower random_page_cost, if that does not help",
            column.table.quoted()
        )));
    }
    Ok(finding.fix(on.join(" ")))
}

/// Coarse stamps and wall clocks cost reading, never rows.
fn resolution(column: &Column<'_>, captured: &Captured, zone: Tz) -> Option<Finding> {
    let object = &column.object;
    match column.cursor.kind {
        CursorKind::Date => {
            let finding = Finding::warning(Hop::Table, object, "the cursor column is a date");
            let means =
                "every poll reads all rows of the day again, to find the new ones among them";
            Some(finding.effect(means).fix(captured.change_time_statements()))
        }
        CursorKind::Timestamp => {
            let finding = Finding::info(
                Hop::Table,
                object,
                format!("{}: a wall clock, read as {zone}", column.postgres_type),
            );
            Some(finding.effect(
                "what writers in another zone stamp is found by a scan of the last \
                26 hours, every ten seconds",
            ))
        }
        CursorKind::Timestamptz if column.postgres_type.contains("(0)") => {
            let finding = Finding::info(
                Hop::Table,
                object,
                format!("{}: whole seconds", column.postgres_type),
            );
            Some(finding.effect(
                "every poll reads the rows of a second again, to find the new ones among them",
            ))
        }
        CursorKind::Timestamptz => None,
    }
}

async fn nulls(
    column: &Column<'_>,
    sweep: Duration,
    connection: &mut PgConnection,
) -> Result<Option<Finding>, sqlx::Error> {
    if !column.cursor.nullable {
        return Ok(None);
    }
    let (quoted, table) = (&column.quoted, column.table.quoted());
    let count = format!(
        "SELECT count(*) FROM (SELECT FROM {table} WHERE {quoted} IS NULL LIMIT {COUNT_MAX}) n"
    );
    let object = &column.object;
    let nulls: i64 = match sqlx::query_scalar(AssertSqlSafe(count))
        .fetch_one(connection)
        .await
    {
        Ok(nulls) => nulls,
        Err(error) if cut_off(&error) => {
            return Ok(Some(Finding::info(
                Hop::Table,
                object,
                "nullable; NULLs were not counted within ten seconds",
            )));
        }
        Err(error) => return Err(error),
    };
    let default = format!("ALTER TABLE {table} ALTER COLUMN {quoted} SET DEFAULT now()");
    // The column may get a NULL later, so this is worth knowing, but no warning.
    if nulls == 0 {
        let finding = Finding::info(
            Hop::Table,
            object,
            "the cursor column may be NULL; no row has one",
        );
        return Ok(Some(
            finding
                .effect("a row without a stamp is found only by the sweep")
                .fix(format!("{default}, ALTER COLUMN {quoted} SET NOT NULL;")),
        ));
    }
    let means = format!(
        "they are found only by the sweep, every {}",
        span(sweep.as_secs_f64())
    );
    let evidence = format!("{} without a stamp", counted(nulls));
    // Rows of before the default are found by the load; their stamps are the user's to know.
    if column.has_default {
        let evidence = format!("{evidence}; the column has a default");
        return Ok(Some(
            Finding::info(Hop::Table, object, evidence).effect(means),
        ));
    }
    let finding = Finding::warning(Hop::Table, object, evidence);
    Ok(Some(finding.effect(means).fix(format!("{default};"))))
}

/// A row's stamp is never overwritten to please the poll: only the user knows the right one.
async fn future(
    column: &Column<'_>,
    captured: &Captured,
    zone: Tz,
    connection: &mut PgConnection,
) -> Result<Option<Finding>, sqlx::Error> {
    let (quoted, table, kind) = (&column.quoted, column.table.quoted(), column.cursor.kind);
    let now = match kind {
        CursorKind::Timestamptz => "now()".to_owned(),
        CursorKind::Timestamp => format!("(now() AT TIME ZONE '{zone}')"),
        CursorKind::Date => format!("(now() AT TIME ZONE '{zone}')::date"),
    };
    // A few seconds are normal between two clocks; a date has no seconds.
    let ahead = if kind == CursorKind::Date {
        now.clone()
    } else {
        format!("{now} + {AHEAD}")
    };
    let count = format!(
        "SELECT count(*), max({quoted})::text FROM (SELECT {quoted} FROM {table} WHERE {quoted} > \
            {ahead} LIMIT {COUNT_MAX}) n"
    );
    let row = match sqlx::query(AssertSqlSafe(count))
        .fetch_one(connection)
        .await
    {
        Ok(row) => row,
        // Counting is only an extra. A table that is too large for it is not a problem.
        Err(error) if cut_off(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (rows, latest): (i64, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    let Some(latest) = latest else {
        return Ok(None);
    };
    let finding = Finding::warning(
        Hop::Table,
        &column.object,
        format!(
            "{} with a stamp in the future, up to {latest}",
            counted(rows)
        ),
    );
    let means = "every poll reads them again until that time has passed; each arrives once";
    let writer = "correct the clock or the time zone of the program that writes them; these rows \
        need no change";
    let fix = match column.moves_with_changes {
        true => writer.to_owned(),
        false => format!("{}\nor {writer}", captured.change_time_statements()),
    };
    Ok(Some(finding.effect(means).fix(fix)))
}

/// A cursor that an update leaves unchanged.
async fn still(
    column: &Column<'_>,
    captured: &Captured,
    facts: &Facts,
    sweep: Duration,
    connection: &mut PgConnection,
) -> Result<Option<Finding>, sqlx::Error> {
    let of_changes = column.moves_with_changes;
    let touch = captured.touch_statements().unwrap_or_default();
    let maintained: bool = sqlx::query_scalar(MAINTAINED)
        .bind(column.oid)
        .fetch_one(&mut *connection)
        .await?;
    let means = format!(
        "an update that leaves it unchanged is found only by a sweep: soon after PostgreSQL has \
            counted it, and every {}; a sweep reads the whole table",
        span(sweep.as_secs_f64())
    );
    if of_changes && !maintained {
        let finding = Finding::warning(
            Hop::Table,
            &column.object,
            "no BEFORE UPDATE trigger sets it: an update changes it only where the application \
                does",
        );
        let disabled: Option<String> = sqlx::query_scalar(DISABLED)
            .bind(column.oid)
            .fetch_optional(connection)
            .await?;
        let enable = disabled.map(|name| {
            let table = column.table.quoted();
            format!("ALTER TABLE {table} ENABLE TRIGGER {};", quote(&name))
        });
        return Ok(Some(finding.effect(means).fix(enable.unwrap_or(touch))));
    }
    // A creation time is fine for a table whose rows never change.
    if of_changes || maintained || facts.updates == 0 {
        return Ok(None);
    }
    let finding = Finding::warning(
        Hop::Table,
        &column.object,
        format!(
            "{} updates were counted, and the cursor does not change with them",
            facts.updates
        ),
    );
    let fix = format!("{touch}\nor a shorter `streaming.sweep_interval`");
    Ok(Some(finding.effect(means).fix(fix)))
}

fn counted(rows: i64) -> String {
    match rows {
        1 => "1 row".to_owned(),
        COUNT_MAX.. => format!("{COUNT_MAX} rows or more"),
        rows => format!("{rows} rows"),
    }
}

fn cut_off(error: &sqlx::Error) -> bool {
    Meaning::of(error) == Meaning::Canceled
}
