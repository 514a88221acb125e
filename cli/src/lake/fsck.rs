//! `inlet lake fsck`: reads the whole lake, and explains everything that is wrong with it.

use std::process::ExitCode;

use inlet_service::output;
use tokio_util::sync::CancellationToken;

use super::Table;
use super::explain::explain;
use crate::check::finding::{Finding, Hop, Severity};
use crate::check::report::{self, Detail};
use crate::failure::Outcome;

/// Exit code of a lake that is not whole: that of a difference.
const WRONG: u8 = 3;

pub async fn run(tables: &[Table], is_json: bool, stop: &CancellationToken) -> Outcome {
    let mut findings = Vec::new();
    for table in tables {
        let Some(found) = stop.run_until_cancelled(of_table(table)).await else {
            return Ok(ExitCode::FAILURE);
        };
        findings.extend(found);
    }
    if is_json {
        output::stdout(format!("{}\n", report::json(&findings, Detail::Each)))?;
    } else {
        output::stdout(report::text(&findings, Detail::Each))?;
    }
    let is_wrong =
        |finding: &Finding| matches!(finding.severity, Severity::Error | Severity::Warning);
    Ok(match findings.iter().any(is_wrong) {
        true => ExitCode::from(WRONG),
        false => ExitCode::SUCCESS,
    })
}

async fn of_table(table: &Table) -> Vec<Finding> {
    let object = table.folder.display().to_string();
    // Paths are printed whole, so that a command of a fix works in any folder.
    let folder = crate::tables::absolute(&table.folder);
    match inlet_lake::TableReader::new(folder).audit().await {
        Err(error) => vec![Finding::of(Hop::Lake, object, &error)],
        Ok(audit) => {
            let mut findings = explain(&audit);
            let read = &audit.read;
            let evidence = format!(
                "table `{}`: read {} rows in {} files, and {} entries of the log",
                table.name, read.rows, read.files, read.entries
            );
            findings.push(match read.entries {
                0 => Finding::info(Hop::Lake, object, "no commit yet"),
                _ => Finding::ok(Hop::Lake, object, evidence),
            });
            findings
        }
    }
}
