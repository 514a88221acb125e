//! Writers that end at any step of the protocol, one after the other, beside one that lives.

use std::collections::BTreeMap;
use std::fs;

use inlet_model::{KafkaPartition, Offset};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::entry::{Covered, DataFile, Entry};
use super::super::publish::folder_of;
use super::*;
use crate::files::names::{CHECKPOINT, DATE_KEY, STAGING, is_data, is_date_folder};
use crate::files::store::contract::STARTING_PROCESSES;
use crate::folder::in_memory;

const PARTITION: KafkaPartition = KafkaPartition(0);
/// The kafka_partition of the writer that lives.
const OTHER: KafkaPartition = KafkaPartition(1);

/// The step of its last batch at which a writer ends.
#[derive(Debug, Clone)]
enum End {
    /// The files are staged; the log does not name them.
    Staged,
    /// A power cut left a part of the entry.
    Torn(Index),
    /// The entry is in the log, and the first files are renamed.
    Renamed(Index),
    /// All is published.
    Published,
    /// All is published, and the checkpoint is written.
    Checkpointed,
    /// A power cut left a part of the checkpoint.
    TornCheckpoint,
}

/// A writer's batches, by their number of files, and the step at which it ends.
#[derive(Debug, Clone)]
struct Life {
    batches: Vec<usize>,
    last: usize,
    end: End,
}

fn life() -> impl Strategy<Value = Life> {
    let end = prop_oneof![
        Just(End::Staged),
        any::<Index>().prop_map(End::Torn),
        any::<Index>().prop_map(End::Renamed),
        Just(End::Published),
        Just(End::Checkpointed),
        Just(End::TornCheckpoint),
    ];
    (vec(0..3_usize, 0..2), 1..4_usize, end).prop_map(|(batches, last, end)| Life {
        batches,
        last,
        end,
    })
}

fn table() -> TableName {
    TableName::new("public", "orders")
}

/// The committed files with their content, and the next offset.
#[derive(Debug, Default)]
struct Expected {
    files: BTreeMap<String, String>,
    next: i64,
}

/// Stages files of one row each and returns the entry that commits them.
fn stage(store: &Store, claim: &Claim, from: i64, files: usize) -> Entry {
    let mut entry = Entry::new(&table(), claim.writer(), &format!("commit {from}"));
    for offset in (from..).take(files) {
        let name = FileName {
            partition: PARTITION,
            first: Offset(offset),
            epoch: 0,
        };
        let date = ["2026-11-20", "2026-11-21"][(offset % 2) as usize];
        let staged = claim.staging_name("staged");
        let content = format!("row {offset} of {}", claim.writer());
        fs::write(store.path(&staged), &content).unwrap();
        entry.files.push(DataFile {
            path: name.data(DATE_KEY, Some(date)),
            staged,
            rows: 1,
            bytes: content.len() as u64,
            date: Some(date.to_owned()),
            ..DataFile::default()
        });
    }
    entry.rows = files as u64;
    cover(&mut entry, PARTITION, from, from + files as i64);
    entry
}

fn cover(entry: &mut Entry, partition: KafkaPartition, from: i64, next: i64) {
    let covered = Covered {
        from: Offset(from),
        next: Offset(next),
        epoch: 0,
        sequence: next as u64,
    };
    entry.offsets.insert(partition, covered);
}

fn contents(store: &Store, entry: &Entry) -> BTreeMap<String, String> {
    let read = |file: &DataFile| {
        let content = fs::read_to_string(store.path(&file.staged)).unwrap();
        (file.path.clone(), content)
    };
    entry.files.iter().map(read).collect()
}

/// What a reader's glob finds.
fn visible(store: &Store) -> BTreeMap<String, String> {
    let list = |folder: &str, is_wanted: fn(&str) -> bool| {
        let names = store.list(folder).unwrap().into_iter();
        names.filter(move |name| is_wanted(name))
    };
    list("", is_date_folder)
        .flat_map(|folder| list(&folder, is_data).map(move |name| format!("{folder}/{name}")))
        .map(|path| (fs::read_to_string(store.path(&path)).unwrap(), path))
        .map(|(content, path)| (path, content))
        .collect()
}

/// Lives one writer's life and ends as a killed process does.
fn live(store: &Arc<Store>, life: &Life, expected: &mut Expected) {
    let claim = Claim::new(store.clone()).unwrap();
    let mut log = open(store, &table(), &claim).unwrap();
    assert_eq!(visible(store), expected.files);
    let next = log.head.partition(PARTITION).next;
    assert_eq!(next.unwrap_or(Offset(0)), Offset(expected.next));
    for files in &life.batches {
        let entry = stage(store, &claim, expected.next, *files);
        expected.files.extend(contents(store, &entry));
        expected.next += *files as i64;
        log.append(&claim, |_| Ok(entry.clone())).unwrap();
        publish_pending(&mut log, &claim, |writer| writer == claim.writer()).unwrap();
    }
    let entry = stage(store, &claim, expected.next, life.last);
    match &life.end {
        End::Staged => return,
        End::Torn(at) => {
            let seq = log.head.seq + 1;
            let whole = Entry { seq, ..entry }.encode();
            let torn = &whole[..at.index(whole.len())];
            fs::write(store.path(&names::entry(seq)), torn).unwrap();
            return;
        }
        _ => {}
    }
    expected.files.extend(contents(store, &entry));
    expected.next += life.last as i64;
    let entry = log.append(&claim, |_| Ok(entry.clone())).unwrap();
    if let End::Renamed(count) = &life.end {
        for file in &entry.files[..count.index(entry.files.len() + 1)] {
            store.create_folders(&[folder_of(&file.path)]).unwrap();
            assert!(store.rename(&file.staged, &file.path).unwrap());
        }
        return;
    }
    publish_pending(&mut log, &claim, |_| true).unwrap();
    match life.end {
        End::Checkpointed => log.write_checkpoint(&claim).unwrap(),
        End::TornCheckpoint => fs::write(store.path(CHECKPOINT), "{\"table\":").unwrap(),
        _ => {}
    }
}

fn folder() -> (tempfile::TempDir, Arc<Store>) {
    let folder = in_memory();
    let store = Arc::new(Store::create(folder.path()).unwrap());
    (folder, store)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_step_a_writer_ends_at_each_batch_is_committed_once_or_not_at_all(
        lives in vec(life(), 1..5)
    ) {
        let _no_process_starts = STARTING_PROCESSES.blocking_read();
        let (_folder, store) = folder();
        let alive = Claim::new(store.clone()).unwrap();
        let mut log = open(&store, &table(), &alive).unwrap();
        let waiting = alive.staging_name("staged");
        fs::write(store.path(&waiting), "not committed").unwrap();

        let mut expected = Expected::default();
        for life in &lives {
            live(&store, life, &mut expected);
        }

        let last = Claim::new(store.clone()).unwrap();
        let opened = open(&store, &table(), &last).unwrap();
        prop_assert_eq!(visible(&store), expected.files);
        prop_assert_eq!(opened.head.files, opened.head.rows);
        prop_assert_eq!(opened.head.rows, expected.next as u64);
        // The files of writers that ended are removed; that of the living one stays.
        let staged: Vec<String> = store.list(STAGING).unwrap().into_iter()
            .filter(|name| name.ends_with(".staged"))
            .map(|name| format!("{STAGING}/{name}"))
            .collect();
        prop_assert_eq!(staged, [waiting]);

        // The living writer knows an old head: it reads the others' entries and commits after them.
        let mut entry = Entry::new(&table(), alive.writer(), "alive");
        cover(&mut entry, OTHER, 5, 9);
        let entry = log.append(&alive, |_| Ok(entry.clone())).unwrap();
        prop_assert_eq!(entry.seq, opened.head.seq + 1);
        prop_assert_eq!(log.head.partition(PARTITION), opened.head.partition(PARTITION));
        prop_assert_eq!(log.head.partition(OTHER).next, Some(Offset(9)));
    }

    #[test]
    fn a_log_that_lost_an_entry_stops_the_lake(
        files in vec(1..3_usize, 2..5), lost in any::<Index>(),
        content in select(vec![None, Some(""), Some("{}"), Some("{\"seq\":1}")]),
    ) {
        let (_folder, store) = folder();
        let life = Life { batches: files[1..].to_vec(), last: files[0], end: End::Published };
        live(&store, &life, &mut Expected::default());
        // A log without its last entry is that of an earlier moment.
        let entries = files.len() - usize::from(content.is_none());
        let name = names::entry(1 + lost.index(entries) as u64);
        match content {
            None => fs::remove_file(store.path(&name)).unwrap(),
            Some(content) => fs::write(store.path(&name), content).unwrap(),
        }
        let claim = Claim::new(store.clone()).unwrap();
        let error = open(&store, &table(), &claim).map(|log| log.head).unwrap_err();
        prop_assert!(error.to_string().contains(&name), "{}", error);
    }
}
