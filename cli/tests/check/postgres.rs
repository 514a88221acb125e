use inlet_harness::{PASSWORD, Pooler, Port, Postgres, USER, eventually, shared_postgres};
use sqlx::{Executor, PgConnection};

use crate::case::{Case, PATIENCE, port};

const SERVER: &str = "127.0.0.1:5432";

#[tokio::test]
async fn a_wrong_password() {
    let mut case = Case::new().await;
    case.replace(&format!(":{PASSWORD}@"), ":wrong@");
    case.fixed_by(
        "a wrong password",
        "error",
        SERVER,
        "`postgres.password`",
        |case| {
            case.replace(":wrong@", &format!(":{PASSWORD}@"));
        },
    )
    .await;
}

#[tokio::test]
async fn a_wrong_port() {
    let mut case = Case::new().await;
    let nobody = Port::claim().unwrap();
    let wrong = format!("127.0.0.1:{}", nobody.number());
    let right = port(case.database.url());
    case.replace(&right, &wrong);
    case.show(wrong.clone(), "127.0.0.1:5433");
    case.fixed_by(
        "a port without a listener",
        "error",
        "127.0.0.1:5433",
        "check host and port",
        |case| {
            case.replace(&wrong, &right);
        },
    )
    .await;
}

#[tokio::test]
async fn a_database_that_is_not_there() {
    let mut case = Case::new().await;
    let name = case.database.name().to_owned();
    case.replace(&format!("/{name}\n"), &format!("/{name}x\n"));
    case.fixed_by(
        "a misspelt database",
        "error",
        SERVER,
        "check the database's name",
        |case| {
            case.replace(&format!("/{name}x\n"), &format!("/{name}\n"));
        },
    )
    .await;
}

#[tokio::test]
async fn encryption_that_the_server_does_not_have() {
    let mut case = Case::new().await;
    case.replace("\n  table", "?sslmode=require\n  table");
    case.fixed_by(
        "`sslmode=require`, and a server without TLS",
        "error",
        SERVER,
        "ssl = on",
        |case| {
            case.replace("?sslmode=require", "?sslmode=disable");
        },
    )
    .await;
}

#[tokio::test]
async fn a_pooler_that_shares_sessions() {
    let mut case = Case::new().await;
    let pooler = Pooler::start(shared_postgres().await, "transaction")
        .await
        .unwrap();
    let through = port(pooler.named("postgres").url());
    let direct = port(case.database.url());
    case.replace(&direct, &through);
    case.show(through.clone(), "127.0.0.1:6432");
    case.fixed_by(
        "PgBouncer in transaction mode",
        "error",
        "127.0.0.1:6432",
        "pool_mode = session",
        |case| {
            case.replace(&through, &direct);
        },
    )
    .await;
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
    case.replace(&format!("  read_url: {url}\n"), "");
    assert_eq!(case.check().await.complaints(), [""; 0]);
}

#[tokio::test]
async fn the_primary_in_the_place_of_the_standby() {
    let mut case = Case::new().await;
    let url = case.database.url().to_owned();
    case.replace(
        "  table: orders\n",
        &format!("  table: orders\n  read_url: {url}\n"),
    );
    case.fixed_by(
        "a `read_url` that is the primary itself",
        "error",
        &format!("read_url {SERVER}"),
        "give a hot standby",
        |case| {
            case.replace(&format!("  read_url: {url}\n"), "");
        },
    )
    .await;
}

#[tokio::test]
async fn a_role_that_does_not_see_others() {
    let mut case = Case::new().await;
    let role = case.as_role().await;
    case.database
        .sql(&format!("GRANT SELECT ON orders TO {role}"))
        .await
        .unwrap();
    case.fixed(
        "a role without pg_read_all_stats",
        "warning",
        "role reader",
        "GRANT pg_read_all_stats TO \"reader\";",
    )
    .await;
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
    case.fixed(
        "`ALTER ROLE .. SET statement_timeout = '30s'`",
        "warning",
        "role reader",
        fix,
    )
    .await;
}

#[tokio::test]
async fn a_database_that_does_not_track_activities() {
    let mut case = Case::new().await;
    case.database
        .sql(&format!(
            "ALTER DATABASE {} SET track_activities = off",
            case.database.name()
        ))
        .await
        .unwrap();
    case.fixed(
        "`track_activities = off`",
        "warning",
        "database shop",
        "SET track_activities = on;",
    )
    .await;
}

#[tokio::test]
async fn a_transaction_that_waits_for_its_client() {
    let mut case = Case::new().await;
    let mut idle = case.database.connect().await.unwrap();
    idle.execute("SET application_name = 'billing'; BEGIN; SELECT 1")
        .await
        .unwrap();
    let masks = [
        ("session ", "", "4711"),
        ("for ", ": role", "12 min"),
        ("terminate_backend(", ")", "4711"),
    ];
    case.options(&["--open-max", "0"]);
    case.fixed_with(
        "a session idle in a transaction",
        "warning",
        "session 4711",
        "pg_terminate_backend(4711)",
        &masks,
    )
    .await;
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
    let mut case = Case::new().await;
    let gid = format!("forgotten_{}", case.database.name());
    case.database
        .sql(&format!(
            "BEGIN; INSERT INTO orders (amount) VALUES (3); PREPARE TRANSACTION '{gid}'"
        ))
        .await
        .unwrap();
    let masks = [("prepared ", " ago", "3 days")];
    case.options(&["--open-max", "0"]);
    let object = "prepared transaction forgotten_shop";
    case.fixed_with(
        "a forgotten prepared transaction",
        "warning",
        object,
        "ROLLBACK PREPARED 'forgotten_shop'",
        &masks,
    )
    .await;
}

#[tokio::test]
async fn a_host_that_does_not_exist() {
    let mut case = Case::new().await;
    let right = port(case.database.url());
    case.replace(&right, "db.invalid:5432");
    // The reason is the resolver's.
    let masks = [("database: ", "", "<reason>")];
    let checked = case.check().await;
    checked.names_with(
        "a host that does not exist",
        "error",
        "db.invalid:5432",
        "check host and port",
        &masks,
    );
    case.replace("db.invalid:5432", &right);
    assert_eq!(case.check().await.complaints(), [""; 0]);
}

/// A role that may read everything and log in.
async fn reader(case: &mut Case) -> String {
    let role = case.as_role().await;
    let sql = format!("GRANT SELECT ON orders TO {role}; GRANT pg_read_all_stats TO {role}");
    case.database.sql(&sql).await.unwrap();
    role
}

#[tokio::test]
async fn a_role_that_may_not_log_in() {
    let mut case = Case::new().await;
    let role = reader(&mut case).await;
    let sql = format!("ALTER ROLE {role} NOLOGIN");
    case.database.sql(&sql).await.unwrap();
    let fix = "ALTER ROLE \"reader\" LOGIN;";
    case.fixed("a role with NOLOGIN", "error", SERVER, fix)
        .await;
}

#[tokio::test]
async fn a_role_that_does_not_exist() {
    let mut case = Case::new().await;
    case.replace(&format!("{USER}:{PASSWORD}@"), "inlett:secret@");
    case.fixed_by(
        "a misspelt role",
        "error",
        SERVER,
        "`postgres.user`",
        |case| {
            case.replace("inlett:secret@", &format!("{USER}:{PASSWORD}@"));
        },
    )
    .await;
}

/// A login that is refused by the server's rules is distinguished from a wrong password.
#[tokio::test]
async fn a_server_whose_rules_do_not_let_the_role_in() {
    let server = Postgres::start().await.unwrap();
    let database = server.database().await.unwrap();
    let table = "CREATE TABLE orders (id int PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT \
        now()); CREATE INDEX ON orders (created_at)";
    database.sql(table).await.unwrap();
    let mut case = Case::over(database);
    let role = reader(&mut case).await;
    let shown = case.database.rows("SHOW hba_file").await.unwrap();
    let file = std::path::PathBuf::from(&shown[0][0]);
    let name = case.database.name().to_owned();
    // Only the tests' own role may come in.
    std::fs::write(
        &file,
        format!("local all all trust\nhost all {USER} 127.0.0.1/32 trust\n"),
    )
    .unwrap();
    case.database.sql("SELECT pg_reload_conf()").await.unwrap();
    let checked = case.check().await;
    let fix = "host \"shop\" \"reader\" 127.0.0.1/32 scram-sha-256";
    let found = checked.names("no line for the role in pg_hba.conf", "error", SERVER, fix);
    let fix = found["fix"].as_str().unwrap().to_owned();
    assert!(fix.contains(&format!("\"{name}\" \"{role}\"")), "{fix}");
    let rules = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{rules}{}\n", fix.lines().last().unwrap())).unwrap();
    case.database.sql("SELECT pg_reload_conf()").await.unwrap();
    eventually(PATIENCE, "the rule is read", async || {
        Ok(case.check().await.complaints().is_empty())
    })
    .await;
}
