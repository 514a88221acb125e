//! Log messages about a table or about our rights, once each, and which readings get a bar.

use inlet_model::quote;
use inlet_postgres::Captured;
use inlet_postgres::Dropped;
use inlet_postgres::server::Greeting;
use tracing::{info, warn};

use super::control::Asked;
use super::out::Reading;
use super::plan::Plan;
use super::progress::Relation;
use super::resume::Stale;

/// The reading that a plan means, where it reads a whole table.
pub(super) fn reading(plan: &Plan) -> Option<Reading> {
    match plan {
        Plan::Join { .. } => Some(Reading::Join),
        Plan::Tier { depth, tiers, .. } => tiers.is_sweep(*depth).then_some(Reading::Sweep),
    }
}

/// Warns when our role may not see when other sessions' transactions began.
pub(super) fn role(greeting: &Greeting) {
    if !greeting.sees_all {
        warn!(
            role = %greeting.user,
            "role may not see other sessions' activity: rows of long transactions may wait for the \
                next sweep; run: GRANT pg_read_all_stats TO {}",
            quote(&greeting.user)
        );
    }
}

/// Warns about a table that was polled before and is missing.
pub(super) fn dropped(dropped: &Dropped) {
    let table = &dropped.table;
    match &dropped.renamed {
        Some(renamed) => {
            warn!(%table, "table was renamed to `{renamed}`: it is no longer polled, the other \
                tables are; use the new name in the configuration");
        }
        None => {
            warn!(%table, "table was dropped: the other tables are still polled; it is captured \
                again as soon as it exists again");
        }
    }
}

/// Warns that values of a table's rows changed although the rows were not written.
pub(super) fn stale(captured: &Captured, stale: &Stale, then: &str) {
    let table = &captured.schema.table;
    if !stale.columns.is_empty() {
        let columns = stale.columns.join(", ");
        warn!(%table, columns, "rows have values in new columns although they were not written: \
            {then}");
    }
    if !stale.changes.is_empty() {
        let changes: Vec<_> = stale
            .changes
            .iter()
            .map(|(words, _)| words.as_str())
            .collect();
        warn!(%table, reason = changes.join(", "), "rows have other values although they were not \
            written: {then}");
    }
}

/// Logs what a user asks of a table, when it is followed.
pub(super) fn asked(captured: &Captured, asked: &Asked) {
    let table = &captured.schema.table;
    let keyed = !captured.schema.key.is_empty();
    match asked {
        Asked::Pause => info!(%table, "a user pauses the table: its changes wait"),
        Asked::Resume => info!(%table, "a user resumes the table"),
        Asked::Sweep(_) => info!(%table, "a user asks for a sweep of the table"),
        Asked::Repair(repair) => {
            info!(%table, keys = repair.keys.len(), "a user repairs rows of the table");
        }
        Asked::Reload(_) if !keyed => {
            warn!(%table, "a user asks to load the table again, which has no key: every row would \
                only come another time, so it is not loaded");
        }
        Asked::Reload(reload) => {
            info!(%table, condition = reload.condition, "a user loads the table again, beside its \
                new changes");
        }
    }
}

/// Warns that the keys of a repair are none of the table.
pub(super) fn refused_repair(captured: &Captured) {
    warn!(table = %captured.schema.table, "a repair names rows by another key than the table has, \
        so it is not made; compare again: inlet verify --repair");
}

/// Logs that a table has another key than before, or none any more.
pub(super) fn key(captured: &Captured, stored: Option<&Relation>) {
    let table = &captured.schema.table;
    let Some(before) = stored.and_then(|stored| stored.key.as_ref()) else {
        return;
    };
    let now = captured.key_numbers();
    if *before == now {
        return;
    }
    let columns = captured.schema.key.iter();
    let columns: Vec<_> = columns
        .map(|at| captured.schema.columns[*at].name.as_str())
        .collect();
    let columns = columns.join(", ");
    match (before.is_empty(), now.is_empty()) {
        (_, true) => warn!(%table, "the table has lost its key: from now on its lake is a history \
            of versions without a latest state; a primary key, or a unique index over columns that \
            are NOT NULL, brings it back"),
        (true, false) => warn!(%table, columns, "the table has a key from now on: its lake has a \
            latest state, of the rows that were read before too"),
        (false, false) => warn!(%table, columns, "the table has another key: from now on it \
            identifies the rows of the latest state"),
    }
}

/// Warns that rows of a table without a key keep their old values, or null in new columns.
pub(super) fn unwritten(captured: &Captured, stale: &Stale) {
    let table = &captured.schema.table;
    for (words, column) in &stale.changes {
        let columns = captured.schema.columns.iter();
        // An UPDATE of any column publishes the whole row.
        let first = columns.map(|column| column.name.as_str()).next();
        let column = quote(column.as_deref().or(first).unwrap_or_default());
        warn!(%table, reason = words, "rows that were read before keep their old values until they \
            are written again, because the table has no key; to update all of them: UPDATE {} SET \
            {column} = {column}", table.quoted());
    }
    for column in &stale.columns {
        warn!(
            %table, column,
            "rows that were read before stay null in this new column until they are written again; \
                to update all of them: UPDATE {} SET {1} = {1}",
            table.quoted(), quote(column)
        );
    }
}

/// How rows are identified from now on, in words.
pub(super) fn identities(captured: &Captured) -> String {
    let schema = &captured.schema;
    let key = schema.key.iter();
    let key: Vec<_> = key.map(|at| schema.columns[*at].name.as_str()).collect();
    format!("rows are identified in another way: by {}", key.join(", "))
}

/// Warns that two texts of one key are two rows.
pub(super) fn unknown_equalities(captured: &Captured) {
    for column in captured.unknown_equalities() {
        warn!(
            table = %captured.schema.table,
            column = column.name,
            postgres_type = column.postgres_type,
            "the key is compared by its text, because this type's equality is unknown: two texts \
                that PostgreSQL takes for equal are two rows"
        );
    }
}

/// Logs that a deeper scan has found rows; the first time with the way out.
pub(super) fn late(captured: &Captured, rows: u64, first: bool) {
    let table = &captured.schema.table;
    if !first {
        return info!(%table, rows, "rows were older than their transactions: a deeper scan found \
            them");
    }
    let column = captured.cursor_name();
    let run = captured.touch_statements();
    let run = run.map(|run| run.replace('\n', " "));
    warn!(%table, rows, column, run, "rows were older than their transactions: a deeper scan found \
        them; an update that leaves the cursor column unchanged waits for a sweep, which reads the \
        whole table; a trigger that sets it with every update avoids that");
}

/// Logs what the cursor of a table means for its polls.
pub(super) fn cursor(captured: &Captured) {
    let table = &captured.schema.table;
    let Some(cursor) = captured.cursor else {
        return no_cursor(captured);
    };
    let column = &captured.schema.columns[cursor.column].name;
    if let Some(statement) = captured.missing_index() {
        warn!(%table, %column, "no index begins with the cursor column: every poll reads the whole \
            table, at most a twentieth of the time; run: {statement}");
    }
    info!(%table, %column, kind = ?cursor.kind, nullable = cursor.nullable, "cursor column");
}

/// Logs that a table gets another cursor than it had.
pub(super) fn another_cursor(captured: &Captured, theirs: Option<&str>, ours: &str) {
    let table = &captured.schema.table;
    match captured.cursor_name() == Some(ours) {
        false => info!(%table, from = theirs, to = ours, "the table gets another cursor: it is \
            swept once before it is polled by that"),
        true => warn!(%table, from = theirs, to = ours, "the table gets another cursor, and the \
            former one does not exist any more: rows since the last sweep are read again, each as \
            a new version"),
    }
}

fn no_cursor(captured: &Captured) {
    let table = &captured.schema.table;
    let times: Vec<_> = captured
        .schema
        .columns
        .iter()
        .filter(|column| column.column_type.is_time())
        .map(|column| column.name.as_str())
        .collect();
    // An index only helps on a timestamp column, so the two cases need different advice.
    if times.is_empty() {
        warn!(%table, "table has no timestamp column: every poll reads the whole table, at most a \
            twentieth of the time");
    } else {
        let columns = times.join(", ");
        warn!(%table, columns, "no index begins with a timestamp column: every poll reads the \
            whole table, at most a twentieth of the time; set `tables.<name>.cursor` to the column \
            with the time of the last change, and create an index on it");
    }
}
