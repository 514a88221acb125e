//! What the poller knows of one table between two cycles, and how it is written into the progress.
//!
//! Pure. All of it is a function of the last durable cycle: resuming is the next cycle, only later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;
use inlet_model::Xid;
use inlet_model::{Progress, ProgressDelta};
use inlet_postgres::catalog::Captured;
use inlet_postgres::server::Identity;
use inlet_postgres::{Floor, ServerTime};
use serde::{Deserialize, Serialize};

use super::activity::Activity;
use super::bounds::{ScanBounds, scan_bounds};
use super::coverage::Coverage;
use super::scan::Scanned;
use super::tiers::{Slack, Tier, Tiers};

/// One captured table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its columns, key and cursor, as of the last look at the catalog.
    pub captured: Captured,
    /// The zone in which its cursor's wall clock is read.
    pub zone: Tz,
    /// How far it is.
    pub phase: Phase,
    /// The holders as of its last scan.
    pub activity: Option<Arc<Activity>>,
    /// What is still owed.
    pub tiers: Tiers,
    /// What has been emitted.
    pub coverage: Coverage,
    /// True when its durable progress would read emitted rows again.
    pub unsaved: bool,
    /// True when the durable progress has its [`Relation`].
    told: bool,
}

/// How far a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The rows that stood before the load are being read in chunks.
    Loading(Load),
    /// Every chunk is read; the first scan takes all that came since the load began.
    Joining {
        /// The xid at which the load began.
        begin: Xid,
    },
    /// It is scanned in every cycle that it is due.
    Tailing,
}

/// The initial load: the rows with `xmin < begin`, in chunks along the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// All transactions below this xid had ended when the load began.
    pub begin: Xid,
    /// The key behind which the next chunk starts, as text per key column; `None`: at the
    /// beginning.
    pub after: Option<Vec<String>>,
    /// True when every chunk is read, and only the joining scan is missing.
    pub finished: bool,
}

/// What one cycle does with one table.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The rows to read: a floor in the cursor's unit (`None`: every row) and the lowest xid.
    pub floor: Option<Floor>,
    /// See `floor`.
    pub xid: Xid,
    /// The tier whose debt the scan pays; `None` for the scan that joins a loaded table.
    pub tier: Option<usize>,
    /// The holders after the reading.
    pub activity: Arc<Activity>,
    /// The debts with the reading's share.
    pub tiers: Tiers,
}

/// How often a table is scanned at which depth.
#[derive(Debug, Clone, Copy)]
pub struct Depths {
    /// Time between two scans that allow for skewed clocks and zones.
    pub wide_interval: Duration,
    /// Time between two sweeps.
    pub sweep_interval: Duration,
}

const POLL: &str = "poll";
const LOAD: &str = "load";
const IDENTITY: &str = "identity";
const RELATION: &str = "relation";

/// The part `relation` of the progress: which table it is of, whatever its name, which tables below
/// it have been read with it, and which columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// Its object id.
    pub oid: u32,
    /// Its partitions, and tables that inherit from it.
    pub descendants: Vec<u32>,
    /// Its columns' names by their numbers in the catalog; empty in a progress that was written
    /// before they were.
    #[serde(default)]
    pub columns: BTreeMap<i16, String>,
}

/// Columns that were not there, by name, when a progress was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Come<'a> {
    /// Added since.
    pub added: Vec<&'a str>,
    /// There under another name.
    pub renamed: Vec<&'a str>,
}

/// The part `poll` of the progress.
#[derive(Serialize, Deserialize)]
struct PollPart {
    activity: Activity,
    owed: Vec<ScanBounds>,
    cursor: Option<String>,
}

/// What a table's progress says.
#[derive(Debug)]
pub struct Restored {
    /// Which database it is of.
    pub identity: Option<Identity>,
    /// The cursor column it was polled by.
    pub cursor: Option<String>,
    /// How far the table is.
    pub phase: Phase,
    /// Which table it is of; versions before this was written do not tell.
    pub relation: Option<Relation>,
    activity: Option<Activity>,
    owed: Vec<ScanBounds>,
    coverage: Coverage,
}

/// A part of the progress cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("part `{part}` of the progress is damaged")]
pub struct Damaged {
    part: &'static str,
}

impl Relation {
    /// The columns that have come since.
    pub fn come<'a>(&self, captured: &'a Captured) -> Come<'a> {
        let mut come = Come::default();
        if self.columns.is_empty() {
            return come;
        }
        for (number, column) in captured.numbers.iter().zip(&captured.schema.columns) {
            match self.columns.get(number) {
                None => come.added.push(&column.name),
                Some(before) if *before != column.name => come.renamed.push(&column.name),
                Some(_) => {}
            }
        }
        come
    }
}

impl Plan {
    /// True for a scan that takes every row above the xid bound: only beside one can all of what
    /// was attached count as emitted.
    pub fn reads_unread(&self) -> bool {
        self.floor.is_none()
    }
}

impl Phase {
    /// A word for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loading(_) => "loading",
            Self::Joining { .. } => "joining",
            Self::Tailing => "tailing",
        }
    }
}

impl Restored {
    /// Reads a progress; `None` when there is none to go on from.
    pub fn read(progress: &Progress) -> Result<Option<Self>, Damaged> {
        let identity = part(progress, IDENTITY)?;
        let relation = part(progress, RELATION)?;
        if let Some(load) = part::<Load>(progress, LOAD)? {
            let phase = if load.finished {
                Phase::Joining { begin: load.begin }
            } else {
                Phase::Loading(load)
            };
            let mut coverage =
                Coverage::from_progress(progress).ok_or(Damaged { part: "covered" })?;
            coverage.forget();
            return Ok(Some(Self {
                identity,
                cursor: None,
                phase,
                relation,
                activity: None,
                owed: Vec::new(),
                coverage,
            }));
        }
        let Some(PollPart {
            activity,
            owed,
            cursor,
        }) = part(progress, POLL)?
        else {
            return Ok(None);
        };
        let coverage = Coverage::from_progress(progress).ok_or(Damaged { part: "covered" })?;
        Ok(Some(Self {
            identity,
            cursor,
            phase: Phase::Tailing,
            relation,
            activity: Some(activity),
            owed,
            coverage,
        }))
    }

    /// When the last durable cycle was.
    pub fn polled_at(&self) -> Option<ServerTime> {
        self.activity.as_ref().map(|activity| activity.read_at)
    }
}

fn part<T: for<'de> Deserialize<'de>>(
    progress: &Progress,
    name: &'static str,
) -> Result<Option<T>, Damaged> {
    progress
        .0
        .get(name)
        .map(|text| serde_json::from_str(text))
        .transpose()
        .map_err(|_| Damaged { part: name })
}

impl Table {
    /// A table that begins with the load of what stands below `begin`, whatever its progress said.
    pub fn fresh(
        captured: Captured,
        zone: Tz,
        depths: Depths,
        begin: Xid,
        now: ServerTime,
        before: Option<Restored>,
    ) -> Self {
        let tiers = Tiers::new(tiers(&captured, depths), now);
        let phase = Phase::Loading(Load {
            begin,
            after: None,
            finished: false,
        });
        let mut coverage = before.map(|restored| restored.coverage).unwrap_or_default();
        coverage.forget();
        Self {
            captured,
            zone,
            phase,
            activity: None,
            tiers,
            coverage,
            unsaved: false,
            told: false,
        }
    }

    /// A table that goes on from its progress.
    ///
    /// What was attached to it since then may hold rows that are older than all that the progress
    /// asks for.
    pub fn restored(
        mut captured: Captured,
        zone: Tz,
        depths: Depths,
        restored: Restored,
        now: ServerTime,
    ) -> Self {
        if let Some(relation) = &restored.relation {
            let unread = captured
                .descendants
                .iter()
                .filter(|table| table.attached && !relation.descendants.contains(&table.oid));
            captured.unread = unread.map(|table| table.oid).collect();
        }
        let mut tiers = Tiers::new(tiers(&captured, depths), now);
        tiers.restore(&restored.owed);
        let activity = restored.activity.map(Arc::new);
        let mut resumed = Self {
            captured,
            zone,
            phase: restored.phase,
            activity,
            tiers,
            coverage: restored.coverage,
            unsaved: false,
            told: false,
        };
        resumed.told = restored.relation.as_ref() == Some(&resumed.relation());
        resumed.unsaved = !resumed.told;
        resumed
    }

    /// The xids of another lineage mean nothing: everything from a span before the last reading is
    /// read again, and then swept.
    pub fn rewind(&mut self, span: Duration) {
        self.coverage.forget();
        if let Some(activity) = self.activity.take() {
            self.tiers.owe(ScanBounds {
                floor: activity.read_at.minus(span),
                xid: Xid::FIRST_NORMAL,
            });
            self.phase = Phase::Tailing;
        }
    }

    /// What this table needs after a reading; `None` when nothing can have come, or it is not due.
    pub fn plan(&self, activity: &Arc<Activity>) -> Option<Plan> {
        let now = activity.read_at;
        let mut tiers = self.tiers.clone();
        match (&self.phase, &self.activity) {
            (Phase::Loading(_), _) => None,
            (Phase::Joining { begin }, _) => Some(Plan {
                floor: None,
                xid: *begin,
                tier: None,
                activity: Arc::clone(activity),
                tiers,
            }),
            (Phase::Tailing, last) => {
                if let Some(last) = last.as_deref().filter(|last| moved(last, activity)) {
                    tiers.owe(scan_bounds(last, activity));
                }
                let tier = if self.captured.unread.is_empty() {
                    tiers.due(now)?
                } else {
                    tiers.owe(ScanBounds {
                        floor: now,
                        xid: activity.xid_end,
                    });
                    tiers.deepest()
                };
                let (floor, xid) = tiers.bounds(tier);
                let cursor = self.captured.cursor.as_ref();
                let floor = floor
                    .zip(cursor)
                    .map(|(floor, cursor)| cursor.kind.floor(floor, now, self.zone));
                Some(Plan {
                    floor,
                    xid,
                    tier: Some(tier),
                    activity: Arc::clone(activity),
                    tiers,
                })
            }
        }
    }

    /// What of it has been read, or will be by the scans that are to come.
    fn relation(&self) -> Relation {
        let read = self
            .captured
            .descendants
            .iter()
            .map(|table| table.oid)
            .filter(|oid| !self.captured.unread.contains(oid));
        let columns = self
            .captured
            .schema
            .columns
            .iter()
            .map(|column| column.name.clone());
        Relation {
            oid: self.captured.oid,
            descendants: read.collect(),
            columns: self.captured.numbers.iter().copied().zip(columns).collect(),
        }
    }

    /// Rows of a deeper scan below this were not where their transactions' times would have them;
    /// `Floor::MIN` where that means nothing.
    pub fn late_below(&self, plan: &Plan) -> Floor {
        let cursor = self
            .captured
            .cursor
            .as_ref()
            .filter(|_| plan.tier.is_some_and(|tier| tier > 0));
        cursor
            .zip(plan.tiers.bounds(0).0)
            .map_or(Floor::MIN, |(cursor, floor)| {
                cursor.kind.floor(floor, plan.activity.read_at, self.zone)
            })
    }

    /// After a cycle: the plan is carried out, and the scan returned this.
    pub fn scanned(&mut self, plan: Plan, scanned: &Scanned) {
        self.unsaved |= scanned.rows > 0 || plan.tier.is_none();
        if plan.reads_unread() {
            let attached = std::mem::take(&mut self.captured.unread);
            self.told &= attached.is_empty();
            self.unsaved |= !attached.is_empty();
        }
        self.tiers = plan.tiers;
        match plan.tier {
            Some(tier) => self.tiers.paid(tier, plan.activity.read_at, scanned.took),
            None => self.phase = Phase::Tailing,
        }
        self.coverage
            .add(plan.floor.unwrap_or(Floor::MIN), &scanned.returned);
        self.coverage
            .prune(plan.activity.xid_bound().min(self.tiers.xid_bound()));
        self.activity = Some(plan.activity);
    }

    /// What the progress has to learn; it counts as durable from here on.
    pub fn take_delta(&mut self, identity: &Identity) -> ProgressDelta {
        self.unsaved = false;
        let mut delta = self.coverage.take_delta();
        let mut set = |part: &str, value: Option<String>| delta.0.insert(part.to_owned(), value);
        set(IDENTITY, Some(json(identity)));
        if !std::mem::replace(&mut self.told, true) {
            set(RELATION, Some(json(&self.relation())));
        }
        match (&self.phase, &self.activity) {
            (Phase::Tailing, Some(activity)) => {
                let cursor = self
                    .captured
                    .cursor
                    .as_ref()
                    .map(|cursor| self.captured.schema.columns[cursor.column].name.clone());
                let poll = PollPart {
                    activity: activity.as_ref().clone(),
                    owed: self.tiers.owed(),
                    cursor,
                };
                set(POLL, Some(json(&poll)));
                set(LOAD, None);
            }
            (Phase::Loading(load), _) => {
                set(LOAD, Some(json(load)));
            }
            (Phase::Joining { begin }, _) => {
                set(
                    LOAD,
                    Some(json(&Load {
                        begin: *begin,
                        after: None,
                        finished: true,
                    })),
                );
            }
            (Phase::Tailing, None) => {}
        }
        delta
    }
}

/// Nothing new can be visible while the snapshot's text is the same and no holder has ended.
fn moved(last: &Activity, now: &Activity) -> bool {
    last.snapshot != now.snapshot || last.holders.keys().any(|id| !now.holders.contains_key(id))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("numbers and strings are JSON")
}

/// Without an index on a cursor a scan reads the whole table anyway: then every one is a sweep,
/// throttled, and finds what a floor would hide.
fn tiers(captured: &Captured, depths: Depths) -> Vec<Tier> {
    let sweep = Tier {
        slack: Slack::Everything,
        every: depths.sweep_interval,
        throttled: true,
    };
    match captured.cursor.filter(|cursor| cursor.indexed) {
        None => vec![Tier {
            every: Duration::ZERO,
            ..sweep
        }],
        Some(cursor) => {
            let fast = Tier {
                slack: Slack::Span(Duration::ZERO),
                every: Duration::ZERO,
                throttled: false,
            };
            let wide = Tier {
                slack: Slack::Span(cursor.kind.zone_slack()),
                every: depths.wide_interval,
                throttled: true,
            };
            vec![fast, wide, sweep]
        }
    }
}
