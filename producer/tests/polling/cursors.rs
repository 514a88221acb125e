//! Cursors that do not say when their transaction began: backdated, rounded, of another zone, or
//! not there at all.

use std::time::Duration;

use chrono_tz::Tz;
use inlet_harness::{Database, shared_database};

use super::script::{NEVER, NONE, Poller, Session, TABLE, polled, settings};

/// A cursor that holds what the writer's wall clock shows.
const WALL_CLOCK: &str = "\
CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, updated_at timestamp \
DEFAULT now());
CREATE INDEX ON t (updated_at)";

/// Sets the zone of sessions that set none: the poll reads wall clocks in it.
async fn set_zone(database: &Database, zone: Tz) {
    let name = database.name();
    database
        .sql(&format!("ALTER DATABASE {name} SET timezone = '{zone}'"))
        .await
        .unwrap();
}

async fn wall_clock(zone: Tz, wide_interval: Duration) -> (Database, Poller) {
    let database = shared_database().await;
    database.sql(WALL_CLOCK).await.unwrap();
    set_zone(&database, zone).await;
    let mut settings = settings(&database, &["t"]).await;
    settings.poll.depths.wide_interval = wide_interval;
    (database, Poller::tailing(settings).await)
}

#[tokio::test]
async fn without_an_index_every_poll_finds_whatever_the_cursor_says() {
    let (database, mut poller) = polled(
        "CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, created_at \
            timestamptz)",
    )
    .await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1, 0, now() - interval '1 year'), (2, 0, NULL), (3, 0, now())")
        .await;
    poller.until(&[1, 2, 3]).await;
    w.run("UPDATE t SET ver = 1 WHERE id <= 2").await;
    poller.until(&[1, 2]).await;
    // What is pending is kept when the index is created.
    w.run("CREATE INDEX ON t (created_at); UPDATE t SET ver = 2 WHERE id = 1")
        .await;
    poller.restart().await;
    assert_eq!(poller.sweep().await, [1]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_backdated_row_waits_for_the_sweep_and_is_counted_as_late() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1, 0, now() - interval '1 hour')")
        .await;
    assert_eq!(poller.cycle().await, NONE);
    assert_eq!((poller.sweep().await, poller.late), (vec![1], 1));
    assert_eq!((poller.sweep().await, poller.late), (vec![], 1));
}

#[tokio::test]
async fn a_clock_that_is_minutes_slow_is_allowed_for_by_the_wide_scan() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let mut poller = Poller::tailing({
        let mut settings = settings(&database, &["t"]).await;
        settings.poll.depths.wide_interval = Duration::ZERO;
        settings
    })
    .await;
    let mut w = Session::of(&database).await;
    w.run(
        "INSERT INTO t VALUES (1, 0, now() - interval '4 minutes'), (2, 0, now() - interval '1 \
        hour')",
    )
    .await;
    poller.until(&[1]).await;
    assert_eq!(poller.late, 1);
    assert_eq!((poller.sweep().await, poller.late), (vec![2], 2));
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn the_backdated_row_of_a_transaction_is_not_hidden_by_its_other_rows() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1, 0, now()), (2, 0, now() - interval '1 year'), (3, 0, NULL)")
        .await;
    assert_eq!(poller.cycle().await, [1]);
    poller.restart().await;
    assert_eq!(poller.sweep().await, [2, 3]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn an_update_that_does_not_touch_the_cursor_is_found_by_the_sweep() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1, 0, now() - interval '1 minute')")
        .await;
    assert_eq!(poller.sweep().await, [1]);
    w.run("UPDATE t SET ver = 1").await;
    assert_eq!(poller.cycle().await, NONE);
    assert_eq!(poller.sweep().await, [1]);
    assert_eq!(poller.published().last().unwrap().ver, 1);
}

#[tokio::test]
async fn odd_stamps_come_once_and_hide_no_later_row() {
    let (database, mut poller) = polled(TABLE).await;
    let mut w = Session::of(&database).await;
    w.run(
        "INSERT INTO t VALUES (1, 0, NULL), (2, 0, 'infinity'), (3, 0, '2099-01-01'), (4, 0, \
        '-infinity'), (5, 0, '0044-03-15 BC')",
    )
    .await;
    assert_eq!(poller.cycle().await, [2, 3]);
    w.run("INSERT INTO t VALUES (6)").await;
    assert_eq!(poller.cycle().await, [6]);
    assert_eq!(poller.sweep().await, [1, 4, 5]);
    w.run("INSERT INTO t VALUES (7)").await;
    assert_eq!(poller.cycle().await, [7]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn stamps_that_are_rounded_to_the_second_come_at_once() {
    let sql = "CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, updated_at \
        timestamptz(0) DEFAULT now());
        CREATE INDEX ON t (updated_at)";
    let (database, mut poller) = polled(sql).await;
    let mut w = Session::of(&database).await;
    for id in 1..=12 {
        w.run(&format!(
            "SELECT pg_sleep(0.1); INSERT INTO t VALUES ({id})"
        ))
        .await;
        assert_eq!(poller.cycle().await, [id]);
    }
    assert_eq!(poller.sweep().await, NONE);
    assert_eq!(poller.late, 0);
}

#[tokio::test]
async fn a_day_as_cursor_finds_the_rows_of_today() {
    let sql =
        "CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, changed date \
        DEFAULT now());
        CREATE INDEX ON t (changed)";
    let (database, mut poller) = polled(sql).await;
    let mut w = Session::of(&database).await;
    w.run("SET timezone = 'UTC'").await;
    for id in 1..=3 {
        w.run(&format!("INSERT INTO t VALUES ({id})")).await;
        assert_eq!(poller.cycle().await, [id]);
    }
    w.run("INSERT INTO t VALUES (4, 0, now() - interval '3 days')")
        .await;
    assert_eq!(poller.cycle().await, NONE);
    assert_eq!(poller.sweep().await, [4]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn without_a_cursor_every_cycle_sweeps() {
    let (database, mut poller) =
        polled("CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0)").await;
    let [mut w1, mut w2] = Session::some(&database).await;
    w1.run("BEGIN; INSERT INTO t VALUES (1)").await;
    w2.run("INSERT INTO t VALUES (2)").await;
    poller.until(&[2]).await;
    w1.run("COMMIT").await;
    poller.until(&[1]).await;
    w1.run("UPDATE t SET ver = 1").await;
    poller.until(&[1, 2]).await;
}

#[tokio::test]
async fn wall_clocks_of_any_zone_come_once_through_the_wide_scan() {
    let (database, mut poller) = wall_clock(Tz::UTC, Duration::ZERO).await;
    let mut w = Session::of(&database).await;
    for (id, zone) in [
        (1, "UTC"),
        (2, "Asia/Tokyo"),
        (3, "America/New_York"),
        (4, "Pacific/Kiritimati"),
        (5, "Pacific/Pago_Pago"),
    ] {
        w.run(&format!(
            "SET timezone = '{zone}'; INSERT INTO t VALUES ({id})"
        ))
        .await;
        poller.until(&[id]).await;
    }
    // A clock that was just moved back by an hour.
    w.run("SET timezone = 'UTC'; INSERT INTO t VALUES (6, 0, now() - interval '1 hour')")
        .await;
    poller.until(&[6]).await;
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn wall_clocks_of_the_configured_zone_and_of_zones_ahead_come_at_once() {
    let (database, mut poller) = wall_clock(Tz::America__New_York, NEVER).await;
    let mut w = Session::of(&database).await;
    for (id, zone) in [(1, "America/New_York"), (2, "UTC"), (3, "Asia/Tokyo")] {
        w.run(&format!(
            "SET timezone = '{zone}'; INSERT INTO t VALUES ({id})"
        ))
        .await;
        assert_eq!(poller.cycle().await, [id]);
    }
    w.run("SET timezone = 'America/Los_Angeles'; INSERT INTO t VALUES (4)")
        .await;
    assert_eq!(poller.cycle().await, NONE);
    assert_eq!(poller.sweep().await, [4]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_scan_without_floor_covers_rows_without_stamp_in_every_zone() {
    let database = shared_database().await;
    database.sql(WALL_CLOCK).await.unwrap();
    let mut w = Session::of(&database).await;
    // The start of a transaction that was prepared before the first reading is unknown, so its end
    // makes the poll read every row.
    w.run(&format!(
        "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION '{}'",
        database.name()
    ))
    .await;
    set_zone(&database, Tz::Asia__Tokyo).await;
    let settings = settings(&database, &["t"]).await;
    let mut poller = Poller::tailing(settings).await;
    w.run("INSERT INTO t VALUES (2, 0, NULL), (3, 0, '-infinity')")
        .await;
    assert_eq!(poller.cycle().await, NONE);
    w.run(&format!("COMMIT PREPARED '{}'", database.name()))
        .await;
    assert_eq!(poller.cycle().await, [1, 2, 3]);
    assert_eq!(poller.sweep().await, NONE);
}

/// Two columns that may be the cursor; the poll chooses `updated_at` by itself.
const TWO: &str = "\
CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, updated_at timestamptz \
DEFAULT now(), moved_at timestamptz DEFAULT now());
CREATE INDEX ON t (updated_at); CREATE INDEX ON t (moved_at)";

#[tokio::test]
async fn another_cursor_brings_what_waited_once_and_is_polled_from_then_on() {
    let (database, mut poller) = polled(TWO).await;
    let [mut w1, mut w2] = Session::some(&database).await;
    // An open transaction that is older than everything that is swept.
    w1.run("BEGIN; INSERT INTO t VALUES (1)").await;
    w2.run("INSERT INTO t SELECT i, 0, now() - i * interval '1 day', now() FROM generate_series(2, 9) i")
        .await;
    poller.sweep().await;
    w2.run("INSERT INTO t VALUES (10)").await;
    assert_eq!(poller.cycle().await, [10]);
    w2.run("UPDATE t SET ver = 1, moved_at = now() WHERE id IN (4, 5)")
        .await;
    assert_eq!(poller.cycle().await, NONE, "its cursor has not moved");
    poller.poll_by("moved_at").await;
    assert_eq!(poller.settle().await, [4, 5]);
    w1.run("COMMIT").await;
    assert_eq!(poller.settle().await, [1]);
    w2.run("UPDATE t SET ver = 2, moved_at = now() WHERE id = 7")
        .await;
    assert_eq!(poller.cycle().await, [7]);
    poller.restart().await;
    assert_eq!(poller.sweep().await, NONE);
    // Back again, with a version that only the sweep sees.
    w2.run("UPDATE t SET ver = 3 WHERE id = 8").await;
    poller.poll_by("updated_at").await;
    assert_eq!(poller.settle().await, [8]);
    assert_eq!(poller.sweep().await, NONE);
    let published = poller.published();
    let versions: std::collections::HashSet<_> = published.iter().collect();
    assert_eq!(versions.len(), published.len(), "each version once");
}

#[tokio::test]
async fn a_cursor_that_was_dropped_can_be_replaced_without_a_loss() {
    let (database, mut poller) = polled(TWO).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1), (2), (3)").await;
    assert_eq!(poller.cycle().await, [1, 2, 3]);
    w.run("UPDATE t SET ver = 1, moved_at = '2020-01-01' WHERE id = 2; ALTER TABLE t DROP COLUMN updated_at")
        .await;
    poller.poll_by("moved_at").await;
    let mut found = poller.settle().await;
    found.dedup();
    assert!(found.contains(&2), "{found:?}");
    w.run("UPDATE t SET ver = 2, moved_at = now() WHERE id = 3")
        .await;
    assert_eq!(poller.settle().await, [3]);
    assert_eq!(poller.sweep().await, NONE);
}
