//! The 32 bits of an xid run full: half of them at 2^31, where ages change their sign, and all at
//! 2^32, where a row's `xmin` starts again at 0.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use inlet_harness::{Database, Postgres};

use super::script::{Emitted, NONE, Poller, Session, TABLE, polled_on, settings};

/// xids whose states share a file of `pg_xact`: 2 bits each, 32 pages of 8 KiB.
const XIDS_PER_SEGMENT: u64 = 4 * 8192 * 32;
const SEGMENT_BYTES: usize = 8192 * 32;

/// Makes `next` the next xid of a server, as if all before it had been used. It may lie at most
/// 2^31 ahead.
async fn advance_to(server: &mut Postgres, next: u64) {
    server
        .sql("UPDATE pg_database SET datallowconn = true")
        .await
        .unwrap();
    let mut session = Session(server.connect("postgres").await.unwrap());
    let databases: String = session
        .value("SELECT string_agg(datname, ' ') FROM pg_database")
        .await;
    let bin: String = session
        .value("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
        .await;
    session.end().await;
    for database in databases.split(' ') {
        server.named(database).sql("VACUUM (FREEZE)").await.unwrap();
    }
    server.stop().await.unwrap();
    let data = server.socket_folder().join("data");
    let owner = fs::metadata(&data).unwrap();
    let segment = data.join(format!("pg_xact/{:04X}", next / XIDS_PER_SEGMENT));
    if !segment.exists() {
        fs::write(&segment, vec![0; SEGMENT_BYTES]).unwrap();
        chown(&segment, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let mut reset = Command::new(format!("{bin}/pg_resetwal"));
    reset
        .args(["-x", &next.to_string(), "-D"])
        .arg(&data)
        .current_dir("/")
        .uid(owner.uid())
        .gid(owner.gid());
    let output = reset.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    server.restart().await.unwrap();
}

async fn next_xid(session: &mut Session) -> u64 {
    session
        .value::<i64>("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        .await as u64
}

/// Writers over the edge: each row of `ids` in a transaction of its own, and beside them
/// transactions that begin before it and end after it.
async fn cross(
    database: &Database,
    poller: &mut Poller,
    edge: u64,
    ids: std::ops::Range<i64>,
) -> Vec<i64> {
    let [mut w1, mut w2, mut w3, w4] = Session::some(database).await;
    assert!(next_xid(&mut w1).await < edge);
    w1.run(&format!("BEGIN; INSERT INTO t VALUES ({})", ids.end))
        .await;
    w2.run("BEGIN; SELECT 1").await;
    w3.run(&format!(
        "BEGIN; INSERT INTO t VALUES ({}); PREPARE TRANSACTION 'edge'",
        ids.end + 2
    ))
    .await;
    let message: &'static str = format!("CALL fill({}, {})", ids.start, ids.end - 1).leak();
    let call = w4.send(message);
    let mut found = Vec::new();
    while !call.is_finished() {
        found.extend(poller.cycle().await);
    }
    call.await.unwrap();
    assert!(next_xid(&mut w3).await > edge);
    poller.restart().await;
    w1.run("COMMIT").await;
    found.extend(poller.cycle().await);
    w2.run(&format!(
        "SAVEPOINT s; INSERT INTO t VALUES ({}); COMMIT",
        ids.end + 1
    ))
    .await;
    found.extend(poller.cycle().await);
    w3.run("COMMIT PREPARED 'edge'").await;
    w3.run("UPDATE t SET ver = ver + 1, updated_at = now() WHERE id = 1")
        .await;
    found.extend(poller.cycle().await);
    found.sort_unstable();
    found
}

#[tokio::test]
async fn every_row_arrives_once_where_the_xids_cross_2_31_and_2_32() {
    let mut server = Postgres::start_with(&[("synchronous_commit", "off"), ("autovacuum", "off")])
        .await
        .unwrap();
    let (database, mut poller) = polled_on(&server, TABLE).await;
    let mut w = Session::of(&database).await;
    w.run(
        "CREATE PROCEDURE fill(first bigint, last bigint) LANGUAGE plpgsql AS $$
         BEGIN FOR id IN first..last LOOP INSERT INTO t VALUES (id); COMMIT; END LOOP; END $$",
    )
    .await;
    w.run("CALL fill(1, 40)").await;
    let old: i64 = w.value("SELECT max(xmin::text::bigint) FROM t").await;
    w.run("UPDATE t SET updated_at = now() - interval '1 day' WHERE id > 20")
        .await;
    assert_eq!(poller.sweep().await, (1..=40).collect::<Vec<_>>());
    let expected = |ids: std::ops::Range<i64>| {
        std::iter::once(1)
            .chain(ids.start..ids.end + 3)
            .collect::<Vec<_>>()
    };
    for (edge, ids) in [(1 << 31, 100..400), (1 << 32, 1000..1300)] {
        advance_to(&mut server, edge - (1 << 30)).await;
        poller.restart().await;
        // Ages tell two xids apart that are less than 2^31 away from each other: no sweep may wait
        // for longer.
        assert_eq!(poller.sweep().await, NONE, "halfway to {edge}");
        poller.heartbeat().await;
        advance_to(&mut server, edge - 100).await;
        poller.restart().await;
        assert_eq!(
            cross(&database, &mut poller, edge, ids.clone()).await,
            expected(ids),
            "over {edge}"
        );
        assert_eq!(poller.sweep().await, NONE, "over {edge}");
        poller.heartbeat().await;
    }
    aliases(&database, &mut poller, (1 << 32) + old as u64).await;
}

/// After the wrap the frozen rows of the first epoch look as if they had been written just now:
/// they may come again through a sweep, not otherwise, and they keep no other row from coming.
async fn aliases(database: &Database, poller: &mut Poller, newest_alias: u64) {
    let mut w = Session::of(database).await;
    let next = next_xid(&mut w).await;
    w.run(&format!(
        "CALL fill(2000, {})",
        2000 + newest_alias.saturating_sub(next) + 100
    ))
    .await;
    assert!(next_xid(&mut w).await > newest_alias);
    let filled: i64 = w.value("SELECT count(*) FROM t WHERE id >= 2000").await;
    let found = poller.cycle().await;
    assert_eq!(
        (found.len() as i64, found.iter().all(|id| *id >= 2000)),
        (filled, true),
        "{found:?}"
    );
    let again = poller.sweep().await;
    assert!(again.iter().all(|id| (1..=40).contains(id)), "{again:?}");
    assert_eq!(poller.sweep().await, NONE);
    let of_table = versions(database).await;
    let published: BTreeSet<(i64, i32)> = poller
        .published()
        .iter()
        .map(|emitted: &Emitted| (emitted.id, emitted.ver))
        .collect();
    assert!(
        of_table.is_subset(&published),
        "lost: {:?}",
        of_table.difference(&published)
    );
    let mut fresh = Poller::tailing(settings(database, &["t"]).await).await;
    let loaded: Vec<(i64, i32)> = fresh
        .published()
        .iter()
        .map(|emitted| (emitted.id, emitted.ver))
        .collect();
    assert_eq!(
        (loaded.len(), loaded.into_iter().collect::<BTreeSet<_>>()),
        (of_table.len(), of_table),
        "a load finds each row once"
    );
}

async fn versions(database: &Database) -> BTreeSet<(i64, i32)> {
    let rows = database.rows("SELECT id, ver FROM t").await.unwrap();
    rows.iter()
        .map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap()))
        .collect()
}
