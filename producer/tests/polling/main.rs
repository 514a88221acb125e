//! The poll against a real PostgreSQL: scripts of sessions, each with what a cycle has to find
//! afterwards, and random interleavings of them.
//!
//! Read [`script`] first: it holds the sessions and the poller that every other module drives. The
//! scripts: [`late`] commits, [`versions`] of one row, [`ddl`] under the poll, [`relations`] that
//! are attached and detached, [`deletes`], updates that stay [`unseen`] or that a journal has
//! [`recorded`], odd [`cursors`], [`keys`] and [`encodings`], [`rights`] that are missing, loads
//! over several connections ([`side_by_side`]), [`faults`] in the middle of a cycle, a [`pooler`]
//! in between, a [`standby`], a server that is restored ([`lineage`]), and the [`wrap`] of the
//! xids. [`property`] lets [`writer`]s do all of it at random, beside [`naive`] pollers that have
//! to lose rows where ours does not; [`census_property`] does the same for rows that are deleted
//! and come back.
#![allow(clippy::unwrap_used)]

mod census_property;
mod cursors;
mod ddl;
mod deletes;
mod encodings;
mod faults;
mod keys;
mod late;
mod lineage;
mod membership;
mod naive;
mod pooler;
mod property;
mod recorded;
mod relations;
mod reload;
mod rights;
mod script;
mod side_by_side;
mod standby;
mod unseen;
mod versions;
mod wrap;
mod writer;
