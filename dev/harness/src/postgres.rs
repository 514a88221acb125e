//! A PostgreSQL server for one test.
//!
//! It runs with `fsync=on`, so that a crash test proves what holds for a user, and never as root.
//! Settings are given on the command line: they survive restarts, and a standby has them, too.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use tokio::time::{Instant, sleep, timeout};

use crate::process::{Launch, StopSignal, User};
use crate::server::Server;
use crate::{Database, Folder, Port, programs};

/// The superuser of every server.
pub const USER: &str = "inlet_test";
pub const PASSWORD: &str = "inlet_test";

const DEADLINE: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_millis(25);
/// The system's bound for the path of a socket, with room for the socket's name.
const SOCKET_FOLDER_BYTES_MAX: usize = 85;

/// A server on a free port of 127.0.0.1; stopped and removed when dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    port: Port,
    bin: PathBuf,
    user: Option<User>,
    settings: Vec<(String, String)>,
    databases: AtomicU64,
}

impl Postgres {
    /// Starts a new server.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// Starts a new server of the system's latest version, whichever version is tested.
    pub async fn start_of_system() -> Result<Self> {
        let mut server = Self::prepare(Vec::new())?;
        server.bin = programs::system_postgres_bin()?;
        server.init().await?;
        Ok(server)
    }

    /// Starts a new server with settings, as `("wal_level", "logical")`.
    pub async fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut server = Self::prepare(settings)?;
        server.init().await?;
        Ok(server)
    }

    /// Makes its data folder, and starts it.
    async fn init(&mut self) -> Result<()> {
        let password = self.server.folder.join("password");
        fs::write(&password, PASSWORD)?;
        let initdb = self.launch("initdb").env("TZ", "UTC").args([
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C",
        ]);
        initdb
            // The data lives as long as the test, so it need not survive a power cut.
            .args(["--no-sync", "--pwfile=password", "-D", "data"])
            .finish(DEADLINE)
            .await?;
        self.serve().await
    }

    /// Starts a hot standby that follows this server.
    pub async fn standby(&self) -> Result<Self> {
        let mut standby = Self::prepare(self.settings.clone())?;
        let mut session = self.connect("postgres").await?;
        // The backup's two calls belong to one session; PostgreSQL 15 gave them other names.
        let (start, stop) = match self.version().await? {
            15.. => ("pg_backup_start('standby', true)", "pg_backup_stop(false)"),
            _ => (
                "pg_start_backup('standby', true, false)",
                "pg_stop_backup(false, false)",
            ),
        };
        raw_sql(AssertSqlSafe(format!("SELECT {start}")))
            .execute(&mut session)
            .await
            .context("starting a backup")?;
        let copy =
            Launch::new("cp", programs::system("cp")?, &standby.server.folder).user(self.user);
        copy.args(["-a", "--"])
            .args([
                self.server.folder.join("data"),
                standby.server.folder.join("data"),
            ])
            .finish(DEADLINE)
            .await?;
        let label: String =
            sqlx::query_scalar(AssertSqlSafe(format!("SELECT labelfile FROM {stop}")))
                .fetch_one(&mut session)
                .await?;
        session.close().await?;
        let data = standby.server.folder.join("data");
        // The copied file names the primary's process, and the standby would refuse to start beside
        // it.
        fs::remove_file(data.join("postmaster.pid"))?;
        for (name, text) in [
            ("backup_label", label),
            ("standby.signal", String::new()),
            (
                "postgresql.auto.conf",
                format!("primary_conninfo = '{}'\n", self.url("postgres")),
            ),
        ] {
            fs::write(data.join(name), text)?;
            if let Some(user) = self.user {
                user.own(&data.join(name))?;
            }
        }
        standby.serve().await?;
        Ok(standby)
    }

    pub async fn version(&self) -> Result<u32> {
        let mut session = self.connect("postgres").await?;
        let number: String = sqlx::query_scalar("SHOW server_version_num")
            .fetch_one(&mut session)
            .await?;
        session.close().await?;
        Ok(number.parse::<u32>()? / 10_000)
    }

    /// The URL of a database of this server, for its superuser.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port()
        )
    }

    /// The port on 127.0.0.1; it stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The folder of the server's unix socket.
    pub fn socket_folder(&self) -> &Path {
        &self.server.folder
    }

    /// A new connection to a database.
    pub async fn connect(&self, database: &str) -> Result<PgConnection> {
        self.named(database).connect().await
    }

    /// Runs statements in the database `postgres`.
    pub async fn sql(&self, sql: &str) -> Result<()> {
        self.named("postgres").sql(sql).await
    }

    /// Creates a database with exactly this name.
    pub async fn create_database(&self, name: &str) -> Result<Database> {
        self.sql(&format!(
            "CREATE DATABASE \"{}\"",
            name.replace('"', "\"\"")
        ))
        .await?;
        Ok(self.named(name))
    }

    /// Creates a database with a name of its own.
    pub async fn database(&self) -> Result<Database> {
        self.create_database(&format!(
            "test_{}",
            self.databases.fetch_add(1, Ordering::Relaxed)
        ))
        .await
    }

    pub fn named(&self, database: &str) -> Database {
        Database {
            url: self.url(database),
            name: database.to_owned(),
            log: self.server.folder.join("log"),
        }
    }

    /// The server's log until now.
    pub fn log(&self) -> Result<String> {
        self.server.log()
    }

    /// Kills every process of the server at once, and waits until they have ended.
    pub fn kill_9(&mut self) -> Result<()> {
        self.server.kill_9()
    }

    /// Suspends every process of the server (SIGSTOP): its connections stay open and answer
    /// nothing.
    pub fn pause(&mut self) -> Result<()> {
        self.server.signal_all(Signal::STOP)
    }

    /// Continues it after [`Postgres::pause`].
    pub fn resume(&mut self) -> Result<()> {
        self.server.signal_all(Signal::CONT)
    }

    /// Stops the server; open connections are ended ("fast shutdown").
    pub async fn stop(&mut self) -> Result<()> {
        self.server.stop(DEADLINE).await
    }

    /// Stops the server without a checkpoint ("immediate shutdown"): the next start recovers.
    pub async fn stop_immediately(&mut self) -> Result<()> {
        self.server.stop_by(Signal::QUIT, DEADLINE).await
    }

    /// Starts the server again with its data, on the same port; stops it first when it runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.serve().await
    }

    /// Pauses the replay of a standby: it still receives WAL, but shows no new rows.
    pub async fn pause_replay(&self) -> Result<()> {
        self.sql("SELECT pg_wal_replay_pause()").await?;
        // Before PostgreSQL 14 a session sees only that the pause was requested.
        let paused = if self.version().await? < 14 {
            "pg_is_wal_replay_paused()"
        } else {
            "pg_get_wal_replay_pause_state() = 'paused'"
        };
        self.until(paused).await
    }

    /// Resumes a standby after [`Postgres::pause_replay`].
    pub async fn resume_replay(&self) -> Result<()> {
        self.sql("SELECT pg_wal_replay_resume()").await
    }

    /// Waits until a standby shows everything that its primary has written until now.
    pub async fn catch_up_with(&self, primary: &Self) -> Result<()> {
        let mut connection = primary.connect("postgres").await?;
        let written: String = sqlx::query_scalar("SELECT pg_current_wal_lsn()::text")
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        self.until(&format!("pg_last_wal_replay_lsn() >= '{written}'"))
            .await
    }

    /// Makes a standby the new primary. The old primary does not take part.
    pub async fn promote(&self) -> Result<()> {
        self.sql("SELECT pg_promote()").await?;
        self.until("NOT pg_is_in_recovery()").await
    }

    fn prepare(settings: Vec<(String, String)>) -> Result<Self> {
        let folder = Folder::new("postgres")?;
        let user = User::unprivileged()?;
        if let Some(user) = user {
            user.own(&folder)?;
        }
        let bin = programs::postgres_bin()?;
        Ok(Self {
            server: Server::new(folder, Signal::INT),
            port: Port::claim()?,
            bin,
            user,
            settings,
            databases: AtomicU64::new(1),
        })
    }

    fn launch(&self, program: &'static str) -> Launch {
        let mut launch =
            Launch::new(program, self.bin.join(program), &self.server.folder).user(self.user);
        // PostgreSQL's programs free their shared memory when they are asked to end, but not when
        // they are killed.
        launch.stop_signal = StopSignal::Terminate;
        launch
    }

    /// Starts the server over its data and waits until it answers.
    async fn serve(&mut self) -> Result<()> {
        let sockets = if self.server.folder.as_os_str().len() <= SOCKET_FOLDER_BYTES_MAX {
            self.server.folder.display().to_string()
        } else {
            String::new()
        };
        let mut launch =
            self.launch("postgres")
                .args(["-D", "data", "-c", "listen_addresses=127.0.0.1"]);
        launch = launch.args([
            "-c".to_owned(),
            format!("port={}", self.port()),
            "-c".to_owned(),
            format!("unix_socket_directories={sockets}"),
        ]);
        // Shared memory is in files of the data folder, so a killed server leaves no file in
        // /dev/shm.
        for setting in [
            "fsync=on",
            "max_connections=100",
            "max_prepared_transactions=20",
            "dynamic_shared_memory_type=mmap",
        ] {
            launch = launch.args(["-c", setting]);
        }
        for (name, value) in &self.settings {
            launch = launch.args(["-c".to_owned(), format!("{name}={value}")]);
        }
        launch.stop_signal = StopSignal::Quit;
        self.server.start(launch)?;
        self.answers().await
    }

    async fn answers(&mut self) -> Result<()> {
        let url = self.url("postgres");
        let end = Instant::now() + DEADLINE;
        loop {
            self.server.ensure_alive()?;
            let why = match timeout(DEADLINE, PgConnection::connect(&url)).await {
                Ok(Ok(connection)) => return Ok(connection.close().await?),
                Ok(Err(error)) => error.to_string(),
                Err(elapsed) => elapsed.to_string(),
            };
            ensure!(
                Instant::now() < end,
                "PostgreSQL does not answer after {DEADLINE:?}: {why}\n{}",
                self.log()?
            );
            sleep(STEP).await;
        }
    }

    /// Waits until a condition in SQL is true.
    async fn until(&self, condition: &str) -> Result<()> {
        let mut connection = self.connect("postgres").await?;
        let end = Instant::now() + DEADLINE;
        let sql = format!("SELECT coalesce({condition}, false)");
        while !sqlx::query_scalar::<_, bool>(AssertSqlSafe(sql.as_str()))
            .fetch_one(&mut connection)
            .await?
        {
            ensure!(Instant::now() < end, "not within {DEADLINE:?}: {condition}");
            sleep(STEP).await;
        }
        Ok(connection.close().await?)
    }

    /// Frees the small segment of shared memory that a killed server leaves behind; its id is in
    /// `postmaster.pid`.
    fn free_shared_memory(&self) {
        let Ok(left) = fs::read_to_string(self.server.folder.join("data/postmaster.pid")) else {
            return;
        };
        if let Some(id) = left
            .lines()
            .nth(6)
            .and_then(|line| line.split_whitespace().nth(1))
        {
            // A failure leaves a small segment behind, and a drop cannot report it.
            let _ = Command::new("ipcrm").args(["-m", id]).output();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.server.end();
        self.free_shared_memory();
    }
}
