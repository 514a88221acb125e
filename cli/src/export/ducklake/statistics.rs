//! What a file contains, column by column: readers of the catalog leave out files by it.

use inlet_lake::{ColumnStatistics, LakeFile};
use inlet_model::{ColumnType, Scalar};
use rusqlite::{Connection, params};

use super::Sql;
use super::writing::ColumnId;
use crate::export::shape::{Field, InFile, Shape};

/// The bytes from which on a bound of a text may be cut.
const CUT_BYTES: usize = 64;

/// Stores a row for each column, also for one without statistics: a reader takes a missing row for
/// a file without the value that it looks for.
pub(super) fn insert_statistics(
    connection: &Connection,
    (id, table): (i64, i64),
    columns: &[ColumnId],
    shape: &Shape,
    (in_file, file): (&[InFile], &LakeFile),
) -> Sql<()> {
    let mut insert = connection.prepare(
        "INSERT INTO ducklake_file_column_stats VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, NULL, NULL)",
    )?;
    for (at, field) in shape.fields.iter().enumerate() {
        let of_file = in_file.iter().find(|of| of.field == at);
        let found = of_file.and_then(|of| file.columns.get(&of.own));
        let (min, max) = found.map_or((None, None), |found| bounds(field, found));
        let nulls = match (of_file, found) {
            // A file without the column has nulls alone.
            (None, _) => Some(file.rows),
            (Some(_), found) => found.and_then(|found| found.nulls),
        };
        let column = columns[at];
        insert.execute(params![
            id,
            table,
            column.element.unwrap_or(column.column),
            found.map(|found| found.bytes),
            found.map_or(file.rows, |found| found.values),
            nulls,
            min,
            max
        ])?;
    }
    let date = columns.last().expect("the date is a column").column;
    let nulls = if file.date.is_some() { 0 } else { file.rows };
    insert.execute(params![
        id, table, date, 0, file.rows, nulls, file.date, file.date
    ])?;
    Ok(())
}

/// The bounds that are exact.
fn bounds<'a>(field: &Field, found: &'a ColumnStatistics) -> (Option<&'a str>, Option<&'a str>) {
    let bounds = (found.min.as_deref(), found.max.as_deref());
    let is_text = field.column_type == ColumnType::Scalar(Scalar::Text);
    let is_cut = |bound: Option<&str>| bound.is_some_and(|bound| bound.len() >= CUT_BYTES);
    if is_text && (is_cut(bounds.0) || is_cut(bounds.1)) {
        return (None, None);
    }
    bounds
}
