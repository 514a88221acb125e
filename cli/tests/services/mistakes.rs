//! Mistakes that users make: each is named, with its fix, and ends with the exit code of its kind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::Result;
use inlet_harness::{
    AUTHORIZED, Database, Finished, Folder, Inlet, Kafka, PASSWORD, Port, USER, duckdb, eventually,
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
async fn a_configuration_that_is_not_named_is_that_of_the_folder_or_of_the_environment() {
    let case = Case::new().await;
    let config = case.config(&case.right(), &case.lake()).unwrap();
    let run = async |folder: &str, env: &[(&str, &str)]| {
        let script = "cd \"$0\" && exec \"$@\"";
        let arguments = ["-c", script, folder, INLET, "grants", "--role", "poller"];
        Inlet::run("/bin/sh", &arguments, env).await.unwrap()
    };
    let folder = case.folder.display().to_string();
    for found in [
        run(&folder, &[]).await,
        run("/", &[("INLET_CONFIG", &config)]).await,
    ] {
        assert_eq!(found.code, 0, "{}", found.stderr);
        assert!(found.stdout.contains("poller"), "{}", found.stdout);
    }
    let words = ["inlet.yml", "--config FILE", "INLET_CONFIG"];
    says(&run("/", &[]).await, 78, &words);
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
async fn a_lake_that_is_removed_while_a_service_writes_it_is_named() {
    let case = Case::new().await;
    let config = case.config(&case.right(), &case.lake()).unwrap();
    let mut service = Inlet::start(INLET, &["run", "--config", &config], &[]).unwrap();
    let glob = format!("{}/**/*.parquet", case.folder.join("lake").display());
    eventually(PATIENCE, "the rows are in the lake", async || {
        Ok(duckdb::count_glob(&glob).await? == 2)
    })
    .await;
    fs::remove_dir_all(case.folder.join("lake")).unwrap();
    let insert = "INSERT INTO orders (amount) VALUES (3)";
    case.database.sql(insert).await.unwrap();
    let code = service.wait_exit(PATIENCE).await.unwrap().code();
    let log = service.stderr().unwrap();
    assert!(
        code == Some(78) && log.contains("was removed, replaced or unmounted"),
        "{code:?} {log}"
    );
}

#[tokio::test]
async fn two_names_of_one_table_are_refused_before_a_row_is_read() {
    let case = Case::new().await;
    let both = case.right().replace("  table: orders\n", "");
    let lake = case.lake() + "tables:\n  orders: {}\n  public.orders: {}\n";
    says(
        &case.run("run", &both, &lake).await,
        78,
        &["`orders`", "`public.orders`", "remove one of them"],
    );
    assert!(!case.folder.join("lake").exists());
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
    inlet.logs("CREATE INDEX CONCURRENTLY", PATIENCE).await;
    inlet.logs("batch committed", PATIENCE).await;
    inlet.terminate().unwrap();
    assert!(
        inlet
            .wait_exit(Duration::from_secs(20))
            .await
            .unwrap()
            .success()
    );
}

/// A reader of the lake sees `_Op` and `_op` as one name, so no row of such a table is published.
#[tokio::test]
async fn a_column_with_a_name_of_ours_in_another_case_is_refused_before_the_topic() {
    let case = Case::new().await;
    let kafka = shared_kafka().await;
    case.database
        .sql("ALTER TABLE orders ADD \"_Op\" text")
        .await
        .unwrap();
    let topic = case.database.name();
    let section = format!(
        "kafka:\n  brokers: {}\n  topic: {topic}\n",
        kafka.bootstrap()
    );
    says(
        &case.run("producer", &case.right(), &section).await,
        78,
        &["column `_Op`", "has a name that the change columns use"],
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

#[tokio::test]
async fn a_lake_is_continued_only_by_the_way_that_wrote_it() {
    let case = Case::new().await;
    let kafka = shared_kafka().await;
    let topic = case.database.name();
    let section = format!(
        "kafka:\n  brokers: {}\n  topic: {topic}\n",
        kafka.bootstrap()
    );
    let by_kafka = case.lake().replace("/lake", "/by-kafka");
    let config = |name: &str, rest: &str| {
        let path = case.folder.join(name);
        fs::write(&path, format!("postgres:\n{}{rest}", case.right())).unwrap();
        path.display().to_string()
    };
    let committed = async |inlet: &Inlet| {
        let done = async || Ok(inlet.stderr()?.contains("batch committed"));
        eventually(PATIENCE, "the rows are committed", done).await;
    };
    let direct = config("direct.yml", &case.lake());
    let mut run = Inlet::start(INLET, &["run", "--config", &direct], &[]).unwrap();
    committed(&run).await;
    run.terminate().unwrap();
    run.wait_exit(PATIENCE).await.unwrap();

    // The file of `inlet run` with a `kafka:` section, as a reader of the README writes it.
    let both = config("both.yml", &format!("{}{section}", case.lake()));
    let _producer = Inlet::start(INLET, &["producer", "--config", &both], &[]).unwrap();
    eventually(PATIENCE, "two rows are published", async || {
        Ok(kafka.read(topic).await?.len() == 2)
    })
    .await;
    let mut consumer = Inlet::start(INLET, &["consumer", "--config", &both], &[]).unwrap();
    let status = consumer.wait_exit(PATIENCE).await.unwrap();
    let said = consumer.stderr().unwrap();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("was written without a broker"), "{said}");

    // And a misplaced `inlet run` leaves a running consumer alone.
    let through = config("through.yml", &format!("{by_kafka}{section}"));
    let mut consumer = Inlet::start(INLET, &["consumer", "--config", &through], &[]).unwrap();
    committed(&consumer).await;
    let finished = case.run("run", &case.right(), &by_kafka).await;
    says(
        &finished,
        78,
        &["was written by a consumer", "datalake.path"],
    );
    assert!(
        !finished.stderr.contains("takes it over"),
        "{}",
        finished.stderr
    );
    case.database
        .sql("INSERT INTO orders (amount) VALUES (3)")
        .await
        .unwrap();
    let rows = format!("{}/**/*.parquet", case.folder.join("by-kafka").display());
    eventually(PATIENCE, "the consumer goes on", async || {
        Ok(duckdb::count_glob(&rows).await? == 3)
    })
    .await;
    assert!(consumer.is_running().unwrap());
}
