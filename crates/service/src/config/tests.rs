//! What the configuration promises, as claims; what a user reads when it is wrong, word for word.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inlet_model::Identifier;

use super::{Config, ConfigError, Export, ImpossibleValues, REFUSED_PROPERTIES};
use crate::error::{Explain, Kind, report};

mod keys;
mod random;

const SMALL: &str = "postgres: { url: 'postgresql://me@localhost/shop', table: orders }\n";

fn variables(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

pub(super) fn with(pairs: &[(&str, &str)], text: &str) -> Result<Config, ConfigError> {
    Config::from_texts(&[("a.yml", text)], &variables(pairs))
}

/// What stderr shows for a text that must be refused.
pub(super) fn refused(text: &str) -> String {
    refused_with(&[], text)
}

fn refused_with(pairs: &[(&str, &str)], text: &str) -> String {
    let error = with(pairs, text).expect_err("this configuration must be refused");
    assert_eq!(error.kind(), Kind::Config);
    report(&error)
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../configs")
        .join(name)
}

#[test]
fn the_orders_file_runs_unmodified() {
    let config = Config::load(&[shipped("orders_stream.yml")]).unwrap();
    let primary = &config.require_postgres().unwrap().primary;
    assert_eq!(
        primary.to_string(),
        "student@postgres:5432/food_delivery_db"
    );
    assert_eq!(primary.password(), Some("student123"));
    let kafka = config.require_kafka().unwrap();
    assert_eq!(kafka.brokers, "kafka:29092");
    assert_eq!(config.tables.len(), 1);
    assert_eq!(config.tables[0].written(), "ROLL001_orders");
    assert_eq!(
        kafka.topic_for(&config.tables[0]),
        "ROLL001_food_orders_raw"
    );
    assert_eq!(kafka.control_topic(), "ROLL001_food_orders_raw_control");
    assert_eq!(kafka.transactional_id(), "inlet-ROLL001_food_orders_raw");
    assert_eq!(kafka.group, "inlet-ROLL001_food_orders_raw");
    assert_eq!(
        config.require_datalake().unwrap().path,
        Path::new("/opt/spark-apps/datalake/food/ROLL001/output/orders")
    );
    assert_eq!(config.streaming.poll_interval, Duration::from_secs(5));
    assert_eq!(config.streaming.flush_interval, Duration::from_secs(5));
    assert!(
        config.streaming.checkpoint_location.is_some()
            && config.streaming.last_processed_timestamp_location.is_some()
    );
    assert!(config.warnings.is_empty());
}

#[test]
fn a_path_below_the_home_is_the_users_and_another_users_is_refused() {
    let lake = |path: &str| format!("{SMALL}datalake: {{ path: '{path}' }}\n");
    let home = std::env::home_dir().unwrap();
    let parsed = |path: &str| Config::parse(&lake(path)).unwrap().datalake.unwrap().path;
    assert_eq!(parsed("~/lake"), home.join("lake"));
    assert_eq!(parsed("~"), home);
    assert_eq!(parsed("./~/lake"), Path::new("./~/lake"));
    let shown = refused(&lake("~root/lake"));
    assert!(
        shown.contains("`datalake.path` names another user's home: `~root/lake`"),
        "{shown}"
    );
}

#[test]
fn a_path_in_a_file_begins_at_the_folder_of_this_file() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("conf");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(below.join("secret"), "s3cret\n").unwrap();
    let text = "postgres:\n  url: postgres://me@host/db?sslrootcert=ca.pem\n  table: t\n  \
        password_file: secret\nkafka:\n  brokers: host:9092\n  properties:\n    ssl.ca.location: \
        ./certs/ca.pem\n    ssl.key.location: /etc/key.pem\ndatalake:\n  path: \
        ./lake\nstreaming:\n  checkpoint_location: ../state.json\n";
    std::fs::write(below.join("inlet.yml"), text).unwrap();
    let config = Config::load(&[below.join("inlet.yml")]).unwrap();
    let postgres = config.require_postgres().unwrap();
    assert_eq!(postgres.primary.password(), Some("s3cret"));
    assert_eq!(postgres.primary.sslrootcert, Some(below.join("ca.pem")));
    assert_eq!(config.datalake.as_ref().unwrap().path, below.join("lake"));
    assert_eq!(
        config.streaming.checkpoint_location,
        Some(folder.path().join("state.json"))
    );
    let properties = &config.require_kafka().unwrap().properties;
    let ca = below.join("certs/ca.pem").display().to_string();
    assert_eq!(properties.get("ssl.ca.location"), Some(ca.as_str()));
    assert_eq!(properties.get("ssl.key.location"), Some("/etc/key.pem"));
}

#[test]
fn a_lake_that_an_earlier_version_put_beside_the_working_directory_is_named() {
    // The tests run in the folder of the crate.
    let name = format!("lake-of-test-{}", std::process::id());
    let lake = std::env::current_dir().unwrap().join(&name);
    std::fs::create_dir_all(lake.join("orders/_log")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("inlet.yml");
    std::fs::write(&file, format!("{SMALL}datalake: {{ path: {name} }}\n")).unwrap();
    let loaded = Config::load(std::slice::from_ref(&file));
    std::fs::remove_dir_all(&lake).unwrap();
    let shown = crate::error::report(&loaded.unwrap_err());
    assert!(shown.contains("and a lake is at"), "{shown}");
    assert!(
        shown.contains(&format!("path: {}", lake.display())),
        "{shown}"
    );
    assert!(Config::load(&[file]).is_ok());
}

#[test]
fn rules_come_from_a_second_file() {
    let config =
        Config::load(&[shipped("orders_stream.yml"), shipped("orders_rules.yml")]).unwrap();
    assert_eq!(config.tables.len(), 1);
    assert_eq!(
        config.tables[0].rules,
        ["order_id is not null", "amount >= 0"]
    );
}

#[test]
fn the_quick_start_works_without_any_variable() {
    let config = with(
        &[],
        &std::fs::read_to_string(shipped("quickstart.yml")).unwrap(),
    )
    .unwrap();
    let primary = &config.require_postgres().unwrap().primary;
    assert_eq!(primary.to_string(), "postgres@localhost:5432/postgres");
    assert_eq!(primary.password(), None);
    assert_eq!(config.tables[0].written(), "orders");
    assert!(config.kafka.is_none());
}

#[test]
fn a_misspelt_key_is_refused_with_the_nearest_one() {
    let shown = refused(&format!(
        "{SMALL}kafka:\n  brokres: 'a:9092'\n  brokers: 'a:9092'\n"
    ));
    assert_eq!(
        shown,
        "error: a.yml:3:3: unknown key `kafka.brokres`\n  hint: did you mean `brokers`?"
    );
}

#[test]
fn every_problem_is_reported_at_once_in_the_order_of_lines() {
    let shown = refused(
        "postgres:\n  url: postgresql://me@h/shop\n  tabel: orders\ntables:\n  orders: \
            {}\nstreaming:\n  flush_interval: 5\n  flush_rows: 0\n\
         datalake:\n  path: lake\n  format: delta\n  timezone: Europe/Berlim\n",
    );
    assert_eq!(
        shown,
        "error: the configuration has 5 problems\n\
         \x20 a.yml:3:3: unknown key `postgres.tabel`\n    hint: did you mean `table`?\n\
         \x20 a.yml:7:19: `streaming.flush_interval` needs a unit: `5`\n    hint: write `5s` or \
         `5ms`; the units are ms, s, m, h, d\n\
         \x20 a.yml:8:15: `streaming.flush_rows` must be a whole number from 1 on, not `0`\n    \
         hint: write digits only; `_` may group them: 1_000_000\n\
         \x20 a.yml:11:11: `datalake.format` is not known: `delta`\n    hint: the formats are: \
         parquet\n\
         \x20 a.yml:12:13: `datalake.timezone` is not a time zone: `Europe/Berlim`\n    hint: did \
         you mean `Europe/Berlin`?"
    );
}

#[test]
fn a_wrong_form_and_a_missing_variable_hide_nothing_else() {
    let shown = refused(
        "postgres:\n  host: localhost\n  db: [a]\n  user:\n  password: ${PW}\n  table: orders\n  \
            port: 0\ndatalake: ./lake\n\
         kafka:\n  brokers:\n    - ${BROKER}\n  partitions: many\ntables:\n  orders:\n    key: { \
         a: b }\n    skip: maybe\n",
    );
    let shown_lines: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("  a.yml"))
        .map(str::trim)
        .collect();
    assert_eq!(
        shown_lines,
        [
            "a.yml:3:7: `postgres.db` must be one value",
            "a.yml:4:7: `postgres.user` has no value",
            "a.yml:5:13: the environment variable `PW` is not set",
            "a.yml:7:9: `postgres.port` must be a port from 1 to 65535, not `0`",
            "a.yml:8:11: `datalake` must hold lines of `key: value`",
            "a.yml:11:7: the environment variable `BROKER` is not set",
            "a.yml:12:15: `kafka.partitions` must be a whole number from 1 on, not `many`",
            "a.yml:15:10: `tables.orders.key` must be one value or a list of values",
            "a.yml:16:11: `tables.orders.skip` is neither true nor false: `maybe`",
        ],
        "{shown}"
    );
}

#[test]
fn each_table_chooses_what_happens_to_impossible_values() {
    let meaning = |text: &str| {
        let config = with(&[], &format!("{SMALL}tables:\n  orders: {text}\n")).unwrap();
        config.tables[0].impossible_values
    };
    assert_eq!(meaning("{}"), ImpossibleValues::Quarantine);
    assert_eq!(
        meaning("{impossible_values: quarantine}"),
        ImpossibleValues::Quarantine
    );
    assert_eq!(
        meaning("{impossible_values: 'null'}"),
        ImpossibleValues::Null
    );
    assert_eq!(
        meaning("{impossible_values: null}"),
        ImpossibleValues::Null,
        "as everybody writes it"
    );
    assert_eq!(meaning("{impossible_values: text}"), ImpossibleValues::Text);
    assert_eq!(
        meaning("{impossible_values: }"),
        ImpossibleValues::Quarantine,
        "what is not written decides nothing"
    );
    assert_eq!(
        refused(&format!(
            "{SMALL}tables:\n  orders:\n    impossible_values: txt\n"
        )),
        "error: a.yml:4:24: `tables.orders.impossible_values` is not known: `txt`\n  hint: did you \
            mean `text`?"
    );
}

#[test]
fn a_key_that_is_indented_too_little_is_sent_home() {
    let shown = refused("postgres:\n  table: orders\njdbc_url: \"jdbc:postgresql://h/d\"\n");
    assert!(
        shown.contains("a.yml:3:1: unknown key `jdbc_url`"),
        "{shown}"
    );
    assert!(
        shown.contains("`jdbc_url` belongs under `postgres:`; is it indented too little?"),
        "{shown}"
    );
}

#[test]
fn wrong_indentation_names_the_line() {
    let shown = refused("postgres:\n  table: orders\n    user: me\n");
    assert!(
        shown.starts_with("error: a.yml:3:") || shown.starts_with("error: a.yml:2:"),
        "{shown}"
    );
}

#[test]
fn a_repeated_key_is_refused() {
    let shown = refused("postgres:\n  table: orders\n  table: items\n");
    assert_eq!(
        shown,
        "error: a.yml:3:3: the key `table` is repeated\n  hint: keep one of them"
    );
}

#[test]
fn a_section_that_is_not_one_is_refused_without_its_value() {
    let shown = refused("postgres: hunter2\n");
    assert!(
        shown.starts_with(
            "error: a.yml:1:11: `postgres` must hold lines of `key: value`\n  hint: its keys go on \
                lines below it, indented: jdbc_url, url,"
        ),
        "{shown}"
    );
    let shown = refused("tables:\n  - hunter2\n");
    assert_eq!(
        shown,
        "error: a.yml:2:3: `tables` must hold lines of `key: value`"
    );
    let shown = refused("postgres:\n  user:\n    hunter2: x\n");
    assert_eq!(shown, "error: a.yml:3:5: `postgres.user` must be one value");
}

#[test]
fn a_tab_is_called_a_tab() {
    assert_eq!(
        refused("postgres:\n  table: orders\ndatalake:\n\tpath: lake\n"),
        "error: a.yml:4:2: the line starts with a tab\n  hint: indent with spaces"
    );
}

#[test]
fn a_city_alone_is_sent_to_its_zone() {
    let shown = refused(&format!(
        "{SMALL}datalake:\n  path: lake\n  timezone: berlin\n"
    ));
    assert!(
        shown.ends_with("hint: did you mean `Europe/Berlin`?"),
        "{shown}"
    );
}

#[test]
fn all_variables_that_are_not_set_are_named_with_their_hints() {
    let shown = refused(
        "postgres:\n  user: ${WHO:?the role to connect as}\n  password: ${SECRET}\n  table: \
            orders\n",
    );
    assert!(
        shown.contains(
            "a.yml:2:9: the environment variable `WHO` is not set\n    hint: the role to connect as"
        ),
        "{shown}"
    );
    assert!(
        shown.contains("a.yml:3:13: the environment variable `SECRET` is not set"),
        "{shown}"
    );
}

#[test]
fn a_variable_in_quotes_is_refused() {
    for quoted in ["\"${WHO}\"", "'${WHO}'", "\"jdbc:${WHO}\""] {
        let shown = refused_with(&[("WHO", "me")], &format!("{SMALL}pipeline: {quoted}\n"));
        assert!(
            shown.contains("a.yml:2:11: `${..}` is not replaced inside quotes"),
            "{shown}"
        );
        assert!(shown.contains("remove the quotes"), "{shown}");
    }
}

#[test]
fn a_variable_in_braces_is_refused_with_the_right_form() {
    let shown = refused("postgres: { user: ${WHO} }\n");
    assert!(
        shown.contains(
            "a variable cannot stand inside `{ .. }`: write the keys on lines of their own"
        ),
        "{shown}"
    );
}

#[test]
fn a_variable_in_a_block_is_refused() {
    for mark in ["|", ">-", "| # a name"] {
        let shown = refused_with(
            &[("WHO", "me")],
            &format!("{SMALL}pipeline: {mark}\n  ${{WHO}}\n"),
        );
        assert!(
            shown.contains("is not replaced inside quotes or a block"),
            "{shown}"
        );
    }
}

#[test]
fn a_variable_without_quotes_on_its_own_line_is_replaced() {
    let config = with(&[("WHO", "me")], &format!("{SMALL}pipeline:\n  ${{WHO}}\n")).unwrap();
    assert_eq!(config.pipeline, "me");
}

#[test]
fn a_literal_variable_is_written_with_two_dollars() {
    let config = with(
        &[],
        "postgres:\n  url: postgresql://me@h/shop\n  password: a$${B}\n  table: t\n",
    )
    .unwrap();
    assert_eq!(config.postgres.unwrap().primary.password(), Some("a${B}"));
}

#[test]
fn a_key_without_a_value_is_refused_and_a_section_without_keys_is_not() {
    assert_eq!(
        refused("postgres:\n  table:\n"),
        "error: a.yml:2:8: `postgres.table` has no value\n  hint: give one, or leave the key out"
    );
    with(
        &[],
        &format!("{SMALL}streaming:\n  # flush_interval: 5s\nkafka:\n"),
    )
    .unwrap();
}

#[test]
fn a_password_from_a_variable_arrives_as_it_is() {
    for secret in [
        "s3cr\"et: {x}",
        "#no: [comment",
        "'",
        "007",
        "true",
        "~",
        "null",
        "1e5",
        "${OTHER}",
        "$$",
        "a\nuser: root",
        "ü😀\\n",
        "- x",
    ] {
        let text =
            "postgres:\n  url: postgresql://me@h/shop\n  password: ${SECRET}\n  table: orders\n";
        let config =
            with(&[("SECRET", secret)], text).unwrap_or_else(|error| panic!("{secret}: {error}"));
        assert_eq!(config.postgres.unwrap().primary.password(), Some(secret));
    }
}

#[test]
fn a_plain_password_of_digits_keeps_its_zeros() {
    let config = with(
        &[],
        "postgres: { url: 'postgresql://me@h/shop', table: orders, password: 007 }\n",
    )
    .unwrap();
    assert_eq!(config.postgres.unwrap().primary.password(), Some("007"));
}

#[test]
fn debug_never_prints_a_secret() {
    let text = "postgres: { jdbc_url: 'jdbc:postgresql://h/d', user: me, password: hunter2, table: \
        t }\n\
                kafka: { brokers: 'a:1', properties: { sasl.password: hunter3 } }\n";
    let shown = format!("{:?}", with(&[], text).unwrap());
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(shown.contains("sasl.password"), "{shown}");
}

#[test]
fn no_error_prints_a_secret() {
    let texts = [
        "postgres: { pasword: hunter2, table: t, user: u }\n",
        "postgres: { url: 'postgresql://me:hunter2@h:99999/d', table: t }\n",
        "postgres: { url: 'mysql://me:hunter2@h/d', table: t }\n",
        "postgres: { url: 'postgresql://me:hunter2@h,i/d', table: t }\n",
        "postgres: { url: 'postgresql://me:hunter2@h/d', password: hunter4, table: t }\n",
        "postgres: { password: [hunter2], table: t }\n",
        "postgres: { password: { a: hunter2 }, table: t }\n",
        "postgres:\n  password: \"hunter2\n",
        "postgres:\n  password: 'hunter2' x\n",
        "kafka: { brokers: 'a:1', properties: [hunter2] }\n",
    ];
    for text in texts {
        let shown = refused(text);
        assert!(!shown.contains("hunter"), "{shown}");
    }
}

#[test]
fn blanks_around_values_are_ignored_with_a_warning() {
    let text = "postgres:\n  jdbc_url: \"jdbc:postgresql://h:1/shop \"\n  user: \" student\"\n  \
        table: t\n";
    let config = with(&[], text).unwrap();
    assert_eq!(
        config.postgres.unwrap().primary.to_string(),
        "student@h:1/shop"
    );
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "a.yml:2:13: blanks around `postgres.jdbc_url` are ignored",
            "a.yml:3:9: blanks around `postgres.user` are ignored"
        ]
    );
}

#[test]
fn intervals_and_sizes_carry_units() {
    let text = format!(
        "{SMALL}streaming: {{ poll_interval: 5ms, flush_interval: 2s, sweep_interval: 10m, \
            discover_interval: 0, flush_rows: 1_000, flush_bytes: 64MiB }}\n"
    );
    let streaming = with(&[], &text).unwrap().streaming;
    assert_eq!(
        (streaming.poll_interval, streaming.flush_interval),
        (Duration::from_millis(5), Duration::from_secs(2))
    );
    assert!(streaming.discover_interval.is_zero());
    assert_eq!(
        (
            streaming.sweep_interval,
            streaming.flush_rows,
            streaming.flush_bytes
        ),
        (Duration::from_secs(600), 1_000, 64 << 20)
    );
    for wrong in [
        "flush_interval: 0s",
        "flush_interval: 1.5s",
        "flush_interval: -1s",
        "poll_interval: 999999999999999999999h",
        "flush_bytes: 64MB",
        "flush_bytes: 64",
    ] {
        refused(&format!("{SMALL}streaming: {{ {wrong} }}\n"));
    }
}

#[test]
fn a_topic_of_its_own_is_for_one_table() {
    let shown = refused(&format!(
        "{SMALL}tables: {{ items: {{}} }}\nkafka:\n  brokers: a:9092\n  topic: all\n"
    ));
    assert!(
        shown.contains(
            "a.yml:5:10: `kafka.topic` names one topic, and there are 2 tables: items, orders"
        ),
        "{shown}"
    );
}

#[test]
fn topics_follow_from_the_pipeline_and_the_table_as_written() {
    let config = with(
        &[],
        &format!(
            "{SMALL}tables: {{ sales.items: {{}}, x: {{ topic: y }} }}\nkafka: {{ \
            brokers: 'a:1, b:2' }}\n"
        ),
    )
    .unwrap();
    let kafka = config.require_kafka().unwrap();
    let topics: Vec<String> = config
        .tables
        .iter()
        .map(|table| kafka.topic_for(table))
        .collect();
    assert_eq!(topics, ["shop.sales.items", "y", "shop.orders"]);
    assert_eq!(
        (
            kafka.brokers.as_str(),
            kafka.partitions,
            kafka.replication_factor
        ),
        ("a:1,b:2", 1, -1)
    );
}

#[test]
fn two_tables_never_share_a_topic() {
    let shown = refused(&format!(
        "{SMALL}tables: {{ a: {{ topic: x }}, b: {{ topic: x }} }}\nkafka: {{ brokers: 'a:1' }}\n"
    ));
    assert!(
        shown.contains("the topic `x` would hold both table `b` and table `a`"),
        "{shown}"
    );
}

#[test]
fn every_property_that_exactly_once_delivery_depends_on_is_refused() {
    for property in REFUSED_PROPERTIES {
        let name = property.name;
        let shown = refused(&format!(
            "{SMALL}kafka: {{ brokers: 'a:1', properties: {{ {name}: 'x' }} }}\n"
        ));
        assert!(
            shown.contains(&format!("`kafka.properties.{name}` cannot be set"))
                && shown.contains(property.reason),
            "{shown}"
        );
    }
}

#[test]
fn a_property_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret").display().to_string();
    std::fs::write(&path, "hunter2\n").unwrap();
    let text =
        |properties: &str| format!("{SMALL}kafka:\n  brokers: a:1\n  properties:\n{properties}");
    let config = with(
        &[],
        &text(&format!(
            "    sasl.username: me\n    sasl.password_file: {path}\n"
        )),
    )
    .unwrap();
    let properties: Vec<_> = config.require_kafka().unwrap().properties.iter().collect();
    assert_eq!(
        properties,
        [("sasl.password", "hunter2"), ("sasl.username", "me")]
    );
    let both = refused(&text(&format!(
        "    sasl.password_file: {path}\n    sasl.password: hunter3\n"
    )));
    assert!(
        both.contains(
            "a.yml:5:25: `kafka.properties.sasl.password` and \
            `kafka.properties.sasl.password_file` are both given"
        ),
        "{both}"
    );
    assert!(!both.contains("hunter"), "{both}");
    let missing = refused(&text("    ssl.key.password_file: /nowhere\n"));
    assert!(
        missing.contains(
            "a.yml:5:28: `kafka.properties.ssl.key.password_file` cannot be read: /nowhere"
        ),
        "{missing}"
    );
    let ours = refused(&text(&format!("    group.id_file: {path}\n")));
    assert!(
        ours.contains("`kafka.properties.group.id_file` cannot be set"),
        "{ours}"
    );
}

#[test]
fn a_broker_without_a_port_is_refused() {
    let shown = refused(&format!("{SMALL}kafka:\n  brokers: localhost\n"));
    assert!(
        shown.contains("a.yml:3:12: `kafka.brokers` holds `localhost`, which is not `host:port`"),
        "{shown}"
    );
}

#[test]
fn one_table_named_in_both_places_is_one_table() {
    let config = with(
        &[],
        &format!("{SMALL}tables: {{ public.Orders: {{ rules: amount >= 0 }} }}\n"),
    )
    .unwrap();
    assert_eq!(config.tables.len(), 1);
    assert_eq!(config.tables[0].rules, ["amount >= 0"]);
}

#[test]
fn a_name_in_quotes_may_hold_a_dot() {
    let config = with(
        &[],
        &format!("{SMALL}tables: {{ 'sales.\"a.b\"': {{}} }}\n"),
    )
    .unwrap();
    assert_eq!(
        (
            config.tables[0].table.schema().map(Identifier::text),
            config.tables[0].table.name().text()
        ),
        (Some("sales"), "a.b")
    );
    for wrong in ["a.b.c", ".a", "'\"a'"] {
        refused(&format!("{SMALL}tables: {{ {wrong}: {{}} }}\n"));
    }
}

#[test]
fn no_table_is_refused_and_so_is_an_empty_file() {
    assert!(refused("postgres: { url: 'postgresql://me@h/d' }\n").contains("no table is named"));
    assert!(refused("# nothing\n").contains("no table is named"));
}

#[test]
fn a_missing_section_is_an_error_of_the_verb_that_needs_it() {
    let config = with(&[], SMALL).unwrap();
    let shown = report(&config.require_kafka().unwrap_err());
    assert!(
        shown.contains("no section `kafka`") && shown.contains("inlet run"),
        "{shown}"
    );
    assert!(report(&config.require_datalake().unwrap_err()).contains("datalake: { path:"));
}

#[test]
fn a_missing_file_is_named() {
    let shown = report(&Config::load(&[PathBuf::from("no/such.yml")]).unwrap_err());
    assert!(
        shown.starts_with("error: cannot read the configuration file no/such.yml: "),
        "{shown}"
    );
    assert!(shown.contains("--config FILE"), "{shown}");
}

#[test]
fn a_file_that_expands_without_end_is_refused() {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (below, name) in ["a", "b", "c", "d", "e", "f"]
        .iter()
        .zip(["b", "c", "d", "e", "f", "g"])
    {
        text.push_str(&format!(
            "{name}: &{name} [*{below}, *{below}, *{below}, *{below}, *{below}, *{below}, \
                *{below}, *{below}, *{below}, *{below}]\n"
        ));
    }
    refused(&text);
}

#[test]
fn a_compacted_topic_is_refused_for_messages_without_keys() {
    let text = |format: &str, own: &str| {
        format!(
            "postgres: {{ url: 'postgres://me@host/db' }}\nkafka:\n  brokers: host:9092\n  format: \
             {format}\n  cleanup_policy: compact\ntables: {{ orders: {own}, items: {{}} }}\n"
        )
    };
    assert!(Config::parse(&text("json", "{}")).is_ok());
    assert!(Config::parse(&text("arrow", "{ format: json }")).is_err());
    let shown = refused(&text("json", "{ format: arrow }"));
    assert!(
        shown.contains("`kafka.cleanup_policy` is `compact`, and the messages of table `orders`"),
        "{shown}"
    );
}

#[test]
fn exports_are_those_of_the_lake_unless_a_table_has_its_own() {
    let text = "postgres: { url: 'postgresql://me@localhost/shop' }\ndatalake: { path: /lake, \
        exports: [delta, ducklake, delta] }\ntables: { a: , b: { exports: none }, c: { exports: \
        delta } }\n";
    let config = with(&[], text).unwrap();
    let exports: Vec<_> = config
        .tables
        .iter()
        .map(|table| &table.exports[..])
        .collect();
    assert_eq!(
        exports,
        [
            &[Export::DuckLake, Export::Delta][..],
            &[],
            &[Export::Delta]
        ]
    );
    let unknown = refused(&text.replace("exports: delta", "exports: ducklak"));
    assert!(unknown.contains("did you mean `ducklake`?"), "{unknown}");
    let both = refused(&text.replace("exports: delta", "exports: [none, delta]"));
    assert!(both.contains("names `none` beside a format"), "{both}");
    let bucket = refused(&text.replace("/lake", "s3://bucket/lake"));
    assert!(bucket.contains("is exported as DuckLake"), "{bucket}");
}
