//! The consumer's own numbers; those of the lake are in `inlet_lake`.

use metrics::{counter, describe_counter};

const DUPLICATES: &str = "inlet_consumer_doubles_total";
const FAILURES: &str = "inlet_consumer_failures_total";

/// Describes the metrics of the consumer and of its lake to the recorder.
pub(crate) fn describe() {
    inlet_lake::describe_metrics();
    describe_counter!(DUPLICATES, "duplicate records that were left out");
    describe_counter!(
        FAILURES,
        "sessions that ended with an error and were restarted"
    );
    // A counter that exists from the start shows its first step as an increase.
    counter!(FAILURES).increment(0);
}

/// Counts the duplicates of a committed batch.
pub(crate) fn duplicates(table: &str, duplicates: u64) {
    counter!(DUPLICATES, "table" => table.to_owned()).increment(duplicates);
}

/// Counts a session that failed and is restarted.
pub(crate) fn failed() {
    counter!(FAILURES).increment(1);
}
