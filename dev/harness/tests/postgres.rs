//! A PostgreSQL that is killed, restarted and followed.

#![allow(clippy::unwrap_used)] // In helpers, too: a failure ends the test.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use inlet_harness::{Postgres, eventually, shared_database};

const SECONDS: Duration = Duration::from_secs(60);

#[tokio::test]
async fn committed_rows_survive_kill_9() -> Result<()> {
    let mut server = Postgres::start_with(&[("work_mem", "5MB")]).await?;
    let database = server.create_database("Orders \"x\"").await?;
    database
        .sql(
            "CREATE TABLE orders (id int, note text); INSERT INTO orders VALUES (1, 'a,b'), \
        (2, NULL)",
        )
        .await?;
    let port = server.port();
    server.kill_9()?;
    assert!(
        database.connect().await.is_err(),
        "a killed server does not answer"
    );
    server.restart().await?;
    assert_eq!(server.port(), port);
    assert_eq!(
        database.rows("SELECT * FROM orders ORDER BY id").await?,
        [["1", "a,b"], ["2", "NULL"]]
    );
    assert_eq!(
        database
            .rows("SHOW work_mem; SHOW fsync; SHOW max_prepared_transactions")
            .await?,
        [["5MB"], ["on"], ["20"]]
    );
    server.stop().await?;
    server.restart().await?;
    assert_eq!(database.rows("SELECT count(*) FROM orders").await?, [["2"]]);
    Ok(())
}

#[tokio::test]
async fn a_standby_follows_pauses_and_takes_over() -> Result<()> {
    let mut primary = Postgres::start().await?;
    let standby = primary.standby().await?;
    primary
        .sql("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
        .await?;
    standby.catch_up_with(&primary).await?;
    let copy = standby.named("postgres");
    assert_eq!(copy.rows("SELECT id FROM t").await?, [["1"]]);

    standby.pause_replay().await?;
    primary.sql("INSERT INTO t VALUES (2)").await?;
    assert_eq!(copy.rows("SELECT id FROM t").await?, [["1"]]);
    standby.resume_replay().await?;
    eventually(SECONDS, "the standby goes on", async || {
        Ok(copy.rows("SELECT id FROM t WHERE id = 2").await?.len() == 1)
    })
    .await;

    primary.kill_9()?;
    standby.promote().await?;
    copy.sql("INSERT INTO t VALUES (3)").await?;
    assert_eq!(copy.rows("SELECT count(*) FROM t").await?, [["3"]]);
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_of_a_dropped_server() -> Result<()> {
    let mut server = Postgres::start().await?;
    let folder = server.socket_folder().to_owned();
    let pid = std::fs::read_to_string(folder.join("data/postmaster.pid"))?
        .lines()
        .next()
        .map(str::to_owned)
        .unwrap_or_default();
    assert!(Path::new("/proc").join(&pid).exists());
    // A killed server could not clean up.
    server.kill_9()?;
    drop(server);
    assert!(!Path::new("/proc").join(&pid).exists());
    assert!(!folder.exists());
    Ok(())
}

#[tokio::test]
async fn tests_that_share_a_server_have_databases_of_their_own() -> Result<()> {
    let (one, other) = tokio::join!(shared_database(), shared_database());
    assert_ne!(one.name(), other.name());
    one.sql("CREATE TABLE only_here (id int)").await?;
    assert!(other.sql("SELECT * FROM only_here").await.is_err());
    Ok(())
}

// The shared server outlives the test that started it, whichever that was.
#[tokio::test]
async fn the_shared_server_outlives_its_first_test() -> Result<()> {
    std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map(|runtime| runtime.block_on(shared_database()))
    })
    .join()
    .expect("the thread ends")?;
    assert_eq!(shared_database().await.rows("SELECT 1").await?, [["1"]]);
    Ok(())
}

// Without cleaning, the files of an interrupted `initdb` would stay in /dev/shm for ever.
#[tokio::test]
async fn a_start_that_is_given_up_leaves_no_shared_memory() -> Result<()> {
    let before = shared_memory();
    for milliseconds in [100, 400, 700] {
        let given_up =
            tokio::time::timeout(Duration::from_millis(milliseconds), Postgres::start()).await;
        drop(given_up);
    }
    eventually(SECONDS, "shared memory is as before", async || {
        shared_memory().is_subset(&before)
    })
    .await;
    Ok(())
}

fn shared_memory() -> BTreeSet<OsString> {
    let all = std::fs::read_dir("/dev/shm")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    all.filter(|name| name.to_string_lossy().starts_with("PostgreSQL."))
        .collect()
}
