//! A session that does at random whatever a writer may do, one message at a time.
//!
//! It never waits for a lock (rows that others hold are skipped), so that one thread can interleave
//! many writers step by step. A row records whether its stamp is `honest`: not older than
//! its transaction. Honest rows must come without a sweep.

use inlet_harness::Database;
use tokio::task::JoinHandle;

use super::script::Session;

/// The table that writers fill.
pub const TABLE: &str = "\
DROP TABLE IF EXISTS t;
DROP SCHEMA IF EXISTS inlet CASCADE;
CREATE TABLE t (id bigserial PRIMARY KEY, ver integer NOT NULL DEFAULT 0, updated_at timestamptz \
    DEFAULT now(), honest boolean NOT NULL DEFAULT true);
CREATE INDEX ON t (updated_at);
CREATE OR REPLACE PROCEDURE commits(rows integer) LANGUAGE plpgsql AS $$
BEGIN FOR i IN 1..rows LOOP INSERT INTO t DEFAULT VALUES; COMMIT; PERFORM pg_sleep(.02); END LOOP; \
    END $$";

/// A reproducible choice: SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// What the session's transaction is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Open,
    Aborted,
}

pub struct Writer {
    name: String,
    session: Option<Session>,
    running: Option<JoinHandle<Session>>,
    state: State,
    savepoints: u32,
    prepared: Vec<String>,
    serial: u32,
    dice: Dice,
}

impl Writer {
    /// A writer of a database; `name` is its own in the cluster.
    pub async fn new(database: &Database, name: String, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut session = Session::of(database).await;
        session
            .run(&format!(
                "SET synchronous_commit = {}",
                dice.one(&["on", "off"])
            ))
            .await;
        let (state, savepoints, prepared, serial) = (State::Idle, 0, Vec::new(), 0);
        Self {
            name,
            session: Some(session),
            running: None,
            state,
            savepoints,
            prepared,
            serial,
            dice,
        }
    }

    /// Sends the next message; a message that takes time runs on beside the steps that follow,
    /// which then do nothing.
    pub async fn step(&mut self) {
        if self
            .running
            .as_ref()
            .is_some_and(|running| !running.is_finished())
        {
            return;
        }
        self.answered().await;
        match self.state {
            State::Idle => self.begin().await,
            State::Open => self.go_on().await,
            State::Aborted => self.end("ROLLBACK").await,
        }
    }

    /// Waits until the last message has been carried out.
    pub async fn answered(&mut self) {
        if let Some(running) = self.running.take() {
            self.session = Some(running.await.unwrap());
        }
    }

    /// Ends whatever is open, one way or the other, and the session.
    pub async fn finish(mut self) {
        self.answered().await;
        if self.state != State::Idle {
            let last = self.dice.one(&["COMMIT", "ROLLBACK"]);
            self.end(last).await;
        }
        while !self.prepared.is_empty() {
            self.decide_prepared().await;
        }
        self.session.take().unwrap().end().await;
    }

    async fn run(&mut self, message: &str) {
        self.session.as_mut().unwrap().run(message).await;
    }

    async fn begin(&mut self) {
        match self.dice.below(100) {
            0..30 => {
                let message = self.statement();
                self.run(&message).await;
            }
            30..50 => self.open("BEGIN").await,
            50..58 => self.open("BEGIN; SELECT 1").await,
            58..70 => {
                let message = format!("BEGIN; {}", self.statement());
                self.open(&message).await;
            }
            70..76 => self.send("CALL commits(6)"),
            76..84 => self.send_several(),
            84..100 if self.prepared.is_empty() => self.open("BEGIN").await,
            _ => self.decide_prepared().await,
        }
    }

    async fn go_on(&mut self) {
        match self.dice.below(100) {
            0..30 => {
                let message = self.statement();
                self.run(&message).await;
            }
            30..38 => self.run("SELECT count(*) FROM t").await,
            38..48 => {
                self.savepoints += 1;
                let statement = self.statement();
                let message = format!("SAVEPOINT s{}; {statement}", self.savepoints);
                self.run(&message).await;
            }
            48..58 if self.savepoints > 0 => {
                let message = format!(
                    "{} s{}",
                    self.dice.one(&["RELEASE", "ROLLBACK TO"]),
                    self.savepoints
                );
                self.savepoints -= 1;
                self.run(&message).await;
            }
            58..62 => {
                let message = format!(
                    "DO $$ BEGIN {}; EXCEPTION WHEN others THEN NULL; END $$",
                    self.statement()
                );
                self.run(&message).await;
            }
            62..65 => {
                self.session
                    .as_mut()
                    .unwrap()
                    .attempt("SELECT 1 / 0")
                    .await
                    .unwrap_err();
                self.state = State::Aborted;
            }
            65..72 if self.prepared.len() < 2 => {
                self.serial += 1;
                let gid = format!("{}-{}", self.name, self.serial);
                self.end(&format!("PREPARE TRANSACTION '{gid}'")).await;
                self.prepared.push(gid);
            }
            72..80 => self.end("ROLLBACK").await,
            80..85 => {
                let message = format!("{}; COMMIT", self.statement());
                self.end(&message).await;
            }
            85..90 => {
                // The next transaction begins in the message that ends the last one.
                let message = format!("COMMIT; BEGIN; {}", self.statement());
                self.end(&message).await;
                self.state = State::Open;
            }
            _ => self.end("COMMIT").await,
        }
    }

    async fn open(&mut self, message: &str) {
        self.run(message).await;
        self.state = State::Open;
    }

    async fn end(&mut self, message: &str) {
        self.run(message).await;
        self.state = State::Idle;
        self.savepoints = 0;
    }

    async fn decide_prepared(&mut self) {
        let at = self.dice.below(self.prepared.len() as u64) as usize;
        let gid = self.prepared.swap_remove(at);
        // Two out of three are kept.
        let decision = self.dice.one(&["COMMIT", "COMMIT", "ROLLBACK"]);
        self.run(&format!("{decision} PREPARED '{gid}'")).await;
    }

    fn send(&mut self, message: impl Into<String>) {
        let (mut session, message) = (self.session.take().unwrap(), message.into());
        self.running = Some(tokio::spawn(async move {
            session.run(&message).await;
            session
        }));
    }

    /// Several transactions in one message share its start as their `now()`.
    fn send_several(&mut self) {
        let mut message = String::new();
        for _ in 0..2 + self.dice.below(2) {
            let sleep = f64::from(u32::try_from(self.dice.below(1200)).unwrap()) / 1000.0;
            let end = self.dice.one(&["COMMIT", "COMMIT", "ROLLBACK"]);
            message += &format!(
                "BEGIN; {}; SELECT pg_sleep({sleep}); {}; {end}; ",
                self.statement(),
                self.statement()
            );
        }
        self.send(message);
    }

    /// An insert or an update with some stamp.
    fn statement(&mut self) -> String {
        const HONEST: [&str; 7] = [
            "now()",
            "now()",
            "now()",
            "clock_timestamp()",
            "statement_timestamp()",
            "now() + interval '1 hour'",
            "'infinity'",
        ];
        const OTHER: [&str; 5] = [
            "NULL",
            "now() - interval '10 seconds'",
            "now() - interval '4 minutes'",
            "now() - interval '1 day'",
            "'-infinity'",
        ];
        let honest = self.dice.below(8) > 0;
        let stamp = if honest {
            self.dice.one(&HONEST)
        } else {
            self.dice.one(&OTHER)
        };
        match self.dice.below(10) {
            0..6 => {
                let rows = 1 + self.dice.below(3);
                format!(
                    "INSERT INTO t (updated_at, honest) SELECT {stamp}, {honest} FROM \
                        generate_series(1, {rows})"
                )
            }
            way => {
                let stamp = if way == 9 { "updated_at" } else { stamp };
                let from = self.dice.below(60);
                format!(
                    "UPDATE t SET ver = ver + 1, updated_at = {stamp}, honest = {}
                     WHERE id = (SELECT id FROM t WHERE id >= {from} ORDER BY id LIMIT 1 FOR \
                        UPDATE SKIP LOCKED)",
                    honest && way != 9
                )
            }
        }
    }
}
