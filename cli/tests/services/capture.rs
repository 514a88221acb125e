//! Changes that triggers record: what they record, that nothing stays of them, and that their
//! journal reaches the lake and leaves PostgreSQL.

use inlet_harness::{
    Database, Inlet, duckdb, eventually, judge, shared_database, shared_kafka, shared_postgres,
};

use crate::orders::{INLET, Orders, PATIENCE};
use crate::tables::{Copy, WAYS};

/// Everything of the database that is no table of the system.
const CATALOG: &str = "
    SELECT 'class', n.nspname, c.relname, c.relkind::text, coalesce(c.relacl::text, '')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    UNION ALL SELECT 'schema', nspname, '', '', coalesce(nspacl::text, '')
    FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT 'function', n.nspname, p.proname, '', ''
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname, tgenabled::text, ''
    FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'type', n.nspname, t.typname, '', ''
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ORDER BY 1, 2, 3";

pub async fn capture(copy: &Copy, arguments: &[&str]) -> String {
    let (verb, rest) = arguments.split_first().unwrap();
    let all = [&["capture", verb, "--config", &copy.config], rest].concat();
    let finished = Inlet::run(INLET, &all, &[]).await.unwrap();
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    finished.stdout
}

/// What the journal of a table has, without times: the kind of each change, its key and values.
async fn journal(database: &Database, table: &str) -> Vec<String> {
    let sql = format!(
        "SELECT op, coalesce(key::text, relation), before->>'v', after->>'v', changed::text
         FROM inlet.{table}_changes ORDER BY change_id"
    );
    let rows = database.rows(&sql).await.unwrap();
    let shown = |row: Vec<String>| row.join(" ").replace(" NULL", " -");
    rows.into_iter().map(shown).collect()
}

const WITH_PARTITIONS: &str = "
    CREATE TABLE items (id int, part int, v text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
    CREATE TABLE items_1 PARTITION OF items FOR VALUES IN (1);
    CREATE TABLE items_2 PARTITION OF items FOR VALUES IN (2);
    CREATE TABLE parents (id int PRIMARY KEY);
    CREATE TABLE children (id int PRIMARY KEY, v text,
        parent int REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE);
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.v := NEW.v || '!'; RETURN NEW; END $$;
    CREATE TRIGGER zz_stamp BEFORE INSERT OR UPDATE ON children FOR EACH ROW EXECUTE FUNCTION
        stamp();";

#[tokio::test]
async fn every_kind_of_statement_is_recorded_once_and_nothing_stays_after_the_removal() {
    let copy = Copy::of(
        shared_database().await,
        &["run"],
        "tables: { items: { capture: audit }, children: { capture: audit }, parents: {} }\n",
    )
    .await;
    let database = &copy.database;
    database.sql(WITH_PARTITIONS).await.unwrap();
    let before = (
        database.rows(CATALOG).await.unwrap(),
        database.dumped_schema().await.unwrap(),
    );

    let printed = capture(&copy, &["install"]).await;
    assert!(printed.contains("CREATE TRIGGER"), "{printed}");
    assert_eq!(
        database.rows(CATALOG).await.unwrap(),
        before.0,
        "it was only printed"
    );
    let ran = capture(&copy, &["install", "--yes"]).await;
    assert_eq!(ran, printed);
    let installed = database.rows(CATALOG).await.unwrap();
    let again = capture(&copy, &["install", "--yes"]).await;
    assert!(!again.contains("CREATE"), "{again}");
    assert_eq!(database.rows(CATALOG).await.unwrap(), installed);

    for sql in [
        "INSERT INTO items VALUES (1, 1, 'a'), (2, 2, 'b')",
        "INSERT INTO items_1 VALUES (3, 1, 'c')",
        "UPDATE items SET part = 2 WHERE id = 1",
        "UPDATE items_2 SET v = 'x' WHERE id = 2",
        "INSERT INTO items VALUES (2, 2, 'y'), (4, 1, 'd') ON CONFLICT (id, part) DO UPDATE SET v \
         = excluded.v",
        "UPDATE items SET id = id + 1 WHERE id IN (3, 4) AND part = 1",
        "DELETE FROM items WHERE id = 2",
        "UPDATE items SET v = 'none' WHERE false",
        "TRUNCATE items_1",
        "TRUNCATE items",
    ] {
        // Keys that move past each other are unique only at the end of some orders.
        let result = database.sql(sql).await;
        if sql.contains("id + 1") && result.is_err() {
            let swapped = "UPDATE items SET id = 9 - id WHERE id IN (4, 5) AND part = 1";
            assert!(database.sql(swapped).await.is_ok());
        }
    }
    database
        .psql("COPY items FROM STDIN;\n7\t1\tz\n\\.\n")
        .await
        .unwrap();
    let version = database.rows("SHOW server_version_num").await.unwrap();
    // Older servers have no MERGE.
    let merge = match version[0][0].parse::<u32>().unwrap() {
        150_000.. => {
            "MERGE INTO items USING (VALUES (7, 1, 'm'), (8, 1, 'n')) AS s (id, part, v) ON items.id \
             = s.id WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT VALUES (s.id, \
             s.part, s.v)"
        }
        _ => "UPDATE items SET v = 'm' WHERE id = 7; INSERT INTO items VALUES (8, 1, 'n')",
    };
    database.sql(merge).await.unwrap();
    let found = journal(database, "items").await;
    let expected = [
        r#"insert {"id": 7, "part": 1} - z -"#,
        r#"update {"id": 7, "part": 1} z m {v}"#,
        r#"insert {"id": 8, "part": 1} - n -"#,
        r#"insert {"id": 1, "part": 1} - a -"#,
        r#"insert {"id": 2, "part": 2} - b -"#,
        r#"insert {"id": 3, "part": 1} - c -"#,
        r#"delete {"id": 1, "part": 1} a - -"#,
        r#"insert {"id": 1, "part": 2} - a -"#,
        r#"update {"id": 2, "part": 2} b x {v}"#,
        r#"update {"id": 2, "part": 2} x y {v}"#,
        r#"insert {"id": 4, "part": 1} - d -"#,
    ];
    for expected in expected {
        assert!(
            found.iter().any(|found| found == expected),
            "{expected}\n{found:#?}"
        );
    }
    let truncated = found.iter().filter(|change| change.starts_with("truncate"));
    assert_eq!(truncated.count(), 4, "{found:#?}");

    database
        .sql(
            "INSERT INTO parents VALUES (1), (2); INSERT INTO children VALUES (10, 'a', 1), (11, \
             'b', 2); UPDATE parents SET id = 5 WHERE id = 1; DELETE FROM parents;",
        )
        .await
        .unwrap();
    let mut found = journal(database, "children").await;
    found.sort();
    let expected = [
        r#"delete {"id": 10} a!! - -"#,
        r#"delete {"id": 11} b! - -"#,
        r#"insert {"id": 10} - a! -"#,
        r#"insert {"id": 11} - b! -"#,
        r#"update {"id": 10} a! a!! {v,parent}"#,
    ];
    assert_eq!(found, expected);

    let removed = capture(&copy, &["remove", "--yes", "--discard"]).await;
    assert!(removed.contains("DROP SCHEMA"), "{removed}");
    let after = (
        database.rows(CATALOG).await.unwrap(),
        database.dumped_schema().await.unwrap(),
    );
    assert_eq!(after, before);
    let again = capture(&copy, &["remove", "--yes"]).await;
    assert!(!again.contains("DROP"), "{again}");
}

#[tokio::test]
async fn who_made_a_change_is_recorded_and_columns_that_are_not_read_are_not() {
    let copy = Copy::of(
        shared_database().await,
        &["run"],
        "tables: { people: { capture: audit, exclude_columns: [secret] } }\n",
    )
    .await;
    let database = &copy.database;
    database
        .sql("CREATE TABLE people (id int PRIMARY KEY, v text, secret text)")
        .await
        .unwrap();
    capture(&copy, &["install", "--yes"]).await;
    let writer = format!("writer_{}", database.name());
    database
        .sql(&format!(
            "CREATE ROLE {writer}; GRANT INSERT, UPDATE, SELECT ON people TO {writer};
             SET ROLE {writer}; SET application_name = 'till 7'; SET inlet.actor = 'asha';
             INSERT INTO people VALUES (1, 'a', 'hidden')"
        ))
        .await
        .unwrap();
    let sql = "SELECT role, application_name, actor, after::text FROM inlet.people_changes";
    let found = database.rows(sql).await.unwrap();
    let expected = [writer.as_str(), "till 7", "asha", r#"{"id":1,"v":"a"}"#];
    assert_eq!(found, [expected]);
    // A key that is renamed must not stop the writers.
    database
        .sql("ALTER TABLE people RENAME id TO ident; UPDATE people SET v = 'b'")
        .await
        .unwrap();
    let status = capture(&copy, &["status"]).await;
    assert!(
        status.contains("up to 1 statements were not recorded"),
        "{status}"
    );
    capture(&copy, &["install", "--yes"]).await;
    database.sql("UPDATE people SET v = 'c'").await.unwrap();
    let sql =
        "SELECT after::text, missed FROM inlet.people_changes ORDER BY change_id DESC LIMIT 1";
    let found = database.rows(sql).await.unwrap();
    assert_eq!(found, [[r#"{"ident":1,"v":"c"}"#, "1"]]);
}

#[tokio::test]
async fn a_role_that_only_reads_carries_and_trims_what_the_owner_has_installed() {
    let postgres = shared_postgres().await;
    for with_broker in [false, true] {
        let kafka = match with_broker {
            true => Some(shared_kafka().await),
            false => None,
        };
        let mut orders = Orders::new(postgres, kafka, false).await.unwrap();
        orders
            .configure("tables: { ROLL001_orders: { capture: audit } }\n")
            .unwrap();
        let install = orders.arguments("capture");
        let install = [&install[..1], &["install".to_owned()], &install[1..]].concat();
        let printed = Inlet::run(INLET, &install, &[]).await.unwrap();
        assert_eq!(printed.code, 0, "{}", printed.stderr);
        orders.database.psql(&printed.stdout).await.unwrap();
        let again = Inlet::run(INLET, &install, &[]).await.unwrap();
        assert!(!again.stdout.contains("GRANT"), "{}", again.stdout);
        let needs = format!(
            "SELECT current_setting('wal_level'), (SELECT count(*) FROM pg_replication_slots), \
             relreplident, rolsuper, rolreplication FROM pg_class, pg_roles WHERE relname = \
             'roll001_orders' AND rolname = 'reader_{}'",
            orders.database.name()
        );
        let needs = orders.database.rows(&needs).await.unwrap();
        assert_eq!(needs, [["replica", "0", "d", "f", "f"]]);

        let _service = orders.start("run").unwrap();
        orders.insert(&["1.00", "2.00"]).await.unwrap();
        orders
            .database
            .sql("UPDATE ROLL001_orders SET amount = amount + 150, updated_at = now()")
            .await
            .unwrap();
        // A lake of one table is in the folder itself, and what it changes beside it.
        let folder = orders.lake().with_file_name("orders_changes");
        let files = format!("{}/**/*.parquet", folder.display());
        eventually(PATIENCE, "the changes are in the lake", async || {
            Ok(duckdb::count_glob(&files).await? == 4)
        })
        .await;
        let sql = format!(
            "SELECT before->>'amount', after->>'amount', changed FROM read_parquet('{files}')
             WHERE op = 'update' ORDER BY change_id, 1"
        );
        let mut found = duckdb::read(&folder, &sql).await.unwrap();
        found.sort();
        let expected = [["1.00", "151.00"], ["2.00", "152.00"]];
        assert_eq!(
            found.iter().map(|row| &row[..2]).collect::<Vec<_>>(),
            expected
        );
        eventually(PATIENCE, "the journal is trimmed", async || {
            let left = "SELECT count(*) FROM inlet.roll001_orders_changes";
            Ok(orders.database.rows(left).await?[0][0] == "0")
        })
        .await;
        let check = Inlet::run(INLET, &orders.arguments("check"), &[])
            .await
            .unwrap();
        assert_eq!(check.code, 0, "{}{}", check.stdout, check.stderr);
        assert!(
            check.stdout.contains("its changes are recorded: audit"),
            "{}",
            check.stdout
        );
    }
}

/// PostgreSQL's counters start the comparison of keys; a session that does not count leaves only
/// the journal.
const UNCOUNTED: &str = "SET track_counts = off;";

#[tokio::test]
async fn deletes_that_the_journal_has_arrive_without_a_pass_over_the_keys() {
    for verbs in WAYS {
        let tables = "tables: { items: { capture: keys }, named: { capture: keys } }\n";
        let copy = Copy::of(shared_database().await, verbs, tables).await;
        let database = &copy.database;
        database
            .sql(
                "CREATE TABLE items (id int PRIMARY KEY, v text);
                 CREATE TABLE named (name text, place uuid, PRIMARY KEY (place, name));
                 INSERT INTO items SELECT id, 'a' FROM generate_series(1, 5) AS id;
                 INSERT INTO named SELECT 'n\u{e9}\"' || id, gen_random_uuid()
                 FROM generate_series(1, 5) AS id",
            )
            .await
            .unwrap();
        capture(&copy, &["install", "--yes"]).await;
        let _services = copy.start(verbs);
        copy.await_rows("items", 5).await;
        copy.await_rows("named", 5).await;
        // The first pass over the keys comes after the load, and would find them too.
        eventually(PATIENCE, "the first passes have ended", async || {
            let status = copy.run_with("status", &["--json"]).await.stdout;
            let status: serde_json::Value = serde_json::from_str(&status)?;
            let tables = status["tables"].as_array().cloned().unwrap_or_default();
            let seen = |table: &&serde_json::Value| table["deletes"]["seen_until"].is_number();
            Ok(tables.iter().filter(seen).count() == 2)
        })
        .await;
        let gone = [
            (
                "items",
                "DELETE FROM items WHERE id = 1; UPDATE items SET id = 20 WHERE id = 2",
                2,
            ),
            (
                "named",
                "DELETE FROM named WHERE name LIKE '%1' OR name LIKE '%4'",
                2,
            ),
        ];
        for (table, sql, deletes) in gone {
            database.sql(&format!("{UNCOUNTED}{sql}")).await.unwrap();
            let files = copy.files(table);
            let folder = copy.folder.join("lake").join(table);
            let count = format!("SELECT count(*) FROM {files} WHERE _op = 'd'");
            eventually(PATIENCE, &format!("deletes of {table}"), async || {
                let found = duckdb::read(&folder, &count).await?;
                Ok(found[0][0] == deletes.to_string())
            })
            .await;
        }
        copy.verified().await;
        let recorded = "SELECT op, key->>'id', before::text FROM inlet.items_changes";
        for row in database.rows(recorded).await.unwrap() {
            assert_eq!(row[2], "NULL", "keys have no values: {row:?}");
        }
    }
}

#[tokio::test]
async fn a_change_that_leaves_the_cursor_unchanged_arrives_and_is_shown_beside_its_row() {
    for verbs in WAYS {
        let tables = "tables: { items: { capture: keys }, codes: { capture: audit } }\n";
        let copy = Copy::of(shared_database().await, verbs, tables).await;
        let database = &copy.database;
        database
            .sql(
                "CREATE TABLE items (id int PRIMARY KEY, v text, updated_at timestamptz NOT NULL \
                 DEFAULT now());
                 CREATE INDEX ON items (updated_at);
                 CREATE TABLE codes (code char(4), raw bytea, at timestamptz, n numeric(6, 2), \
                 PRIMARY KEY (code, raw, at, n));
                 INSERT INTO items SELECT id, 'a' FROM generate_series(1, 3) AS id",
            )
            .await
            .unwrap();
        capture(&copy, &["install", "--yes"]).await;
        let _services = copy.start(verbs);
        copy.await_rows("items", 3).await;
        // Sessions that do not count leave only the journal to find these.
        database
            .sql(&format!(
                "{UNCOUNTED}UPDATE items SET v = 'b' WHERE id = 1; DELETE FROM items WHERE id = 3;
                 INSERT INTO codes VALUES ('ab', '\\x00ff', '2026-11-20 10:00+02', 7.50)"
            ))
            .await
            .unwrap();
        copy.await_rows("items", 5).await;
        copy.await_rows("inlet.items_changes", 2).await;
        copy.await_rows("inlet.codes_changes", 1).await;
        judge::equal(INLET, &copy.config, database, "items").await;
        let query = async |sql: &str| {
            let sql = format!("{sql} ORDER BY change_id");
            let answer = copy.run_with("query", &["--format", "csv", &sql]).await;
            assert_eq!(answer.code, 0, "{}", answer.stderr);
            answer.stdout
        };
        let items = "SELECT op, key->>'id' AS id, current_row.v AS v, current_row IS NULL AS missing \
                     FROM inlet.items_changes_with_row";
        let expected = "op,id,v,missing\nupdate,1,b,false\ndelete,3,,true\n";
        assert_eq!(query(items).await.replace("NULL", ""), expected);
        let codes = "SELECT op, current_row.n AS n FROM inlet.codes_changes_with_row";
        assert_eq!(query(codes).await, "op,n\ninsert,7.50\n");
        let views = copy.run("views").await.stdout;
        assert!(views.contains("\"items_changes_with_row\""), "{views}");
    }
}

#[tokio::test]
async fn a_full_journal_stops_no_writer_and_what_it_lacks_is_shown() {
    let tables = "tables: { items: { capture: audit, journal_max: 1MiB } }\n";
    let copy = Copy::of(shared_database().await, &["run"], tables).await;
    let database = &copy.database;
    database
        .sql("CREATE TABLE items (id int PRIMARY KEY, v text)")
        .await
        .unwrap();
    capture(&copy, &["install", "--yes"]).await;
    let insert = "INSERT INTO items SELECT id, repeat('x', 500) FROM generate_series";
    database
        .sql(&format!("{insert}(1, 5000) AS id"))
        .await
        .unwrap();
    database
        .sql(&format!("{insert}(5001, 5002) AS id"))
        .await
        .unwrap();
    let rows = database.rows("SELECT count(*) FROM items").await.unwrap();
    assert_eq!(rows, [["5002"]], "the writers go on");
    let status = capture(&copy, &["status"]).await;
    assert!(status.contains("its journal is full"), "{status}");
    let check = copy.run("check").await;
    assert!(
        check.stdout.contains("its journal is full"),
        "{}",
        check.stdout
    );
    let _services = copy.start(&["run"]);
    eventually(PATIENCE, "the journal is trimmed", async || {
        let left = database
            .rows("SELECT count(*) FROM inlet.items_changes")
            .await?;
        Ok(left[0][0] == "0")
    })
    .await;
    // The server does so by itself, a minute later.
    database.sql("VACUUM inlet.items_changes").await.unwrap();
    eventually(PATIENCE, "changes are recorded again", async || {
        database.sql("VACUUM inlet.items_changes").await?;
        database
            .sql("UPDATE items SET v = v || 'y' WHERE id = 1")
            .await?;
        let glob = copy.folder.join("lake_changes/**/*.parquet");
        Ok(duckdb::count_glob(glob.display()).await? > 5000)
    })
    .await;
    // Beside the lake of a single table, where its pattern does not find it.
    let folder = copy.folder.join("lake_changes");
    let files = format!("read_parquet('{}/**/*.parquet')", folder.display());
    let gap = format!("SELECT count(*) FROM {files} WHERE missed > 0");
    assert_ne!(duckdb::read(&folder, &gap).await.unwrap()[0][0], "0");
}

#[tokio::test]
async fn a_journal_that_is_not_installed_is_named_with_its_command() {
    let tables = "tables: { items: { capture: audit } }\n";
    let copy = Copy::of(shared_database().await, &["run"], tables).await;
    copy.database
        .sql("CREATE TABLE items (id int PRIMARY KEY, v text)")
        .await
        .unwrap();
    for verb in ["run", "check"] {
        let finished = copy.run(verb).await;
        let said = finished.stdout + &finished.stderr;
        assert_ne!(finished.code, 0, "{said}");
        assert!(said.contains("inlet capture install items"), "{said}");
    }
    capture(&copy, &["install", "--yes"]).await;
    let finished = copy.run("check").await;
    assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
    copy.database
        .sql("ALTER TABLE items DISABLE TRIGGER inlet_capture_delete")
        .await
        .unwrap();
    let finished = copy.run("check").await;
    assert!(
        finished
            .stdout
            .contains("statements on items are not recorded"),
        "{}",
        finished.stdout
    );
}
