//! The words of keys that have a choice.

pub(super) const FORMATS: &[&str] = &["json", "arrow", "plain", "debezium"];
pub(super) const DECIMALS: &[&str] = &["precise", "string", "double"];
pub(super) const TIMES: &[&str] = &["adaptive", "adaptive_time_microseconds", "connect"];
pub(super) const WRITERS: &[&str] = &["inlet", "debezium"];
pub(super) const CLEANUP: &[&str] = &["delete", "compact", "compact,delete"];
