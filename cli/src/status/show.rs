//! The status as text, freshness first, and as JSON.

use std::fmt::Write;

use chrono::DateTime;
use indicatif::{HumanBytes, HumanCount};
use inlet_model::printable;
use inlet_producer::source::census::Census;
use serde_json::{Map, Value, json};

use super::look::{Hop, NoLag, Status};
use crate::text_table::{span, text_table};

const HEADINGS: [&str; 9] = [
    "TABLE",
    "FRESHNESS",
    "WAITING",
    "ROWS/S",
    "ROWS",
    "FILES",
    "SIZE",
    "QUARANTINED",
    "LAST COMMIT",
];
const NUMBERS: [usize; 5] = [3, 4, 5, 6, 7];

/// Prints the pipeline in a sentence, a line for each table, and the hops that could not be read.
pub fn text(tables: &[Status]) -> String {
    let rows: Vec<_> = tables.iter().map(cells).collect();
    let mut text = format!(
        "{}\n\n{}",
        summary(tables),
        text_table(&HEADINGS, &NUMBERS, &rows, 2)
    );
    for table in tables {
        let name = printable(&table.name);
        let mut line = |what: String| {
            writeln!(text, "{name}: {}", printable(&what)).expect("a text takes every line");
        };
        for remark in remarks(table) {
            line(remark);
        }
        if let Some(Err(error)) = &table.waiting {
            line(format!("PostgreSQL cannot be read: {error}"));
        }
        match &table.lag {
            Some(Err(NoLag::Unread(error))) => line(format!("Kafka cannot be read: {error}")),
            Some(Err(NoLag::Lost { reason, advice })) => line(format!(
                "the lake lacks rows that its topic does not have: {reason}; {advice}"
            )),
            Some(Ok(_)) | None => {}
        }
        if let Err(error) = &table.head {
            line(format!("the lake cannot be read: {error}"));
        }
    }
    text
}

/// The same for programs: seconds are numbers, unknown values are null.
pub fn json(tables: &[Status]) -> Value {
    let freshness = worst(tables).map(|(_, seconds, _)| seconds);
    json!({ "freshness_seconds": freshness, "bottleneck": bottleneck(tables), "tables": tables.iter().map(of_table).collect::<Vec<_>>() })
}

fn of_table(table: &Status) -> Value {
    let head = table.head();
    let offsets = head.map(|head| {
        head.offsets
            .iter()
            .map(|(partition, at)| (partition.0.to_string(), json!(at.next.map(|next| next.0))))
    });
    json!({
        "table": table.name,
        "freshness_seconds": table.freshness().map(|(age, _)| age.as_secs_f64()),
        "waiting_rows": table.waiting_rows(),
        "lag_rows": table.lag_rows(),
        "phase": table.phase,
        "paused": table.paused,
        "reloading": table.reloading,
        "set_aside": table.set_aside,
        "deletes": table.census.as_ref().map(of_census),
        "expected_rows": table.expected_rows(),
        "rows_per_second": table.rows_per_second,
        "rows": head.map(|head| head.rows),
        "files": head.map(|head| head.files),
        "bytes": head.map(|head| head.bytes),
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

/// How far deletes are found: `seen_until` is the time, in microseconds since 1970-01-01 UTC, before
/// which every committed delete is published.
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
    remarks
}

fn cells(table: &Status) -> Vec<String> {
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
        table.committed_seconds_ago().map_or_else(
            || "none yet".to_owned(),
            |seconds| format!("{} ago", span(seconds)),
        ),
    ]
}

fn freshness(table: &Status) -> String {
    match (table.freshness(), table.phase) {
        // Without a count of the waiting rows, the age of the last poll is an upper bound.
        (Some((age, Hop::Postgres)), _)
            if table.waiting.is_some() && table.waiting_rows().is_none() =>
        {
            format!("< {}", span(age.as_secs_f64()))
        }
        (Some((age, _)), _) => span(age.as_secs_f64()),
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

/// Finds the table that is furthest behind, with its seconds and the hop that holds its rows.
/// `None` while the freshness of a table is unknown.
fn worst(tables: &[Status]) -> Option<(&Status, f64, Hop)> {
    let known: Option<Vec<_>> = tables
        .iter()
        .map(|table| {
            table
                .freshness()
                .map(|(age, hop)| (table, age.as_secs_f64(), hop))
        })
        .collect();
    known?
        .into_iter()
        .max_by(|left, right| left.1.total_cmp(&right.1))
}

/// Names the service for which rows wait longest; `None` without waiting rows.
fn bottleneck(tables: &[Status]) -> Option<&'static str> {
    let (table, _, hop) = worst(tables)?;
    match hop {
        Hop::Kafka => (table.lag_rows()? > 0).then_some("consumer"),
        Hop::Postgres if table.waiting_rows().unwrap_or(0) == 0 => None,
        Hop::Postgres if table.lag.is_some() => Some("producer"),
        Hop::Postgres => Some("run"),
    }
}

fn summary(tables: &[Status]) -> String {
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
    let Some((table, seconds, hop)) = worst(tables) else {
        return "Freshness: unknown, see below.".to_owned();
    };
    if table.waiting.is_some() && table.waiting_rows().is_none() && hop == Hop::Postgres {
        return format!(
            "Freshness: at most {}: rows of {} wait uncounted, because it is polled without an \
                index.",
            span(seconds),
            printable(&table.name)
        );
    }
    let from = if table.waiting.is_some() {
        "PostgreSQL"
    } else {
        "the topic"
    };
    match bottleneck(tables) {
        None => format!(
            "Freshness: {}, the lake has all that {from} had committed.",
            span(seconds)
        ),
        Some(service) => {
            let place = if hop == Hop::Kafka {
                "Kafka"
            } else {
                "PostgreSQL"
            };
            let rows = if hop == Hop::Kafka {
                table.lag_rows()
            } else {
                table.waiting_rows()
            };
            let rows = rows.expect("a bottleneck has rows that wait");
            let verb = if rows == 1 { "row waits" } else { "rows wait" };
            format!(
                "Freshness: {}, {} is behind {from}: {} {verb} in {place} for `inlet {service}`.",
                span(seconds),
                printable(&table.name),
                HumanCount(rows)
            )
        }
    }
}
