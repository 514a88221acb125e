//! The catalog of a real PostgreSQL, as far as capturing tables needs it.

#![allow(clippy::unwrap_used)] // Of helpers too: what fails in a test shall end it.

use std::collections::BTreeSet;

use inlet_harness::{Database, shared_database};
use inlet_model::TableReference;
use inlet_postgres::{Captured, CatalogError, CursorKind, Structure, capture, read_structures};
use inlet_service::config::TableConfig;
use inlet_service::error::{Explain, Kind, report};
use sqlx::{Connection, PgConnection};

fn named(name: &str) -> TableConfig {
    TableConfig::named(TableReference::parse(name).unwrap())
}

async fn captured(database: &Database, asked: &str) -> Result<Captured, CatalogError> {
    let mut connection = database.connect().await.expect("a connection");
    capture(&mut connection, &named(asked)).await
}

async fn found(database: &Database, asked: &str) -> String {
    captured(database, asked)
        .await
        .expect("the table can be captured")
        .schema
        .table
        .to_string()
}

async fn refused(database: &Database, asked: &str) -> String {
    let error = captured(database, asked)
        .await
        .expect_err("the table cannot be captured");
    assert_eq!(error.kind(), Kind::Config);
    report(&error)
}

#[tokio::test]
async fn a_name_means_what_it_means_in_sql() {
    let database = shared_database().await;
    let sql = r#"CREATE SCHEMA "Mixed"; CREATE SCHEMA shop; CREATE TABLE "Mixed"."Case" (id int); CREATE TABLE ROLL001_orders (id int);
        CREATE TABLE "Both" (id int); CREATE TABLE both (id int); CREATE TABLE shop.items (id int); CREATE TABLE "Only" (id int)"#;
    database
        .sql(&sql.replace(" both ", " \"both\" "))
        .await
        .expect("the tables are made");
    for (asked, expected) in [
        ("ROLL001_orders", "public.roll001_orders"),
        ("public.Roll001_Orders", "public.roll001_orders"),
        ("Only", "public.Only"),
        ("Both", "public.both"),
        (r#""Both""#, "public.Both"),
        (r#""Mixed"."Case""#, "Mixed.Case"),
        ("Mixed.Case", "Mixed.Case"),
        ("SHOP.Items", "shop.items"),
    ] {
        assert_eq!(found(&database, asked).await, expected, "{asked}");
    }
    // Not in the search path, so it takes its schema; and it is offered.
    let error = refused(&database, "items").await;
    assert!(
        error.contains(
            "table `items` does not exist in this database; tables with a similar \
        name: `shop.items`"
        ),
        "{error}"
    );
    // A schema that the search path does not contain has to be written, also when it is `public`.
    let options = format!("{}?options=-csearch_path%3Dshop", database.url());
    let mut connection = PgConnection::connect(&options).await.expect("a connection");
    let error = capture(&mut connection, &named("roll001_orders"))
        .await
        .expect_err("the search path lacks its schema");
    let error = report(&error);
    assert!(
        error.contains("with a similar name: `public.roll001_orders`"),
        "{error}"
    );
    let error = refused(&database, "roll001_order").await;
    assert!(error.contains("`roll001_orders`"), "{error}");
}

#[tokio::test]
async fn what_would_hide_rows_is_refused_with_the_way_out() {
    let database = shared_database().await;
    let sql = "CREATE TABLE t (id int); CREATE VIEW v AS TABLE t; CREATE MATERIALIZED VIEW m AS \
        TABLE t; CREATE SEQUENCE s;
        CREATE TABLE reserved (_op text); CREATE TABLE guarded (id int); ALTER TABLE guarded \
        ENABLE ROW LEVEL SECURITY;
        CREATE SCHEMA closed; CREATE TABLE closed.t (id int); DROP ROLE IF EXISTS catalog_reader; \
        CREATE ROLE catalog_reader; GRANT SELECT ON guarded, closed.t TO catalog_reader";
    database.sql(sql).await.expect("the tables are made");
    for (asked, expected) in [
        (
            "v",
            "`public.v` is a view: its rows have no version (`xmin`): name its table instead",
        ),
        ("m", "is a materialized view"),
        ("s", "is a sequence"),
        (
            "reserved",
            "run in PostgreSQL: ALTER TABLE \"public\".\"reserved\" RENAME COLUMN \"_op\" TO \
                \"op\";",
        ),
    ] {
        let error = refused(&database, asked).await;
        assert!(error.contains(expected), "{error}");
    }
    let mut connection = database.connect().await.expect("a connection");
    sqlx::raw_sql("SET ROLE catalog_reader")
        .execute(&mut connection)
        .await
        .expect("the role is there");
    for (asked, expected) in [
        (
            "t",
            "run in PostgreSQL: GRANT SELECT ON \"public\".\"t\" TO \"catalog_reader\";",
        ),
        (
            "closed.t",
            "run in PostgreSQL: GRANT USAGE ON SCHEMA \"closed\" TO \"catalog_reader\";",
        ),
        (
            "guarded",
            "row security of table `public.guarded` hides rows from role `catalog_reader`",
        ),
    ] {
        let error = capture(&mut connection, &named(asked))
            .await
            .expect_err("the table cannot be captured");
        assert!(report(&error).contains(expected), "{}", report(&error));
    }
}

#[tokio::test]
async fn key_and_cursor_come_from_the_indexes() {
    let database = shared_database().await;
    let sql = "CREATE TABLE a (x int, gone int, b int, a int, updated_at timestamptz NOT NULL, \
        PRIMARY KEY (a, b) INCLUDE (x));
        ALTER TABLE a DROP COLUMN gone; CREATE INDEX ON a (updated_at) WHERE x > 0;
        CREATE TABLE b (x int, code text NOT NULL, at timestamp);
        CREATE UNIQUE INDEX ON b (code) WHERE x > 0; CREATE UNIQUE INDEX ON b (lower(code)); \
        CREATE UNIQUE INDEX ON b (x); CREATE INDEX ON b USING brin (at);
        CREATE TABLE c (x int NOT NULL, y int NOT NULL, day date, UNIQUE (x) DEFERRABLE, UNIQUE \
        (y, x)); CREATE INDEX ON c (x, day);
        CREATE TABLE p (id int, created_at timestamptz) PARTITION BY RANGE (created_at); CREATE \
        INDEX ON p (created_at);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')";
    database.sql(sql).await.expect("the tables are made");
    let names = |table: &Captured| {
        table
            .schema
            .key
            .iter()
            .map(|at| table.schema.columns[*at].name.clone())
            .collect::<Vec<_>>()
    };

    let a = captured(&database, "a").await.expect("a table");
    assert_eq!(names(&a), ["a", "b"]);
    let cursor = a.cursor.expect("a cursor");
    assert_eq!(
        (cursor.column, cursor.kind, cursor.indexed, cursor.nullable),
        (3, CursorKind::Timestamptz, false, false)
    );
    assert_eq!(
        a.missing_index().expect("a statement"),
        "CREATE INDEX CONCURRENTLY ON \"public\".\"a\" (\"updated_at\")"
    );

    let b = captured(&database, "b").await.expect("a table");
    assert!(
        b.schema.key.is_empty(),
        "partial, over an expression, or nullable"
    );
    let cursor = b.cursor.expect("a cursor");
    assert_eq!(
        (cursor.column, cursor.kind, cursor.indexed, cursor.nullable),
        (2, CursorKind::Timestamp, true, true)
    );
    assert_eq!(b.missing_index(), None);

    let c = captured(&database, "c").await.expect("a table");
    assert_eq!(names(&c), ["y", "x"], "a deferrable index is no key");
    assert_eq!(c.cursor, None, "an index that has it second finds nothing");

    let p = captured(&database, "p").await.expect("a table");
    assert!(p.partitioned && p.cursor.expect("a cursor").indexed);
    assert_eq!(p.structure.relfilenode, 0);
}

#[tokio::test]
async fn the_statement_for_a_missing_index_makes_the_cursor_indexed() {
    let database = shared_database().await;
    database
        .sql(
            "CREATE TABLE \"Odd Name\" (created timestamptz); CREATE TABLE p (created date) \
            PARTITION BY RANGE (created)",
        )
        .await
        .expect("tables");
    for table in ["Odd Name", "p"] {
        let before = captured(&database, table).await.expect("a table");
        database
            .sql(&before.missing_index().expect("a statement"))
            .await
            .expect("the index is made");
        let after = captured(&database, table).await.expect("a table");
        assert!(after.cursor.expect("a cursor").indexed);
        assert_ne!(before.structure.indexes, after.structure.indexes);
    }
}

#[tokio::test]
async fn structure_changes_with_every_alter_and_with_nothing_else() {
    let database = shared_database().await;
    database
        .sql(
            "CREATE TABLE t (id int PRIMARY KEY, a varchar(5), b int); CREATE TABLE other (id int)",
        )
        .await
        .expect("tables");
    let oid = captured(&database, "t").await.expect("a table").oid;
    let mut connection = database.connect().await.expect("a connection");
    let mut before = read_structures(&mut connection, &[(oid, &BTreeSet::new())])
        .await
        .expect("a structure");
    let same = |before: Structure, after: Structure| {
        (
            before.relfilenode == after.relfilenode,
            before.definition == after.definition,
            before.indexes == after.indexes,
        )
    };
    let descendants = |structure: &[(u32, Structure)]| structure[0].1.descendants;
    for (sql, expected) in [
        (
            "INSERT INTO t VALUES (1, 'a', 1); UPDATE t SET b = 2; DELETE FROM t",
            (true, true, true),
        ),
        ("ANALYZE t", (true, true, true)),
        ("VACUUM (FREEZE) t", (true, true, true)),
        ("ALTER TABLE other ADD COLUMN x int", (true, true, true)),
        (
            "ALTER TABLE t ADD COLUMN c int DEFAULT 5",
            (true, false, true),
        ),
        ("ALTER TABLE t RENAME COLUMN c TO d", (true, false, true)),
        ("ALTER TABLE t DROP COLUMN d", (true, false, true)),
        (
            "ALTER TABLE t ALTER COLUMN a TYPE varchar(9)",
            (true, false, true),
        ),
        (
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
            (true, false, true),
        ),
        ("CREATE INDEX extra ON t (b)", (true, true, false)),
        ("DROP INDEX extra", (true, true, false)),
        ("TRUNCATE t", (false, false, true)),
    ] {
        database.sql(sql).await.expect(sql);
        let after = read_structures(&mut connection, &[(oid, &BTreeSet::new())])
            .await
            .expect("a structure");
        assert_eq!(
            same(before[0].1, after[0].1),
            expected,
            "{sql}: {before:?} {after:?}"
        );
        before = after;
    }
    for (sql, changes) in [
        ("CREATE TABLE child () INHERITS (t)", true),
        ("CREATE TABLE grandchild () INHERITS (child)", true),
        (
            "INSERT INTO child VALUES (1); ALTER TABLE grandchild ADD COLUMN d int; ANALYZE t; \
                VACUUM pg_inherits",
            false,
        ),
        (
            "DROP TABLE grandchild; CREATE TABLE grandchild () INHERITS (child)",
            true,
        ),
        ("ALTER TABLE grandchild NO INHERIT child", true),
        ("DROP TABLE grandchild; DROP TABLE child", true),
    ] {
        let sql_parts = sql.split("; ").map(str::to_owned).collect::<Vec<_>>();
        for part in sql_parts {
            database.sql(&part).await.expect(sql);
        }
        let after = read_structures(&mut connection, &[(oid, &BTreeSet::new())])
            .await
            .expect("a structure");
        assert_eq!(
            descendants(&before) != descendants(&after),
            changes,
            "{sql}: {before:?} {after:?}"
        );
        before = after;
    }
    database
        .sql("DROP TABLE t")
        .await
        .expect("the table is dropped");
    assert!(
        read_structures(&mut connection, &[(oid, &BTreeSet::new())])
            .await
            .expect("an answer")
            .is_empty()
    );
}

#[tokio::test]
async fn structure_changes_with_every_type_that_a_column_is_made_of_however_deep() {
    let database = shared_database().await;
    let sql = "CREATE TYPE state AS ENUM ('a', 'b'); CREATE TYPE other AS ENUM ('x');
        CREATE DOMAIN state_domain AS state; CREATE TYPE pair AS (one integer, two state_domain[]);
        CREATE TYPE pairs AS RANGE (subtype = pair);
        CREATE TABLE t (id int PRIMARY KEY, pairs pairs[]); CREATE TABLE plain (id int)";
    database.sql(sql).await.expect("tables");
    let table = captured(&database, "t").await.expect("a table");
    let plain = captured(&database, "plain").await.expect("a table");
    assert!(plain.types.is_empty() && plain.structure.types == 0);
    let mut connection = database.connect().await.expect("a connection");
    let mut asked = async || {
        let tables = [
            (table.oid, table.types.as_ref()),
            (plain.oid, plain.types.as_ref()),
        ];
        let read = read_structures(&mut connection, &tables).await;
        let read = read.expect("structures");
        let of = |oid| read.iter().find(|(of, _)| *of == oid).expect("it exists").1;
        assert_eq!(of(plain.oid), plain.structure);
        of(table.oid)
    };
    let mut before = asked().await;
    assert_eq!(before, table.structure, "the first reading is the same");
    for (sql, changes) in [
        ("ALTER TYPE state RENAME VALUE 'a' TO 'c'", true),
        ("ALTER TYPE state ADD VALUE 'd'", true),
        ("ALTER TYPE pair ADD ATTRIBUTE three text", true),
        ("ALTER TYPE pair DROP ATTRIBUTE one", true),
        ("ALTER DOMAIN state_domain SET DEFAULT 'b'", true),
        ("ALTER TYPE other RENAME VALUE 'x' TO 'y'", false),
        ("INSERT INTO t VALUES (1, NULL)", false),
        (
            "VACUUM pg_enum; VACUUM pg_type; VACUUM FREEZE pg_attribute",
            false,
        ),
    ] {
        for part in sql.split("; ") {
            database.sql(part).await.expect(part);
        }
        let after = asked().await;
        assert_eq!(before != after, changes, "{sql}: {before:?} {after:?}");
        before = after;
    }
}
