//! One reading of the server's activity: its sessions, its prepared transactions, and its clock.

use inlet_model::Xid;
use serde::{Deserialize, Serialize};

/// Time of the server's clock: microseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerTime(pub i64);

impl ServerTime {
    /// A bound before every time that a server reports.
    pub const MIN: Self = Self(i64::MIN);

    /// This time minus a span, not below [`Self::MIN`].
    pub fn minus(self, span: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// This time plus a span, not above the greatest one.
    pub fn plus(self, span: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

/// One session of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The process on the server that serves it.
    pub pid: i32,
    /// What is known of it.
    pub seen: Seen,
    /// The low bits of its transaction's xid, once it has one.
    pub xid: Option<u32>,
}

/// What a reading shows of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Its times are visible.
    Open {
        /// When the session began.
        backend_start: ServerTime,
        /// When its transaction began, if it is in one.
        xact_start: Option<ServerTime>,
        /// When its latest message arrived.
        query_start: Option<ServerTime>,
        /// True while a message runs.
        running: bool,
    },
    /// It is starting and has not reported its times yet. The local part of its virtual xid if it
    /// is in a transaction.
    Starting {
        /// It comes from `pg_locks`, where every transaction holds its own virtual xid.
        local_xid: Option<u32>,
    },
    /// Its times are hidden (no right to see them, or `track_activities` is off); the local part of
    /// its virtual xid if it is in a transaction.
    Hidden {
        /// It comes from `pg_locks`, which every role may read.
        local_xid: Option<u32>,
    },
}

/// One reading of the server's activity: sessions first, then prepared transactions, before the
/// snapshot of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The server's time at the start of the statement that read the sessions.
    pub read_at: ServerTime,
    /// The `xmax` of that statement's snapshot: xids from here on were not completed then.
    pub xid_end: Xid,
    /// That snapshot as text.
    pub snapshot: String,
    /// The server's process that answered.
    pub backend: i32,
    /// The database's sessions but ours.
    pub sessions: Vec<Session>,
    /// Prepared transactions, by their xids' low bits.
    pub prepared: Vec<u32>,
}
