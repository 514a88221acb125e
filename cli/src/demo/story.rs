//! The steps of the demo, one function each, in the order in which they run.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use inlet_harness::{Database, Inlet, Kafka, duckdb};
use tokio::time::{Instant, sleep};

use super::DemoMode;
use super::answers::{ask, one};
use super::hops::{Counts, Hops, Topic};
use super::scenario::{self, Scenario, keeps_the_rules};
use super::screen::Screen;
use super::servers::Servers;

/// The pause between two counts.
const STEP: Duration = Duration::from_millis(20);
/// How long rows may take to the lake on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a service may take to exit.
const LEAVE_MAX: Duration = Duration::from_secs(20);
/// The end of a service's log that is shown when it fails.
const LOG_LINES: usize = 15;
const COLUMNS: &str =
    "order_id, customer_name, restaurant_name, item, amount, order_status, created_at";

const LUNCH: &str =
    "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) VALUES
  ('Noor Haddad', 'Green Bowl', 'Falafel Wrap', 155.00, 'PLACED'),
  ('Jonas Weber', 'Café Zürich', 'Zürcher Geschnetzeltes', 410.50, 'PLACED'),
  ('Asha Menon', 'Banana Leaf', 'Idli (6)', 84.00, 'PLACED'),
  ('Kofi Mensah', 'Biryani Corner', 'Mutton Biryani', 345.00, 'PREPARING'),
  ('Ana Lima', 'Trattoria Uno', 'Gnocchi', 298.99, 'PLACED')";
const DINNER: &str =
    "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) VALUES
  ('Rohan Gupta', 'Tandoor House', 'Dal Makhani', 210.00, 'PLACED'),
  ('Yuki Sato', 'Green Bowl', 'Soba Salad', 189.00, 'PLACED'),
  ('Lena Vogt', 'Trattoria Uno', 'Margherita', 220.00, 'PLACED'),
  ('Imran Sheikh', 'Biryani Corner', 'Kheer', 60.25, 'PLACED'),
  ('Maya Cohen', 'Café Zürich', 'Apfelstrudel', 95.75, 'PREPARING')";
const BROKEN: &str =
    "INSERT INTO orders (customer_name, restaurant_name, item, amount, order_status) VALUES
  ('Dev Patel', 'Biryani Corner', 'Raita', -45.00, 'PLACED'),
  ('Ana Lima', 'Trattoria Uno', 'Espresso', 30.00, 'TELEPORTED')";

/// Prints the title and the first step, before the servers start.
pub fn open(screen: &mut Screen, mode: DemoMode, folder: &Path) -> Result<()> {
    let (way, servers) = match mode {
        DemoMode::Kafka => (
            "from PostgreSQL through Kafka into a Parquet lake",
            "PostgreSQL and Kafka",
        ),
        DemoMode::Direct => (
            "from PostgreSQL into a Parquet lake, without a broker",
            "PostgreSQL",
        ),
    };
    screen.title(format!("Food orders {way}."))?;
    screen.line(format!(
        "Everything happens on this machine, in {}",
        folder.display()
    ))?;
    screen.step(format!("Start {servers}"))?;
    Ok(())
}

/// Runs and prints all other steps.
pub async fn tell(screen: &mut Screen, servers: &Servers, folder: &Path) -> Result<()> {
    for (server, elapsed) in &servers.started {
        screen.line(format!("{server} after {}", seconds(*elapsed)))?;
    }
    let database = create_table(screen, servers).await?;
    let brokers = servers.kafka.as_ref().map(Kafka::bootstrap);
    let scenario = Scenario::write(folder, servers.postgres.port(), brokers.as_deref())?;
    let topic = servers
        .kafka
        .as_ref()
        .map(|kafka| Topic::new(kafka, scenario::TOPIC))
        .transpose()?;
    let hops = Hops::new(database.connect().await?, topic, scenario.lake());
    // `/proc` names the running binary, so that a build may replace the file meanwhile.
    let binary = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    let mut story = Story {
        screen,
        binary,
        scenario,
        services: Vec::new(),
        hops,
        database,
    };
    story.start_services().await?;
    let fresh = story.insert_five().await?;
    let resumed = story.kill_and_resume().await?;
    story.break_rules().await?;
    story.ask_duckdb().await?;
    story.verify().await?;
    story.stop().await?;
    story.compare().await?;
    story.close(fresh, resumed)
}

async fn create_table(screen: &mut Screen, servers: &Servers) -> Result<Database> {
    screen.step("Create the table with ten orders, and a role that may read it")?;
    let database = servers.postgres.create_database(scenario::DATABASE).await?;
    screen.command("psql -f dev/scenarios/orders/schema.sql")?;
    database.sql(scenario::SCHEMA).await?;
    screen.command(format!("psql -c \"{}\"", scenario::ROLE))?;
    database.sql(scenario::ROLE).await?;
    Ok(database)
}

/// A running service and its verb.
struct Service {
    verb: &'static str,
    process: Inlet,
}

/// What the steps share. The field order makes the services stop before the servers' connection.
struct Story<'a> {
    screen: &'a mut Screen,
    binary: PathBuf,
    scenario: Scenario,
    services: Vec<Service>,
    hops: Hops,
    database: Database,
}

impl Story<'_> {
    async fn start_services(&mut self) -> Result<()> {
        let verbs: &[&str] = if self.has_broker() {
            &["producer", "consumer"]
        } else {
            &["run"]
        };
        let what = if self.has_broker() {
            "the two services"
        } else {
            "the service"
        };
        self.screen
            .step(format!("Start {what}: the ten orders are loaded"))?;
        self.screen.line(
            "orders_stream.yml (configs/orders_stream.yml with this machine's hosts and paths):",
        )?;
        let stream: Vec<_> = self
            .scenario
            .stream
            .lines()
            .map(|line| format!("  {line}"))
            .collect();
        self.screen.line(stream.join("\n"))?;
        let begin = Instant::now();
        for verb in verbs {
            self.start(verb)?;
        }
        self.until("start", begin, self.goal(10, 10, 10, 0)).await?;
        Ok(())
    }

    /// Returns how long the rows took.
    async fn insert_five(&mut self) -> Result<Duration> {
        self.screen.step("Insert five orders")?;
        let committed = self.insert(LUNCH).await?;
        self.until("COMMIT", committed, self.goal(15, 15, 15, 0))
            .await
    }

    /// Returns the time from the restart to the rows in the lake.
    async fn kill_and_resume(&mut self) -> Result<Duration> {
        let Some(mut killed) = self.services.pop() else {
            bail!("a service to kill is missing")
        };
        let verb = killed.verb;
        self.screen.step(format!(
            "Kill `inlet {verb}`, and insert five orders while it is down"
        ))?;
        self.screen
            .command(format!("kill -9 {}", killed.process.pid()))?;
        killed.process.kill_9()?;
        self.screen.line("killed")?;
        let committed = self.insert(DINNER).await?;
        self.until("COMMIT", committed, self.goal(20, 20, 15, 0))
            .await?;
        let begin = Instant::now();
        self.start(verb)?;
        let resumed = self
            .until("restart", begin, self.goal(20, 20, 20, 0))
            .await?;
        self.screen.line(format!(
            "resumed from the last commit: the five rows are in the lake after {}",
            seconds(resumed)
        ))?;
        Ok(resumed)
    }

    async fn break_rules(&mut self) -> Result<()> {
        self.screen.step("Insert two orders that break a rule")?;
        let committed = self.insert(BROKEN).await?;
        self.until("COMMIT", committed, self.goal(22, 22, 20, 2))
            .await?;
        let sql = "SELECT value->>'$.order_id' AS order_id, value->>'$.amount' AS amount, \
            value->>'$.order_status' AS order_status, reason";
        let typed = format!("{sql}\nFROM read_json('_quarantine/*.jsonl') ORDER BY order_id");
        self.screen.command(format!("duckdb -c \"{typed}\""))?;
        let here = typed.replace("'_quarantine/*.jsonl'", &self.scenario.quarantine());
        self.answers("", &[here]).await
    }

    async fn ask_duckdb(&mut self) -> Result<()> {
        self.screen.step("Ask the lake with DuckDB")?;
        self.screen
            .command("duckdb < dev/scenarios/orders/queries.sql")?;
        let (views, questions) = self.scenario.queries();
        let statements: Vec<String> = questions
            .iter()
            .map(|question| question.sql.clone())
            .collect();
        for (question, (names, rows)) in questions.iter().zip(ask(&views, &statements).await?) {
            self.screen.line(format!("-- {}", question.title))?;
            self.screen.table(&names, &rows)?;
        }
        Ok(())
    }

    async fn verify(&mut self) -> Result<()> {
        self.screen
            .step("Compare every value in PostgreSQL with the lake")?;
        self.screen
            .command(format!("inlet {}", Scenario::typed("verify").join(" ")))?;
        let verified = Inlet::run(&self.binary, &self.scenario.arguments("verify"), &[]).await?;
        self.screen.line(verified.stdout)?;
        self.screen.line(verified.stderr)?;
        ensure!(
            verified.code == 0,
            "`inlet verify` ended with exit code {}",
            verified.code
        );
        self.screen.line("exit code 0")?;
        Ok(())
    }

    async fn stop(&mut self) -> Result<()> {
        self.screen.step(if self.has_broker() {
            "Stop the services"
        } else {
            "Stop the service"
        })?;
        for mut service in self.services.drain(..) {
            self.screen
                .command(format!("kill {}", service.process.pid()))?;
            service.process.terminate()?;
            let status = service.process.wait_exit(LEAVE_MAX).await?;
            ensure!(
                status.success(),
                "`inlet {}` exited with {status}:\n{}",
                service.verb,
                log_end(&service.process)?
            );
            self.screen
                .line(format!("`inlet {}` exited with code 0", service.verb))?;
        }
        Ok(())
    }

    /// Asks PostgreSQL and DuckDB the same questions, without the services and their code.
    async fn compare(&mut self) -> Result<()> {
        self.screen.step("The result")?;
        let (views, _) = self.scenario.queries();
        let (sum, rows) = (
            "SELECT count(*), sum(amount) FROM orders",
            format!("SELECT {COLUMNS} FROM orders"),
        );
        let kept = keeps_the_rules();
        let postgres_sum = one(self.database.rows(&format!("{sum} WHERE {kept}")).await?)?;
        let lake_sum = one(duckdb::query(&format!("{views}{sum}")).await?)?;
        let quarantined = one(duckdb::query(&format!(
            "SELECT count(*) FROM read_json({})",
            self.scenario.quarantine()
        ))
        .await?)?
        .concat();
        let all = one(self.database.rows("SELECT count(*) FROM orders").await?)?.concat();
        let names = ["", "rows", "sum of amounts"].map(str::to_owned);
        let row = |name: &str, figures: &[String]| [&[name.to_owned()], figures].concat();
        let table = [
            row("PostgreSQL, rows that keep the rules", &postgres_sum),
            row("lake, by DuckDB", &lake_sum),
        ];
        self.screen.table(&names, &table)?;
        ensure!(postgres_sum == lake_sum, "PostgreSQL and lake differ");
        let postgres_rows = self
            .database
            .rows(&format!("{rows} WHERE {kept} ORDER BY order_id"))
            .await?;
        let lake_rows = duckdb::query(&format!("{views}{rows} ORDER BY order_id")).await?;
        for (theirs, ours) in postgres_rows.iter().zip(&lake_rows) {
            ensure!(
                theirs == ours,
                "PostgreSQL and lake differ: {theirs:?} and {ours:?}"
            );
        }
        let in_sum = lake_rows.len() as u64 + quarantined.parse::<u64>()?;
        ensure!(
            in_sum.to_string() == all,
            "of {all} rows in PostgreSQL {in_sum} are in lake or quarantine"
        );
        let count = lake_rows.len();
        self.screen.good(format!(
            "PostgreSQL and lake are equal: {count} rows, value for value; the other {quarantined} \
                of {all} are in quarantine."
        ))?;
        Ok(())
    }

    fn close(&mut self, fresh: Duration, resumed: Duration) -> Result<()> {
        let (fresh, resumed) = (seconds(fresh), seconds(resumed));
        self.screen.line(format!(
            "Five rows were readable in the lake {fresh} after COMMIT, and {resumed} after a \
                killed service was restarted."
        ))?;
        self.screen
            .line("Next, a table of your own: inlet run --config configs/quickstart.yml")?;
        Ok(())
    }

    fn has_broker(&self) -> bool {
        self.hops.has_topic()
    }

    fn goal(&self, postgres: u64, topic: u64, lake: u64, quarantine: u64) -> Counts {
        Counts {
            postgres,
            topic: self.has_broker().then_some(topic),
            lake,
            quarantine,
        }
    }

    fn start(&mut self, verb: &'static str) -> Result<()> {
        self.screen
            .command(format!("inlet {}", Scenario::typed(verb).join(" ")))?;
        let process = Inlet::start(&self.binary, &self.scenario.arguments(verb), &[])?;
        self.services.push(Service { verb, process });
        Ok(())
    }

    /// Returns the time at which COMMIT returned.
    async fn insert(&mut self, sql: &str) -> Result<Instant> {
        self.screen.command(format!("psql -c \"{sql}\""))?;
        self.hops.write(sql).await?;
        Ok(Instant::now())
    }

    /// Prints the counts whenever they change, until they reach the goal; returns how long that
    /// took.
    async fn until(&mut self, event: &str, since: Instant, goal: Counts) -> Result<Duration> {
        let topic = if self.has_broker() { "   topic" } else { "" };
        self.screen.line(format!(
            "{:>14}   PostgreSQL{topic}   lake   quarantine",
            format!("since {event}")
        ))?;
        let mut shown = None;
        loop {
            let counts = self.hops.count().await?;
            let elapsed = since.elapsed();
            if shown != Some(counts) {
                let topic = counts
                    .topic
                    .map(|topic| format!("   {topic:>5}"))
                    .unwrap_or_default();
                let Counts {
                    postgres,
                    lake,
                    quarantine,
                    ..
                } = counts;
                self.screen.line(format!(
                    "{:>14}   {postgres:>10}{topic}   {lake:>4}   {quarantine:>10}",
                    seconds(elapsed)
                ))?;
                shown = Some(counts);
            }
            if counts == goal {
                return Ok(elapsed);
            }
            ensure!(
                !counts.exceed(&goal),
                "the hops hold more rows than were written: {counts:?} instead of {goal:?}"
            );
            self.services_run()?;
            ensure!(
                elapsed < PATIENCE,
                "after {PATIENCE:?} the counts are {counts:?} instead of {goal:?}\n{}",
                self.logs()?
            );
            sleep(STEP).await;
        }
    }

    fn services_run(&mut self) -> Result<()> {
        for service in &mut self.services {
            if !service.process.is_running()? {
                bail!(
                    "`inlet {}` ended by itself:\n{}",
                    service.verb,
                    log_end(&service.process)?
                );
            }
        }
        Ok(())
    }

    fn logs(&self) -> Result<String> {
        let log = |service: &Service| {
            Ok(format!(
                "`inlet {}` logged last:\n{}",
                service.verb,
                log_end(&service.process)?
            ))
        };
        Ok(self
            .services
            .iter()
            .map(log)
            .collect::<Result<Vec<_>>>()?
            .join("\n"))
    }

    async fn answers(&mut self, views: &str, statements: &[String]) -> Result<()> {
        for (names, rows) in ask(views, statements).await? {
            self.screen.table(&names, &rows)?;
        }
        Ok(())
    }
}

fn log_end(process: &Inlet) -> Result<String> {
    let log = process.stderr()?;
    let lines: Vec<&str> = log.lines().collect();
    Ok(lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}
