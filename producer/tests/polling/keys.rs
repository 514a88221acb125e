//! Keys of types that PostgreSQL compares in its own way, and types with casts of their owners.

use super::script::{NONE, Poller, Session, settings};
use inlet_harness::shared_database;

/// What types the keys of these scripts have. `level` has a cast from text that reads every text as
/// the same value, and one to text that shows every value as the same, and null too.
const TYPES: &str = "\
CREATE EXTENSION citext;
CREATE TYPE level AS ENUM ('low', 'middle', 'high', 'a \"b\\c, {}');
CREATE FUNCTION of_level(level) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'high' $$;
CREATE FUNCTION to_level(text) RETURNS level LANGUAGE sql IMMUTABLE AS $$ SELECT 'low'::level $$;
CREATE CAST (level AS text) WITH FUNCTION of_level(level);
CREATE CAST (text AS level) WITH FUNCTION to_level(text);
CREATE TYPE place AS (level level, number numeric);
CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);";

#[tokio::test]
async fn keys_are_loaded_in_chunks_in_the_order_of_their_own_type() {
    let database = shared_database().await;
    database.sql(TYPES).await.unwrap();
    for (key, value) in [
        ("level", "(enum_range(NULL::level))[id % 4 + 1]"),
        ("level[]", "ARRAY[(enum_range(NULL::level))[id % 4 + 1]]"),
        (
            "place",
            "ROW((enum_range(NULL::level))[id % 4 + 1], id / 3.0)::place",
        ),
        (
            "citext",
            "CASE WHEN id % 2 = 0 THEN 'part' ELSE 'PART' END || id % 5",
        ),
        (
            "text COLLATE caseless",
            "CASE WHEN id % 2 = 0 THEN 'p' ELSE 'P' END || id % 5",
        ),
        ("numeric", "round(id % 7, id::integer % 3)"),
        (
            "interval",
            "make_interval(days => id::integer % 3, hours => 24 * (id::integer % 2))",
        ),
        ("jsonb", "to_jsonb(round(id % 7, id::integer % 3))"),
        ("inet", "'10.0.0.0'::inet + id % 5"),
        (
            "double precision",
            "CASE id % 3 WHEN 0 THEN 0 WHEN 1 THEN '-0' ELSE id END",
        ),
        ("bpchar", "rpad('a' || id % 5, (id % 4 + 2)::integer)"),
    ] {
        let table = format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint, ver integer NOT NULL DEFAULT 0, \
                updated_at timestamptz DEFAULT now(), part {key}, PRIMARY KEY (part, id)); \
                INSERT INTO t (id, part) SELECT id, {value} FROM generate_series(1, 40) id"
        );
        database.sql(&table).await.unwrap();
        let mut settings = settings(&database, &["t"]).await;
        settings.poll.chunk_rows = 3;
        let mut poller = Poller::new(settings).await;
        assert_eq!(poller.load().await, (1..=40).collect::<Vec<_>>(), "{key}");
        poller.restart().await;
        assert_eq!(poller.sweep().await, NONE, "{key}");
    }
}

#[tokio::test]
async fn a_table_whose_keys_are_compared_in_another_way_from_now_on_is_loaded_again() {
    let database = shared_database().await;
    database.sql(TYPES).await.unwrap();
    database
        .sql(
            "CREATE TABLE t (id bigint, ver integer NOT NULL DEFAULT 0, updated_at timestamptz \
                DEFAULT now(), part text, PRIMARY KEY (part, id)); CREATE INDEX ON t (updated_at); \
                INSERT INTO t (id, part) VALUES (1, 'a'), (2, 'B')",
        )
        .await
        .unwrap();
    let mut poller = Poller::tailing(settings(&database, &["t"]).await).await;
    let mut w = Session::of(&database).await;
    // PostgreSQL rewrites no row for this type: its texts are the same bytes.
    w.run("ALTER TABLE t ALTER part TYPE citext").await;
    assert_eq!(poller.load_again().await, [1, 2]);
    poller.restart().await;
    assert_eq!(poller.sweep().await, NONE);
    w.run("ALTER TABLE t ALTER part TYPE text COLLATE caseless")
        .await;
    assert_eq!(poller.load_again().await, [1, 2]);
    w.run("INSERT INTO t (id, part) VALUES (3, 'A')").await;
    assert_eq!(poller.cycle().await, [3]);
}
