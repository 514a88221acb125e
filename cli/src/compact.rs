//! `inlet compact`: merges the small files of a lake now, beside the services that write it, and
//! lets rows leave that are older than their table keeps.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::Utc;
use indicatif::{HumanBytes, HumanCount};
use inlet_lake::{Compacted, Compactor, Expired, TableReader};
use inlet_service::config::{Config, DatalakeConfig, TableConfig};
use inlet_service::output;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::args::CompactArguments;
use crate::failure::{Failure, Outcome};
use crate::tables;
use crate::text_table::text_table;

/// What became of one table.
struct Report {
    table: String,
    /// Files before.
    before: u64,
    compacted: Compacted,
    expired: Expired,
}

/// Merges the small files of these tables, or of all.
pub async fn run(arguments: &CompactArguments, config: Config, stop: CancellationToken) -> Outcome {
    let datalake = config.require_datalake()?;
    let asked = tables::asked(&arguments.of.tables, &config.tables)?;
    let is_stopped = Arc::new(AtomicBool::new(false));
    let mut reports = Vec::new();
    for at in asked {
        let table = &config.tables[at];
        let merge = merge(&config, datalake, table, is_stopped.clone());
        tokio::pin!(merge);
        // The merge that runs ends after its present file; what it has merged stays merged.
        let report = match stop.run_until_cancelled(&mut merge).await {
            Some(report) => report,
            None => {
                is_stopped.store(true, Ordering::Relaxed);
                merge.await
            }
        };
        reports.extend(report?);
        if stop.is_cancelled() {
            break;
        }
    }
    if arguments.json {
        let tables: Vec<Value> = reports.iter().map(of_table).collect();
        output::stdout(format!("{:#}\n", json!({ "tables": tables })))?;
    } else {
        output::stdout(in_columns(&reports))?;
    }
    let is_whole = !stop.is_cancelled();
    Ok(if is_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// `None` for a table that is not in the lake yet.
async fn merge(
    config: &Config,
    datalake: &DatalakeConfig,
    table: &TableConfig,
    stop: Arc<AtomicBool>,
) -> Result<Option<Report>, Failure> {
    let folder = tables::folder(config, datalake, table);
    let Some(head) = TableReader::new(&folder).head().await? else {
        return Ok(None);
    };
    let Some(compactor) = Compactor::open(&folder, tables::READERS_PAUSE).await? else {
        return Ok(None);
    };
    // What leaves is not merged before.
    let expired = match tables::retention(table) {
        Some(retention) => {
            compactor
                .expire(retention, Utc::now(), stop.clone())
                .await?
        }
        None => Expired::default(),
    };
    Ok(Some(Report {
        table: head.table.to_string(),
        before: head.files,
        expired,
        compacted: compactor.merge_small(stop).await?,
    }))
}

fn of_table(report: &Report) -> Value {
    json!({
        "table": report.table,
        "files_before": report.before,
        "merged_files": report.compacted.replaced,
        "new_files": report.compacted.files,
        "rows": report.compacted.rows,
        "bytes": report.compacted.bytes,
        "expired_rows": report.expired.rows,
        "expired_dates": report.expired.dates,
        "waiting_dates": report.expired.waiting.iter().map(|(date, _)| date).collect::<Vec<_>>(),
    })
}

fn in_columns(reports: &[Report]) -> String {
    let rows: Vec<Vec<String>> = reports
        .iter()
        .map(|report| {
            let Compacted {
                replaced,
                files,
                rows,
                bytes,
            } = report.compacted;
            vec![
                report.table.clone(),
                HumanCount(report.before).to_string(),
                HumanCount(replaced).to_string(),
                HumanCount(files).to_string(),
                HumanCount(rows).to_string(),
                HumanBytes(bytes).to_string(),
                HumanCount(report.expired.rows).to_string(),
            ]
        })
        .collect();
    let headings = ["table", "files", "merged", "into", "rows", "size", "left"];
    text_table(&headings, &[1, 2, 3, 4, 5, 6], &rows, 2)
}
