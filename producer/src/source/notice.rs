//! Log messages about a table or about our rights, once each, and which readings get a bar.

use inlet_model::quote;
use inlet_postgres::Captured;
use inlet_postgres::server::Greeting;
use inlet_postgres::{Dropped, Table};
use tracing::{info, warn};

use super::out::Reading;
use super::plan::Plan;

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

/// Warns that rows of a table without a key keep null in new columns.
pub(super) fn unwritten(table: &Table, columns: &[String]) {
    let table = &table.captured.schema.table;
    for column in columns {
        warn!(
            %table, column,
            "rows that were read before stay null in this new column until they are written again; \
                to update all of them: UPDATE {} SET {1} = {1}",
            table.quoted(), quote(column)
        );
    }
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
