//! How a process of ours is configured, explained, retried, stopped and observed.
//!
//! Read in this order: [`config`], [`error`], [`retry`], [`output`], [`log`], [`bar`], [`stop`],
//! [`observe`], [`process`], [`caught_up`], [`file`], [`sink`].
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

pub mod bar;
pub mod caught_up;
pub mod config;
pub mod error;
pub mod file;
pub mod log;
pub mod observe;
pub mod output;
pub mod process;
pub mod retry;
pub mod sink;
pub mod stop;
