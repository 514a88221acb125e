//! The tables of the catalog: created where they are missing, and freed of what left.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Sql, new_uuid};

const TABLES: &str = include_str!("tables.sql");

/// Creates what is missing, and notes where the data is; returns the version of the catalog.
pub(super) fn prepare(
    connection: &Connection,
    version: &str,
    data_path: &str,
    now: &str,
) -> Sql<String> {
    let is_new = connection
        .query_row(
            "SELECT 1 FROM sqlite_master WHERE name = 'ducklake_metadata'",
            [],
            |_| Ok(()),
        )
        .optional()?
        .is_none();
    if is_new {
        connection.execute_batch(TABLES)?;
        let program = concat!("Inlet ", env!("CARGO_PKG_VERSION"));
        for (key, value) in [
            ("version", version),
            ("created_by", program),
            ("data_path", data_path),
            ("encrypted", "false"),
        ] {
            connection.execute(
                "INSERT INTO ducklake_metadata VALUES (?1, ?2, NULL, NULL)",
                [key, value],
            )?;
        }
        connection.execute(
            "INSERT INTO ducklake_snapshot VALUES (0, ?1, 0, 1, 0)",
            [now],
        )?;
        connection.execute(
            "INSERT INTO ducklake_snapshot_changes VALUES (0, 'created_schema:\"main\"', NULL, NULL, \
             NULL)",
            [],
        )?;
        connection.execute(
            "INSERT INTO ducklake_schema VALUES (0, ?1, 0, NULL, 'main', '', 1)",
            [new_uuid()],
        )?;
    }
    // A lake may be moved as a whole; a catalog stores the whole path.
    connection.execute(
        "UPDATE ducklake_metadata SET value = ?1 WHERE key = 'data_path' AND value <> ?1",
        [data_path],
    )?;
    connection.query_row(
        "SELECT value FROM ducklake_metadata WHERE key = 'version'",
        [],
        |row| row.get(0),
    )
}

/// Removes snapshots of before this time, and what no snapshot that is left has. `latest` stays.
pub fn expire(connection: &Connection, before: &str, latest: i64) -> Sql<()> {
    connection.execute(
        "DELETE FROM ducklake_snapshot WHERE snapshot_time < ?1 AND snapshot_id <> ?2",
        params![before, latest],
    )?;
    let oldest: i64 = connection.query_row(
        "SELECT min(snapshot_id) FROM ducklake_snapshot",
        [],
        |row| row.get(0),
    )?;
    connection.execute(
        "DELETE FROM ducklake_snapshot_changes WHERE snapshot_id < ?1",
        [oldest],
    )?;
    for table in ["file_column_stats", "file_partition_value"] {
        connection.execute(
            &format!(
                "DELETE FROM ducklake_{table} WHERE data_file_id IN (SELECT data_file_id FROM \
                 ducklake_data_file WHERE end_snapshot <= ?1)"
            ),
            [oldest],
        )?;
    }
    connection.execute(
        "DELETE FROM ducklake_partition_column WHERE partition_id IN (SELECT partition_id FROM \
         ducklake_partition_info WHERE end_snapshot <= ?1)",
        [oldest],
    )?;
    for table in ["data_file", "column", "partition_info", "table", "view"] {
        connection.execute(
            &format!("DELETE FROM ducklake_{table} WHERE end_snapshot <= ?1"),
            [oldest],
        )?;
    }
    for table in ["name_mapping", "column_mapping"] {
        connection.execute(
            &format!(
                "DELETE FROM ducklake_{table} WHERE mapping_id NOT IN (SELECT mapping_id FROM \
                 ducklake_data_file) AND mapping_id NOT IN (SELECT mapping_id FROM inlet_mapping)"
            ),
            [],
        )?;
    }
    Ok(())
}
