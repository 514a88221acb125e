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
        "postgres: { jdbc_url: 'jdbc:postgresql://db:5433/shop?user=me', host: db, port: 5433, db: \
            shop, table: t }\n",
    ];
    for text in texts {
        assert_eq!(
            with(&[], text)
                .unwrap()
                .postgres
                .unwrap()
                .primary
                .to_string(),
            "me@db:5433/shop",
            "{text}"
        );
    }
}

#[test]
fn host_and_port_may_be_parameters_of_an_address() {
    for url in [
        "postgresql:///shop?host=db&port=5433&user=me",
        "postgresql://me@other:1/shop?host=db&port=5433",
        "jdbc:postgresql:///shop?host=db&port=5433&user=me",
    ] {
        let config = with(&[], &format!("postgres: {{ url: '{url}', table: t }}\n")).unwrap();
        let primary = &config.require_postgres().unwrap().primary;
        assert_eq!(primary.to_string(), "me@db:5433/shop", "{url}");
        assert!(config.warnings.is_empty());
    }
    let refused_by = |query: &str| {
        refused(&format!(
            "postgres: {{ url: 'postgresql://me@h/shop?{query}', table: t }}\n"
        ))
    };
    assert_eq!(
        refused_by("port=0"),
        "error: a.yml:1:18: `postgres.url` has a port that is not one: `0`\n  hint: write one \
            whole number from 1 to 65535, for example `?port=5432`"
    );
    assert!(refused_by("port=5432,5433").contains("has a port that is not one: `5432,5433`"));
    assert!(refused_by("host=a,b").contains("it names several hosts"));
}

#[test]
fn contradictory_addresses_are_refused() {
    let shown = refused(
        "postgres:\n  jdbc_url: jdbc:postgresql://a/shop\n  host: b\n  user: me\n  table: t\n",
    );
    assert_eq!(
        shown,
        "error: a.yml:3:9: `postgres.jdbc_url` and `postgres.host` give a different host\n  hint: \
            keep one of them, or make them equal"
    );
}

#[test]
fn a_later_file_wins_part_by_part() {
    let files = [
        (
            "a.yml",
            "postgres: { jdbc_url: 'jdbc:postgresql://a:1/shop', host: a, port: 1, user: me, \
                password: x, table: t }\n",
        ),
        (
            "b.yml",
            "postgres: { host: localhost, port: 5432 }\nstreaming: { flush_rows: 7 }\ntables: { t: \
                { cursor: at } }\n",
        ),
        (
            "c.yml",
            "postgres: { url: 'postgresql://c' }\ntables: { t: { key: [id] }, u: }\n",
        ),
    ];
    let config = Config::from_texts(&files, &HashMap::new()).unwrap();
    let primary = &config.require_postgres().unwrap().primary;
    assert_eq!(primary.to_string(), "me@c:5432/shop");
    assert_eq!(primary.password(), Some("x"));
    assert_eq!(config.streaming.flush_rows, 7);
    let names: Vec<String> = config.tables.iter().map(TableConfig::written).collect();
    assert_eq!(names, ["t", "u"]);
    assert_eq!(
        (
            config.tables[0].cursor.as_deref(),
            config.tables[0].key.as_slice()
        ),
        (Some("at"), ["id".to_owned()].as_slice())
    );
}

#[test]
fn an_address_carries_encryption_and_encoded_characters() {
    let text = "postgres: { url: \
        'postgresql://a%40b:p%3A%2F@[::1]:5433/my%20db?sslmode=verify-full&sslrootcert=/ca.pem&x=1', table: t }\n";
    let config = with(&[], text).unwrap();
    let primary = &config.require_postgres().unwrap().primary;
    assert_eq!(
        (
            primary.user.as_str(),
            primary.password(),
            primary.db.as_str()
        ),
        ("a@b", Some("p:/"), "my db")
    );
    assert_eq!(
        (primary.host.as_str(), primary.port, primary.sslmode),
        ("::1", 5433, SslMode::VerifyFull)
    );
    assert_eq!(config.warnings.len(), 1);
}

#[test]
fn a_standby_takes_the_rest_from_the_primary() {
    let text = "postgres: { url: 'postgresql://me@h/shop', password: x, table: t, read_url: \
        'postgresql://standby:5433' }\n";
    let postgres = with(&[], text).unwrap().postgres.unwrap();
    let read = postgres.read.unwrap();
    assert_eq!(
        (read.to_string().as_str(), read.password()),
        ("me@standby:5433/shop", Some("x"))
    );
}

/// A file of its own with this content, and its path.
fn file(content: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, content).unwrap();
    (folder, path.display().to_string())
}

#[test]
fn what_is_secret_may_come_from_files() {
    let (_folder, password) = file("hunter2\n");
    let (_folder2, user) = file("me\r\n");
    let (_folder3, url) = file("postgresql://h:1/d");
    let (_folder4, read_url) = file("postgresql://other:pw@h:2\n");
    let text = format!(
        "postgres:\n  table: t\n  url_file: {url}\n  user_file: {user}\n  password_file: \
            {password}\n  read_url_file: {read_url}\n"
    );
    let postgres = with(&[], &text).unwrap().postgres.unwrap();
    assert_eq!(
        (
            postgres.primary.to_string().as_str(),
            postgres.primary.password()
        ),
        ("me@h:1/d", Some("hunter2"))
    );
    let read = postgres.read.unwrap();
    assert_eq!(
        (read.to_string().as_str(), read.password()),
        ("other@h:2/d", Some("pw"))
    );
}

#[test]
fn a_value_and_its_file_go_by_the_later_configuration() {
    let (_folder, path) = file("from the file");
    let own = "postgres: { url: 'postgresql://me@h/d', table: t, password: own }\n".to_owned();
    let file =
        format!("postgres: {{ url: 'postgresql://me@h/d', table: t, password_file: {path} }}\n");
    let password = |first: &str, second: &str| {
        let config =
            Config::from_texts(&[("a.yml", first), ("b.yml", second)], &HashMap::new()).unwrap();
        config
            .postgres
            .unwrap()
            .primary
            .password()
            .unwrap()
            .to_owned()
    };
    assert_eq!(password(&own, &file), "from the file");
    assert_eq!(password(&file, &own), "own");
    assert_eq!(
        refused(&file.replace("table: t", "table: t, password: own")),
        "error: a.yml:1:81: `postgres.password` and `postgres.password_file` are both given\n  \
            hint: keep one of them"
    );
}

#[test]
fn a_file_without_its_value_is_refused_with_its_place() {
    let text = |path: &str| {
        format!("postgres:\n  url: postgresql://me@h/d\n  table: t\n  password_file: {path}\n")
    };
    let hint = "\n  hint: give a file that this user may read and that holds the value alone";
    for content in ["", "\n", "\r\n"] {
        let (_folder, path) = file(content);
        assert_eq!(
            refused(&text(&path)),
            format!("error: a.yml:4:18: `postgres.password_file` is empty: {path}{hint}")
        );
    }
    let missing = refused(&text("/nowhere/password"));
    assert!(
        missing.starts_with(
            "error: a.yml:4:18: `postgres.password_file` cannot be read: \
            /nowhere/password: No such file"
        ),
        "{missing}"
    );
    let folder = tempfile::tempdir().unwrap();
    assert!(refused(&text(&folder.path().display().to_string())).contains("cannot be read"));
    let (_folder, path) = file(&"x".repeat((1 << 20) + 1));
    assert!(refused(&text(&path)).contains("is larger than"));
}

#[test]
fn a_wrong_address_in_a_file_is_named_without_it() {
    let (_folder, path) = file("mysql://me:hunter2@h/d");
    let shown = refused(&format!("postgres:\n  url_file: {path}\n  table: t\n"));
    assert!(
        shown.starts_with("error: a.yml:2:13: `postgres.url` is not an address of PostgreSQL")
            && !shown.contains("hunter"),
        "{shown}"
    );
}
