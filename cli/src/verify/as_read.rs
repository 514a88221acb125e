//! The latest state as a reader gets it: the view of `inlet query`, answered by DuckDB, against the
//! snapshot of PostgreSQL.
//!
//! The other comparison reads file by file with Inlet's own rules. A reader puts all files
//! together: there a type may be widened, a name may mean two columns, and the views decide which
//! version is the latest. Compared are the columns with their types, the number of rows, and every
//! value, by hashes that both servers make ([`sides`]). A table without a key has no latest state:
//! its columns, types and number of rows are compared.

mod differ;
mod sides;

use std::collections::BTreeMap;

use inlet_lake::{Head, LeftDates, Opened};
use inlet_model::TableSchema;
use inlet_model::change::{OFFSET, XID, is_reserved};
use inlet_service::config::{Config, DatalakeConfig, TableConfig};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde::Serialize;
use tokio::time::Instant;

use self::differ::{Differing, differ};
use self::sides::{Buckets, Question};
use super::LOOK_AGAIN;
use super::error::VerifyError;
use super::examples::{Difference, Example, Wrong};
use super::hash::Hash;
use super::lake::Lake;
use super::postgres::Snapshot;
use crate::duckdb::DuckDbError;
use crate::views::{self, Reading};

/// Rows that are fetched at once, of either side: about 200 MB.
const FETCHED_MAX: u64 = 1 << 20;
const EXAMPLES_MAX: usize = 10;
const COLUMNS_MAX: usize = 3;

/// What the comparison with DuckDB has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AsRead {
    /// Only the files were compared.
    NotInstalled,
    Compared(Compared),
}

/// The differences that a reader sees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Rows of the latest state.
    pub rows: u64,
    /// Why DuckDB cannot read it.
    pub refused: Option<String>,
    /// Columns that a reader gets with another type, or not, or that the table has not.
    pub columns: Vec<String>,
    /// The number of rows in the files of a table without a key, if a reader gets another one.
    pub expected_rows: Option<u64>,
    pub missing: u64,
    pub different: u64,
    pub only_in_lake: u64,
    /// Keys with more than one row.
    pub repeated: u64,
    /// What is no difference, and should be known.
    pub notes: Vec<String>,
    pub examples: Vec<Example>,
}

impl AsRead {
    pub fn is_equal(&self) -> bool {
        match self {
            Self::NotInstalled => true,
            Self::Compared(compared) => compared.is_equal(),
        }
    }
}

impl Compared {
    pub fn is_equal(&self) -> bool {
        let rows = [
            self.missing,
            self.different,
            self.only_in_lake,
            self.repeated,
        ];
        self.refused.is_none()
            && self.columns.is_empty()
            && self.expected_rows.is_none()
            && rows.iter().all(|rows| *rows == 0)
    }
}

/// A table with its place in the configuration.
pub struct OfTable<'a> {
    pub config: &'a Config,
    pub datalake: &'a DatalakeConfig,
    pub table: &'a TableConfig,
}

/// Compares a table's latest state with the snapshot. While the lake grows and both differ, it
/// compares again until the deadline.
pub async fn compare(
    of: &OfTable<'_>,
    snapshot: &mut Snapshot<'_>,
    lake: &Lake,
    deadline: Instant,
) -> Result<AsRead, VerifyError> {
    loop {
        let before = lake.reader.head().await?;
        let seq = before.as_ref().map(|head| head.seq);
        let found = match compare_once(of, snapshot, lake, before.as_ref()).await {
            // The words of DuckDB are what a reader gets to see: they are the difference.
            Err(VerifyError::DuckDb(DuckDbError::Refused { reason })) => {
                AsRead::Compared(Compared {
                    refused: Some(reason),
                    ..Compared::default()
                })
            }
            found => found?,
        };
        if found.is_equal() || Instant::now() >= deadline {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        let after = lake.reader.head().await?.map(|head| head.seq);
        if after == seq {
            return Ok(found);
        }
    }
}

async fn compare_once(
    of: &OfTable<'_>,
    snapshot: &mut Snapshot<'_>,
    lake: &Lake,
    head: Option<&Head>,
) -> Result<AsRead, VerifyError> {
    let schema = snapshot.schema.clone();
    let in_lake = head.and_then(|head| lake.reader.latest_schema(head));
    let mut views = views::read(of.config, of.datalake, of.table, Reading::Committed).await?;
    views.leave_out(lake.left_out());
    let left = head.and_then(|head| {
        let (date_column, timezone) = (of.table.date_column.as_deref(), of.table.timezone);
        let left = LeftDates::of(head, &schema, date_column, timezone)?;
        // Without a key all rows are counted, and files are as they are.
        (!schema.key.is_empty()).then_some((left.column(), &head.expired_dates))
    });
    // The snapshot has rows of dates that left, and so may the lake: rows that arrived since.
    let latest = match left {
        Some((_, dates)) => views.latest_without(dates, &[XID, OFFSET]),
        None => views.latest_with(&[XID, OFFSET]),
    };
    let Some((found, expected)) = sides::types(&latest, &schema).await? else {
        return Ok(AsRead::NotInstalled);
    };
    let mut compared = Compared::default();
    if let Some((_, dates)) = left {
        compared.notes.push(format!(
            "{} dates have left the lake, and are not compared",
            dates.len()
        ));
    }
    let shown = views
        .columns
        .map(|columns| columns.present)
        .unwrap_or_default();
    let in_lake: Vec<_> = in_lake
        .iter()
        .flat_map(|lake| &lake.columns)
        .zip(&shown)
        .map(|(column, shown)| (column.name.as_str(), shown.shown.as_str()))
        .collect();
    let mut columns = columns(&schema, &in_lake, &found, &expected, &mut compared);
    // The server cannot make these hashes, and its values are in no message.
    let captured = snapshot.captured();
    columns.retain(|(at, name)| {
        let is_hashed = captured.is_hashed(*at);
        if is_hashed {
            compared.notes.push(format!(
                "column `{name}` holds hashes, which are compared in the files alone"
            ));
        }
        !is_hashed
    });
    if schema.key.is_empty() {
        return count(lake, &latest, compared).await.map(AsRead::Compared);
    }
    let has_key = |at: usize| columns.iter().any(|(column, _)| *column == at);
    if !schema.own_key().all(has_key) {
        // Without its key no row can be found on the other side. A difference of columns is stated.
        compared.rows = sides::count(&latest).await?;
        return Ok(AsRead::Compared(compared));
    }
    let converts = snapshot.converts_texts().await?;
    let (select_list, source) = (snapshot.captured().select_list(), snapshot.source());
    let stays = left.map(|(column, dates)| sides::stays(&schema, column, of.table.timezone, dates));
    let rows = (select_list.as_str(), source.as_str());
    let question = Question::new(&schema, rows, latest, &columns, converts, stays);
    compare_rows(&question, snapshot, lake, &mut compared).await?;
    Ok(AsRead::Compared(compared))
}

/// Compares columns and types; returns the columns whose values can be compared, each with its name
/// in the latest state. `in_lake` has the columns of the lake's latest schema, each with that name.
fn columns(
    schema: &TableSchema,
    in_lake: &[(&str, &str)],
    found: &BTreeMap<String, String>,
    expected: &[String],
    compared: &mut Compared,
) -> Vec<(usize, String)> {
    let shown = |name: &str| {
        in_lake
            .iter()
            .find(|(of, _)| *of == name)
            .map(|(_, shown)| *shown)
    };
    let mut columns = Vec::new();
    for (at, (column, expected)) in schema.columns.iter().zip(expected).enumerate() {
        // The latest state has the columns of the table alone.
        if schema.is_identity(at) {
            continue;
        }
        let name = &column.name;
        let Some(shown) = shown(name) else {
            if !in_lake.is_empty() {
                compared.notes.push(format!(
                    "column `{name}` is not in the lake yet: no row has arrived since it was added"
                ));
            }
            continue;
        };
        match found.get(shown) {
            Some(found) if found == expected => columns.push((at, shown.to_owned())),
            Some(found) => compared.columns.push(format!(
                "column `{name}` is {found} instead of {expected} ({})",
                column.postgres_type
            )),
            None => compared.columns.push(format!("column `{name}` is missing")),
        }
    }
    for name in found.keys().filter(|name| !is_reserved(name)) {
        match in_lake.iter().find(|(_, shown)| shown == name) {
            Some((name, _)) if schema.position(name).is_some() => {}
            Some((name, _)) => compared.notes.push(format!(
                "column `{name}` is still in the lake: no row has arrived since it was dropped"
            )),
            None => compared.columns.push(format!(
                "column `{name}` is shown, and the table does not have it"
            )),
        }
    }
    columns
}

/// Compares the number of rows: without a key every version is a row.
async fn count(lake: &Lake, latest: &str, mut compared: Compared) -> Result<Compared, VerifyError> {
    // Files that arrive during the count may be counted or not.
    let before = rows_in_files(lake)?;
    compared.rows = sides::count(latest).await?;
    let after = rows_in_files(lake)?;
    if !(before..=after).contains(&compared.rows) {
        compared.expected_rows = Some(after);
    }
    Ok(compared)
}

fn rows_in_files(lake: &Lake) -> Result<u64, VerifyError> {
    let mut rows = 0;
    for path in lake.data_files()? {
        let read = Opened::open(&path)
            .map_err(parquet::errors::ParquetError::from)
            .and_then(SerializedFileReader::new);
        let reader = read.map_err(|source| inlet_lake::LakeError::Damaged { path, source })?;
        rows += reader.metadata().file_metadata().num_rows().cast_unsigned();
    }
    Ok(rows)
}

async fn compare_rows(
    question: &Question<'_>,
    snapshot: &mut Snapshot<'_>,
    lake: &Lake,
    compared: &mut Compared,
) -> Result<(), VerifyError> {
    let latest = question.latest_buckets().await?;
    let rows = question.buckets(snapshot).await?;
    compared.rows = latest.values().map(|bucket| bucket.rows).sum();
    let mut first = Differing::default();
    for buckets in differing_buckets(&rows, &latest) {
        let rows = question.rows(snapshot, &buckets).await?;
        let latest = question.latest_rows(&buckets).await?;
        let found = tokio::task::block_in_place(|| {
            differ(rows, latest, lake.quarantined(), &snapshot.sight)
        });
        compared.missing += found.missing.len() as u64;
        compared.different += found.different.len() as u64;
        compared.only_in_lake += found.only_in_lake.len() as u64;
        compared.repeated += found.repeated.len() as u64;
        let of_kind = [
            (&mut first.missing, found.missing),
            (&mut first.different, found.different),
            (&mut first.only_in_lake, found.only_in_lake),
            (&mut first.repeated, found.repeated),
        ];
        for (first, found) in of_kind {
            let room = EXAMPLES_MAX - first.len();
            first.extend(found.into_iter().take(room));
        }
    }
    compared.examples = examples(question, snapshot, &first).await?;
    Ok(())
}

/// The buckets whose sums differ, in groups whose rows fit into memory.
fn differing_buckets(rows: &Buckets, latest: &Buckets) -> Vec<Vec<i32>> {
    let (mut groups, mut held): (Vec<Vec<i32>>, u64) = (Vec::new(), 0);
    let buckets = rows.keys().chain(latest.keys());
    let buckets: std::collections::BTreeSet<i32> = buckets.copied().collect();
    for bucket in buckets {
        let (of_rows, of_latest) = (rows.get(&bucket), latest.get(&bucket));
        if of_rows == of_latest {
            continue;
        }
        let count = [of_rows, of_latest]
            .into_iter()
            .flatten()
            .map(|bucket| bucket.rows)
            .max();
        held += count.unwrap_or_default();
        match groups.last_mut() {
            Some(group) if held <= FETCHED_MAX => group.push(bucket),
            _ => {
                groups.push(vec![bucket]);
                held = count.unwrap_or_default();
            }
        }
    }
    groups
}

/// The first rows that differ, with the first columns that do.
async fn examples(
    question: &Question<'_>,
    snapshot: &mut Snapshot<'_>,
    first: &Differing,
) -> Result<Vec<Example>, VerifyError> {
    let kinds = [
        (Wrong::Missing, &first.missing),
        (Wrong::Different, &first.different),
        (Wrong::OnlyInLake, &first.only_in_lake),
        (Wrong::Duplicate, &first.repeated),
    ];
    let keys: Vec<Hash> = kinds
        .iter()
        .flat_map(|(_, keys)| keys.iter().copied())
        .collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let rows = question.texts(snapshot, &keys).await?;
    let latest = question.latest_texts(&keys).await?;
    let mut examples = Vec::new();
    for (wrong, keys) in kinds {
        for key in keys {
            let (row, latest) = (rows.get(key), latest.get(key));
            let Some(shown) = row.or(latest) else {
                continue;
            };
            let columns = match (wrong, row, latest) {
                (Wrong::Different, Some(row), Some(latest)) => {
                    let sides = row.compared.iter().zip(&latest.compared);
                    let texts = row.shown.iter().zip(&latest.shown);
                    let differing = question.names().zip(sides.zip(texts));
                    differing
                        .filter(|(_, ((row, latest), _))| row != latest)
                        .take(COLUMNS_MAX)
                        .map(|(name, (_, (row, latest)))| Difference {
                            column: name.to_owned(),
                            postgres: row.clone(),
                            lake: latest.clone(),
                        })
                        .collect()
                }
                _ => Vec::new(),
            };
            examples.push(Example {
                finding: wrong,
                key: question.key_text(shown),
                xid: None,
                columns,
            });
        }
    }
    Ok(examples)
}

#[cfg(test)]
mod tests {
    use inlet_model::{Column, Scalar, TableName};

    use super::*;

    fn schema(names: &[&str]) -> TableSchema {
        let column = |name: &&str| Column {
            name: (*name).to_owned(),
            column_type: Scalar::Int64.into(),
            postgres_type: "bigint".to_owned(),
            as_text: false,
            not_null: true,
            generated: false,
            number: None,
        };
        let columns = names.iter().map(column).collect();
        TableSchema::new(TableName::new("public", "t"), columns, vec![0])
    }

    fn compared(table: &[&str], lake: &[&str], found: &[(&str, &str)]) -> (Compared, Vec<String>) {
        let table = schema(table);
        let lake: Vec<_> = lake.iter().map(|name| (*name, *name)).collect();
        let text = |(name, of_type): &(&str, &str)| ((*name).to_owned(), (*of_type).to_owned());
        let found = found.iter().map(text).collect();
        let expected = vec!["BIGINT".to_owned(); table.columns.len()];
        let mut compared = Compared::default();
        let columns = columns(&table, &lake, &found, &expected, &mut compared);
        (
            compared,
            columns.into_iter().map(|(_, name)| name).collect(),
        )
    }

    #[test]
    fn a_column_of_another_type_or_that_is_missing_or_too_many_is_a_difference() {
        let found = [
            ("id", "BIGINT"),
            ("b", "DOUBLE"),
            ("old", "BIGINT"),
            ("_op", "VARCHAR"),
        ];
        let (compared, columns) = compared(&["id", "b", "c"], &["id", "b", "c"], &found);
        assert_eq!(columns, ["id"]);
        assert_eq!(
            compared.columns,
            [
                "column `b` is DOUBLE instead of BIGINT (bigint)",
                "column `c` is missing",
                "column `old` is shown, and the table does not have it"
            ]
        );
        assert!(!compared.is_equal());
    }

    #[test]
    fn a_change_of_columns_that_has_not_arrived_is_a_note() {
        let found = [("id", "BIGINT"), ("old", "BIGINT")];
        let (compared, columns) = compared(&["id", "new"], &["id", "old"], &found);
        assert_eq!(columns, ["id"]);
        assert_eq!(compared.notes.len(), 2);
        assert!(compared.is_equal());
    }
}
