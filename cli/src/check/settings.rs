//! Checks of the configuration files that need no server; the loader makes the others.

use inlet_lake::Rules;
use inlet_service::config::Config;

use super::finding::{Finding, Hop};
use crate::tables::{self, SharedFolder};

pub fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![sections(config)];
    let warning = |problem: &inlet_service::config::Problem| {
        let finding = Finding::warning(Hop::Configuration, "files", problem.to_string());
        if let Some(remedy) = problem.remedy() {
            finding.fix(remedy)
        } else {
            finding
        }
    };
    findings.extend(config.warnings.iter().map(warning));
    for table in &config.tables {
        if let Err(error) = Rules::parse(&table.rules) {
            findings.push(Finding::of(
                Hop::Configuration,
                format!("tables.{}.rules", table.written()),
                &error,
            ));
        }
    }
    findings.extend(shared_folders(config));
    // The defaults are far apart, so this order is mostly a swap of the two keys.
    if config.streaming.flush_interval > config.streaming.sweep_interval {
        let evidence = format!(
            "{:?} is longer than sweep_interval, {:?}",
            config.streaming.flush_interval, config.streaming.sweep_interval
        );
        let finding = Finding::warning(Hop::Configuration, "streaming.flush_interval", evidence);
        findings.push(
            finding
                .effect("whole tables are read more often than rows are committed")
                .fix("exchange the two values"),
        );
    }
    findings
}

fn sections(config: &Config) -> Finding {
    let given = [
        ("postgres", config.postgres.is_some()),
        ("kafka", config.kafka.is_some()),
        ("datalake", config.datalake.is_some()),
    ];
    let named = |wanted: bool| {
        given
            .iter()
            .filter(|(_, is)| *is == wanted)
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let tables = config.tables.len();
    let evidence = format!(
        "sections: {}; {tables} {}",
        named(true),
        if tables == 1 { "table" } else { "tables" }
    );
    let absent = named(false);
    let finding = Finding::ok(
        Hop::Configuration,
        format!("pipeline {}", config.pipeline),
        evidence,
    );
    if absent.is_empty() {
        finding
    } else {
        finding.effect(format!(
            "not checked, because the configuration lacks them: {absent}"
        ))
    }
}

/// Two tables in one folder would use the same log.
fn shared_folders(config: &Config) -> Vec<Finding> {
    let Some(datalake) = &config.datalake else {
        return Vec::new();
    };
    let finding = |shared: SharedFolder| {
        let SharedFolder {
            first,
            second,
            folder,
        } = shared;
        let evidence = format!("tables `{first}` and `{second}` would both be written there");
        let object = datalake.path.join(folder).display().to_string();
        Finding::error(Hop::Configuration, object, evidence)
            .fix("give one of the tables a configuration of its own, with another `datalake.path`")
    };
    tables::shared_folders(config).map(finding).collect()
}
