//! What is recorded, as text and as JSON.

use std::process::ExitCode;

use chrono::Utc;
use indicatif::{HumanBytes, HumanCount};
use inlet_postgres::capture::{Gap, Held};
use inlet_service::config::{Capture, TableConfig};
use inlet_service::output;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::Found;
use crate::failure::Outcome;
use crate::text_table::{span, text_table};

const HEADINGS: [&str; 6] = ["TABLE", "CAPTURE", "JOURNAL", "CHANGES", "SIZE", "OLDEST"];

pub(super) async fn status(
    connection: &mut PgConnection,
    found: &[Found],
    as_json: bool,
) -> Outcome {
    let (mut rows, mut remarks, mut values) = (Vec::new(), String::new(), Vec::new());
    for table in found {
        let held = table.recording.held(connection).await?;
        let name = table.recording.table.short();
        let mut said: Vec<String> = table.gaps().iter().map(words).collect();
        said.extend(held.and_then(|held| lost(&table.config, held)));
        if table.config.capture == Capture::None && table.recording.exists() {
            said.push(
                "the configuration asks for nothing, and something is installed: `inlet \
                capture remove`"
                    .to_owned(),
            );
        }
        for remark in &said {
            remarks.push_str(&format!("{name}: {remark}\n"));
        }
        values.push(value(table, held, &said));
        rows.push(row(table, held));
    }
    output::stdout(match as_json {
        true => format!("{}\n", json!({ "tables": values })),
        false => format!("{}{remarks}", text_table(&HEADINGS, &[3, 4], &rows, 2)),
    })?;
    Ok(ExitCode::SUCCESS)
}

impl Found {
    fn gaps(&self) -> Vec<Gap> {
        let captured = self.captured.as_ref();
        captured.map_or_else(Vec::new, |captured| {
            self.recording.gaps(captured, &self.config)
        })
    }
}

fn row(table: &Found, held: Option<Held>) -> Vec<String> {
    let none = || "-".to_owned();
    vec![
        table.recording.table.short(),
        table.config.capture.name().to_owned(),
        held.map_or_else(none, |_| table.recording.journal.short()),
        held.map_or_else(none, |held| {
            HumanCount(held.rows.unsigned_abs()).to_string()
        }),
        held.map_or_else(none, |held| {
            HumanBytes(held.bytes.unsigned_abs()).to_string()
        }),
        held.and_then(age)
            .map_or_else(none, |seconds| format!("{} ago", span(seconds))),
    ]
}

fn age(held: Held) -> Option<f64> {
    let micros = Utc::now().timestamp_micros() - held.oldest?;
    Some(micros.max(0) as f64 / 1e6)
}

fn value(table: &Found, held: Option<Held>, said: &[String]) -> Value {
    json!({
        "table": table.recording.table.to_string(),
        "capture": table.config.capture.name(),
        "journal": table.recording.journal.to_string(),
        "installed": table.recording.exists() && table.gaps().is_empty(),
        "changes": held.map(|held| held.rows),
        "bytes": held.map(|held| held.bytes),
        "bytes_max": table.config.journal_max,
        "full": held.map(|held| is_full(&table.config, held)),
        "oldest_seconds": held.and_then(age),
        "missed_statements": held.map(|held| held.missed),
        "remarks": said,
    })
}

fn is_full(config: &TableConfig, held: Held) -> bool {
    held.bytes.unsigned_abs() >= config.journal_max
}

/// What a journal has lost, or is about to lose, in words.
pub fn lost(config: &TableConfig, held: Held) -> Option<String> {
    let missed = HumanCount(held.missed.unsigned_abs());
    let gaps = (held.missed > 0).then(|| {
        format!(
            "up to {missed} statements were not recorded since it was installed; the column \
             `missed` of the changes shows between which"
        )
    });
    let full = is_full(config, held).then(|| {
        format!(
            "its journal is full ({}): changes are counted and not recorded until the lake has \
             it; start the service, or raise `journal_max`",
            HumanBytes(config.journal_max)
        )
    });
    match (full, gaps) {
        (Some(full), Some(gaps)) => Some(format!("{full}; {gaps}")),
        (full, gaps) => full.or(gaps),
    }
}

/// What is wrong with a recording, in words.
pub fn words(gap: &Gap) -> String {
    match gap {
        Gap::Missing => "nothing is recorded yet".to_owned(),
        Gap::Partial => "a part of what records its changes is missing".to_owned(),
        Gap::Outdated => {
            "its triggers record another level, key or size than the configuration asks for"
                .to_owned()
        }
        Gap::Triggers(tables) => {
            let names: Vec<_> = tables.iter().map(|table| table.short()).collect();
            format!("statements on {} are not recorded", names.join(", "))
        }
        Gap::Rights => "the role that polls may not read or trim its journal".to_owned(),
    }
}
