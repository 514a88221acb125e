//! What is declared of the keys is so: each default, each example, and what configs/reference.yml
//! shows.

use super::super::{Absent, Form, Key, keys};
use super::{shipped, with};
use crate::config::Config;
use std::collections::HashMap;

/// Enough for every section to be checked.
const BASE: &str = "postgres: { url: 'postgresql://me@localhost/shop' }\nkafka: { brokers: \
    'localhost:9092' }\ndatalake: { path: lake }\n\
                    tables: { orders: {}, 'audit_*': {} }\n";

/// Every key that has a value of its own, with the lines that precede it in a file; of `tables`,
/// the
/// table `orders`.
fn every_key() -> Vec<(&'static Key, String)> {
    let below = |key: &'static Key| match key.form {
        Form::Section(below) => below
            .iter()
            .map(|below| (below, format!("{}:\n  ", key.name)))
            .collect(),
        Form::Tables(below) => below
            .iter()
            .map(|below| (below, format!("{}:\n  orders:\n    ", key.name)))
            .collect(),
        _ => vec![(key, String::new())],
    };
    keys().iter().flat_map(below).collect()
}

/// The lines that give the key this value.
fn lines(key: &Key, before: &str, value: &str) -> String {
    format!("{before}{}: {value}\n", key.name)
}

/// A configuration in which the key may be given.
fn base(key: &Key) -> String {
    match key.name {
        // One topic is for one table.
        "topic" => BASE.replace(", 'audit_*': {}", ""),
        "endpoint" | "region" | "allow_http" => {
            BASE.replace("path: lake", "path: 's3://lake/shop'")
        }
        "hash_columns" => BASE.replace("shop' }", "shop', hash_key: '0123456789abcdef' }"),
        _ => BASE.to_owned(),
    }
}

fn shown(base: &str, layer: &str) -> String {
    let config = Config::from_texts(&[("base.yml", base), ("layer.yml", layer)], &HashMap::new());
    format!(
        "{:?}",
        config.unwrap_or_else(|error| panic!("{layer}{error}"))
    )
}

#[test]
fn a_default_is_what_holds_without_the_key() {
    for (key, before) in every_key() {
        if let Absent::Value(value) = key.default {
            let base = base(key);
            let without = shown(&base, "");
            assert_eq!(
                shown(&base, &lines(key, &before, value)),
                without,
                "{value} is not the default of `{}`",
                key.name
            );
            let is_the_only_value = matches!(key.form, Form::Choice([_]));
            assert!(
                is_the_only_value || shown(&base, &lines(key, &before, key.example)) != without,
                "the example of `{}` changes nothing",
                key.name
            );
        }
    }
}

#[test]
fn every_example_is_taken() {
    // What files hold is tested elsewhere; these need not be on this machine.
    let apart = [
        "url_file",
        "user_file",
        "password_file",
        "read_url_file",
        "hash_key_file",
    ];
    let secret = ("INLET_HASH_KEY".to_owned(), "0123456789abcdef".to_owned());
    let environment = HashMap::from([secret]);
    for (key, before) in every_key()
        .iter()
        .filter(|(key, _)| !key.example.is_empty() && !apart.contains(&key.name))
    {
        let base = base(key);
        let sources = [
            ("base.yml", base.as_str()),
            ("layer.yml", &lines(key, before, key.example)),
        ];
        Config::from_texts(&sources, &environment)
            .unwrap_or_else(|error| panic!("{}: {error}", key.name));
    }
}

#[test]
fn every_key_is_described() {
    for (key, _) in every_key() {
        assert!(
            key.about.trim().ends_with('.'),
            "`{}` is not described in a sentence",
            key.name
        );
        let has_example =
            !key.example.is_empty() || matches!(key.form, Form::Properties(_) | Form::Choice(_));
        assert!(has_example, "`{}` has no example", key.name);
    }
}

#[test]
fn the_reference_shows_every_key_and_the_defaults() {
    let text = std::fs::read_to_string(shipped("reference.yml")).unwrap();
    let shown: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.trim_start_matches([' ', '#']).split_once(':'))
        .collect();
    for key in keys()
        .iter()
        .flat_map(|key| std::iter::once(key).chain(key.below()))
    {
        let values: Vec<_> = shown
            .iter()
            .filter(|(name, _)| *name == key.name)
            .map(|(_, value)| value.split(" #").next().unwrap_or_default().trim())
            .collect();
        assert!(
            !values.is_empty(),
            "configs/reference.yml does not show `{}`",
            key.name
        );
        if let Absent::Value(value) = key.default {
            assert!(
                values.contains(&value),
                "configs/reference.yml does not show {value}, the default of `{}`: {values:?}",
                key.name
            );
        }
    }
    let config = with(&[], &text).unwrap();
    assert_eq!(
        format!("{:?}", config.streaming),
        format!("{:?}", crate::config::StreamingConfig::default())
    );
}
