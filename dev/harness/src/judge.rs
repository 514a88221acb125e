//! The judge of a lake as its readers see it: a table in PostgreSQL against the view of the lake,
//! in every version of DuckDB.
//!
//! It knows PostgreSQL's catalog and what DuckDB shows, and nothing of Inlet: the types are a table
//! of its own, and the views are the text that `inlet views` prints. It compares the number of
//! rows, names and types of the columns, and every value by a text that both servers can give.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::duckdb::{self, Version};
use crate::{Database, Folder, Inlet};

/// Differences that a report names at most.
const DIFFERENCES_MAX: usize = 10;
/// Rows that are compared one by one at most; of a larger table a share is, chosen by the key.
const ROWS_MAX: u64 = 100_000;

/// The columns of a table: a domain is its base type, and an array has the name of its elements'.
const COLUMNS: &str = "\
WITH RECURSIVE base AS (
    SELECT attnum, attname, atttypid AS type, atttypmod AS modifier, false AS is_list
    FROM pg_attribute WHERE attrelid = '$'::regclass AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT attnum, attname, CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END,
           CASE WHEN t.typtype = 'd' AND t.typtypmod >= 0 THEN t.typtypmod ELSE modifier END,
           is_list OR t.typtype <> 'd'
    FROM base JOIN pg_type t ON t.oid = base.type
         LEFT JOIN pg_type e ON e.typarray = t.oid
    WHERE t.typtype = 'd' OR (e.oid IS NOT NULL AND NOT is_list)
)
SELECT attname,
       CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname ELSE '' END
       || CASE WHEN is_list THEN '[]' ELSE '' END,
       modifier,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = '$'::regclass AND i.indisprimary
               AND base.attnum = ANY (i.indkey))
FROM base JOIN pg_type t ON t.oid = base.type LEFT JOIN pg_type e ON e.typarray = t.oid
WHERE t.typtype <> 'd' AND (e.oid IS NULL OR is_list)
ORDER BY attnum";

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// Where the table is.
    pub database: &'a Database,
    /// The table, as SQL writes it: `"Shop".orders`.
    pub table: &'a str,
    /// The statements that create the views in DuckDB.
    pub views: &'a str,
    /// The view of the table, as DuckDB's SQL writes it.
    pub view: &'a str,
}

/// How a value is made comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Bool,
    Number,
    Float32,
    Float64,
    Time,
    Bytes,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// Its name in DuckDB.
    shown: String,
    duckdb_type: String,
    kind: Kind,
    is_list: bool,
    is_key: bool,
}

/// Runs `inlet views`, and panics with the differences between the table and its view. `config` is
/// the path of the configuration, `table` the name in PostgreSQL and in DuckDB.
pub async fn equal(binary: impl AsRef<Path>, config: &str, database: &Database, table: &str) {
    let printed = Inlet::run(&binary, &["views", "--config", config], &[])
        .await
        .expect("`inlet views` was started");
    assert!(printed.code == 0, "inlet views: {printed:?}");
    let compared = Compared {
        database,
        table,
        views: &printed.stdout,
        view: table,
    };
    agrees(compared).await;
    // The views of `inlet query` read a list of files in another way; its answer is a file too.
    let folder = Folder::new("answer").expect("a folder was created");
    let answer = folder.join("answer.parquet").display().to_string();
    let query = "exec \"$0\" query --config \"$1\" --format parquet \"SELECT * FROM $2\" > \"$3\"";
    let binary = binary.as_ref().display().to_string();
    let asked = Inlet::run(
        "/bin/sh",
        &["-c", query, &binary, config, table, &answer],
        &[],
    )
    .await
    .expect("`inlet query` was started");
    assert!(asked.code == 0, "inlet query: {asked:?}");
    agrees(Compared {
        views: &format!("CREATE VIEW answer AS FROM '{answer}';"),
        view: "answer",
        ..compared
    })
    .await;
}

async fn agrees(compared: Compared<'_>) {
    let differences = differences(compared).await;
    let differences = differences.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(
        differences.is_empty(),
        "as DuckDB reads it, {} differs:\n{}\n\n{}",
        compared.table,
        differences.join("\n"),
        compared.views
    );
}

/// The differences between a table and its view, for people; in both versions of DuckDB.
pub async fn differences(compared: Compared<'_>) -> Result<Vec<String>> {
    let columns = columns(compared).await?;
    let mut found = Vec::new();
    for version in Version::ALL {
        let here = by(version, compared, &columns).await?;
        found.extend(here.into_iter().map(|one| format!("{version:?}: {one}")));
    }
    Ok(found)
}

/// Reads every value of the files below a folder as the README shows it; the number of rows.
pub async fn read_plainly(version: Version, folder: &Path) -> Result<u64> {
    let folder = folder.display().to_string().replace('\'', "''");
    let files = format!("read_parquet('{folder}/**/*.parquet', union_by_name = true)");
    duckdb::query_by(version, &format!("SELECT count(COLUMNS(*)) FROM {files}")).await?;
    let count = duckdb::query_by(version, &format!("SELECT count(*) FROM {files}")).await?;
    Ok(count.concat().concat().parse()?)
}

async fn columns(compared: Compared<'_>) -> Result<Vec<Column>> {
    let table = compared.table.replace('\'', "''");
    let rows = compared
        .database
        .rows(&COLUMNS.replace('$', &table))
        .await?;
    let mut columns: Vec<Column> = Vec::new();
    for row in rows {
        let [name, postgres_type, modifier, is_key] = row.as_slice() else {
            anyhow::bail!("psql answered the columns with {row:?}")
        };
        let (duckdb_type, kind, is_list) = shown_as(postgres_type, modifier.parse()?);
        let taken = |name: &str| {
            let mut others = columns.iter();
            others.any(|other| other.shown.eq_ignore_ascii_case(name))
        };
        // DuckDB's own rule for names that it reads as one.
        let mut shown = name.clone();
        let mut number = 1;
        while taken(&shown) {
            shown = format!("{name}_{number}");
            number += 1;
        }
        columns.push(Column {
            name: name.clone(),
            shown,
            duckdb_type,
            kind,
            is_list,
            is_key: is_key == "t",
        });
    }
    Ok(columns)
}

/// The type in DuckDB of a type in PostgreSQL's catalog.
fn shown_as(postgres_type: &str, modifier: i32) -> (String, Kind, bool) {
    let (name, is_list) = match postgres_type.strip_suffix("[]") {
        Some(element) => (element, true),
        None => (postgres_type, false),
    };
    let text = || ("VARCHAR".to_owned(), Kind::Plain, false);
    let (shown, kind) = match name {
        "bool" => ("BOOLEAN", Kind::Bool),
        "int2" => ("SMALLINT", Kind::Plain),
        "int4" => ("INTEGER", Kind::Plain),
        "int8" | "oid" => ("BIGINT", Kind::Plain),
        "float4" => ("FLOAT", Kind::Float32),
        "float8" => ("DOUBLE", Kind::Float64),
        "text" | "varchar" | "bpchar" => ("VARCHAR", Kind::Plain),
        "json" | "jsonb" => ("JSON", Kind::Plain),
        "uuid" => ("UUID", Kind::Plain),
        "bytea" => ("BLOB", Kind::Bytes),
        "date" => ("DATE", Kind::Time),
        "time" => ("TIME", Kind::Time),
        "timestamp" => ("TIMESTAMP", Kind::Time),
        "timestamptz" => ("TIMESTAMP WITH TIME ZONE", Kind::Time),
        "numeric" => match decimal(modifier) {
            Some(decimal) => return (list_of(decimal, is_list), Kind::Number, is_list),
            None => return text(),
        },
        _ => return text(),
    };
    (list_of(shown.to_owned(), is_list), kind, is_list)
}

fn list_of(element: String, is_list: bool) -> String {
    if is_list {
        format!("{element}[]")
    } else {
        element
    }
}

/// `numeric(p,s)` of at most 38 digits.
fn decimal(modifier: i32) -> Option<String> {
    let packed = modifier - 4;
    if packed < 0 {
        return None;
    }
    let precision = packed >> 16;
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    let digits = if scale < 0 {
        precision - scale
    } else {
        precision.max(scale)
    };
    (digits <= 38).then(|| format!("DECIMAL({digits},{})", scale.max(0)))
}

async fn by(version: Version, compared: Compared<'_>, columns: &[Column]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let views = compared.views;
    let view = compared.view;
    let ask = async |sql: &str| {
        duckdb::query_by(version, &format!("SET TimeZone = 'UTC';\n{views}\n{sql}")).await
    };
    let described = ask(&format!(
        "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {view})"
    ))
    .await?;
    let expected: Vec<Vec<String>> = columns
        .iter()
        .map(|column| vec![column.shown.clone(), column.duckdb_type.clone()])
        .collect();
    if described != expected {
        found.push(format!("columns are {described:?}, expected {expected:?}"));
        return Ok(found);
    }
    let table = compared.table;
    let count = format!("SELECT count(*) FROM {table}");
    let in_postgres: u64 = compared
        .database
        .rows(&count)
        .await?
        .concat()
        .concat()
        .parse()?;
    let in_duckdb: u64 = ask(&format!("SELECT count(*) FROM {view}"))
        .await?
        .concat()
        .concat()
        .parse()?;
    if in_postgres != in_duckdb {
        found.push(format!(
            "{in_duckdb} rows, {in_postgres} rows in PostgreSQL"
        ));
    }
    let rows = in_postgres.max(in_duckdb);
    let of_postgres = format!(
        "SELECT {} FROM {table}{}",
        list(columns, Column::in_postgres),
        share(columns, rows, |column| &column.name)
    );
    let of_duckdb = format!(
        "SELECT {} FROM {view}{}",
        list(columns, Column::in_duckdb),
        share(columns, rows, |column| &column.shown)
    );
    let of_postgres = grouped(columns, compared.database.rows(&of_postgres).await?)?;
    let of_duckdb = grouped(columns, ask(&of_duckdb).await?)?;
    compare(columns, &of_postgres, &of_duckdb, &mut found);
    Ok(found)
}

fn list(columns: &[Column], shown: fn(&Column) -> String) -> String {
    columns.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// The condition that chooses a share of a large table, the same in both.
fn share(columns: &[Column], rows: u64, name: fn(&Column) -> &str) -> String {
    let key: Vec<&Column> = columns.iter().filter(|column| column.is_key).collect();
    let is_alike = |column: &&Column| column.kind == Kind::Plain && !column.is_list;
    if rows <= ROWS_MAX || key.is_empty() || !key.iter().all(is_alike) {
        return String::new();
    }
    let text: Vec<_> = key
        .iter()
        .map(|column| format!("CAST({} AS VARCHAR)", quote(name(column))))
        .collect();
    // Each hexadecimal digit takes a sixteenth.
    let mut digits = 0;
    let mut left = rows;
    while left > ROWS_MAX {
        left /= 16;
        digits += 1;
    }
    format!(
        " WHERE substr(md5({}), 1, {digits}) = '{}'",
        text.join(" || ',' || "),
        "0".repeat(digits)
    )
}

/// Rows by key; rows with equal keys, or without a key, are counted by all their values.
type Rows = BTreeMap<Vec<String>, Vec<Vec<String>>>;

fn grouped(columns: &[Column], rows: Vec<Vec<String>>) -> Result<Rows> {
    let mut grouped = Rows::new();
    let has_key = columns.iter().any(|column| column.is_key);
    for row in rows {
        ensure!(row.len() == columns.len(), "a row has the values {row:?}");
        let values: Vec<String> = columns
            .iter()
            .zip(&row)
            .map(|(column, value)| column.comparable(value))
            .collect::<Result<_>>()?;
        let key = columns.iter().zip(&values);
        let key = key.filter(|(column, _)| column.is_key || !has_key);
        let key = key.map(|(_, value)| value.clone()).collect();
        grouped.entry(key).or_default().push(values);
    }
    for rows in grouped.values_mut() {
        rows.sort_unstable();
    }
    Ok(grouped)
}

fn compare(columns: &[Column], of_postgres: &Rows, of_duckdb: &Rows, found: &mut Vec<String>) {
    let mut differences = 0;
    let mut add = |what: String| {
        differences += 1;
        if differences <= DIFFERENCES_MAX {
            found.push(what);
        }
    };
    for (key, rows) in of_postgres {
        match of_duckdb.get(key) {
            None => add(format!("{key:?} is missing in DuckDB: {rows:?}")),
            Some(others) if others.len() != rows.len() => add(format!(
                "{key:?} is in DuckDB {} times, in PostgreSQL {} times",
                others.len(),
                rows.len()
            )),
            Some(others) => {
                for (row, other) in rows.iter().zip(others) {
                    for (at, column) in columns.iter().enumerate() {
                        if row[at] != other[at] {
                            add(format!(
                                "{key:?}: {} is `{}` in DuckDB, `{}` in PostgreSQL",
                                column.name, other[at], row[at]
                            ));
                        }
                    }
                }
            }
        }
    }
    for (key, rows) in of_duckdb {
        if !of_postgres.contains_key(key) {
            add(format!("{key:?} is only in DuckDB: {rows:?}"));
        }
    }
    if differences > DIFFERENCES_MAX {
        found.push(format!("and {} more", differences - DIFFERENCES_MAX));
    }
}

impl Column {
    /// The value in PostgreSQL as its output function writes it, after a sign that no null has.
    fn in_postgres(&self) -> String {
        let name = quote(&self.name);
        let of = |value: &str| match self.kind {
            Kind::Bytes => format!("encode({value}, 'hex')"),
            _ => format!("format('%s', {value})"),
        };
        if self.is_list {
            return format!(
                "CASE WHEN {name} IS NULL THEN 'null' ELSE '=' || (SELECT coalesce(json_agg(CASE \
                 WHEN e IS NOT NULL THEN {} END ORDER BY o)::text, '[]') FROM unnest({name}) WITH \
                 ORDINALITY AS u (e, o)) END",
                of("e")
            );
        }
        format!(
            "CASE WHEN {name} IS NOT DISTINCT FROM NULL THEN 'null' ELSE '=' || {} END",
            of(&name)
        )
    }

    /// The same in DuckDB.
    fn in_duckdb(&self) -> String {
        let name = quote(&self.shown);
        let text = match (self.is_list, self.kind) {
            (false, Kind::Bytes) => format!("lower(hex({name}))"),
            (false, _) => format!("CAST({name} AS VARCHAR)"),
            (true, Kind::Bytes) => {
                format!("to_json(list_transform({name}, lambda x: lower(hex(x))))::VARCHAR")
            }
            (true, _) => format!("to_json(CAST({name} AS VARCHAR[]))::VARCHAR"),
        };
        format!("CASE WHEN {name} IS NULL THEN 'null' ELSE '=' || {text} END")
    }

    /// The value in a form that does not depend on who wrote it.
    fn comparable(&self, shown: &str) -> Result<String> {
        let Some(value) = shown.strip_prefix('=') else {
            return Ok(shown.to_owned());
        };
        if !self.is_list {
            return Ok(format!("={}", self.kind.comparable(value)?));
        }
        let mut list = String::from("=[");
        for element in serde_json::from_str::<Vec<Value>>(value)? {
            match element {
                Value::Null => list.push_str("null,"),
                Value::String(element) => {
                    let element = self.kind.comparable(&element)?;
                    write!(list, "{element:?},").expect("a string takes all");
                }
                other => anyhow::bail!("an element is {other}"),
            }
        }
        Ok(list + "]")
    }
}

impl Kind {
    fn comparable(self, value: &str) -> Result<String> {
        Ok(match self {
            Self::Plain | Self::Bytes => value.to_owned(),
            // DuckDB writes no zero before the point where there can be nothing else.
            Self::Number => match value.strip_prefix('-') {
                Some(digits) if digits.starts_with('.') => format!("-0{digits}"),
                None if value.starts_with('.') => format!("0{value}"),
                _ => value.to_owned(),
            },
            Self::Bool => value.starts_with('t').to_string(),
            // A shorter text of a number is the same number. DuckDB's window functions give `-0`
            // as `0`, which every comparison calls equal; adding zero does the same here.
            Self::Float32 => format!("{:?}", value.parse::<f32>()? + 0.0),
            Self::Float64 => format!("{:?}", value.parse::<f64>()? + 0.0),
            Self::Time => time(value),
        })
    }
}

/// DuckDB writes `(BC)` after the date, PostgreSQL `BC` at the end.
fn time(value: &str) -> String {
    let plain = value.replace(" (BC)", "").replace(" BC", "");
    if plain == value {
        plain
    } else {
        format!("BC {plain}")
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_servers_texts_of_one_value_are_equal() {
        for (kind, one, other) in [
            (Kind::Float64, "Infinity", "inf"),
            (Kind::Float64, "NaN", "nan"),
            (Kind::Float64, "1e+20", "100000000000000000000.0"),
            (Kind::Float64, "-0", "0.0"),
            (
                Kind::Time,
                "0044-03-15 10:00:00+00 BC",
                "0044-03-15 (BC) 10:00:00+00",
            ),
            (Kind::Bool, "t", "true"),
            (Kind::Number, "0.05", ".05"),
            (Kind::Number, "-0.05", "-.05"),
            (Kind::Number, "-10.5", "-10.5"),
        ] {
            let text = |value| kind.comparable(value).unwrap();
            assert_eq!(text(one), text(other));
        }
        let text = |value| Kind::Float64.comparable(value).unwrap();
        assert_ne!(text("0.1"), text("0.10000000000000002"));
    }

    #[test]
    fn types_are_those_that_duckdb_describes() {
        let shown = |of: &str, modifier| shown_as(of, modifier).0;
        let numeric = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
        assert_eq!(shown("int4[]", -1), "INTEGER[]");
        assert_eq!(shown("numeric", numeric(10, 2)), "DECIMAL(10,2)");
        assert_eq!(shown("numeric[]", numeric(10, 2)), "DECIMAL(10,2)[]");
        assert_eq!(shown("numeric", numeric(5, -2)), "DECIMAL(7,0)");
        assert_eq!(shown("numeric", -1), "VARCHAR");
        assert_eq!(shown("inet[]", -1), "VARCHAR");
        assert_eq!(shown("", -1), "VARCHAR");
    }
}
