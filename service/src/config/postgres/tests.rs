//! Addresses and passwords, in every way they may be given.

use std::collections::HashMap;

use super::SslMode;
use crate::config::tests::{refused, with};
use crate::config::{Config, TableConfig};

#[test]
fn an_address_may_be_given_in_three_ways() {
    let texts = [
        "postgres: { jdbc_url: 'jdbc:postgresql://db:5433/shop', user: me, table: t }\n",
        "postgres: { url: 'postgres://me@db:5433/shop', table: t }\n",
        "postgres: { host: db, port: 5433, db: shop, user: me, table: t }\n",
        "postgres: { jdbc_url: 'jdbc:postgresql://db:5433/shop?user=me', host: db, port: 5433, db: shop, table: t }\n",
    ];
    for text in texts {
        assert_eq!(with(&[], text).unwrap().postgres.unwrap().primary.to_string(), "me@db:5433/shop", "{text}");
    }
}

#[test]
fn contradictory_addresses_are_refused() {
    let shown = refused("postgres:\n  jdbc_url: jdbc:postgresql://a/shop\n  host: b\n  user: me\n  table: t\n");
    assert_eq!(
        shown,
        "error: a.yml:3:9: `postgres.jdbc_url` and `postgres.host` give a different host\n  hint: keep one of them, or make them equal"
    );
}

#[test]
fn a_later_file_wins_part_by_part() {
    let files = [
        ("a.yml", "postgres: { jdbc_url: 'jdbc:postgresql://a:1/shop', host: a, port: 1, user: me, password: x, table: t }\n"),
        ("b.yml", "postgres: { host: localhost, port: 5432 }\nstreaming: { flush_rows: 7 }\ntables: { t: { cursor: at } }\n"),
        ("c.yml", "postgres: { url: 'postgresql://c' }\ntables: { t: { key: [id] }, u: }\n"),
    ];
    let config = Config::from_texts(&files, &HashMap::new()).unwrap();
    let primary = &config.require_postgres().unwrap().primary;
    assert_eq!(primary.to_string(), "me@c:5432/shop");
    assert_eq!(primary.password(), Some("x"));
    assert_eq!(config.streaming.flush_rows, 7);
    let names: Vec<String> = config.tables.iter().map(TableConfig::written).collect();
    assert_eq!(names, ["t", "u"]);
    assert_eq!((config.tables[0].cursor.as_deref(), config.tables[0].key.as_slice()), (Some("at"), ["id".to_owned()].as_slice()));
}

#[test]
fn an_address_carries_encryption_and_encoded_characters() {
    let text = "postgres: { url: 'postgresql://a%40b:p%3A%2F@[::1]:5433/my%20db?sslmode=verify-full&sslrootcert=/ca.pem&x=1', table: t }\n";
    let config = with(&[], text).unwrap();
    let primary = &config.require_postgres().unwrap().primary;
    assert_eq!((primary.user.as_str(), primary.password(), primary.db.as_str()), ("a@b", Some("p:/"), "my db"));
    assert_eq!((primary.host.as_str(), primary.port, primary.sslmode), ("::1", 5433, SslMode::VerifyFull));
    assert_eq!(config.warnings.len(), 1);
}

#[test]
fn a_standby_takes_the_rest_from_the_primary() {
    let text = "postgres: { url: 'postgresql://me@h/shop', password: x, table: t, read_url: 'postgresql://standby:5433' }\n";
    let postgres = with(&[], text).unwrap().postgres.unwrap();
    let read = postgres.read.unwrap();
    assert_eq!((read.to_string().as_str(), read.password()), ("me@standby:5433/shop", Some("x")));
}

#[test]
fn the_password_may_come_from_a_file() {
    let folder = std::env::temp_dir().join(format!("inlet-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let text = format!("postgres: {{ url: 'postgresql://me@h/d', table: t, password_file: {} }}\n", file.display());
    let config = with(&[], &text);
    let both = with(&[], &text.replace("table: t", "table: t, password: x"));
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(config.unwrap().postgres.unwrap().primary.password(), Some("hunter2"));
    assert!(both.unwrap_err().to_string().contains("are both given"));
    assert!(refused(&text).contains("`postgres.password_file` cannot be read"));
}
