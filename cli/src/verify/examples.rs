//! The first rows that differ, with their values: reads both sides a second time for the keys that
//! the hashes found.

use std::collections::{HashMap, HashSet};

use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use serde::Serialize;

use super::compare::Findings;
use super::error::VerifyError;
use super::hash::{Hash, Hasher, columns};
use super::lake::{Lake, offsets};
use super::postgres::Snapshot;

/// Columns that an example shows.
const COLUMNS_MAX: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    Missing,
    Different,
    OnlyInLake,
    /// The lake holds the same version more than once.
    Duplicate,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    pub finding: Wrong,
    /// The key as JSON.
    pub key: String,
    /// The xid of the duplicate version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xid: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Difference>,
}

/// A column that differs; `None` is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub column: String,
    pub postgres: Option<String>,
    pub lake: Option<String>,
}

/// One side's row: its key, and its values as text.
struct Shown {
    key: String,
    values: Vec<Option<String>>,
    offset: i64,
}

type Side = HashMap<Hash, Shown>;

/// Reads the first rows of each finding on both sides.
pub async fn read(
    snapshot: &mut Snapshot<'_>,
    lake: &Lake,
    findings: &Findings,
) -> Result<Vec<Example>, VerifyError> {
    let kinds = [
        (Wrong::Missing, &findings.missing),
        (Wrong::Different, &findings.different),
        (Wrong::OnlyInLake, &findings.only_in_lake),
        (Wrong::Duplicate, &findings.duplicates),
    ];
    let wanted = |asked: &[Wrong]| -> HashSet<Hash> {
        let asked = kinds.iter().filter(|(wrong, _)| asked.contains(wrong));
        asked
            .flat_map(|(_, finding)| finding.first.iter().map(|(key, _)| *key))
            .collect()
    };
    let in_postgres = wanted(&[Wrong::Missing, Wrong::Different]);
    let in_lake = wanted(&[Wrong::Different, Wrong::OnlyInLake, Wrong::Duplicate]);
    let (mut postgres, mut latest) = (Side::new(), Side::new());
    let mut hasher = Hasher::new(snapshot.schema.clone());
    let schema = snapshot.schema.clone();
    if !in_postgres.is_empty() {
        snapshot
            .read(|rows| {
                gather(
                    &mut postgres,
                    &in_postgres,
                    &mut hasher,
                    &schema,
                    rows,
                    |_| 0,
                )
            })
            .await?;
    }
    if !in_lake.is_empty() {
        let mut gather = |rows: &RecordBatch| {
            gather(&mut latest, &in_lake, &mut hasher, &schema, rows, |row| {
                offsets(rows)[row]
            })
        };
        tokio::task::block_in_place(|| lake.rows(&mut gather))?;
    }
    let example = |wrong: Wrong, key: &Hash, xid: u64| {
        let (postgres, latest) = (postgres.get(key), latest.get(key));
        let columns = match (wrong, postgres, latest) {
            (Wrong::Different, Some(postgres), Some(latest)) => {
                differences(&schema, &postgres.values, &latest.values)
            }
            _ => Vec::new(),
        };
        let key = postgres
            .or(latest)
            .map(|shown| shown.key.clone())
            .unwrap_or_default();
        Example {
            finding: wrong,
            key,
            xid: (wrong == Wrong::Duplicate).then_some(xid),
            columns,
        }
    };
    Ok(kinds
        .iter()
        .flat_map(|(wrong, finding)| {
            finding
                .first
                .iter()
                .map(|(key, xid)| example(*wrong, key, *xid))
        })
        .collect())
}

/// Keeps the rows with a wanted key; of several versions the latest.
fn gather(
    side: &mut Side,
    wanted: &HashSet<Hash>,
    hasher: &mut Hasher,
    schema: &inlet_model::TableSchema,
    rows: &RecordBatch,
    offset: impl Fn(usize) -> i64,
) {
    let hashed = hasher.hash(rows);
    for (row, key) in hashed
        .keys
        .iter()
        .enumerate()
        .filter(|(_, key)| wanted.contains(key))
    {
        let offset = offset(row);
        if side.get(key).is_some_and(|shown| shown.offset > offset) {
            continue;
        }
        let one = rows.slice(row, 1);
        let values = columns(schema, &one)
            .iter()
            .map(|column| {
                column
                    .is_valid(0)
                    .then(|| array_value_to_string(column, 0).unwrap_or_default())
            })
            .collect();
        let key_text = hasher.key_texts(&one).pop().expect("one row has one key");
        side.insert(
            *key,
            Shown {
                key: key_text,
                values,
                offset,
            },
        );
    }
}

fn differences(
    schema: &inlet_model::TableSchema,
    postgres: &[Option<String>],
    lake: &[Option<String>],
) -> Vec<Difference> {
    let pairs = schema.columns.iter().zip(postgres.iter().zip(lake));
    let differing = pairs
        .filter(|(_, (postgres, lake))| postgres != lake)
        .take(COLUMNS_MAX);
    let difference =
        |(column, (postgres, lake)): (&inlet_model::Column, (&Option<String>, &Option<String>))| {
            Difference {
                column: column.name.clone(),
                postgres: postgres.clone(),
                lake: lake.clone(),
            }
        };
    differing.map(difference).collect()
}
