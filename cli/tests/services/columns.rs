//! Columns that are left out, hashed or masked: with the rights of `inlet grants` alone, on both
//! ways, and without a trace of the plain values anywhere.

use std::fs;
use std::path::{Path, PathBuf};

use inlet_harness::{
    Database, Folder, Inlet, PASSWORD, Port, duckdb, eventually, shared_database, shared_kafka,
};

use crate::observe::get;
use crate::orders::{INLET, PATIENCE};
use crate::tables::{Copy, WAYS};

const KEY: &str = "0123456789abcdef0123456789abcdef";
/// Part of every value that is not for readers.
const SECRET: &str = "s3cr3t";

const PEOPLE: &str = "\
CREATE TABLE people (id integer PRIMARY KEY, name text, password text NOT NULL, email text,
    phone varchar(30), amount integer, updated_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON people (updated_at);
INSERT INTO people SELECT n, 'name ' || n, 's3cr3t pass ' || n,
    CASE WHEN n <> 3 THEN 's3cr3t.' || n || '@example.org' END, CASE WHEN n <> 4 THEN 's3cr3t 0' || n END,
    n FROM generate_series(1, 5) n";

/// The HMAC of RFC 2104 in SQL, which shares no code with ours.
fn hmac(value: &str) -> String {
    let pad = |byte: u8| {
        format!(
            "(SELECT string_agg(decode(lpad(to_hex((CASE WHEN i < length('{KEY}') THEN \
             ascii(substr('{KEY}', i + 1, 1)) ELSE 0 END) # {byte}), 2, '0'), 'hex'), '' ORDER BY \
             i) FROM generate_series(0, 63) i)"
        )
    };
    format!(
        "encode(sha256({} || sha256({} || convert_to({value}, 'UTF8'))), 'hex')",
        pad(0x5c),
        pad(0x36)
    )
}

/// Makes a role by what `inlet grants` prints for the configuration, and lets the configuration use
/// it.
async fn as_granted(copy: &Copy) {
    let role = format!("columns_{}", copy.database.name());
    let grants = copy.run_with("grants", &["--role", &role]).await;
    assert_eq!(grants.code, 0, "{}", grants.stderr);
    for _ in 0..2 {
        copy.database.sql(&grants.stdout).await.unwrap();
    }
    let password = format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'");
    copy.database.sql(&password).await.unwrap();
    let (before, after) = copy.database.url().split_once("://").unwrap();
    let (_, host) = after.split_once('@').unwrap();
    let url = format!("{before}://{role}:{PASSWORD}@{host}");
    let config = fs::read_to_string(&copy.config).unwrap();
    fs::write(&copy.config, config.replace(copy.database.url(), &url)).unwrap();
    let may = format!(
        "SELECT has_table_privilege('{role}', 'people', 'SELECT'), has_column_privilege('{role}', \
         'people', 'password', 'SELECT'), has_column_privilege('{role}', 'people', 'email', 'SELECT')"
    );
    assert_eq!(copy.database.rows(&may).await.unwrap(), [["f", "f", "t"]]);
}

fn with_key(copy: &Copy) {
    let config = fs::read_to_string(&copy.config).unwrap();
    let config = config.replace("postgres: { ", &format!("postgres: {{ hash_key: {KEY}, "));
    fs::write(&copy.config, config).unwrap();
}

/// A service that logs all it can, and shows its metrics.
struct Service {
    inlet: Inlet,
    http: Port,
}

impl Service {
    fn start(copy: &Copy, verb: &str) -> Self {
        let http = Port::claim().unwrap();
        let address = format!("127.0.0.1:{}", http.number());
        let arguments = [verb, "--config", &copy.config, "--http", &address];
        let inlet = Inlet::start(INLET, &arguments, &[("INLET_LOG", "debug")]).unwrap();
        Self { inlet, http }
    }

    fn assert_pages_are_clean(&self) {
        let (_, metrics) = get(self.http.number(), "/metrics").unwrap();
        assert!(metrics.contains("people"), "{metrics}");
        is_clean("a page of metrics", metrics.as_bytes());
        let (_, ready) = get(self.http.number(), "/readyz").unwrap();
        is_clean("a page of readiness", ready.as_bytes());
    }
}

/// The services, after a look at what they show.
fn pages_are_clean(services: Vec<Service>) -> Vec<Inlet> {
    for service in &services {
        service.assert_pages_are_clean();
    }
    services.into_iter().map(|service| service.inlet).collect()
}

fn start(copy: &Copy, verbs: &[&str]) -> Vec<Service> {
    let start = |verb: &&str| Service::start(copy, verb);
    verbs.iter().map(start).collect()
}

/// The latest state of a column list as DuckDB reads it.
async fn latest(copy: &Copy, columns: &str) -> Vec<Vec<String>> {
    let folder = copy.folder.join("lake");
    let sql = format!(
        "SELECT {columns} FROM (SELECT * FROM {} QUALIFY row_number() OVER (PARTITION BY id ORDER \
         BY _offset DESC) = 1) WHERE _op <> 'd' ORDER BY id",
        copy.files("")
    );
    duckdb::read(&folder, &sql).await.unwrap()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[track_caller]
fn is_clean(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let at = text.find(SECRET);
    let shown = at.map(|at| {
        text.chars()
            .skip(at.saturating_sub(200))
            .take(400)
            .collect::<String>()
    });
    assert_eq!(shown, None, "{what} has a plain value");
}

/// Looks for a plain value in all that Inlet has written: files as bytes and as their rows, topics,
/// logs, and what the verbs print.
async fn assert_no_trace(copy: &Copy, mut services: Vec<Inlet>) {
    // No file changes its place while it is looked at.
    for service in &mut services {
        service.kill_9().unwrap();
    }
    for path in files(&copy.folder.join("lake")) {
        is_clean(&path.display().to_string(), &fs::read(&path).unwrap());
        if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            let sql = format!("SELECT * FROM read_parquet('{}')", path.display());
            let rows = duckdb::query(&sql).await.unwrap().concat().concat();
            is_clean(&path.display().to_string(), rows.as_bytes());
        }
    }
    let config = fs::read_to_string(&copy.config).unwrap();
    if let Some((_, pipeline)) = config.split_once("pipeline: ") {
        let pipeline = pipeline.lines().next().unwrap();
        let kafka = shared_kafka().await;
        for topic in [format!("{pipeline}.people"), format!("{pipeline}_control")] {
            let records = kafka.read(&topic).await.unwrap();
            assert!(!records.is_empty(), "{topic} has no record to look at");
            for record in records {
                is_clean(&topic, record.key.as_deref().unwrap_or_default());
                is_clean(&topic, record.value.as_deref().unwrap_or_default());
            }
        }
    }
    for service in &services {
        is_clean("a log", service.stderr().unwrap().as_bytes());
        is_clean("an output", service.stdout().unwrap().as_bytes());
    }
    for verb in ["verify", "check", "status", "status --json", "views"] {
        let mut arguments: Vec<_> = verb.split(' ').collect();
        arguments.extend(["--config", &copy.config]);
        let finished = Inlet::run(INLET, &arguments, &[("INLET_LOG", "debug")]);
        let finished = finished.await.unwrap();
        is_clean(verb, finished.stdout.as_bytes());
        is_clean(verb, finished.stderr.as_bytes());
    }
}

#[tokio::test]
async fn columns_are_left_out_hashed_and_masked_with_rights_to_the_others_alone() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(PEOPLE).await.unwrap();
        let tables = "tables: { people: { exclude_columns: [password], hash_columns: [email], \
                      mask_columns: [Phone], rules: [amount < 100] } }\n";
        let copy = Copy::of(database, verbs, tables).await;
        with_key(&copy);
        as_granted(&copy).await;
        let mut services = start(&copy, verbs);
        copy.await_rows("", 5).await;
        // A row for the quarantine, an update, a delete, and a row after a crash.
        copy.database
            .sql(
                "INSERT INTO people VALUES (6, 'bad', 's3cr3t pass', 's3cr3t@x', 's3cr3t', 100);
                 UPDATE people SET email = 's3cr3t.new@example.org', updated_at = now() WHERE id = 1;
                 DELETE FROM people WHERE id = 2",
            )
            .await
            .unwrap();
        copy.await_rows("", 7).await;
        services[0].inlet.kill_9().unwrap();
        is_clean("a log", services[0].inlet.stderr().unwrap().as_bytes());
        services[0] = start(&copy, &verbs[..1]).remove(0);
        copy.database
            .sql("INSERT INTO people VALUES (7, 'last', 's3cr3t pass', 's3cr3t.1@example.org')")
            .await
            .unwrap();
        copy.await_rows("", 8).await;
        let expected = format!(
            "SELECT id, name, {}, CASE WHEN phone IS NOT NULL THEN '****' END, amount FROM people \
             WHERE id <> 6 ORDER BY id",
            hmac("email")
        );
        let expected = plain(&copy.database, &expected).await;
        assert_eq!(
            latest(&copy, "id, name, email, phone, amount").await,
            expected
        );
        let columns = format!(
            "SELECT column_name FROM (DESCRIBE SELECT * FROM {})",
            copy.files("")
        );
        let columns = duckdb::query(&columns).await.unwrap().concat();
        assert!(!columns.contains(&"password".to_owned()), "{columns:?}");
        copy.verified().await;
        let check = copy.run("check").await;
        assert_eq!(check.code, 0, "{}", check.stdout);
        assert_no_trace(&copy, pages_are_clean(services)).await;
    }
}

/// The rows of PostgreSQL as DuckDB prints them.
async fn plain(database: &Database, sql: &str) -> Vec<Vec<String>> {
    let rows = database.rows(sql).await.unwrap().into_iter();
    let value = |value: String| {
        if value.is_empty() {
            "NULL".to_owned()
        } else {
            value
        }
    };
    rows.map(|row| row.into_iter().map(value).collect())
        .collect()
}

#[tokio::test]
async fn a_running_lake_follows_another_choice_of_columns() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(PEOPLE).await.unwrap();
        let tables = "tables: { people: { deletes: census } }\n";
        let copy = Copy::of(database, verbs, tables).await;
        with_key(&copy);
        let services = copy.start(verbs);
        copy.await_rows("", 5).await;
        drop(services);
        let as_before = fs::read_to_string(&copy.config).unwrap();
        let hashed =
            "{ exclude_columns: [password], hash_columns: [email], mask_columns: [phone] }";
        let steps = [
            (hashed, hmac("email"), "'****'", "name"),
            (
                "{ include_columns: [id, email, phone, updated_at], hash_columns: [phone] }",
                "email".to_owned(),
                &*hmac("phone"),
                "NULL",
            ),
            ("{ deletes: census }", "email".to_owned(), "phone", "name"),
        ];
        for (choice, email, phone, name) in steps {
            let config = as_before.replace("{ deletes: census }", choice);
            fs::write(&copy.config, config).unwrap();
            let _services = copy.start(verbs);
            let expected = format!(
                "SELECT id, {name}, {email}, CASE WHEN phone IS NOT NULL THEN {phone} END FROM \
                 people ORDER BY id"
            );
            let expected = plain(&copy.database, &expected).await;
            let shown = match name {
                "NULL" => "id, NULL, email, phone",
                _ => "id, name, email, phone",
            };
            eventually(PATIENCE, "the latest state follows", async || {
                anyhow::Ok(latest(&copy, shown).await == expected)
            })
            .await;
            copy.verified().await;
        }
        // Values and hashes are never in one column.
        let earlier = format!(
            "SELECT count(*) FILTER (WHERE length(email) = 64), count(email__2) FROM {}",
            copy.files("")
        );
        let folder = copy.folder.join("lake");
        let earlier = duckdb::read(&folder, &earlier).await.unwrap();
        assert_eq!(earlier, [["0", "4"]], "{verbs:?}");
    }
}

#[tokio::test]
async fn the_latest_state_is_the_rows_that_a_condition_chooses() {
    const CHOSEN: &str = "team = 'red' AND deleted_at IS NULL";
    for verbs in WAYS {
        let database = shared_database().await;
        database
            .sql(
                "CREATE TABLE people (id integer PRIMARY KEY, team text, deleted_at timestamptz,
                     password text, updated_at timestamptz NOT NULL DEFAULT now());
                 CREATE INDEX ON people (updated_at);
                 INSERT INTO people SELECT n, CASE n % 2 WHEN 0 THEN 'red' ELSE 'blue' END, NULL,
                     's3cr3t ' || n FROM generate_series(1, 40) n",
            )
            .await
            .unwrap();
        let tables = "tables: { people: { exclude_columns: [password], where: \"people.team = \
                      'red' -- the others stay\", deleted_when: deleted_at IS NOT NULL } }\n";
        let copy = Copy::of(database, verbs, tables).await;
        let role = format!("rows_{}", copy.database.name());
        let grants = copy.run_with("grants", &["--role", &role]).await;
        copy.database.sql(&grants.stdout).await.unwrap();
        let mut services = copy.start(verbs);
        copy.await_rows("", 20).await;
        let equal = async || {
            let columns = "id, team, strftime(timezone('UTC', updated_at), '%H:%M:%S.%f')";
            let expected = format!(
                "SELECT id, team, to_char(updated_at AT TIME ZONE 'UTC', 'HH24:MI:SS.US') FROM \
                 people WHERE {CHOSEN} ORDER BY id"
            );
            let expected = plain(&copy.database, &expected).await;
            eventually(
                PATIENCE,
                "the latest state is the chosen rows",
                async || anyhow::Ok(latest(&copy, columns).await == expected),
            )
            .await;
        };
        for round in 0..3 {
            let mut late = copy.database.connect().await.unwrap();
            let open = format!(
                "BEGIN; UPDATE people SET team = 'blue', updated_at = now() WHERE id % 10 = {round}; \
                 INSERT INTO people VALUES (100 + {round}, 'red')"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(open))
                .execute(&mut late)
                .await
                .unwrap();
            copy.database
                .sql(&format!(
                    "UPDATE people SET deleted_at = now(), updated_at = now() WHERE id % 10 = {round} + 4;
                     UPDATE people SET deleted_at = NULL, updated_at = now() WHERE id % 10 = {round} + 3;
                     UPDATE people SET team = 'red', updated_at = now() WHERE id % 10 = {round} + 6;
                     DELETE FROM people WHERE id = 8 + {round} * 10"
                ))
                .await
                .unwrap();
            services[0].kill_9().unwrap();
            services[0] = copy.start(&verbs[..1]).remove(0);
            sqlx::raw_sql("COMMIT").execute(&mut late).await.unwrap();
            copy.database
                .sql(&format!(
                    "INSERT INTO people VALUES (8 + {round} * 10, 'red')"
                ))
                .await
                .unwrap();
            equal().await;
        }
        copy.verified().await;
        let check = copy.run("check").await;
        assert_eq!(check.code, 0, "{}", check.stdout);
        // Rows that never belonged are in no file, as no row and as no delete.
        let blue = format!(
            "SELECT count(*) FROM {} WHERE team = 'blue' OR id NOT IN (SELECT id FROM {} WHERE \
             _op = 'u')",
            copy.files(""),
            copy.files("")
        );
        let folder = copy.folder.join("lake");
        assert_eq!(duckdb::read(&folder, &blue).await.unwrap(), [["0"]]);
        // Another condition counts from the next start on.
        drop(services);
        let config = fs::read_to_string(&copy.config).unwrap();
        let config = config.replace("'red' -- the", "'blue' -- the");
        fs::write(&copy.config, config).unwrap();
        let services = copy.start(verbs);
        let expected =
            "SELECT id FROM people WHERE team = 'blue' AND deleted_at IS NULL ORDER BY id";
        let expected = plain(&copy.database, expected).await;
        eventually(PATIENCE, "the latest state follows", async || {
            anyhow::Ok(latest(&copy, "id").await == expected)
        })
        .await;
        copy.verified().await;
        assert_no_trace(&copy, services).await;
    }
}

#[tokio::test]
async fn a_condition_that_fails_for_a_row_tells_no_value() {
    let database = shared_database().await;
    database.sql(PEOPLE).await.unwrap();
    database
        .sql("UPDATE people SET email = '17'; CREATE TABLE other (id integer PRIMARY KEY)")
        .await
        .unwrap();
    let tables =
        "tables: { other: , people: { hash_columns: [email], where: 'email::integer > 3' } }\n";
    let copy = Copy::of(database, &["run"], tables).await;
    with_key(&copy);
    copy.database
        .sql("ALTER TABLE people DROP COLUMN password, DROP COLUMN phone")
        .await
        .unwrap();
    let services = start(&copy, &["run"]);
    copy.await_rows("people", 5).await;
    copy.database
        .sql("INSERT INTO people (id, email) VALUES (9, 's3cr3t@example.org')")
        .await
        .unwrap();
    services[0].inlet.logs("22P02", PATIENCE).await;
    assert_no_trace(&copy, pages_are_clean(services)).await;
}

#[tokio::test]
async fn a_choice_that_cannot_hold_is_refused_in_words() {
    let database = shared_database().await;
    database.sql(PEOPLE).await.unwrap();
    let folder = Folder::new("columns").unwrap();
    let config = folder.join("inlet.yml");
    for (choice, words) in [
        ("hash_columns: [id]", "it is a column of the key"),
        ("mask_columns: [id]", "it is a column of the key"),
        ("exclude_columns: [id]", "it is a column of the key"),
        ("include_columns: [name]", "it is a column of the key"),
        (
            "exclude_columns: [passwort]",
            "columns with a similar name: `password`",
        ),
        (
            "cursor: updated_at, exclude_columns: [updated_at]",
            "it is `cursor`",
        ),
        (
            "date_column: updated_at, mask_columns: [updated_at]",
            "it is `date_column`",
        ),
        (
            "hash_columns: [email], mask_columns: [email]",
            "it is in `mask_columns` too",
        ),
        (
            "hash_columns: [email], exclude_columns: [email]",
            "it is not read at all",
        ),
        ("hash_columns: [email]", "`postgres.hash_key` has no secret"),
    ] {
        let secret = match words.contains("no secret") {
            true => String::new(),
            false => format!(", hash_key: {KEY}"),
        };
        let text = format!(
            "postgres: {{ url: \"{}\"{secret} }}\ndatalake: {{ path: {} }}\ntables: {{ people: {{ {choice} }} }}\n",
            database.url(),
            folder.join("lake").display()
        );
        fs::write(&config, text).unwrap();
        let path = config.display().to_string();
        let finished = Inlet::run(INLET, &["run", "--config", &path], &[])
            .await
            .unwrap();
        assert_eq!(finished.code, 78, "{choice}: {}", finished.stderr);
        assert!(
            finished.stderr.contains(words),
            "{choice}: {}",
            finished.stderr
        );
    }
}
