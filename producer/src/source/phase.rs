//! How far a table is on its way from the initial load to the regular cycles.

use std::sync::Arc;

use inlet_model::Xid;
use inlet_postgres::Ordered;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// All transactions below this xid had ended when the load began.
    pub begin: Xid,
    /// The end of the latest snapshot that a chunk was read in; `begin` before the first chunk.
    pub xid_end: Xid,
    /// Where the next chunk starts; `None` at the beginning.
    pub after: Option<Position>,
}

/// Another load of a table that is tailing: its chunks read the rows with `xmin < begin`, while the
/// cycles go on and read what was written since. It opens with a sweep that reads the rows that
/// were written since and emitted before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    pub load: Load,
    /// Tables that were attached since it started. A sweep has read them whole, so its chunks leave
    /// them out.
    pub without: Vec<u32>,
    /// Only the rows that fulfil this condition of SQL are read; `None` reads all.
    pub condition: Option<String>,
    /// True once its opening sweep was done.
    pub started: bool,
}

/// The end of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The columns of the key that the values belong to. `None` in a progress of the first
    /// versions, which did not store them.
    pub key: Option<Vec<Ordered>>,
    /// The key of the chunk's last row, as text per key column.
    pub values: Vec<String>,
}

/// A table whose chunks are all read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joined {
    pub begin: Xid,
    /// The end of the latest snapshot that a chunk was read in.
    pub xid_end: Xid,
}

impl Reload {
    /// Another load of every row, before its opening sweep.
    pub fn starting(begin: Xid) -> Self {
        Self {
            load: Load::starting(begin),
            without: Vec::new(),
            condition: None,
            started: false,
        }
    }

    /// The same from the beginning: its chunks so far mean nothing any more.
    pub fn restarted(&self, begin: Xid) -> Self {
        Self {
            condition: self.condition.clone(),
            ..Self::starting(begin)
        }
    }
}

impl Load {
    /// A load before its first chunk.
    pub fn starting(begin: Xid) -> Self {
        Self {
            begin,
            xid_end: begin,
            after: None,
        }
    }

    /// False when the chunks so far lie along another key: the next chunk would skip rows.
    pub fn follows(&self, key: &[Ordered]) -> bool {
        let stored = self.after.as_ref().and_then(|after| after.key.as_deref());
        stored.is_none_or(|stored| stored == key)
    }
}

impl Phase {
    /// The xid below which this table may have seen every transaction end. A server whose xids end
    /// earlier was restored to a state before that.
    pub fn xid_end(&self) -> Xid {
        match self {
            Self::Loading(load) => load.xid_end,
            Self::Joining(joined) => joined.xid_end,
            Self::Tailing(activity) => activity.xid_end,
        }
    }

    /// One word for logs and `inlet status`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loading(_) => "loading",
            Self::Joining(_) => "joining",
            Self::Tailing(_) => "tailing",
        }
    }
}
