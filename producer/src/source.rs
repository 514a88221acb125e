//! PostgreSQL -> batches: what is new in the captured tables, each version once, none lost.
//!
//! Read in this order: [`poll`] is the cycle, step by step; [`resume`] is how it starts; [`table`]
//! is what is remembered between cycles, [`phase`] how far a table is, and [`progress`] how both
//! are stored. [`activity`] and [`bounds`] decide what a cycle has to read, [`tiers`] how deep,
//! [`plan`] puts it together, and [`coverage`] decides what of it is new. `carry_out` carries a
//! plan out: [`statement`] and [`scan`] read the rows and hand them to an [`out`], with the time of
//! their [`detection`]. [`load`] is the first reading of a table, and another one beside its polls.
//! [`control`] is what users ask of a table, [`repair`] what one of these requests publishes, and
//! [`journal`] what leaves a table that holds the changes of another one. [`keys`] are the keys of
//! the published rows, [`held`] is what a table remembers of them, and [`census`] finds the deleted
//! ones among them; `recorded` are the rows that a journal names, and `look_up` reads them.
//! [`waiting`] counts what a poll would find, and [`unseen`] what only a deeper scan would find.

pub mod activity;
pub mod bounds;
mod carry_out;
pub mod census;
pub mod control;
pub mod coverage;
pub mod detection;
pub mod error;
pub mod held;
pub mod journal;
pub mod keys;
mod load;
mod look_up;
mod notice;
pub mod out;
pub mod phase;
pub mod plan;
pub mod poll;
pub mod progress;
mod recorded;
pub mod repair;
pub mod resume;
pub mod scan;
pub mod statement;
pub mod table;
pub mod tiers;
pub mod unseen;
pub mod waiting;
