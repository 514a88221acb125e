//! The whole log, entry by entry, as far as it can be read: what it lists, and what is wrong with
//! it. Opening and reading stop at the first wrong entry; this walk goes on, so that a person sees
//! all of them at once.

use std::collections::{BTreeMap, BTreeSet};

use inlet_model::{KafkaPartition, TableName};

use super::checkpoint;
use super::entry::{DataFile, Entry};
use super::head::Head;
use super::list::is_replacement_pending;
use super::live::{Listed, Live};
use super::log::Found;
use super::packs::Entries;
use super::segments::Segments;
use crate::error::LakeError;
use crate::files::Store;
use crate::files::names::{self, CHECKPOINT, LOG, is_data};

/// Entries after which a checkpoint, and a segment of the list of files, must exist: twice the
/// number at which they are written, because a writer may be busy with the next one.
const DERIVED_AFTER: u64 = 128;

/// What is wrong with a file of the log.
#[allow(missing_docs)] // The reader of a variant explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFlaw {
    /// The entry is missing, and later ones exist.
    Missing,
    /// The entry cannot be read, and later ones exist.
    Unreadable(String),
    /// The last entry is incomplete: it was never committed.
    Torn,
    /// A writer has set an incomplete entry aside.
    SetAside,
    /// Records between two entries are in neither.
    Hole {
        partition: KafkaPartition,
        from: i64,
        next: i64,
    },
    /// The entry covers records that an earlier one covers.
    Overlap {
        partition: KafkaPartition,
        from: i64,
        next: i64,
    },
    /// The entry does not follow the one before it in another way.
    DoesNotFollow(String),
    /// The entry adds a file that an earlier one has added.
    Repeated { file: String, seq: u64 },
    /// The entry removes a file that the log does not have.
    Unlisted { file: String },
    /// The entry counts other rows than its files have.
    Counts {
        counted: u64,
        files: u64,
        rejected: bool,
    },
    /// The entry has a file of a schema that the log does not have.
    UnknownSchema { file: String },
    /// The checkpoint cannot be read, is missing, or differs from the entries.
    Checkpoint(Derived),
    /// The checkpoint is of a later entry than the last one.
    CheckpointAhead { checkpoint: u64, last: u64 },
    /// A part of the list of files cannot be read, is missing, or differs from the entries.
    Segment(Derived),
}

/// The state of a file that is derived from entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Derived {
    /// It does not exist, and should.
    Missing,
    /// It is not what a writer stores.
    Unreadable,
    /// What it states in another way than the entries.
    Differs(String),
}

/// What the entries of a log state together.
#[derive(Debug)]
pub(crate) struct Walk {
    pub head: Head,
    pub live: Vec<Listed>,
    /// By path in the table's folder.
    pub flaws: Vec<(String, LogFlaw)>,
    /// Files that left the list, with the entry that removed them.
    pub former: BTreeMap<String, u64>,
    /// The number of entries that were read.
    pub entries: u64,
}

/// Reads every entry of a folder's log; `None` without any.
pub(crate) fn walk(store: &Store) -> Result<Option<Walk>, LakeError> {
    // The checkpoint and the segments are read before the entries that they are derived from.
    let checkpoint = checkpoint::inspect(store)?;
    let segments = Segments::find(store)?;
    let stored: Vec<_> = segments.ranges().collect();
    let names = store.list(LOG)?;
    let numbers: BTreeSet<u64> = names.iter().filter_map(|name| names::seq(name)).collect();
    let entries = Entries::find(store)?;
    let last = numbers.last().copied().unwrap_or(0).max(entries.packed());
    if last == 0 {
        return Ok(None);
    }
    let mut walking = Walking {
        store,
        log: entries,
        table: None,
        head: None,
        at_checkpoint: None,
        checkpoint: checkpoint.as_ref().and_then(|of| Some(of.as_ref()?.seq)),
        live: Live::default(),
        listed: BTreeMap::new(),
        former: BTreeMap::new(),
        unsure: None,
        flaws: Vec::new(),
        entries: 0,
        ranges: stored
            .iter()
            .map(|range| (*range, Live::default()))
            .collect(),
    };
    for seq in 1..=last {
        walking.read(seq, last)?;
    }
    let set_aside = names.iter().filter(|name| name.ends_with(names::TORN));
    let set_aside = set_aside.map(|name| (format!("{LOG}/{name}"), LogFlaw::SetAside));
    walking.flaws.extend(set_aside);
    walking.compare_checkpoint(checkpoint, last);
    walking.compare_segments(&segments)?;
    let Walking {
        head,
        live,
        flaws,
        former,
        entries,
        table,
        ..
    } = walking;
    // Without one readable entry the table has no name, and its flaws are all there is to report.
    let unnamed = || Head::empty(&table.unwrap_or_else(|| TableName::new("", "")));
    Ok(Some(Walk {
        head: head.unwrap_or_else(unnamed),
        live: live.into_files().collect(),
        flaws,
        former,
        entries,
    }))
}

struct Walking<'a> {
    store: &'a Store,
    log: Entries<'a>,
    table: Option<TableName>,
    head: Option<Head>,
    /// The number of the checkpoint's last entry, and the head after that entry.
    checkpoint: Option<u64>,
    at_checkpoint: Option<Head>,
    live: Live,
    /// Files of the list, with the entry that named them.
    listed: BTreeMap<String, u64>,
    former: BTreeMap<String, u64>,
    /// After an entry that cannot be read: the kafka_partitions whose position is known again.
    unsure: Option<BTreeSet<KafkaPartition>>,
    flaws: Vec<(String, LogFlaw)>,
    entries: u64,
    /// The stored segments, and what their entries state.
    ranges: BTreeMap<(u64, u64), Live>,
}

impl Walking<'_> {
    fn read(&mut self, seq: u64, last: u64) -> Result<(), LakeError> {
        let flaw = match self.log.read(seq)? {
            Found::Entry(entry) => return self.take(seq, *entry),
            Found::Missing => LogFlaw::Missing,
            Found::Unreadable(_) if seq == last => LogFlaw::Torn,
            Found::Unreadable(reason) => LogFlaw::Unreadable(reason),
        };
        // A pack that cannot be read is one flaw.
        let path = self.log.path(seq);
        if self.flaws.last().is_none_or(|(last, _)| *last != path) {
            self.flaws.push((path, flaw));
        }
        self.unsure = Some(BTreeSet::new());
        // A part of the list that was derived from the entry cannot be compared with it.
        self.ranges
            .retain(|(first, end), _| !(*first..=*end).contains(&seq));
        Ok(())
    }

    fn take(&mut self, seq: u64, entry: Entry) -> Result<(), LakeError> {
        self.entries += 1;
        self.table.get_or_insert_with(|| entry.table.clone());
        self.check(seq, &entry);
        let head = self.head.get_or_insert_with(|| Head::empty(&entry.table));
        head.add(&entry);
        head.seq = seq;
        if self.checkpoint == Some(seq) {
            self.at_checkpoint = Some(head.clone());
        }
        let added = entry.files.iter().chain(&entry.quarantine);
        let added: Vec<DataFile> = added.cloned().collect();
        for file in &added {
            if is_data(&file.path) && file.schema.is_some_and(|schema| !head.knows(schema)) {
                let file = file.path.clone();
                let flaw = LogFlaw::UnknownSchema { file };
                self.flaws.push((names::entry(seq), flaw));
            }
        }
        for (range, live) in &mut self.ranges {
            if (range.0..=range.1).contains(&seq) {
                live.apply(entry.clone());
            }
        }
        // A crash left it in the log before its files took the place of the others.
        if !is_replacement_pending(self.store, &entry)? {
            self.list(seq, &entry, &added);
            self.live.apply(entry);
        }
        Ok(())
    }

    /// Keeps the list of files beside that of [`Live`], to find what is in it already.
    fn list(&mut self, seq: u64, entry: &Entry, added: &[DataFile]) {
        for left in entry.left() {
            if self.listed.remove(left).is_none() && self.unsure.is_none() {
                let file = left.to_owned();
                let flaw = LogFlaw::Unlisted { file };
                self.flaws.push((names::entry(seq), flaw));
            }
            self.former.insert(left.to_owned(), seq);
        }
        for file in added {
            self.former.remove(&file.path);
            if let Some(first) = self.listed.insert(file.path.clone(), seq) {
                let file = file.path.clone();
                let flaw = LogFlaw::Repeated { file, seq: first };
                self.flaws.push((names::entry(seq), flaw));
            }
        }
    }

    fn check(&mut self, seq: u64, entry: &Entry) {
        let flaw = self
            .position_flaw(entry)
            .or_else(|| counts_flaw(entry))
            .or_else(|| {
                // What is before an entry that cannot be read is unknown.
                let head = self.head.as_ref().filter(|_| self.unsure.is_none());
                let follows = match head {
                    Some(head) => head.follows(entry),
                    None if entry.seq == seq => Ok(()),
                    None => Err(format!("it names itself entry {}", entry.seq)),
                };
                follows.err().map(LogFlaw::DoesNotFollow)
            });
        self.flaws
            .extend(flaw.map(|flaw| (names::entry(seq), flaw)));
        if let Some(known) = &mut self.unsure {
            known.extend(entry.offsets.keys().chain(entry.acquired.keys()));
        }
    }

    fn position_flaw(&self, entry: &Entry) -> Option<LogFlaw> {
        let head = self.head.as_ref()?;
        let is_known = |partition: &KafkaPartition| {
            let unsure = self.unsure.as_ref();
            unsure.is_none_or(|known| known.contains(partition))
        };
        let offsets = entry.offsets.iter();
        offsets
            .filter(|(partition, _)| is_known(partition))
            .find_map(|(partition, covered)| {
                let (partition, from) = (*partition, covered.from.0);
                let next = head.partition(partition).next?.0;
                match from.cmp(&next) {
                    std::cmp::Ordering::Equal => None,
                    std::cmp::Ordering::Greater => Some(LogFlaw::Hole {
                        partition,
                        from: next,
                        next: from,
                    }),
                    std::cmp::Ordering::Less => Some(LogFlaw::Overlap {
                        partition,
                        from,
                        next: next.min(covered.next.0),
                    }),
                }
            })
    }

    fn compare_checkpoint(&mut self, stored: Option<Option<Head>>, last: u64) {
        let flaw = match stored {
            None if last < DERIVED_AFTER => None,
            None => Some(LogFlaw::Checkpoint(Derived::Missing)),
            Some(None) => Some(LogFlaw::Checkpoint(Derived::Unreadable)),
            Some(Some(stored)) if stored.seq > last => Some(LogFlaw::CheckpointAhead {
                checkpoint: stored.seq,
                last,
            }),
            // It cannot be compared with entries that cannot be read.
            Some(Some(_)) if self.unsure.is_some() => None,
            Some(Some(stored)) => {
                let differs = self
                    .at_checkpoint
                    .as_ref()
                    .and_then(|of| differs(&stored, of));
                differs.map(|what| LogFlaw::Checkpoint(Derived::Differs(what)))
            }
        };
        self.flaws
            .extend(flaw.map(|flaw| (CHECKPOINT.to_owned(), flaw)));
    }

    fn compare_segments(&mut self, segments: &Segments<'_>) -> Result<(), LakeError> {
        for ((first, end), of_entries) in &self.ranges {
            let name = names::segment(*first, *end);
            // Another writer may have put it into a larger one in the meantime.
            if self.store.size(&name)?.is_none() {
                continue;
            }
            let derived = match segments.read(*first, *end)? {
                None => Derived::Unreadable,
                Some((stored, _)) if paths(&stored) == paths(of_entries) => continue,
                Some(_) => Derived::Differs("other files".to_owned()),
            };
            self.flaws.push((name, LogFlaw::Segment(derived)));
        }
        // A part that is missing before one that exists was written once.
        for (first, end) in segments.gaps() {
            let name = names::segment(first, end);
            self.flaws.push((name, LogFlaw::Segment(Derived::Missing)));
        }
        Ok(())
    }
}

/// Whether the rows that an entry counts are those of its files.
fn counts_flaw(entry: &Entry) -> Option<LogFlaw> {
    if !entry.replaced.is_empty() {
        return None;
    }
    let sum = |files: &[DataFile]| files.iter().map(|file| file.rows).sum::<u64>();
    let counts = [
        (entry.rows, sum(&entry.files), false),
        (entry.quarantined, sum(&entry.quarantine), true),
    ];
    let wrong = counts
        .into_iter()
        .find(|(counted, files, _)| counted != files);
    wrong.map(|(counted, files, rejected)| LogFlaw::Counts {
        counted,
        files,
        rejected,
    })
}

/// What a checkpoint states in another way than the entries before it.
fn differs(stored: &Head, of_entries: &Head) -> Option<String> {
    let differs = [
        ("table", stored.table != of_entries.table),
        ("offsets", stored.offsets != of_entries.offsets),
        ("progress", stored.progress != of_entries.progress),
        (
            "schemas",
            !stored.schemas.keys().eq(of_entries.schemas.keys()),
        ),
        ("number of rows", stored.rows != of_entries.rows),
        (
            "number of rejected rows",
            stored.quarantined != of_entries.quarantined,
        ),
    ];
    let (what, _) = differs.into_iter().find(|(_, differs)| *differs)?;
    Some(what.to_owned())
}

fn paths(live: &Live) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let files = live.files().map(|of| of.file.path.as_str());
    (
        files.collect(),
        live.removed().iter().map(String::as_str).collect(),
    )
}
