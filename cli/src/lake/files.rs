//! `inlet lake files`: the data files that readers see, as the log lists them.

use std::process::ExitCode;

use indicatif::{HumanBytes, HumanCount};
use inlet_lake::LakeFile;
use inlet_service::output;
use serde_json::{Value, json};

use super::Table;
use crate::failure::Outcome;
use crate::text_table::text_table;

const HEADINGS: [&str; 7] = ["table", "date", "file", "rows", "size", "merged", "entry"];
const NUMBERS: [usize; 4] = [3, 4, 5, 6];

pub async fn run(tables: &[Table], is_json: bool) -> Outcome {
    let mut found = Vec::new();
    for table in tables {
        if let Some(head) = table.head().await? {
            let files = table.reader().files(&head)?;
            found.extend(files.into_iter().map(|file| (table, file)));
        }
    }
    // The log has them in the order of their commits; people look for a date.
    found.sort_by(|(_, one), (_, other)| one.path.cmp(&other.path));
    if is_json {
        let files: Vec<Value> = found
            .iter()
            .map(|(table, file)| of_file(table, file))
            .collect();
        output::stdout(format!("{:#}\n", json!({ "files": files })))?;
    } else {
        let rows: Vec<_> = found
            .iter()
            .map(|(table, file)| cells(table, file))
            .collect();
        output::stdout(text_table(&HEADINGS, &NUMBERS, &rows, 2))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The file's path in the table's folder.
fn name(table: &Table, file: &LakeFile) -> String {
    let path = file.path.strip_prefix(&table.folder).unwrap_or(&file.path);
    path.display().to_string()
}

fn cells(table: &Table, file: &LakeFile) -> Vec<String> {
    vec![
        table.name.clone(),
        file.date.clone().unwrap_or_default(),
        name(table, file),
        HumanCount(file.rows).to_string(),
        HumanBytes(file.bytes).to_string(),
        file.level.to_string(),
        file.seq.to_string(),
    ]
}

fn of_file(table: &Table, file: &LakeFile) -> Value {
    json!({
        "table": table.name,
        "path": file.path,
        "date": file.date,
        "rows": file.rows,
        "bytes": file.bytes,
        "level": file.level,
        "schema": file.schema.map(|schema| schema.to_string()),
        "seq": file.seq,
    })
}
