//! The poller's progress of one table as it is stored: parts of JSON text, by name.
//!
//! | part | content |
//! |---|---|
//! | `identity` | the database that the xids belong to: `{"system":1,"database":"shop","timeline":1}` |
//! | `relation` | which table it is and which of its columns and descendants were read |
//! | `load` | while the table is loaded or joins: where it began, and the key and the snapshot of the last chunk |
//! | `reload` | while the table is loaded again beside its polls: the same, and which of its rows |
//! | `loads` | when other loads of the table started: each of them may bring a version again |
//! | `poll` | once it is tailing: the activity of the last scan, what each tier has pending, the cursor |
//! | `control` | what was followed of users' requests ([`super::control`]) |
//! | `aside` | while the table is set aside: why, in words |
//! | `detected` | when the latest rows were detected, microseconds since 1970-01-01 UTC ([`super::detection`]) |
//! | `keys`, `keys/..`, `added/..` | the keys of the rows that are published ([`super::keys`]) |
//! | `census` | how far their comparison with the table is ([`super::census`]) |
//! | `unseen` | versions that PostgreSQL has counted and no scan has found ([`super::unseen`]) |
//! | `covered/<floor>` | which xids were emitted down to this floor ([`super::coverage`]) |
//! | `looked_up/<number>` | single versions that were emitted beside the scans ([`super::coverage::looked_up`]) |
//!
//! `load` and `poll` exclude each other; where both are stored, `load` counts. `reload` counts only
//! beside `poll`. A checkpoint writes only the parts that it changes.

use std::collections::BTreeMap;

use inlet_model::{ColumnType, Progress, ProgressDelta, Xid};
use inlet_postgres::ServerTime;
use inlet_postgres::server::Identity;
use inlet_postgres::{Captured, IdentityForm, Ordered, Values};
use serde::{Deserialize, Serialize};

use super::activity::Activity;
use super::bounds::ScanBounds;
use super::census::{CENSUS, Census};
use super::control::{CONTROL, Control};
use super::coverage::Coverage;
use super::detection::Detection;
use super::phase::{Joined, Load, Phase, Position, Reload};
use super::tiers::LastScan;
use super::unseen::{UNSEEN, Unseen};

const POLL: &str = "poll";
const LOAD: &str = "load";
const RELOAD: &str = "reload";
const LOADS: &str = "loads";
const ASIDE: &str = "aside";
const IDENTITY: &str = "identity";
const RELATION: &str = "relation";
const DETECTED: &str = "detected";

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
    /// The load that runs beside the polls.
    pub reload: Option<Reload>,
    /// When other loads started.
    pub loads: Vec<ServerTime>,
    /// Every version with a smaller xid was emitted, or is read by the load beside the polls.
    pub loaded: Xid,
    /// What each tier has pending.
    pub pending: Vec<ScanBounds>,
    /// When each tier was last scanned; empty where the first versions stored the progress.
    pub scans: Vec<LastScan>,
    /// Which versions were emitted.
    pub coverage: Coverage,
    /// When the latest rows were detected; 0.1.0 did not store it.
    pub detection: Detection,
    /// What PostgreSQL has counted and no scan has found; 0.1.0 did not store it.
    pub unseen: Unseen,
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
    /// The numbers of its key's columns, in the key's order; the first versions did not store them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Vec<i16>>,
    /// What its values depend on beside its rows; the first versions did not store it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
    /// How values of its key were identified; empty in a progress of 0.1.0, which knew a key by its
    /// text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<IdentityForm>,
    /// The SQL that was true for the rows that exist for readers; `None` where every row did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membership: Option<String>,
}

/// Columns that did not exist, by name, when a progress was stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NewColumns<'a> {
    pub added: Vec<&'a str>,
    /// Stored under another name.
    pub renamed: Vec<&'a str>,
}

/// A part of the progress cannot be read.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error("part `{part}` of the progress is damaged")]
pub struct Damaged {
    pub(super) part: &'static str,
}

/// What a checkpoint writes beside the coverage.
#[derive(Debug)]
pub struct Parts<'a> {
    pub identity: &'a Identity,
    /// The table, where the stored one is different.
    pub relation: Option<&'a Relation>,
    /// How far the table is.
    pub phase: &'a Phase,
    /// The load that runs beside the polls.
    pub reload: Option<&'a Reload>,
    /// True when the durable progress has a load beside the polls.
    pub had_reload: bool,
    /// True when the durable progress tells why the table was set aside.
    pub was_aside: bool,
    /// What was followed of users' requests, where the stored one is different.
    pub control: Option<&'a Control>,
    /// How far the comparison of the keys is, where the stored one is different.
    pub census: Option<&'a Census>,
    /// When other loads started, where the stored ones are different.
    pub loads: Option<&'a [ServerTime]>,
    /// Every version with a smaller xid was emitted, or is read by the load beside the polls.
    pub loaded: Xid,
    /// What each tier has pending.
    pub pending: Vec<ScanBounds>,
    /// When each tier was last scanned.
    pub scans: Vec<LastScan>,
    pub cursor: Option<&'a str>,
    pub detection: Detection,
    /// What PostgreSQL has counted and no scan has found, where the stored one is different.
    pub unseen: Option<&'a Unseen>,
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
struct ReloadPart {
    begin: Xid,
    xid_end: Xid,
    after: Option<Vec<String>>,
    key: Option<Vec<Ordered>>,
    without: Vec<u32>,
    condition: Option<String>,
    started: bool,
}

#[derive(Serialize, Deserialize)]
struct PollPart {
    activity: Activity,
    /// The first versions did not store it, and read everything in their scans.
    #[serde(default = "no_xid")]
    loaded: Xid,
    /// The stored name is that of version 0.1.0, whose progress is still read.
    #[serde(rename = "owed")]
    pending: Vec<ScanBounds>,
    /// When each tier was last scanned; the first versions did not store it.
    #[serde(default)]
    scans: Vec<LastScan>,
    cursor: Option<String>,
}

/// The change of a progress that tells why the table was set aside.
pub fn set_aside(reason: &str) -> ProgressDelta {
    ProgressDelta(BTreeMap::from([(ASIDE.to_owned(), Some(json(&reason)))]))
}

/// True when rows may have been published with this progress.
pub fn is_started(progress: &Progress) -> bool {
    [POLL, LOAD]
        .iter()
        .any(|part| progress.0.contains_key(*part))
}

/// Why the table was set aside; `None` while it is polled.
pub fn aside(progress: &Progress) -> Option<String> {
    part(progress, ASIDE).ok().flatten()
}

/// What readers see of a table beside its rows.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape<'a> {
    columns: &'a BTreeMap<i16, String>,
    types: Vec<(i16, Option<ColumnType>)>,
    key: Option<&'a [i16]>,
    identities: &'a [IdentityForm],
}

impl Relation {
    /// What readers see; `None` where a first version did not store all of it.
    pub fn shape(&self) -> Option<Shape<'_>> {
        let types = self.values.as_ref()?.columns.iter();
        (!self.columns.is_empty() && self.key.is_some()).then(|| Shape {
            columns: &self.columns,
            types: types
                .map(|(number, column)| (*number, column.column_type))
                .collect(),
            key: self.key.as_deref(),
            identities: &self.identities,
        })
    }

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
        if let Detection(Some(detected)) = self.detection {
            set(DETECTED, Some(json(&detected)));
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
                    loaded: self.loaded,
                    pending: self.pending.clone(),
                    scans: self.scans.clone(),
                    cursor: self.cursor.map(str::to_owned),
                };
                set(POLL, Some(json(&part)));
                // The load is over: its part would otherwise win over `poll` at the next start.
                set(LOAD, None);
            }
        }
        // While a table is loaded, the part of an earlier load beside the polls would otherwise
        // return with the polls.
        let is_tailing = matches!(self.phase, Phase::Tailing(_));
        let reload = self.reload.map(|reload| json(&ReloadPart::of(reload)));
        if reload.is_some() || self.had_reload || !is_tailing {
            set(RELOAD, reload);
        }
        if let Some(control) = self.control {
            set(CONTROL, Some(json(control)));
        }
        if self.was_aside {
            set(ASIDE, None);
        }
        if let Some(census) = self.census {
            set(CENSUS, Some(json(census)));
        }
        if let Some(unseen) = self.unseen {
            set(UNSEEN, Some(json(unseen)));
        }
        if let Some(loads) = self.loads {
            set(LOADS, Some(json(&loads)));
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
        let reload: Option<ReloadPart> = part(progress, RELOAD)?;
        let stored = Self {
            identity,
            relation,
            cursor: None,
            phase: Phase::Loading(Load::starting(no_xid())),
            reload: None,
            loads: part(progress, LOADS)?.unwrap_or_default(),
            loaded: no_xid(),
            pending: Vec::new(),
            scans: Vec::new(),
            coverage: Coverage::default(),
            detection: Detection(part(progress, DETECTED)?),
            unseen: Unseen::decode(progress),
        };
        Ok(match (load, poll) {
            (Some(load), _) => {
                // What an older poll emitted does not apply to the rows of the load.
                coverage.forget();
                Some(Self {
                    phase: load.phase(),
                    coverage,
                    ..stored
                })
            }
            (None, Some(poll)) => Some(Self {
                phase: Phase::Tailing(poll.activity.into()),
                reload: reload.map(ReloadPart::reload),
                loaded: poll.loaded,
                pending: poll.pending,
                scans: poll.scans,
                cursor: poll.cursor,
                coverage,
                ..stored
            }),
            (None, None) => None,
        })
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

impl ReloadPart {
    fn of(reload: &Reload) -> Self {
        let after = reload.load.after.as_ref();
        Self {
            begin: reload.load.begin,
            xid_end: reload.load.xid_end,
            after: after.map(|after| after.values.clone()),
            key: after.and_then(|after| after.key.clone()),
            without: reload.without.clone(),
            condition: reload.condition.clone(),
            started: reload.started,
        }
    }

    fn reload(self) -> Reload {
        let key = self.key;
        let after = self.after.map(|values| Position { key, values });
        Reload {
            load: Load {
                begin: self.begin,
                xid_end: self.xid_end,
                after,
            },
            without: self.without,
            condition: self.condition,
            started: self.started,
        }
    }
}

/// A bound below every xid.
fn no_xid() -> Xid {
    Xid(0)
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
