//! A pooler between us and the server: taken where it keeps our session for us, refused with its
//! name where it does not.

use inlet_harness::{Pooler, shared_postgres};
use inlet_postgres::Error;
use inlet_producer::source::error::PollError;
use inlet_service::config::Config;
use inlet_service::error::{Explain, Kind, report};

use super::script::{NONE, Poller, Session, Settings, TABLE, settings};

async fn through(mode: &str) -> (Pooler, Session, Settings) {
    let server = shared_postgres().await;
    let database = server.database().await.unwrap();
    database.sql(TABLE).await.unwrap();
    let pooler = Pooler::start(server, mode).await.unwrap();
    let mut settings = settings(&database, &["t"]).await;
    let url = pooler.named(database.name()).url().to_owned();
    let config = Config::parse(&format!("postgres: {{ url: \"{url}\" }}\ntables: {{ t: }}"));
    settings.config = config.unwrap();
    (pooler, Session::of(&database).await, settings)
}

#[tokio::test]
async fn a_pooler_in_session_mode_is_as_good_as_the_server() {
    let (_pooler, mut w, settings) = through("session").await;
    let mut poller = Poller::tailing(settings).await;
    w.run("INSERT INTO t VALUES (1)").await;
    assert_eq!(poller.cycle().await, [1]);
    poller.restart().await;
    w.run("BEGIN; INSERT INTO t VALUES (2); COMMIT").await;
    assert_eq!(poller.cycle().await, [2]);
    assert_eq!(poller.sweep().await, NONE);
}

#[tokio::test]
async fn a_pooler_that_shares_sessions_is_refused_with_what_to_do() {
    for mode in ["transaction", "statement"] {
        let (_pooler, _, settings) = through(mode).await;
        // The second time it has idle sessions of ours to hand out, with our prepared statements in
        // them.
        for _ in 0..2 {
            let error = Poller::try_new(settings.clone())
                .await
                .err()
                .expect("a pooler is refused");
            assert_eq!(error.kind(), Kind::Config, "{mode}: {}", report(&error));
            assert!(
                report(&error).contains("pool_mode = session"),
                "{mode}: {}",
                report(&error)
            );
            assert!(
                mode == "statement" || matches!(error, PollError::Postgres(Error::Pooled { .. })),
                "{}",
                report(&error)
            );
        }
    }
}
