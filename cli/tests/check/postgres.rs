use inlet_harness::{PASSWORD, Pooler, Port, Postgres, eventually, shared_postgres};
use sqlx::{Executor, PgConnection};

use crate::case::{Case, PATIENCE, port};

const SERVER: &str = "127.0.0.1:5432";

#[tokio::test]
async fn a_wrong_password() {
    let mut case = Case::new().await;
    case.replace(&format!(":{PASSWORD}@"), ":wrong@");
    case.check()
        .await
        .names("a wrong password", "error", SERVER, "`postgres.password`");
}

#[tokio::test]
async fn a_wrong_port() {
    let mut case = Case::new().await;
    let nobody = Port::claim().unwrap();
    let wrong = format!("127.0.0.1:{}", nobody.number());
    case.replace(&port(case.database.url()), &wrong);
    case.show(wrong, "127.0.0.1:5433");
    case.check().await.names(
        "a port without a listener",
        "error",
        "127.0.0.1:5433",
        "check host and port",
    );
}

#[tokio::test]
async fn a_database_that_is_not_there() {
    let mut case = Case::new().await;
    let name = case.database.name().to_owned();
    case.replace(&format!("/{name}\n"), &format!("/{name}x\n"));
    case.check().await.names(
        "a misspelt database",
        "error",
        SERVER,
        "check the database's name",
    );
}

#[tokio::test]
async fn encryption_that_the_server_does_not_have() {
    let mut case = Case::new().await;
    case.replace("\n  table", "?sslmode=require\n  table");
    case.check().await.names(
        "`sslmode=require`, and a server without TLS",
        "error",
        SERVER,
        "ssl = on",
    );
}

#[tokio::test]
async fn a_pooler_that_shares_sessions() {
    let mut case = Case::new().await;
    let pooler = Pooler::start(shared_postgres().await, "transaction")
        .await
        .unwrap();
    let through = port(pooler.named("postgres").url());
    case.replace(&port(case.database.url()), &through);
    case.show(through, "127.0.0.1:6432");
    case.check().await.names(
        "PgBouncer in transaction mode",
        "error",
        "127.0.0.1:6432",
        "pool_mode = session",
    );
}

#[tokio::test]
async fn a_standby_in_the_place_of_the_primary() {
    let primary = Postgres::start().await.unwrap();
    let standby = primary.standby().await.unwrap();
    let database = primary.database().await.unwrap();
    let table = "CREATE TABLE orders (id int PRIMARY KEY, created_at timestamptz NOT NULL); CREATE \
        INDEX ON orders (created_at)";
    database.sql(table).await.unwrap();
    standby.catch_up_with(&primary).await.unwrap();
    let case = Case::over(standby.named(database.name()));
    case.check().await.names(
        "a hot standby as `postgres.url`",
        "error",
        SERVER,
        "`postgres.read_url`",
    );
}

#[tokio::test]
async fn a_standby_whose_replay_is_paused() {
    let primary = Postgres::start().await.unwrap();
    let standby = primary.standby().await.unwrap();
    standby.pause_replay().await.unwrap();
    let mut case = Case::over(primary.named("postgres"));
    case.show(port(&standby.url("postgres")), "127.0.0.1:5433");
    case.replace(
        "  table: orders\n",
        &format!("  table: orders\n  read_url: {}\n", standby.url("postgres")),
    );
    case.check().await.names(
        "a `read_url` whose replay is paused",
        "error",
        "read_url 127.0.0.1:5433",
        "pg_wal_replay_resume()",
    );
}

#[tokio::test]
async fn another_database_in_the_place_of_the_standby() {
    let mut case = Case::new().await;
    let url = shared_postgres().await.url("postgres");
    case.replace(
        "  table: orders\n",
        &format!("  table: orders\n  read_url: {url}\n"),
    );
    let masks = [
        ("of cluster ", ", the", "73"),
        ("`shop` of cluster ", "", "73"),
    ];
    case.check().await.names_with(
        "a `read_url` of another database",
        "error",
        &format!("read_url {SERVER}"),
        "leave it out",
        &masks,
    );
}

#[tokio::test]
async fn the_primary_in_the_place_of_the_standby() {
    let mut case = Case::new().await;
    let url = case.database.url().to_owned();
    case.replace(
        "  table: orders\n",
        &format!("  table: orders\n  read_url: {url}\n"),
    );
    case.check().await.names(
        "a `read_url` that is the primary itself",
        "error",
        &format!("read_url {SERVER}"),
        "give a hot standby",
    );
}

#[tokio::test]
async fn a_role_that_does_not_see_others() {
    let mut case = Case::new().await;
    let role = case.as_role().await;
    case.database
        .sql(&format!("GRANT SELECT ON orders TO {role}"))
        .await
        .unwrap();
    let checked = case.check().await;
    checked.names(
        "a role without pg_read_all_stats",
        "warning",
        "role reader",
        "GRANT pg_read_all_stats TO \"reader\";",
    );
    assert_eq!(checked.complaints().len(), 1, "{:?}", checked.complaints());
}

#[tokio::test]
async fn a_role_with_a_statement_timeout() {
    let mut case = Case::new().await;
    let role = case.as_role().await;
    case.database
        .sql(&format!(
            "GRANT SELECT ON orders TO {role}; GRANT pg_read_all_stats TO {role}; ALTER ROLE \
                {role} SET statement_timeout = '30s'"
        ))
        .await
        .unwrap();
    let fix = "ALTER ROLE \"reader\" SET statement_timeout = 0;";
    case.check().await.names(
        "`ALTER ROLE .. SET statement_timeout = '30s'`",
        "warning",
        "role reader",
        fix,
    );
}

#[tokio::test]
async fn a_database_that_does_not_track_activities() {
    let case = Case::new().await;
    case.database
        .sql(&format!(
            "ALTER DATABASE {} SET track_activities = off",
            case.database.name()
        ))
        .await
        .unwrap();
    case.check().await.names(
        "`track_activities = off`",
        "warning",
        "database shop",
        "SET track_activities = on;",
    );
}

#[tokio::test]
async fn a_transaction_that_waits_for_its_client() {
    let case = Case::new().await;
    let mut idle = case.database.connect().await.unwrap();
    idle.execute("SET application_name = 'billing'; BEGIN; SELECT 1")
        .await
        .unwrap();
    let masks = [
        ("session ", "", "4711"),
        ("for ", ": role", "12 min"),
        ("terminate_backend(", ")", "4711"),
    ];
    let checked = case.check_with(&["--open-max", "0"], &[]).await;
    checked.names_with(
        "a session idle in a transaction",
        "warning",
        "session 4711",
        "pg_terminate_backend(4711)",
        &masks,
    );
}

#[tokio::test]
async fn a_transaction_that_works_for_long() {
    let case = Case::new().await;
    let mut busy = case.database.connect().await.unwrap();
    let working = tokio::spawn(async move {
        busy.execute("SET application_name = 'report'; BEGIN; SELECT pg_sleep(600)")
            .await
            .map(|_| ())
    });
    let mut other: PgConnection = case.database.connect().await.unwrap();
    eventually(PATIENCE, "the report runs", async || {
        Ok(working_pid(&mut other).await?.is_some())
    })
    .await;
    let masks = [
        ("session ", "", "4712"),
        ("for ", ": role", "12 min"),
        ("cancel_backend(", ")", "4712"),
    ];
    let checked = case.check_with(&["--open-max", "0"], &[]).await;
    checked.names_with(
        "a transaction open for long",
        "warning",
        "session 4712",
        "pg_cancel_backend(4712)",
        &masks,
    );
    let pid = working_pid(&mut other).await.unwrap().unwrap();
    other
        .execute(sqlx::AssertSqlSafe(format!(
            "SELECT pg_terminate_backend({pid})"
        )))
        .await
        .unwrap();
    working.await.unwrap().unwrap_err();
}

async fn working_pid(connection: &mut PgConnection) -> anyhow::Result<Option<i32>> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'report' AND datname = \
        current_database() AND wait_event = 'PgSleep'";
    Ok(sqlx::query_scalar(sql).fetch_optional(connection).await?)
}

#[tokio::test]
async fn a_prepared_transaction_that_stays_open() {
    let case = Case::new().await;
    let gid = format!("forgotten_{}", case.database.name());
    case.database
        .sql(&format!(
            "BEGIN; INSERT INTO orders (amount) VALUES (3); PREPARE TRANSACTION '{gid}'"
        ))
        .await
        .unwrap();
    let masks = [("prepared ", " ago", "3 days")];
    let checked = case.check_with(&["--open-max", "0"], &[]).await;
    let object = "prepared transaction forgotten_shop";
    checked.names_with(
        "a forgotten prepared transaction",
        "warning",
        object,
        "ROLLBACK PREPARED 'forgotten_shop'",
        &masks,
    );
}
