//! Databases in other encodings than UTF-8, where their bytes are no text.

use inlet_harness::{Database, shared_postgres};
use inlet_service::error::{Explain, Kind, report};

use super::script::{NONE, Poller, Session, settings};

async fn database(encoding: &str) -> Database {
    let server = shared_postgres().await;
    let name = format!("in_{}", encoding.to_lowercase());
    let sql = format!(
        "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE \
            template0"
    );
    server.sql(&sql).await.unwrap();
    server.named(&name)
}

#[tokio::test]
async fn a_byte_that_is_no_character_ends_the_poll_with_its_name() {
    let database = database("WIN1252").await;
    let sql = "CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, updated_at \
        timestamptz DEFAULT now(), note text)";
    database.sql(sql).await.unwrap();
    let mut poller = Poller::tailing(settings(&database, &["t"]).await).await;
    let mut w = Session::of(&database).await;
    w.run("INSERT INTO t (id, note) VALUES (1, 'é'), (2, chr(129))")
        .await;
    let error = poller.attempt().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Data, "{}", report(&error));
    assert!(
        report(&error).contains("0x81") && report(&error).contains("chr(129)"),
        "{}",
        report(&error)
    );
    w.run("UPDATE t SET note = 'ü' WHERE note LIKE '%' || chr(129) || '%'")
        .await;
    poller.restart().await;
    assert_eq!(poller.cycle().await, [1, 2]);
}

#[tokio::test]
async fn keys_of_any_bytes_are_loaded_in_chunks() {
    let database = database("SQL_ASCII").await;
    let sql = r"CREATE TABLE t (id bigint, ver integer NOT NULL DEFAULT 0, updated_at timestamptz DEFAULT now(), part text, PRIMARY KEY (part, id));
        INSERT INTO t (id, part) SELECT id, CASE WHEN id % 4 = 0 THEN 'plain' || id ELSE E'\xe9' || id END FROM generate_series(1, 20) id";
    database.sql(sql).await.unwrap();
    let mut settings = settings(&database, &["t"]).await;
    settings.poll.chunk_rows = 2;
    let mut poller = Poller::tailing(settings).await;
    let mut found: Vec<i64> = poller
        .published()
        .iter()
        .map(|emitted| emitted.id)
        .collect();
    found.sort_unstable();
    assert_eq!(found, (1..=20).collect::<Vec<_>>());
    poller.restart().await;
    assert_eq!(poller.sweep().await, NONE);
}
