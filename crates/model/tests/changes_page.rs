//! docs/tables.md agrees with the code on which types of one column readers put together: the table
//! is rendered from [`union`], and compared with the page.
//!
//! `make alters` compares the same table with what readers see of real columns.

#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use inlet_model::{CatalogType, ColumnType, Scalar, Union, union};

const BEGIN: &str = "<!-- begin: changes of type, rendered from the code -->\n";
const END: &str = "<!-- end: changes of type -->\n";

/// A type as SQL writes it, and as the catalog has it: name, modifier, whether it is an array.
const TYPES: &[(&str, &str, i32, bool)] = &[
    ("boolean", "bool", -1, false),
    ("smallint", "int2", -1, false),
    ("integer", "int4", -1, false),
    ("bigint", "int8", -1, false),
    ("oid", "oid", -1, false),
    ("real", "float4", -1, false),
    ("double precision", "float8", -1, false),
    ("numeric", "numeric", -1, false),
    ("numeric(10,2)", "numeric", decimal(10, 2), false),
    ("numeric(38,0)", "numeric", decimal(38, 0), false),
    ("numeric(38,10)", "numeric", decimal(38, 10), false),
    ("numeric(50,5)", "numeric", decimal(50, 5), false),
    ("text", "text", -1, false),
    ("varchar(20)", "varchar", -1, false),
    ("character(10)", "bpchar", -1, false),
    ("json", "json", -1, false),
    ("jsonb", "jsonb", -1, false),
    ("uuid", "uuid", -1, false),
    ("bytea", "bytea", -1, false),
    ("date", "date", -1, false),
    ("time", "time", -1, false),
    ("timestamp", "timestamp", -1, false),
    ("timestamptz", "timestamptz", -1, false),
    ("interval", "interval", -1, false),
    ("inet", "inet", -1, false),
    ("an enum", "", -1, false),
    ("integer[]", "int4", -1, true),
    ("text[]", "text", -1, true),
    ("numeric(10,2)[]", "numeric", decimal(10, 2), true),
];

const fn decimal(precision: i32, scale: i32) -> i32 {
    ((precision << 16) | scale) + 4
}

/// What a column of the type becomes; what the mapping does not know is read as text.
fn column_type(&(_, name, modifier, array): &(&str, &str, i32, bool)) -> ColumnType {
    let catalog = CatalogType {
        name,
        modifier,
        array,
    };
    ColumnType::of(catalog).unwrap_or(ColumnType::Scalar(Scalar::Text))
}

/// The table: for each type those that a column may change to and stay one column for readers.
fn table() -> String {
    let mut table =
        "| a column of type | stays one column as | in DuckDB before |\n|---|---|---|\n".to_owned();
    for from in TYPES {
        let before = column_type(from);
        let others: Vec<_> = TYPES
            .iter()
            .filter(|to| to.0 != from.0 && union(before, column_type(to)) != Union::NewGeneration)
            .map(|to| to.0)
            .collect();
        let others = match others.as_slice() {
            [] => "nothing else".to_owned(),
            others => others.join(", "),
        };
        writeln!(table, "| {} | {others} | {} |", from.0, before.duckdb()).unwrap();
    }
    table
}

#[test]
fn the_table_of_changes_agrees_with_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tables.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(
        shown == table,
        "docs/tables.md differs from the code; render it again: UPDATE_DOCS=1 cargo test \
            --release --workspace --test changes_page"
    );
}
