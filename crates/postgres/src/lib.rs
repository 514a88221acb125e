//! What talks to PostgreSQL: connections with a server session of their own, the catalog, one
//! locked snapshot, and binary rows as Arrow columns.
//!
//! Read in this order: `connect` and `session` (how a connection is made, and what its session must
//! be), [`server`] (identity, activity, log positions), `tables` and `catalog` (what the tables of
//! a configuration are), `block` (the transaction that rows are read in), `copy` and `decode`
//! (rows), [`capture`] (triggers that record changes), [`grants`] (the role that may do all this).
//! `sqlstate` is the one table from an error of PostgreSQL to its meaning.
#![warn(missing_docs)]
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

mod block;
pub mod capture;
mod catalog;
mod condition;
mod connect;
mod copy;
mod decode;
mod error;
mod floor;
pub mod grants;
mod hash;
mod reading;
pub mod server;
mod session;
mod sqlstate;
mod tables;
mod text;

pub use self::block::{Block, Gate, SharedSnapshot, Snapshot};
pub use self::catalog::{
    Captured, CatalogError, Change, Cursor, CursorKind, Descendant, IdentityForm, Names, Ordered,
    Structure, Values, capture, expected_rows, heap_blocks, index_statement, list_tables,
    read_structures,
};
pub use self::condition::{ConditionError, check_condition};
pub use self::connect::{Postgres, connect, is_alive};
pub use self::copy::{CopyRow, CopyRows, literal};
pub use self::decode::{BinaryRow, DecodeError, RowDecoder, cursor_value, xmin};
pub use self::error::Error;
pub use self::floor::Floor;
pub use self::reading::{Reading, Seen, ServerTime, Session};
pub use self::sqlstate::Meaning;
pub use self::tables::{Dropped, Known, LeftOut, Polled, Table, Tables, expand};
pub use self::text::{Input, text_of};
