//! Random interleavings of writers that delete and insert the same few keys, of polls, and of the
//! chunks of the census: a delete is published only for a row that does not exist, and in the end
//! the published state is the table, or those of its rows that the configuration chooses: a row
//! that leaves these counts as deleted.
//!
//! One thread interleaves them step by step, so a seed is the same run again. `INLET_CENSUS_SEED=7`
//! runs that seed alone. Beside it goes a census that compares with an older reading of the table
//! than the last poll's: it has to call rows deleted that exist.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use futures::future::join_all;
use inlet_harness::{Database, Postgres};
use inlet_service::config::Membership;
use inlet_service::error::{Explain, Kind, report};
use inlet_sink_contract::memory::Fault;

use super::deletes::{changes, existing, of_batch};
use super::script::{Poller, Session, settings};
use super::writer::Dice;

const SEEDS: u64 = 32;
const LANES: u64 = 16;
const WRITERS: u64 = 4;
const STEPS: u64 = 160;
/// Few keys, so that they come back often, in several chunks.
const KEYS: u64 = 14;

const SETUP: &str = "\
DROP TABLE IF EXISTS t;
CREATE TABLE t (pad bigint NOT NULL DEFAULT 0, ver serial, id KTYPE PRIMARY KEY, updated_at \
    timestamptz DEFAULT now());
CREATE INDEX ON t (updated_at)";

/// A session that never waits for a lock of another one.
struct Changer {
    session: Session,
    /// The type of the key.
    key: &'static str,
    is_open: bool,
    dice: Dice,
}

impl Changer {
    async fn new(database: &Database, key: &'static str, seed: u64) -> Self {
        let mut session = Session::of(database).await;
        session.run("SET lock_timeout = '1ms'").await;
        Self {
            session,
            key,
            is_open: false,
            dice: Dice(seed),
        }
    }

    async fn step(&mut self) {
        let (id, other) = (self.dice.below(KEYS), self.dice.below(KEYS));
        let at = self.dice.one(&[
            "now()",
            "now()",
            "now()",
            "now() - interval '1 day'",
            "NULL",
        ]);
        let sql = match self.dice.below(100) {
            0..15 if !self.is_open => "BEGIN".to_owned(),
            0..30 if self.is_open => self.dice.one(&["COMMIT", "COMMIT", "ROLLBACK"]).to_owned(),
            30..55 => format!("DELETE FROM t WHERE id = {id}::KTYPE"),
            55..65 => format!(
                "UPDATE t SET ver = nextval('t_ver_seq'), updated_at = {at} WHERE id = \
                 {id}::KTYPE"
            ),
            65..72 => format!(
                "UPDATE t SET id = {other}::KTYPE, ver = nextval('t_ver_seq'), updated_at = \
                 now() WHERE id = {id}::KTYPE AND NOT EXISTS (SELECT FROM t WHERE id = \
                 {other}::KTYPE)"
            ),
            72..76 if self.is_open => "SAVEPOINT s".to_owned(),
            // A row goes and comes in one statement of a transaction of its own.
            76..82 if !self.is_open => format!(
                "BEGIN; DELETE FROM t WHERE id = {id}::KTYPE; INSERT INTO t (id, updated_at) \
                 VALUES ({id}::KTYPE, {at}); COMMIT"
            ),
            _ => format!(
                "INSERT INTO t (id, updated_at) VALUES ({id}::KTYPE, {at}) ON CONFLICT DO \
                 NOTHING"
            ),
        };
        let sql = sql.replace("KTYPE", self.key);
        match self.session.attempt(&sql).await {
            Ok(()) if sql == "BEGIN" => self.is_open = true,
            Ok(()) if sql == "COMMIT" || sql == "ROLLBACK" => self.is_open = false,
            Ok(()) => {}
            // Another session holds the row.
            Err(_) => self.end("ROLLBACK").await,
        }
    }

    async fn end(&mut self, sql: &str) {
        self.session.run(sql).await;
        self.is_open = false;
    }
}

/// A census that reads the keys of the table, and compares them after the next polls.
#[derive(Default)]
struct Careless {
    keys: Option<BTreeSet<String>>,
    /// Rows that it called deleted and that existed.
    wrong: usize,
}

impl Careless {
    async fn step(&mut self, poller: &Poller, session: &mut Session, exist: &str) {
        let now = keys(session, exist).await;
        if let Some(keys) = self.keys.replace(now.clone()) {
            let published = existing(&poller.store);
            let published = published.get("t").into_iter().flatten();
            let called = published.filter(|key| !keys.contains(*key));
            self.wrong += called.filter(|key| now.contains(*key)).count();
        }
    }
}

/// What a configuration states about rows, and the rows that exist by it.
fn membership(seed: u64) -> (Membership, &'static str) {
    let text = |sql: &str| Some(sql.to_owned());
    let (only, deleted_when) = match seed % 4 {
        0 | 1 => return (Membership::default(), "true"),
        2 => (text("t.ver % 3 <> 0 -- two of three"), None),
        _ => (text("id::text <> '3'"), text("ver % 2 = 0")),
    };
    let exist = match seed % 4 {
        2 => "ver % 3 <> 0",
        _ => "id::text <> '3' AND ver % 2 <> 0",
    };
    let membership = Membership { only, deleted_when };
    (membership, exist)
}

/// The keys of the rows that exist for readers, as the records have them, each with its version.
async fn versions(session: &mut Session, exist: &str) -> BTreeMap<String, i32> {
    let sql = format!(
        "SELECT coalesce(array_agg(json_build_object('id', id)::text || '|' || ver), '{{}}') FROM \
         t WHERE {exist}"
    );
    let rows: Vec<String> = session.value(&sql).await;
    let row = |row: &String| {
        let (key, version) = row.split_once('|').unwrap();
        (key.replace(" : ", ":"), version.parse().unwrap())
    };
    rows.iter().map(row).collect()
}

/// The same as published.
fn published(poller: &Poller) -> BTreeMap<String, i32> {
    let mut latest = BTreeMap::new();
    for batch in poller.store.batches() {
        let versions = batch.rows.column_by_name("ver").unwrap();
        let versions = versions.as_primitive::<Int32Type>().clone();
        for (row, (_, key, deleted)) in of_batch(&batch).into_iter().enumerate() {
            if deleted {
                latest.remove(&key);
            } else {
                latest.insert(key, versions.value(row));
            }
        }
    }
    latest
}

async fn keys(session: &mut Session, exist: &str) -> BTreeSet<String> {
    versions(session, exist).await.into_keys().collect()
}

async fn poll(poller: &mut Poller, dice: &mut Dice) {
    match dice.below(100) {
        0..6 => poller.revive().await,
        6..12 => poller
            .store
            .fail(dice.below(4), dice.one(&[Fault::Undone, Fault::Done])),
        12..17 => poller.sweep_next(),
        17..20 => {
            if let Err(error) = poller.reload().await {
                assert_eq!(error.kind(), Kind::Unavailable, "{}", report(&error));
                poller.revive().await;
            }
        }
        20..45 => poller.compare_next(),
        _ => {}
    }
    let outcome = match dice.below(3) {
        0 => poller.attempt().await.map(drop),
        _ => poller.compare_chunk().await,
    };
    if let Err(error) = outcome {
        assert_eq!(error.kind(), Kind::Unavailable, "{}", report(&error));
        poller.revive().await;
    }
}

/// One seed; brings how often the careless census was wrong, and the deletes that ours found.
async fn run(database: &Database, seed: u64) -> (usize, usize) {
    let mut dice = Dice(seed);
    let key = dice.one(&["bigint", "text"]);
    database.sql(&SETUP.replace("KTYPE", key)).await.unwrap();
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(Changer::new(database, key, dice.below(u64::MAX)).await);
    }
    let mut other = Session::of(database).await;
    let mut settings = settings(database, &["t"]).await;
    settings.poll.chunk_rows = 3;
    let (membership, exist) = membership(seed);
    settings.config.tables[0].membership = membership;
    let mut poller = Poller::new(settings).await;
    let (mut careless, mut seen, mut found) = (Careless::default(), 0, 0);
    for _ in 0..STEPS {
        if dice.below(10) < 7 {
            let writer = dice.below(WRITERS) as usize;
            writers[writer].step().await;
            continue;
        }
        poll(&mut poller, &mut dice).await;
        let existing = keys(&mut other, exist).await;
        let changes = changes(&poller.store);
        for (_, key, deleted) in &changes[seen..] {
            // No writer has taken a step since the snapshot in which the row was missing.
            assert!(
                !deleted || !existing.contains(key),
                "seed {seed}: {key} exists"
            );
            found += usize::from(*deleted);
        }
        seen = changes.len();
        if dice.below(3) == 0 {
            careless.step(&poller, &mut other, exist).await;
        }
    }
    for writer in &mut writers {
        if writer.is_open {
            writer.end("COMMIT").await;
        }
    }
    poller.outlast_faults().await;
    poller.sweep().await;
    poller.compare().await;
    let expected = versions(&mut other, exist).await;
    assert_eq!(published(&poller), expected, "seed {seed}");
    (careless.wrong, found)
}

#[tokio::test]
async fn no_interleaving_calls_a_row_deleted_that_exists_and_a_careless_census_does() {
    let only: Option<u64> = std::env::var("INLET_CENSUS_SEED")
        .ok()
        .map(|seed| seed.parse().unwrap());
    let server = Postgres::start_with(&[("max_connections", "200")])
        .await
        .unwrap();
    let lane = async |lane: u64| {
        let database = server.database().await.unwrap();
        let mut sum = (0, 0);
        let seeds = (lane..SEEDS).step_by(LANES as usize);
        for seed in seeds.filter(|seed| only.is_none_or(|only| only == *seed)) {
            let (wrong, found) = run(&database, seed).await;
            sum = (sum.0 + wrong, sum.1 + found);
        }
        sum
    };
    let sums = join_all((0..LANES).map(lane)).await;
    let wrong: usize = sums.iter().map(|(wrong, _)| wrong).sum();
    let found: usize = sums.iter().map(|(_, found)| found).sum();
    println!("{found} deletes; a careless census called {wrong} rows deleted that existed");
    if only.is_none() {
        assert!(found > 100 && wrong > 100, "{found} {wrong}");
    }
}
