//! How a process of ours is configured, explained, retried, stopped and observed.
//!
//! Read in this order: [`config`], [`error`], [`retry`], [`log`], [`stop`], [`observe`].

pub mod config;
pub mod error;
pub mod log;
pub mod observe;
pub mod retry;
pub mod stop;
