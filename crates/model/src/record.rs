//! The topic's records: key, value and header of a change, and the records of the control topic.

pub mod control;
pub mod header;
pub mod json;
pub mod partition;
pub mod sequences;
