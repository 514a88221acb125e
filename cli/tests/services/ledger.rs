//! The recorded history of every key equals a ledger that the same transactions write, and the
//! latest state equals PostgreSQL's, whatever happens to servers and services in between.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use inlet_harness::{Database, Inlet, Postgres, duckdb, eventually, judge, shared_database};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::capture::capture;
use crate::orders::{INLET, PATIENCE};
use crate::tables::{Copy, WAYS};

/// Between two transactions of a writer: without it a test that runs longer would have more to
/// compare, and so would run longer still.
const PACE: Duration = Duration::from_millis(15);
const WRITERS: u64 = 3;
/// Transactions between two faults.
const BETWEEN: u64 = 60;

/// The schemas of the tables, each with its level of capture.
const LEVELS: [(&str, &str); 3] = [("plain", "none"), ("keyed", "keys"), ("audited", "audit")];

/// A table, and a ledger of every change that is written in the same transaction. With a journal
/// the cursor of some updates stays as it was.
const WITH_LEDGER: &str = "
    CREATE SCHEMA level;
    SET search_path = level;
    CREATE TABLE parents (id int PRIMARY KEY);
    INSERT INTO parents SELECT generate_series(0, 9);
    CREATE TABLE items (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE, v text,
        updated_at timestamptz NOT NULL DEFAULT now());
    CREATE INDEX ON items (updated_at);
    CREATE TABLE ledger (seq bigserial PRIMARY KEY, key int, op text, v text);
    CREATE FUNCTION note(k int, op text, v text) RETURNS void LANGUAGE sql AS
        'INSERT INTO level.ledger (key, op, v) VALUES (k, op, v)';
    CREATE FUNCTION act(what int, k int, val text) RETURNS void LANGUAGE plpgsql
        SET search_path = level AS $$
    DECLARE is_new boolean; r record;
    BEGIN
        CASE what
        WHEN 0, 1, 2 THEN
            INSERT INTO items VALUES (k, k % 10, val) ON CONFLICT (id) DO UPDATE SET v = excluded.v,
                updated_at = now() RETURNING xmax = 0 INTO is_new;
            PERFORM note(k, CASE WHEN is_new THEN 'insert' ELSE 'update' END, val);
        WHEN 3, 4 THEN
            UPDATE items SET v = val, updated_at = CASE WHEN 'level' = 'plain' OR what = 3 THEN now()
                ELSE updated_at END WHERE id = k;
            IF FOUND THEN
                PERFORM note(k, 'update', val);
                UPDATE items SET v = val || '+', updated_at = CASE WHEN 'level' = 'plain' OR what = 3
                    THEN now() ELSE updated_at END WHERE id = k;
                PERFORM note(k, 'update', val || '+');
            END IF;
        WHEN 5 THEN
            DELETE FROM items WHERE id = k;
            IF FOUND THEN PERFORM note(k, 'delete', NULL); END IF;
        WHEN 6 THEN
            UPDATE items SET id = id + 1000, v = val, updated_at = now()
            WHERE id = k AND NOT EXISTS (SELECT FROM items WHERE id = k + 1000);
            IF FOUND THEN
                PERFORM note(k, 'delete', NULL);
                PERFORM note(k + 1000, 'insert', val);
            END IF;
        WHEN 7 THEN
            FOR r IN SELECT id FROM items WHERE id > 1000 ORDER BY id FOR UPDATE LOOP
                DELETE FROM items WHERE id = r.id;
                PERFORM note(r.id, 'delete', NULL);
            END LOOP;
        WHEN 8 THEN
            -- The ledger must list what the cascade will delete.
            LOCK TABLE items IN EXCLUSIVE MODE;
            FOR r IN SELECT id FROM items WHERE parent = k % 10 ORDER BY id LOOP
                PERFORM note(r.id, 'delete', NULL);
            END LOOP;
            DELETE FROM parents WHERE id = k % 10;
            INSERT INTO parents VALUES (k % 10);
        ELSE
            TRUNCATE items;
            PERFORM note(NULL, 'truncate', NULL);
        END CASE;
    END $$;";

/// Changes of each key, with the truncations of the whole table, in their order.
type Histories = BTreeMap<String, Vec<String>>;

fn histories(rows: Vec<Vec<String>>) -> Histories {
    let keys: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    let mut histories: Histories = keys
        .into_iter()
        .filter(|key| key != "NULL")
        .map(|key| (key, Vec::new()))
        .collect();
    for row in rows {
        let change = row[1..].join(" ");
        match histories.get_mut(&row[0]) {
            Some(history) => history.push(change),
            None => histories
                .values_mut()
                .for_each(|all| all.push(change.clone())),
        }
    }
    histories
}

/// Writers that change the same few keys at the same time, each change with its entry in the
/// ledger; a server that ends is connected to again.
struct Writers {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(url: &str, seed: u64) -> Self {
        let (stop, committed) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let writer = |number| {
            let random = StdRng::seed_from_u64(seed + number);
            let write = write(url.to_owned(), random, stop.clone(), committed.clone());
            tokio::spawn(write)
        };
        let tasks = (0..WRITERS).map(writer).collect();
        Self {
            stop,
            committed,
            tasks,
        }
    }

    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.committed.load(Ordering::Relaxed)
    }
}

async fn write(url: String, mut random: StdRng, stop: Arc<AtomicBool>, committed: Arc<AtomicU64>) {
    let mut clock = interval(PACE);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        clock.tick().await;
        let Ok(mut connection) = PgConnection::connect(&url).await else {
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            clock.tick().await;
            // Writers may wait for each other in a circle; the server ends one of them.
            let sql = AssertSqlSafe(transaction(&mut random));
            if raw_sql(sql).execute(&mut connection).await.is_err() {
                break;
            }
            committed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn transaction(random: &mut StdRng) -> String {
    let (level, _) = LEVELS[random.random_range(0..LEVELS.len())];
    let mut acts = String::new();
    for _ in 0..random.random_range(1..4) {
        let what = match random.random_range(0..200) {
            0 => 9,
            of => of % 9,
        };
        let (key, value) = (random.random_range(1..40), random.random_range(0..u32::MAX));
        acts += &format!("SELECT {level}.act({what}, {key}, '{value}');");
    }
    let end = match random.random_bool(0.1) {
        true => "ROLLBACK",
        false => "COMMIT",
    };
    format!("BEGIN;{acts}{end}")
}

/// A pipeline over one table of each level, with its services and writers.
struct Ledger {
    copy: Copy,
    verbs: &'static [&'static str],
    services: Vec<Inlet>,
    writers: Writers,
    seed: u64,
}

impl Ledger {
    async fn start(database: Database, verbs: &'static [&'static str]) -> Self {
        let table =
            |(schema, level): (&str, &str)| format!("{schema}.items: {{ capture: {level} }}");
        let tables: Vec<_> = LEVELS.map(table).into();
        let tables = format!("tables: {{ {} }}\n", tables.join(", "));
        let copy = Copy::of(database, verbs, &tables).await;
        // PostgreSQL counts no delete where a key changes, and forgets its counts in a crash.
        let config = fs::read_to_string(&copy.config).unwrap();
        let config = config.replace("streaming: {", "streaming: { census_interval: 3s,");
        fs::write(&copy.config, config).unwrap();
        for (schema, _) in LEVELS {
            let sql = WITH_LEDGER.replace("level", schema);
            copy.database.sql(&sql).await.unwrap();
        }
        capture(&copy, &["install", "--yes"]).await;
        let seed: u64 = rand::rng().random_range(0..1_000_000);
        println!("seed {seed}");
        Self {
            services: copy.start(verbs),
            writers: Writers::start(copy.database.url(), seed),
            verbs,
            seed,
            copy,
        }
    }

    /// Waits until the writers have committed some more transactions.
    async fn go_on(&mut self) {
        let until = self.writers.committed.load(Ordering::Relaxed) + BETWEEN;
        eventually(PATIENCE, "the writers go on", async || {
            self.supervise()?;
            anyhow::Ok(self.writers.committed.load(Ordering::Relaxed) >= until)
        })
        .await;
    }

    fn restart_service(&mut self, at: usize) {
        self.services[at].kill_9().unwrap();
        self.services[at] = self.copy.start(&self.verbs[at..=at]).remove(0);
    }

    /// From now on everything is at another server.
    fn move_to(&mut self, from: &Postgres, to: &Postgres) {
        let config = fs::read_to_string(&self.copy.config).unwrap();
        let port = |server: &Postgres| format!(":{}/", server.port());
        let config = config.replace(&port(from), &port(to));
        fs::write(&self.copy.config, config).unwrap();
        self.copy.database = to.named(self.copy.database.name());
        for at in 0..self.verbs.len() {
            self.restart_service(at);
        }
    }

    /// Starts each service again that has ended, as a supervisor does.
    fn supervise(&mut self) -> Result<()> {
        for at in 0..self.verbs.len() {
            if !self.services[at].is_running()? {
                let log = self.services[at].stderr()?;
                // A start waits for a server for a while, and ends when that is down for longer.
                ensure!(log.contains("was not reached"), "it ended by itself: {log}");
                self.restart_service(at);
            }
        }
        Ok(())
    }

    /// After the last change: the latest state of each table is PostgreSQL's, and the history of
    /// each key the ledger's.
    async fn judge(&mut self) {
        eventually(PATIENCE, "the latest state is PostgreSQL's", async || {
            self.supervise()?;
            let finished = self.copy.run("verify").await;
            let said = finished.stdout + &finished.stderr;
            ensure!(matches!(finished.code, 0 | 1 | 3), "{said}");
            Ok(finished.code == 0)
        })
        .await;
        let copy = &self.copy;
        for (schema, level) in LEVELS {
            judge::equal(
                INLET,
                &copy.config,
                &copy.database,
                &format!("{schema}.items"),
            )
            .await;
            if level == "none" {
                continue;
            }
            let ledger = format!("SELECT key::text, op, v FROM {schema}.ledger ORDER BY seq");
            let ledger = histories(copy.database.rows(&ledger).await.unwrap());
            assert!(
                ledger.len() > 20,
                "too little happened: {} keys",
                ledger.len()
            );
            // `keys` has no values: the ledger's are left out.
            let kept = match level {
                "audit" => 2,
                _ => 1,
            };
            let count = |all: &Histories| all.values().map(Vec::len).sum::<usize>();
            let found = eventually(PATIENCE, "every change is in the lake", async || {
                let found = self.recorded(schema).await?;
                anyhow::Ok((count(&found) >= count(&ledger)).then_some(found))
            })
            .await;
            for (key, history) in &ledger {
                let words = |change: &String| {
                    let words: Vec<_> = change.splitn(2, ' ').take(kept).collect();
                    words.join(" ")
                };
                let (found, history): (Vec<_>, Vec<_>) = (
                    found[key].iter().map(words).collect(),
                    history.iter().map(words).collect(),
                );
                assert_eq!(found, history, "key {key} of {schema}, seed {}", self.seed);
            }
            let journal = format!("SELECT count(*) FROM inlet.{schema}__items_changes");
            eventually(PATIENCE, "the journal is trimmed", async || {
                Ok(copy.database.rows(&journal).await?[0][0] == "0")
            })
            .await;
        }
    }

    /// The histories in the lake. After a promotion changes are published another time.
    async fn recorded(&self, schema: &str) -> Result<Histories> {
        let name = format!("inlet.{schema}__items_changes");
        let sql = format!(
            "SELECT key, op, v FROM (SELECT DISTINCT change_id, coalesce(key->>'$.id', 'NULL') AS \
             key, op, coalesce(after->>'$.v', 'NULL') AS v FROM {}) ORDER BY change_id",
            self.copy.files(&name)
        );
        let folder = self.copy.folder.join("lake").join(&name);
        Ok(histories(duckdb::read(&folder, &sql).await?))
    }

    /// Changes that are in the lake more than once.
    async fn duplicates(&mut self) -> u64 {
        let mut duplicates = 0;
        for (schema, _) in LEVELS.into_iter().filter(|(_, level)| *level != "none") {
            let name = format!("inlet.{schema}__items_changes");
            let glob = self
                .copy
                .folder
                .join("lake")
                .join(&name)
                .join("**/*.parquet");
            eventually(PATIENCE, "changes are in the lake", async || {
                self.supervise()?;
                Ok(duckdb::count_glob(glob.display()).await? > 0)
            })
            .await;
            let sql = format!(
                "SELECT count(*) - count(DISTINCT change_id) FROM {}",
                self.copy.files(&name)
            );
            let folder = self.copy.folder.join("lake").join(&name);
            let found = duckdb::read(&folder, &sql).await.unwrap();
            duplicates += found[0][0].parse::<u64>().unwrap();
        }
        duplicates
    }
}

/// Kills of the services alone, on a server that others use too.
async fn through_kills(verbs: &'static [&'static str]) {
    let mut ledger = Ledger::start(shared_database().await, verbs).await;
    for round in 0..4 {
        ledger.go_on().await;
        ledger.restart_service(round % verbs.len());
    }
    ledger.go_on().await;
    finish(&mut ledger).await;
    assert_eq!(ledger.duplicates().await, 0);
    // The lake has everything, so the removal needs no `--discard`.
    capture(&ledger.copy, &["remove", "--yes"]).await;
}

/// Crashes of PostgreSQL with kills of the services in between, and at last a standby that is
/// promoted.
async fn through_faults(verbs: &'static [&'static str]) {
    // A standby connects again at once, and the writers wait for it.
    let settings = [
        ("wal_retrieve_retry_interval", "100ms"),
        ("wal_keep_size", "256MB"),
    ];
    let mut primary = Postgres::start_with(&settings).await.unwrap();
    let standby = primary.standby().await.unwrap();
    // A commit becomes visible once the standby has it, so that a promotion loses none.
    primary
        .sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        .await
        .unwrap();
    primary.sql("SELECT pg_reload_conf()").await.unwrap();
    let mut ledger = Ledger::start(primary.database().await.unwrap(), verbs).await;
    for fault in 0..5 {
        ledger.go_on().await;
        match fault {
            0 => primary.kill_9().unwrap(),
            2 => primary.stop_immediately().await.unwrap(),
            4 => {}
            other => {
                ledger.restart_service(other % verbs.len());
                continue;
            }
        }
        primary.restart().await.unwrap();
    }
    ledger.go_on().await;
    assert_eq!(ledger.duplicates().await, 0);
    primary.kill_9().unwrap();
    standby.promote().await.unwrap();
    ledger.move_to(&primary, &standby);
    let url = ledger.copy.database.url().to_owned();
    let writers = Writers::start(&url, ledger.seed + WRITERS);
    std::mem::replace(&mut ledger.writers, writers).stop().await;
    ledger.go_on().await;
    finish(&mut ledger).await;
}

async fn finish(ledger: &mut Ledger) {
    let none = Writers {
        stop: Arc::default(),
        committed: Arc::default(),
        tasks: Vec::new(),
    };
    let committed = std::mem::replace(&mut ledger.writers, none).stop().await;
    println!("{committed} transactions since the last start of the writers");
    ledger.judge().await;
}

#[tokio::test]
async fn the_history_of_every_key_is_the_ledgers_through_kills_and_leaves_postgresql() {
    for verbs in WAYS {
        through_kills(verbs).await;
    }
}

#[tokio::test]
async fn histories_and_latest_states_hold_through_crashes_and_a_promotion_of_postgresql() {
    through_faults(WAYS[0]).await;
}

#[tokio::test]
async fn they_hold_through_crashes_and_a_promotion_of_postgresql_with_a_broker_too() {
    through_faults(WAYS[1]).await;
}
