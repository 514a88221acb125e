//! The table in the other database: made, filled, compared and committed in one transaction.
//!
//! Indexes and constraints are made after the rows, which is faster, and lets a moment before a
//! column was NOT NULL be restored. An error closes the connection, which takes everything back.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use inlet_model::change::UPSERT;
use inlet_model::{Column, TableName, TableReference, TableSchema, Xid, printable, quote};
use inlet_postgres::{Error, capture, connect};
use inlet_service::config::{PostgresAddress, TableConfig};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, raw_sql};

use super::checksum::Checksum;
use super::error::RestoreError;
use super::latest::Latest;
use crate::args::RestoreArguments;

/// From this version on, PostgreSQL has `numeric` with any scale.
const NUMERIC_OF_ANY_SCALE: i32 = 150_000;
/// A restore takes as long as it takes, whatever limits the database sets for others.
const BEGIN: &str = "BEGIN;
    SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL DateStyle = ISO;
    SET LOCAL TimeZone = 'UTC';
    SET LOCAL xmloption = content";

pub struct Target {
    connection: PgConnection,
    table: TableName,
    /// The lake's columns, with the types that they get here.
    columns: Vec<Column>,
    /// The columns that a primary key can have, in its order; empty without such a key.
    key: Vec<String>,
    /// True when the table did not exist.
    is_new: bool,
    /// Columns that rows cannot be loaded into.
    computed: BTreeSet<String>,
    rows: u64,
    notes: Vec<String>,
}

impl Target {
    /// Opens the transaction, and makes the table where it does not exist.
    pub async fn open(
        address: &PostgresAddress,
        table: TableName,
        schema: &TableSchema,
        arguments: &RestoreArguments,
    ) -> Result<Self, RestoreError> {
        let mut connection = connect(address).await?;
        run(
            &mut connection,
            BEGIN.to_owned(),
            "transaction could not be started",
        )
        .await?;
        let own = schema.columns.iter().enumerate();
        let own = own.filter(|(at, _)| !schema.is_identity(*at));
        let key = schema.own_key().map(|at| &schema.columns[at]);
        let is_never_null = schema.own_key().all(|at| schema.columns[at].not_null);
        let mut target = Self {
            connection,
            table,
            columns: own.map(|(_, column)| column.clone()).collect(),
            key: key
                .filter(|_| is_never_null)
                .map(|column| column.name.clone())
                .collect(),
            is_new: false,
            computed: BTreeSet::new(),
            rows: 0,
            notes: Vec::new(),
        };
        if target.exists(arguments.truncate).await? {
            target.check_columns().await?;
            if target.computed.is_empty() {
                return Ok(target);
            }
            let computed: Vec<_> = target
                .computed
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            target
                .notes
                .push(format!("{} are computed there", computed.join(", ")));
        } else {
            target.is_new = true;
            target.check_types(arguments.missing_types_as_text).await?;
            target.create().await?;
            if target.key.is_empty() && !schema.key.is_empty() {
                target.notes.push(
                    "its key has columns that may be null, so it is no primary key \
                    here"
                        .to_owned(),
                );
            }
        }
        Ok(target)
    }

    /// Whether the table exists, without rows.
    async fn exists(&mut self, truncate: bool) -> Result<bool, RestoreError> {
        let quoted = self.table.quoted();
        let kind: Option<String> = sqlx::query_scalar(
            "SELECT relkind::text FROM pg_catalog.pg_class WHERE oid = to_regclass($1)",
        )
        .bind(&quoted)
        .fetch_optional(&mut self.connection)
        .await
        .map_err(Error::server("table could not be looked for"))?;
        match kind.as_deref() {
            None => return Ok(false),
            // A table, and one of partitions.
            Some("r" | "p") => {}
            Some(_) => return Err(RestoreError::NoTable(self.table.clone())),
        }
        let act = format!("rows of table `{}` could not be looked for", self.table);
        if truncate {
            let act = format!("table `{}` could not be emptied", self.table);
            run(&mut self.connection, format!("TRUNCATE {quoted}"), &act).await?;
            return Ok(true);
        }
        let sql = format!("SELECT EXISTS (SELECT FROM {quoted})");
        let has_rows: bool = sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut self.connection)
            .await
            .map_err(Error::server(act))?;
        if has_rows {
            return Err(RestoreError::Exists(self.table.clone()));
        }
        Ok(true)
    }

    /// Refuses a table that lacks columns of the lake.
    async fn check_columns(&mut self) -> Result<(), RestoreError> {
        let found: Vec<(String, bool)> = sqlx::query_as(
            "SELECT attname::text, attgenerated <> '' FROM pg_catalog.pg_attribute
             WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
        )
        .bind(self.table.quoted())
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::server("columns could not be read"))?;
        let is_missing = |column: &&Column| !found.iter().any(|(name, _)| *name == column.name);
        let missing = self.columns.iter().filter(is_missing);
        let missing: Vec<_> = missing.map(|column| printable(&column.name)).collect();
        if !missing.is_empty() {
            return Err(RestoreError::NoColumns {
                table: self.table.clone(),
                columns: missing.join(", "),
            });
        }
        let computed = found.into_iter().filter(|(_, is_computed)| *is_computed);
        self.computed = computed.map(|(name, _)| name).collect();
        Ok(())
    }

    /// Before PostgreSQL 15 the scale of a `numeric` is from 0 to its precision: others lose both.
    async fn widen_numerics(&mut self) -> Result<(), RestoreError> {
        let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
            .fetch_one(&mut self.connection)
            .await
            .map_err(Error::server("version of the server could not be read"))?;
        if version >= NUMERIC_OF_ANY_SCALE {
            return Ok(());
        }
        for column in &mut self.columns {
            if let Some(plain) = without_odd_scale(&column.postgres_type) {
                self.notes.push(format!(
                    "`{}` is {plain}: the server has no {}",
                    printable(&column.name),
                    printable(&column.postgres_type)
                ));
                column.postgres_type = plain;
            }
        }
        Ok(())
    }

    /// Columns whose types the database lacks become text, or are an error.
    async fn check_types(&mut self, as_text: bool) -> Result<(), RestoreError> {
        self.widen_numerics().await?;
        let types: Vec<_> = self
            .columns
            .iter()
            .map(|column| &column.postgres_type)
            .collect();
        let known: Vec<bool> = sqlx::query_scalar(
            "SELECT to_regtype(name) IS NOT NULL FROM unnest($1::text[]) WITH ORDINALITY AS \
             named(name, n) ORDER BY n",
        )
        .bind(types)
        .fetch_all(&mut self.connection)
        .await
        .map_err(Error::server("types could not be looked for"))?;
        let mut unknown = Vec::new();
        for (column, _) in self
            .columns
            .iter_mut()
            .zip(known)
            .filter(|(_, known)| !known)
        {
            unknown.push(format!(
                "`{}` ({})",
                printable(&column.name),
                printable(&column.postgres_type)
            ));
            "text".clone_into(&mut column.postgres_type);
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let columns = unknown.join(", ");
        if !as_text {
            return Err(RestoreError::NoTypes { columns });
        }
        self.notes.push(format!(
            "the database has no type for {columns}: they are text"
        ));
        Ok(())
    }

    async fn create(&mut self) -> Result<(), RestoreError> {
        let has_schema: bool = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
            .bind(quote(&self.table.schema))
            .fetch_one(&mut self.connection)
            .await
            .map_err(Error::server("schema could not be looked for"))?;
        if !has_schema {
            let sql = format!("CREATE SCHEMA {}", quote(&self.table.schema));
            let act = format!("schema `{}` could not be created", self.table.schema);
            run(&mut self.connection, sql, &act).await?;
            self.notes.push(format!(
                "schema `{}` was created",
                printable(&self.table.schema)
            ));
        }
        let columns = self.columns.iter();
        let columns: Vec<_> = columns
            .map(|column| format!("{} {}", quote(&column.name), column.postgres_type))
            .collect();
        let sql = format!(
            "CREATE TABLE {} ({})",
            self.table.quoted(),
            columns.join(", ")
        );
        let act = format!("table `{}` could not be created", self.table);
        run(&mut self.connection, sql, &act).await
    }

    /// Loads the rows, and makes what waits for them.
    pub async fn load(&mut self, latest: &mut Latest) -> Result<(), RestoreError> {
        let columns = self.columns.iter();
        let columns = columns.filter(|column| !self.computed.contains(&column.name));
        let columns: Vec<_> = columns.map(|column| quote(&column.name)).collect();
        let (table, act) = (
            self.table.quoted(),
            format!("rows could not be loaded into table `{}`", self.table),
        );
        let sql = format!("COPY {table} ({}) FROM STDIN", columns.join(", "));
        let copying = self.connection.copy_in_raw(&sql).await;
        let mut copying = copying.map_err(Error::server(act.as_str()))?;
        let runtime = tokio::runtime::Handle::current();
        let is_kept: Vec<bool> = self
            .columns
            .iter()
            .map(|column| !self.computed.contains(&column.name))
            .collect();
        let sent = latest
            .read(&is_kept, |text| {
                let sent = runtime.block_on(copying.send(text.as_bytes()));
                sent.map(drop)
                    .map_err(|error| Error::server(act.as_str())(error).into())
            })
            .await;
        if let Err(error) = sent {
            // The server's own error is the cause of a connection that takes no more rows.
            let reason = copying.abort("the lake could not be read").await;
            return match (&error, reason) {
                (RestoreError::Server(_), Err(reason)) => Err(Error::server(act)(reason).into()),
                _ => Err(error),
            };
        }
        self.rows = copying.finish().await.map_err(Error::server(act))?;
        if self.is_new {
            self.constrain().await?;
        }
        Ok(())
    }

    /// Makes the primary key, and NOT NULL where every row has a value.
    async fn constrain(&mut self) -> Result<(), RestoreError> {
        let wanted: Vec<_> = self
            .columns
            .iter()
            .filter(|column| column.not_null)
            .map(|column| column.name.clone())
            .collect();
        let (table, mut changes) = (self.table.quoted(), Vec::new());
        if !wanted.is_empty() {
            let nulls: Vec<_> = wanted
                .iter()
                .map(|name| format!("EXISTS (SELECT FROM {table} WHERE {} IS NULL)", quote(name)))
                .collect();
            let sql = format!("SELECT ARRAY[{}]", nulls.join(", "));
            let has_nulls: Vec<bool> = sqlx::query_scalar(AssertSqlSafe(sql))
                .fetch_one(&mut self.connection)
                .await
                .map_err(Error::server("restored rows could not be read"))?;
            for (name, has_nulls) in wanted.iter().zip(has_nulls) {
                if has_nulls {
                    self.notes.push(format!(
                        "`{}` is NOT NULL now, and has nulls at this moment",
                        printable(name)
                    ));
                } else {
                    changes.push(format!("ALTER COLUMN {} SET NOT NULL", quote(name)));
                }
            }
        }
        if !self.key.is_empty() {
            let key: Vec<_> = self.key.iter().map(|name| quote(name)).collect();
            changes.push(format!("ADD PRIMARY KEY ({})", key.join(", ")));
        }
        if changes.is_empty() {
            return Ok(());
        }
        let sql = format!("ALTER TABLE {table} {}", changes.join(", "));
        let act = format!("the key of table `{}` could not be made", self.table);
        run(&mut self.connection, sql, &act).await
    }

    /// Reads the table back, and compares it with what the lake has.
    pub async fn compare(
        &mut self,
        expected: &Checksum,
        config: &TableConfig,
    ) -> Result<(), RestoreError> {
        let columns = TableSchema::new(self.table.clone(), self.columns.clone(), Vec::new());
        let mut found = Checksum::new(&columns);
        let named = TableConfig {
            impossible_values: config.impossible_values,
            ..TableConfig::named(TableReference::exact(&self.table))
        };
        let captured = capture(&mut self.connection, &named).await?;
        let sql = format!(
            "SELECT {} FROM {}",
            captured.select_list(),
            self.table.quoted()
        );
        let mut decoder = captured.decoder(1024);
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut self.connection);
        let failed = |error| Error::rows(&self.table, error);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let appended = decoder.append(&row, Xid(0), UPSERT);
            appended.map_err(|error| Error::decode(&self.table, error))?;
            if decoder.rows() == 1024 {
                found.add_rows(&columns, &decoder.finish(0).rows);
            }
        }
        found.add_rows(&columns, &decoder.finish(0).rows);
        if found.equals(expected) {
            return Ok(());
        }
        Err(RestoreError::Different {
            table: self.table.clone(),
            rows: found.rows,
            expected: expected.rows,
        })
    }

    /// Makes everything durable.
    pub async fn commit(mut self) -> Result<(TableName, u64, Vec<String>), RestoreError> {
        run(
            &mut self.connection,
            "COMMIT".to_owned(),
            "restore could not be committed",
        )
        .await?;
        // The commit was confirmed, so an error while the session closes costs nothing.
        let _ = self.connection.close().await;
        Ok((self.table, self.rows, self.notes))
    }
}

async fn run(connection: &mut PgConnection, sql: String, act: &str) -> Result<(), RestoreError> {
    let done = raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.map(drop)
        .map_err(|error| Error::server(act)(error).into())
}

/// `numeric` for `numeric(5,-2)` and `numeric(2,4)`, arrays as arrays; `None` for other types.
fn without_odd_scale(postgres_type: &str) -> Option<String> {
    let (scales, rest) = postgres_type.strip_prefix("numeric(")?.split_once(')')?;
    let (precision, scale) = scales.split_once(',')?;
    let (precision, scale): (i32, i32) = (precision.parse().ok()?, scale.parse().ok()?);
    let is_odd = scale < 0 || scale > precision;
    is_odd.then(|| format!("numeric{rest}"))
}

#[cfg(test)]
mod tests {
    use super::without_odd_scale;

    #[test]
    fn only_scales_that_older_servers_lack_are_left_out() {
        for (given, expected) in [
            ("numeric(5,-2)", Some("numeric")),
            ("numeric(2,4)[]", Some("numeric[]")),
            ("numeric(10,2)", None),
            ("numeric(3,3)", None),
            ("numeric", None),
            ("text", None),
        ] {
            assert_eq!(without_odd_scale(given).as_deref(), expected, "{given}");
        }
    }
}
