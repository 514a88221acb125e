//! `inlet lake show`: a table's lake in a few lines.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;

use indicatif::{HumanBytes, HumanCount};
use inlet_lake::{Head, LakeFile, Numbering};
use inlet_model::printable;
use inlet_service::config::Export;
use inlet_service::output;
use serde_json::{Map, Value, json};

use super::Table;
use crate::failure::{Failure, Outcome};

/// What the log of one table states.
struct Shown {
    table: String,
    folder: String,
    /// `None` before the first commit.
    head: Option<Head>,
    files: Vec<LakeFile>,
    columns: Option<usize>,
    exports: Vec<(Export, Option<u64>)>,
}

pub async fn run(tables: &[Table], is_json: bool) -> Outcome {
    let mut shown = Vec::new();
    for table in tables {
        shown.push(read(table).await?);
    }
    if is_json {
        let tables: Vec<Value> = shown.iter().map(of_table).collect();
        output::stdout(format!("{:#}\n", json!({ "tables": tables })))?;
    } else {
        let texts: Vec<String> = shown.iter().map(text).collect();
        output::stdout(texts.join("\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn read(table: &Table) -> Result<Shown, Failure> {
    let reader = table.reader();
    let head = table.head().await?;
    let files = match &head {
        Some(head) => reader.files(head)?,
        None => Vec::new(),
    };
    let latest = head.as_ref().and_then(|head| reader.latest_schema(head));
    Ok(Shown {
        table: table.name.clone(),
        folder: table.folder.display().to_string(),
        head,
        files,
        columns: latest.map(|schema| schema.columns.len()),
        exports: table.exports.clone(),
    })
}

impl Shown {
    /// The dates of the files, and whether there are files without one.
    fn dates(&self) -> (BTreeSet<&str>, bool) {
        let dates = self.files.iter().filter_map(|file| file.date.as_deref());
        (
            dates.collect(),
            self.files.iter().any(|file| file.date.is_none()),
        )
    }

    fn merged(&self) -> usize {
        self.files.iter().filter(|file| file.level > 0).count()
    }
}

fn text(shown: &Shown) -> String {
    let mut text = format!(
        "{}  {}\n",
        printable(&shown.table),
        printable(&shown.folder)
    );
    let mut line = |name: &str, value: String| {
        writeln!(text, "  {name:<9}  {value}").expect("a text takes every line");
    };
    let Some(head) = &shown.head else {
        line("log", "no commit yet".to_owned());
        return text;
    };
    let count = |number: u64| HumanCount(number).to_string();
    let rejected = match head.quarantined {
        0 => String::new(),
        rows => format!(", and {} in quarantine", count(rows)),
    };
    line("rows", format!("{}{rejected}", count(head.rows)));
    let merged = match shown.merged() {
        0 => String::new(),
        files => format!(", {files} of them merged"),
    };
    let size = HumanBytes(head.bytes);
    line("files", format!("{}{merged}, {size}", count(head.files)));
    line("dates", dates(shown));
    for (partition, at) in &head.offsets {
        let next = at
            .next
            .map_or_else(|| "0".to_owned(), |next| next.0.to_string());
        let (partition, epoch) = (partition.0, at.epoch);
        let place = format!("kafka_partition {partition}: next offset {next}, epoch {epoch}");
        line("position", place);
    }
    if let Some(numbering) = head.numbering() {
        line("numbered", of_numbering(numbering).to_owned());
    }
    let latest = shown
        .columns
        .map(|columns| format!(", the latest one has {columns} columns"));
    let schemas = head.schemas.len();
    line(
        "schemas",
        format!("{schemas}{}", latest.unwrap_or_default()),
    );
    if !head.progress.0.is_empty() {
        let parts = head.progress.0.len();
        line("progress", format!("of the poll, in {parts} parts"));
    }
    let last = head
        .committed_at
        .map(|at| at.format(", the last rows %Y-%m-%d %H:%M:%S UTC"));
    let last = last.map(|last| last.to_string()).unwrap_or_default();
    line("log", format!("{} entries{last}", count(head.seq)));
    for (export, entry) in &shown.exports {
        let has = match entry {
            Some(entry) => format!("up to entry {}", count(*entry)),
            None => "not exported yet".to_owned(),
        };
        line("export", format!("{}: {has}", export.title()));
    }
    text
}

fn dates(shown: &Shown) -> String {
    let (dates, has_undated) = shown.dates();
    let undated = if has_undated {
        ", and rows without a date"
    } else {
        ""
    };
    match (dates.first(), dates.last()) {
        (Some(first), Some(last)) if first != last => {
            format!("{first} to {last} ({}){undated}", dates.len())
        }
        (Some(only), _) => format!("{only}{undated}"),
        _ if has_undated => "rows without a date".to_owned(),
        _ => "none".to_owned(),
    }
}

fn of_numbering(numbering: Numbering) -> &'static str {
    match numbering {
        Numbering::Topic => "by the offsets of a topic",
        Numbering::Local => "by this lake, without a broker",
    }
}

fn of_table(shown: &Shown) -> Value {
    let (dates, has_undated) = shown.dates();
    let Some(head) = &shown.head else {
        return json!({ "table": shown.table, "folder": shown.folder, "entries": 0 });
    };
    let offsets = head.offsets.iter().map(|(partition, at)| {
        let next = at.next.map(|next| next.0);
        (
            partition.0.to_string(),
            json!({ "next": next, "epoch": at.epoch }),
        )
    });
    let exports = shown.exports.iter();
    let exports = exports.map(|(export, entry)| (export.name().to_owned(), json!(entry)));
    json!({
        "table": shown.table,
        "folder": shown.folder,
        "rows": head.rows,
        "quarantined": head.quarantined,
        "files": head.files,
        "merged_files": shown.merged(),
        "bytes": head.bytes,
        "dates": dates,
        "has_undated_rows": has_undated,
        "offsets": offsets.collect::<Map<String, Value>>(),
        "numbering": head.numbering().map(|of| match of {
            Numbering::Topic => "topic",
            Numbering::Local => "local",
        }),
        "schemas": head.schemas.keys().map(ToString::to_string).collect::<Vec<_>>(),
        "progress_parts": head.progress.0.len(),
        "entries": head.seq,
        "exports": exports.collect::<Map<String, Value>>(),
        "committed_at": head.committed_at,
    })
}
