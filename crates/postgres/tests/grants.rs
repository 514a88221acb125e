//! The statements of `inlet grants`, run by a real PostgreSQL.

#![allow(clippy::unwrap_used)] // Of helpers too: what fails in a test shall end it.

use inlet_harness::shared_database;
use inlet_model::{TableReference, quote};
use inlet_postgres::grants;
use inlet_service::config::{Config, TableConfig};

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
