//! One column of a captured table, and what its name promises about its values.

use arrow::datatypes::Field;
use serde::{Deserialize, Serialize};

use crate::types::{ColumnType, named_field};

/// One column, as PostgreSQL's catalog describes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// Its name, as in the catalog.
    pub name: String,
    /// What it becomes on the way: Arrow, JSON and Parquet follow from it.
    pub column_type: ColumnType,
    /// PostgreSQL's name of the type with modifiers (`format_type`), e.g. `numeric(10,2)`.
    pub postgres_type: String,
    /// True when the SELECT casts it to text, because no closer type is mapped.
    pub as_text: bool,
    /// True when the catalog declares it NOT NULL.
    pub not_null: bool,
    /// True for a generated column.
    pub generated: bool,
    /// PostgreSQL's number of the column (`attnum`): it stays with the column when that is renamed,
    /// and is never used again in the same table. `None` in what 0.1.0 stored, and for a column
    /// that is not in the catalog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i16>,
}

/// Whether a type of PostgreSQL is `char(n)`: blanks at the end do not count in a comparison of its
/// values. Source: PostgreSQL's manual, "Character Types".
pub fn is_blank_padded(postgres_type: &str) -> bool {
    postgres_type == "character" || postgres_type.starts_with("character(")
}

/// What the name of a time column promises. The smallest is the best of its kind: the number is the
/// name's place in our list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It moves when its row changes: `updated_at`.
    Changed(usize),
    /// It is set when its row is inserted: `created_at`.
    Created(usize),
    /// It holds when the event happened that the row describes: `occurred_at`.
    Event(usize),
}

/// Names of columns that move with a change; compared without case and underscores.
const CHANGED: [&str; 12] = [
    "updatedat",
    "modifiedat",
    "lastmodified",
    "lastmodifiedat",
    "lastupdated",
    "lastupdatedat",
    "lastupdate",
    "changedat",
    "updatedon",
    "modifiedon",
    "updated",
    "modified",
];

const CREATED: [&str; 6] = [
    "createdat",
    "insertedat",
    "addedat",
    "created",
    "inserted",
    "createdon",
];

const EVENT: [&str; 4] = ["eventtime", "occurredat", "ts", "timestamp"];

/// Parts of a name that mean a later moment than the insert.
const LATER: [&str; 5] = ["updat", "modif", "chang", "delet", "expir"];

impl Column {
    /// Returns the column's Arrow field. It is always nullable, also for NOT NULL, because a
    /// later schema may allow nulls.
    pub fn field(&self) -> Field {
        named_field(&self.name, self.column_type)
    }

    /// Returns what the name promises; `None` for an unknown name, and for a column without a date.
    pub fn role(&self) -> Option<Role> {
        if !self.column_type.is_time() {
            return None;
        }
        let name = self.plain_name();
        let place = |names: &[&str]| names.iter().position(|known| *known == name);
        // A name is in one list only, so the order decides nothing but the speed.
        place(&CHANGED)
            .map(Role::Changed)
            .or_else(|| place(&CREATED).map(Role::Created))
            .or_else(|| place(&EVENT).map(Role::Event))
    }

    /// Returns whether the name tells of a change, a removal or an end: `deleted_at`.
    pub(crate) fn is_later_moment(&self) -> bool {
        let name = self.plain_name();
        LATER.iter().any(|part| name.contains(part))
    }

    fn plain_name(&self) -> String {
        self.name.to_lowercase().replace('_', "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Scalar;

    fn column(name: &str, scalar: Scalar) -> Column {
        Column {
            name: name.to_owned(),
            column_type: scalar.into(),
            postgres_type: String::new(),
            as_text: false,
            not_null: false,
            generated: false,
            number: None,
        }
    }

    #[test]
    fn a_role_follows_from_the_name_whatever_its_spelling() {
        let role = |name| column(name, Scalar::TimestampTz).role();
        assert_eq!(role("updated_at"), Some(Role::Changed(0)));
        assert_eq!(role("UpdatedAt"), Some(Role::Changed(0)));
        assert_eq!(role("created_at"), Some(Role::Created(0)));
        assert_eq!(role("ts"), Some(Role::Event(2)));
        assert_eq!(role("seen"), None);
        assert_eq!(column("updated_at", Scalar::Text).role(), None);
    }

    #[test]
    fn a_change_is_a_better_cursor_than_a_creation() {
        assert!(Role::Changed(11) < Role::Created(0) && Role::Created(5) < Role::Event(0));
    }
}
