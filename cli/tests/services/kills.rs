//! `kill -9` at random moments under load: no loss, no duplicates, and readers never lied
//! to.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use inlet_harness::{Inlet, Kafka, Postgres, duckdb, eventually};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep};

use crate::load::Load;
use crate::orders::{INLET, Orders, PATIENCE};

/// Kills of each service.
const ROUNDS: u64 = 20;
const WRITERS: u64 = 3;
/// The glob is read this often.
const READ_EVERY: Duration = Duration::from_millis(200);
/// Short intervals, so that a kill hits every step.
const FAST: &str =
    "streaming: { poll_interval: 20ms, flush_interval: 200ms, sweep_interval: 20s }\n";

fn seed() -> u64 {
    let seed = std::env::var("INLET_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    seed.unwrap_or_else(|| rand::rng().random_range(0..1_000_000))
}

/// A reader with DuckDB's plain glob: rows stay, versions are unique, no file is
/// torn.
struct Reader {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    task: JoinHandle<Result<()>>,
}

/// Whether a version may be in the lake more than once: each load brings it again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Versions {
    Unique,
    Loaded,
}

impl Reader {
    fn start(orders: &Orders, versions: Versions) -> Self {
        let (stop, reads) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let files = (orders.lake(), orders.glob());
        let task = tokio::spawn(read(files, versions, stop.clone(), reads.clone()));
        Self { stop, reads, task }
    }

    /// Waits for one more read, or for its end by a wrong answer.
    async fn once_more(&self) {
        let before = self.reads.load(Ordering::Relaxed);
        let is_over = async || {
            anyhow::Ok(self.reads.load(Ordering::Relaxed) > before || self.task.is_finished())
        };
        eventually(PATIENCE, "the glob is read", is_over).await;
    }

    /// How often it read; an error is the first wrong answer.
    async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await??;
        Ok(self.reads.load(Ordering::Relaxed))
    }
}

async fn read(
    (folder, glob): (PathBuf, String),
    unique: Versions,
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
) -> Result<()> {
    let mut before = 0;
    let mut clock = interval(READ_EVERY);
    let sql = format!(
        "SELECT count(*), count(DISTINCT (order_id, _xid, _op)) FROM read_parquet('{glob}', \
            union_by_name = true)"
    );
    while !stop.load(Ordering::Relaxed) {
        clock.tick().await;
        // A glob without any file is an error to DuckDB, so the first rows are awaited otherwise.
        if before > 0 || duckdb::count_glob(&glob).await.unwrap_or(0) > 0 {
            // While files are merged it may fail, and gives no wrong answer.
            let Some(row) = duckdb::read_once(&folder, &sql).await? else {
                continue;
            };
            let row = row.concat();
            let (rows, versions): (u64, u64) = (row[0].parse()?, row[1].parse()?);
            ensure!(
                rows == versions || unique == Versions::Loaded,
                "{} versions are duplicates among {rows}",
                rows - versions
            );
            ensure!(rows >= before, "{before} rows had been there, then {rows}");
            before = rows;
            reads.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// The services of a pipeline, by their verbs.
struct Running<'a>(Vec<(&'a str, Inlet)>);

impl<'a> Running<'a> {
    fn start(orders: &Orders, verbs: &[&'a str]) -> Result<Self> {
        let start = |verb: &&'a str| Ok((*verb, orders.start(verb)?));
        Ok(Self(verbs.iter().map(start).collect::<Result<_>>()?))
    }

    /// Starts each service again that has ended, as a supervisor does.
    fn supervise(&mut self, orders: &Orders) -> Result<()> {
        for (verb, service) in &mut self.0 {
            if service.is_running()? {
                continue;
            }
            let log = service.stderr()?;
            // A start waits for a server for a while, and ends when that is down for longer; so
            // does it when the table has another name just then.
            let may_end = log.contains("was not reached") || log.contains("does not exist");
            ensure!(may_end, "`inlet {verb}` ended by itself: {log}");
            *service = orders.start(verb)?;
        }
        Ok(())
    }
}

/// Kills `services` one after the other and starts them again; now and then `crash` takes a server
/// down, and in every round the lake is read.
async fn rounds<'a>(
    orders: &Orders,
    verbs: &[&'a str],
    reader: &Reader,
    random: &mut StdRng,
    mut crash: impl AsyncFnMut(u64) -> Result<()>,
) -> Result<Running<'a>> {
    let mut running = Running::start(orders, verbs)?;
    for round in 0..ROUNDS {
        for at in 0..verbs.len() {
            // The moment is what is random here; nothing is awaited.
            sleep(Duration::from_millis(random.random_range(50..900))).await;
            running.supervise(orders)?;
            let (verb, service) = &mut running.0[at];
            service.kill_9()?;
            *service = orders.start(verb)?;
        }
        crash(round).await?;
        reader.once_more().await;
    }
    let before = orders.lake_rows().await.unwrap_or(0);
    orders.insert(&["1.00"]).await?;
    eventually(PATIENCE, "rows arrive after the last kill", async || {
        running.supervise(orders)?;
        Ok(orders.lake_rows().await? > before)
    })
    .await;
    Ok(running)
}

async fn crash_postgres(postgres: &mut Postgres) -> Result<()> {
    postgres.kill_9()?;
    postgres.restart().await
}

async fn crash_kafka(kafka: Option<&mut Kafka>) -> Result<()> {
    let Some(kafka) = kafka else { return Ok(()) };
    kafka.kill_9()?;
    kafka.restart().await
}

async fn judge(
    orders: &Orders,
    mut running: Running<'_>,
    load: Load,
    reader: Reader,
    seed: u64,
    equal: impl AsyncFn() -> Result<()>,
) -> Result<()> {
    let transactions = load.committed();
    load.stop().await;
    eventually(PATIENCE, "PostgreSQL and lake are equal", async || {
        running.supervise(orders)?;
        equal().await.map(|()| true)
    })
    .await;
    let reads = reader.stop().await?;
    let (rows, deletes) = (orders.lake_rows().await?, orders.deletes().await?);
    println!(
        "seed {seed}: {transactions} transactions, {rows} versions in the lake, {deletes} of them \
            deletes, {reads} reads of the glob in between"
    );
    ensure!(
        reads >= ROUNDS && rows > 100 && deletes > 0,
        "too little happened: {reads} reads, {rows} rows, {deletes} deletes"
    );
    Ok(())
}

#[tokio::test]
async fn producer_and_consumer_killed_at_any_moment_lose_and_double_nothing() {
    killed_through_kafka("").await;
}

#[tokio::test]
async fn killed_at_any_moment_they_lose_and_double_nothing_in_batches_of_arrow() {
    killed_through_kafka("kafka: { format: arrow, partitions: 3 }\n").await;
}

async fn killed_through_kafka(layer: &str) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let (mut postgres, mut kafka) = (
        Postgres::start().await.unwrap(),
        Kafka::start().await.unwrap(),
    );
    let mut orders = Orders::new(&postgres, Some(&kafka), false).await.unwrap();
    orders.configure(&format!("{layer}{FAST}")).unwrap();
    let load = Load::start(orders.database.url(), WRITERS, seed);
    let reader = Reader::start(&orders, Versions::Unique);
    let crash = async |round: u64| match round % 7 {
        3 => crash_postgres(&mut postgres).await,
        5 => crash_kafka(Some(&mut kafka)).await,
        _ => Ok(()),
    };
    let running = rounds(
        &orders,
        &["producer", "consumer"],
        &reader,
        &mut random,
        crash,
    )
    .await
    .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
    judge(&orders, running, load, reader, seed, async || {
        orders.check_equal().await
    })
    .await
    .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
}

#[tokio::test]
async fn a_run_without_broker_killed_at_any_moment_neither_loses_nor_duplicates_rows() {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut postgres = Postgres::start().await.unwrap();
    let mut orders = Orders::new(&postgres, None, false).await.unwrap();
    orders.configure(FAST).unwrap();
    let load = Load::start(orders.database.url(), WRITERS, seed);
    let reader = Reader::start(&orders, Versions::Unique);
    let crash = async |round: u64| match round % 7 {
        3 => crash_postgres(&mut postgres).await,
        _ => Ok(()),
    };
    let running = rounds(&orders, &["run"], &reader, &mut random, crash)
        .await
        .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
    judge(&orders, running, load, reader, seed, async || {
        orders.check_equal().await
    })
    .await
    .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
}

/// One of the changes that make the service load the table again, leave it out or take it back.
async fn change(orders: &Orders, round: u64) -> Result<()> {
    let sql = |sql: String| async move { orders.database.sql(&sql).await };
    let ask = async |verb: &str| {
        let mut arguments = orders.arguments(verb);
        arguments.push("roll001_orders".to_owned());
        let finished = Inlet::run(INLET, &arguments, &[]).await?;
        ensure!(finished.code == 0, "{}{}", finished.stdout, finished.stderr);
        Ok(())
    };
    let table = "ALTER TABLE ROLL001_orders";
    match round {
        1 => sql(format!("{table} ADD COLUMN level integer DEFAULT 7")).await,
        // A table that gets its name back is the same table.
        2 => {
            sql(format!("{table} RENAME TO away")).await?;
            sql("ALTER TABLE away RENAME TO roll001_orders".to_owned()).await
        }
        3 => ask("reload").await,
        5 => ask("pause").await,
        7 => ask("resume").await,
        9 => sql(format!("{table} RENAME COLUMN level TO grade")).await,
        11 => sql(format!("{table} ALTER grade TYPE bigint USING grade + 1")).await,
        13 => ask("reload").await,
        15 => sql(format!("{table} ALTER amount TYPE numeric(14,2)")).await,
        17 => ask("pause").await,
        18 => sql(format!("{table} ADD COLUMN late text DEFAULT 'y'")).await,
        19 => ask("resume").await,
        _ => Ok(()),
    }
}

async fn killed_while_altered(mut kafka: Option<Kafka>, verbs: &[&str]) {
    let seed = seed();
    let mut random = StdRng::seed_from_u64(seed);
    let mut postgres = Postgres::start().await.unwrap();
    let mut orders = Orders::new(&postgres, kafka.as_ref(), false).await.unwrap();
    orders.configure(FAST).unwrap();
    let load = Load::start(orders.database.url(), WRITERS, seed);
    let reader = Reader::start(&orders, Versions::Loaded);
    let crash = async |round: u64| {
        change(&orders, round).await?;
        match round % 7 {
            3 => crash_postgres(&mut postgres).await,
            5 => crash_kafka(kafka.as_mut()).await,
            _ => Ok(()),
        }
    };
    let running = rounds(&orders, verbs, &reader, &mut random, crash)
        .await
        .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
    let equal = async || orders.check_values(", grade, late").await;
    judge(&orders, running, load, reader, seed, equal)
        .await
        .unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
}

#[tokio::test]
async fn killed_at_any_moment_an_altered_paused_and_reloaded_table_ends_as_postgresql_has_it() {
    killed_while_altered(None, &["run"]).await;
}

#[tokio::test]
async fn killed_while_altered_it_ends_as_postgresql_has_it_through_kafka_too() {
    let kafka = Kafka::start().await.unwrap();
    killed_while_altered(Some(kafka), &["producer", "consumer"]).await;
}
