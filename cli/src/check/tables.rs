//! Each captured table as the catalog has it: whether it can be read, its key, what its columns
//! become, and whether its rules fit.

use indicatif::HumanBytes;
use inlet_lake::Rules;
use inlet_model::{Column, TableName, quote};
use inlet_postgres::{Captured, CatalogError, Error, Tables};
use inlet_service::config::{Config, Deletes, TableConfig};
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::facts::Facts;
use super::finding::{Finding, Hop};
use super::postgres::Server;
use super::unique;
use super::{capture, cursor, dates};
use crate::views;

/// The session that locks out every other one. Asking for the table's size would wait for it too.
const LOCKED: &str = "\
SELECT pid FROM pg_locks
WHERE relation = $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND mode = 'AccessExclusiveLock' AND granted AND pid IS NOT NULL
LIMIT 1";

/// A valid index over all rows that keeps the key's columns, or some of them, unique.
const UNIQUE: &str = "\
SELECT EXISTS (
    SELECT FROM pg_index i
    WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs \
    IS NULL
      AND (SELECT array_agg(a.attname::text) FROM unnest(i.indkey::int2[]) WITH ORDINALITY k \
    (number, place)
           JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
           WHERE k.place <= i.indnkeyatts) <@ $2::text[])";

const READ_BY_VIEW: &str = "\
SELECT DISTINCT tn.nspname::text, t.relname::text
FROM pg_class v
JOIN pg_namespace vn ON vn.oid = v.relnamespace
JOIN pg_rewrite r ON r.ev_class = v.oid
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
JOIN pg_class t ON d.refclassid = 'pg_class'::regclass AND t.oid = d.refobjid
JOIN pg_namespace tn ON tn.oid = t.relnamespace
WHERE vn.nspname = $1 AND v.relname = $2 AND v.relkind IN ('v', 'm') AND t.relkind IN ('r', 'p')
ORDER BY 1, 2";

/// The table of which a table is a partition.
const PARENT: &str = "\
SELECT n.nspname::text, p.relname::text
FROM pg_class c
JOIN pg_inherits i ON i.inhrelid = c.oid
JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE c.oid = $1 AND c.relispartition";

/// Checks every table, in the order of the configuration; `None` for one that cannot be captured.
pub async fn check(
    config: &Config,
    server: Option<&mut Server>,
    tables: &Option<Result<Tables, Error>>,
    findings: &mut Vec<Finding>,
) -> Vec<Option<Captured>> {
    if let Some(Err(error)) = tables {
        findings.push(Finding::of(Hop::Table, "all", error));
    }
    let (Some(server), Some(Ok(tables))) = (server, tables) else {
        let unseen = |table: &TableConfig| {
            Finding::info(
                Hop::Table,
                table.written(),
                "not checked: PostgreSQL did not answer",
            )
        };
        findings.extend(
            config
                .tables
                .iter()
                .filter(|_| config.postgres.is_some())
                .map(unseen),
        );
        return config.tables.iter().map(|_| None).collect();
    };
    let mut captured = Vec::new();
    for table in &config.tables {
        let found = tables.of(table);
        if let Some(Err(error)) = found {
            findings.push(refused(table, error, &mut server.connection).await);
        }
        if let Some(Ok(found)) = found
            && let Err(source) = one(config, table, found, &mut server.connection, findings).await
        {
            findings.push(Finding::of(
                Hop::Table,
                found.schema.table.short(),
                &CatalogError::Read {
                    what: "table",
                    source,
                },
            ));
        }
        captured.push(found.and_then(Result::ok).cloned());
    }
    captured
}

async fn refused(
    table: &TableConfig,
    error: &CatalogError,
    connection: &mut PgConnection,
) -> Finding {
    let written = table.written();
    let finding = Finding::of(Hop::Table, &written, error);
    let instead = |name: &str| {
        format!("write `{name}` instead of `{written}`, in `postgres.table` or below `tables`")
    };
    match error {
        CatalogError::NotFound { similar, .. } if !similar.0.is_empty() => {
            finding.fix(instead(&similar.0[0]))
        }
        CatalogError::Refused { table: view, .. } => {
            let tables = tables_of(view, connection).await;
            let skip = format!("tables.{written}.skip: true");
            match tables.as_slice() {
                [] => finding.fix(skip),
                [table] => finding.fix(format!("{}\nor {skip}", instead(table))),
                tables => {
                    let names = tables.join("`, `");
                    finding.fix(format!("{skip}\nor capture what it reads: `{names}`"))
                }
            }
        }
        CatalogError::UnknownCursor { candidates, .. }
        | CatalogError::CursorType { candidates, .. }
            if !candidates.0.is_empty() =>
        {
            finding.fix(format!("tables.{written}.cursor: {}", candidates.0[0]))
        }
        CatalogError::UnknownKey {
            similar, column, ..
        } if !similar.0.is_empty() => {
            let correct = |name: &String| match name == column {
                true => similar.0[0].clone(),
                false => name.clone(),
            };
            let key: Vec<_> = table.key.iter().map(correct).collect();
            finding.fix(format!("tables.{written}.key: [{}]", key.join(", ")))
        }
        _ => finding,
    }
}

/// The tables that a view reads; none for another relation.
async fn tables_of(view: &TableName, connection: &mut PgConnection) -> Vec<String> {
    let read: Result<Vec<(String, String)>, _> = sqlx::query_as(READ_BY_VIEW)
        .bind(&view.schema)
        .bind(&view.name)
        .fetch_all(connection)
        .await;
    let tables = read.unwrap_or_default().into_iter();
    tables
        .map(|(schema, name)| TableName::new(schema, name).short())
        .collect()
}

async fn one(
    config: &Config,
    table: &TableConfig,
    captured: &Captured,
    connection: &mut PgConnection,
    findings: &mut Vec<Finding>,
) -> Result<(), sqlx::Error> {
    let object = captured.schema.table.short();
    let oid = Oid(captured.oid);
    if let Some(pid) = sqlx::query_scalar::<_, i32>(LOCKED)
        .bind(oid)
        .fetch_optional(&mut *connection)
        .await?
    {
        let finding = Finding::warning(
            Hop::Table,
            object,
            format!("session {pid} holds an ACCESS EXCLUSIVE lock on it"),
        );
        let means = "every poll waits two seconds for it and is then repeated; the table was not \
            checked further";
        findings.push(
            finding
                .effect(means)
                .fix(format!("SELECT pg_terminate_backend({pid});")),
        );
        return Ok(());
    }
    let facts = Facts::read(connection, captured.oid).await?;
    findings.push(size(&object, captured, &facts));
    findings.extend(partition(table, captured, connection).await?);
    findings.push(key(&object, table, captured, &facts, connection).await?);
    findings.extend(kinds(table, &object, captured, &facts));
    findings.extend(deletes(config, table, &object, captured, &facts));
    findings.extend(names(&object, captured));
    findings.extend(rules(table, captured));
    findings.extend(date_column(table, captured));
    findings.extend(dates::check(table, captured, connection).await);
    findings.extend(capture::check(config, table, captured, connection).await);
    cursor::check(config, captured, &facts, connection, findings).await
}

/// One partition alone is a small part of what is usually meant.
async fn partition(
    table: &TableConfig,
    captured: &Captured,
    connection: &mut PgConnection,
) -> Result<Option<Finding>, sqlx::Error> {
    let parent: Option<(String, String)> = sqlx::query_as(PARENT)
        .bind(Oid(captured.oid))
        .fetch_optional(connection)
        .await?;
    let Some((schema, name)) = parent else {
        return Ok(None);
    };
    let (written, parent) = (table.written(), TableName::new(schema, name).short());
    let evidence = format!("a partition of `{parent}`");
    let finding = Finding::warning(Hop::Table, captured.schema.table.short(), evidence);
    let means = "rows of the other partitions do not arrive, and a row that an update moves to \
        one of them counts as deleted";
    Ok(Some(finding.effect(means).fix(format!(
        "write `{parent}` instead of `{written}`, in `postgres.table` or below `tables`"
    ))))
}

fn size(object: &str, captured: &Captured, facts: &Facts) -> Finding {
    let kind = if captured.partitioned {
        "partitioned table"
    } else {
        "table"
    };
    let rows = if facts.rows < 0.0 {
        "never analyzed".to_owned()
    } else {
        format!("about {} rows", facts.rows)
    };
    let columns = captured.schema.columns.len() - captured.schema.identities.len();
    Finding::ok(
        Hop::Table,
        object,
        format!(
            "{kind}, {columns} columns, {rows}, {}, readable",
            HumanBytes(facts.bytes.unsigned_abs())
        ),
    )
}

async fn key(
    object: &str,
    table: &TableConfig,
    captured: &Captured,
    facts: &Facts,
    connection: &mut PgConnection,
) -> Result<Finding, sqlx::Error> {
    let schema = &captured.schema;
    let columns: Vec<&str> = captured
        .key
        .iter()
        .map(|at| schema.columns[*at].name.as_str())
        .collect();
    if columns.is_empty() {
        let finding = Finding::warning(
            Hop::Table,
            object,
            "no primary key, and no unique index over columns that are NOT NULL",
        );
        let means = "no row has a latest state, an update is one more row in the lake, and the \
            initial load is one chunk that starts again after a crash";
        let fix = unique::new_key(object, captured, facts.bytes, connection).await;
        return Ok(finding.effect(means).fix(fix));
    }
    let shown = columns.join(", ");
    let unique: bool = sqlx::query_scalar(UNIQUE)
        .bind(Oid(captured.oid))
        .bind(&columns)
        .fetch_one(&mut *connection)
        .await?;
    // An index of the table holds for it alone, not for those that inherit from it.
    let holds = unique && (captured.partitioned || captured.descendants.is_empty());
    if table.key.is_empty() || holds {
        let finding = Finding::ok(Hop::Table, object, format!("key: {shown}"));
        let identities = schema.identities.iter();
        let identities: Vec<_> = identities
            .map(|identity| schema.columns[identity.column].name.as_str())
            .collect();
        return Ok(match identities.as_slice() {
            [] => finding,
            _ => finding.effect(format!(
                "equal values of the key can have different texts: {} identifies them in the lake",
                identities.join(", ")
            )),
        });
    }
    let means = "two rows with the same key overwrite each other in the latest state";
    // PostgreSQL refuses a unique index over values that repeat.
    if unique::has_repeated(&schema.table, &columns, connection).await == Some(true) {
        let evidence = format!("values of the configured key repeat, or are null: {shown}");
        let finding = Finding::warning(Hop::Table, object, evidence).effect(means);
        let primary = unique::primary_key(captured, connection).await?;
        return Ok(match primary.is_empty() {
            true => finding.fix(format!("name what is unique: tables.{object}.key")),
            false => finding.fix(format!("tables.{object}.key: [{}]", primary.join(", "))),
        });
    }
    if unique {
        let finding = Finding::ok(Hop::Table, object, format!("key: {shown}"));
        return Ok(finding.effect("no two rows of the table and of its heirs have the same one"));
    }
    let quoted: Vec<_> = columns.iter().map(|column| quote(column)).collect();
    let finding = Finding::warning(
        Hop::Table,
        object,
        format!("no unique index over the configured key: {shown}"),
    );
    let concurrently = if captured.partitioned {
        ""
    } else {
        " CONCURRENTLY"
    };
    Ok(finding.effect(means).fix(format!(
        "CREATE UNIQUE INDEX{concurrently} ON {} ({});",
        schema.table.quoted(),
        quoted.join(", ")
    )))
}

/// What the table's kind and its columns mean for its copy.
fn kinds(table: &TableConfig, object: &str, captured: &Captured, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let of = |wanted: fn(&Column) -> bool| {
        let columns = captured
            .schema
            .columns
            .iter()
            .filter(|column| wanted(column));
        columns
            .map(|column| format!("{} ({})", column.name, column.postgres_type))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let texts = of(|column| column.as_text);
    if !texts.is_empty() {
        let finding = Finding::info(
            Hop::Table,
            object,
            format!("read as PostgreSQL's text: {texts}"),
        );
        findings.push(
            finding.effect("no Arrow type is as exact; cast them in the query: CAST(x AS ..)"),
        );
    }
    findings.extend(by_text(object, captured));
    if !captured.partitioned && !captured.descendants.is_empty() {
        let count = captured.descendants.len();
        let tables = if count == 1 {
            "table that inherits"
        } else {
            "tables that inherit"
        };
        let finding = Finding::warning(
            Hop::Table,
            object,
            format!("read together with {count} {tables} from it"),
        );
        let means = "a primary key holds for each of them alone: two rows with the same key \
            overwrite each other in the latest state";
        let finding = finding.effect(means).fix(format!(
            "name columns that are unique over all of them: tables.{object}.key"
        ));
        // A key that the configuration names is checked with the key.
        findings.push(match table.key.is_empty() {
            true => finding,
            false => Finding::info(Hop::Table, object, finding.evidence),
        });
    }
    if facts.unlogged {
        let finding = Finding::warning(Hop::Table, object, "an unlogged table");
        let fix = format!("ALTER TABLE {} SET LOGGED;", captured.schema.table.quoted());
        findings.push(
            finding
                .effect(
                    "after a crash PostgreSQL empties it, and its rows are published as deleted",
                )
                .fix(fix),
        );
    }
    findings
}

/// How the deletes of the table are found, where it has any.
fn deletes(
    config: &Config,
    table: &TableConfig,
    object: &str,
    captured: &Captured,
    facts: &Facts,
) -> Option<Finding> {
    let is_found = !captured.schema.key.is_empty() && table.deletes == Deletes::Census;
    if is_found && !facts.counts {
        let evidence = "track_counts is off: PostgreSQL counts no deletes";
        let finding = Finding::warning(Hop::Table, object, evidence);
        let interval = config.streaming.census.interval;
        return Some(
            finding
                .effect(format!("deletes are found every {interval:?} only"))
                .fix("ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf();"),
        );
    }
    if facts.deletes == 0 {
        return None;
    }
    let evidence = format!("{} deletes were counted", facts.deletes);
    let finding = Finding::info(Hop::Table, object, evidence);
    Some(finding.effect(if is_found {
        format!(
            "deletes are found by comparing keys, at {} % of a core",
            config.streaming.census.percent
        )
    } else {
        let why = match table.deletes {
            Deletes::Ignored => "the configuration has `deletes: ignore`",
            Deletes::Census => "it has no key",
        };
        format!("deleted rows stay in the lake, because {why}")
    }))
}

/// Finds the columns that have another name for a reader of the lake.
fn names(object: &str, captured: &Captured) -> Option<Finding> {
    let columns = captured.schema.columns.iter();
    let shown = views::names_in_files(&captured.schema);
    let renamed: Vec<_> = columns
        .zip(shown)
        .filter(|(column, shown)| column.name != *shown)
        .map(|(column, shown)| format!("{} is {}", quote(&column.name), quote(&shown)))
        .collect();
    if renamed.is_empty() {
        return None;
    }
    let evidence = format!(
        "columns whose names differ in case only: {}",
        renamed.join(", ")
    );
    Some(
        Finding::warning(Hop::Table, object, evidence)
            .effect("DuckDB compares names without case, and shows the later one with a number")
            .fix("write these names in queries, or rename the columns"),
    )
}

/// A key of a type whose equality is unknown.
fn by_text(object: &str, captured: &Captured) -> Option<Finding> {
    let columns: Vec<_> = captured
        .unknown_equalities()
        .map(|column| format!("{} ({})", column.name, column.postgres_type))
        .collect();
    if columns.is_empty() {
        return None;
    }
    let finding = Finding::warning(
        Hop::Table,
        object,
        format!("key compared by its text: {}", columns.join(", ")),
    );
    let means = "this type's equality is unknown: two texts that PostgreSQL takes for equal are \
        two rows in the latest state";
    Some(finding.effect(means).fix(format!(
        "name columns of another type that identify a row: tables.{object}.key"
    )))
}

fn rules(table: &TableConfig, captured: &Captured) -> Option<Finding> {
    let rules = Rules::parse(&table.rules).ok()?;
    let object = format!("tables.{}.rules", table.written());
    match rules.check(&captured.schema) {
        Err(error) => Some(Finding::of(Hop::Table, object, &error)),
        Ok(_) if table.rules.is_empty() => None,
        Ok(_) => Some(Finding::ok(
            Hop::Table,
            object,
            format!("{} rules fit the columns", table.rules.len()),
        )),
    }
}

fn date_column(table: &TableConfig, captured: &Captured) -> Option<Finding> {
    let asked = table.date_column.as_deref()?;
    let columns = &captured.schema.columns;
    let is_time = |column: &&Column| column.column_type.is_time();
    let found = captured
        .schema
        .resolve(asked)
        .map(|position| &columns[position]);
    if found.as_ref().is_some_and(is_time) {
        return None;
    }
    let object = format!("tables.{}.date_column", table.written());
    let evidence = match found {
        Some(column) => format!(
            "column `{}` is {}, no timestamp or date",
            column.name, column.postgres_type
        ),
        None => format!("table `{}` has no column `{asked}`", captured.schema.table),
    };
    let times: Vec<_> = columns
        .iter()
        .filter(is_time)
        .map(|column| column.name.as_str())
        .collect();
    let fix = times.first().map_or_else(
        || "leave it out".to_owned(),
        |time| format!("{object}: {time}"),
    );
    Some(Finding::error(Hop::Table, object, evidence).fix(fix))
}
