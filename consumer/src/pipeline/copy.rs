//! A readable copy of a table's offsets, for people. The consumer reads the lake's log and never
//! this copy.

use std::io;
use std::path::Path;

use inlet_model::{Offsets, TableName};
use inlet_service::file;
use serde::Serialize;

#[derive(Serialize)]
struct Copy<'a> {
    table: &'a TableName,
    topic: &'a str,
    /// Kafka_partition -> next offset to read.
    offsets: &'a Offsets,
    /// The entry of the lake's log that stores these offsets.
    seq: u64,
}

/// Writes `<folder>/<table>.json`, whole or not at all. Blocking.
pub(super) fn write(
    folder: &Path,
    table: &TableName,
    topic: &str,
    offsets: &Offsets,
    seq: u64,
) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(&Copy {
        table,
        topic,
        offsets,
        seq,
    })?;
    // A slash in a table's name would be taken for a folder.
    let name = table.short().replace('/', "%2F");
    file::replace(&folder.join(format!("{name}.json")), &text)
}
