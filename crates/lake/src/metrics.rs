//! The numbers of the lake's writer. They move once a commit is in the log, not before.

use inlet_service::observe::timestamp_seconds;
use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::committed::Committed;

const ROWS: &str = "inlet_lake_rows_total";
const QUARANTINED: &str = "inlet_lake_quarantined_rows_total";
const FILES: &str = "inlet_lake_files_total";
const COMMITS: &str = "inlet_lake_commits_total";
const LAST_COMMIT: &str = "inlet_lake_last_commit_timestamp_seconds";
const FRESHNESS: &str = "inlet_lake_freshness_seconds";

const EXPIRED: &str = "inlet_lake_expired_rows_total";
const MERGED: &str = "inlet_lake_merged_files_total";

/// Describes the lake's metrics to the recorder.
pub fn describe() {
    describe_counter!(ROWS, "rows that are committed and visible in the lake");
    describe_counter!(QUARANTINED, "rows that are committed in quarantine");
    describe_counter!(FILES, "data files that are committed");
    describe_counter!(COMMITS, "entries of the lake's log");
    describe_counter!(
        EXPIRED,
        "rows that left because they are older than their table keeps"
    );
    describe_counter!(MERGED, "files that were merged into larger ones");
    describe_gauge!(LAST_COMMIT, "when the last entry was written");
    describe_gauge!(
        FRESHNESS,
        "from the poll that found the newest row of the last commit to that commit"
    );
}

pub(crate) fn committed(table: &str, committed: &Committed) {
    let table = [("table", table.to_owned())];
    counter!(ROWS, &table).increment(committed.rows);
    counter!(QUARANTINED, &table).increment(committed.quarantined);
    counter!(FILES, &table).increment(committed.files);
    counter!(COMMITS, &table).increment(1);
    // They exist from the first commit, so that their first step shows as an increase.
    counter!(EXPIRED, &table).increment(0);
    counter!(MERGED, &table).increment(0);
    gauge!(LAST_COMMIT, &table).set(timestamp_seconds());
    if let Some(freshness) = committed.freshness {
        gauge!(FRESHNESS, &table).set(freshness.as_secs_f64());
    }
}

pub(crate) fn expired(table: &str, rows: u64) {
    counter!(EXPIRED, "table" => table.to_owned()).increment(rows);
}

pub(crate) fn merged(table: &str, files: u64) {
    counter!(MERGED, "table" => table.to_owned()).increment(files);
}
