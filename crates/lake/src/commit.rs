//! The commit log: what makes files, offsets and progress durable together, and who may write it.

mod checkpoint;
mod claim;
mod entry;
mod head;
mod list;
mod live;
mod log;
mod naming;
mod numbering;
mod protocol;
mod publish;
mod recover;
mod replace;
mod retire;
mod segments;
mod take_over;
mod walk;

pub use claim::Writer;
pub(crate) use claim::{Claim, writers};
pub(crate) use entry::{Covered, DataFile, Entry, LatestSchema};
pub use head::{Head, PartitionHead};
pub use list::LakeFile;
pub(crate) use list::{list, live, schema_of};
pub(crate) use live::Listed;
pub(crate) use log::{Found, Log, table_of};
pub(crate) use naming::ColumnNames;
pub use naming::NameInFiles;
pub use numbering::Numbering;
pub(crate) use protocol::commit;
pub(crate) use publish::{folder_of, publish_pending};
pub(crate) use recover::{lock_within, open};
pub(crate) use replace::{Merged, hold, replace, try_lock};
pub(crate) use take_over::{TakeOver, take_over};
pub use walk::{Derived, LogFlaw};
pub(crate) use walk::{Walk, walk};
