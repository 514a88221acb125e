//! What talks to PostgreSQL: a connection with a server session of its own, the catalog, one locked
//! snapshot, and binary rows as Arrow columns.
//!
//! Read in this order: `connect` and `session` (how a connection is made and what its session must
//! be), `server` (identity, activity, log positions), `catalog` (tables), `block` (the transaction
//! that rows are read in), `decode` (rows), `grants` (the role that may do all this). Every error
//! gets its meaning from one table, `sqlstate`.

pub mod block;
pub mod catalog;
mod connect;
pub mod decode;
mod error;
mod floor;
pub mod grants;
mod reading;
pub mod server;
mod session;
mod sqlstate;

pub use self::connect::{connect, options};
pub use self::error::Error;
pub use self::floor::Floor;
pub use self::reading::{Reading, Seen, ServerTime, Session};
pub use self::sqlstate::Meaning;
