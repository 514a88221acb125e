//! The names of the views in DuckDB, whatever the names in PostgreSQL are.
//!
//! DuckDB compares names without the case of ASCII letters, also in double quotes, and has schemas
//! and databases of its own. The rule, which users read in docs/tables.md:
//!
//! * A table of `public` is a view of DuckDB's schema `main`; `public.orders` is the same view.
//! * Of names that differ in case only, the one in lower case keeps its name, else the first one.
//!   Each other one gets `_1`, or the next number that is free.
//! * A schema that DuckDB itself uses (`main`, `temp`, ..) gets `_1` in the same way.
//! * `<table>_history` and `<table>_quarantine`, and `<journal>_with_row`, give way to a table of
//!   that name, in the same way.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use inlet_model::{PUBLIC, TableName, quote};

/// Names that DuckDB has for schemas and databases of its own, and the one that means `main` here.
const RESERVED: [&str; 7] = [
    "main",
    "memory",
    "temp",
    "system",
    "information_schema",
    "pg_catalog",
    PUBLIC,
];

/// The name of a view: its schema, `None` for `main`, and its own name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViewName {
    /// DuckDB's schema.
    pub schema: Option<String>,
    /// The name of the view in it.
    pub name: String,
}

/// The names of the views of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewNames {
    pub latest: ViewName,
    pub history: ViewName,
    pub quarantine: ViewName,
    /// Of a journal: its changes with the rows that they changed.
    pub with_row: ViewName,
}

impl ViewNames {
    /// Those that every table has, the latest state first.
    pub fn all(&self) -> [&ViewName; 3] {
        [&self.latest, &self.history, &self.quarantine]
    }
}

impl fmt::Display for ViewName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quote(schema))?;
        }
        f.write_str(&quote(&self.name))
    }
}

/// Decides whether two names are one for DuckDB.
pub fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// The names of the views of every table, in the order of the tables.
pub fn of_tables(tables: &[TableName]) -> Vec<ViewNames> {
    let schemas: BTreeSet<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let schemas: Vec<&str> = schemas.into_iter().filter(|name| *name != PUBLIC).collect();
    let shown = distinct(&schemas, &RESERVED);
    let schema_of = |table: &TableName| {
        let at = schemas.iter().position(|schema| *schema == table.schema)?;
        Some(shown[at].clone())
    };
    let mut names = vec![None; tables.len()];
    let in_duckdb: BTreeSet<Option<String>> = tables.iter().map(schema_of).collect();
    for schema in in_duckdb {
        let here: Vec<usize> = (0..tables.len())
            .filter(|at| schema_of(&tables[*at]) == schema)
            .collect();
        let own: Vec<&str> = here.iter().map(|at| tables[*at].name.as_str()).collect();
        let latest = distinct(&own, &[]);
        let mut taken = Taken::of(latest.iter().map(String::as_str));
        for (at, latest) in here.into_iter().zip(&latest) {
            let named = |name: String| ViewName {
                schema: schema.clone(),
                name,
            };
            names[at] = Some(ViewNames {
                latest: named(latest.clone()),
                history: named(taken.claim(&format!("{latest}_history"))),
                quarantine: named(taken.claim(&format!("{latest}_quarantine"))),
                with_row: named(taken.claim(&format!("{latest}_with_row"))),
            });
        }
    }
    let named = names.into_iter();
    named
        .map(|names| names.expect("every table is in one schema"))
        .collect()
}

/// A name for each of these, in their order: all different for DuckDB, and different from
/// `reserved`.
pub fn distinct(names: &[&str], reserved: &[&str]) -> Vec<String> {
    let mut taken = Taken::of(reserved.iter().copied());
    let mut shown: Vec<Option<String>> = vec![None; names.len()];
    // Names in lower case are what people write without quotes: they keep their name. So does each
    // name that is alone. Only then do the others get numbers, which therefore take no one's name.
    for is_lower in [true, false] {
        for (name, shown) in names.iter().zip(&mut shown) {
            let is_next = shown.is_none() && (*name == name.to_ascii_lowercase()) == is_lower;
            if is_next && taken.is_free(name) {
                *shown = Some(taken.claim(name));
            }
        }
    }
    let named = names.iter().zip(shown);
    named
        .map(|(name, shown)| shown.unwrap_or_else(|| taken.claim(name)))
        .collect()
}

/// Names that are in use, without case.
#[derive(Debug, Default)]
struct Taken(HashSet<String>);

impl Taken {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.map(str::to_ascii_lowercase).collect())
    }

    fn is_free(&self, name: &str) -> bool {
        !self.0.contains(&name.to_ascii_lowercase())
    }

    /// The name, or with the smallest number that makes it free.
    fn claim(&mut self, name: &str) -> String {
        let numbered = (1..).map(|number| format!("{name}_{number}"));
        let free = std::iter::once(name.to_owned())
            .chain(numbered)
            .find(|name| self.is_free(name))
            .expect("finitely many names are taken");
        self.0.insert(free.to_ascii_lowercase());
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latest(tables: &[(&str, &str)]) -> Vec<String> {
        let tables: Vec<_> = tables
            .iter()
            .map(|(schema, name)| TableName::new(*schema, *name))
            .collect();
        let names = of_tables(&tables);
        names.iter().map(|names| names.latest.to_string()).collect()
    }

    #[test]
    fn names_that_differ_in_case_only_get_numbers_and_the_lower_case_one_keeps_its_name() {
        assert_eq!(
            latest(&[
                ("public", "Orders"),
                ("public", "orders"),
                ("public", "ORDERS"),
                ("public", "orders_1")
            ]),
            [
                r#""Orders_2""#,
                r#""orders""#,
                r#""ORDERS_3""#,
                r#""orders_1""#
            ]
        );
        assert_eq!(
            latest(&[("public", "Orders"), ("public", "ORDERS")]),
            [r#""Orders""#, r#""ORDERS_1""#]
        );
        // DuckDB knows the case of ASCII letters alone.
        assert_eq!(
            latest(&[("public", "Ä"), ("public", "ä")]),
            [r#""Ä""#, r#""ä""#]
        );
    }

    #[test]
    fn a_schema_of_duckdbs_own_gets_a_number() {
        assert_eq!(
            latest(&[
                ("public", "t"),
                ("main", "t"),
                ("Temp", "t"),
                ("sales", "t"),
                ("Sales", "t"),
                ("Public", "t")
            ]),
            [
                r#""t""#,
                r#""main_1"."t""#,
                r#""Temp_1"."t""#,
                r#""sales"."t""#,
                r#""Sales_1"."t""#,
                r#""Public_1"."t""#
            ]
        );
    }

    #[test]
    fn a_history_gives_way_to_a_table_of_its_name() {
        let tables = ["orders", "Orders_History"].map(|name| TableName::new("public", name));
        let names = of_tables(&tables);
        assert_eq!(names[0].history.name, "orders_history_1");
        assert_eq!(names[1].latest.name, "Orders_History");
        assert_eq!(names[1].history.name, "Orders_History_history");
    }
}
