//! `inlet restore`: a table comes back from the lake as PostgreSQL had it. PostgreSQL
//! compares both.

use std::collections::BTreeSet;
use std::fs;

use inlet_harness::{Database, Finished, PASSWORD, Postgres, shared_database};

use crate::tables::{Copy, WAYS};
use crate::types::{TYPES, every_type};

impl Copy {
    /// Restores a table, and expects this exit code.
    async fn restore(&self, table: &str, to: &str, more: &[&str], code: i32) -> Finished {
        let finished = self
            .run_with("restore", &[&[table, "--to", to], more].concat())
            .await;
        assert_eq!(
            finished.code, code,
            "{}{}",
            finished.stdout, finished.stderr
        );
        finished
    }
}

/// The rows of two tables of one database are the same: compared as PostgreSQL's text of whole
/// rows, because some types have no equality.
async fn same(database: &Database, one: &str, other: &str) {
    for (one, other) in [(one, other), (other, one)] {
        let sql =
            format!("SELECT t::text FROM {one} AS t EXCEPT ALL SELECT t::text FROM {other} AS t");
        let more = database.rows(&sql).await.unwrap();
        assert!(more.is_empty(), "{one} and not {other}: {more:?}");
    }
}

/// The columns of a table with their types, and which may be null.
async fn columns(database: &Database, table: &str) -> Vec<Vec<String>> {
    let sql = format!(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE \
         attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    );
    database.rows(&sql).await.unwrap()
}

#[tokio::test]
async fn every_type_comes_back_as_it_was() {
    for verbs in WAYS {
        let database = shared_database().await;
        let (sql, rows) = every_type(&database).await;
        database.sql(&sql).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { every: }\n").await;
        let services = copy.start(verbs);
        copy.await_rows("", rows).await;
        copy.verified().await;
        drop(services);
        let to = copy.database.url().to_owned();
        let restored = copy.restore("every", &to, &["--as", "again"], 0).await;
        let words = format!(
            "public.every: restored as public.again, {rows} rows\n  read back and \
                             compared: equal\n"
        );
        assert!(restored.stdout.starts_with(&words), "{}", restored.stdout);
        same(&copy.database, "every", "again").await;
        let (there, here) = (
            columns(&copy.database, "every"),
            columns(&copy.database, "again"),
        );
        assert_eq!(there.await, here.await);
        let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = \
                   'again'::regclass AND contype = 'p'";
        assert_eq!(
            copy.database.rows(key).await.unwrap(),
            [["PRIMARY KEY (id)"]]
        );
    }
}

#[tokio::test]
async fn a_table_comes_back_into_another_version_of_postgresql() {
    // `make versions` runs this with each version as the target.
    let source = Postgres::start_of_system().await.unwrap();
    let database = source.database().await.unwrap();
    let (sql, rows) = every_type(&database).await;
    database.sql(&sql).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { every: }\n").await;
    let services = copy.start(&["run"]);
    copy.await_rows("", rows).await;
    drop(services);
    let target = shared_database().await;
    // Its types are missing first; then the extensions and what this version has not are text.
    let refused = copy.restore("every", target.url(), &[], 78).await;
    for words in ["(mood)", "create these types", "--missing-types-as-text"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    assert!(!exists(&target, "every").await);
    target.sql(TYPES).await.unwrap();
    copy.restore("every", target.url(), &["--missing-types-as-text"], 0)
        .await;
    let text = "SELECT t::text FROM every AS t";
    let rows_of = async |database: &Database| -> BTreeSet<String> {
        database
            .rows(text)
            .await
            .unwrap()
            .concat()
            .into_iter()
            .collect()
    };
    assert_eq!(rows_of(&copy.database).await, rows_of(&target).await);
}

async fn exists(database: &Database, table: &str) -> bool {
    let sql = format!("SELECT to_regclass('{table}') IS NOT NULL");
    database.rows(&sql).await.unwrap() == [["t"]]
}

const ORDERS: &str = "\
    CREATE TABLE orders (id integer PRIMARY KEY, email text, phone varchar(20), secret text, state text
        NOT NULL, twice integer GENERATED ALWAYS AS (id * 2) STORED,
        updated_at timestamptz NOT NULL DEFAULT now());
    CREATE INDEX ON orders (updated_at);
    INSERT INTO orders (id, email, phone, secret, state)
        SELECT n, 'a' || n || E'\\t\\\\N\\n@x', '0' || n, 's3cr3t', 'new' FROM generate_series(1, 20) n";

#[tokio::test]
async fn a_moment_before_updates_and_deletes_comes_back() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(ORDERS).await.unwrap();
        database
            .sql("CREATE TABLE orders_then AS SELECT * FROM orders")
            .await
            .unwrap();
        let copy = Copy::of(database, verbs, "tables: { orders: }\n").await;
        let services = copy.start(verbs);
        copy.await_rows("", 20).await;
        let now =
            "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')";
        let before = copy.database.rows(now).await.unwrap().concat().concat();
        copy.database
            .sql(
                "UPDATE orders SET state = 'sent', updated_at = now() WHERE id < 6;
                 DELETE FROM orders WHERE id > 15; INSERT INTO orders (id, state) VALUES (30, 'late')",
            )
            .await
            .unwrap();
        copy.await_rows("", 31).await;
        drop(services);
        let to = copy.database.url().to_owned();
        let then = ["--as", "restored_then", "--as-of", &before];
        let restored = copy.restore("orders", &to, &then, 0).await;
        assert!(
            restored.stdout.contains("20 rows, as of "),
            "{}",
            restored.stdout
        );
        same(&copy.database, "orders_then", "restored_then").await;
        copy.restore("orders", &to, &["--as", "kept.restored"], 0)
            .await;
        same(&copy.database, "orders", "kept.restored").await;
        let never = ["--as", "never", "--as-of", "1999-12-31", "--json"];
        let never = copy.restore("orders", &to, &never, 0).await;
        assert!(never.stdout.contains("\"rows\":0"), "{}", never.stdout);
    }
}

#[tokio::test]
async fn what_exists_is_kept_and_words_say_how_to_go_on() {
    let database = shared_database().await;
    database.sql(ORDERS).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { orders: }\n").await;
    let services = copy.start(&["run"]);
    copy.await_rows("", 20).await;
    drop(services);
    let to = copy.database.url().to_owned();
    let refused = copy.restore("orders", &to, &[], 78).await;
    for words in [
        "table `public.orders` exists there and has rows",
        "--as NAME",
        "--truncate",
    ] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    let sql = "CREATE TABLE copied AS TABLE orders; UPDATE orders SET state = 'wrong';
        CREATE VIEW seen AS TABLE orders; CREATE TABLE short (id integer);
        CREATE TABLE empty (LIKE orders INCLUDING ALL)";
    copy.database.sql(sql).await.unwrap();
    // Into the table that exists, with its generated column, and into an empty one.
    copy.restore("orders", &to, &["--truncate"], 0).await;
    same(&copy.database, "copied", "orders").await;
    copy.restore("orders", &to, &["--as", "empty"], 0).await;
    same(&copy.database, "copied", "empty").await;
    for (more, words) in [
        (
            &["--as", "seen"][..],
            "no table that rows can be loaded into",
        ),
        (&["--as", "short"], "without the columns: email"),
        (&["--as", "a.b.c"], "is no name of a table"),
    ] {
        let refused = copy.restore("orders", &to, more, 78).await;
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    // A trigger that changes rows is noticed, and nothing is committed.
    let sql = "CREATE TABLE changed (LIKE orders);
        CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.state := 'x'; \
               RETURN NEW; END $$;
        CREATE TRIGGER change BEFORE INSERT ON changed FOR EACH ROW EXECUTE FUNCTION change()";
    copy.database.sql(sql).await.unwrap();
    let refused = copy.restore("orders", &to, &["--as", "changed"], 1).await;
    assert!(
        refused.stderr.contains("are not those of the lake"),
        "{}",
        refused.stderr
    );
    let count = "SELECT count(*) FROM changed";
    assert_eq!(copy.database.rows(count).await.unwrap(), [["0"]]);
    // A role without the right to make a table.
    let role = format!("reader_{}", copy.database.name());
    let sql = format!(
        "CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
    );
    copy.database.sql(&sql).await.unwrap();
    let (_, host) = to.split_once('@').unwrap();
    let to = format!("postgres://{role}:{PASSWORD}@{host}");
    let refused = copy.restore("orders", &to, &["--as", "denied"], 78).await;
    for words in [
        "table `public.denied` could not be created",
        "permission denied",
    ] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    assert!(!exists(&copy.database, "denied").await);
}

#[tokio::test]
async fn hashes_and_masks_come_back_as_they_are_in_the_lake() {
    let database = shared_database().await;
    database.sql(ORDERS).await.unwrap();
    let tables = "tables: { orders: { exclude_columns: [secret], hash_columns: [email], \
                  mask_columns: [phone] } }\n";
    let copy = Copy::of(database, &["run"], tables).await;
    let config = fs::read_to_string(&copy.config).unwrap();
    let key = "postgres: { hash_key: 0123456789abcdef0123456789abcdef, ";
    fs::write(&copy.config, config.replace("postgres: { ", key)).unwrap();
    let services = copy.start(&["run"]);
    copy.await_rows("", 20).await;
    drop(services);
    let to = copy.database.url().to_owned();
    let restored = copy.restore("orders", &to, &["--as", "masked"], 0).await;
    for words in [
        "`email`, `phone` are hashes or masks in the lake",
        "columns that the configuration leaves out are not in the lake",
        "`twice` were generated columns",
    ] {
        assert!(restored.stdout.contains(words), "{}", restored.stdout);
    }
    let shown = "SELECT DISTINCT length(email), phone FROM masked";
    assert_eq!(copy.database.rows(shown).await.unwrap(), [["64", "****"]]);
    let names: Vec<_> = columns(&copy.database, "masked").await;
    assert!(
        !names.iter().any(|column| column[0] == "secret"),
        "{names:?}"
    );
}
