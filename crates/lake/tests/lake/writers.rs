//! Several writers of one folder.

use chrono_tz::Tz;
use inlet_lake::LakeError;
use inlet_model::{KafkaPartition, Offset, ProgressDelta};

use crate::fixture::{P0, P1, commit, files, open, options, positions, stage, texts, try_open};

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_different_kafka_partitions_interleave_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let write = |partition: KafkaPartition| {
        let path = folder.path().to_owned();
        tokio::spawn(async move {
            let mut table = open(&path, [partition]).await;
            for number in 0..100 {
                commit(&mut table, partition, number * 3..number * 3 + 3)
                    .await
                    .unwrap();
            }
        })
    };
    let (one, two) = (write(P0), write(P1));
    one.await.unwrap();
    two.await.unwrap();
    assert_eq!(
        positions(folder.path()).await,
        texts([
            ["0", "300", "300", "0", "299"],
            ["1", "300", "300", "0", "299"]
        ])
    );
    let head = try_open(folder.path(), options(Tz::UTC))
        .await
        .unwrap()
        .head();
    assert_eq!((head.seq, head.rows), (202, 600));
    assert_eq!(
        files(&folder.path().join("_log"), ".json").len(),
        203,
        "every entry and the checkpoint"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_is_fenced_and_what_it_staged_stays_invisible() {
    let folder = tempfile::tempdir().unwrap();
    let mut zombie = open(folder.path(), [P0, P1]).await;
    commit(&mut zombie, P0, 0..10).await.unwrap();
    let late = stage(&mut zombie, P0, 10..20).await.unwrap();
    let other_partition = stage(&mut zombie, P1, 0..10).await.unwrap();

    let mut owner = try_open(folder.path(), options(Tz::UTC)).await.unwrap();
    let taken = owner.take_over([P0]).await.unwrap();
    assert_eq!(
        (taken[&P0].next, taken[&P0].epoch, taken[&P0].sequence),
        (Some(Offset(10)), 2, 10)
    );
    let error = late.commit(None).await.unwrap_err();
    assert!(
        matches!(
            error,
            LakeError::Fenced {
                partition: P0,
                epoch: 1,
                owner: 2,
                ..
            }
        ),
        "{error}"
    );
    // It may still write the kafka_partition that it owns.
    other_partition.commit(None).await.unwrap();
    commit(&mut owner, P0, 10..15).await.unwrap();
    assert_eq!(
        positions(folder.path()).await,
        texts([["0", "15", "15", "0", "14"], ["1", "10", "10", "0", "9"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_of_a_zombie_is_refused_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut zombie = open(folder.path(), [P0]).await;
    let _owner = open(folder.path(), [P0]).await;
    let progress = ProgressDelta([("poll".to_owned(), Some("1".to_owned()))].into());
    assert!(matches!(
        zombie.commit(Some(progress)).await,
        Err(LakeError::Fenced { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_leaves_a_living_writers_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut alive = open(folder.path(), [P0]).await;
    let staged = stage(&mut alive, P0, 0..10).await.unwrap();
    let _other = open(folder.path(), [P1]).await;
    staged.commit(None).await.unwrap();
    assert_eq!(
        positions(folder.path()).await,
        texts([["0", "10", "10", "0", "9"]])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_partition_without_commits_reports_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = try_open(folder.path(), options(Tz::UTC)).await.unwrap();
    assert_eq!(table.take_over([P0]).await.unwrap()[&P0].next, None);
    table.release();
    assert!(
        matches!(
            commit(&mut table, P0, 0..1).await,
            Err(LakeError::Batch { .. })
        ),
        "released is not ours"
    );
}
