//! PostgreSQL -> batches: what is new in the captured tables, each version once, none lost.
//!
//! Read in this order: [`poll`] is the cycle; [`activity`] and [`bounds`] decide what it has to
//! read, [`tiers`] how deep, [`coverage`] what of it is new; [`server`] and [`block`] ask
//! PostgreSQL in the order that makes it lossless; [`scan`] and [`decode`] move the rows; [`load`]
//! is the first read of a table; [`pooler`] what must not stand between; [`table`] is what is
//! remembered between cycles; [`catalog`] is what PostgreSQL knows of a table; [`waiting`] counts
//! what a poll would find; [`explain`] tells people.

pub mod activity;
pub mod block;
pub mod bounds;
pub mod catalog;
pub mod coverage;
pub mod cursor;
pub mod decode;
pub mod error;
pub mod explain;
pub mod load;
pub mod poll;
pub mod pooler;
pub mod scan;
pub mod server;
pub mod table;
pub mod tiers;
pub mod waiting;
