//! The questions about the latest state, in the SQL of both servers, and their answers.
//!
//! Each side hashes its own rows. First it sums the hashes up by buckets of keys; only the rows of
//! buckets that differ are fetched, and only the values of the first rows that differ.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, RecordBatch};
use chrono_tz::Tz;
use futures::TryStreamExt;
use inlet_model::change::{OFFSET, UNFIT, UPSERT, XID};
use inlet_model::{ColumnType, Scalar, TableSchema, Xid, quote};
use inlet_postgres::{Error, RowDecoder, xmin};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::super::canonical::{Canonical, joined};
use super::super::error::VerifyError;
use super::super::hash::{Hash, Hasher};
use super::super::postgres::Snapshot;
use super::differ::{Latest, Row};
use crate::duckdb::{self, literal};

const BATCH_ROWS: usize = 8192;
const BATCH_BYTES_MAX: usize = 8 << 20;
/// A zone that no server has by chance: a value that depends on the reader's zone becomes visible.
const ZONE: &str = "Asia/Kathmandu";

/// What is asked about a table: the columns that both sides have in one type.
pub struct Question<'a> {
    schema: &'a TableSchema,
    /// The SELECT of the latest state, as a reader gets it.
    latest: String,
    /// The columns to compare, by their positions in the schema.
    columns: Vec<(usize, Canonical)>,
    /// The hash of a row's key, and that of its values, in both languages.
    key: [String; 2],
    values: [String; 2],
    /// The rows of PostgreSQL with the columns `x` (xmin), `v0`, `v1`, ..
    source: String,
}

/// The sum of the rows of a bucket of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub rows: u64,
    sum: u128,
}

pub type Buckets = BTreeMap<i32, Bucket>;

/// A row that differs: the text to compare and the text to show of each compared column.
pub struct Texts {
    pub compared: Vec<Option<String>>,
    pub shown: Vec<Option<String>>,
}

/// The columns of the latest state with their types in DuckDB, and the types that the table's
/// columns should have. `None` when DuckDB is not installed.
pub async fn types(
    latest: &str,
    schema: &TableSchema,
) -> Result<Option<(BTreeMap<String, String>, Vec<String>)>, VerifyError> {
    #[derive(Deserialize)]
    struct Described {
        expected: bool,
        name: String,
        of_type: String,
    }
    let nulls = schema
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| format!("NULL::{} AS c{at}", column.column_type.duckdb()));
    let nulls = nulls.chain(["NULL AS last".to_owned()]).collect::<Vec<_>>();
    // DuckDB itself names the expected types: `DECIMAL(10, 2)` has several spellings.
    let describe = |expected: bool, of: &str| {
        copy(&format!(
            "SELECT {expected} AS expected, column_name AS name, column_type AS of_type FROM \
             (DESCRIBE {of})"
        ))
    };
    let script = format!(
        "{}{}{}",
        open(latest),
        describe(false, "FROM latest"),
        describe(true, &format!("SELECT {}", nulls.join(", "))),
    );
    let Some(described) = ask::<Described>(&script).await? else {
        return Ok(None);
    };
    let (expected, found): (Vec<_>, Vec<_>) = described.into_iter().partition(|of| of.expected);
    let found = found.into_iter().map(|of| (of.name, of.of_type)).collect();
    let mut expected: Vec<_> = expected.into_iter().map(|of| of.of_type).collect();
    expected.truncate(schema.columns.len());
    Ok(Some((found, expected)))
}

/// Counts the rows of the latest state.
pub async fn count(latest: &str) -> Result<u64, VerifyError> {
    #[derive(Deserialize)]
    struct Counted {
        n: u64,
    }
    let script = format!(
        "{}{}",
        open(latest),
        copy("SELECT count(*) AS n FROM latest")
    );
    let counted = ask::<Counted>(&script).await?.unwrap_or_default();
    Ok(counted.first().map_or(0, |counted| counted.n))
}

/// The condition of PostgreSQL for a row whose date has not left; its columns are `v0`, `v1`, ..
pub fn stays(schema: &TableSchema, column: usize, timezone: Tz, left: &BTreeSet<String>) -> String {
    let date = match schema.columns[column].column_type {
        ColumnType::Scalar(Scalar::TimestampTz) => {
            format!("(v{column} AT TIME ZONE '{timezone}')::date")
        }
        _ => format!("v{column}::date"),
    };
    let left: Vec<_> = left.iter().map(|date| format!("'{date}'")).collect();
    // A row without a date has no date that left.
    format!(
        "({date} = ANY(ARRAY[{}]::date[])) IS NOT TRUE",
        left.join(", ")
    )
}

impl<'a> Question<'a> {
    /// A question about these columns of the table, each with its name in the latest state.
    /// `select_list` and `from` read the snapshot's rows. `converts` is true for a database whose
    /// texts are not in UTF-8. `stays` is a condition for the rows of PostgreSQL.
    pub fn new(
        schema: &'a TableSchema,
        (select_list, from): (&str, &str),
        latest: String,
        columns: &[(usize, String)],
        converts: bool,
        stays: Option<String>,
    ) -> Self {
        let canonical = |(at, name): &(usize, String)| {
            let column = &schema.columns[*at];
            let text = Canonical::of(column, &format!("v{at}"), &quote(name), converts);
            (*at, text)
        };
        let columns: Vec<_> = columns.iter().map(canonical).collect();
        let of_key = |at: usize| columns.iter().find(|(column, _)| *column == at);
        let key = schema.own_key().filter_map(of_key).map(|(_, text)| text);
        let hash = |[postgres, duckdb]: [String; 2]| {
            let postgres = match converts {
                true => format!("md5(convert_to({postgres}, 'UTF8'))"),
                false => format!("md5({postgres})"),
            };
            [postgres, format!("md5({duckdb})")]
        };
        let names: String = (0..schema.columns.len())
            .map(|at| format!(", v{at}"))
            .collect();
        let rows = format!("(SELECT {select_list} FROM {from}) s(x{names})");
        Self {
            schema,
            latest,
            key: hash(joined(key)),
            values: hash(joined(columns.iter().map(|(_, text)| text))),
            source: match stays {
                Some(stays) => format!("(SELECT * FROM {rows} WHERE {stays}) s"),
                None => rows,
            },
            columns,
        }
    }

    /// The sums of the snapshot's rows.
    pub async fn buckets(&self, snapshot: &mut Snapshot<'_>) -> Result<Buckets, VerifyError> {
        let sql = format!(
            "SELECT ('x' || left(k, 3))::bit(12)::int, count(*), sum(('x' || left(r, \
             15))::bit(60)::bigint)::text FROM (SELECT {} AS k, {} AS r FROM {}) h GROUP BY 1",
            self.key[0], self.values[0], self.source
        );
        let captured = snapshot.captured().clone();
        let failed = |error| Error::rows_of(&captured, error);
        let rows: Vec<(i32, i64, String)> = sqlx::query_as(AssertSqlSafe(sql))
            .fetch_all(snapshot.connection())
            .await
            .map_err(failed)?;
        rows.into_iter()
            .map(|(bucket, rows, sum)| of_bucket(bucket, rows.cast_unsigned(), &sum))
            .collect()
    }

    /// The sums of the latest state's rows.
    pub async fn latest_buckets(&self) -> Result<Buckets, VerifyError> {
        #[derive(Deserialize)]
        struct Summed {
            bucket: i32,
            n: u64,
            sum: String,
        }
        let select = format!(
            "SELECT ('0x' || left(k, 3))::INT AS bucket, count(*) AS n, sum(('0x' || left(r, \
             15))::BIGINT)::VARCHAR AS sum FROM (SELECT {} AS k, {} AS r FROM latest) GROUP BY 1",
            self.key[1], self.values[1]
        );
        let summed = self.ask_latest::<Summed>(&select).await?;
        summed
            .into_iter()
            .map(|summed| of_bucket(summed.bucket, summed.n, &summed.sum))
            .collect()
    }

    /// The snapshot's rows of some buckets.
    pub async fn rows(
        &self,
        snapshot: &mut Snapshot<'_>,
        buckets: &[i32],
    ) -> Result<Vec<Row>, VerifyError> {
        let sql = format!(
            "SELECT * FROM (SELECT s.*, {} AS k, {} AS r FROM {}) h WHERE ('x' || left(k, \
             3))::bit(12)::int = ANY($1)",
            self.key[0], self.values[0], self.source
        );
        let (table, nulls, xid_end) = (
            &self.schema.table,
            snapshot.nulls_impossible_values(),
            snapshot.xid_end(),
        );
        let captured = snapshot.captured().clone();
        let failed = |error| Error::rows_of(&captured, error);
        let mut decoder = captured.decoder(BATCH_ROWS);
        let mut hasher = Hasher::new(snapshot.schema.clone());
        let (mut found, mut hashes) = (Vec::new(), Vec::new());
        let mut finish = |decoder: &mut RowDecoder, hashes: &mut Vec<(Hash, Hash, u32)>| {
            let batch = decoder.finish(0);
            found.extend(of_batch(&mut hasher, &batch.rows, hashes, nulls));
            hashes.clear();
        };
        let query = sqlx::query(AssertSqlSafe(sql)).bind(buckets);
        let mut rows = query.fetch(snapshot.connection());
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let xmin = xmin(&row);
            decoder
                .append_first(&row, Xid::widen(xmin, xid_end), UPSERT)
                .map_err(|error| Error::decode(table, error))?;
            let [key, values] = [2, 1].map(|at| hash_at(&row, row.len() - at));
            hashes.push((key?, values?, xmin));
            if hashes.len() == BATCH_ROWS || decoder.bytes() >= BATCH_BYTES_MAX {
                finish(&mut decoder, &mut hashes);
            }
        }
        finish(&mut decoder, &mut hashes);
        Ok(found)
    }

    /// The latest state's rows of some buckets.
    pub async fn latest_rows(&self, buckets: &[i32]) -> Result<Vec<Latest>, VerifyError> {
        #[derive(Deserialize)]
        struct Hashed {
            k: String,
            r: String,
            x: u64,
            o: i64,
        }
        let buckets: Vec<_> = buckets.iter().map(ToString::to_string).collect();
        let select = format!(
            "SELECT * FROM (SELECT {} AS k, {} AS r, {XID} AS x, {OFFSET} AS o FROM latest) WHERE \
             ('0x' || left(k, 3))::INT IN ({})",
            self.key[1],
            self.values[1],
            buckets.join(", ")
        );
        let rows = self.ask_latest::<Hashed>(&select).await?;
        let latest = |row: Hashed| {
            Ok(Latest {
                key: of_hex(&row.k)?,
                values: of_hex(&row.r)?,
                xid: row.x,
                offset: row.o,
            })
        };
        rows.into_iter().map(latest).collect()
    }

    /// The texts of some rows of the snapshot, by their keys' hashes.
    pub async fn texts(
        &self,
        snapshot: &mut Snapshot<'_>,
        keys: &[Hash],
    ) -> Result<BTreeMap<Hash, Texts>, VerifyError> {
        let compared = self.columns.iter().map(|(_, text)| text.postgres.clone());
        let shown = self.columns.iter().map(|(at, _)| format!("(v{at})::text"));
        let sql = format!(
            "SELECT k, ARRAY[{}]::text[], ARRAY[{}]::text[] FROM (SELECT s.*, {} AS k FROM {}) h \
             WHERE k = ANY($1)",
            compared.collect::<Vec<_>>().join(", "),
            shown.collect::<Vec<_>>().join(", "),
            self.key[0],
            self.source
        );
        let keys: Vec<String> = keys.iter().map(Hash::hex).collect();
        type OfRow = (String, Vec<Option<String>>, Vec<Option<String>>);
        let rows: Vec<OfRow> = sqlx::query_as(AssertSqlSafe(sql))
            .bind(keys)
            .fetch_all(snapshot.connection())
            .await
            .map_err(|error| Error::rows(&self.schema.table, error))?;
        rows.into_iter()
            .map(|(key, compared, shown)| Ok((of_hex(&key)?, Texts { compared, shown })))
            .collect()
    }

    /// The texts of some rows of the latest state, by their keys' hashes.
    pub async fn latest_texts(&self, keys: &[Hash]) -> Result<BTreeMap<Hash, Texts>, VerifyError> {
        #[derive(Deserialize)]
        struct OfRow {
            k: String,
            compared: Vec<Option<String>>,
            shown: Vec<Option<String>>,
        }
        let keys: Vec<_> = keys.iter().map(|key| format!("'{}'", key.hex())).collect();
        let compared = self.columns.iter().map(|(_, text)| text.duckdb.as_str());
        let shown = self
            .columns
            .iter()
            .map(|(_, text)| text.shown_by_duckdb.as_str());
        let select = format!(
            "SELECT {0} AS k, [{1}] AS compared, [{2}] AS shown FROM latest WHERE {0} IN ({3})",
            self.key[1],
            compared.collect::<Vec<_>>().join(", "),
            shown.collect::<Vec<_>>().join(", "),
            keys.join(", ")
        );
        let rows = self.ask_latest::<OfRow>(&select).await?;
        let texts = |row: OfRow| {
            let (compared, shown) = (row.compared, row.shown);
            Ok((of_hex(&row.k)?, Texts { compared, shown }))
        };
        rows.into_iter().map(texts).collect()
    }

    /// The names of the compared columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let name = |(at, _): &(usize, Canonical)| self.schema.columns[*at].name.as_str();
        self.columns.iter().map(name)
    }

    /// The key of a row as JSON, from its shown texts.
    pub fn key_text(&self, texts: &Texts) -> String {
        let name = |text: &str| serde_json::to_string(text).expect("a string is JSON");
        let member = |at: usize| {
            let is_it = |(column, _): &(usize, Canonical)| *column == at;
            let place = self.columns.iter().position(is_it)?;
            let value = texts.shown[place].as_deref();
            let value = value.map_or_else(
                || "null".to_owned(),
                |value| match value.parse::<serde_json::Number>() {
                    Ok(_) => value.to_owned(),
                    Err(_) => name(value),
                },
            );
            Some(format!("{}:{value}", name(&self.schema.columns[at].name)))
        };
        let members: Vec<_> = self.schema.own_key().filter_map(member).collect();
        format!("{{{}}}", members.join(","))
    }

    async fn ask_latest<T: DeserializeOwned>(&self, select: &str) -> Result<Vec<T>, VerifyError> {
        let script = format!("{}{}", open(&self.latest), copy(select));
        // DuckDB was installed a moment ago, when the types were asked for.
        Ok(ask(&script).await?.unwrap_or_default())
    }
}

/// What a script begins with.
fn open(latest: &str) -> String {
    let temporary = std::env::temp_dir().join(format!("inlet-verify-{}", std::process::id()));
    let temporary = literal(&temporary.display().to_string());
    format!(
        "SET TimeZone = '{ZONE}';\nSET temp_directory = {temporary};\nSET \
         preserve_insertion_order = false;\nCREATE TEMP VIEW latest AS {latest};\n-- What a reader \
         gets:\n"
    )
}

/// A statement whose rows go to standard output as JSON, whatever the program's own format is.
fn copy(select: &str) -> String {
    format!("COPY ({select}) TO '/dev/stdout' (FORMAT json);\n")
}

/// Runs a script; `None` when DuckDB is not installed.
async fn ask<T: DeserializeOwned>(script: &str) -> Result<Option<Vec<T>>, VerifyError> {
    let Some(answer) = duckdb::answer(script).await? else {
        return Ok(None);
    };
    let rows = serde_json::Deserializer::from_slice(&answer).into_iter::<T>();
    rows.collect::<Result<_, _>>()
        .map(Some)
        .map_err(|error| VerifyError::Answer {
            answer: error.to_string(),
        })
}

fn of_batch(
    hasher: &mut Hasher,
    rows: &RecordBatch,
    hashes: &[(Hash, Hash, u32)],
    nulls_impossible_values: bool,
) -> Vec<Row> {
    let unfit = rows.column_by_name(UNFIT).expect("a polled row has it");
    let record_keys = hasher.hash(rows).keys;
    let row = |(at, (key, values, xmin)): (usize, &(Hash, Hash, u32))| Row {
        key: *key,
        values: *values,
        xmin: *xmin,
        record_key: record_keys[at],
        is_nulled: nulls_impossible_values && unfit.is_valid(at),
    };
    hashes.iter().enumerate().map(row).collect()
}

fn hash_at(row: &PgRow, column: usize) -> Result<Hash, VerifyError> {
    let text: String = row.try_get(column).map_err(|error| VerifyError::Answer {
        answer: error.to_string(),
    })?;
    of_hex(&text)
}

fn of_hex(text: &str) -> Result<Hash, VerifyError> {
    Hash::of_hex(text).ok_or_else(|| VerifyError::Answer {
        answer: text.to_owned(),
    })
}

fn of_bucket(bucket: i32, rows: u64, sum: &str) -> Result<(i32, Bucket), VerifyError> {
    let sum = sum.parse().map_err(|_| VerifyError::Answer {
        answer: sum.to_owned(),
    })?;
    Ok((bucket, Bucket { rows, sum }))
}
