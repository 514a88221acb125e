//! Rows read from a hot standby, activity from its primary.

use inlet_harness::{Database, Postgres};
use inlet_service::error::{Explain, Kind};

use super::script::{BEYOND_THE_GAP, NONE, Poller, Session, TABLE, settings};

struct Pair {
    primary: Postgres,
    standby: Postgres,
}

impl Pair {
    async fn start() -> Self {
        let primary = Postgres::start().await.unwrap();
        let standby = primary.standby().await.unwrap();
        Self { primary, standby }
    }

    async fn polled(&self) -> (Database, Poller) {
        let database = self.primary.database().await.unwrap();
        database.sql(TABLE).await.unwrap();
        self.standby.catch_up_with(&self.primary).await.unwrap();
        let mut settings = settings(&database, &["t"]).await;
        self.standby.catch_up_with(&self.primary).await.unwrap();
        let mut standby = settings.postgres().primary.clone();
        standby.port = self.standby.port();
        settings.postgres().read = Some(standby);
        (database, Poller::tailing(settings).await)
    }
}

#[tokio::test]
async fn on_a_standby_the_middle_of_three_transactions_is_found_when_it_commits() {
    let pair = Pair::start().await;
    let (database, mut poller) = pair.polled().await;
    let [mut w1, mut w2, mut w3, mut w4] = Session::some(&database).await;
    w1.run("BEGIN; INSERT INTO t VALUES (1)").await;
    w2.run("BEGIN; INSERT INTO t VALUES (2)").await;
    w3.run("BEGIN; INSERT INTO t VALUES (3)").await;
    w4.run("INSERT INTO t VALUES (4)").await;
    assert_eq!(poller.cycle().await, [4]);
    w4.run(BEYOND_THE_GAP).await;
    w2.run("COMMIT").await;
    assert_eq!(poller.cycle().await, [2]);
    poller.restart().await;
    w1.run("COMMIT").await;
    assert_eq!(poller.cycle().await, [1]);
    w3.run("SAVEPOINT s; INSERT INTO t VALUES (31); RELEASE s")
        .await;
    w3.run("COMMIT").await;
    assert_eq!(poller.cycle().await, [3, 31]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_paused_standby_publishes_nothing_and_then_all_once() {
    let pair = Pair::start().await;
    let (database, mut poller) = pair.polled().await;
    let [mut w1, mut judge] = Session::some(&database).await;
    pair.standby.pause_replay().await.unwrap();
    w1.run("INSERT INTO t VALUES (1), (2)").await;
    let store = poller.store.clone();
    let before = store.batches().len();
    let replay = async {
        judge
            .until(
                "EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT \
                    pg_current_wal_insert_lsn()%' AND pid <> pg_backend_pid())",
            )
            .await;
        w1.run("INSERT INTO t VALUES (3)").await;
        assert_eq!(store.batches().len(), before);
        pair.standby.resume_replay().await.unwrap();
    };
    let (mut found, ()) = tokio::join!(poller.cycle(), replay);
    found.extend(poller.cycle().await);
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_standby_that_is_promoted_is_named_and_nothing_more_is_read_from_it() {
    let pair = Pair::start().await;
    let (database, mut poller) = pair.polled().await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    pair.standby.promote().await.unwrap();
    w.run("INSERT INTO t VALUES (2)").await;
    let error = poller.attempt().await.unwrap_err();
    assert!(error.to_string().contains("is no standby"), "{error}");
    assert_eq!(error.kind(), Kind::Unavailable);
    let error = poller.try_restart().await.unwrap_err();
    assert!(error.to_string().contains("is no standby"), "{error}");
    // The user reads from the primary instead.
    poller.read_from_primary();
    poller.restart().await;
    assert_eq!(poller.cycle().await, [2]);
    assert_eq!(poller.sweep().await, NONE);
}
