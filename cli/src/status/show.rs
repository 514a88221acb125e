//! The status as text, freshness first, and as JSON.

use std::fmt::Write;
use std::time::Duration;

use chrono::DateTime;
use indicatif::{HumanBytes, HumanCount};
use inlet_model::printable;
use inlet_producer::source::census::Census;
use inlet_producer::source::waiting::Hidden;
use serde_json::{Map, Value, json};

use super::look::{Behind, Hop, Journal, Looked, NoLag, Services, Status};
use super::processes::Process;
use crate::text_table::{span, text_table};

pub const HEADINGS: [&str; 10] = [
    "TABLE",
    "FRESHNESS",
    "WAITING",
    "ROWS/S",
    "ROWS",
    "FILES",
    "SIZE",
    "QUARANTINED",
    "SWEEP",
    "LAST COMMIT",
];
pub const NUMBERS: [usize; 5] = [3, 4, 5, 6, 7];

/// Prints the pipeline in a sentence, its services, a line for each table, and the hops that could
/// not be read.
pub fn text(looked: &Looked) -> String {
    let rows: Vec<_> = looked.tables.iter().map(cells).collect();
    let mut text = format!(
        "{}\n{}\n\n{}",
        summary(looked),
        running(looked.services),
        text_table(&HEADINGS, &NUMBERS, &rows, 2)
    );
    for note in notes(looked) {
        writeln!(text, "{note}").expect("a text takes every line");
    }
    text
}

/// What is to be known beside the numbers, a line each: what was done with a table, and the hops
/// that could not be read.
pub fn notes(looked: &Looked) -> Vec<String> {
    let of_table = |table: &Status| {
        let name = printable(&table.name).into_owned();
        let mut notes = remarks(table);
        if let Some(Err(error)) = &table.waiting {
            notes.push(format!("PostgreSQL cannot be read: {error}"));
        }
        match &table.lag {
            Some(Err(NoLag::Unread(error))) => {
                notes.push(format!("Kafka cannot be read: {error}"));
            }
            Some(Err(NoLag::Lost { reason, advice })) => notes.push(format!(
                "the lake lacks rows that its topic does not have: {reason}; {advice}"
            )),
            Some(Ok(_)) | None => {}
        }
        if let Err(error) = &table.head {
            notes.push(format!("the lake cannot be read: {error}"));
        }
        let line = move |note: String| format!("{name}: {}", printable(&note));
        notes.into_iter().map(line).collect::<Vec<_>>()
    };
    looked.tables.iter().flat_map(of_table).collect()
}

/// The same for programs: seconds are numbers, unknown values are null.
pub fn json(looked: &Looked) -> Value {
    let worst = looked.worst().map(|(_, behind)| behind);
    let Services { direct, poll, lake } = looked.services;
    let services = match direct {
        true => json!({ "run": lake }),
        false => json!({ "producer": poll, "consumer": lake }),
    };
    json!({
        "freshness_seconds": worst.map(|behind| behind.age.as_secs_f64()),
        "freshness_is_bound": worst.map(|behind| !behind.exact),
        "bottleneck": bottleneck(looked),
        "services": services,
        "processes": looked.processes.iter().map(of_process).collect::<Vec<_>>(),
        "tables": looked.tables.iter().map(of_table).collect::<Vec<_>>(),
    })
}

fn of_table(table: &Status) -> Value {
    let (head, sweep) = (table.head(), table.hidden().and_then(|hidden| hidden.sweep));
    let offsets = head.map(|head| {
        head.offsets
            .iter()
            .map(|(partition, at)| (partition.0.to_string(), json!(at.next.map(|next| next.0))))
    });
    json!({
        "table": table.name,
        "freshness_seconds": table.freshness().map(|behind| behind.age.as_secs_f64()),
        "freshness_is_bound": table.freshness().map(|behind| !behind.exact),
        "waiting_rows": table.waiting_rows(),
        "lag_rows": table.lag_rows(),
        "hidden_versions": table.hidden().map(Hidden::suspicious),
        "hidden_deletes": table.hidden().and_then(|hidden| hidden.deletes),
        "swept_seconds_ago": sweep.map(|(ago, _)| ago.as_secs_f64()),
        "next_sweep_seconds": sweep.map(|(_, next)| next.as_secs_f64()),
        "phase": table.phase,
        "paused": table.paused,
        "reloading": table.reloading,
        "set_aside": table.set_aside,
        "deletes": table.census.as_ref().map(of_census),
        "journal": table.journal.as_ref().map(of_journal),
        "expected_rows": table.expected_rows(),
        "rows_per_second": table.rows_per_second,
        "rows": head.map(|head| head.rows),
        "files": head.map(|head| head.files),
        "bytes": head.map(|head| head.bytes),
        "missing_files": table.missing.len(),
        "missing_rows": table.missing.values().sum::<u64>(),
        "quarantined": head.map(|head| head.quarantined),
        "seq": head.map(|head| head.seq),
        "committed_at": head.and_then(|head| head.committed_at),
        "committed_seconds_ago": table.committed_seconds_ago(),
        "offsets": offsets.map(Iterator::collect::<Map<String, Value>>),
        "postgres_error": table.waiting.as_ref().and_then(|waiting| waiting.as_ref().err()),
        "kafka_error": table.lag.as_ref().and_then(|lag| lag.as_ref().err()).map(NoLag::reason),
        "lake_error": table.head.as_ref().err(),
    })
}

fn of_process(process: &Process) -> Value {
    json!({
        "id": process.id,
        "memory_bytes": process.memory_bytes,
        "cpu_seconds": process.cpu.as_secs_f64(),
    })
}

fn of_journal(journal: &Journal) -> Value {
    let held = journal.held;
    json!({
        "changes": held.map(|held| held.rows),
        "bytes": held.map(|held| held.bytes),
        "bytes_max": journal.bytes_max,
        "missed_statements": held.map(|held| held.missed),
        "remarks": journal.remarks,
    })
}

/// How far deletes are found: `seen_until` is the time, in microseconds since 1970-01-01 UTC,
/// before which every committed delete is published.
fn of_census(census: &Census) -> Value {
    let last = census.last.as_ref();
    json!({
        "published": census.deletes,
        "seen_until": last.map(|last| last.started.0),
        "keys": last.map(|last| last.keys),
        "pass_seconds": last.map(|last| (last.ended.0 - last.started.0) as f64 / 1e6),
        "comparing": census.pass.as_ref().map(|pass| pass.keys),
        "too_large_bytes": census.too_large,
    })
}

/// How far deletes are found, in words, where there is something to report.
fn deletes(census: &Census) -> Option<String> {
    if census.too_large.is_some() {
        let advice = "raise `streaming.census_memory`";
        return Some(format!(
            "its keys take too much memory to find deletes: {advice}"
        ));
    }
    let published = HumanCount(census.deletes);
    let last = census.last.as_ref();
    let seen = last.and_then(|last| DateTime::from_timestamp_micros(last.started.0));
    let seen = seen.map(|at| format!(", all until {}", at.format("%Y-%m-%d %H:%M:%S UTC")));
    match &census.pass {
        Some(pass) => Some(format!(
            "{published} deletes{}; comparing keys, {} so far",
            seen.unwrap_or_default(),
            HumanCount(pass.keys)
        )),
        None if census.deletes == 0 => None,
        None => Some(format!("{published} deletes{}", seen.unwrap_or_default())),
    }
}

/// What a user or the service has done with the table, beside polling it.
fn remarks(table: &Status) -> Vec<String> {
    let mut remarks = Vec::new();
    if table.paused {
        remarks.push("paused: its changes wait in PostgreSQL until `inlet resume`".to_owned());
    }
    if table.reloading {
        remarks.push("loaded again, beside its new changes".to_owned());
    }
    if let Some(reason) = &table.set_aside {
        remarks.push(format!("set aside, and tried again by itself: {reason}"));
    }
    remarks.extend(table.census.as_ref().and_then(deletes));
    if let Some(journal) = &table.journal {
        remarks.extend(journal.remarks.iter().cloned());
    }
    remarks.extend(table.hidden().into_iter().flat_map(hidden));
    if let Some(first) = table.missing.keys().next() {
        remarks.push(format!(
            "{} with {} are missing in its folder, such as {}; restore them from a copy of the lake",
            count(table.missing.len() as u64, "committed file"),
            count(table.missing.values().sum(), "row"),
            first.display()
        ));
    }
    if table.phase.is_none() && matches!(table.waiting, Some(Ok(_))) {
        remarks.push("no service has started with it".to_owned());
    }
    remarks
}

/// What the polls do not see, as far as PostgreSQL's counters show it.
fn hidden(hidden: &Hidden) -> Vec<String> {
    let mut remarks = Vec::new();
    if let (1.., Some((ago, next))) = (hidden.versions, hidden.sweep) {
        let what = match hidden.usual {
            true => "earlier sweeps found such ones harmless",
            false => "updates that leave the cursor unchanged, or transactions that were aborted",
        };
        remarks.push(format!(
            "up to {} that no poll sees since the sweep {} ago: {what}; the next sweep comes in {} at \
             the latest",
            count(hidden.versions, "version"),
            seconds(ago),
            seconds(next)
        ));
    }
    if hidden.deletes.is_none() && hidden.looks_for_deletes {
        remarks.push("its keys are not compared yet, so deletes are unknown".to_owned());
    }
    if let (Some(deletes @ 1..), Some(ago)) = (hidden.deletes, hidden.compared) {
        remarks.push(format!(
            "up to {} not found yet, since the comparison of keys {} ago",
            count(deletes, "delete"),
            seconds(ago)
        ));
    }
    if hidden.ignored_deletes > 0 {
        remarks.push(format!(
            "its deletes are not carried; PostgreSQL has counted {}",
            HumanCount(hidden.ignored_deletes)
        ));
    }
    remarks
}

fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", HumanCount(number))
}

fn seconds(time: Duration) -> String {
    span(time.as_secs_f64())
}

/// The cells of a table's line, one for each heading.
pub fn cells(table: &Status) -> Vec<String> {
    let head = table.head();
    let number = |value: Option<u64>| {
        value.map_or_else(|| "-".to_owned(), |value| HumanCount(value).to_string())
    };
    vec![
        table.name.clone(),
        freshness(table),
        waiting(table),
        HumanCount(table.rows_per_second.round() as u64).to_string(),
        number(head.map(|head| head.rows)),
        number(head.map(|head| head.files)),
        head.map_or_else(|| "-".to_owned(), |head| HumanBytes(head.bytes).to_string()),
        number(head.map(|head| head.quarantined)),
        sweep(table),
        table.committed_seconds_ago().map_or_else(
            || "none yet".to_owned(),
            |seconds| format!("{} ago", span(seconds)),
        ),
    ]
}

/// When the whole table was last read, and when it is read next.
fn sweep(table: &Status) -> String {
    match table.hidden() {
        None => "-".to_owned(),
        Some(Hidden { sweep: None, .. }) => "every poll".to_owned(),
        Some(Hidden {
            sweep: Some((ago, next)),
            ..
        }) => format!("{} ago, next in {}", seconds(*ago), seconds(*next)),
    }
}

fn freshness(table: &Status) -> String {
    match (table.freshness(), table.phase) {
        (Some(Behind { age, exact, .. }), _) => {
            let bound = if exact { "" } else { "< " };
            format!("{bound}{}", seconds(age))
        }
        (None, Some("loading")) => match (table.head(), table.expected_rows()) {
            (Some(head), Some(expected)) => {
                // The expected rows are an estimate, so 100 % is never shown before the end.
                format!("loading, {} %", (head.rows * 100 / expected.max(1)).min(99))
            }
            _ => "loading".to_owned(),
        },
        (None, Some(phase)) if phase != "tailing" => phase.to_owned(),
        (None, _) => "unknown".to_owned(),
    }
}

/// Rows that the lake lacks, hop by hop.
fn waiting(table: &Status) -> String {
    let hops = [
        (table.waiting_rows(), "in PostgreSQL"),
        (table.lag_rows(), "in Kafka"),
    ];
    let parts: Vec<_> = hops
        .iter()
        .filter_map(|(rows, hop)| {
            Some(format!(
                "{} {hop}",
                HumanCount(rows.filter(|rows| *rows > 0)?)
            ))
        })
        .collect();
    let is_known = hops.iter().any(|(rows, _)| rows.is_some());
    if parts.is_empty() {
        if is_known { "nothing" } else { "unknown" }.to_owned()
    } else {
        parts.join(", ")
    }
}

/// Names the service for which rows wait longest; `None` without waiting rows.
fn bottleneck(looked: &Looked) -> Option<&'static str> {
    let (table, behind) = looked.worst()?;
    let poll = if looked.services.direct {
        "run"
    } else {
        "producer"
    };
    match behind.hop {
        Hop::Kafka => (table.lag_rows()? > 0).then_some("consumer"),
        Hop::Postgres => (table.waiting_rows()? > 0).then_some(poll),
        Hop::Sweep | Hop::Census => Some(poll),
    }
}

/// The services of the pipeline, each running or not.
pub fn running(services: Services) -> String {
    let of = |service: &str, runs: Option<bool>| {
        let runs = match runs {
            Some(true) => "is running",
            Some(false) => "is not running",
            None => "cannot be seen",
        };
        format!("`inlet {service}` {runs}")
    };
    match services.direct {
        true => format!("Services: {}.", of("run", services.lake)),
        false => format!(
            "Services: {}, {}.",
            of("producer", services.poll),
            of("consumer", services.lake)
        ),
    }
}

/// How far the pipeline is behind, and why, in a sentence.
pub fn summary(looked: &Looked) -> String {
    let tables = &looked.tables;
    // While a table loads, its freshness means nothing, and the summary reports the load instead.
    let loading = tables
        .iter()
        .filter(|table| matches!(table.phase, Some("loading" | "joining")))
        .count();
    if loading > 0 {
        return format!(
            "Freshness: {loading} of {} tables are being loaded.",
            tables.len()
        );
    }
    let Some((table, behind)) = looked.worst() else {
        return "Freshness: unknown, see below.".to_owned();
    };
    let (name, age) = (printable(&table.name), seconds(behind.age));
    let at_most = if behind.exact { "" } else { "at most " };
    let waits = match (behind.hop, table.hidden()) {
        (Hop::Postgres, _) if !behind.exact => {
            format!("rows of {name} wait uncounted, because it is polled without an index.")
        }
        (Hop::Sweep, Some(hidden)) => format!(
            "up to {} of {name} may wait in PostgreSQL where no poll sees them, until a sweep.",
            count(hidden.versions, "version")
        ),
        (Hop::Census, Some(hidden)) => format!(
            "up to {} of {name} are not found yet.",
            count(hidden.deletes.unwrap_or_default(), "delete")
        ),
        _ => open(looked, table, behind),
    };
    let colon = if behind.exact { "," } else { ":" };
    format!("Freshness: {at_most}{age}{colon} {waits}")
}

/// What waits where polls and consumers see it, in words.
fn open(looked: &Looked, table: &Status, behind: Behind) -> String {
    let from = if table.waiting.is_some() {
        "PostgreSQL"
    } else {
        "the topic"
    };
    let Some(service) = bottleneck(looked) else {
        let shown = match table.waiting {
            Some(_) => "nothing waits that polls or PostgreSQL's counters show",
            None => "the lake has all of the topic",
        };
        let Services { poll, lake, .. } = looked.services;
        let stopped = match (poll, lake) {
            (Some(false), Some(false)) => "; no service is running",
            (Some(false), _) => "; changes are not polled, because no producer is running",
            (_, Some(false)) => "; no consumer is running",
            _ => "",
        };
        return format!("{shown}{stopped}.");
    };
    let (place, rows) = match behind.hop {
        Hop::Kafka => ("Kafka", table.lag_rows()),
        Hop::Postgres | Hop::Sweep | Hop::Census => ("PostgreSQL", table.waiting_rows()),
    };
    let rows = rows.unwrap_or_default();
    let verb = if rows == 1 { "row waits" } else { "rows wait" };
    let runs = match behind.hop {
        Hop::Kafka => looked.services.lake,
        Hop::Postgres | Hop::Sweep | Hop::Census => looked.services.poll,
    };
    let stopped = match runs {
        Some(false) => ", which is not running",
        Some(true) | None => "",
    };
    format!(
        "{} is behind {from}: {} {verb} in {place} for `inlet {service}`{stopped}.",
        printable(&table.name),
        HumanCount(rows)
    )
}
