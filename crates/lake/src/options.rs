use chrono_tz::Tz;
use inlet_model::TableName;

/// The table that a folder holds, and how its rows are laid out.
#[derive(Debug, Clone)]
pub struct LakeOptions {
    /// The table, as the catalog spells it.
    pub table: TableName,
    /// The zone in which a `timestamptz` becomes a date.
    pub timezone: Tz,
    /// The column whose date chooses a row's date_partition. `None` means the table's event time,
    /// or the date on which the row was found for a table without one.
    pub date_column: Option<String>,
}
