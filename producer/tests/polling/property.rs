//! Random interleavings: whatever the writers do, whenever the poller dies, and whenever the table
//! is loaded again, every row comes, in its final version, each version once and once more for each
//! load, and never after a later one.
//!
//! One thread interleaves writers and poller step by step, so a seed is the same run again but for
//! the clock. `INLET_POLL_SEED=7` runs that seed alone. Some runs are shown to
//! [`naive`](super::naive) pollers: a run in which they lost nothing would prove nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::join_all;
use inlet_harness::{Database, Postgres};
use inlet_service::error::{Explain, Kind, report};
use inlet_sink_contract::memory::Fault;
use tokio::time::Instant;

use super::naive::Naive;
use super::script::{Emitted, NEVER, Poller, Session, Settings, record, settings};
use super::writer::{Dice, TABLE, Writer};

/// Seeds of a run, in lanes that run beside each other: most of their time is spent in waiting for
/// the clock to move.
const SEEDS: u64 = 64;
const LANES: u64 = 16;
const WRITERS: u64 = 4;
const STEPS: u64 = 220;
/// Every seed whose number is a multiple of this is also run with naive pollers.
const NAIVE_EVERY: u64 = 4;
/// Every seed with this remainder has a journal: then a cycle finds every row, also one whose stamp
/// hides it from all scans but a sweep.
const RECORDED: u64 = 1;
const STRESS: Duration = Duration::from_secs(10);

/// Rows that a naive poller has lost, by its name.
type Losses = BTreeMap<&'static str, usize>;

async fn server() -> Postgres {
    let settings = [
        ("max_connections", "200"),
        ("max_prepared_transactions", "200"),
        ("wal_writer_delay", "10ms"),
    ];
    Postgres::start_with(&settings).await.unwrap()
}

/// The settings of a seed.
async fn settings_of(database: &Database, seed: u64) -> Settings {
    if !is_recorded(seed) {
        return settings(database, &["t"]).await;
    }
    let settings = settings(database, &["t: { capture: keys }"]).await;
    record(database, &settings).await;
    settings
}

fn is_recorded(seed: u64) -> bool {
    seed % NAIVE_EVERY == RECORDED
}

/// A poller with the intervals of a seed.
async fn poller(mut settings: Settings, dice: &mut Dice) -> Poller {
    settings.poll.depths.wide_interval = dice.one(&[NEVER, NEVER, Duration::from_millis(300)]);
    settings.poll.depths.sweep_interval = dice.one(&[NEVER, NEVER, Duration::from_millis(900)]);
    settings.poll.chunk_rows = 3;
    settings.poll.load_connections = dice.one(&[1, 2, 3]);
    settings.poll.whole_blocks_max = dice.one(&[0, 0, u32::MAX]);
    Poller::new(settings).await
}

/// A poller, and how many versions were published when each other load started.
struct Run {
    poller: Poller,
    loads: Vec<usize>,
}

/// A cycle, or a death and what follows; the sink fails as the dice say.
async fn poll(run: &mut Run, dice: &mut Dice) {
    let poller = &mut run.poller;
    match dice.below(100) {
        0..6 => poller.revive().await,
        16..22 => {
            run.loads.push(poller.published().len());
            if let Err(error) = poller.reload().await {
                assert_eq!(error.kind(), Kind::Unavailable, "{}", report(&error));
                poller.revive().await;
            }
        }
        6..12 => poller
            .store
            .fail(dice.below(4), dice.one(&[Fault::Undone, Fault::Done])),
        12..16 => poller.sweep_next(),
        _ => {}
    }
    if let Err(error) = poller.attempt().await {
        assert_eq!(error.kind(), Kind::Unavailable, "{}", report(&error));
        poller.revive().await;
    }
}

/// One seed: steps in the order of its dice; brings what naive pollers lost.
async fn run(database: &Database, lane: u64, seed: u64) -> Losses {
    let mut dice = Dice(seed);
    database.sql(TABLE).await.unwrap();
    let settings = settings_of(database, seed).await;
    database
        .sql(&format!(
            "INSERT INTO t (updated_at) SELECT now() FROM generate_series(1, {})",
            dice.below(12)
        ))
        .await
        .unwrap();
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        writers.push(Writer::new(database, format!("{lane}-{number}"), dice.below(u64::MAX)).await);
    }
    // The load begins among open and prepared transactions.
    for _ in 0..dice.below(20) {
        writers[dice.below(WRITERS) as usize].step().await;
    }
    let mut naive = if seed.is_multiple_of(NAIVE_EVERY) {
        Naive::all()
    } else {
        Vec::new()
    };
    let mut other = Session::of(database).await;
    let mut run = Run {
        poller: poller(settings, &mut dice).await,
        loads: Vec::new(),
    };
    for _ in 0..STEPS {
        match dice.below(100) {
            0..60 => writers[dice.below(WRITERS) as usize].step().await,
            60..92 => {
                poll(&mut run, &mut dice).await;
                for naive in &mut naive {
                    naive.poll(&mut other).await;
                }
            }
            92..98 => {
                other
                    .run(&format!(
                        "SELECT pg_sleep({})",
                        dice.one(&["0.1", "0.3", "0.9"])
                    ))
                    .await
            }
            98 => freeze(&mut other).await,
            _ => other.run("ANALYZE t").await,
        }
    }
    for writer in writers {
        writer.finish().await;
    }
    for naive in &mut naive {
        naive.poll(&mut other).await;
    }
    judge(database, &mut run, seed).await;
    let honest = versions(database, "honest").await;
    naive
        .iter()
        .map(|naive| (naive.name, honest.difference(&naive.found).count()))
        .collect()
}

/// Freezes rows. PostgreSQL 18 sometimes takes a row lock of a prepared transaction for damage, and
/// refuses; then nothing is frozen.
async fn freeze(session: &mut Session) {
    match session.attempt("VACUUM (FREEZE) t").await {
        Err(error) if !error.to_string().contains("found to be still running") => panic!("{error}"),
        _ => {}
    }
}

/// When all writers are done: a cycle has found the honest rows, or all that a journal names, and a
/// sweep all rows; every version is
/// emitted once between two loads, and never after a later one of its key.
async fn judge(database: &Database, run: &mut Run, seed: u64) {
    let Run { poller, loads } = run;
    poller.outlast_faults().await;
    poller.settle().await;
    let found_by_cycle = if is_recorded(seed) { "true" } else { "honest" };
    let lost = missing(poller, &versions(database, found_by_cycle).await);
    assert!(
        lost.is_empty(),
        "seed {seed}: a cycle has not found {lost:?}"
    );
    poller.restart().await;
    poller.sweep().await;
    let table = versions(database, "true").await;
    let lost = missing(poller, &table);
    assert!(
        lost.is_empty(),
        "seed {seed}: a sweep has not found {lost:?}"
    );
    let mut last: BTreeMap<i64, (Emitted, usize)> = BTreeMap::new();
    for (at, emitted) in poller.published().iter().enumerate() {
        let load = loads.partition_point(|start| *start <= at);
        if let Some((before, before_load)) = last.insert(emitted.id, (*emitted, load)) {
            let again = before.ver == emitted.ver && before_load < load;
            assert!(
                before.ver < emitted.ver || again,
                "seed {seed}: {emitted:?} came after {before:?}"
            );
        }
    }
    let phantoms: Vec<_> = last
        .values()
        .map(|(emitted, _)| emitted)
        .filter(|emitted| !table.contains(&(emitted.id, emitted.ver)))
        .collect();
    assert!(
        phantoms.is_empty(),
        "seed {seed}: {phantoms:?} came and are not in the table"
    );
}

fn missing(poller: &mut Poller, versions: &BTreeSet<(i64, i32)>) -> Vec<(i64, i32)> {
    let published: BTreeSet<(i64, i32)> = poller
        .published()
        .iter()
        .map(|emitted| (emitted.id, emitted.ver))
        .collect();
    versions.difference(&published).copied().collect()
}

async fn versions(database: &Database, which: &str) -> BTreeSet<(i64, i32)> {
    let rows = database
        .rows(&format!("SELECT id, ver FROM t WHERE {which}"))
        .await
        .unwrap();
    rows.iter()
        .map(|row| (row[0].parse().unwrap(), row[1].parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn no_interleaving_loses_or_duplicates_a_row_and_naive_polls_lose_some() {
    let only: Option<u64> = std::env::var("INLET_POLL_SEED")
        .ok()
        .map(|seed| seed.parse().unwrap());
    let server = server().await;
    let lane = async |lane: u64| {
        let database = server.database().await.unwrap();
        let mut losses = Losses::new();
        for seed in (lane..SEEDS)
            .step_by(LANES as usize)
            .filter(|seed| only.is_none_or(|only| only == *seed))
        {
            for (name, lost) in run(&database, lane, seed).await {
                *losses.entry(name).or_default() += lost;
            }
        }
        losses
    };
    let mut losses = Losses::new();
    for (name, lost) in join_all((0..LANES).map(lane)).await.into_iter().flatten() {
        *losses.entry(name).or_default() += lost;
    }
    println!("honest rows that naive polls have lost: {losses:?}");
    if only.is_none() {
        assert!(losses.values().all(|lost| *lost > 0), "{losses:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_every_row_arrives_once() {
    let server = server().await;
    let database = server.database().await.unwrap();
    database.sql(TABLE).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for number in 0..8 {
        let mut writer = Writer::new(&database, format!("load-{number}"), number).await;
        let stop = Arc::clone(&stop);
        writers.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                writer.step().await;
                writer.answered().await;
            }
            writer.finish().await;
        }));
    }
    let mut dice = Dice(8);
    let mut run = Run {
        poller: poller(settings_of(&database, 8).await, &mut dice).await,
        loads: Vec::new(),
    };
    let end = Instant::now() + STRESS;
    let mut polls = 0;
    while Instant::now() < end {
        poll(&mut run, &mut dice).await;
        polls += 1;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let versions = run.poller.published().len();
    println!(
        "{polls} polls, {} loads, {versions} versions",
        run.loads.len()
    );
    judge(&database, &mut run, 8).await;
}
