//! What PostgreSQL's catalog contains about a table: its columns, key and cursor column, and
//! whether it can be captured at all.
//!
//! A table is read once (`entry`); what its configuration makes of it (`captured`) is then decided
//! without asking the server again. Names resolve as in SQL, and a table that would hide rows is
//! refused. Source: PostgreSQL manual, "System Catalogs": `pg_class`, `pg_attribute`, `pg_index`,
//! `pg_type`.

mod captured;
mod choice;
mod columns;
mod cursor;
mod descendants;
mod entry;
mod error;
mod identity;
mod key;
mod list;
mod relation;
mod structure;
mod values;

pub use self::captured::{Captured, IdentityForm, capture};
pub use self::columns::Ordered;
pub use self::cursor::{Cursor, CursorKind, index_statement};
pub use self::descendants::Descendant;
pub use self::error::{CatalogError, Names};
pub use self::list::{expected_rows, heap_blocks, list_tables};
pub use self::structure::{Structure, read_structures};
pub use self::values::{Change, Values};

pub(crate) use self::choice::MASK;
pub(crate) use self::list::{exists, name_of};
