//! A step of the export in its transaction: the rows of the catalog's tables.

use chrono::Utc;
use inlet_model::{ColumnType, Fingerprint, Scalar, quote};
use rusqlite::{Connection, OptionalExtension, params};

use super::super::shape::{HISTORY, InFile};
use super::super::step::{AddedFile, Step};
use super::statistics::insert_statistics;
use super::{ATTACHED, EXPIRE_EVERY, KEPT, Sql, new_uuid, now, tables, text_of};

/// A snapshot that is being made, with the next numbers that are free.
#[derive(Debug, Clone, Copy)]
struct Snapshot {
    id: i64,
    schema_version: i64,
    next_catalog_id: i64,
    next_file_id: i64,
}

/// A column of the catalog: its number, and that of the elements of a list.
#[derive(Debug, Clone, Copy)]
pub struct ColumnId {
    pub column: i64,
    pub element: Option<i64>,
}

/// A step in its transaction.
pub struct Writing<'a> {
    pub connection: &'a Connection,
    pub step: &'a Step<'a>,
    pub name: String,
    /// The path of the table, and whether it is relative.
    pub path: (String, bool),
}

impl Writing<'_> {
    pub fn write(&self) -> Sql<()> {
        let mut snapshot = self.next_snapshot()?;
        let known: Option<(i64, i64)> = self
            .connection
            .query_row(
                "SELECT table_id, view_id FROM inlet_export WHERE name = ?1",
                [&self.name],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let (table, view) = match known {
            Some(ids) if !self.step.is_whole => ids,
            known => self.define(known, &mut snapshot)?,
        };
        for path in &self.step.removed {
            self.connection.execute(
                "UPDATE ducklake_data_file SET end_snapshot = ?1 WHERE table_id = ?2 AND path = ?3 \
                 AND end_snapshot IS NULL",
                params![snapshot.id, table, path],
            )?;
        }
        let rows = self.add_files(table, &mut snapshot)?;
        self.count(table, rows)?;
        self.remember(table, view)?;
        self.close(snapshot, table)?;
        if snapshot.id % EXPIRE_EVERY == 0 {
            tables::expire(self.connection, &text_of(Utc::now() - KEPT), snapshot.id)?;
        }
        Ok(())
    }

    fn next_snapshot(&self) -> Sql<Snapshot> {
        self.connection.query_row(
            "SELECT snapshot_id, schema_version, next_catalog_id, next_file_id FROM \
             ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1",
            [],
            |row| {
                Ok(Snapshot {
                    id: row.get::<_, i64>(0)? + 1,
                    schema_version: row.get(1)?,
                    next_catalog_id: row.get(2)?,
                    next_file_id: row.get(3)?,
                })
            },
        )
    }

    /// Describes the table and its view again, without files; returns their numbers.
    fn define(&self, known: Option<(i64, i64)>, snapshot: &mut Snapshot) -> Sql<(i64, i64)> {
        let names = &self.step.shape.names;
        let schema = self.schema(names.history.schema.as_deref(), snapshot)?;
        let (table, view) =
            known.unwrap_or_else(|| (snapshot.take_catalog_id(), snapshot.take_catalog_id()));
        let uuid: Option<String> = self
            .connection
            .query_row(
                "SELECT table_uuid FROM ducklake_table WHERE table_id = ?1 LIMIT 1",
                [table],
                |row| row.get(0),
            )
            .optional()?;
        for (of, column, id) in [
            ("table", "table_id", table),
            ("column", "table_id", table),
            ("partition_info", "table_id", table),
            ("data_file", "table_id", table),
            ("view", "view_id", view),
        ] {
            self.connection.execute(
                &format!(
                    "UPDATE ducklake_{of} SET end_snapshot = ?1 WHERE {column} = ?2 AND \
                     end_snapshot IS NULL"
                ),
                [snapshot.id, id],
            )?;
        }
        self.connection
            .execute("DELETE FROM inlet_mapping WHERE table_id = ?1", [table])?;
        snapshot.schema_version += 1;
        let (path, is_relative) = &self.path;
        self.connection.execute(
            "INSERT INTO ducklake_table VALUES (?1, ?2, ?3, NULL, ?4, ?5, ?6, ?7)",
            params![
                table,
                uuid.unwrap_or_else(new_uuid),
                snapshot.id,
                schema,
                names.history.name,
                path,
                is_relative
            ],
        )?;
        self.columns(table, snapshot)?;
        let history = format!("{ATTACHED}.{}", self.qualified());
        self.connection.execute(
            "INSERT INTO ducklake_view VALUES (?1, ?2, ?3, NULL, ?4, ?5, 'duckdb', ?6, '')",
            params![
                view,
                new_uuid(),
                snapshot.id,
                schema,
                names.latest.name,
                self.step.shape.latest.replace(HISTORY, &history)
            ],
        )?;
        self.connection.execute(
            "INSERT INTO ducklake_schema_versions VALUES (?1, ?2, ?3)",
            [snapshot.id, snapshot.schema_version, table],
        )?;
        Ok((table, view))
    }

    /// The name of the history in the catalog.
    fn qualified(&self) -> String {
        let name = &self.step.shape.names.history;
        let schema = name.schema.as_deref().unwrap_or("main");
        format!("{}.{}", quote(schema), quote(&name.name))
    }

    fn schema(&self, name: Option<&str>, snapshot: &mut Snapshot) -> Sql<i64> {
        let name = name.unwrap_or("main");
        let found: Option<i64> = self
            .connection
            .query_row(
                "SELECT schema_id FROM ducklake_schema WHERE schema_name = ?1 AND end_snapshot IS \
                 NULL",
                [name],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(found) = found {
            return Ok(found);
        }
        let id = snapshot.take_catalog_id();
        self.connection.execute(
            "INSERT INTO ducklake_schema VALUES (?1, ?2, ?3, NULL, ?4, '', 1)",
            params![id, new_uuid(), snapshot.id, name],
        )?;
        Ok(id)
    }

    /// The columns, and the partition by the date of the folder, which is the last one.
    fn columns(&self, table: i64, snapshot: &mut Snapshot) -> Sql<()> {
        let highest: Option<i64> = self.connection.query_row(
            "SELECT max(column_id) FROM ducklake_column WHERE table_id = ?1",
            [table],
            |row| row.get(0),
        )?;
        let mut column = highest.unwrap_or(0);
        let mut insert = self.connection.prepare(
            "INSERT INTO ducklake_column VALUES (?1, ?2, NULL, ?3, ?4, ?5, ?6, NULL, 'NULL', 1, ?7, \
             'literal', 'duckdb')",
        )?;
        let shape = self.step.shape;
        let fields = shape.fields.iter();
        let fields = fields.map(|field| (field.name.as_str(), field.column_type));
        let date = (shape.date.as_str(), Scalar::Date.into());
        let mut order = 0;
        for (name, column_type) in fields.chain([date]) {
            column += 1;
            order += 1;
            let (of, element) = match column_type {
                ColumnType::Scalar(scalar) => (type_name(scalar), None),
                ColumnType::List(scalar) => ("list".to_owned(), Some(type_name(scalar))),
            };
            let parent = column;
            insert.execute(params![
                column,
                snapshot.id,
                table,
                order,
                name,
                of,
                None::<i64>
            ])?;
            if let Some(of) = element {
                column += 1;
                order += 1;
                insert.execute(params![
                    column,
                    snapshot.id,
                    table,
                    order,
                    "element",
                    of,
                    parent
                ])?;
            }
        }
        let partition = snapshot.take_catalog_id();
        self.connection.execute(
            "INSERT INTO ducklake_partition_info VALUES (?1, ?2, ?3, NULL)",
            [partition, table, snapshot.id],
        )?;
        self.connection.execute(
            "INSERT INTO ducklake_partition_column VALUES (?1, ?2, 0, ?3, 'identity')",
            [partition, table, column],
        )?;
        Ok(())
    }

    /// Adds the files of the step; returns the number of their rows.
    fn add_files(&self, table: i64, snapshot: &mut Snapshot) -> Sql<u64> {
        if self.step.added.is_empty() {
            return Ok(0);
        }
        let columns = self.column_ids(table)?;
        let partition: i64 = self.connection.query_row(
            "SELECT partition_id FROM ducklake_partition_info WHERE table_id = ?1 AND end_snapshot \
             IS NULL",
            [table],
            |row| row.get(0),
        )?;
        let first_row: Option<u64> = self
            .connection
            .query_row(
                "SELECT next_row_id FROM ducklake_table_stats WHERE table_id = ?1",
                [table],
                |row| row.get(0),
            )
            .optional()?;
        let mut next_row = first_row.unwrap_or(0);
        let mut insert = self.connection.prepare(
            "INSERT INTO ducklake_data_file VALUES (?1, ?2, ?3, NULL, NULL, ?4, 1, 'parquet', ?5, \
             ?6, ?7, ?8, ?9, NULL, ?10, NULL)",
        )?;
        let mut insert_date = self
            .connection
            .prepare("INSERT INTO ducklake_file_partition_value VALUES (?1, ?2, 0, ?3)")?;
        let mut rows = 0;
        for AddedFile { path, file, extent } in &self.step.added {
            let schema = file.schema.expect("`write` has checked it");
            let in_file = &self.step.shape.in_files[&schema];
            let mapping = self.mapping(table, schema, in_file, &columns, snapshot)?;
            let id = snapshot.take_file_id();
            insert.execute(params![
                id,
                table,
                snapshot.id,
                path,
                file.rows,
                extent.bytes,
                extent.footer,
                next_row,
                partition,
                mapping
            ])?;
            insert_date.execute(params![id, table, file.date])?;
            insert_statistics(
                self.connection,
                (id, table),
                &columns,
                self.step.shape,
                (in_file, file),
            )?;
            next_row += file.rows;
            rows += file.rows;
        }
        Ok(rows)
    }

    /// The columns of the table in the order of the shape, the date last.
    fn column_ids(&self, table: i64) -> Sql<Vec<ColumnId>> {
        let mut statement = self.connection.prepare(
            "SELECT column_id, parent_column FROM ducklake_column WHERE table_id = ?1 AND \
             end_snapshot IS NULL ORDER BY column_order",
        )?;
        let mut columns: Vec<ColumnId> = Vec::new();
        let found = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for found in found {
            let (column, parent): (i64, Option<i64>) = found?;
            match columns.last_mut() {
                Some(list) if parent == Some(list.column) => list.element = Some(column),
                _ => columns.push(ColumnId {
                    column,
                    element: None,
                }),
            }
        }
        Ok(columns)
    }

    /// The mapping of the names in files of a schema, made with its first file.
    fn mapping(
        &self,
        table: i64,
        schema: Fingerprint,
        in_file: &[InFile],
        columns: &[ColumnId],
        snapshot: &mut Snapshot,
    ) -> Sql<i64> {
        let found: Option<i64> = self
            .connection
            .query_row(
                "SELECT mapping_id FROM inlet_mapping WHERE table_id = ?1 AND schema = ?2",
                params![table, schema.to_string()],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(found) = found {
            return Ok(found);
        }
        let mapping = snapshot.take_file_id();
        self.connection.execute(
            "INSERT INTO inlet_mapping VALUES (?1, ?2, ?3)",
            params![table, schema.to_string(), mapping],
        )?;
        self.connection.execute(
            "INSERT INTO ducklake_column_mapping VALUES (?1, ?2, 'map_by_name')",
            [mapping, table],
        )?;
        let mut insert = self
            .connection
            .prepare("INSERT INTO ducklake_name_mapping VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let mut number = 0_i64;
        for InFile { name, field, .. } in in_file {
            let of = columns[*field];
            insert.execute(params![
                mapping,
                number,
                name,
                of.column,
                None::<i64>,
                false
            ])?;
            let parent = number;
            number += 1;
            if let Some(element) = of.element {
                // DuckDB gives the elements of a list in a Parquet file this name.
                insert.execute(params![mapping, number, "list", element, parent, false])?;
                number += 1;
            }
        }
        let date = columns.last().expect("the date is a column").column;
        let name = &self.step.shape.date;
        insert.execute(params![mapping, number, name, date, None::<i64>, true])?;
        Ok(mapping)
    }

    /// Counts the rows and bytes of the files that are visible now.
    fn count(&self, table: i64, added_rows: u64) -> Sql<()> {
        let sums: (i64, i64) = self.connection.query_row(
            "SELECT coalesce(sum(record_count), 0), coalesce(sum(file_size_bytes), 0) FROM \
             ducklake_data_file WHERE table_id = ?1 AND end_snapshot IS NULL",
            [table],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let updated = self.connection.execute(
            "UPDATE ducklake_table_stats SET record_count = ?2, file_size_bytes = ?3, next_row_id = \
             next_row_id + ?4 WHERE table_id = ?1",
            params![table, sums.0, sums.1, added_rows],
        )?;
        if updated == 0 {
            self.connection.execute(
                "INSERT INTO ducklake_table_stats VALUES (?1, ?2, ?3, ?4)",
                params![table, sums.0, added_rows, sums.1],
            )?;
        }
        Ok(())
    }

    fn remember(&self, table: i64, view: i64) -> Sql<()> {
        let state = &self.step.state;
        self.connection.execute(
            "INSERT OR REPLACE INTO inlet_export VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                self.name,
                table,
                view,
                state.lake,
                state.seq,
                format!("{:016x}", state.shape)
            ],
        )?;
        Ok(())
    }

    /// Makes the snapshot the latest one.
    fn close(&self, snapshot: Snapshot, table: i64) -> Sql<()> {
        self.connection.execute(
            "INSERT INTO ducklake_snapshot VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                snapshot.id,
                now(),
                snapshot.schema_version,
                snapshot.next_catalog_id,
                snapshot.next_file_id
            ],
        )?;
        let mut changes = Vec::new();
        if self.step.is_whole {
            changes.push(format!("altered_table:{table}"));
        }
        if !self.step.added.is_empty() {
            changes.push(format!("inserted_into_table:{table}"));
        }
        if !self.step.removed.is_empty() {
            changes.push(format!("deleted_from_table:{table}"));
        }
        let seq = self.step.state.seq;
        let info = serde_json::json!({ "table": self.name, "seq": seq });
        self.connection.execute(
            "INSERT INTO ducklake_snapshot_changes VALUES (?1, ?2, 'inlet', ?3, ?4)",
            params![
                snapshot.id,
                changes.join(","),
                format!("entry {seq} of the log of {}", self.name),
                info.to_string()
            ],
        )?;
        Ok(())
    }
}

impl Snapshot {
    fn take_catalog_id(&mut self) -> i64 {
        let id = self.next_catalog_id;
        self.next_catalog_id += 1;
        id
    }

    /// Files and mappings are counted together.
    fn take_file_id(&mut self) -> i64 {
        let id = self.next_file_id;
        self.next_file_id += 1;
        id
    }
}

/// The name of a type in the specification, "Data Types".
fn type_name(scalar: Scalar) -> String {
    let name = match scalar {
        Scalar::Bool => "boolean",
        Scalar::Int16 => "int16",
        Scalar::Int32 => "int32",
        Scalar::Int64 | Scalar::Oid => "int64",
        Scalar::Float32 => "float32",
        Scalar::Float64 => "float64",
        Scalar::Decimal { precision, scale }
            if ColumnType::Scalar(scalar).duckdb() != "VARCHAR" =>
        {
            return format!("decimal({precision},{scale})");
        }
        // More digits than a reader has are text in the files.
        Scalar::Decimal { .. } | Scalar::Text => "varchar",
        Scalar::Json => "json",
        Scalar::Uuid => "uuid",
        Scalar::Bytes => "blob",
        Scalar::Date => "date",
        Scalar::Time => "time",
        Scalar::Timestamp => "timestamp",
        Scalar::TimestampTz => "timestamptz",
    };
    name.to_owned()
}
