//! The files by which others run Inlet: no container engine is needed to see that they fit
//! together.

#![allow(clippy::unwrap_used)] // Of helpers too: what fails in a test shall end it.

use std::fs;
use std::path::{Path, PathBuf};

use inlet_harness::check_file;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn compose() -> Value {
    serde_yaml::from_str(&fs::read_to_string(root().join("docker-compose.yml")).unwrap()).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_compose_file_is_valid() {
    check_file("vendor.compose-spec", &root().join("docker-compose.yml")).unwrap();
}

#[test]
fn a_wrong_compose_file_is_not() {
    let folder = inlet_harness::Folder::new("compose").unwrap();
    let wrong = fs::read_to_string(root().join("docker-compose.yml"))
        .unwrap()
        .replacen("healthcheck:", "helthcheck:", 1);
    fs::write(folder.join("docker-compose.yml"), wrong).unwrap();
    let error = check_file("vendor.compose-spec", &folder.join("docker-compose.yml")).unwrap_err();
    assert!(error.to_string().contains("helthcheck"), "{error}");
}

#[test]
fn what_the_compose_file_mounts_and_starts_is_there() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().unwrap() {
        for volume in strings(&service["volumes"]) {
            let (host, _) = volume.split_once(':').unwrap();
            let there = if host.starts_with('.') {
                root().join(host).exists()
            } else {
                compose["volumes"].get(host).is_some()
            };
            assert!(there, "{name} mounts `{host}`");
        }
        for config in strings(&service["command"])
            .iter()
            .filter_map(|word| word.strip_prefix("/etc/inlet/"))
        {
            assert!(
                root().join("configs").join(config).exists(),
                "{name} is started with `{config}`"
            );
        }
    }
}

#[test]
fn the_settings_of_the_other_path_fit_the_compose_file() {
    let settings: Value = serde_json::from_str(
        &fs::read_to_string(root().join("dev/scenarios/orders/debezium.json")).unwrap(),
    )
    .unwrap();
    let compose = compose();
    let postgres = &compose["services"][settings["database.hostname"].as_str().unwrap()];
    for (variable, key) in [
        ("POSTGRES_DB", "dbname"),
        ("POSTGRES_USER", "user"),
        ("POSTGRES_PASSWORD", "password"),
    ] {
        assert_eq!(
            postgres["environment"][variable],
            settings[format!("database.{key}")]
        );
    }
    let creates = fs::read_to_string(root().join("dev/scenarios/orders/compose.sql")).unwrap();
    let table = settings["table.include.list"]
        .as_str()
        .unwrap()
        .strip_prefix("public.")
        .unwrap();
    assert!(creates.contains(table), "{table} is not in compose.sql");
    for name in ["kafka-ui", "debezium"] {
        let (service, port) = (
            &compose["services"][name],
            &compose["services"][name]["ports"][0],
        );
        assert_eq!(
            service["profiles"].as_array().map(Vec::len),
            Some(1),
            "{name} starts only where it is asked for"
        );
        assert!(
            port.as_str().unwrap().starts_with("${"),
            "the port of {name} can be another: {port}"
        );
    }
}

#[test]
fn the_hosts_of_the_configuration_are_services() {
    let config: Value = serde_yaml::from_str(
        &fs::read_to_string(root().join("configs/orders_stream.yml")).unwrap(),
    )
    .unwrap();
    let compose = compose();
    let broker = config["kafka"]["brokers"].as_str().unwrap();
    let listeners = compose["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
        .as_str()
        .unwrap();
    assert!(
        listeners.contains(&format!("://{broker},")),
        "{broker} is advertised: {listeners}"
    );
    assert!(
        compose["services"]
            .get(config["postgres"]["host"].as_str().unwrap())
            .is_some()
    );
    let environment = &compose["services"]["postgres"]["environment"];
    for (variable, key) in [
        ("POSTGRES_DB", "db"),
        ("POSTGRES_USER", "user"),
        ("POSTGRES_PASSWORD", "password"),
    ] {
        assert_eq!(environment[variable], config["postgres"][key]);
    }
}
