//! What polls cost a database in which they find no index.

use std::time::Instant;

use inlet_harness::{eventually, shared_database};

use crate::orders::PATIENCE;
use crate::tables::Copy;

/// A scan is repeated after twenty times the time that it took; half of that leaves room for a scan
/// that was faster than the one that is measured here.
const REST: f64 = 10.0;

#[tokio::test]
async fn polls_without_an_index_rest_twenty_times_as_long_as_they_take() {
    let database = shared_database().await;
    let sql = "CREATE TABLE wide (id integer PRIMARY KEY, note text, updated_at timestamptz \
        DEFAULT clock_timestamp()); INSERT INTO wide SELECT i, repeat('x', 200) FROM \
        generate_series(1, 100000) i; ANALYZE wide";
    database.sql(sql).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { wide: }\n").await;
    let text = std::fs::read_to_string(&copy.config).unwrap();
    let fast = text.replace(
        "flush_interval: 100ms",
        "flush_interval: 100ms, poll_interval: 1ms",
    );
    std::fs::write(&copy.config, fast).unwrap();
    let checked = copy.run("check").await.stdout;
    assert!(checked.contains("about 100,000 rows in "), "{checked}");

    let mut services = copy.start(&["run"]);
    copy.await_rows("", 100_000).await;
    services[0].logs("caught up", PATIENCE).await;
    // The least time that a reading of the whole table takes now.
    let mut shortest = f64::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        copy.database
            .rows("SELECT count(*) FROM wide WHERE note = 'y'")
            .await
            .unwrap();
        shortest = shortest.min(started.elapsed().as_secs_f64());
    }
    let scans = async || -> anyhow::Result<f64> {
        let sql = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'wide'";
        Ok(copy.database.rows(sql).await?.concat()[0].parse()?)
    };
    let (before, started) = (scans().await.unwrap(), Instant::now());
    // Each row of another transaction makes the next poll due.
    let mut id = 200_000;
    while started.elapsed().as_secs_f64() < 40.0 * shortest.max(0.05) {
        id += 1;
        let insert = format!("INSERT INTO wide VALUES ({id})");
        copy.database.sql(&insert).await.unwrap();
    }
    let elapsed = started.elapsed().as_secs_f64();
    services[0].terminate().unwrap();
    services[0].wait_exit(PATIENCE).await.unwrap();
    // A session's counts are those of the server once it has ended.
    let counted = eventually(PATIENCE, "the scans are counted", async || {
        let counted = scans().await? - before;
        Ok((counted > 0.0).then_some(counted))
    })
    .await;
    let most = elapsed / (REST * shortest) + 8.0;
    assert!(
        counted <= most,
        "{counted} scans in {elapsed} s, of {shortest} s each"
    );
}
