//! Sessions that write, and a poller over a sink in memory that takes one step at a time.

use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, UInt64Type};
use inlet_harness::{Database, PASSWORD, Postgres, eventually, shared_database};
use inlet_model::change::XID;
use inlet_model::{Request, TableName};
use inlet_postgres::capture::Recording;
use inlet_postgres::{Known, ServerTime, Tables, grants};
use inlet_producer::session::{Session as Polling, Source};
use inlet_producer::source::census::CensusSettings;
use inlet_producer::source::error::PollError;
use inlet_producer::source::poll::Due;
use inlet_producer::source::resume::PollSettings;
use inlet_producer::source::table::Depths;
use inlet_service::config::{Config, PostgresAddress, PostgresConfig};
use inlet_service::error::{Explain, Kind, report};
use inlet_sink_contract::memory::{MemorySink, MemoryStore};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// How long a script waits for what has to come.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// An interval that no script lives to see.
pub const NEVER: Duration = Duration::from_secs(1_000_000);
/// Moves the server's clock out of the span that every scan reads anyway (`PUBLICATION_GAP`, and
/// the rest of a whole second).
pub const BEYOND_THE_GAP: &str = "SELECT pg_sleep(2.1)";

pub const NONE: [i64; 0] = [];

/// The table of most scripts. Every table here begins with a key `id` and a version `ver`.
pub const TABLE: &str = "\
CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, updated_at timestamptz \
DEFAULT now());
CREATE INDEX ON t (updated_at)";

/// A table whose rows with a gate stop the first scan of a session that reads one, for as long as
/// another session holds [`SHUT`]: PostgreSQL opens the table `gate` for the text of its row type.
pub const GATED: &str = "\
CREATE TABLE gate (lock bigint);
CREATE TABLE t (id bigint PRIMARY KEY, ver integer NOT NULL DEFAULT 0, updated_at timestamptz \
    DEFAULT now(), gate gate);
CREATE INDEX ON t (updated_at)";

/// Shuts the gate of [`GATED`] until the session commits. Another session has to insert the rows
/// before: it opens `gate` as well.
pub const SHUT: &str = "BEGIN; LOCK TABLE gate IN ACCESS EXCLUSIVE MODE";

/// A connection that writes.
pub struct Session(pub PgConnection);

impl Session {
    /// A session of a database.
    pub async fn of(database: &Database) -> Self {
        Self(database.connect().await.unwrap())
    }

    /// `N` sessions of a database.
    pub async fn some<const N: usize>(database: &Database) -> [Self; N] {
        let mut sessions = Vec::with_capacity(N);
        for _ in 0..N {
            sessions.push(Self::of(database).await);
        }
        sessions.try_into().ok().unwrap()
    }

    /// Sends one message and waits for its end.
    pub async fn run(&mut self, sql: &str) {
        self.attempt(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Sends one message, which may fail.
    pub async fn attempt(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.0)
            .await
            .map(drop)
    }

    /// Sends one message whose end is awaited elsewhere.
    pub fn send(mut self, sql: &'static str) -> tokio::task::JoinHandle<Self> {
        tokio::spawn(async move {
            self.run(sql).await;
            self
        })
    }

    /// The only value of a query.
    pub async fn value<T>(&mut self, sql: &str) -> T
    where
        T: Send + Unpin + sqlx::Type<sqlx::Postgres> + for<'r> sqlx::Decode<'r, sqlx::Postgres>,
    {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut self.0)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Waits until a condition in SQL is true.
    pub async fn until(&mut self, condition: &str) {
        eventually(DEADLINE, condition, async || {
            self.value::<bool>(&format!("SELECT coalesce({condition}, false)"))
                .await
        })
        .await;
    }

    /// Waits until some session of the database waits for a lock.
    pub async fn until_blocked(&mut self) {
        self.until(
            "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND \
            wait_event_type = 'Lock')",
        )
        .await;
    }

    /// Ends the session in order.
    pub async fn end(self) {
        self.0.close().await.unwrap();
    }
}

/// One version that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Emitted {
    pub id: i64,
    /// The version, as the table counts it.
    pub ver: i32,
    /// The xid that wrote it.
    pub xid: u64,
}

/// What a poller needs: the configuration, and how it polls.
#[derive(Debug, Clone)]
pub struct Settings {
    pub config: Config,
    pub poll: PollSettings,
}

impl Settings {
    /// The addresses of the servers.
    pub fn postgres(&mut self) -> &mut PostgresConfig {
        self.config.postgres.as_mut().unwrap()
    }
}

/// What a poll of these tables needs, with nothing that happens by the clock; as a role that has
/// the rights of [`grants`] and no other, so that a right which is missing there shows here.
pub async fn settings(database: &Database, tables: &[&str]) -> Settings {
    Settings {
        config: reader(database, tables).await,
        poll: PollSettings {
            depths: Depths {
                sweep_interval: NEVER,
                wide_interval: NEVER,
            },
            chunk_rows: 100,
            load_connections: 1,
            side_by_side_rows_min: 0,
            whole_blocks_max: 0,
            census: CensusSettings {
                interval: NEVER,
                percent: 100,
                chunk_keys: (3, 3),
                memory: usize::MAX,
            },
        },
    }
}

/// Creates the role of a database, or gives it the tables that it lacks; its configuration.
async fn reader(database: &Database, tables: &[&str]) -> Config {
    let role = format!("reader_{}", database.name());
    // A table may have settings: `t: { capture: keys }`.
    let line = |table: &&str| match table.contains(':') {
        true => format!("  {table}\n"),
        false => format!("  {table}:\n"),
    };
    let tables: String = tables.iter().map(line).collect();
    let mut config = Config::parse(&format!(
        "postgres: {{ url: \"{}\" }}\ntables:\n{tables}",
        database.url()
    ))
    .unwrap();
    database
        .sql(&grants::statements(&config, &role).unwrap())
        .await
        .unwrap();
    database
        .sql(&format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'"))
        .await
        .unwrap();
    config.postgres.as_mut().unwrap().primary.user = role;
    config
}

/// Installs what records the changes of the tables with `capture`.
pub async fn record(database: &Database, settings: &Settings) {
    let mut connection = database.connect().await.unwrap();
    let tables = Tables::find(&mut connection, &settings.config, &Known::new())
        .await
        .unwrap();
    let role = &settings.config.require_postgres().unwrap().primary.user;
    for config in &tables.config.tables {
        let Some(Ok(captured)) = tables.of(config).filter(|_| config.journal_of.is_none()) else {
            continue;
        };
        let (name, oids) = (&captured.schema.table, captured.oids());
        let found = Recording::find(&mut connection, name, &oids, role)
            .await
            .unwrap();
        let statements = found.install(captured, config, role);
        database.sql(&statements.join(";\n")).await.unwrap();
    }
}

/// A poll with its sink, and what the sink has published.
pub struct Poller {
    settings: Settings,
    pub store: MemoryStore,
    sink: MemorySink,
    /// What was polled since the start of the process.
    known: Known,
    /// The session of the present connection; none after an error, as its connection may be in the
    /// middle of a transaction.
    session: Option<Polling>,
    published: Vec<Emitted>,
    batches: usize,
    /// Rows that were older than their transactions.
    pub late: u64,
}

/// A new database with [`TABLE`] or another, and a poller that has loaded its table `t`.
pub async fn polled(sql: &str) -> (Database, Poller) {
    let database = shared_database().await;
    database.sql(sql).await.unwrap();
    let poller = Poller::tailing(settings(&database, &["t"]).await).await;
    (database, poller)
}

/// The same on a server of one's own.
pub async fn polled_on(server: &Postgres, sql: &str) -> (Database, Poller) {
    let database = server.database().await.unwrap();
    database.sql(sql).await.unwrap();
    let poller = Poller::tailing(settings(&database, &["t"]).await).await;
    (database, poller)
}

impl Poller {
    /// A poller that begins with the load.
    pub async fn new(settings: Settings) -> Self {
        Self::try_new(settings)
            .await
            .unwrap_or_else(|error| panic!("{}", report(&error)))
    }

    /// The same, where it may be refused.
    pub async fn try_new(settings: Settings) -> Result<Self, PollError> {
        let store = MemoryStore::default();
        let mut sink = store.sink();
        let mut known = Known::new();
        let session = Some(start(&settings, &mut known, &mut sink).await?);
        Ok(Self {
            settings,
            store,
            sink,
            known,
            session,
            published: Vec::new(),
            batches: 0,
            late: 0,
        })
    }

    /// Its settings, which count from the next restart on.
    pub fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// A poller that has loaded its tables.
    pub async fn tailing(settings: Settings) -> Self {
        let mut poller = Self::new(settings).await;
        poller.load().await;
        poller
    }

    /// True when every table is loaded and joined.
    pub fn is_tailing(&self) -> bool {
        self.session.as_ref().unwrap().is_tailing()
    }

    /// A cycle as the pipeline runs it, a chunk of the load included; brings the keys that it
    /// published, sorted.
    pub async fn cycle(&mut self) -> Vec<i64> {
        self.attempt()
            .await
            .unwrap_or_else(|error| panic!("{}", report(&error)))
    }

    /// A cycle that may fail; then only [`Poller::restart`] may follow.
    pub async fn attempt(&mut self) -> Result<Vec<i64>, PollError> {
        self.step(Due {
            cycle: true,
            ..Due::default()
        })
        .await?;
        Ok(self.news())
    }

    async fn step(&mut self, due: Due) -> Result<(), PollError> {
        let mut session = self
            .session
            .take()
            .expect("a poller is restarted after an error");
        let stepped = session.step(due, &mut self.sink).await?;
        self.session = Some(session);
        self.late += stepped.step.late;
        Ok(())
    }

    /// Makes the progress durable that covers no rows, as the pipeline does from time to time.
    pub async fn heartbeat(&mut self) {
        let due = Due {
            heartbeat: true,
            ..Due::default()
        };
        self.step(due).await.unwrap();
    }

    /// Cycles until one succeeds, as the pipeline does; errors that need a human fail the script.
    pub async fn settle(&mut self) -> Vec<i64> {
        eventually(DEADLINE, "a cycle that succeeds", async || {
            let outcome = self.attempt().await;
            if let Err(error) = &outcome {
                assert_eq!(error.kind(), Kind::Unavailable, "{}", report(error));
                self.revive().await;
            }
            outcome.ok()
        })
        .await
    }

    /// What a user asks of the table `t`.
    pub async fn ask(&mut self, request: Request) {
        self.store.request(&TableName::new("public", "t"), request);
        let due = Due {
            cycle: true,
            dropped: true,
            ..Due::default()
        };
        self.step(due).await.unwrap();
    }

    /// Cycles until every table is loaded and joined; brings the keys that were published, sorted.
    pub async fn load(&mut self) -> Vec<i64> {
        let mut found = Vec::new();
        while !self.is_tailing() {
            found.extend(self.cycle().await);
        }
        found.sort_unstable();
        found
    }

    /// The same for tables that were altered, which a cycle finds out by failing.
    pub async fn load_again(&mut self) -> Vec<i64> {
        let mut found = self.settle().await;
        found.extend(self.load().await);
        found.sort_unstable();
        found
    }

    /// Cycles until exactly these keys have been published.
    pub async fn until(&mut self, keys: &[i64]) {
        let mut found = Vec::new();
        eventually(DEADLINE, &format!("keys {keys:?}"), async || {
            found.extend(self.cycle().await);
            found.sort_unstable();
            assert!(found.len() <= keys.len(), "{found:?} instead of {keys:?}");
            found == keys
        })
        .await;
    }

    /// Starts another load of every table, beside its polls.
    pub async fn reload(&mut self) -> Result<(), PollError> {
        let mut session = self
            .session
            .take()
            .expect("a poller is restarted after an error");
        session.load_again().await?;
        self.session = Some(session);
        Ok(())
    }

    /// A cycle that sweeps.
    pub async fn sweep(&mut self) -> Vec<i64> {
        self.sweep_next();
        self.cycle().await
    }

    /// Lets the next cycle sweep.
    pub fn sweep_next(&mut self) {
        self.session.as_mut().unwrap().sweep_now();
    }

    /// What another process with the same settings would do: everything but the durable progress is
    /// forgotten.
    pub async fn restart(&mut self) {
        self.try_restart()
            .await
            .unwrap_or_else(|error| panic!("{}", report(&error)));
    }

    /// The same, where it may be refused.
    pub async fn try_restart(&mut self) -> Result<(), PollError> {
        let mut sink = self.store.sink();
        self.session = None;
        self.session = Some(start(&self.settings, &mut self.known, &mut sink).await?);
        self.sink = sink;
        Ok(())
    }

    /// A restart of the process, which does not know what was polled before.
    pub async fn forget(&mut self) -> Result<(), PollError> {
        self.known.clear();
        self.try_restart().await
    }

    /// What the pipeline does from time to time: it fails when a dropped table exists again.
    pub async fn look_for_dropped(&mut self) -> Result<(), PollError> {
        let due = Due {
            cycle: true,
            dropped: true,
            ..Due::default()
        };
        self.step(due).await
    }

    /// A cycle that also looks at what PostgreSQL has counted; brings the keys that it published,
    /// sorted.
    pub async fn look(&mut self) -> Vec<i64> {
        self.look_for_dropped().await.unwrap();
        self.news()
    }

    /// When the first table was last swept.
    pub fn last_sweep(&self) -> ServerTime {
        let session = self.session.as_ref().unwrap();
        session.tables()[0].tiers.last_sweep().at
    }

    /// A cycle that also compares a chunk of keys, if PostgreSQL has counted deletes or a pass is
    /// under way.
    pub async fn compare_chunk(&mut self) -> Result<(), PollError> {
        let due = Due {
            cycle: true,
            dropped: true,
            census: true,
            heartbeat: false,
        };
        self.step(due).await
    }

    /// True while a pass over the keys of some table is under way.
    pub fn is_comparing(&self) -> bool {
        self.session.as_ref().unwrap().is_comparing()
    }

    /// Lets a pass over the keys of every table start with the next chunk.
    pub fn compare_next(&mut self) {
        self.session.as_mut().unwrap().compare_now();
    }

    /// A whole pass over the keys of every table, whatever PostgreSQL has counted.
    pub async fn compare(&mut self) {
        while self.is_comparing() {
            self.compare_chunk().await.unwrap();
        }
        self.compare_next();
        self.compare_chunk().await.unwrap();
        while self.is_comparing() {
            self.compare_chunk().await.unwrap();
        }
    }

    /// Goes on until faults that still wait for their call are used up, and every table is loaded.
    pub async fn outlast_faults(&mut self) {
        let calls = self.store.calls() + 4;
        while self.store.calls() < calls {
            self.settle().await;
            self.revive().await;
        }
        while !self.is_tailing() {
            self.settle().await;
        }
    }

    /// The same as often as it takes.
    pub async fn revive(&mut self) {
        eventually(DEADLINE, "a restart that succeeds", async || {
            let outcome = self.try_restart().await;
            if let Err(error) = &outcome {
                assert_eq!(error.kind(), Kind::Unavailable, "{}", report(error));
            }
            outcome.is_ok()
        })
        .await;
    }

    /// Restarts with another cursor of the first table in the configuration.
    pub async fn poll_by(&mut self, column: &str) {
        self.settings.config.tables[0].cursor = Some(column.to_owned());
        self.restart().await;
    }

    /// From the next restart on, rows are read from the primary.
    pub fn read_from_primary(&mut self) {
        self.settings.postgres().read = None;
    }

    /// Restarts with other options of the connection.
    pub async fn connect_as(&mut self, change: impl FnOnce(&mut PostgresAddress)) {
        change(&mut self.settings.postgres().primary);
        self.restart().await;
    }

    /// Everything that was published, in order.
    pub fn published(&mut self) -> &[Emitted] {
        self.news();
        &self.published
    }

    /// The keys that were published since the last call, sorted.
    pub fn news(&mut self) -> Vec<i64> {
        let old = self.published.len();
        let batches = self.store.batches();
        for batch in &batches[self.batches..] {
            // A journal has other columns.
            if batch.schema.table.schema == "inlet" {
                continue;
            }
            let rows = &batch.rows;
            let (ids, vers) = (
                rows.column(0).as_primitive::<Int64Type>(),
                rows.column(1).as_primitive::<Int32Type>(),
            );
            let xids = rows
                .column_by_name(XID)
                .unwrap()
                .as_primitive::<UInt64Type>();
            let emitted = |row| Emitted {
                id: ids.value(row),
                ver: vers.value(row),
                xid: xids.value(row),
            };
            self.published.extend((0..rows.num_rows()).map(emitted));
        }
        self.batches = batches.len();
        let mut keys: Vec<i64> = self.published[old..]
            .iter()
            .map(|emitted| emitted.id)
            .collect();
        keys.sort_unstable();
        keys
    }
}

async fn start(
    settings: &Settings,
    known: &mut Known,
    sink: &mut MemorySink,
) -> Result<Polling, PollError> {
    let source = Source::open(&settings.config, known).await?;
    known.extend(source.tables.known());
    Polling::start(source, settings.poll, sink, Vec::new()).await
}
