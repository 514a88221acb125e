//! Who may still bring rows with old timestamps: the holders, from one reading of the server's
//! activity to the next.
//!
//! Pure. A holder is an open transaction, a running message (several transactions in one message
//! share `now()`), or a prepared transaction. What counts is not who is open but who *ended*
//! between two readings: see [`super::bounds`]. Source: docs/polling.md, "Holders".

use std::collections::BTreeMap;

use inlet_model::Xid;
use inlet_postgres::{Reading, Seen, ServerTime};
use serde::{Deserialize, Serialize};

/// What identifies a holder from one reading to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderId {
    /// An open transaction of a session.
    Transaction {
        pid: i32,
        /// When the session began: a pid alone may be another session's by now.
        backend_start: ServerTime,
        /// When the transaction began, which is its `now()`.
        xact_start: ServerTime,
    },
    /// A message that runs: transactions that begin inside it may carry its start as their `now()`.
    Message {
        pid: i32,
        /// When the session began.
        backend_start: ServerTime,
        /// When the message arrived.
        query_start: ServerTime,
    },
    Prepared {
        xid: Xid,
    },
    /// A transaction of a session whose times are hidden from us: known by its virtual xid only.
    Hidden {
        pid: i32,
        /// The second half of its virtual transaction id.
        local_xid: u32,
    },
}

impl HolderId {
    /// The process of its session. A prepared transaction has no session.
    fn session(&self) -> Option<i32> {
        match self {
            Self::Transaction { pid, .. }
            | Self::Message { pid, .. }
            | Self::Hidden { pid, .. } => Some(*pid),
            Self::Prepared { .. } => None,
        }
    }
}

/// What a holder may still bring: versions with `cursor >= start` and `xmin >= xid_bound`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The oldest timestamp that its rows may carry.
    pub start: ServerTime,
    /// The smallest xid that its rows may carry.
    pub xid_bound: Xid,
    /// True when the last reading showed it without an xid and after its first message: one half of
    /// the raise rule.
    pub xidless: bool,
}

/// The holders as of a reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    pub read_at: ServerTime,
    pub xid_end: Xid,
    pub snapshot: String,
    /// Who may still bring rows.
    #[serde(with = "as_pairs")]
    pub holders: BTreeMap<HolderId, Holder>,
}

/// Xids above a reading's end are widened as if this many had been given out since.
const XIDS_AHEAD: u64 = 1 << 20;

impl Activity {
    /// The holders after a reading; `last` is the reading before, of the same lineage.
    pub fn next(last: Option<&Self>, reading: &Reading) -> Self {
        let mut holders = BTreeMap::new();
        let known = |id: &HolderId| last.and_then(|last| last.holders.get(id)).copied();
        for session in &reading.sessions {
            match session.seen {
                Seen::Open {
                    backend_start,
                    xact_start,
                    query_start,
                    running,
                } => {
                    if let Some(xact_start) = xact_start {
                        let id = HolderId::Transaction {
                            pid: session.pid,
                            backend_start,
                            xact_start,
                        };
                        // Several transactions of one message share one `now()`. After its first
                        // message a transaction cannot be confused with another one of them.
                        let xidless = session.xid.is_none()
                            && query_start.is_some_and(|start| start > xact_start);
                        holders.insert(
                            id,
                            transaction(known(&id), session.xid, xact_start, xidless, reading),
                        );
                    }
                    // A running message is a holder even inside an open transaction: after a COMMIT
                    // in it, the next transaction carries its start.
                    if let Some(query_start) = query_start.filter(|_| running) {
                        let id = HolderId::Message {
                            pid: session.pid,
                            backend_start,
                            query_start,
                        };
                        let first = Holder {
                            start: query_start,
                            xid_bound: reading.xid_end,
                            xidless: false,
                        };
                        holders.insert(id, known(&id).unwrap_or(first));
                    }
                }
                Seen::Hidden {
                    local_xid: Some(local_xid),
                }
                | Seen::Starting {
                    local_xid: Some(local_xid),
                } => {
                    let id = HolderId::Hidden {
                        pid: session.pid,
                        local_xid,
                    };
                    let first = || Holder {
                        start: hidden_start(last, session.pid),
                        xid_bound: first_bound(session.xid, reading),
                        xidless: false,
                    };
                    holders.insert(id, known(&id).unwrap_or_else(first));
                }
                Seen::Hidden { local_xid: None } | Seen::Starting { local_xid: None } => {}
            }
        }
        add_prepared(&mut holders, last, reading);
        Self {
            read_at: reading.read_at,
            xid_end: reading.xid_end,
            snapshot: reading.snapshot.clone(),
            holders,
        }
    }

    /// The smallest xid that a later scan may ask for on account of these holders.
    pub fn xid_bound(&self) -> Xid {
        self.holders
            .values()
            .map(|holder| holder.xid_bound)
            .fold(self.xid_end, Xid::min)
    }
}

/// Adds the prepared transactions, which belong to no session.
fn add_prepared(
    holders: &mut BTreeMap<HolderId, Holder>,
    last: Option<&Activity>,
    reading: &Reading,
) {
    for low in &reading.prepared {
        // A prepared transaction has an xid from its first moment, so the xid identifies it.
        let xid = widen(*low, reading);
        let id = HolderId::Prepared { xid };
        let first = || Holder {
            start: oldest_start(last),
            xid_bound: xid,
            xidless: false,
        };
        let known = last.and_then(|last| last.holders.get(&id)).copied();
        holders.insert(id, known.unwrap_or_else(first));
    }
}

/// A transaction's bound is fixed by the first reading that shows it. It is raised when two
/// readings in a row show the transaction without an xid after its first message.
fn transaction(
    known: Option<Holder>,
    xid: Option<u32>,
    xact_start: ServerTime,
    xidless: bool,
    reading: &Reading,
) -> Holder {
    match known {
        Some(holder) if holder.xidless && xidless => Holder {
            xid_bound: reading.xid_end,
            ..holder
        },
        Some(holder) => Holder { xidless, ..holder },
        None => Holder {
            start: xact_start,
            xid_bound: first_bound(xid, reading),
            xidless,
        },
    }
}

/// The bound of a transaction that no reading showed before: its own xid, or the end of the
/// reading.
fn first_bound(xid: Option<u32>, reading: &Reading) -> Xid {
    xid.map_or(reading.xid_end, |low| {
        widen(low, reading).min(reading.xid_end)
    })
}

fn widen(low: u32, reading: &Reading) -> Xid {
    Xid::widen(low, Xid(reading.xid_end.0 + XIDS_AHEAD))
}

/// A prepared transaction shows when it was prepared, not when it began. It began no earlier than
/// the oldest holder of the last reading.
fn oldest_start(last: Option<&Activity>) -> ServerTime {
    last.map_or(ServerTime::MIN, |last| {
        last.holders
            .values()
            .map(|holder| holder.start)
            .fold(last.read_at, ServerTime::min)
    })
}

/// A hidden transaction that the last reading did not show began after it, or follows another one
/// of its session within one message, or its session has stopped to report its times.
fn hidden_start(last: Option<&Activity>, session: i32) -> ServerTime {
    let Some(last) = last else {
        return ServerTime::MIN;
    };
    let before = last
        .holders
        .iter()
        .filter(|(id, _)| id.session() == Some(session));
    before
        .map(|(_, holder)| holder.start)
        .fold(last.read_at, ServerTime::min)
}

/// JSON has no maps with keys of several fields.
mod as_pairs {
    use super::{BTreeMap, Holder, HolderId};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(
        holders: &BTreeMap<HolderId, Holder>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        holders.iter().collect::<Vec<_>>().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<HolderId, Holder>, D::Error> {
        Ok(Vec::<(HolderId, Holder)>::deserialize(from)?
            .into_iter()
            .collect())
    }
}

#[cfg(test)]
mod tests;
