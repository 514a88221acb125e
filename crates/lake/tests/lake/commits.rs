//! What a commit is.

use chrono_tz::Tz;
use inlet_harness::duckdb;
use inlet_lake::{LakeError, Rejected};
use inlet_model::{Offset, ProgressDelta};
use inlet_service::error::{Explain, Kind};

use crate::fixture::{
    P0, P1, commit, count, crash_image, fill, head, open, options, orders_at, positions, range,
    stage, texts, try_open,
};

#[tokio::test(flavor = "multi_thread")]
async fn rows_appear_with_the_commit_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    let staged = stage(&mut table, P0, 0..10).await.unwrap();
    assert_eq!(count(folder.path()).await, 0);
    let committed = staged.commit(None).await.unwrap();
    assert_eq!(
        (committed.rows, committed.files, committed.offsets[&P0]),
        (10, 2, Offset(10))
    );
    assert_eq!(
        positions(folder.path()).await,
        texts([["0", "10", "10", "0", "9"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_does_not_start_at_the_head_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    commit(&mut table, P0, 0..10).await.unwrap();
    for offsets in [5..15, 11..20] {
        let error = commit(&mut table, P0, offsets).await.unwrap_err();
        assert!(
            matches!(
                error,
                LakeError::Conflict {
                    head: Offset(10),
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(error.kind(), Kind::Fenced);
    }
    assert_eq!(count(folder.path()).await, 10);
    assert_eq!(
        crate::fixture::files(&folder.path().join("_staging"), ".staged").len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_batch_is_committed_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    let (first, again) = (
        stage(&mut table, P0, 0..10).await.unwrap(),
        stage(&mut table, P0, 0..10).await.unwrap(),
    );
    first.commit(None).await.unwrap();
    assert!(matches!(
        again.commit(None).await,
        Err(LakeError::Conflict { .. })
    ));
    assert_eq!(
        positions(folder.path()).await,
        texts([["0", "10", "10", "0", "9"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_outside_of_what_is_covered_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    table.append(orders_at(P0, 0..10, |_| None)).await.unwrap();
    table.cover(P0, range(0..9), 9).unwrap();
    assert!(matches!(
        table.close().unwrap().stage().await,
        Err(LakeError::Batch { .. })
    ));

    table.append(orders_at(P0, 0..10, |_| None)).await.unwrap();
    table.append(orders_at(P0, 9..11, |_| None)).await.unwrap();
    table.cover(P0, range(0..20), 11).unwrap();
    assert!(
        matches!(
            table.close().unwrap().stage().await,
            Err(LakeError::Batch { .. })
        ),
        "an offset is a duplicate"
    );

    table.cover(P0, range(0..20), 11).unwrap();
    assert!(table.cover(P0, range(21..30), 20).is_err(), "a hole");
    assert!(table.cover(P1, range(0..3), 3).is_err(), "not ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_becomes_durable_with_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    let staged = stage(&mut table, P0, 0..10).await.unwrap();
    let set = |part: &str, value: Option<&str>| {
        ProgressDelta([(part.to_owned(), value.map(str::to_owned))].into())
    };
    let before = crash_image(folder.path());
    staged
        .commit(Some(set("poll", Some("{\"xid\":7}"))))
        .await
        .unwrap();
    // Progress alone is a commit too.
    table.commit(Some(set("load", Some("1")))).await.unwrap();
    table.commit(Some(set("load", None))).await.unwrap();

    let after = head(folder.path()).await;
    assert_eq!(
        after.progress.0,
        [("poll".to_owned(), "{\"xid\":7}".to_owned())].into()
    );
    assert_eq!((after.seq, after.rows), (4, 10));
    let before = head(before.path()).await;
    assert_eq!((before.progress.0.len(), before.rows), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_commits_do_not_make_opening_slower() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    commit(&mut table, P0, 0..2).await.unwrap();
    for offset in 2..1000 {
        table
            .cover(P0, range(offset..offset + 1), offset as u64 + 1)
            .unwrap();
        table.commit(None).await.unwrap();
    }
    let expected = table.head();
    assert_eq!(expected.seq, 1000);
    let reopened = try_open(folder.path(), options(Tz::UTC)).await.unwrap();
    assert_eq!(reopened.head(), expected);
    assert!(
        reopened.log_reads() <= 1 + 64 + 1,
        "the checkpoint, the tail, and one name that is free: {}",
        reopened.log_reads()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_only_a_shortcut() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    for offset in 0..70 {
        table
            .cover(P0, range(offset..offset + 1), offset as u64 + 1)
            .unwrap();
        table.commit(None).await.unwrap();
    }
    let checkpoint = folder.path().join("_log/_checkpoint.json");
    assert!(checkpoint.exists());
    std::fs::write(&checkpoint, b"{").unwrap();
    assert_eq!(head(folder.path()).await, *table.head());
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_rows_are_committed_whole_beside_the_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    let rejected = |offset: i64, value: &[u8]| Rejected {
        reason: "amount >= 0".into(),
        topic: "orders".into(),
        kafka_partition: P0,
        offset: Offset(offset),
        key: Some(b"{\"order_id\":1}".to_vec().into()),
        value: Some(value.to_vec().into()),
    };
    fill(&mut table, P0, 0..10).await.unwrap();
    table
        .reject(vec![
            rejected(10, b"{\"amount\":\"-1\"}"),
            rejected(11, &[0xff, 0x00]),
        ])
        .await
        .unwrap();
    table.cover(P0, range(10..12), 12).unwrap();
    let staged = table.close().unwrap().stage().await.unwrap();
    let read = format!(
        "SELECT kafka_partition, \"offset\", reason, topic, key, value, \
         to_base64(from_base64(value_base64)) \
         FROM read_json('{}/_quarantine/*.jsonl') ORDER BY 2",
        folder.path().display()
    );
    assert!(
        duckdb::query(&read).await.is_err(),
        "no file is visible before the commit"
    );
    let committed = staged.commit(None).await.unwrap();
    assert_eq!((committed.rows, committed.quarantined), (10, 2));
    let expected = texts([
        [
            "0",
            "10",
            "amount >= 0",
            "orders",
            "{\"order_id\":1}",
            "{\"amount\":\"-1\"}",
            "eyJhbW91bnQiOiItMSJ9",
        ],
        [
            "0",
            "11",
            "amount >= 0",
            "orders",
            "{\"order_id\":1}",
            "NULL",
            "/wA=",
        ],
    ]);
    assert_eq!(duckdb::query(&read).await.unwrap(), expected);
    assert_eq!(count(folder.path()).await, 10);
    assert_eq!(table.head().quarantined, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_batch_that_is_discarded_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    fill(&mut table, P0, 0..20_000).await.unwrap();
    table.discard().await;
    drop(stage(&mut table, P0, 0..10).await.unwrap());
    assert_eq!(
        crate::fixture::files(&folder.path().join("_staging"), ".staged").len(),
        0
    );
    commit(&mut table, P0, 0..10).await.unwrap();
    assert_eq!(count(folder.path()).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_another_table_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    commit(&mut open(folder.path(), [P0]).await, P0, 0..10)
        .await
        .unwrap();
    let mut other = options(Tz::UTC);
    other.table.name = "payments".into();
    let error = try_open(folder.path(), other).await.unwrap_err();
    assert!(matches!(error, LakeError::OtherTable { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Config);
}

/// A file server may repeat a link whose answer was lost, report that the name exists, and fail the
/// read after it: then the entry is our own, and the log names its files.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_exists_and_cannot_be_read_keeps_the_files_of_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = open(folder.path(), [P0]).await;
    let staged = stage(&mut table, P0, 0..10).await.unwrap();
    let in_staging = || crate::fixture::files(&folder.path().join("_staging"), ".staged");
    let before = in_staging();
    let seq = table.head().seq + 1;
    let unreadable = folder.path().join(format!("_log/{seq:020}.json"));
    std::fs::create_dir(&unreadable).unwrap();
    let error = staged.commit(None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert_eq!(in_staging(), before);
    let next = commit(&mut table, P0, 10..20).await.unwrap_err();
    assert!(matches!(next, LakeError::Doubtful { .. }), "{next}");
    // The name leads to nothing after all, so the next writer removes the files.
    std::fs::remove_dir(&unreadable).unwrap();
    drop(table);
    commit(&mut open(folder.path(), [P0]).await, P0, 0..10)
        .await
        .unwrap();
    assert!(in_staging().is_empty());
    assert_eq!(count(folder.path()).await, 10);
}
