//! Roles that may not see everything: a way around that loses nothing, or an error; never silence.

use std::fmt;
use std::sync::{Mutex, Once};
use std::thread::{self, ThreadId};

use inlet_harness::{Database, PASSWORD, shared_database};
use inlet_postgres::CatalogError;
use inlet_postgres::Error;
use inlet_producer::source::error::PollError;
use inlet_service::error::{Explain, Kind};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::script::{BEYOND_THE_GAP, NONE, Poller, Session, Settings, TABLE, polled, settings};

/// The warnings of all tests, by the thread on which each runs.
static WARNINGS: Mutex<Vec<(ThreadId, String)>> = Mutex::new(Vec::new());

/// Collects warnings from here on. A subscriber of one thread alone would miss those that another
/// thread was the first to pass by.
fn listen() {
    static LISTENER: Once = Once::new();
    LISTENER.call_once(|| tracing::subscriber::set_global_default(Listener).unwrap());
}

/// True when this thread was warned so.
fn warned(text: &str) -> bool {
    let me = thread::current().id();
    WARNINGS
        .lock()
        .unwrap()
        .iter()
        .any(|(of, warning)| *of == me && warning.contains(text))
}

struct Listener;

struct Message;

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            WARNINGS
                .lock()
                .unwrap()
                .push((thread::current().id(), format!("{value:?}")));
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A role that may read `t` and nothing else, named like its database.
async fn as_reader(database: &Database) -> Settings {
    let role = database.name();
    database
        .sql(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON t TO {role}"
        ))
        .await
        .unwrap();
    let mut settings = settings(database, &["t"]).await;
    settings.postgres().primary.user = role.to_owned();
    settings
}

#[tokio::test]
async fn without_the_right_to_see_times_late_commits_are_found_by_virtual_xids() {
    listen();
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let mut poller = Poller::tailing(as_reader(&database).await).await;
    assert!(warned(&format!(
        "run: GRANT pg_read_all_stats TO \"{}\"",
        database.name()
    )));
    let [mut w1, mut w2, mut w3] = Session::some(&database).await;
    w1.run("BEGIN; INSERT INTO t VALUES (1)").await;
    w2.run("BEGIN; SELECT 1").await;
    w3.run("INSERT INTO t VALUES (3)").await;
    assert_eq!(poller.cycle().await, [3]);
    assert!(warned("polling by virtual xids"));
    poller.restart().await;
    w3.run(BEYOND_THE_GAP).await;
    w1.run("COMMIT").await;
    w2.run("INSERT INTO t VALUES (2)").await;
    assert_eq!(poller.cycle().await, [1]);
    w2.run("COMMIT").await;
    assert_eq!(poller.cycle().await, [2]);
    assert_eq!((poller.sweep().await, poller.late), (vec![], 0));
}

#[tokio::test]
async fn a_session_that_does_not_report_its_activity_is_followed_by_its_virtual_xid() {
    listen();
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, mut w2] = Session::some(&database).await;
    w1.run("SET track_activities = off").await;
    w1.run("BEGIN; INSERT INTO t VALUES (1)").await;
    w2.run("INSERT INTO t VALUES (2)").await;
    assert_eq!(poller.cycle().await, [2]);
    assert!(warned("polling by virtual xids"));
    w2.run(BEYOND_THE_GAP).await;
    w1.run("COMMIT").await;
    assert_eq!(poller.cycle().await, [1]);
    assert_eq!((poller.sweep().await, poller.late), (vec![], 0));
}

#[tokio::test]
async fn a_session_that_ceases_to_report_in_the_middle_of_a_transaction_is_not_forgotten() {
    let (database, mut poller) = polled(TABLE).await;
    let [mut w1, mut w2] = Session::some(&database).await;
    w1.run("BEGIN; INSERT INTO t VALUES (1)").await;
    w2.run("SET track_activities = off; BEGIN; INSERT INTO t VALUES (2)")
        .await;
    assert_eq!(poller.cycle().await, NONE);
    w1.run(BEYOND_THE_GAP).await;
    w1.run("SET track_activities = off").await;
    w2.run("SET track_activities = on").await;
    w2.run("SELECT 1").await;
    Session::of(&database)
        .await
        .run("INSERT INTO t VALUES (3)")
        .await;
    assert_eq!(poller.cycle().await, [3]);
    w1.run(BEYOND_THE_GAP).await;
    w1.run("COMMIT").await;
    assert_eq!(poller.cycle().await, [1]);
    w2.run("COMMIT").await;
    assert_eq!(poller.cycle().await, [2]);
    assert_eq!((poller.sweep().await, poller.late), (vec![], 0));
}

#[tokio::test]
async fn row_security_that_would_hide_rows_is_an_error_when_it_is_switched_on() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let mut poller = Poller::tailing(as_reader(&database).await).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    w.run("ALTER TABLE t ENABLE ROW LEVEL SECURITY").await;
    w.run("INSERT INTO t VALUES (2)").await;
    assert!(matches!(
        poller.attempt().await,
        Err(PollError::Postgres(Error::Altered(_)))
    ));
    let error = poller.try_restart().await.unwrap_err();
    assert!(
        matches!(
            error,
            PollError::Postgres(Error::Catalog(CatalogError::RowSecurity { .. }))
        ),
        "{error:?}"
    );
    assert_eq!(error.kind(), Kind::Config);
    w.run("ALTER TABLE t DISABLE ROW LEVEL SECURITY").await;
    poller.restart().await;
    assert_eq!(poller.cycle().await, [2]);
}

#[tokio::test]
async fn a_role_that_loses_its_exemption_from_row_security_is_reported() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let settings = as_reader(&database).await;
    let mut w = Session::of(&database).await;
    w.run(&format!(
        "ALTER ROLE {} BYPASSRLS; ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        database.name()
    ))
    .await;
    let mut poller = Poller::tailing(settings).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    w.run(&format!("ALTER ROLE {} NOBYPASSRLS", database.name()))
        .await;
    // Until something makes the server plan the scan again, its plan still reads every row.
    w.run("INSERT INTO t VALUES (2); ANALYZE t").await;
    let error = poller.attempt().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error:?}");
    w.run(&format!("ALTER ROLE {} BYPASSRLS", database.name()))
        .await;
    poller.restart().await;
    assert_eq!(poller.cycle().await, [2]);
}

#[tokio::test]
async fn a_right_that_is_revoked_is_an_error() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let mut poller = Poller::tailing(as_reader(&database).await).await;
    let mut w = Session::of(&database).await;
    w.run(&format!(
        "INSERT INTO t VALUES (1); REVOKE SELECT ON t FROM {}",
        database.name()
    ))
    .await;
    let error = poller.attempt().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config, "{error:?}");
    w.run(&format!("GRANT SELECT ON t TO {}", database.name()))
        .await;
    poller.restart().await;
    assert_eq!(poller.cycle().await, [1]);
}
