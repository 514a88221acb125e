//! A server that is restored to an earlier state: its commits disappear, and its xids are given out
//! again.

use std::fs;
use std::path::Path;
use std::process::Command;

use inlet_harness::{Database, Postgres};

use super::script::{NONE, Poller, Session, Settings, TABLE, polled_on, settings};

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

/// Copies the data of a server. The server restarts with the same data.
async fn back_up(server: &mut Postgres) {
    server.stop().await.unwrap();
    let folder = server.socket_folder();
    copy(&folder.join("data"), &folder.join("backup"));
    server.restart().await.unwrap();
}

/// Brings a server back to its backup: its later commits disappear.
async fn restore(server: &mut Postgres) {
    server.stop().await.unwrap();
    let folder = server.socket_folder();
    fs::remove_dir_all(folder.join("data")).unwrap();
    copy(&folder.join("backup"), &folder.join("data"));
    server.restart().await.unwrap();
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
    back_up(&mut server).await;
    poller.revive().await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (3)").await;
    let lost: i64 = w.value(&format!("{XID} 3")).await;
    w.run("INSERT INTO t VALUES (4)").await;
    assert_eq!(poller.settle().await, [3, 4]);
    w.end().await;
    restore(&mut server).await;

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

/// A server without a background process that takes xids, with a table of 300 rows, and how it is
/// polled in chunks of 100 rows.
async fn three_chunks() -> (Postgres, Database, Settings) {
    let server = Postgres::start_with(&[("autovacuum", "off")])
        .await
        .unwrap();
    let database = server.database().await.unwrap();
    database.sql(TABLE).await.unwrap();
    let rows = "INSERT INTO t SELECT generate_series(1, 300)";
    database.sql(rows).await.unwrap();
    let settings = settings(&database, &["t"]).await;
    (server, database, settings)
}

#[tokio::test]
async fn a_restore_below_the_start_of_a_load_restarts_the_load() {
    // A load in the middle of its chunks, and one whose chunks are all read.
    for chunk_rows in [100, 1000] {
        let (mut server, database, mut settings) = three_chunks().await;
        settings.poll.chunk_rows = chunk_rows;
        back_up(&mut server).await;
        let mut w = Session::of(&database).await;
        for _ in 0..20 {
            w.run("SELECT pg_current_xact_id()").await;
        }
        let mut poller = Poller::new(settings).await;
        assert!(poller.cycle().await.contains(&50));
        assert!(!poller.is_tailing());
        w.end().await;
        restore(&mut server).await;

        let mut w = Session::of(&database).await;
        w.run("UPDATE t SET ver = 1 WHERE id = 50").await;
        poller.revive().await;
        poller.load().await;
        let updated = poller.published().iter().filter(|row| row.id == 50);
        assert_eq!(
            updated.map(|row| row.ver).max(),
            Some(1),
            "chunks of {chunk_rows} rows"
        );
        poller.restart().await;
        assert_eq!(poller.sweep().await, NONE);
    }
}

#[tokio::test]
async fn a_restore_above_the_start_of_a_load_restarts_it_when_a_chunk_saw_more() {
    let (mut server, database, settings) = three_chunks().await;
    back_up(&mut server).await;
    let mut poller = Poller::new(settings).await;
    let mut w = Session::of(&database).await;
    w.run("UPDATE t SET ver = 1 WHERE id = 50").await;
    assert!(
        !poller.cycle().await.contains(&50),
        "the joining scan brings rows that are newer than the load"
    );
    w.end().await;
    restore(&mut server).await;

    // The restore has taken the update back, so the row is older than the load again.
    poller.revive().await;
    poller.load().await;
    let restored = poller.published().iter().filter(|row| row.id == 50);
    assert_eq!(restored.map(|row| row.ver).collect::<Vec<_>>(), [0]);
}
