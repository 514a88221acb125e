//! The services as processes, on real servers: what a user does, and what the machine does to a
//! user.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod acceptance;
mod addresses;
mod aside;
mod audit;
mod bucket;
mod capture;
mod columns;
mod control;
mod cost;
mod deletes;
mod exports;
mod foreign;
mod formats;
mod generations;
mod keys;
mod kills;
mod ledger;
mod load;
mod locate;
mod mistakes;
mod monitoring;
mod names;
mod observe;
mod orders;
mod output;
mod patterns;
mod rejected;
mod reload;
mod repair;
mod restore;
mod start;
mod tables;
mod tail;
mod top;
mod topics;
mod types;
mod unseen;
