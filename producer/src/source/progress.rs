//! The poller's progress of one table as it is stored: parts of JSON text, by name.
//!
//! | part | content |
//! |---|---|
//! | `identity` | the database that the xids belong to: `{"system":1,"database":"shop","timeline":1}` |
//! | `relation` | which table it is and which of its columns and descendants were read |
//! | `load` | while the table is loaded or joins: where it began, and the key and the snapshot of the last chunk |
//! | `poll` | once it is tailing: the activity of the last scan, what each tier has pending, the cursor |
//! | `covered/<floor>` | which xids were emitted down to this floor ([`super::coverage`]) |
//!
//! `load` and `poll` exclude each other; where both are stored, `load` counts. A checkpoint writes
//! only the parts that it changes.

use std::collections::BTreeMap;

use inlet_model::Xid;
use inlet_model::{Progress, ProgressDelta};
use inlet_postgres::ServerTime;
use inlet_postgres::server::Identity;
use inlet_postgres::{Captured, Ordered};
use serde::{Deserialize, Serialize};

use super::activity::Activity;
use super::bounds::ScanBounds;
use super::coverage::Coverage;
use super::phase::{Joined, Load, Phase, Position};
use super::tiers::LastScan;

const POLL: &str = "poll";
const LOAD: &str = "load";
const IDENTITY: &str = "identity";
const RELATION: &str = "relation";

/// What a table's stored progress contains.
#[derive(Debug, PartialEq)]
pub struct Stored {
    /// The database that it belongs to.
    pub identity: Option<Identity>,
    /// The table that it belongs to; the first versions did not store it.
    pub relation: Option<Relation>,
    /// The cursor column that the table was polled by.
    pub cursor: Option<String>,
    /// How far the table is.
    pub phase: Phase,
    /// What each tier has pending.
    pub pending: Vec<ScanBounds>,
    /// When each tier was last scanned; empty where the first versions stored the progress.
    pub scans: Vec<LastScan>,
    /// Which versions were emitted.
    pub coverage: Coverage,
}

/// Which table a progress belongs to, whatever its name, and what of it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    pub oid: u32,
    /// Its partitions, and tables that inherit from it.
    pub descendants: Vec<u32>,
    /// Its columns' names by their numbers in the catalog; empty in a progress of the first
    /// versions.
    #[serde(default)]
    pub columns: BTreeMap<i16, String>,
}

/// Columns that did not exist, by name, when a progress was stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NewColumns<'a> {
    pub added: Vec<&'a str>,
    /// Stored under another name.
    pub renamed: Vec<&'a str>,
}

/// A part of the progress cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("part `{part}` of the progress is damaged")]
pub struct Damaged {
    part: &'static str,
}

/// What a checkpoint writes beside the coverage.
#[derive(Debug)]
pub struct Parts<'a> {
    pub identity: &'a Identity,
    /// The table, where the stored one is different.
    pub relation: Option<&'a Relation>,
    /// How far the table is.
    pub phase: &'a Phase,
    /// What each tier has pending.
    pub pending: Vec<ScanBounds>,
    /// When each tier was last scanned.
    pub scans: Vec<LastScan>,
    pub cursor: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct LoadPart {
    begin: Xid,
    /// The first versions did not store it.
    #[serde(default)]
    xid_end: Option<Xid>,
    after: Option<Vec<String>>,
    /// The columns that `after` belongs to; the first versions did not store them.
    #[serde(default)]
    key: Option<Vec<Ordered>>,
    /// True when every chunk is read and only the joining scan is missing.
    finished: bool,
}

#[derive(Serialize, Deserialize)]
struct PollPart {
    activity: Activity,
    /// The stored name is that of version 0.1.0, whose progress is still read.
    #[serde(rename = "owed")]
    pending: Vec<ScanBounds>,
    /// When each tier was last scanned; the first versions did not store it.
    #[serde(default)]
    scans: Vec<LastScan>,
    cursor: Option<String>,
}

impl Relation {
    /// The columns that are new since the progress was stored.
    pub fn new_columns<'a>(&self, captured: &'a Captured) -> NewColumns<'a> {
        let mut new = NewColumns::default();
        // The first versions stored no columns, so every column would look new.
        if self.columns.is_empty() {
            return new;
        }
        for (number, column) in captured.numbers.iter().zip(&captured.schema.columns) {
            match self.columns.get(number) {
                None => new.added.push(&column.name),
                Some(before) if *before != column.name => new.renamed.push(&column.name),
                Some(_) => {}
            }
        }
        new
    }
}

impl Parts<'_> {
    /// Adds the parts to the changes of the coverage.
    pub fn encode(&self, coverage: ProgressDelta) -> ProgressDelta {
        let mut delta = coverage;
        let mut set = |part: &str, value: Option<String>| delta.0.insert(part.to_owned(), value);
        set(IDENTITY, Some(json(self.identity)));
        if let Some(relation) = self.relation {
            set(RELATION, Some(json(relation)));
        }
        match self.phase {
            Phase::Loading(load) => {
                let part = LoadPart {
                    begin: load.begin,
                    xid_end: Some(load.xid_end),
                    after: load.after.as_ref().map(|after| after.values.clone()),
                    key: load.after.as_ref().and_then(|after| after.key.clone()),
                    finished: false,
                };
                set(LOAD, Some(json(&part)));
            }
            Phase::Joining(joined) => {
                let part = LoadPart {
                    begin: joined.begin,
                    xid_end: Some(joined.xid_end),
                    after: None,
                    key: None,
                    finished: true,
                };
                set(LOAD, Some(json(&part)));
            }
            Phase::Tailing(activity) => {
                let part = PollPart {
                    activity: activity.as_ref().clone(),
                    pending: self.pending.clone(),
                    scans: self.scans.clone(),
                    cursor: self.cursor.map(str::to_owned),
                };
                set(POLL, Some(json(&part)));
                // The load is over: its part would otherwise win over `poll` at the next start.
                set(LOAD, None);
            }
        }
        delta
    }
}

impl Stored {
    /// Decodes a progress; `None` when it has neither a load nor a poll to resume.
    pub fn decode(progress: &Progress) -> Result<Option<Self>, Damaged> {
        let identity = part(progress, IDENTITY)?;
        let relation = part(progress, RELATION)?;
        let load: Option<LoadPart> = part(progress, LOAD)?;
        let poll: Option<PollPart> = match &load {
            // A load that began over an older poll leaves that poll's part behind.
            Some(_) => None,
            None => part(progress, POLL)?,
        };
        let mut coverage = Coverage::from_progress(progress).ok_or(Damaged { part: "covered" })?;
        let (phase, pending, scans, cursor) = match (load, poll) {
            (Some(load), _) => {
                // What an older poll emitted does not apply to the rows of the load.
                coverage.forget();
                (load.phase(), Vec::new(), Vec::new(), None)
            }
            (None, Some(poll)) => {
                let phase = Phase::Tailing(poll.activity.into());
                (phase, poll.pending, poll.scans, poll.cursor)
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Self {
            identity,
            relation,
            cursor,
            phase,
            pending,
            scans,
            coverage,
        }))
    }

    /// When the last durable cycle read the activity.
    pub fn polled_at(&self) -> Option<ServerTime> {
        match &self.phase {
            Phase::Tailing(activity) => Some(activity.read_at),
            Phase::Loading(_) | Phase::Joining(_) => None,
        }
    }
}

impl LoadPart {
    fn phase(self) -> Phase {
        let begin = self.begin;
        let xid_end = self.xid_end.unwrap_or(begin);
        if self.finished {
            return Phase::Joining(Joined { begin, xid_end });
        }
        let key = self.key;
        let after = self.after.map(|values| Position { key, values });
        Phase::Loading(Load {
            begin,
            xid_end,
            after,
        })
    }
}

fn part<T: for<'de> Deserialize<'de>>(
    progress: &Progress,
    name: &'static str,
) -> Result<Option<T>, Damaged> {
    let text = progress.0.get(name);
    text.map(|text| serde_json::from_str(text))
        .transpose()
        .map_err(|_| Damaged { part: name })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and strings are JSON")
}

#[cfg(test)]
mod tests;
