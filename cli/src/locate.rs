//! `inlet where TABLE KEY`: where one row is, in PostgreSQL and in the lake.
//!
//! PostgreSQL is asked first: a version that it shows and the lake lacks is then on its way, and
//! not newer than what was read of the lake. The lake answers through the views that users have.

use std::process::ExitCode;

use inlet_lake::TableReader;
use inlet_model::change::DELETE;
use inlet_model::{TableName, Xid, quote};
use inlet_postgres::{Captured, Error, connect};
use inlet_service::config::Config;
use inlet_service::error::{Explain, Hint, Kind};
use inlet_service::output;
use serde::Deserialize;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use tokio_util::sync::CancellationToken;

use crate::args::WhereArguments;
use crate::control::find_table;
use crate::duckdb::{self, INSTALL, literal};
use crate::failure::{Failure, Outcome};
use crate::tables;
use crate::views::{self, Reading};

/// Versions of the row that are shown, the newest first.
const SHOWN_MAX: usize = 10;

/// Why the row cannot be looked for.
#[derive(Debug, thiserror::Error)]
enum LocateError {
    #[error("table `{0}` has no key: none of its rows has a name")]
    NoKey(TableName),
    #[error("the key of table `{table}` has {columns} column(s), and {values} value(s) are given")]
    Values {
        table: TableName,
        columns: usize,
        values: usize,
        names: String,
    },
    #[error("`duckdb` is not installed, and reads the lake here")]
    NoDuckDb,
    #[error("duckdb's answer is not understood")]
    Answer(#[source] serde_json::Error),
}

impl Explain for LocateError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoKey(_) | Self::Values { .. } => Kind::Config,
            Self::NoDuckDb | Self::Answer(_) => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<Hint> {
        match self {
            Self::NoKey(_) => Some(Hint::text(
                "ask for its rows with `inlet query` and a condition of your own",
            )),
            Self::Values { names, .. } => Some(Hint::text(format!(
                "give one value for each of these columns, in this order: {names}"
            ))),
            Self::NoDuckDb => Some(Hint::text(format!("get it with: {INSTALL}"))),
            Self::Answer(_) => None,
        }
    }
}

/// The row as PostgreSQL has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InPostgres {
    /// The low 32 bits of the xid that wrote it.
    xmin: u32,
    /// The value of the cursor, as text.
    cursor: Option<String>,
    /// Whether it exists for readers, by `where` and `deleted_when`.
    is_for_readers: bool,
}

/// A version of the row in the lake.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Version {
    op: String,
    xid: u64,
    found: String,
    date: Option<String>,
}

/// Prints where the row is.
pub async fn run(arguments: &WhereArguments, config: Config, stop: CancellationToken) -> Outcome {
    let mut connection = connect(&config.require_postgres()?.primary).await?;
    let table = find_table(&mut connection, &config, &arguments.of.table).await?;
    let captured = &table.captured;
    check_key(captured, &arguments.key)?;
    let found = async {
        let row = read_row(&mut connection, captured, &arguments.key).await?;
        let key = texts_in_lake(&mut connection, captured, &arguments.key).await?;
        let datalake = config.require_datalake()?;
        // What a merge replaces stays in its place until DuckDB has answered.
        let _held = TableReader::new(tables::folder(&config, datalake, &table.config)).hold();
        let lake = views::read(&config, datalake, &table.config, Reading::Committed).await?;
        let versions = read_lake(&lake, captured, &key).await?;
        let rejected = read_quarantine(&lake, captured, &key).await?;
        Ok::<_, Failure>((row, versions, rejected))
    };
    let Some(found) = stop.run_until_cancelled(found).await else {
        return Ok(ExitCode::FAILURE);
    };
    let (row, versions, rejected) = found?;
    let named = named_key(captured, &arguments.key);
    let text = report(captured, &named, row.as_ref(), &versions, &rejected);
    output::stdout(text)?;
    Ok(ExitCode::SUCCESS)
}

fn check_key(captured: &Captured, key: &[String]) -> Result<(), LocateError> {
    let schema = &captured.schema;
    if schema.key.is_empty() {
        return Err(LocateError::NoKey(schema.table.clone()));
    }
    if schema.key.len() == key.len() {
        return Ok(());
    }
    let names: Vec<_> = own_names(captured).collect();
    Err(LocateError::Values {
        table: schema.table.clone(),
        columns: names.len(),
        values: key.len(),
        names: names.join(", "),
    })
}

/// The columns of the key, as a user knows them.
fn own_names(captured: &Captured) -> impl Iterator<Item = &str> {
    captured.key_columns().map(|column| column.name.as_str())
}

/// The columns of the key in the lake, where some have a column that identifies their values.
fn key_names(captured: &Captured) -> Vec<&str> {
    let schema = &captured.schema;
    let column = |at: &usize| schema.columns[*at].name.as_str();
    schema.key.iter().map(column).collect()
}

/// `id = 7, line = 2`.
fn named_key(captured: &Captured, key: &[String]) -> String {
    let pairs = own_names(captured).zip(key);
    let pairs: Vec<_> = pairs
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    pairs.join(", ")
}

async fn read_row(
    connection: &mut PgConnection,
    captured: &Captured,
    key: &[String],
) -> Result<Option<InPostgres>, Error> {
    let schema = &captured.schema;
    let cursor = captured.cursor_name();
    let cursor = cursor.map_or_else(|| "NULL".to_owned(), quote);
    let member = captured.membership.as_deref().unwrap_or("true");
    let conditions = captured.key_columns().enumerate().map(|(at, column)| {
        // The value has the column's type, so that the index of the key finds the row.
        let (name, of) = (quote(&column.name), &column.postgres_type);
        format!("{name} = CAST(${}::text AS {of})", at + 1)
    });
    let conditions: Vec<_> = conditions.collect();
    let sql = format!(
        "SELECT xmin::text, ({cursor})::text, coalesce(({member}), false) FROM {} WHERE {}",
        schema.table.quoted(),
        conditions.join(" AND ")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in key {
        query = query.bind(value);
    }
    let failed = |error| Error::rows_of(captured, error);
    let Some(row) = query.fetch_optional(connection).await.map_err(failed)? else {
        return Ok(None);
    };
    let xmin: String = row.try_get(0).map_err(failed)?;
    Ok(Some(InPostgres {
        xmin: xmin.parse().expect("PostgreSQL's xid is a number"),
        cursor: row.try_get(1).map_err(failed)?,
        is_for_readers: row.try_get(2).map_err(failed)?,
    }))
}

/// The values of the key as the lake compares them: `Bob` and `BOB` of a `citext` are one there.
async fn texts_in_lake(
    connection: &mut PgConnection,
    captured: &Captured,
    key: &[String],
) -> Result<Vec<String>, Error> {
    let columns = captured.key_columns().enumerate();
    let texts = columns.map(|(place, column)| {
        let given = format!("${}::text", place + 1);
        let value = format!("CAST({given} AS {})", column.postgres_type);
        captured.identifying_sql(place, &value).unwrap_or(given)
    });
    let texts: Vec<_> = texts.collect();
    let sql = format!("SELECT ARRAY[{}]::text[]", texts.join(", "));
    let mut query = sqlx::query_scalar(AssertSqlSafe(sql));
    for value in key {
        query = query.bind(value);
    }
    let failed = |error| Error::rows_of(captured, error);
    query.fetch_one(connection).await.map_err(failed)
}

/// Every version of the row, the newest first.
async fn read_lake(
    lake: &views::Table,
    captured: &Captured,
    key: &[String],
) -> Result<Vec<Version>, Failure> {
    let date = quote(&lake.date_key);
    let conditions = key_names(captured).into_iter().zip(key);
    let conditions: Vec<_> = conditions
        .map(|(name, value)| format!("{} = {}", quote(name), literal(value)))
        .collect();
    let select = format!(
        "SELECT _op AS op, _xid AS xid, _detected_at::VARCHAR AS found, {date}::VARCHAR AS date \
         FROM ({}) WHERE {} ORDER BY _detected_at DESC, _offset DESC",
        lake.history(),
        conditions.join(" AND ")
    );
    ask(&select).await
}

/// Why the row was rejected, each reason once.
async fn read_quarantine(
    lake: &views::Table,
    captured: &Captured,
    key: &[String],
) -> Result<Vec<String>, Failure> {
    #[derive(Deserialize)]
    struct Reason {
        reason: String,
    }

    let conditions = key_names(captured).into_iter().zip(key);
    let conditions: Vec<_> = conditions
        .map(|(name, value)| format!("{} = {}", views::in_record_key(name), literal(value)))
        .collect();
    let select = format!(
        "SELECT DISTINCT reason FROM ({}) WHERE {} ORDER BY reason",
        lake.quarantine(),
        conditions.join(" AND ")
    );
    let reasons: Vec<Reason> = ask(&select).await?;
    Ok(reasons.into_iter().map(|found| found.reason).collect())
}

/// The rows of a statement, as DuckDB answers it.
async fn ask<T: for<'a> Deserialize<'a>>(select: &str) -> Result<Vec<T>, Failure> {
    let script = format!("COPY (\n{select}\n) TO '/dev/stdout' (FORMAT json);\n");
    let answer = duckdb::answer(&script)
        .await?
        .ok_or(LocateError::NoDuckDb)?;
    let rows = serde_json::Deserializer::from_slice(&answer).into_iter();
    let rows: Result<_, _> = rows.collect();
    Ok(rows.map_err(LocateError::Answer)?)
}

/// What is known of the row, and what that means, as lines.
fn report(
    captured: &Captured,
    key: &str,
    row: Option<&InPostgres>,
    versions: &[Version],
    rejected: &[String],
) -> String {
    let table = &captured.schema.table;
    let mut lines = vec![format!("{table}: {key}")];
    lines.push(match row {
        None => "PostgreSQL: no such row".to_owned(),
        Some(InPostgres { xmin, cursor, .. }) => {
            let cursor = captured.cursor_name().zip(cursor.as_ref());
            let cursor = cursor.map(|(name, value)| format!(", {name} {value}"));
            let cursor = cursor.unwrap_or_default();
            format!("PostgreSQL: a version of transaction {xmin}{cursor}")
        }
    });
    lines.push(match versions.len() {
        0 => "lake: no version".to_owned(),
        1 => "lake: 1 version".to_owned(),
        count => format!("lake: {count} versions, the newest first"),
    });
    lines.extend(versions.iter().take(SHOWN_MAX).map(Version::line));
    if versions.len() > SHOWN_MAX {
        let more = versions.len() - SHOWN_MAX;
        lines.push(format!(
            "  and {more} older ones: `inlet query` on the history"
        ));
    }
    let rejected_lines = rejected
        .iter()
        .map(|reason| format!("quarantine: {reason}"));
    lines.extend(rejected_lines);
    lines.push(verdict(table, row, versions.first(), !rejected.is_empty()));
    lines.push(String::new());
    lines.join("\n")
}

impl Version {
    fn is_delete(&self) -> bool {
        self.op == char::from(DELETE).to_string()
    }

    /// Whether this is the version that PostgreSQL has, whose xid is known by its low half.
    fn is(&self, row: &InPostgres) -> bool {
        !self.is_delete() && Xid(self.xid).0 & u64::from(u32::MAX) == u64::from(row.xmin)
    }

    fn line(&self) -> String {
        let what = if self.is_delete() {
            "deleted"
        } else {
            "written"
        };
        let date = self.date.as_deref().unwrap_or("none");
        let Self { xid, found, .. } = self;
        format!("  found {found}: {what} by transaction {xid}, date {date}")
    }
}

fn verdict(
    table: &TableName,
    row: Option<&InPostgres>,
    newest: Option<&Version>,
    is_rejected: bool,
) -> String {
    match (row, newest) {
        (None, None) => "neither has such a row".to_owned(),
        (None, Some(newest)) if newest.is_delete() => {
            "the row was deleted, and the latest state of the lake is without it".to_owned()
        }
        (None, Some(_)) => format!(
            "the row was deleted, and the lake learns it with the next comparison of keys, which \
             `inlet sweep {table}` starts at once"
        ),
        (Some(row), newest) if !row.is_for_readers => match newest {
            Some(newest) if !newest.is_delete() => format!(
                "the row does not exist for readers any more, by `where` or `deleted_when`: its \
                 delete comes with the next poll, or with `inlet sweep {table}`"
            ),
            _ => "the row does not exist for readers, by `where` or `deleted_when`".to_owned(),
        },
        (Some(row), Some(newest)) if newest.is(row) => {
            "the lake has the row as PostgreSQL has it".to_owned()
        }
        (Some(_), _) if is_rejected => {
            "the lake lacks PostgreSQL's version; versions of this row are in quarantine".to_owned()
        }
        (Some(_), _) => format!(
            "the lake lacks PostgreSQL's version: `inlet status` shows what is on its way, and \
             `inlet sweep {table}` looks for what no poll sees"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(op: &str, xid: u64) -> Version {
        Version {
            op: op.to_owned(),
            xid,
            found: "2026-11-28 07:00:00+00".to_owned(),
            date: None,
        }
    }

    #[test]
    fn the_verdict_follows_from_both_sides() {
        let row = InPostgres {
            xmin: 7,
            cursor: None,
            is_for_readers: true,
        };
        let hidden = InPostgres {
            is_for_readers: false,
            ..row.clone()
        };
        let after_a_wrap = version("u", (3 << 32) + 7);
        let table = TableName::new("public", "orders");
        let of = |row: Option<&InPostgres>, newest: Option<&Version>, is_rejected| {
            verdict(&table, row, newest, is_rejected)
        };
        for (found, words) in [
            (of(None, None, false), "neither"),
            (of(None, Some(&version("d", 7)), false), "without it"),
            (
                of(None, Some(&version("u", 7)), false),
                "comparison of keys",
            ),
            (
                of(Some(&row), Some(&after_a_wrap), false),
                "as PostgreSQL has it",
            ),
            (of(Some(&row), Some(&version("d", 7)), false), "on its way"),
            (of(Some(&row), Some(&version("u", 6)), false), "on its way"),
            (of(Some(&row), None, true), "in quarantine"),
            (of(Some(&hidden), None, false), "not exist for readers, by"),
            (
                of(Some(&hidden), Some(&version("u", 7)), false),
                "next poll",
            ),
        ] {
            assert!(found.contains(words), "{found}");
        }
    }
}
