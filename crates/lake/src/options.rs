use chrono_tz::Tz;
use inlet_model::TableName;

use crate::commit::Numbering;
use crate::compaction::{CompactionOptions, Retention};

/// The table that a folder holds, and how its rows are laid out.
#[derive(Debug, Clone)]
pub struct LakeOptions {
    /// The table, as the catalog spells it.
    pub table: TableName,
    /// The zone in which a `timestamptz` becomes a date.
    pub timezone: Tz,
    /// The column whose date chooses a row's date_partition, as the user wrote it: each schema
    /// resolves it. `None` means the table's event time,
    /// or the date on which the row was found for a table without one.
    pub date_column: Option<String>,
    /// Where the positions of the rows come from. A lake that began with another numbering is
    /// refused.
    pub numbering: Numbering,
    /// How files are merged beside the writer; `None`: by hand only.
    pub compaction: Option<CompactionOptions>,
    /// How long rows stay; `None`: for ever.
    pub retention: Option<Retention>,
}

impl LakeOptions {
    /// Of a process that writes no rows of its own.
    pub(crate) fn of_table(table: TableName) -> Self {
        Self {
            table,
            timezone: Tz::UTC,
            date_column: None,
            numbering: Numbering::Topic,
            compaction: None,
            retention: None,
        }
    }
}
