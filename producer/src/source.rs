//! PostgreSQL -> batches: what is new in the captured tables, each version once, none lost.
//!
//! Read in this order: [`poll`] is the cycle; [`activity`] and [`bounds`] decide what it has to
//! read, [`tiers`] how deep, [`coverage`] what of it is new; [`scan`] moves the rows; [`load`] is
//! the first read of a table; [`table`] is what is remembered between cycles; [`waiting`] counts
//! what a poll would find; [`explain`] tells people.

pub mod activity;
pub mod bounds;
pub mod coverage;
pub mod error;
pub mod explain;
pub mod load;
pub mod poll;
pub mod scan;
pub mod table;
pub mod tiers;
pub mod waiting;
