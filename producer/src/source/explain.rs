//! What people are told of a table, once: what its cursor means, what became of it, and how far a
//! reading of it is.

use inlet_model::{TableName, quote};
use inlet_postgres::catalog::{self, Captured, expected_rows};
use inlet_service::bar::{self, Bar};
use sqlx::postgres::PgConnection;
use tracing::{info, warn};

use super::error::PollError;
use super::poll::Polled;
use super::table::{Plan, Table};

/// A bar for reading a whole table; PostgreSQL is asked how many rows it expects where the bar can
/// be seen.
pub async fn reading(connection: &mut PgConnection, what: &str, table: &TableName) -> Bar {
    let total = if bar::is_visible() {
        expected_rows(connection, table).await
    } else {
        None
    };
    Bar::new(format!("{what} {table}"), total)
}

/// A bar for a scan without a floor, and one that is never shown for any other.
pub(super) fn scanning(table: &Table, plan: &Plan) -> Bar {
    match plan.tier {
        Some(tier) if plan.tiers.is_sweep(tier) => {
            Bar::new(format!("sweep {}", table.captured.schema.table), None)
        }
        Some(_) => Bar::default(),
        None => Bar::new(format!("join {}", table.captured.schema.table), None),
    }
}

/// Says what became of a table that was polled before.
pub(super) async fn absence(connection: &mut PgConnection, gone: &Polled) -> Result<(), PollError> {
    let table = &gone.table;
    match catalog::name_of(connection, gone.oid).await? {
        Some(renamed) => {
            warn!(%table, "table was renamed to `{renamed}`: it is not polled any more, the others are; name it so in the configuration");
        }
        None => {
            warn!(%table, "table was dropped: the others are polled on, and it is taken again once it is back")
        }
    }
    Ok(())
}

/// Says what it takes that the rows of a table without a key have the values of these columns.
pub(super) fn unwritten(table: &TableName, columns: &[String]) {
    for column in columns {
        warn!(
            %table, column,
            "rows that were read before stay null in this new column until they are written again; to bring its value for all: UPDATE {} SET {1} = {1}",
            table.quoted(), quote(column)
        );
    }
}

/// Says once what the cursor of a table means for its polls.
pub(super) fn cursor(captured: &Captured) {
    let table = &captured.schema.table;
    match &captured.cursor {
        None => {
            let times = captured
                .schema
                .columns
                .iter()
                .filter(|column| column.column_type.is_time());
            let times: Vec<_> = times.map(|column| column.name.as_str()).collect();
            if times.is_empty() {
                warn!(%table, "table has no timestamp column: every poll reads all of it, at most a twentieth of the time");
            } else {
                let columns = times.join(", ");
                warn!(%table, columns, "no index begins with a timestamp column: every poll reads all of the table, at most a twentieth of the time; name the one that says when a row was changed in `tables.<name>.cursor`, and give it an index");
            }
        }
        Some(cursor) => {
            let column = &captured.schema.columns[cursor.column].name;
            if let Some(statement) = captured.missing_index() {
                warn!(%table, %column, "no index begins with the cursor column: every poll reads the whole table, at most a twentieth of the time; run: {statement}");
            }
            info!(%table, %column, kind = ?cursor.kind, nullable = cursor.nullable, "cursor column");
        }
    }
}
