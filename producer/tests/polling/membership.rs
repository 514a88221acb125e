//! Rows that the configuration leaves out, or calls deleted: they are no rows for readers, and one
//! that leaves or comes back is published at once.

use inlet_harness::{Database, shared_database};
use inlet_service::config::{Deletes, Membership};
use inlet_service::error::Explain;

use super::deletes::{changes, existing};
use super::script::{NONE, Poller, Session, TABLE, settings};

fn only(sql: &str) -> Membership {
    Membership {
        only: Some(sql.to_owned()),
        deleted_when: None,
    }
}

fn deleted_when(sql: &str) -> Membership {
    Membership {
        only: None,
        deleted_when: Some(sql.to_owned()),
    }
}

/// The table of most scripts with these rows, and a poller that has loaded those of a membership.
async fn polled(rows: &str, membership: Membership) -> (Database, Session, Poller) {
    let database = shared_database().await;
    let sql = format!("{TABLE}; {rows}");
    database.sql(&sql).await.unwrap();
    let mut settings = settings(&database, &["t"]).await;
    settings.config.tables[0].membership = membership;
    let poller = Poller::tailing(settings).await;
    let session = Session::of(&database).await;
    (database, session, poller)
}

/// The changes so far: `1` is a row, `-1` its delete.
fn published(poller: &Poller) -> Vec<i64> {
    let id = |key: &str| key["{\"id\":".len()..key.len() - 1].parse::<i64>().unwrap();
    let changes = changes(&poller.store).into_iter();
    changes
        .map(|(_, key, deleted)| if deleted { -id(&key) } else { id(&key) })
        .collect()
}

#[tokio::test]
async fn only_rows_that_belong_are_loaded_and_one_that_leaves_is_deleted_by_the_next_poll() {
    let rows = "INSERT INTO t SELECT i, i FROM generate_series(1, 250) i";
    let (_database, mut session, mut poller) = polled(rows, only("ver <= 2")).await;
    assert_eq!(published(&poller), [1, 2]);
    session
        .run("UPDATE t SET ver = ver + 1, updated_at = now() WHERE id IN (1, 2, 100)")
        .await;
    poller.cycle().await;
    assert_eq!(published(&poller)[2..], [1, -2]);
    session
        .run("UPDATE t SET ver = 0, updated_at = now() WHERE id IN (2, 100)")
        .await;
    poller.cycle().await;
    let mut back = published(&poller)[4..].to_vec();
    back.sort_unstable();
    assert_eq!(back, [2, 100]);
    poller.compare().await;
    poller.restart().await;
    poller.compare().await;
    assert_eq!(poller.cycle().await, NONE);
    assert_eq!(published(&poller).len(), 6, "and nothing else");
}

#[tokio::test]
async fn a_row_that_leaves_without_moving_its_cursor_is_found_by_the_census() {
    for key in ["bigint", "text"] {
        let database = shared_database().await;
        // The poller of the scripts reads two integers in front.
        let columns = format!("pad bigint, ver integer NOT NULL DEFAULT 0, id {key}");
        let table = TABLE.replace("id bigint", &columns).replace(
            " PRIMARY KEY, ver integer NOT NULL DEFAULT 0",
            " PRIMARY KEY",
        );
        database.sql(&table).await.unwrap();
        database
            .sql("INSERT INTO t (id) VALUES ('1'), ('2'), ('3')")
            .await
            .unwrap();
        let mut settings = settings(&database, &["t"]).await;
        settings.config.tables[0].membership = deleted_when("t.ver > 0 /* gone */ -- really");
        let mut poller = Poller::tailing(settings).await;
        // The stamp is older than what a poll looks at.
        database
            .sql("UPDATE t SET ver = 1, updated_at = now() - interval '1 day' WHERE id = '2'")
            .await
            .unwrap();
        poller.compare().await;
        assert_eq!(existing(&poller.store)["t"].len(), 2, "{key}");
        poller.sweep_next();
        poller.compare().await;
        let deletes = changes(&poller.store);
        let deletes = deletes.iter().filter(|(_, _, deleted)| *deleted).count();
        assert_eq!(deletes, 1, "{key}: once");
    }
}

#[tokio::test]
async fn a_null_condition_neither_takes_a_row_in_nor_deletes_it() {
    let rows = "ALTER TABLE t ADD flag boolean; INSERT INTO t (id, flag) VALUES (1, NULL), (2, \
                true), (3, false)";
    let (_database, _session, poller) = polled(rows, only("flag")).await;
    assert_eq!(published(&poller), [2]);
    let (_database, _session, poller) = polled(rows, deleted_when("flag")).await;
    assert_eq!(published(&poller), [1, 3]);
}

#[tokio::test]
async fn another_condition_brings_the_rows_that_are_new_and_deletes_those_that_left() {
    let rows = "INSERT INTO t SELECT i, i FROM generate_series(1, 6) i";
    let (_database, _session, mut poller) = polled(rows, only("ver <= 3")).await;
    poller.settings().config.tables[0].membership = only("ver >= 3");
    poller.forget().await.unwrap();
    poller.load().await;
    poller.compare().await;
    let ids =
        |ids: &[i64]| -> Vec<String> { ids.iter().map(|id| format!("{{\"id\":{id}}}")).collect() };
    assert_eq!(existing(&poller.store)["t"], ids(&[3, 4, 5, 6]));
    poller.settings().config.tables[0].membership = Membership::default();
    poller.forget().await.unwrap();
    poller.load().await;
    assert_eq!(existing(&poller.store)["t"], ids(&[1, 2, 3, 4, 5, 6]));
}

#[tokio::test]
async fn a_soft_delete_of_a_table_without_a_census_is_published_by_the_poll() {
    let database = shared_database().await;
    database
        .sql(&format!("{TABLE}; INSERT INTO t VALUES (1), (2)"))
        .await
        .unwrap();
    let mut settings = settings(&database, &["t"]).await;
    settings.config.tables[0].membership = deleted_when("ver > 0");
    settings.config.tables[0].deletes = Deletes::Ignored;
    let mut poller = Poller::tailing(settings).await;
    database
        .sql("UPDATE t SET ver = 1, updated_at = now() WHERE id = 2")
        .await
        .unwrap();
    poller.cycle().await;
    assert_eq!(published(&poller), [1, 2, -2]);
}

#[tokio::test]
async fn a_condition_that_is_none_of_the_row_alone_is_refused() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    database
        .sql("CREATE FUNCTION dice() RETURNS integer LANGUAGE sql VOLATILE AS 'SELECT 1'")
        .await
        .unwrap();
    let mut settings = settings(&database, &["t"]).await;
    for (condition, words) in [
        ("updated_at > now()", "`now`"),
        ("updated_at > 'today'", "`'today'`"),
        ("id IN (SELECT id FROM t)", "`select`"),
        ("ver < dice()", "the volatile function `dice`"),
        ("random() < 0.5", "the volatile function `random`"),
        ("true) OR (true", "no condition on its rows"),
        ("true; DROP TABLE t", "no condition on its rows"),
        ("vers = 1", "no condition on its rows"),
        ("ver", "no condition on its rows"),
        ("ver = $1", "no condition on its rows"),
    ] {
        settings.config.tables[0].membership = only(condition);
        let refused = Poller::try_new(settings.clone()).await.err();
        let refused = refused.unwrap_or_else(|| panic!("{condition} is accepted"));
        assert_eq!(refused.kind(), inlet_service::error::Kind::Config);
        let message = inlet_service::error::report(&refused);
        assert!(message.contains(words), "{condition}: {message}");
    }
}
