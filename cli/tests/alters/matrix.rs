//! Every type altered into every type.
//!
//! A table for each type has one column for each type that it is altered into. A cast that fails
//! gives null, so that every pair is altered, also those that PostgreSQL casts by their text only.
//! Rows were read before the change, and others are inserted after it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use inlet_harness::duckdb::{self, Version};

use crate::lake::{Captured, Way};

/// A type with values at its edges, as texts.
struct Type {
    /// In the names of tables and columns.
    name: &'static str,
    sql: &'static str,
    values: &'static [&'static str],
}

impl Type {
    /// Its name in docs/tables.md.
    fn shown(&self) -> &'static str {
        match self.name {
            "mood" => "an enum",
            _ => self.sql,
        }
    }
}

const fn of(name: &'static str, sql: &'static str, values: &'static [&'static str]) -> Type {
    Type { name, sql, values }
}

const TYPES: &[Type] = &[
    of("bool", "boolean", &["true", "false"]),
    of("int2", "smallint", &["-32768", "0", "1", "32767"]),
    of(
        "int4",
        "integer",
        &["-2147483648", "0", "1", "16777217", "2147483647"],
    ),
    of(
        "int8",
        "bigint",
        &[
            "-9223372036854775808",
            "0",
            "1",
            "9007199254740993",
            "9223372036854775807",
        ],
    ),
    of("oid", "oid", &["0", "1", "4294967295"]),
    of(
        "float4",
        "real",
        &["-0", "1", "1.1", "3.4e38", "NaN", "-Infinity"],
    ),
    of(
        "float8",
        "double precision",
        &[
            "-0",
            "1",
            "0.1",
            "9007199254740993",
            "1.7e308",
            "NaN",
            "Infinity",
        ],
    ),
    of(
        "numeric",
        "numeric",
        &[
            "0",
            "1",
            "1.10",
            "-123456789012345678901234567890.12345678901",
            "NaN",
        ],
    ),
    of(
        "dec10",
        "numeric(10,2)",
        &["0", "1", "-99999999.99", "99999999.99"],
    ),
    of(
        "dec38",
        "numeric(38,0)",
        &["0", "1", "-99999999999999999999999999999999999999"],
    ),
    of(
        "dec38s",
        "numeric(38,10)",
        &[
            "0",
            "1.9876543210",
            "-9999999999999999999999999999.9999999999",
        ],
    ),
    of(
        "dec50",
        "numeric(50,5)",
        &[
            "0",
            "1.00001",
            "-999999999999999999999999999999999999999999999.99999",
        ],
    ),
    of(
        "text",
        "text",
        &[
            "",
            "plain",
            "é \"'\\",
            "1",
            "1.5",
            "true",
            "2026-01-02",
            "2026-01-02 03:04:05.000006",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "{\"a\": 1}",
            "{1,2}",
            "\\x0102",
            "10.0.0.1/8",
        ],
    ),
    of("varchar", "varchar(20)", &["", "1", "plain", "2026-01-02"]),
    of("char", "character(10)", &["1", "plain"]),
    of(
        "json",
        "json",
        &["1", "null", "{\"a\": [1, 2.50]}", "\"text\""],
    ),
    of(
        "jsonb",
        "jsonb",
        &["1", "null", "{\"a\": [1, 2.50]}", "\"text\""],
    ),
    of(
        "uuid",
        "uuid",
        &[
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "00000000-0000-0000-0000-000000000000",
        ],
    ),
    of("bytea", "bytea", &["\\x", "\\x00ff", "\\x7b7d"]),
    of(
        "date",
        "date",
        &["0044-03-15 BC", "1970-01-01", "2026-11-20", "9999-12-31"],
    ),
    of("time", "time", &["00:00:00", "23:59:59.999999"]),
    of(
        "timestamp",
        "timestamp",
        &[
            "0044-03-15 BC",
            "1970-01-01 00:00:00.000001",
            "2026-11-20 12:34:56",
        ],
    ),
    of(
        "timestamptz",
        "timestamptz",
        &["1970-01-01 00:00:00.000001+00", "2026-11-20 12:34:56+05"],
    ),
    of(
        "interval",
        "interval",
        &["0", "1 year 2 mons -3 days 04:05:06.000007"],
    ),
    of("inet", "inet", &["10.0.0.1", "10.0.0.1/8", "::1"]),
    of("mood", "mood", &["sad", "1"]),
    of("ints", "integer[]", &["{}", "{1,NULL,2147483647}"]),
    of("texts", "text[]", &["{}", "{1,NULL,\"a b\"}"]),
    of("decs", "numeric(10,2)[]", &["{}", "{1.50,NULL}"]),
];

/// The tables, and a function for each pair that casts or gives null.
fn setup() -> String {
    let mut sql = "CREATE TYPE mood AS ENUM ('sad', '1');\n".to_owned();
    for from in TYPES {
        let mut columns = String::new();
        for to in TYPES {
            // An explicit cast where PostgreSQL has one, else by the text. Decimals in the lake
            // have no NaN: a row with one would go to the quarantine, with its other columns.
            let mut cast = format!("CAST(v AS {})", to.sql);
            if to.sql.starts_with("numeric(") && !to.sql.ends_with("[]") {
                cast = format!("NULLIF({cast}, 'NaN')");
            }
            writeln!(
                sql,
                "CREATE FUNCTION cast_{0}_{1}(v {2}) RETURNS {3} LANGUAGE plpgsql IMMUTABLE AS $$ \
                 BEGIN RETURN {cast}; EXCEPTION WHEN others THEN RETURN NULL; END $$;",
                from.name, to.name, from.sql, to.sql
            )
            .unwrap();
            write!(columns, ", to_{} {}", to.name, from.sql).unwrap();
        }
        writeln!(
            sql,
            "CREATE TABLE of_{} (id int PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT \
             '2026-11-20 10:00+00'{columns});",
            from.name
        )
        .unwrap();
        for (at, value) in from.values.iter().enumerate() {
            let value = format!("'{}'::{}", value.replace('\'', "''"), from.sql);
            let values = vec![value.as_str(); TYPES.len()].join(", ");
            writeln!(
                sql,
                "INSERT INTO of_{} VALUES ({at}, DEFAULT, {values});",
                from.name
            )
            .unwrap();
        }
    }
    sql
}

/// Alters every column into its type, and inserts the rows a second time under new keys.
fn alters() -> String {
    let mut sql = String::new();
    for from in TYPES {
        let alter = |to: &Type| {
            format!(
                "ALTER to_{1} TYPE {2} USING cast_{0}_{1}(to_{1})",
                from.name, to.name, to.sql
            )
        };
        let alters: Vec<_> = TYPES.iter().map(alter).collect();
        let columns: Vec<_> = TYPES.iter().map(|to| format!("to_{}", to.name)).collect();
        let columns = columns.join(", ");
        writeln!(
            sql,
            "ALTER TABLE of_{0} {1};\nINSERT INTO of_{0} (id, {columns}) SELECT id + 1000, \
             {columns} FROM of_{0};",
            from.name,
            alters.join(", ")
        )
        .unwrap();
    }
    sql
}

async fn every_pair(way: Way) {
    let captured = Captured::start(way, &setup()).await;
    captured.arrived().await;
    let tables: Vec<_> = TYPES
        .iter()
        .map(|from| format!("of_{}", from.name))
        .collect();
    captured.equal(&tables).await;
    captured.database.sql(&alters()).await.unwrap();
    captured.equal(&tables).await;
    captured.arrived().await;
    for table in &tables {
        captured.readable(table).await;
    }
    // The page lists which changes leave one column.
    let mut found = BTreeSet::new();
    for from in TYPES {
        let described = format!(
            "SELECT column_name FROM (DESCRIBE SELECT * FROM {})",
            captured.plainly(&format!("of_{}", from.name))
        );
        let names = duckdb::query_by(Version::V1, &described).await.unwrap();
        let names: BTreeSet<_> = names.concat().into_iter().collect();
        for to in TYPES.iter().filter(|to| to.name != from.name) {
            if !names.contains(&format!("to_{}__1", to.name)) {
                found.insert((from.shown(), to.shown()));
            }
        }
    }
    let page = pairs_of_the_page();
    let page: BTreeSet<_> = page.iter().map(|(from, to)| (&from[..], &to[..])).collect();
    let wrong: Vec<_> = found.symmetric_difference(&page).collect();
    assert!(
        wrong.is_empty(),
        "only seen or only in docs/tables.md: {wrong:?}"
    );
}

/// The pairs of types that stay one column, as docs/tables.md lists them.
fn pairs_of_the_page() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tables.md");
    let page = fs::read_to_string(path).unwrap();
    let table = page.split("<!-- begin: changes of type").nth(1).unwrap();
    let table = table.split("<!-- end: changes of type").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let pairs = cells.flat_map(|cells| {
        let others = cells[2]
            .split(", ")
            .filter(|other| *other != "nothing else");
        let pair = |other: &str| (cells[1].to_owned(), other.to_owned());
        others.map(pair).collect::<Vec<_>>()
    });
    pairs.collect()
}

#[tokio::test]
async fn a_column_of_any_type_becomes_one_of_any_other_type() {
    every_pair(Way::Direct).await;
}

#[tokio::test]
async fn a_column_of_any_type_becomes_one_of_any_other_type_through_kafka() {
    every_pair(Way::Json).await;
}

#[tokio::test]
async fn a_column_of_any_type_becomes_one_of_any_other_type_through_batches() {
    every_pair(Way::Arrow).await;
}
