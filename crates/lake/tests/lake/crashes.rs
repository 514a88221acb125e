//! A crash at every step of a commit: what a reader sees, and what opening the folder makes of it.

use std::fs;
use std::path::Path;

use chrono_tz::Tz;
use inlet_lake::{LakeError, Rejected};
use inlet_model::Offset;
use inlet_service::error::{Explain, Kind};

use crate::fixture::{
    P0, commit, count, crash_image, files, head, last_entry, open, options, positions, range,
    stage, texts, try_open,
};

/// Opens a crashed folder, checks its position, and continues from there.
async fn continues(path: &Path, from: i64) {
    let mut table = open(path, [P0]).await;
    assert_eq!(table.head().partition(P0).next, Some(Offset(from)));
    assert_eq!(count(path).await, from as u64, "opening rolls forward");
    assert_eq!(
        files(&path.join("_staging"), ".staged").len(),
        0,
        "opening removes what was not committed"
    );
    assert_eq!(
        files(&path.join("_staging"), ".lock").len(),
        1,
        "only that of the living writer"
    );
    commit(&mut table, P0, from..30).await.unwrap();
    assert_eq!(positions(path).await, texts([["0", "30", "30", "0", "29"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_entry_discards_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    commit(&mut table, P0, 0..10).await.unwrap();
    let staged = stage(&mut table, P0, 10..20).await.unwrap();
    let image = crash_image(folder.path());
    drop(staged);
    assert_eq!(files(&image.path().join("_staging"), ".staged").len(), 2);
    assert_eq!(count(image.path()).await, 10);
    continues(image.path(), 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_entry_and_publishing_is_rolled_forward_from_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    commit(&mut table, P0, 0..10).await.unwrap();
    let staged = stage(&mut table, P0, 10..20).await.unwrap();
    let before = crash_image(folder.path());
    staged.commit(None).await.unwrap();
    let entry = last_entry(folder.path());
    let moved = entry["files"].as_array().unwrap();
    assert_eq!(moved.len(), 2);
    for published in 0..=moved.len() {
        // The folder with the entry in the log and the first files renamed.
        let image = crash_image(before.path());
        let name = format!("_log/{:020}.json", entry["seq"].as_u64().unwrap());
        fs::copy(folder.path().join(&name), image.path().join(&name)).unwrap();
        for file in &moved[..published] {
            let place = |key: &str| image.path().join(file[key].as_str().unwrap());
            fs::rename(place("staged"), place("path")).unwrap();
        }
        assert_eq!(
            count(image.path()).await,
            10 + 5 * published as u64,
            "a reader sees whole files of the commit"
        );
        continues(image.path(), 20).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_again_and_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    commit(&mut table, P0, 0..10).await.unwrap();
    let expected = table.head();
    drop(table);
    for _ in 0..3 {
        let table = try_open(folder.path(), options(Tz::UTC)).await.unwrap();
        assert_eq!(table.head(), expected);
    }
    assert_eq!(
        positions(folder.path()).await,
        texts([["0", "10", "10", "0", "9"]])
    );
    assert_eq!(
        fs::read_dir(folder.path().join("_staging"))
            .unwrap()
            .count(),
        0,
        "writers that ended leave no file"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_by_two_writers_at_once_publishes_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    let staged = stage(&mut table, P0, 0..20).await.unwrap();
    let before = crash_image(folder.path());
    staged.commit(None).await.unwrap();
    let name = format!(
        "_log/{:020}.json",
        last_entry(folder.path())["seq"].as_u64().unwrap()
    );
    fs::copy(folder.path().join(&name), before.path().join(&name)).unwrap();
    let opened = || try_open(before.path(), options(Tz::UTC));
    let (one, two, three) = tokio::join!(opened(), opened(), opened());
    for opened in [one, two, three] {
        assert_eq!(opened.unwrap().head().rows, 20);
    }
    assert_eq!(
        positions(before.path()).await,
        texts([["0", "20", "20", "0", "19"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_entry_is_set_aside_when_it_was_never_committed() {
    for torn in [b"".as_slice(), b"{\"seq\":"] {
        let folder = tempfile::tempdir().unwrap();
        commit(&mut open(folder.path(), [P0]).await, P0, 0..10)
            .await
            .unwrap();
        let next = last_entry(folder.path())["seq"].as_u64().unwrap() + 1;
        fs::write(folder.path().join(format!("_log/{next:020}.json")), torn).unwrap();
        assert_eq!(head(folder.path()).await.rows, 10);
        continues(folder.path(), 10).await;
        assert_eq!(files(&folder.path().join("_log"), ".torn").len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_entry_whose_files_are_published_stops_the_lake() {
    let folder = tempfile::tempdir().unwrap();
    commit(&mut open(folder.path(), [P0]).await, P0, 0..10)
        .await
        .unwrap();
    let seq = last_entry(folder.path())["seq"].as_u64().unwrap();
    fs::write(folder.path().join(format!("_log/{seq:020}.json")), b"").unwrap();
    let error = try_open(folder.path(), options(Tz::UTC)).await.unwrap_err();
    assert!(
        matches!(&error, LakeError::Corrupt { entry, .. } if entry.contains(&format!("{seq:020}"))),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::Data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_entry_that_had_rejected_rows_alone_stops_the_lake_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    commit(&mut table, P0, 0..10).await.unwrap();
    let rejected = Rejected {
        reason: "amount >= 0".into(),
        topic: "orders".into(),
        kafka_partition: P0,
        offset: Offset(10),
        key: None,
        value: None,
    };
    table.reject(vec![rejected]).await.unwrap();
    table.cover(P0, range(10..11), 11).unwrap();
    table.commit(None).await.unwrap();
    drop(table);
    let seq = last_entry(folder.path())["seq"].as_u64().unwrap();
    fs::write(folder.path().join(format!("_log/{seq:020}.json")), b"").unwrap();
    let error = try_open(folder.path(), options(Tz::UTC)).await.unwrap_err();
    assert!(error.to_string().contains("_quarantine/0-"), "{error}");
    assert_eq!(error.kind(), Kind::Data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_entry_in_the_middle_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    commit(&mut table, P0, 0..10).await.unwrap();
    commit(&mut table, P0, 10..20).await.unwrap();
    fs::write(folder.path().join("_log/00000000000000000002.json"), b"").unwrap();
    let error = try_open(folder.path(), options(Tz::UTC)).await.unwrap_err();
    assert!(
        error.to_string().contains("_log/00000000000000000002.json"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_file_that_vanished_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    commit(&mut table, P0, 0..10).await.unwrap();
    let path = last_entry(folder.path())["files"][0]["path"]
        .as_str()
        .unwrap()
        .to_owned();
    drop(table);
    fs::remove_file(folder.path().join(&path)).unwrap();
    let error = try_open(folder.path(), options(Tz::UTC)).await.unwrap_err();
    assert!(error.to_string().contains(&path), "{error}");
}
