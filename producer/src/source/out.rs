//! Where a scan hands its rows, and what it reports while it reads.

use inlet_model::TableName;
use inlet_model::change::ChangeBatch;

use inlet_service::sink::SinkError;

/// Receives what the poll finds.
#[allow(async_fn_in_trait)] // One task drives the poll; no caller needs the future to be `Send` by name.
pub trait Out {
    /// Takes a batch of new versions; waits while the receiver is full.
    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError>;

    /// Learns how far a long reading is.
    fn observe(&mut self, _event: Event<'_>) {}
}

/// What happens while a table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A reading of a whole table starts, or continues with the next chunk.
    Starts {
        /// Why the table is read.
        reading: Reading,
        table: &'a TableName,
        /// How many rows PostgreSQL expects.
        expected: Option<u64>,
    },
    /// This many more rows were read, new or not.
    Read(u64),
    /// The reading has ended.
    Ends(Reading),
}

/// Why a whole table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Load,
    /// The scan that joins a loaded table to the cycles.
    Join,
    /// A scan without a floor.
    Sweep,
}

impl Out for Vec<ChangeBatch> {
    async fn write(&mut self, batch: ChangeBatch) -> Result<(), SinkError> {
        self.push(batch);
        Ok(())
    }
}
