//! A crash after every step of a replacement, and what readers and the next writer make of it.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chrono_tz::Tz;
use inlet_model::TableName;

use super::*;
use crate::commit::{Leaving, expire, live, open, publish_pending};
use crate::folder::in_memory;
use crate::options::LakeOptions;

const DATE: &str = "date=2026-11-20";

fn table() -> TableName {
    TableName::new("public", "orders")
}

fn opened(path: &Path) -> (Folder, Log) {
    let options = LakeOptions {
        timezone: Tz::UTC,
        ..LakeOptions::of_table(table())
    };
    let folder = Folder::open(path, options).unwrap();
    let log = open(&folder.store, &table(), &folder.claim).unwrap();
    (folder, log)
}

/// A staged file; its content stands for its rows, one letter each.
fn staged(folder: &Folder, name: &str, rows: &str) -> DataFile {
    let staged = folder.claim.staging_name("staged");
    fs::write(folder.store.path(&staged), rows).unwrap();
    DataFile {
        path: format!("{DATE}/{name}.jsonl"),
        staged,
        rows: rows.len() as u64,
        bytes: rows.len() as u64,
        ..DataFile::default()
    }
}

fn commit(folder: &Folder, log: &mut Log, name: &str, rows: &str) {
    let file = staged(folder, name, rows);
    let mut entry = Entry::new(&table(), folder.claim.writer(), name);
    entry.quarantined = file.rows;
    entry.quarantine = vec![file];
    log.append(&folder.claim, |_| Ok(entry.clone())).unwrap();
    publish_pending(log, &folder.claim, |_| true).unwrap();
}

/// A folder with the files a, b, c and d of one row each.
fn filled() -> (tempfile::TempDir, Folder, Log) {
    let root = in_memory();
    let (folder, mut log) = opened(root.path());
    for rows in ["a", "b", "c", "d"] {
        commit(&folder, &mut log, rows, rows);
    }
    (root, folder, log)
}

/// The merged file of a, b and c, under the name of a.
fn merged(folder: &Folder, log: &Log) -> Merged {
    let files = live(&folder.store, log.head.seq, |_, reason| panic!("{reason}")).unwrap();
    let files = files.into_files().map(|of| of.file);
    let replaced: Vec<_> = files.filter(|file| !file.path.contains("/d.")).collect();
    let file = staged(folder, "a", "abc");
    let path = TempPath::try_from_path(folder.store.path(&file.staged)).unwrap();
    Merged {
        files: vec![(file, path)],
        replaced,
        names: ColumnNames::default(),
    }
}

/// The rows of all files that a walk over paths reaches, in order.
fn visible(root: &Path) -> String {
    let mut rows = String::new();
    let date = fs::read_dir(root.join(DATE)).unwrap();
    for file in date {
        rows.push_str(&fs::read_to_string(file.unwrap().path()).unwrap());
    }
    let mut rows: Vec<char> = rows.chars().collect();
    rows.sort_unstable();
    rows.into_iter().collect()
}

/// The rows of the files that the log lists, as far as they exist.
fn listed(store: &Store, seq: u64) -> String {
    let live = live(store, seq, |_, reason| panic!("{reason}")).unwrap();
    let files = live.into_files();
    let rows = files.map(|of| fs::read_to_string(store.path(&of.file.path)).unwrap_or_default());
    let mut rows: Vec<char> = rows.collect::<String>().chars().collect();
    rows.sort_unstable();
    rows.into_iter().collect()
}

/// A copy of the folder with its hard links, as a crash leaves it: no lock is held. No process is
/// started for it, because a child holds the locks of other tests until it runs its program.
fn image(root: &Path) -> tempfile::TempDir {
    let image = in_memory();
    copy(root, image.path(), &mut HashMap::new());
    image
}

/// Copies what paths reach; `known` has the copy of each file by its inode.
fn copy(from: &Path, to: &Path, known: &mut HashMap<u64, PathBuf>) {
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        // A path may be too long, and a file may be removed meanwhile.
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        if found.is_dir() {
            if fs::create_dir(&target).is_ok() {
                copy(&path, &target, known);
            }
        } else if let Some(first) = known.get(&found.ino()) {
            fs::hard_link(first, &target).unwrap();
        } else {
            fs::copy(&path, &target).unwrap();
            known.insert(found.ino(), target);
        }
    }
}

/// Whether an image has an entry; readers of its log find the rows that are visible.
fn has_entry(image: &Path, seq: u64, visible: &str) -> bool {
    let store = Store::existing(image).unwrap();
    let name = crate::files::names::entry(seq);
    let is_committed = store.size(&name).unwrap().is_some();
    let last = if is_committed { seq } else { seq - 1 };
    assert_eq!(
        listed(&store, last),
        visible,
        "readers of the log find what is visible"
    );
    is_committed
}

fn only_its_lock_is_staged(folder: &Folder) {
    let staging = folder.store.list(STAGING).unwrap();
    assert_eq!(
        staging.len(),
        1,
        "the lock of the living writer: {staging:?}"
    );
}

#[test]
fn a_crash_after_any_step_leaves_every_row_visible_once() {
    let (root, folder, mut log) = filled();
    let images = Arc::new(Mutex::new(Vec::new()));
    let taken = images.clone();
    folder
        .store
        .steps
        .watch(move |root| taken.lock().unwrap().push(image(root)));
    let merged = merged(&folder, &log);
    let entry = replace(&folder, &mut log, merged, || true, || {});
    let entry = entry.unwrap().unwrap();
    folder.store.steps.watch(|_| {});
    assert_eq!(visible(root.path()), "abcd");
    assert_eq!(fs::read_dir(root.path().join(DATE)).unwrap().count(), 2);
    let images = std::mem::take(&mut *images.lock().unwrap());
    assert!(images.len() >= 5, "{} steps", images.len());
    let (mut before, mut after) = (0, 0);
    for image in images {
        assert_eq!(visible(image.path()), "abcd");
        let is_committed = has_entry(image.path(), entry.seq, "abcd");
        // Opening shows the merged file if the log has it, and goes on; also when it is repeated.
        for _ in 0..2 {
            let (folder, log) = opened(image.path());
            assert_eq!(visible(image.path()), "abcd");
            assert_eq!(listed(&folder.store, log.head.seq), "abcd");
            let files = fs::read_dir(image.path().join(DATE)).unwrap().count();
            assert_eq!(files, if is_committed { 2 } else { 4 });
            assert_eq!(log.head.quarantined, 4);
        }
        let (folder, mut log) = opened(image.path());
        commit(&folder, &mut log, "e", "e");
        assert_eq!(visible(image.path()), "abcde");
        only_its_lock_is_staged(&folder);
        if is_committed {
            after += 1
        } else {
            before += 1
        }
    }
    assert!(before > 0 && after > 0);
}

#[test]
fn a_hidden_folder_of_a_writer_that_ended_is_removed() {
    let (root, folder, log) = filled();
    let merged = merged(&folder, &log);
    let files: Vec<_> = merged.files.iter().map(|(file, _)| file.clone()).collect();
    let swap = Swap::prepare(&folder.store, &folder.claim, DATE, &files, &[]).unwrap();
    // As after a crash: no destructor runs.
    std::mem::forget((swap, merged));
    assert_eq!(visible(root.path()), "abcd");
    drop((folder, log));
    let (folder, _log) = opened(root.path());
    assert_eq!(folder.store.list(STAGING).unwrap().len(), 1);
    assert_eq!(visible(root.path()), "abcd");
}

#[test]
fn what_another_writer_shows_meanwhile_is_not_lost() {
    let (root, folder, log) = filled();
    let merged = merged(&folder, &log);
    let files: Vec<_> = merged.files.iter().map(|(file, _)| file.clone()).collect();
    let replaced: Vec<_> = merged.replaced.iter().map(|of| of.path.clone()).collect();
    let swap = Swap::prepare(&folder.store, &folder.claim, DATE, &files, &replaced).unwrap();
    // An earlier version publishes without a lock.
    fs::write(root.path().join(DATE).join("e.jsonl"), "e").unwrap();
    swap.show(&folder.store, &files).unwrap();
    assert_eq!(visible(root.path()), "abcde");
}

#[test]
fn while_a_reader_of_this_program_reads_no_file_is_replaced() {
    let (_root, folder, _log) = filled();
    let held = hold(&folder.store).unwrap();
    let again = hold(&folder.store).unwrap();
    assert!(try_lock(&folder.store).unwrap().is_none());
    drop((held, again));
    assert!(try_lock(&folder.store).unwrap().is_some());
}

#[test]
fn an_entry_that_would_lose_a_row_is_refused() {
    let (root, folder, mut log) = filled();
    let mut merged = merged(&folder, &log);
    merged.files[0].0.rows -= 1;
    let error = replace(&folder, &mut log, merged, || true, || {}).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("replaces files of 3 rows by files of 2"),
        "{error}"
    );
    assert_eq!(visible(root.path()), "abcd");
    let files = fs::read_dir(root.path().join(DATE)).unwrap().count();
    assert_eq!(files, 4);
}

#[test]
fn files_leave_at_once_and_a_crash_after_any_step_goes_on() {
    let (root, folder, mut log) = filled();
    let images = Arc::new(Mutex::new(Vec::new()));
    let taken = images.clone();
    folder
        .store
        .steps
        .watch(move |root| taken.lock().unwrap().push(image(root)));
    let files = live(&folder.store, log.head.seq, |_, reason| panic!("{reason}")).unwrap();
    let files = files.into_files().map(|of| of.file);
    let leaving = Leaving {
        date: Some("2026-11-20".to_owned()),
        files: files.filter(|file| !file.path.contains("/d.")).collect(),
        seq: log.head.seq,
    };
    let stays = expire(&folder, &mut log, &leaving, || false, || {}).unwrap();
    assert!(stays.is_none());
    assert_eq!(visible(root.path()), "abcd");
    let entry = expire(&folder, &mut log, &leaving, || true, || {});
    let entry = entry.unwrap().unwrap();
    folder.store.steps.watch(|_| {});
    assert_eq!(
        (visible(root.path()).as_str(), log.head.quarantined),
        ("d", 1)
    );
    assert!(log.pending.is_empty());
    let images = std::mem::take(&mut *images.lock().unwrap());
    let (mut before, mut after) = (0, 0);
    for image in images {
        let rows = visible(image.path());
        assert!(rows == "abcd" || rows == "d", "{rows}: all or none leave");
        let is_committed = has_entry(image.path(), entry.seq, &rows);
        for _ in 0..2 {
            let (folder, log) = opened(image.path());
            let rows = if is_committed { "d" } else { "abcd" };
            assert_eq!(visible(image.path()), rows);
            assert_eq!(listed(&folder.store, log.head.seq), rows);
            assert_eq!(log.head.expired_dates.len(), usize::from(is_committed));
        }
        let (folder, mut log) = opened(image.path());
        commit(&folder, &mut log, "e", "e");
        only_its_lock_is_staged(&folder);
        if is_committed {
            after += 1
        } else {
            before += 1
        }
    }
    assert!(before > 0 && after > 2, "{before} {after}");
}
