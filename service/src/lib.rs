//! How a process of ours is configured, explained, retried and stopped.
//!
//! Read in this order: [`config`], [`error`], [`retry`], [`log`], [`stop`].

pub mod config;
pub mod error;
pub mod log;
pub mod retry;
pub mod stop;
