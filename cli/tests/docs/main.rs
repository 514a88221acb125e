//! The documentation is true: its commands run, their output is as shown, its
//! configurations are valid, and so is their schema.
//!
//! * [`page`] takes a page apart; [`session`] runs its blocks of `sh` in one shell, in order,
//!   against real servers.
//! * [`pages`] defines the servers of each page, and the commands that cannot run here.
//! * [`troubleshooting`] provokes the messages of docs/troubleshooting.md.

#![allow(clippy::unwrap_used, missing_docs)]

mod page;
mod pages;
mod schema;
mod session;
mod troubleshooting;
