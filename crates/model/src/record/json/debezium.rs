//! Debezium's envelope in JSON, as its PostgreSQL connector writes it through Kafka Connect's
//! `JsonConverter`.
//!
//! A **value** is `{"before":..,"after":..,"source":{..},"op":"..","ts_ms":..}`. With schemas it is
//! `{"schema":{..},"payload":<the same>}`, and a key likewise. `op` is `r` (read by a snapshot),
//! `c` (insert), `u` (update), `d` (delete) or `t` (truncate). After a delete follows a message
//! with the same key and no value, the tombstone, for the broker's compaction. Source: Debezium's
//! documentation, "Debezium connector for PostgreSQL", and Kafka Connect's `JsonConverter`.
//!
//! | PostgreSQL | JSON | by the setting |
//! |---|---|---|
//! | numeric(p,s) | base64 of the unscaled integer; text; a number | `decimal.handling.mode`: `precise`, `string`, `double` |
//! | numeric | `{"scale":..,"value":"<base64>"}`; text; a number | the same |
//! | date | days since 1970-01-01 | |
//! | time(0..3), time | milliseconds; microseconds | `time.precision.mode` |
//! | timestamp(0..3), timestamp | milliseconds; microseconds since 1970-01-01 | `time.precision.mode` |
//! | timestamptz | text, ISO 8601, UTC | |
//! | others | as in the format `json` | |
//!
//! [`Topic`] reads what the connector itself has written, [`Decoder`] and [`Encoder`] are for the
//! topics of our producer. A row is read from `after`, a delete's key from `before`.
//!
//! Promises: nothing is rounded, cut or guessed; a value that Debezium did not get
//! (`__debezium_unavailable_value`) is refused. Budget: 2 us a row of 8 columns, two passes over
//! each byte; a schema is parsed once, and compared after that.

mod connect;
mod decode;
mod encode;
mod envelope;
mod row;
mod schema;
mod topic;
mod value;

#[cfg(test)]
mod tests;

pub use decode::Decoder;
pub use encode::Encoder;
pub use row::RowReader;
pub use topic::{Declared, OpenError, Opened, Topic};
