//! The numbers that a running producer shows. They move once a checkpoint is durable, not before.

use crate::source::census::Census;
use inlet_model::TableName;
use inlet_service::observe::timestamp_seconds;
use metrics::{counter, describe_counter, describe_gauge, gauge};

const ROWS: &str = "inlet_producer_rows_total";
const LATE_ROWS: &str = "inlet_producer_late_rows_total";
const CHECKPOINTS: &str = "inlet_producer_checkpoints_total";
const FAILURES: &str = "inlet_producer_failures_total";
const SET_ASIDE: &str = "inlet_producer_table_set_aside";
const DELETES: &str = "inlet_producer_deletes_total";
const DELETES_SEEN: &str = "inlet_producer_deletes_seen_timestamp_seconds";
const LAST_CYCLE: &str = "inlet_producer_last_cycle_timestamp_seconds";

const DURABLE: &str = "inlet_producer_durable_timestamp_seconds";

/// Registers the description of every metric.
pub(crate) fn describe() {
    describe_counter!(ROWS, "row versions that are durable in the sink");
    describe_counter!(LATE_ROWS, "row versions that only a sweep found");
    describe_counter!(
        CHECKPOINTS,
        "checkpoints of rows or progress that are durable in the sink"
    );
    describe_counter!(
        FAILURES,
        "sessions that ended with an error and were restarted"
    );
    describe_counter!(DELETES, "deletes that were found and handed to the sink");
    describe_gauge!(
        DELETES_SEEN,
        "when the last pass over the keys of the table started: all earlier deletes are found"
    );
    describe_gauge!(
        SET_ASIDE,
        "1 while a table is set aside because it fails by itself, 0 once it is polled again"
    );
    describe_gauge!(
        DURABLE,
        "when PostgreSQL was last asked so that everything found by then is durable in the sink"
    );
    describe_gauge!(
        LAST_CYCLE,
        "when PostgreSQL was last asked, successfully, whether anything is new"
    );
    // A counter that exists from the start shows its first step as an increase.
    for name in [ROWS, LATE_ROWS, CHECKPOINTS, FAILURES] {
        counter!(name).increment(0);
    }
}

/// A checkpoint is durable.
pub(crate) fn checkpointed(rows: u64) {
    counter!(ROWS).increment(rows);
    counter!(CHECKPOINTS).increment(1);
}

/// A poll has ended.
pub(crate) fn polled(late_rows: u64) {
    counter!(LATE_ROWS).increment(late_rows);
    gauge!(LAST_CYCLE).set(timestamp_seconds());
}

/// Everything that polls have found until this time is durable.
pub(crate) fn durable(timestamp_seconds: f64) {
    gauge!(DURABLE).set(timestamp_seconds);
}

/// A checkpoint contains what the census of a table has found so far.
pub(crate) fn compared(table: &TableName, census: &Census) {
    counter!(DELETES, "table" => table.to_string()).absolute(census.deletes);
    if let Some(last) = &census.last {
        let seconds = last.started.0 as f64 / 1e6;
        gauge!(DELETES_SEEN, "table" => table.to_string()).set(seconds);
    }
}

/// A table was set aside, or is polled again.
pub(crate) fn set_aside(table: &TableName, is_aside: bool) {
    gauge!(SET_ASIDE, "table" => table.to_string()).set(f64::from(u8::from(is_aside)));
}

/// A session has failed and is tried again.
pub(crate) fn failed() {
    counter!(FAILURES).increment(1);
}
