//! The view of a journal's changes with the rows that they changed. Pure.

use inlet_model::{ColumnType, Scalar, is_blank_padded, quote};

use super::columns::Present;
use super::select::Table;
use crate::duckdb::literal;

/// The name of a whole row. A column of the table may have any name but one of ours.
const ROW: &str = "_inlet_row";

/// Every change, with the row of its key as the table has it now: the struct `current_row`, null
/// where no row has the key.
pub fn with_row(changes: &Table, recorded: &Table) -> String {
    let Some(columns) = recorded
        .columns
        .as_ref()
        .filter(|_| changes.columns.is_some())
    else {
        return format!(
            "SELECT *, NULL AS current_row\nFROM (\n{}\n)",
            changes.latest()
        );
    };
    let keys = columns.key.iter().enumerate();
    let keys: Vec<_> = keys
        .map(|(at, column)| format!("{} AS k{at}", comparable(column, &in_row(column))))
        .collect();
    let same = columns.key.iter().enumerate();
    let same: Vec<_> = same
        .map(|(at, column)| format!("{} = latest.k{at}", recorded_value(column)))
        .collect();
    format!(
        "SELECT changes.*, latest.current_row\nFROM (\n{}\n) AS changes\nLEFT JOIN (\n  SELECT {ROW} \
         AS current_row, {}\n  FROM (\n{}\n  ) AS {ROW}\n) AS latest ON {}",
        changes.latest(),
        keys.join(", "),
        recorded.latest(),
        same.join(" AND ")
    )
}

fn in_row(column: &Present) -> String {
    format!("{ROW}.{}", quote(&column.shown))
}

/// The value of a key column in a record, as the view of the table has it.
fn recorded_value(column: &Present) -> String {
    let name = column.shown.replace('\\', "\\\\").replace('"', "\\\"");
    let text = format!("(changes.key->>{})", literal(&format!("$.\"{name}\"")));
    let value = match column.column_type {
        ColumnType::Scalar(Scalar::Text | Scalar::Json) => text,
        // JSON has PostgreSQL's own text: `\x00ff`.
        ColumnType::Scalar(Scalar::Bytes) => format!("unhex(substr({text}, 3))"),
        other => format!("TRY_CAST({text} AS {})", other.duckdb()),
    };
    comparable(column, &value)
}

/// Blanks at the end of a padded text do not count.
fn comparable(column: &Present, value: &str) -> String {
    match is_blank_padded(&column.postgres_type) {
        true => format!("rtrim({value}, ' ')"),
        false => value.to_owned(),
    }
}
