//! The first rows that differ, with their values: reads both sides a second time for the keys that
//! the hashes found.

use std::collections::{HashMap, HashSet};

use arrow::array::RecordBatch;
use inlet_model::TableSchema;
use serde::Serialize;

use super::compare::{Finding, Findings};
use super::error::VerifyError;
use super::fit::{Fitted, columns};
use super::hash::{Hash, Hasher};
use super::lake::{Lake, positions};
use super::postgres::Snapshot;

/// The number of examples of each finding.
const EXAMPLES_MAX: usize = 10;
/// Columns that an example shows.
const COLUMNS_MAX: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    Missing,
    Different,
    OnlyInLake,
    /// Only in the lake, under a key that the table no longer has.
    EarlierKey,
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

/// One side's row: its key, and its values.
struct Shown {
    key: String,
    columns: Vec<Fitted>,
    /// What orders it among the versions of its key.
    order: (i64, i64),
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
        (Wrong::EarlierKey, &findings.earlier_key),
        (Wrong::Duplicate, &findings.duplicates),
    ];
    let wanted = |asked: &[Wrong]| -> HashSet<Hash> {
        let asked = kinds.iter().filter(|(wrong, _)| asked.contains(wrong));
        asked
            .flat_map(|(_, finding)| finding.first.iter().take(EXAMPLES_MAX).map(|(key, _)| *key))
            .collect()
    };
    let in_postgres = wanted(&[Wrong::Missing, Wrong::Different]);
    let in_lake = wanted(&[
        Wrong::Different,
        Wrong::OnlyInLake,
        Wrong::EarlierKey,
        Wrong::Duplicate,
    ]);
    let (mut postgres, mut latest) = (Side::new(), Side::new());
    let schema = snapshot.schema.clone();
    let mut hasher = Hasher::new(schema.clone());
    if !in_postgres.is_empty() {
        let gather = |rows: &RecordBatch| {
            let order = |_| (0, 0);
            gather(
                &mut postgres,
                &in_postgres,
                &mut hasher,
                &schema,
                rows,
                order,
            );
        };
        snapshot.read(gather).await?;
    }
    if !in_lake.is_empty() {
        let is_partitioned = lake.is_partitioned();
        let mut gather = |rows: &RecordBatch| {
            let positions = positions(rows);
            let order = |row: usize| positions[row].order(is_partitioned);
            gather(&mut latest, &in_lake, &mut hasher, &schema, rows, order);
        };
        tokio::task::block_in_place(|| lake.rows(&mut gather))?;
    }
    let mut examples = Vec::new();
    for (wrong, finding) in kinds {
        for (key, xid) in finding.first.iter().take(EXAMPLES_MAX) {
            let (postgres, latest) = (postgres.get(key), latest.get(key));
            let columns = match (wrong, postgres, latest) {
                (Wrong::Different, Some(postgres), Some(latest)) => {
                    differences(&schema, &postgres.columns, &latest.columns)?
                }
                _ => Vec::new(),
            };
            let shown = postgres.or(latest).map(|shown| shown.key.clone());
            examples.push(Example {
                finding: wrong,
                key: shown.unwrap_or_default(),
                xid: (wrong == Wrong::Duplicate).then_some(*xid),
                columns,
            });
        }
    }
    Ok(examples)
}

/// The keys of the rows that differ, each as the key of its record: those that a repair can name.
pub async fn keys(
    snapshot: &mut Snapshot<'_>,
    lake: &Lake,
    findings: &Findings,
) -> Result<Vec<String>, VerifyError> {
    let of = |findings: [&Finding; 2]| -> HashSet<Hash> {
        let first = findings.into_iter().flat_map(|finding| &finding.first);
        first.map(|(key, _)| *key).collect()
    };
    let mut in_postgres = of([&findings.missing, &findings.different]);
    let mut in_lake = of([&findings.only_in_lake, &findings.earlier_key]);
    let mut hasher = Hasher::new(snapshot.schema.clone());
    let mut keys = Vec::new();
    if !in_postgres.is_empty() {
        let take = |rows: &RecordBatch| name(&mut keys, &mut in_postgres, &mut hasher, rows);
        snapshot.read(take).await?;
    }
    if !in_lake.is_empty() {
        let mut take = |rows: &RecordBatch| name(&mut keys, &mut in_lake, &mut hasher, rows);
        tokio::task::block_in_place(|| lake.rows(&mut take))?;
    }
    keys.sort_unstable();
    Ok(keys)
}

/// Adds the key of each wanted row once.
fn name(
    keys: &mut Vec<String>,
    wanted: &mut HashSet<Hash>,
    hasher: &mut Hasher,
    rows: &RecordBatch,
) {
    let hashed = hasher.hash(rows);
    for (row, key) in hashed.keys.iter().enumerate() {
        if hashed.is_of_key.value(row) && wanted.remove(key) {
            keys.extend(hasher.key_texts(&rows.slice(row, 1)));
        }
    }
}

/// Keeps the rows with a wanted key; of several versions the latest.
fn gather(
    side: &mut Side,
    wanted: &HashSet<Hash>,
    hasher: &mut Hasher,
    schema: &TableSchema,
    rows: &RecordBatch,
    order: impl Fn(usize) -> (i64, i64),
) {
    let hashed = hasher.hash(rows);
    let is_wanted =
        |(row, key): &(usize, &Hash)| wanted.contains(key) && hashed.is_of_key.value(*row);
    let mut fitted = None;
    for (row, key) in hashed.keys.iter().enumerate().filter(is_wanted) {
        let order = order(row);
        if side.get(key).is_some_and(|shown| shown.order > order) {
            continue;
        }
        let fitted = fitted.get_or_insert_with(|| columns(schema, rows));
        let columns = fitted.iter().map(|column| column.row(row)).collect();
        let key_text = hasher.key_texts(&rows.slice(row, 1)).pop();
        let shown = Shown {
            key: key_text.expect("one row has one key"),
            columns,
            order,
        };
        side.insert(*key, shown);
    }
}

/// The first columns that differ; none for a version that has arrived since the comparison.
fn differences(
    schema: &TableSchema,
    postgres: &[Fitted],
    lake: &[Fitted],
) -> Result<Vec<Difference>, VerifyError> {
    let mut differences = Vec::new();
    for (column, (postgres, lake)) in schema.columns.iter().zip(postgres.iter().zip(lake)) {
        if postgres.equals(lake) || differences.len() == COLUMNS_MAX {
            continue;
        }
        let shown = |value: &Fitted| {
            value.text().map_err(|source| VerifyError::NotShown {
                column: column.name.clone(),
                source,
            })
        };
        differences.push(Difference {
            column: column.name.clone(),
            postgres: shown(postgres)?,
            lake: shown(lake)?,
        });
    }
    Ok(differences)
}
