//! Compares the hashes of both sides: equal, different, missing and duplicate rows.
//!
//! Pure functions. Both sides are sorted by key. The latest version of a key is the last one by
//! [`Position::order`]. If the snapshot cannot have seen it, an earlier version of the key must
//! equal the snapshot's row, unless the poller found the newer version first.

use std::collections::HashMap;
use std::ops::Range;

use super::hash::Hash;

/// The rows of each finding that are remembered: those that one repair can name.
pub const REMEMBERED_MAX: usize = 100_000;

/// A row of the snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub key: Hash,
    pub values: Hash,
    /// The low half of the xid that wrote the row.
    pub xmin: u32,
    /// True if its date has left the lake.
    pub has_left: bool,
}

/// A row of a data file.
#[derive(Debug, Clone, Copy)]
pub struct Version {
    pub key: Hash,
    pub values: Hash,
    pub xid: u64,
    pub position: Position,
    /// A hash of the file's columns: a table with a new column is loaded again.
    pub columns: u32,
    pub deleted: bool,
    /// True if the file existed before the snapshot, so that its transaction had ended.
    pub settled: bool,
    /// True if the row was written under another key than the table has now.
    pub earlier_key: bool,
}

/// Where a version is in the lake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    pub kafka_partition: i32,
    pub offset: i64,
    /// The time at which the poller found it, in microseconds since 1970-01-01 UTC.
    pub detected_at: i64,
}

impl Position {
    /// What orders the versions of a key, as in the views: offsets of several kafka_partitions
    /// cannot be compared, so the time goes first there.
    pub fn order(&self, is_partitioned: bool) -> (i64, i64) {
        let detected_at = if is_partitioned { self.detected_at } else { 0 };
        (detected_at, self.offset)
    }
}

/// The rejected versions of a key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quarantined {
    pub versions: u64,
    /// The offset of the last one.
    pub offset: i64,
}

/// Which transactions a snapshot sees. Source: PostgreSQL manual, "Transaction ID and Snapshot
/// Information Functions".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    xmin: u64,
    xmax: u64,
    running: Vec<u64>,
}

/// Whether a snapshot includes a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Yes,
    No,
    /// It may be a subtransaction of a running one: a snapshot does not list subtransactions.
    Perhaps,
}

impl Sight {
    /// Reads the text of a snapshot, `xmin:xmax:running,..`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (xmin, xmax) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let running = parts
            .next()?
            .split(',')
            .filter(|xid| !xid.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        Some(Self {
            xmin,
            xmax,
            running,
        })
    }

    /// Whether it certainly sees what a transaction wrote.
    pub fn is_seen(&self, xid: u64) -> bool {
        self.seen_by_xid(xid) == Seen::Yes
    }

    fn seen(&self, version: &Version) -> Seen {
        if version.settled {
            Seen::Yes
        } else {
            self.seen_by_xid(version.xid)
        }
    }

    fn seen_by_xid(&self, xid: u64) -> Seen {
        if xid < self.xmin {
            Seen::Yes
        } else if xid >= self.xmax || self.running.contains(&xid) {
            Seen::No
        } else if self.running.is_empty() {
            Seen::Yes
        } else {
            Seen::Perhaps
        }
    }
}

/// The number of rows of a finding, with the first of them ([`REMEMBERED_MAX`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    pub rows: u64,
    /// The keys of the first rows, with the xid if it identifies the version.
    pub first: Vec<(Hash, u64)>,
}

impl Finding {
    fn add(&mut self, rows: u64, key: Hash, xid: u64) {
        self.rows += rows;
        if rows > 0 && self.first.len() < REMEMBERED_MAX {
            self.first.push((key, xid));
        }
    }

    fn join(&mut self, other: Self) {
        self.rows += other.rows;
        let room = REMEMBERED_MAX - self.first.len();
        self.first.extend(other.first.into_iter().take(room));
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Rows of the snapshot.
    pub rows: u64,
    pub quarantined: u64,
    /// Rows that were changed after the snapshot, before the poller saw the snapshot's version.
    pub changed_since: u64,
    /// Rows that the lake does not have because their date has left.
    pub left: u64,
    /// Rows that the lake lacks.
    pub missing: Finding,
    /// Rows with other values in the lake.
    pub different: Finding,
    /// Rows that only the lake has.
    pub only_in_lake: Finding,
    /// Rows that only the lake has, and that were written under another key than the table has now.
    pub earlier_key: Finding,
    /// Versions that the lake holds more than once.
    pub duplicates: Finding,
    /// Keys whose versions are in several kafka_partitions: no difference, but the offsets do not
    /// order them.
    pub moved_keys: u64,
}

impl Findings {
    /// Adds the findings of other keys.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.quarantined += other.quarantined;
        self.changed_since += other.changed_since;
        self.left += other.left;
        self.missing.join(other.missing);
        self.different.join(other.different);
        self.only_in_lake.join(other.only_in_lake);
        self.earlier_key.join(other.earlier_key);
        self.moved_keys += other.moved_keys;
        self.duplicates.join(other.duplicates);
    }

    /// Whether later commits of the lake may make both sides equal.
    pub fn may_be_late(&self) -> bool {
        self.missing.rows + self.different.rows > 0
    }

    /// The rows that a repair can publish again.
    pub fn to_repair(&self) -> u64 {
        self.missing.rows + self.different.rows + self.only_in_lake.rows + self.earlier_key.rows
    }

    pub fn is_equal(&self) -> bool {
        [
            &self.missing,
            &self.different,
            &self.only_in_lake,
            &self.earlier_key,
            &self.duplicates,
        ]
        .iter()
        .all(|finding| finding.rows == 0)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Equal,
    Quarantined,
    ChangedSince,
    Missing,
    Different,
}

/// Compares rows and versions, both sorted by key, and versions by position within a key. Without a
/// key (`keyed` is false) it compares the counts of equal rows. `loads` are the times at which
/// loads of the table started after the first one: each of them brings a version once more.
pub fn compare(
    keyed: bool,
    rows: &[Row],
    versions: &[Version],
    quarantined: &HashMap<Hash, Quarantined>,
    sight: &Sight,
    loads: &[i64],
) -> Findings {
    let mut findings = Findings {
        rows: rows.len() as u64,
        ..Findings::default()
    };
    for (rows_at, versions_at) in groups(rows, versions) {
        let (rows, versions) = (&rows[rows_at], &versions[versions_at]);
        let key = rows
            .first()
            .map(|row| row.key)
            .or_else(|| versions.first().map(|version| version.key))
            .expect("a group holds something");
        let quarantined = quarantined.get(&key).copied();
        if keyed {
            compare_key(&mut findings, key, rows, versions, quarantined, sight);
            findings.duplicates.join(duplicates(key, versions, loads));
        } else {
            compare_counts(&mut findings, key, rows, versions, quarantined, sight);
        }
    }
    findings
}

/// Iterates over the keys, with the ranges of their rows and versions.
fn groups(
    rows: &[Row],
    versions: &[Version],
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let (mut row, mut version) = (0, 0);
    std::iter::from_fn(move || {
        let key = match (rows.get(row), versions.get(version)) {
            (Some(row), Some(version)) => row.key.min(version.key),
            (Some(row), None) => row.key,
            (None, Some(version)) => version.key,
            (None, None) => return None,
        };
        let starts = (row, version);
        row += rows[row..].iter().take_while(|row| row.key == key).count();
        version += versions[version..]
            .iter()
            .take_while(|version| version.key == key)
            .count();
        Some((starts.0..row, starts.1..version))
    })
}

fn compare_key(
    findings: &mut Findings,
    key: Hash,
    rows: &[Row],
    versions: &[Version],
    quarantined: Option<Quarantined>,
    sight: &Sight,
) {
    for row in rows {
        match fate(row, versions, quarantined, sight) {
            Fate::Equal => {}
            Fate::Quarantined => findings.quarantined += 1,
            Fate::ChangedSince => findings.changed_since += 1,
            Fate::Missing if row.has_left => findings.left += 1,
            Fate::Missing => findings.missing.add(1, key, 0),
            Fate::Different => findings.different.add(1, key, 0),
        }
    }
    if let (true, Some(latest)) = (rows.is_empty(), versions.last())
        && !latest.deleted
        && sight.seen(latest) == Seen::Yes
    {
        let finding = match latest.earlier_key {
            true => &mut findings.earlier_key,
            false => &mut findings.only_in_lake,
        };
        finding.add(1, key, latest.xid);
    }
    let Some((latest, earlier)) = versions.split_last() else {
        return;
    };
    if !earlier.is_empty() {
        let partition = latest.position.kafka_partition;
        let is_elsewhere = |version: &Version| version.position.kafka_partition != partition;
        findings.moved_keys += u64::from(earlier.iter().any(is_elsewhere));
    }
}

/// Versions that the lake holds more than once although no load brought them again.
fn duplicates(key: Hash, versions: &[Version], loads: &[i64]) -> Finding {
    let mut found = Finding::default();
    // Most keys have one version.
    if versions.len() < 2 {
        return found;
    }
    let mut written: Vec<_> = versions
        .iter()
        .filter(|version| !version.deleted)
        .map(|version| (version.xid, version.columns, version.position.detected_at))
        .collect();
    written.sort_unstable();
    for pair in written.windows(2) {
        let ((xid, columns, first), second) = (pair[0], pair[1]);
        let is_same = (xid, columns) == (second.0, second.1);
        let is_loaded = loads.iter().any(|load| (first..=second.2).contains(load));
        if is_same && !is_loaded {
            found.add(1, key, xid);
        }
    }
    found
}

fn fate(row: &Row, versions: &[Version], quarantined: Option<Quarantined>, sight: &Sight) -> Fate {
    let Some(latest) = versions.last() else {
        return if quarantined.is_some() {
            Fate::Quarantined
        } else {
            Fate::Missing
        };
    };
    if !latest.deleted && latest.values == row.values {
        return Fate::Equal;
    }
    if quarantined.is_some_and(|quarantined| quarantined.offset > latest.position.offset) {
        return Fate::Quarantined;
    }
    let seen = sight.seen(latest);
    if seen != Seen::Yes {
        let own = versions
            .iter()
            .rfind(|version| !version.deleted && low(version.xid) == row.xmin);
        match own {
            Some(own) if own.values == row.values => return Fate::Equal,
            None if seen == Seen::No => return Fate::ChangedSince,
            _ => {}
        }
    }
    if latest.deleted {
        Fate::Missing
    } else {
        Fate::Different
    }
}

/// Compares rows without a key: the lake must hold as many equal rows as the snapshot.
fn compare_counts(
    findings: &mut Findings,
    key: Hash,
    rows: &[Row],
    versions: &[Version],
    quarantined: Option<Quarantined>,
    sight: &Sight,
) {
    let expected = rows.len() as u64;
    let is_equal = |version: &&Version| rows.first().is_none_or(|row| row.values == version.values);
    let present = versions.iter().filter(is_equal).count() as u64;
    let seen = versions
        .iter()
        .filter(is_equal)
        .filter(|version| sight.seen(version) == Seen::Yes)
        .count() as u64;
    let lacking = expected.saturating_sub(present);
    let accounted = lacking.min(quarantined.map_or(0, |quarantined| quarantined.versions));
    findings.quarantined += accounted;
    let left = rows.iter().filter(|row| row.has_left).count() as u64;
    let left = left.min(lacking - accounted);
    findings.left += left;
    findings.missing.add(lacking - accounted - left, key, 0);
    findings
        .different
        .add(versions.len() as u64 - present, key, 0);
    findings
        .only_in_lake
        .add(seen.saturating_sub(expected), key, 0);
}

fn low(xid: u64) -> u32 {
    inlet_model::Xid(xid).low()
}

#[cfg(test)]
mod tests;
