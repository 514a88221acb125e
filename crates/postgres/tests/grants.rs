//! The statements of `inlet grants`, run by a real PostgreSQL.

#![allow(clippy::unwrap_used)] // Of helpers too: what fails in a test shall end it.

use inlet_harness::shared_database;
use inlet_model::{TableName, TableReference, quote};
use inlet_postgres::grants;
use inlet_service::config::{Config, TableConfig};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Names that end a comment, a literal, an identifier or a dollar quote, if they are not quoted.
const HOSTILE: [&str; 8] = [
    "a$inlet$b",
    "$inlet$; DROP TABLE witness; --",
    "$inlet_$ and $inlet$",
    "it's",
    "say \"hi\"",
    "two\nlines\nDROP TABLE witness;",
    "back\\slash 100%s %I",
    "Folded.Or.Not",
];

fn named(name: &str) -> TableConfig {
    TableConfig::named(TableReference::parse(name).unwrap())
}

#[tokio::test]
async fn no_name_breaks_out_of_the_statements() {
    let database = shared_database().await;
    database
        .sql("CREATE TABLE witness (id integer)")
        .await
        .unwrap();
    let mut config = Config::parse(&format!(
        "postgres: {{ url: \"{}\" }}\ntables: {{ witness: }}",
        database.url()
    ))
    .unwrap();
    for (at, name) in HOSTILE.iter().enumerate() {
        let schema = format!("{at} {name}");
        let table = format!("{}.{}", quote(&schema), quote(name));
        database
            .sql(&format!(
                "CREATE SCHEMA {}; CREATE TABLE {table} (id integer)",
                quote(&schema)
            ))
            .await
            .unwrap();
        config.tables.push(named(&table));
        // A pattern goes another way than a name, and so does an excluded table.
        config.tables.push(named(&format!("{}.*", quote(&schema))));
        config.tables.push(TableConfig {
            skip: true,
            ..named(&format!("{}.other*", quote(&schema)))
        });
        config.tables.push(TableConfig {
            skip: true,
            ..named(&format!("{}.{}", quote(&schema), quote("absent")))
        });
    }
    // An unquoted name may be folded, so it is resolved in the server, inside a `DO` block.
    database
        .sql(r#"CREATE TABLE "a$inlet$b" (id integer)"#)
        .await
        .unwrap();
    config.tables.push(named("A$inlet$B"));
    for role in HOSTILE {
        let role = format!("{role} {}", database.name());
        let role: String = role.chars().take(60).collect();
        let sql = grants::statements(&config, &role).unwrap();
        database
            .sql(&sql)
            .await
            .unwrap_or_else(|error| panic!("{error:#}\n{sql}"));
        let literal = format!("'{}'", role.replace('\'', "''"));
        let may = ["witness", r#""a$inlet$b""#]
            .map(|table| format!("has_table_privilege({literal}, '{table}', 'SELECT')"));
        let may = format!("SELECT {}", may.join(", "));
        assert_eq!(database.rows(&may).await.unwrap(), [["t", "t"]], "{role}");
    }
}

/// Names that a wildcard, a letter's case or an escape could confuse with each other.
const SIMILAR: [&str; 9] = ["a", "A", "ab", "a_b", "axb", "a%b", "a*b", "a\\b", "b"];

/// A part of a name as a configuration has it: quoted, plain, or with a wildcard.
fn part() -> impl Strategy<Value = String> {
    let plain = vec!["a", "A", "ab", "a_b", "b", "B"];
    prop_oneof![
        3 => select(SIMILAR.to_vec()).prop_map(quote),
        3 => select(plain).prop_map(str::to_owned),
        3 => select(vec!["*", "a*", "a_*", "*b", "A*"]).prop_map(str::to_owned),
    ]
}

/// Tables, patterns and skipped ones, as the configuration that `tables:` makes of them.
fn tables() -> impl Strategy<Value = Vec<TableConfig>> {
    let table = (part(), part(), prop::bool::weighted(0.3)).prop_map(|(schema, name, skip)| {
        let name = format!("{schema}.{name}");
        TableConfig {
            skip,
            ..named(&name)
        }
    });
    vec(table, 1..5)
}

#[tokio::test]
async fn the_role_may_read_exactly_the_tables_that_are_captured() {
    const CASES: usize = 60;
    let database = shared_database().await;
    let mut runner = TestRunner::deterministic();
    // Most of the pairs, so that a name may be absent in one schema and present in the next.
    let pairs =
        (0..SIMILAR.len()).flat_map(|schema| (0..SIMILAR.len()).map(move |name| (schema, name)));
    let catalog: Vec<TableName> = pairs
        .filter(|(schema, name)| (schema + 2 * name) % 7 != 0)
        .map(|(schema, name)| TableName::new(SIMILAR[schema], SIMILAR[name]))
        .collect();
    // A schema that does not exist stops the statements, so each one exists.
    let schemas = SIMILAR.iter().chain(&["B"]).map(|schema| quote(schema));
    let schemas = schemas.map(|schema| format!("CREATE SCHEMA {schema};"));
    let created = catalog
        .iter()
        .map(|table| format!("CREATE TABLE {} (id integer);", table.quoted()));
    let sql: String = schemas.chain(created).collect();
    database.sql(&sql).await.unwrap();
    let mut config = Config::parse(&format!(
        "postgres: {{ url: \"{}\" }}\ntables: {{ witness: }}",
        database.url()
    ))
    .unwrap();
    let mut granted = 0;
    for case in 0..CASES {
        config.tables = tables().new_tree(&mut runner).unwrap().current();
        let captured = config.clone().expanded(&catalog).tables;
        let found: Vec<_> = captured
            .iter()
            .map(|table| table.table.resolve(catalog.iter()))
            .collect();
        if found.contains(&None) {
            continue; // The statements fail for a table that does not exist, as the poll does.
        }
        let role = format!("role {case} {}", database.name());
        let sql = grants::statements(&config, &role).unwrap();
        database
            .sql(&sql)
            .await
            .unwrap_or_else(|error| panic!("{error:#}\n{sql}"));
        let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let rights = catalog.iter().map(|table| {
            format!(
                "has_table_privilege({0}, {1}, 'SELECT') \
                 AND has_schema_privilege({0}, {2}, 'USAGE')",
                literal(&role),
                literal(&table.quoted()),
                literal(&table.schema),
            )
        });
        let rights = format!("SELECT {}", rights.collect::<Vec<_>>().join(", "));
        let rights = database.rows(&rights).await.unwrap().remove(0);
        for (table, may) in catalog.iter().zip(rights) {
            // `A` means `a` where both exist, and neither is left to a pattern.
            let is_ambiguous = config
                .tables
                .iter()
                .any(|other| !other.is_pattern() && !other.skip && other.table.may_mean(table));
            let is_captured = found.contains(&Some(table));
            granted += usize::from(may == "t");
            if may == "t" && is_ambiguous {
                continue;
            }
            let tables: Vec<_> = config
                .tables
                .iter()
                .map(|table| format!("{} skip: {}", table.table, table.skip))
                .collect();
            assert_eq!(may == "t", is_captured, "{table} with {tables:?}\n{sql}");
        }
    }
    assert!(granted > CASES, "the cases grant something");
}
