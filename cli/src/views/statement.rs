//! Which tables a statement names: the identifiers in SQL, without a grammar.
//!
//! Every identifier counts, wherever it is: a view that a statement does not need costs a reading
//! of footers, and a missing one fails it. Text in quotes, in dollar quotes and in comments is no
//! identifier, except that a string which is a name alone counts too: `query_table('orders')`.

use inlet_model::TableName;

use super::names::{ViewNames, is_same};

/// The names in a statement.
#[derive(Debug)]
pub struct Statement(Vec<Name>);

#[derive(Debug)]
struct Name {
    text: String,
    is_quoted: bool,
}

/// The views that a statement gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// Of the tables at these places, under these names.
    Named(Vec<(usize, ViewNames)>),
    /// Of every table: the statement names none.
    All,
    /// The tables at these two places are one name for DuckDB.
    Ambiguous(usize, usize),
}

impl Statement {
    pub fn parse(sql: &str) -> Self {
        Self(identifiers(sql))
    }

    /// Decides whether a name occurs, as DuckDB compares names.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|found| is_same(&found.text, name))
    }

    /// The tables that it names; `named` are the views' names of every table.
    ///
    /// Where tables differ in case only, a statement that means one of them, as PostgreSQL reads
    /// its names, gets this one under its own name.
    pub fn asked(&self, tables: &[TableName], named: &[ViewNames]) -> Asked {
        let is_meant = |at: usize| self.0.iter().any(|name| name.means(&tables[at].name));
        let mut found = Vec::new();
        for (at, names) in named.iter().enumerate() {
            let own = &tables[at];
            // The tables whose own name is this one without case.
            let mut rivals = (0..tables.len()).filter(|other| {
                let other = (*other, &tables[*other]);
                other.0 != at && other.1.schema == own.schema && is_same(&other.1.name, &own.name)
            });
            let rival = rivals.find(|rival| is_meant(*rival));
            let mut names = names.clone();
            match rival {
                Some(rival) if is_meant(at) => {
                    return Asked::Ambiguous(at.min(rival), at.max(rival));
                }
                // In this statement the name is the other table's.
                Some(_) if names.latest.name == own.name => continue,
                None if is_meant(at) => names.latest.name.clone_from(&own.name),
                _ => {}
            }
            let views = names.all().into_iter().chain([&names.with_row]);
            let is_named = views.map(|view| &view.name).any(|name| self.has(name));
            if is_named {
                found.push((at, names));
            }
        }
        if found.is_empty() {
            Asked::All
        } else {
            Asked::Named(found)
        }
    }
}

impl Name {
    /// Decides whether PostgreSQL would read this name as the table's.
    fn means(&self, table: &str) -> bool {
        if self.is_quoted {
            self.text == table
        } else {
            self.text.to_lowercase() == table
        }
    }
}

/// The identifiers of a statement, and its strings.
fn identifiers(statement: &str) -> Vec<Name> {
    let mut names = Vec::new();
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '"' | '\'' => {
                let (text, after) = quoted(&rest[1..], first);
                names.push(Name {
                    text,
                    is_quoted: true,
                });
                after
            }
            '-' if rest.starts_with("--") => after(rest, "\n"),
            '/' if rest.starts_with("/*") => after(&rest[2..], "*/"),
            '$' => match dollar_tag(rest) {
                Some(tag) => after(&rest[tag.len()..], tag),
                None => &rest[1..],
            },
            _ if is_start(first) => {
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                names.push(Name {
                    text: rest[..end].to_owned(),
                    is_quoted: false,
                });
                &rest[end..]
            }
            // The letters of a number (`1e5`) are no name.
            _ if first.is_ascii_digit() => {
                rest.trim_start_matches(|c: char| is_part(c) || c == '.')
            }
            _ => &rest[first.len_utf8()..],
        };
    }
    names
}

fn is_start(c: char) -> bool {
    c.is_alphabetic() || c == '_' || !c.is_ascii()
}

fn is_part(c: char) -> bool {
    is_start(c) || c.is_ascii_digit() || c == '$'
}

/// The text up to the closing quote, and what is after it; two quotes inside are one.
fn quoted(inside: &str, quote: char) -> (String, &str) {
    let mut text = String::new();
    let mut rest = inside;
    loop {
        let Some((before, after)) = rest.split_once(quote) else {
            // DuckDB will refuse the open quote.
            text.push_str(rest);
            return (text, "");
        };
        text.push_str(before);
        match after.strip_prefix(quote) {
            Some(next) => {
                text.push(quote);
                rest = next;
            }
            None => return (text, after),
        }
    }
}

/// `$$` or `$tag$` at the beginning.
fn dollar_tag(text: &str) -> Option<&str> {
    let end = text[1..].find('$')? + 2;
    let tag = &text[1..end - 1];
    let is_tag = tag.chars().all(is_part) && !tag.starts_with(|c: char| c.is_ascii_digit());
    is_tag.then_some(&text[..end])
}

/// What follows the end mark.
fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.split_once(end).map_or("", |(_, after)| after)
}

#[cfg(test)]
mod tests {
    use super::super::names::of_tables;
    use super::*;

    fn tables(names: &[&str]) -> Vec<TableName> {
        names
            .iter()
            .map(|name| TableName::new("public", *name))
            .collect()
    }

    /// The tables that a statement gets, with the names of their views.
    fn views(statement: &str, names: &[&str]) -> Vec<(String, String)> {
        let tables = tables(names);
        match Statement::parse(statement).asked(&tables, &of_tables(&tables)) {
            Asked::Named(found) => found
                .into_iter()
                .map(|(at, names)| (tables[at].name.clone(), names.latest.name))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn named(statement: &str, names: &[&str]) -> Vec<String> {
        let views = views(statement, names);
        views.into_iter().map(|(table, _)| table).collect()
    }

    #[test]
    fn identifiers_are_found_and_texts_and_comments_are_not() {
        let all = ["orders", "a\"b", "größe", "x$y", "e5"];
        assert_eq!(named("SELECT 'my orders' FROM \"a\"\"b\"", &all), ["a\"b"]);
        assert_eq!(named("FROM größe -- orders\n", &all), ["größe"]);
        assert_eq!(
            named("FROM x$y /* orders */, ORDERS", &all),
            ["orders", "x$y"]
        );
        assert_eq!(named("SELECT $q$ orders $q$, 1e5 FROM x$y", &all), ["x$y"]);
        assert_eq!(named("FROM query_table('orders')", &all), ["orders"]);
        assert_eq!(named("FROM public.orders_history h", &all), ["orders"]);
        assert_eq!(named("FROM orders, \"open", &all), ["orders"]);
    }

    #[test]
    fn of_tables_that_differ_in_case_only_the_meant_one_gets_its_own_name() {
        let both = ["orders", "Orders"];
        let pair = |table: &str, view: &str| vec![(table.to_owned(), view.to_owned())];
        assert_eq!(views("FROM orders", &both), pair("orders", "orders"));
        assert_eq!(views("FROM ORDERS", &both), pair("orders", "orders"));
        assert_eq!(views("FROM \"Orders\"", &both), pair("Orders", "Orders"));
        assert_eq!(
            views("FROM \"Orders_1\"", &both),
            pair("Orders", "Orders_1")
        );
        assert_eq!(views("FROM orders, \"Orders_1\"", &both).len(), 2);
        let tables = tables(&both);
        let asked =
            |statement: &str| Statement::parse(statement).asked(&tables, &of_tables(&tables));
        assert_eq!(asked("FROM orders, \"Orders\""), Asked::Ambiguous(0, 1));
        assert_eq!(asked("SHOW TABLES"), Asked::All);
    }
}
