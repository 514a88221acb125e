//! A database of a running PostgreSQL, by its URL.

use std::path::PathBuf;
use std::process::Stdio;
use std::thread;

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::{csv, process, programs};

/// One database. It lives as long as its server.
#[derive(Debug)]
pub struct Database {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) log: PathBuf,
}

impl Database {
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub async fn connect(&self) -> Result<PgConnection> {
        PgConnection::connect(&self.url)
            .await
            .with_context(|| format!("connecting to database `{}`", self.name))
    }

    /// Runs statements on a connection of their own, as one transaction unless they contain others.
    pub async fn sql(&self, sql: &str) -> Result<()> {
        let mut connection = self.connect().await?;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await
            .with_context(|| format!("running {sql}"))?;
        Ok(connection.close().await?)
    }

    /// Runs a script as a person who pastes it into `psql`: each statement for itself, up to the
    /// first error.
    pub async fn psql(&self, script: &str) -> Result<()> {
        let mut psql = Command::new(programs::psql()?);
        psql.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            &self.url,
            "-f",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
        let mut psql = psql.spawn().context("starting psql")?;
        let mut stdin = psql.stdin.take().context("stdin is piped")?;
        stdin.write_all(script.as_bytes()).await?;
        drop(stdin);
        let output = psql.wait_with_output().await?;
        ensure!(
            output.status.success(),
            "psql: {}\n{script}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// The schema as `pg_dump` writes it; `None` where the server is newer than the system's
    /// program.
    pub async fn dumped_schema(&self) -> Result<Option<String>> {
        let mut dump = Command::new(programs::system("pg_dump")?);
        dump.args(["--schema-only", "-d", &self.url])
            .kill_on_drop(true);
        let output = dump.output().await.context("running pg_dump")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        if stderr.contains("server version mismatch") {
            return Ok(None);
        }
        ensure!(output.status.success(), "pg_dump: {stderr}");
        let text = String::from_utf8(output.stdout)?;
        // These two lines have a random word.
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        Ok(Some(lines.collect::<Vec<_>>().join("\n")))
    }

    /// The rows of a query as `psql` prints them: values as PostgreSQL's text in UTC, null as
    /// `NULL`.
    pub async fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let output = Command::new(programs::psql()?)
            .args([
                "-X",
                "-q",
                "--csv",
                "-t",
                "-P",
                "null=NULL",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                &self.url,
                "-c",
                sql,
            ])
            .env("PGTZ", "UTC")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("starting psql")?;
        ensure!(
            output.status.success(),
            "psql: {}\n{sql}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(csv::rows(&String::from_utf8(output.stdout)?))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A shared server is never dropped, so the failing test shows the server's log here.
        if thread::panicking() {
            process::keep_log("postgres", &self.log);
        }
    }
}
