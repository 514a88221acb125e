//! The dashboard and the alerts of `dev/monitoring` name metrics that running services show.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use inlet_harness::{Inlet, Port, eventually, shared_database};
use serde_json::Value;

use crate::observe::get;
use crate::orders::{INLET, PATIENCE};
use crate::tables::{Copy, WAYS};

fn monitoring(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dev/monitoring");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// The names of metrics in an expression or a page: words with our prefixes.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_name(c));
    let is_metric = |word: &&str| {
        [
            "inlet_producer_",
            "inlet_consumer_",
            "inlet_lake_",
            "inlet_log_",
            "process_",
        ]
        .iter()
        .any(|prefix| word.starts_with(prefix))
    };
    words.filter(is_metric).map(str::to_owned).collect()
}

fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_yaml::from_str(&monitoring("alerts.yml")).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    groups
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

#[tokio::test]
async fn every_metric_that_the_dashboard_and_the_alerts_name_exists() {
    let mut shown = BTreeSet::new();
    for verbs in WAYS {
        let database = shared_database().await;
        let sql = "CREATE TABLE orders (id integer PRIMARY KEY, updated_at timestamptz DEFAULT \
            now()); CREATE INDEX ON orders (updated_at); INSERT INTO orders VALUES (1), (2), (3)";
        database.sql(sql).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { orders: }\n").await;
        let ports: Vec<_> = verbs.iter().map(|_| Port::claim().unwrap()).collect();
        let start = |(verb, port): (&&str, &Port)| {
            let http = format!("127.0.0.1:{}", port.number());
            let arguments = [*verb, "--config", &copy.config, "--http", &http];
            Inlet::start(INLET, &arguments, &[]).unwrap()
        };
        let _services: Vec<_> = verbs.iter().zip(&ports).map(start).collect();
        copy.await_rows("", 3).await;
        // The keys are compared a moment after the load.
        copy.database
            .sql("DELETE FROM orders WHERE id = 1")
            .await
            .unwrap();
        copy.await_rows("", 4).await;
        for port in &ports {
            let wanted = match verbs.len() == 1 || port.number() == ports[0].number() {
                true => "inlet_producer_deletes_seen_timestamp_seconds{",
                false => "inlet_lake_rows_total{",
            };
            let page = eventually(PATIENCE, "the service shows its metrics", async || {
                let (_, page) = get(port.number(), "/metrics")?;
                Ok(page.contains(wanted).then_some(page))
            })
            .await;
            shown.extend(names(&page));
        }
    }
    let dashboard: Value = serde_json::from_str(&monitoring("grafana.json")).unwrap();
    for expression in expressions(&dashboard) {
        let named = names(&expression);
        assert!(named.is_subset(&shown), "{expression}: {shown:?}");
    }
    for alert in alerts() {
        let named = names(alert["expr"].as_str().unwrap());
        assert!(named.is_subset(&shown), "{alert}: {shown:?}");
    }
    // The page has a line for each of them, and no line for another one.
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let documented = names(&fs::read_to_string(page).unwrap());
    let missing: Vec<_> = shown.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/operations.md lacks {missing:?}");
    let unknown: Vec<_> = documented.difference(&shown).collect();
    assert!(unknown.is_empty(), "no service shows {unknown:?}");
}

#[test]
fn every_alert_is_whole_and_has_a_line_in_the_page() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let page = fs::read_to_string(page).unwrap();
    let known = ["alert", "expr", "for", "labels", "annotations"];
    let alerts = alerts();
    assert!(alerts.len() >= 8);
    for alert in alerts {
        let fields = alert.as_object().unwrap();
        assert!(
            fields.keys().all(|key| known.contains(&key.as_str())),
            "{alert}"
        );
        let name = alert["alert"].as_str().unwrap();
        assert!(
            page.contains(&format!("`{name}`")),
            "docs/operations.md lacks {name}"
        );
        for text in ["summary", "description"] {
            assert!(alert["annotations"][text].as_str().is_some(), "{alert}");
        }
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{alert}"
        );
    }
}
