//! Patterns among the tables: `shop.*` means every table of a schema that the catalog has, without
//! the skipped ones.

use std::borrow::Borrow;
use std::cmp::Reverse;

use inlet_model::{Identifier, PUBLIC, TableName, TableReference};
use wildmatch::WildMatchPattern;

use super::file::{ConfigError, Problem, Problems};
use super::tables::TableConfig;
use super::{Config, kafka, tables};

/// Means any text in a pattern.
const ANY: char = '*';
/// A character for any single one is not part of our patterns; a name cannot hold this one.
const ONE: char = '\0';

impl TableConfig {
    /// True for a pattern, which names tables only once the catalog was asked.
    pub fn is_pattern(&self) -> bool {
        is_open(self.table.name()) || self.table.schema().is_some_and(is_open)
    }

    /// Whether the pattern means this table; without a schema it means `public`.
    fn matches(&self, table: &TableName) -> bool {
        let schema = self.table.schema();
        schema.map_or(table.schema == PUBLIC, |part| fits(part, &table.schema))
            && fits(self.table.name(), &table.name)
    }
}

/// Sorts patterns by what counts for a table that several of them mean: the longest one, and of
/// equally long ones the first.
pub fn sort_by_precedence<T: Borrow<TableConfig>>(patterns: &mut [T]) {
    patterns.sort_by_key(|pattern| Reverse(pattern.borrow().written().len()));
}

impl Config {
    /// True while the catalog has to be asked which tables there are.
    pub fn has_patterns(&self) -> bool {
        self.tables.iter().any(TableConfig::is_pattern)
    }

    /// Replaces the patterns by the tables of the catalog that they mean, and removes the skipped
    /// ones.
    ///
    /// Fails when a pattern means no table, or two tables would share a topic.
    pub fn resolved(self, catalog: &[TableName]) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        let patterns = self.tables.iter().filter(|table| table.is_pattern());
        for pattern in
            patterns.filter(|pattern| !catalog.iter().any(|table| pattern.matches(table)))
        {
            let hint = "a pattern is `schema.*` or `schema.part*`; the role sees only schemas that \
                exist in this database";
            problems.add(
                Problem::new(format!(
                    "no table of the database matches `{}`",
                    pattern.written()
                ))
                .hint(hint),
            );
        }
        let config = self.expanded(catalog);
        if config.tables.is_empty() && problems.len() == 0 {
            problems.add(
                Problem::new("every table is skipped")
                    .hint("leave `skip: true` out where a table is to be captured"),
            );
        }
        if let Some(kafka) = &config.kafka {
            kafka::check_topics(kafka, None, &config.tables, &mut problems);
        }
        if problems.len() == 0 {
            Ok(config)
        } else {
            Err(problems.into_error())
        }
    }

    /// The same with the patterns replaced by those of these tables that they mean, which may be
    /// none.
    ///
    /// A table that is named goes before a pattern that means it, and of several patterns the
    /// longest one counts.
    pub fn expanded(mut self, known: &[TableName]) -> Self {
        let (mut patterns, named): (Vec<_>, Vec<_>) = std::mem::take(&mut self.tables)
            .into_iter()
            .partition(TableConfig::is_pattern);
        sort_by_precedence(&mut patterns);
        for found in known {
            let table = TableReference::exact(found);
            // A table that is named itself has its own settings, whatever a pattern states.
            // Journals follow from their tables.
            if named.iter().any(|named| named.table.may_mean(found)) {
                continue;
            }
            let Some(pattern) = patterns.iter().find(|pattern| pattern.matches(found)) else {
                continue;
            };
            self.tables.push(TableConfig {
                table,
                ..pattern.clone()
            });
        }
        self.tables.extend(named);
        self.tables.retain(|table| !table.skip);
        tables::add_journals(&mut self.tables);
        self.tables.sort_by_key(TableConfig::written);
        // The number of tables may change from day to day, so each has a folder of its own from the
        // start.
        self.has_folders = true;
        self
    }
}

/// True for a part of a name that means several names; in quotes a star is a character.
fn is_open(part: &Identifier) -> bool {
    !part.is_quoted() && part.text().contains(ANY)
}

fn fits(part: &Identifier, name: &str) -> bool {
    if is_open(part) {
        WildMatchPattern::<ANY, ONE>::new(part.text()).matches(name)
    } else {
        part.text() == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(tables: &str, catalog: &[(&str, &str)]) -> Result<Vec<String>, ConfigError> {
        let text = format!(
            "postgres: {{ url: \"postgres://me@db/shop\" }}\ndatalake: {{ path: lake \
                }}\ntables:\n{tables}"
        );
        let catalog: Vec<_> = catalog
            .iter()
            .map(|(schema, name)| TableName::new(*schema, *name))
            .collect();
        let config = Config::parse(&text)
            .expect("the text is right")
            .resolved(&catalog)?;
        Ok(config.tables.iter().map(TableConfig::written).collect())
    }

    const SHOP: &[(&str, &str)] = &[
        ("public", "visits"),
        ("shop", "audit_1"),
        ("shop", "audit_2"),
        ("shop", "Orders"),
        ("shop", "customers"),
    ];

    #[test]
    fn a_pattern_is_every_table_of_its_schema() {
        assert_eq!(
            resolved("  shop.*:\n", SHOP).unwrap(),
            [
                "shop.Orders",
                "shop.audit_1",
                "shop.audit_2",
                "shop.customers"
            ]
        );
        assert_eq!(resolved("  '*':\n", SHOP).unwrap(), ["public.visits"]);
        assert_eq!(
            resolved("  '*.*t*s':\n", SHOP).unwrap(),
            ["public.visits", "shop.customers"]
        );
    }

    #[test]
    fn what_is_skipped_is_not_captured() {
        assert_eq!(
            resolved("  shop.*:\n  shop.audit_*: { skip: true }\n", SHOP).unwrap(),
            ["shop.Orders", "shop.customers"]
        );
        assert_eq!(
            resolved("  shop.a*:\n  shop.audit_2: { skip: true }\n", SHOP).unwrap(),
            ["shop.audit_1"]
        );
    }

    #[test]
    fn a_table_that_is_named_keeps_its_own_settings() {
        let text = "postgres: { url: \"postgres://me@db/shop\" }\ntables:\n  shop.*: { rules: [\"a \
            > 1\"] }\n  shop.orders: { rules: [\"b > 1\"] }\n";
        let catalog: Vec<_> = [("shop", "orders"), ("shop", "customers")]
            .map(|(schema, name)| TableName::new(schema, name))
            .to_vec();
        let config = Config::parse(text).unwrap().resolved(&catalog).unwrap();
        let rules: Vec<_> = config
            .tables
            .iter()
            .map(|table| (table.written(), table.rules.concat()))
            .collect();
        assert_eq!(
            rules,
            [
                ("shop.customers".to_owned(), "a > 1".to_owned()),
                ("shop.orders".to_owned(), "b > 1".to_owned())
            ]
        );
    }

    #[test]
    fn a_pattern_without_a_table_is_named() {
        let error = resolved("  shp.*:\n", SHOP).unwrap_err().to_string();
        assert!(
            error.contains("no table of the database matches `shp.*`"),
            "{error}"
        );
    }

    #[test]
    fn parts_do_not_overlap() {
        let fits = |pattern, name| fits(&Identifier::parse(pattern).unwrap(), name);
        assert!(
            fits("a*a", "aa")
                && !fits("a*a", "a")
                && fits("*", "")
                && fits("a*b*c", "a1b2c")
                && !fits("a*b*c", "acb")
                && !fits("a", "ab")
                && !fits("a?", "ab")
        );
    }

    #[test]
    fn a_star_in_quotes_is_a_character_of_a_name() {
        let config = |table: &str| {
            let text = format!(
                "postgres: {{ url: \"postgres://me@db/shop\" }}\ntables: {{ {table}: {{}} }}\n"
            );
            Config::parse(&text).unwrap()
        };
        assert!(config("'shop.*'").has_patterns());
        assert!(!config("'shop.\"a*b\"'").has_patterns());
        let catalog = [("a*", "t"), ("ab", "t")];
        assert_eq!(resolved("  '\"a*\".*':\n", &catalog).unwrap(), ["a*.t"]);
    }

    #[test]
    fn a_name_in_quotes_takes_no_other_table_from_a_pattern() {
        let catalog = [("shop", "Orders"), ("shop", "orders")];
        assert_eq!(
            resolved(
                "  'shop.*':\n  'shop.\"Orders\"': { skip: true }\n",
                &catalog
            )
            .unwrap(),
            ["shop.orders"]
        );
    }
}
