//! What Debezium's connector has written, recorded by dev/fixtures/record-debezium: every mode
//! gives the rows that PostgreSQL had.

#![allow(clippy::unwrap_used)] // In helpers, too: a failure ends the test.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use inlet_model::change::{DELETE, UPSERT};
use inlet_model::record::debezium::{Declared, Opened, Topic};
use inlet_model::record::encoding::{DebeziumModes, DecimalMode, TimeMode};
use inlet_model::{Column, KafkaPartition, TableName};
use serde_json::Value;

const MODES: [(&str, DecimalMode, TimeMode); 7] = [
    ("precise_on", DecimalMode::Precise, TimeMode::Adaptive),
    ("string_on", DecimalMode::String, TimeMode::Adaptive),
    ("double_on", DecimalMode::Double, TimeMode::Adaptive),
    ("precise_off", DecimalMode::Precise, TimeMode::Adaptive),
    (
        "string_off",
        DecimalMode::String,
        TimeMode::AdaptiveTimeMicroseconds,
    ),
    ("double_off", DecimalMode::Double, TimeMode::Adaptive),
    ("connect_off", DecimalMode::Precise, TimeMode::Connect),
];

/// The columns of the recorded table; with schemas in precise mode the messages tell them.
fn columns() -> impl Iterator<Item = &'static str> {
    include_str!("../../../dev/fixtures/debezium/columns.txt").lines()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../dev/fixtures/debezium/3.5.0")
}

/// The latest row of each key, every value as a text of PostgreSQL.
fn latest(name: &str, decimals: DecimalMode, times: TimeMode) -> Vec<Vec<String>> {
    let declares = name != "precise_on";
    let columns = columns().filter(|_| declares);
    let declared = Declared {
        columns: columns
            .map(|text| Column::declared(text).unwrap())
            .collect(),
        key: Vec::new(),
        modes: DebeziumModes {
            schemas: false,
            decimals,
            times,
        },
    };
    let mut topic = Topic::new(TableName::new("public", "orders"), declared);
    let text = std::fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap();
    let (mut rows, mut deletes, mut ignored) = (BTreeMap::new(), 0, 0);
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let part = |name: &str| line[name].as_str().map(str::as_bytes);
        let opened = topic.open(KafkaPartition(0), part("key"), part("value"));
        let Opened::Row {
            reader, op, row, ..
        } = opened.unwrap()
        else {
            ignored += 1;
            continue;
        };
        let reader = topic.reader(reader);
        reader.read(op, row).unwrap();
        let columns = reader.finish();
        let id = columns[0].as_primitive::<Int64Type>().value(0);
        match op {
            UPSERT => _ = rows.insert(id, columns.iter().map(shown).collect()),
            DELETE => {
                deletes += 1;
                rows.remove(&id);
            }
            other => panic!("operation {other}"),
        }
    }
    assert!(
        deletes > 0 && deletes == ignored,
        "a tombstone follows each delete"
    );
    rows.into_values().collect()
}

/// The only value of an array, as `psql` prints it.
fn shown(array: &ArrayRef) -> String {
    if array.is_null(0) {
        return "NULL".to_owned();
    }
    let is_zoned = matches!(array.data_type(), DataType::Timestamp(_, Some(_)));
    // Arrow knows zones by their offset alone.
    let plain = array.as_primitive_opt::<TimestampMicrosecondType>();
    let zoned = plain.map(|array| array.clone().with_timezone_opt(None::<&str>));
    let array: &dyn Array = match &zoned {
        Some(zoned) => zoned,
        None => array,
    };
    let options = FormatOptions::default()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.6f"))
        .with_time_format(Some("%H:%M:%S%.6f"));
    let text = ArrayFormatter::try_new(array, &options)
        .unwrap()
        .value(0)
        .to_string();
    match array.data_type() {
        // PostgreSQL leaves out the zeros at the end of a second.
        DataType::Timestamp(_, _) | DataType::Time64(_) => {
            let zone = if is_zoned { "+00" } else { "" };
            let time = text.trim_end_matches('0').trim_end_matches('.');
            let time = match time.ends_with(':') {
                true => format!("{time}00"),
                false => time.to_owned(),
            };
            format!("{time}{zone}")
        }
        DataType::Boolean => if text == "true" { "t" } else { "f" }.to_owned(),
        DataType::FixedSizeBinary(_) => uuid::Uuid::parse_str(&text).unwrap().to_string(),
        DataType::Binary => format!("\\x{text}"),
        _ => text,
    }
}

#[test]
fn every_mode_gives_the_rows_of_the_table() {
    for (name, decimals, times) in MODES {
        let found = latest(name, decimals, times);
        let text = std::fs::read_to_string(folder().join(format!("{name}.rows.json"))).unwrap();
        let expected: Vec<Vec<String>> = serde_json::from_str(&text).unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            for ((found, expected), column) in found.iter().zip(expected).zip(columns()) {
                assert!(
                    same(found, expected),
                    "{name}, {column}: {found}, not {expected}"
                );
            }
        }
    }
}

/// Arrow prints a float, a list and a zero after the point in its own way.
fn same(found: &str, expected: &str) -> bool {
    let plain =
        |text: &str| -> String { text.chars().filter(|c| !"\"[]{} \\".contains(*c)).collect() };
    let numbers = (found.parse::<f32>(), expected.parse::<f32>());
    found == expected
        || matches!(numbers, (Ok(one), Ok(other)) if one == other)
        || plain(found).replace(",,", ",NULL,") == plain(expected)
}
