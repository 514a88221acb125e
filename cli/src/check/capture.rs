//! What records the changes of a table: whether it is whole, and whether its journal has room.

use inlet_postgres::Captured;
use inlet_postgres::capture::{Gap, Recording};
use inlet_service::config::{Capture, Config, TableConfig};
use sqlx::PgConnection;

use super::finding::{Finding, Hop};
use crate::capture::{lost, words};

/// Compares the triggers of one table with its configuration.
pub async fn check(
    config: &Config,
    table: &TableConfig,
    captured: &Captured,
    connection: &mut PgConnection,
) -> Vec<Finding> {
    let (Some(postgres), None) = (&config.postgres, &table.journal_of) else {
        return Vec::new();
    };
    let name = &captured.schema.table;
    let object = name.short();
    let role = &postgres.primary.user;
    let oids = captured.oids();
    let recording = match Recording::find(connection, name, &oids, role).await {
        Ok(recording) => recording,
        Err(error) => return vec![Finding::of(Hop::Table, object, &error)],
    };
    let written = table.written();
    if table.capture == Capture::None {
        if !recording.exists() {
            return Vec::new();
        }
        let evidence = "triggers record its changes, and the configuration does not ask for it";
        let finding = Finding::warning(Hop::Table, object, evidence);
        return vec![
            finding
                .effect("its journal grows until it is full")
                .fix(format!(
                    "inlet capture remove {written}, or tables.{written}.capture: audit"
                )),
        ];
    }
    let mut findings = Vec::new();
    for gap in recording.gaps(captured, table) {
        let finding = match &gap {
            Gap::Missing | Gap::Partial => Finding::error(Hop::Table, &object, words(&gap)),
            _ => Finding::warning(Hop::Table, &object, words(&gap)),
        };
        findings.push(finding.fix(format!("inlet capture install {written}")));
    }
    // The role may not read the journal yet, which is a gap of its own.
    if let Ok(Some(held)) = recording.held(connection).await
        && let Some(lost) = lost(table, held)
    {
        findings.push(Finding::warning(Hop::Table, &object, lost));
    }
    if findings.is_empty() {
        let evidence = format!("its changes are recorded: {}", table.capture.name());
        findings.push(Finding::ok(Hop::Table, object, evidence));
    }
    findings
}
