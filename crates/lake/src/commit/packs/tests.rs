use std::fs;
use std::sync::Arc;

use chrono::DateTime;
use inlet_model::{KafkaPartition, Offset, TableName};

use super::super::entry::Covered;
use super::super::log::{AppendError, Log};
use super::super::walk::{LogFlaw, walk};
use super::*;
use crate::files::names::CHECKPOINT;
use crate::folder::in_memory;

const PARTITION: KafkaPartition = KafkaPartition(0);
/// Entries of which one pack is due, and not two.
const LENGTH: u64 = PACK_ENTRIES + KEPT + 100;

fn table() -> TableName {
    TableName::new("public", "orders")
}

/// The entry that covers the offset before its number.
fn entry(seq: u64, commit: &str) -> Entry {
    let mut entry = Entry::new(&table(), "writer", &format!("{commit} {seq}"));
    entry.seq = seq;
    entry.committed_at = DateTime::from_timestamp(seq as i64, 0).unwrap();
    let covered = Covered {
        from: Offset(seq as i64 - 1),
        next: Offset(seq as i64),
        epoch: 0,
        sequence: seq,
    };
    entry.offsets.insert(PARTITION, covered);
    entry
}

struct Lake {
    _folder: tempfile::TempDir,
    store: Arc<Store>,
    claim: Claim,
}

impl Lake {
    fn new() -> Self {
        let folder = in_memory();
        let store = Arc::new(Store::create(folder.path()).unwrap());
        let claim = Claim::new(store.clone()).unwrap();
        Self {
            _folder: folder,
            store,
            claim,
        }
    }

    /// A lake with this many entries, and a checkpoint after the last one.
    fn with(entries: u64) -> Self {
        let lake = Self::new();
        lake.grow(1, entries);
        lake
    }

    fn grow(&self, first: u64, last: u64) {
        for seq in first..=last {
            fs::write(self.path(&names::entry(seq)), entry(seq, "commit").encode()).unwrap();
        }
        self.log().write_checkpoint(&self.claim).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.store.path(name)
    }

    fn log(&self) -> Log {
        Log::read(self.store.clone(), &table()).unwrap().0
    }

    fn pack(&self, last: u64) {
        write_due(&self.store, &self.claim, last).unwrap();
    }

    /// The numbers of the entries that have files.
    fn files(&self) -> Vec<u64> {
        let names = self.store.list(LOG).unwrap();
        let mut numbers: Vec<_> = names.iter().filter_map(|name| names::seq(name)).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Asserts that every entry up to `last` is the one that was committed, also without what is
    /// derived from them.
    fn holds(&self, last: u64) {
        let mut entries = Entries::find(&self.store).unwrap();
        for seq in 1..=last {
            assert_eq!(entries.expect(seq).unwrap(), entry(seq, "commit"));
            assert!(has_entry(&self.store, seq).unwrap());
        }
        assert!(!has_entry(&self.store, last + 1).unwrap());
        let found = walk(&self.store).unwrap().unwrap();
        assert_eq!((found.entries, found.flaws), (last, Vec::new()));
        let head = self.log().head;
        let checkpoint = fs::read(self.path(CHECKPOINT)).unwrap();
        fs::remove_file(self.path(CHECKPOINT)).unwrap();
        assert_eq!(self.log().head, head);
        assert_eq!(head.seq, last);
        fs::write(self.path(CHECKPOINT), checkpoint).unwrap();
    }
}

#[test]
fn old_entries_are_packed_one_pack_a_call_and_read_as_before() {
    let length = LENGTH + PACK_ENTRIES;
    let lake = Lake::with(length);
    lake.holds(length);
    for (packs, first) in [(1, PACK_ENTRIES + 1), (2, 2 * PACK_ENTRIES + 1)] {
        lake.pack(length);
        assert_eq!(lake.store.list(PACKS).unwrap().len(), packs);
        assert_eq!(lake.files(), (first..=length).collect::<Vec<_>>());
        lake.holds(length);
    }
    // Too few are left.
    lake.pack(length);
    assert_eq!(packed(&lake.store).unwrap(), 2 * PACK_ENTRIES);
    let bytes = |name: &str| fs::metadata(lake.path(name)).unwrap().len();
    let pack = bytes(&names::pack(1, PACK_ENTRIES));
    assert!(
        pack < PACK_ENTRIES * bytes(&names::entry(length)) / 5,
        "{pack}"
    );
}

#[test]
fn large_entries_end_a_pack_early() {
    let lake = Lake::with(LENGTH);
    let large = 3 << 20;
    for seq in 1..=4 {
        let mut entry = entry(seq, "commit");
        entry.writer = "w".repeat(large);
        fs::write(lake.path(&names::entry(seq)), entry.encode()).unwrap();
    }
    lake.pack(LENGTH);
    assert_eq!(packed(&lake.store).unwrap(), 3);
    let mut entries = Entries::find(&lake.store).unwrap();
    assert_eq!(entries.expect(3).unwrap().writer.len(), large);
    assert_eq!(lake.files()[0], 4);
}

#[test]
fn packing_that_ended_at_any_step_goes_on_later() {
    let lake = Lake::with(LENGTH);
    let file = |seq| lake.path(&names::entry(seq));
    let kept: Vec<_> = (1..=PACK_ENTRIES)
        .map(|seq| fs::read(file(seq)).unwrap())
        .collect();
    lake.pack(LENGTH);
    // After the pack, and after a part of the removals.
    for (has_bound, left) in [(false, 1), (true, PACK_ENTRIES / 2)] {
        for seq in left..=PACK_ENTRIES {
            fs::write(file(seq), &kept[seq as usize - 1]).unwrap();
        }
        if !has_bound {
            fs::remove_file(lake.path(PACKED)).unwrap();
        }
        lake.holds(LENGTH);
        let longer = LENGTH + PACK_ENTRIES;
        if has_bound {
            lake.grow(LENGTH + 1, longer);
            lake.pack(longer);
            assert_eq!(lake.files()[0], 2 * PACK_ENTRIES + 1);
            lake.holds(longer);
        }
    }
}

#[test]
fn a_writer_that_slept_while_entries_were_packed_commits_nothing() {
    let lake = Lake::with(100);
    let mut sleeper = lake.log();
    let mut second = lake.log();
    lake.grow(101, LENGTH);
    lake.pack(LENGTH);
    let commit = |log: &mut Log| {
        log.append(&lake.claim, |head| {
            let next = head.seq + 1;
            Ok(entry(next, "late"))
        })
    };
    let refused = commit(&mut sleeper);
    assert!(
        matches!(
            refused,
            Err(AppendError::Refused(LakeError::Doubtful { .. }))
        ),
        "{refused:?}"
    );
    assert_eq!(lake.files()[0], PACK_ENTRIES + 1);
    // It ended before it removed the file.
    fs::write(lake.path(&names::entry(101)), entry(101, "late").encode()).unwrap();
    lake.holds(LENGTH);
    assert!(matches!(second.catch_up(), Err(LakeError::Doubtful { .. })));
    assert!(commit(&mut second).is_err());
    let mut opened = lake.log();
    commit(&mut opened).unwrap();
    assert_eq!(opened.head.seq, LENGTH + 1);
}

#[test]
fn a_damaged_pack_is_one_flaw_and_stops_no_writer() {
    let lake = Lake::with(LENGTH);
    lake.pack(LENGTH);
    let name = names::pack(1, PACK_ENTRIES);
    let bytes = fs::read(lake.path(&name)).unwrap();
    for damaged in [&b"no Zstandard"[..], &bytes[..bytes.len() / 2]] {
        fs::write(lake.path(&name), damaged).unwrap();
        let found = walk(&lake.store).unwrap().unwrap();
        let [(path, LogFlaw::Unreadable(_))] = &found.flaws[..] else {
            panic!("{:?}", found.flaws)
        };
        assert_eq!(*path, name);
        assert_eq!(lake.log().head.seq, LENGTH);
    }
    fs::remove_file(lake.path(CHECKPOINT)).unwrap();
    let refused = Log::read(lake.store.clone(), &table()).unwrap_err();
    assert!(refused.to_string().contains(&name), "{refused}");
}
