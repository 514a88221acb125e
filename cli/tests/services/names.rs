//! Names that SQL, paths, patterns and DuckDB read as something else: every table, column and
//! folder is readable by the line of the README, by `inlet query` and by the views of `inlet
//! views`, in both versions of DuckDB.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use inlet_harness::duckdb::{self, Version};
use inlet_harness::{Database, Finished, Folder, Inlet, eventually, judge, shared_database};

use crate::orders::{INLET, PATIENCE};

/// Tables of `public`.
const TABLES: &[&str] = &[
    ".",
    "..",
    "...",
    "a/b",
    "a/../b",
    "a[b]",
    "[!a]",
    "a*b",
    "**",
    "a?b",
    "{a,b}",
    "key=value",
    "date=2026-01-01",
    ".hidden",
    "_log",
    "_staging",
    "_quarantine",
    "ends.",
    "ends ",
    " begins",
    "a\"b",
    "it's",
    "back\\slash",
    "two\nlines",
    "tab\there",
    "a%20b",
    "%",
    "~",
    "~root",
    "a:b",
    "a;b",
    "a--b",
    "/*",
    "$$",
    "$1",
    "a,b",
    "#",
    "&",
    "|",
    "<>",
    "select",
    "table",
    "null",
    "main",
    "public",
    "temp",
    "größe",
    "日本",
    "🦆",
    "Ä",
    "ä",
    "Orders",
    "orders",
    "ORDERS",
    "orders_history",
    "a.b",
    "http://x",
    "read_parquet",
    "1",
    "-",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

/// Schemas with a table `t` each.
const SCHEMAS: &[&str] = &[
    "main",
    "temp",
    "system",
    "memory",
    "Public",
    "sales",
    "Sales",
    "a",
    "Odd [schema]",
    "a.b",
    "..",
    "b\"c",
];

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

struct Lake {
    database: Database,
    folder: Folder,
    path: PathBuf,
    config: String,
}

impl Lake {
    /// A lake at a path in a folder of its own.
    async fn new(sql: &str, path: &str, tables: &str) -> Self {
        let (database, folder) = (shared_database().await, Folder::new("names").unwrap());
        database.sql(sql).await.unwrap();
        let path = folder.join(path);
        let config = folder.join("inlet.yml").display().to_string();
        let quoted = serde_json::to_string(&path.display().to_string()).unwrap();
        let text = format!(
            "postgres: {{ url: \"{}\" }}\ndatalake: {{ path: {quoted} }}\nstreaming: {{ \
             flush_interval: 100ms }}\n{tables}",
            database.url(),
        );
        fs::write(&config, text).unwrap();
        Self {
            database,
            folder,
            path,
            config,
        }
    }

    fn start(&self) -> Inlet {
        Inlet::start(INLET, &["run", "--config", &self.config], &[]).unwrap()
    }

    async fn run(&self, verb: &str, more: &[&str]) -> Finished {
        let arguments = [&[verb, "--config", &self.config], more].concat();
        Inlet::run(INLET, &arguments, &[]).await.unwrap()
    }

    /// Waits until every table is in the lake, by `inlet verify`.
    async fn filled(&self) {
        let _service = self.start();
        eventually(PATIENCE, "every table is equal", async || {
            let finished = self.run("verify", &[]).await;
            anyhow::ensure!(finished.code == 0, "{finished:?}");
            Ok(true)
        })
        .await;
    }

    async fn views(&self) -> String {
        let printed = self.run("views", &[]).await;
        assert_eq!(printed.code, 0, "{printed:?}");
        printed.stdout
    }
}

/// The folders below the lake that hold a table.
fn folders(lake: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(lake).unwrap();
    let mut folders: Vec<_> = found
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("_log").is_dir())
        .collect();
    folders.sort();
    folders
}

/// The views that a table gets: of names that differ in case only, the one in lower case keeps its
/// name.
fn view(table: &str) -> String {
    match table {
        "Orders" => quote("Orders_2"),
        "ORDERS" => quote("ORDERS_1"),
        other => quote(other),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_schemas_of_any_name_are_readable_in_every_way() {
    let mut sql = String::new();
    for (at, table) in TABLES.iter().enumerate() {
        let table = quote(table);
        write!(
            sql,
            "CREATE TABLE {table} (id integer PRIMARY KEY, n integer); INSERT INTO {table} VALUES \
             (1, {at}), (2, {at});"
        )
        .unwrap();
    }
    let mut tables = String::from("tables:\n  '*': {}\n");
    for (at, schema) in SCHEMAS.iter().enumerate() {
        let (schema, at) = (quote(schema), 1000 + at);
        write!(
            sql,
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.t (id integer PRIMARY KEY, n integer); \
             INSERT INTO {schema}.t VALUES (1, {at});"
        )
        .unwrap();
        writeln!(tables, "  '{schema}.t': {{}}").unwrap();
    }
    let lake = Lake::new(&sql, "lake", &tables).await;
    lake.filled().await;

    // The line of the README, with each folder's name as it is.
    let folders = folders(&lake.path);
    assert_eq!(folders.len(), TABLES.len() + SCHEMAS.len(), "{folders:?}");
    for version in Version::ALL {
        for folder in &folders {
            let rows = judge::read_plainly(version, folder).await.unwrap();
            assert!(
                rows == 1 || rows == 2,
                "{version:?}: {folder:?} has {rows} rows"
            );
        }
    }

    // The views of `inlet views`.
    let views = lake.views().await;
    let mut asked = String::new();
    let mut expected = Vec::new();
    for (at, table) in TABLES.iter().enumerate() {
        for schema in ["", "public."] {
            writeln!(
                asked,
                "SELECT count(*), min(n) FROM {schema}{};",
                view(table)
            )
            .unwrap();
            expected.push(vec!["2".to_owned(), at.to_string()]);
        }
    }
    for (at, schema) in SCHEMAS.iter().enumerate() {
        let shown = match *schema {
            "main" | "temp" | "system" | "memory" | "Public" | "Sales" => format!("{schema}_1"),
            other => other.to_owned(),
        };
        writeln!(asked, "SELECT count(*), min(n) FROM {}.t;", quote(&shown)).unwrap();
        expected.push(vec!["1".to_owned(), (1000 + at).to_string()]);
    }
    for version in Version::ALL {
        let found = duckdb::query_by(version, &format!("{views}{asked}"))
            .await
            .unwrap();
        assert_eq!(found, expected, "{version:?}");
    }

    // `inlet query`, with the name as PostgreSQL knows it.
    for (at, table) in TABLES.iter().enumerate() {
        let statement = format!("SELECT count(*) AS rows, min(n) AS n FROM {}", quote(table));
        let found = lake.run("query", &["--csv", &statement]).await;
        assert_eq!(
            found.stdout,
            format!("rows,n\n2,{at}\n"),
            "{table}: {found:?}"
        );
    }
    let both = lake
        .run("query", &["SELECT * FROM orders, \"Orders\""])
        .await;
    assert_eq!(both.code, 1, "{both:?}");
    assert!(
        both.stderr.contains("differ in case only") && both.stderr.contains("\"Orders_2\""),
        "{both:?}"
    );
    let checked = lake.run("check", &["--verbose"]).await;
    for part in ["Orders_2", "main_1"] {
        assert!(
            checked.stdout.contains(part),
            "`{part}`: {}",
            checked.stdout
        );
    }
}

/// Columns of one table, beside the key.
const COLUMNS: &[&str] = &[
    "Id",
    "ID",
    "select",
    "a b",
    "a\"b",
    "it's",
    "a.b",
    "a,b",
    "a[b]",
    "*",
    "?",
    "key=value",
    "filename",
    "file_row_number",
    "_file",
    "files",
    "Date",
    "größe",
    "Ä",
    "ä",
    "日本",
    "🦆",
    "two\nlines",
    "back\\slash",
    "%",
    "$1",
    ";",
    "--",
    "/*",
    "null",
    "rowid",
    "_op_",
    "offset",
    "_inlet",
    "columns",
    "schema",
    "customer",
    "env",
    "id_1x",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

fn columns_sql() -> String {
    let columns: Vec<_> = COLUMNS
        .iter()
        .map(|name| format!("{} text", quote(name)))
        .collect();
    let values: Vec<_> = (0..COLUMNS.len())
        .map(|at| format!("'v{at} ' || id"))
        .collect();
    format!(
        "CREATE TABLE t (id integer PRIMARY KEY, {}); INSERT INTO t SELECT id, {} FROM \
         generate_series(1, 3) id",
        columns.join(", "),
        values.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_any_name_have_their_own_values() {
    let lake = Lake::new(&columns_sql(), "lake", "tables: { t: {} }\n").await;
    lake.filled().await;
    // Each value tells its column, and the judge knows the names that DuckDB gives.
    judge::equal(INLET, &lake.config, &lake.database, "t").await;
    let checked = lake.run("check", &[]).await;
    assert!(checked.stdout.contains("Id_1"), "{}", checked.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_below_any_folder_is_readable() {
    for path in [
        "env=prod/customer=acme/lake",
        "a [lake]",
        "st*r/que?tion",
        "it's \"quoted\"",
        "two\nlines",
        "{a,b}/$HOME/%20/#",
        "~/lake",
        "größe/日本",
    ] {
        let lake = Lake::new(&columns_sql(), path, "tables: { t: {} }\n").await;
        lake.filled().await;
        judge::equal(INLET, &lake.config, &lake.database, "t").await;
        let sql = "SELECT DISTINCT customer, env FROM t WHERE id = 1";
        let found = lake.run("query", &["--csv", sql]).await;
        let expected = COLUMNS.iter().position(|name| *name == "customer").unwrap();
        assert_eq!(
            found.stdout,
            format!("customer,env\nv{expected} 1,v{} 1\n", expected + 1),
            "{path}: {found:?}"
        );
        let dates = "SELECT count(DISTINCT _date) AS dates, max(_date) > DATE '2020-01-01' AS new \
                     FROM t_history";
        let found = lake.run("query", &["--csv", dates]).await;
        assert_eq!(found.stdout, "dates,new\n1,true\n", "{path}: {found:?}");
        drop(lake.folder);
    }
}

#[tokio::test]
async fn a_path_that_a_reader_takes_for_another_one_is_refused_with_words() {
    let lake = Lake::new(
        "CREATE TABLE t (id int)",
        "back\\slash",
        "tables: { t: {} }\n",
    )
    .await;
    let finished = lake.run("check", &[]).await;
    assert_eq!(finished.code, 78, "{finished:?}");
    assert!(finished.stderr.contains("back"), "{finished:?}");
}

#[tokio::test]
async fn a_folder_of_the_first_release_goes_on_under_its_name() {
    let sql = "CREATE TABLE \"a[b]\" (id integer PRIMARY KEY); INSERT INTO \"a[b]\" VALUES (1);
               CREATE TABLE other (id integer PRIMARY KEY)";
    let lake = Lake::new(sql, "lake", "tables: { '*': {} }\n").await;
    lake.filled().await;
    // 0.1.0 wrote this name as it is.
    fs::rename(lake.path.join("a%5Bb%5D"), lake.path.join("a[b]")).unwrap();
    lake.database
        .sql("INSERT INTO \"a[b]\" VALUES (2)")
        .await
        .unwrap();
    lake.filled().await;
    assert!(!lake.path.join("a%5Bb%5D").exists());
    judge::equal(INLET, &lake.config, &lake.database, "\"a[b]\"").await;
}
