//! What a start costs PostgreSQL: connections and readings of the catalog.

use std::fs;

use inlet_harness::{Folder, Inlet, Postgres, duckdb, eventually};

use crate::orders::{INLET, PATIENCE};

/// In the statement that reads a table's columns.
const COLUMNS: &str = "format_type(a.atttypid, a.atttypmod)";
/// A connection that may speak; a second one, which only shows that no pooler shares our session,
/// is closed again.
const CONNECTION: &str = "connection authorized: user=";

#[tokio::test]
async fn a_start_reads_each_tables_catalog_once_over_one_connection() {
    let settings = [("log_statement", "all"), ("log_connections", "on")];
    let server = Postgres::start_with(&settings).await.unwrap();
    let (database, folder) = (
        server.database().await.unwrap(),
        Folder::new("start").unwrap(),
    );
    database
        .sql(
            "CREATE TABLE a (id integer PRIMARY KEY); CREATE TABLE b (id integer PRIMARY KEY); \
            INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)",
        )
        .await
        .unwrap();
    for tables in ["  a:\n  b:\n", "  '*':\n"] {
        let lake = folder.join(if tables.contains('*') {
            "pattern"
        } else {
            "named"
        });
        let config = folder.join("inlet.yml").display().to_string();
        let text = format!(
            "postgres: {{ url: \"{}\" }}\ndatalake: {{ path: {} }}\nstreaming: {{ flush_interval: \
                100ms }}\ntables:\n{tables}",
            database.url(),
            lake.display()
        );
        fs::write(&config, text).unwrap();
        let before = server.log().unwrap();
        let _service = Inlet::start(INLET, &["run", "--config", &config], &[]).unwrap();
        let glob = format!("{}/**/*.parquet", lake.display());
        eventually(PATIENCE, "both rows are in the lake", async || {
            Ok(duckdb::count_glob(&glob).await? == 2)
        })
        .await;
        let log = server.log().unwrap();
        let count = |text: &str| log.matches(text).count() - before.matches(text).count();
        assert_eq!(count(COLUMNS), 2, "one reading for each of two tables");
        assert_eq!(
            count(CONNECTION),
            2,
            "the poll's, and the one that is closed again"
        );
    }
}
