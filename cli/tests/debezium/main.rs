//! Debezium's own connector in a real Kafka Connect, its topics read by our consumer: the latest
//! state in DuckDB is the table, in every mode, through updates, deletes and kills.

#![allow(clippy::unwrap_used)] // In helpers, too: a failure ends the test.

mod case;
mod envelope;

use std::time::Duration;

use anyhow::{Result, ensure};
use inlet_harness::{Connect, Connector, Folder, Inlet, Kafka, Postgres, eventually, judge};

use case::{CASES, Case};

const INLET: &str = env!("CARGO_BIN_EXE_inlet");
/// How long anything that is awaited may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// PostgreSQL as Debezium needs it.
async fn logical_postgres() -> Postgres {
    let settings = [
        ("wal_level", "logical"),
        ("max_replication_slots", "20"),
        ("max_wal_senders", "20"),
    ];
    Postgres::start_with(&settings).await.unwrap()
}

/// A connector of one case.
fn connector(postgres: &Postgres, database: &str, case: &Case) -> Connector {
    let name = case.name;
    let schemas = case.schemas.to_string();
    Connector::new(name)
        .set(
            "connector.class",
            "io.debezium.connector.postgresql.PostgresConnector",
        )
        .set("plugin.name", "pgoutput")
        .set("database.hostname", "127.0.0.1")
        .set("database.port", postgres.port().to_string())
        .set("database.user", inlet_harness::USER)
        .set("database.password", inlet_harness::PASSWORD)
        .set("database.dbname", database)
        .set("topic.prefix", name)
        .set("table.include.list", format!("public.{}", case.table))
        .set("slot.name", format!("slot_{name}"))
        .set("publication.name", format!("publication_{name}"))
        .set("publication.autocreate.mode", "filtered")
        .set("decimal.handling.mode", case.decimals)
        .set("time.precision.mode", case.times)
        .set("heartbeat.interval.ms", "1000")
        .set("poll.interval.ms", "50")
        .set("topic.creation.default.replication.factor", "1")
        .set(
            "topic.creation.default.partitions",
            case.partitions.to_string(),
        )
        .set(
            "key.converter",
            "org.apache.kafka.connect.json.JsonConverter",
        )
        .set(
            "value.converter",
            "org.apache.kafka.connect.json.JsonConverter",
        )
        .set("key.converter.schemas.enable", &schemas)
        .set("value.converter.schemas.enable", &schemas)
}

/// The configuration of the consumer of a case; it knows nothing of PostgreSQL.
fn config(folder: &Folder, kafka: &Kafka, case: &Case) -> String {
    let (name, table) = (case.name, case.table);
    let columns = match case.declares {
        true => format!("    columns: {}\n", case::columns_yaml()),
        false => String::new(),
    };
    let text = format!(
        "pipeline: {name}
kafka:
  brokers: {}
  written_by: debezium
debezium: {{ decimals: {}, times: {} }}
datalake: {{ path: {} }}
streaming: {{ flush_interval: 200ms }}
tables:
  {table}:
    topic: {name}.public.{table}
{columns}",
        kafka.bootstrap(),
        case.decimals,
        case.times,
        folder.join(name).display(),
    );
    let path = folder.join(format!("{name}.yml"));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn consumer(config: &str) -> Inlet {
    Inlet::start(INLET, &["consumer", "--config", config], &[]).unwrap()
}

#[tokio::test]
async fn the_latest_state_is_the_table_in_every_mode_and_through_kills() {
    let (postgres, kafka) = (logical_postgres().await, Kafka::start().await.unwrap());
    let database = postgres.database().await.unwrap();
    let folder = Folder::new("debezium").unwrap();
    database.sql(&case::create_tables()).await.unwrap();
    // What is there before the connector starts is read by its snapshot.
    database.sql(&case::insert(1..=150)).await.unwrap();
    let connectors: Vec<_> = CASES
        .iter()
        .map(|case| connector(&postgres, database.name(), case))
        .collect();
    let mut connect = Connect::start(&kafka, &connectors).unwrap();
    let configs: Vec<_> = CASES
        .iter()
        .map(|case| config(&folder, &kafka, case))
        .collect();
    let mut consumers: Vec<_> = configs.iter().map(|config| consumer(config)).collect();
    for round in 0..6 {
        for (case, config) in CASES.iter().zip(&configs) {
            arrives(&database, case, config, &mut connect).await;
        }
        database.sql(&case::changes(round)).await.unwrap();
        // Killed in the middle of a commit or between two, at a moment of chance.
        for (consumer, config) in consumers.iter_mut().zip(&configs) {
            consumer.kill_9().unwrap();
            *consumer = self::consumer(config);
        }
    }
    for (case, config) in CASES.iter().zip(&configs) {
        arrives(&database, case, config, &mut connect).await;
        judge::equal(INLET, config, &database, case.table).await;
        once(&folder, &kafka, case).await.unwrap();
    }
    if let Some(to) = std::env::var_os("INLET_RECORD") {
        case::record(std::path::Path::new(&to), &kafka, &database)
            .await
            .unwrap();
    }
    connect.stop().await.unwrap();
}

/// Waits until the view of a case has the numbers of the table.
async fn arrives(
    database: &inlet_harness::Database,
    case: &Case,
    config: &str,
    connect: &mut Connect,
) {
    let sql = format!(
        "SELECT count(*), coalesce(sum(version), 0), coalesce(max(id), 0) FROM {}",
        case.table
    );
    let what = format!("the changes of case `{}` arrive", case.name);
    let equals = async || -> Result<bool> {
        connect.ensure_running()?;
        let source = database.rows(&sql).await?;
        let query = ["query", "--config", config, "--format", "csv", &sql];
        let asked = Inlet::run(INLET, &query, &[]).await?;
        let found = asked.stdout.lines().nth(1).unwrap_or_default();
        ensure!(asked.code == 0, "{}", asked.stderr);
        let expected = source[0].join(",");
        ensure!(
            found == expected,
            "the lake has {found}, PostgreSQL {expected}"
        );
        Ok(true)
    };
    eventually(PATIENCE, &what, equals).await;
}

/// Each message of the topic that is about a row is in the lake once, and nothing was rejected.
async fn once(folder: &Folder, kafka: &Kafka, case: &Case) -> Result<()> {
    let topic = format!("{}.public.{}", case.name, case.table);
    let records = kafka.read(&topic).await?;
    let rows = records
        .iter()
        .filter(|record| record.value.is_some())
        .count();
    let lake = folder.join(case.name).display().to_string();
    let sql = format!(
        "SELECT count(*), count(DISTINCT (_kafka_partition, _offset)) FROM \
         read_parquet('{lake}/**/*.parquet', union_by_name = true)"
    );
    let found = inlet_harness::duckdb::query(&sql).await?;
    ensure!(
        found == [[rows.to_string(), rows.to_string()]],
        "{topic}: {rows} {found:?}"
    );
    let rejected = std::path::Path::new(&lake).join("_quarantine");
    let is_empty = !rejected.is_dir() || std::fs::read_dir(&rejected)?.next().is_none();
    ensure!(is_empty, "{topic}: rows were rejected");
    Ok(())
}
