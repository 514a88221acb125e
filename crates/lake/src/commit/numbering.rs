//! Who numbers the rows of a table's lake.
//!
//! Stored in the entry that takes the first kafka_partition over, and from then on in the head. The
//! offsets of a topic and the numbers that `inlet run` counts look alike and mean different rows,
//! so a lake keeps the numbering with which it began.

use serde::{Deserialize, Serialize};

/// Where the offsets and the sequences of a table's rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Numbering {
    /// A topic's offsets, and the sequences of its records. The control topic has the progress.
    Topic,
    /// A count of the changes of the table in this lake, whose log has the progress as well.
    Local,
}
