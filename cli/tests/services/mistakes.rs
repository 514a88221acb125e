//! Mistakes that users make: each is named, with its fix, and ends with the exit code of its kind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::Result;
use inlet_harness::{
    AUTHORIZED, Database, Finished, Folder, Inlet, Kafka, PASSWORD, Port, USER, eventually,
    shared_database, shared_kafka, shared_postgres,
};

use crate::orders::{INLET, PATIENCE};

struct Case {
    folder: Folder,
    database: Database,
}

impl Case {
    async fn new() -> Self {
        let database = shared_database().await;
        let schema = "CREATE TABLE orders (order_id serial PRIMARY KEY, amount numeric(10,2), \
            created_at timestamptz DEFAULT now());
                      CREATE INDEX ON orders (created_at); INSERT INTO orders (amount) VALUES (1), \
            (2);";
        database.sql(schema).await.unwrap();
        Self {
            folder: Folder::new("mistakes").unwrap(),
            database,
        }
    }

    fn config(&self, postgres: &str, rest: &str) -> Result<String> {
        let path = self.folder.join("inlet.yml");
        fs::write(&path, format!("postgres:\n{postgres}{rest}"))?;
        Ok(path.display().to_string())
    }

    fn right(&self) -> String {
        format!("  url: {}\n  table: orders\n", self.database.url())
    }

    fn lake(&self) -> String {
        format!(
            "datalake:\n  path: {}\nstreaming:\n  flush_interval: 100ms\n",
            self.folder.join("lake").display()
        )
    }

    async fn run(&self, verb: &str, postgres: &str, rest: &str) -> Finished {
        Inlet::run(
            INLET,
            &[verb, "--config", &self.config(postgres, rest).unwrap()],
            &[],
        )
        .await
        .unwrap()
    }
}

/// The message holds each of these words, and the process ended with this code.
fn says(finished: &Finished, code: i32, words: &[&str]) {
    let text = &finished.stderr;
    assert_eq!(finished.code, code, "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

#[tokio::test]
async fn a_wrong_password_names_the_keys() {
    let case = Case::new().await;
    let wrong = case.right().replace(&format!(":{PASSWORD}@"), ":wrong@");
    says(
        &case.run("run", &wrong, &case.lake()).await,
        78,
        &["password authentication failed", "postgres.password"],
    );
}

#[tokio::test]
async fn a_wrong_port_names_the_address() {
    let case = Case::new().await;
    let port = Port::claim().unwrap();
    let wrong = case.right().replace(
        &shared_postgres().await.port().to_string(),
        &port.number().to_string(),
    );
    says(
        &case.run("run", &wrong, &case.lake()).await,
        1,
        &[
            &format!("127.0.0.1:{}", port.number()),
            "check host and port",
        ],
    );
}

#[tokio::test]
async fn a_typo_in_the_table_names_the_similar_one() {
    let case = Case::new().await;
    let wrong = case.right().replace("table: orders", "table: ordres");
    says(
        &case.run("run", &wrong, &case.lake()).await,
        78,
        &["ordres", "orders"],
    );
}

#[tokio::test]
async fn a_typo_in_a_key_names_the_nearest_one_and_its_line() {
    let case = Case::new().await;
    let wrong = case.lake().replace("flush_interval", "flush_intervall");
    says(
        &case.run("run", &case.right(), &wrong).await,
        78,
        &["flush_intervall", "flush_interval", "inlet.yml:7"],
    );
}

#[tokio::test]
async fn a_role_without_rights_on_the_table_gets_the_grant_as_a_hint() {
    let case = Case::new().await;
    let role = format!("reader_{}", case.database.name());
    case.database
        .sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'"))
        .await
        .unwrap();
    let wrong = case
        .right()
        .replace(&format!("{USER}:{PASSWORD}@"), &format!("{role}:secret@"));
    says(
        &case.run("run", &wrong, &case.lake()).await,
        78,
        &["GRANT SELECT", &role],
    );
}

#[tokio::test]
async fn a_cursor_without_index_gets_the_index_as_a_hint_and_rows_still_arrive() {
    let case = Case::new().await;
    case.database
        .sql("DROP INDEX orders_created_at_idx")
        .await
        .unwrap();
    let config = case.config(&case.right(), &case.lake()).unwrap();
    let mut inlet = Inlet::start(INLET, &["run", "--config", &config], &[]).unwrap();
    eventually(PATIENCE, "the missing index is named", async || {
        Ok(inlet.stderr()?.contains("CREATE INDEX CONCURRENTLY"))
    })
    .await;
    eventually(PATIENCE, "the rows are committed", async || {
        Ok(inlet.stderr()?.contains("batch committed"))
    })
    .await;
    inlet.terminate().unwrap();
    assert!(
        inlet
            .wait_exit(Duration::from_secs(20))
            .await
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn a_lake_that_cannot_be_written_is_named() {
    let case = Case::new().await;
    let file = case.folder.join("a_file");
    fs::write(&file, "not a folder").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    let wrong = format!("datalake:\n  path: {}/lake\n", file.display());
    says(
        &case.run("run", &case.right(), &wrong).await,
        78,
        &["a_file/lake"],
    );
}

#[tokio::test]
async fn a_broker_that_is_down_is_named() {
    let case = Case::new().await;
    let port = Port::claim().unwrap();
    let kafka = format!(
        "kafka:\n  brokers: 127.0.0.1:{}\n  topic: {}\n",
        port.number(),
        case.database.name()
    );
    says(
        &case.run("producer", &case.right(), &kafka).await,
        1,
        &[&format!("127.0.0.1:{}", port.number())],
    );
}

#[tokio::test]
async fn a_topic_that_may_not_be_created_gets_the_grant_as_a_hint() {
    let case = Case::new().await;
    let kafka = Kafka::start_with("512m", AUTHORIZED).await.unwrap();
    kafka.deny_topic_creation().await.unwrap();
    let section = format!(
        "kafka:\n  brokers: {}\n  topic: forbidden\n",
        kafka.bootstrap()
    );
    let finished = case.run("producer", &case.right(), &section).await;
    says(
        &finished,
        78,
        &["topic `forbidden` was not created", "CREATE"],
    );
}

#[tokio::test]
async fn progress_of_another_database_is_refused() {
    let case = Case::new().await;
    let kafka = shared_kafka().await;
    let section = format!(
        "kafka:\n  brokers: {}\n  topic: {}\n",
        kafka.bootstrap(),
        case.database.name()
    );
    let config = case.config(&case.right(), &section).unwrap();
    let mut producer = Inlet::start(INLET, &["producer", "--config", &config], &[]).unwrap();
    eventually(PATIENCE, "two rows are published", async || {
        Ok(kafka.read(case.database.name()).await?.len() == 2)
    })
    .await;
    producer.terminate().unwrap();
    producer.wait_exit(Duration::from_secs(20)).await.unwrap();
    let other = Case::new().await;
    says(
        &other.run("producer", &other.right(), &section).await,
        78,
        &["belongs to another database", case.database.name()],
    );
}
