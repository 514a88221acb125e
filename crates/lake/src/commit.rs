//! The commit log: what makes files, offsets and progress durable together, and who may write it.

mod checkpoint;
mod claim;
mod entry;
mod head;
mod log;
mod numbering;
mod protocol;
mod publish;
mod recover;
mod take_over;

pub use claim::Writer;
pub(crate) use claim::{Claim, writers};
pub(crate) use entry::{Covered, Entry, LatestSchema};
pub use head::{Head, PartitionHead};
pub(crate) use log::{Log, table_of};
pub use numbering::Numbering;
pub(crate) use protocol::commit;
pub(crate) use recover::open;
pub(crate) use take_over::{TakeOver, take_over};
