//! `inlet lake log`: the last entries of the log, in words.

use std::process::ExitCode;

use indicatif::HumanCount;
use inlet_lake::LoggedEntry;
use inlet_model::{KafkaPartition, OffsetRange, printable};
use inlet_service::output;
use serde_json::{Value, json};

use super::Table;
use crate::failure::Outcome;

/// An entry of a table, or why it cannot be read.
type Line<'a> = (&'a Table, u64, Result<LoggedEntry, String>);

pub async fn run(tables: &[Table], last: usize, is_json: bool) -> Outcome {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for table in tables {
        if let Some(head) = table.head().await? {
            let entries = table.reader().log(&head, last);
            // The latest entry is nearest to the prompt.
            let entries = entries.into_iter().rev();
            lines.extend(entries.map(|(seq, entry)| (table, seq, entry)));
        }
    }
    if is_json {
        let entries: Vec<Value> = lines.iter().map(of_entry).collect();
        output::stdout(format!("{:#}\n", json!({ "entries": entries })))?;
    } else {
        let has_names = tables.len() > 1;
        let texts: Vec<String> = lines.iter().map(|line| text(line, has_names)).collect();
        output::stdout(texts.concat())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text((table, seq, entry): &Line<'_>, has_names: bool) -> String {
    let name = match has_names {
        true => format!("{}  ", printable(&table.name)),
        false => String::new(),
    };
    match entry {
        Err(reason) => format!("{name}{seq:>6}  it cannot be read: {}\n", printable(reason)),
        Ok(entry) => format!(
            "{name}{seq:>6}  {}  {}\n",
            entry.committed_at.format("%Y-%m-%d %H:%M:%S"),
            acts(entry).join("; ")
        ),
    }
}

/// What an entry did, in words.
fn acts(entry: &LoggedEntry) -> Vec<String> {
    let mut acts = Vec::new();
    let count = |number: u64, one: &str| {
        let plural = if number == 1 { "" } else { "s" };
        format!("{} {one}{plural}", HumanCount(number))
    };
    for (partition, epoch) in &entry.acquired {
        acts.push(format!(
            "process {} took kafka_partition {} over, epoch {epoch}",
            entry.writer.split('-').next().unwrap_or_default(),
            partition.0
        ));
    }
    if entry.replaced > 0 {
        let (before, after) = (count(entry.replaced, "file"), count(entry.files, "file"));
        let rows = count(entry.file_rows, "row");
        acts.push(format!("{before} merged into {after} of {rows}"));
    } else if entry.files > 0 {
        let (rows, files) = (count(entry.rows, "row"), count(entry.files, "file"));
        acts.push(format!("{rows} in {files}"));
    }
    if let Some((date, files, rows)) = &entry.expired {
        let (files, rows) = (count(*files, "file"), count(*rows, "row"));
        acts.push(match date {
            Some(date) => format!("date {date} left: {files} of {rows}"),
            None => format!("{files} of {rows} left the quarantine"),
        });
    }
    if entry.quarantined > 0 {
        acts.push(format!("{} rejected", count(entry.quarantined, "row")));
    }
    if entry.schemas > 0 {
        acts.push(count(entry.schemas, "new schema"));
    }
    if entry.renames {
        acts.push("columns got other names in files".to_owned());
    }
    for (partition, range) in &entry.offsets {
        let (from, next) = (range.from.0, range.next.0);
        acts.push(format!(
            "offsets {from}..{next} of kafka_partition {}",
            partition.0
        ));
    }
    for (partition, range) in &entry.repaired {
        let (from, next) = (range.from.0, range.next.0);
        acts.push(format!(
            "a repair brought offsets {from}..{next} of kafka_partition {}",
            partition.0
        ));
    }
    if entry.progress > 0 {
        acts.push("progress of the poll".to_owned());
    }
    acts
}

fn of_entry((table, seq, entry): &Line<'_>) -> Value {
    let entry = match entry {
        Ok(entry) => entry,
        Err(reason) => return json!({ "table": table.name, "seq": seq, "error": reason }),
    };
    let ranges = |ranges: &[(KafkaPartition, OffsetRange)]| -> Vec<Value> {
        let range = |(partition, range): &(KafkaPartition, OffsetRange)| json!({ "kafka_partition": partition.0, "from": range.from.0, "next": range.next.0 });
        ranges.iter().map(range).collect()
    };
    let acquired = entry
        .acquired
        .iter()
        .map(|(partition, epoch)| json!({ "kafka_partition": partition.0, "epoch": epoch }));
    json!({
        "table": table.name,
        "seq": seq,
        "committed_at": entry.committed_at,
        "writer": entry.writer,
        "rows": entry.rows,
        "quarantined": entry.quarantined,
        "files": entry.files,
        "replaced_files": entry.replaced,
        "expired": entry.expired.as_ref().map(|(date, files, rows)| {
            json!({ "date": date, "files": files, "rows": rows })
        }),
        "offsets": ranges(&entry.offsets),
        "repaired": ranges(&entry.repaired),
        "acquired": acquired.collect::<Vec<_>>(),
        "new_schemas": entry.schemas,
        "progress_parts": entry.progress,
        "text": acts(entry).join("; "),
    })
}
