//! The topic's records: key, value and header of a change, and the records of the control topic.

pub mod codec;
pub mod control;
pub mod encoding;
pub mod format;
pub mod header;
pub mod ipc;
pub mod json;
pub mod partition;
mod rows;
pub mod sequences;

pub use json::debezium;
pub use rows::Rows;
