//! The function that writes the journal: one for each table, called by all of its triggers.

use std::collections::BTreeSet;

use inlet_model::{TableName, quote};
use inlet_service::config::{Capture, TableConfig};

use super::counter;
use crate::catalog::Captured;
use crate::copy::literal;

/// The whole row. A table may have a column of any name, so the row is named as `alias.*`.
const ROW: &str = "row_to_json(changed_row.*)";

/// The function's source. What the catalog stores is compared with it.
///
/// * A user's write must not fail because of the journal. A statement is counted instead of
///   recorded while the journal is full or missing, and while a column that the statements below
///   name has another name.
/// * The old and the new rows of an UPDATE are matched by the key, so each key has one record a
///   statement: a changed key is a delete of one key and an insert of another. A full join is a
///   hash or a merge join whatever the planner expects, so a plan that was made for one row serves
///   a million.
pub(super) fn source(captured: &Captured, config: &TableConfig) -> String {
    let journal = captured.schema.table.journal();
    let audit = config.capture == Capture::Audit;
    let columns = columns(captured);
    let key = key(captured);
    let row = row(captured, &columns);
    let named: BTreeSet<&str> = match &columns {
        None if audit => key_columns(captured).chain(numerics(captured)).collect(),
        None => key_columns(captured).collect(),
        Some(columns) => columns.iter().map(String::as_str).collect(),
    };
    let named: Vec<_> = named.into_iter().map(literal).collect();
    let (declared, recorded, written) = match audit {
        true => (
            WHO,
            "op, key, before, after, changed, role, application_name, client_address, \
            actor, missed",
            "op, key, before, after, changed, v_role, v_program, v_client, v_actor, \
            v_missed",
        ),
        false => ("", "op, key, missed", "op, key, v_missed"),
    };
    let insert = format!(
        "INSERT INTO {} ({recorded}, changed_at, xid)\n        SELECT {written}, v_at, {XID} FROM (",
        journal.quoted()
    );
    let one = |op: &str, rows: &str, before: &str, after: &str| {
        let values = match audit {
            true => format!(", {before} AS before, {after} AS after, NULL::text[] AS changed"),
            false => String::new(),
        };
        format!(
            "{insert}\n            SELECT '{op}' AS op, {key} AS key{values}\n            \
            FROM {rows} AS changed_row) AS change;\n"
        )
    };
    format!(
        "
DECLARE
    v_at timestamptz := clock_timestamp();
    v_missed bigint := coalesce(pg_sequence_last_value({counter}), 0);
{declared}BEGIN
    IF (SELECT count(*) FROM pg_attribute WHERE attrelid = TG_RELID AND NOT attisdropped
            AND attname IN ({named})) < {count}
        OR coalesce(pg_table_size(to_regclass({name})) >= {max}, true) THEN
        PERFORM nextval({counter});
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        {inserted}    ELSIF TG_OP = 'DELETE' THEN
        {deleted}    ELSIF TG_OP = 'UPDATE' THEN
        {updated}    ELSE
        {truncated}    END IF;
    RETURN NULL;
END
",
        counter = class(&counter(&journal)),
        named = named.join(", "),
        count = named.len(),
        name = literal(&journal.quoted()),
        max = config.journal_max,
        inserted = one("insert", "inlet_new", "NULL::json", &row),
        deleted = one("delete", "inlet_old", &row, "NULL::json"),
        updated = updated(&insert, &key, &row, audit),
        truncated = truncated(&journal, audit),
    )
}

/// The SQL of a relation's object id.
pub(super) fn class(name: &TableName) -> String {
    format!("{}::regclass", literal(&name.quoted()))
}

/// Asked once for a statement, and not at all for one that changes no row: that needs no xid.
const XID: &str = "(SELECT pg_current_xact_id()::text::bigint)";

/// Who makes the change. The function runs with the rights of its owner, so `current_user` is that
/// owner, and the role of the session is asked for.
const WHO: &str = "    \
    v_role text := CASE current_setting('role') WHEN 'none' THEN session_user \
    ELSE current_setting('role') END;
    v_program text := current_setting('application_name');
    v_client text := host(inet_client_addr());
    v_actor text := nullif(current_setting('inlet.actor', true), '');
";

fn updated(insert: &str, key: &str, row: &str, audit: bool) -> String {
    let (side, values) = match audit {
        true => (
            format!("SELECT {key} AS key, {row} AS whole"),
            ", old_row.whole AS before, new_row.whole AS after,
                CASE WHEN old_row.key IS NOT NULL AND new_row.key IS NOT NULL THEN ARRAY(
                    SELECT field.name
                    FROM ROWS FROM (json_each_text(old_row.whole), json_each_text(new_row.whole))
                        AS field(name, before, same, after)
                    WHERE field.before IS DISTINCT FROM field.after) END AS changed",
        ),
        false => (format!("SELECT {key} AS key"), ""),
    };
    format!(
        "{insert}
            SELECT CASE WHEN old_row.key IS NULL THEN 'insert' WHEN new_row.key IS NULL THEN 'delete'
                ELSE 'update' END AS op, coalesce(new_row.key, old_row.key) AS key{values}
            FROM ({side} FROM inlet_old AS changed_row) AS old_row
            FULL JOIN ({side} FROM inlet_new AS changed_row) AS new_row ON old_row.key = new_row.key) AS change;
"
    )
}

fn truncated(journal: &TableName, audit: bool) -> String {
    let (columns, values) = match audit {
        true => (
            ", role, application_name, client_address, actor",
            ", v_role, v_program, v_client, v_actor",
        ),
        false => ("", ""),
    };
    format!(
        "INSERT INTO {} (op, relation{columns}, missed)
        VALUES ('truncate', format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME){values}, v_missed);
",
        journal.quoted()
    )
}

/// The key as an object of JSON: equal keys have one text.
fn key(captured: &Captured) -> String {
    let pairs =
        key_columns(captured).map(|name| format!("{}, changed_row.{}", literal(name), quote(name)));
    format!(
        "jsonb_build_object({})",
        pairs.collect::<Vec<_>>().join(", ")
    )
}

fn key_columns(captured: &Captured) -> impl Iterator<Item = &str> {
    let columns = captured.key.iter();
    columns.map(|at| captured.schema.columns[*at].name.as_str())
}

/// The columns that are recorded, where these are not all: those that are read, without what
/// readers see as a hash or a mask only.
fn columns(captured: &Captured) -> Option<Vec<String>> {
    captured.has_protected_columns().then(|| {
        let columns = captured.schema.columns.iter().enumerate();
        columns
            .filter(|(at, _)| captured.is_plain(*at))
            .map(|(_, column)| column.name.clone())
            .collect()
    })
}

/// The row as an object. A `numeric` is text in it: readers of JSON round a number to a double.
fn row(captured: &Captured, columns: &Option<Vec<String>>) -> String {
    let numerics: Vec<_> = numerics(captured).collect();
    let Some(columns) = columns else {
        let pair = |name: &&str| {
            let column = quote(name);
            format!("{}, changed_row.{column}::text", literal(name))
        };
        let pairs: Vec<_> = numerics.iter().map(pair).collect();
        // A column that is added later is in the object too.
        return match pairs.is_empty() {
            true => ROW.to_owned(),
            false => format!(
                "(to_jsonb(changed_row.*) || jsonb_build_object({}))::json",
                pairs.join(", ")
            ),
        };
    };
    let column = |name: &String| {
        let column = quote(name);
        match numerics.contains(&name.as_str()) {
            true => format!("changed_row.{column}::text AS {column}"),
            false => format!("changed_row.{column}"),
        }
    };
    let columns: Vec<_> = columns.iter().map(column).collect();
    format!(
        "(SELECT row_to_json(chosen.*) FROM (SELECT {}) AS chosen)",
        columns.join(", ")
    )
}

fn numerics(captured: &Captured) -> impl Iterator<Item = &str> {
    let columns = captured.schema.columns.iter();
    let numerics = columns.filter(|column| column.postgres_type.starts_with("numeric"));
    numerics
        .filter(|column| !column.postgres_type.ends_with("[]"))
        .map(|column| column.name.as_str())
}
