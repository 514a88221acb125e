//! A server that is restored to an earlier state: its commits disappear, and its xids are given out
//! again.

use std::fs;
use std::path::Path;
use std::process::Command;

use inlet_harness::Postgres;

use super::script::{NONE, Session, TABLE, polled_on};

/// Copies a folder with its owners and rights.
fn copy(from: &Path, to: &Path) {
    assert!(
        Command::new("cp")
            .arg("-a")
            .args([from, to])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn after_a_restore_the_next_owners_of_its_xids_are_published_whenever_they_commit() {
    const XID: &str = "SELECT xmin::text::bigint FROM t WHERE id =";
    let mut server = Postgres::start_with(&[("autovacuum", "off")])
        .await
        .unwrap();
    let (database, mut poller) = polled_on(&server, TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1), (2)").await;
    assert_eq!(poller.cycle().await, [1, 2]);
    w.end().await;
    server.stop().await.unwrap();
    let (data, backup) = (
        server.socket_folder().join("data"),
        server.socket_folder().join("backup"),
    );
    copy(&data, &backup);
    server.restart().await.unwrap();
    poller.revive().await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (3)").await;
    let lost: i64 = w.value(&format!("{XID} 3")).await;
    w.run("INSERT INTO t VALUES (4)").await;
    assert_eq!(poller.settle().await, [3, 4]);
    w.end().await;
    server.stop().await.unwrap();
    fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    server.restart().await.unwrap();

    poller.revive().await;
    let [mut w, mut late] = Session::some(&database).await;
    while late
        .value::<i64>("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        .await
        < lost
    {
        late.run("SELECT pg_current_xact_id()").await;
    }
    late.run("BEGIN; INSERT INTO t VALUES (5)").await;
    w.run("INSERT INTO t VALUES (6)").await;
    assert_eq!(
        poller.settle().await,
        [1, 2, 6],
        "the last hour is read again"
    );
    // Another start knows no more than what is durable.
    poller.restart().await;
    assert_eq!(
        late.value::<i64>(&format!("{XID} 5")).await,
        lost,
        "the xid is another transaction's now"
    );
    late.run("COMMIT").await;
    assert_eq!(poller.settle().await, [5]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_promoted_standby_is_polled_on_though_it_lacks_the_last_commits() {
    let mut primary = Postgres::start().await.unwrap();
    let (database, mut poller) = polled_on(&primary, TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    let mut standby = primary.standby().await.unwrap();
    w.run("INSERT INTO t VALUES (2)").await;
    standby.catch_up_with(&primary).await.unwrap();
    standby.stop().await.unwrap();
    w.run("INSERT INTO t VALUES (3)").await;
    assert_eq!(poller.settle().await, [2, 3]);
    primary.kill_9().unwrap();
    standby.restart().await.unwrap();
    standby.promote().await.unwrap();

    poller
        .connect_as(|address| address.port = standby.port())
        .await;
    let mut w = Session::of(&standby.named(database.name())).await;
    w.run("INSERT INTO t VALUES (4)").await;
    let mut found = poller.settle().await;
    found.extend(poller.sweep().await);
    assert_eq!(
        found,
        [1, 2, 4],
        "the last hour is read again; row 3 was lost with the old primary"
    );
    poller.restart().await;
    assert_eq!(poller.sweep().await, NONE);
}
