//! How far a table is on its way from the initial load to the regular cycles.

use std::sync::Arc;

use inlet_model::Xid;
use serde::{Deserialize, Serialize};

use super::activity::Activity;

/// How far a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The rows from before the load are being read in chunks.
    Loading(Load),
    /// Every chunk is read; the next cycle reads what was written since the load began.
    Joining(Joined),
    /// Every cycle scans the table when it is due. The activity is that of its last scan.
    Tailing(Arc<Activity>),
}

/// The initial load: the rows with `xmin < begin`, in chunks along the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// All transactions below this xid had ended when the load began.
    pub begin: Xid,
    /// The key after which the next chunk starts, as text per key column; `None` at the beginning.
    pub after: Option<Vec<String>>,
}

/// A table whose chunks are all read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    pub begin: Xid,
}

impl Phase {
    /// One word for logs and `inlet status`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loading(_) => "loading",
            Self::Joining(_) => "joining",
            Self::Tailing(_) => "tailing",
        }
    }
}
