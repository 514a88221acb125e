//! The orders scenario: its table, its configuration, and its comparison.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use inlet_harness::{Database, Folder, Inlet, Kafka, PASSWORD, Postgres, duckdb, eventually};

pub const INLET: &str = env!("CARGO_BIN_EXE_inlet");
/// How long anything that is awaited may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The table is created without quotes, so PostgreSQL knows it as `roll001_orders`.
const TABLE: &str = "
    CREATE TABLE ROLL001_orders (
        order_id serial PRIMARY KEY, customer_name varchar(255), restaurant_name varchar(255), \
    item varchar(255),
        amount numeric(10,2), order_status varchar(50), created_at timestamp DEFAULT now(), \
    updated_at timestamptz DEFAULT clock_timestamp());
    CREATE INDEX ON ROLL001_orders (created_at);
    CREATE INDEX ON ROLL001_orders (updated_at);";

const COLUMNS: &str =
    "order_id, customer_name, restaurant_name, item, amount, order_status, created_at, updated_at";

/// The table, its topic and its lake.
pub struct Orders {
    pub folder: Folder,
    pub database: Database,
    configs: Vec<PathBuf>,
}

impl Orders {
    /// The shipped files with other hosts and paths; without a broker the `kafka:` section is left
    /// out.
    pub async fn new(postgres: &Postgres, kafka: Option<&Kafka>, rules: bool) -> Result<Self> {
        let folder = Folder::new("orders")?;
        let database = postgres.database().await?;
        database.sql(TABLE).await?;
        let shipped = |name: &str| {
            fs::read_to_string(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("../configs")
                    .join(name),
            )
        };
        let text = shipped("orders_stream.yml")?
            .replace(
                "postgres:5432/food_delivery_db",
                &format!("127.0.0.1:{}/{}", postgres.port(), database.name()),
            )
            .replace("host: \"postgres\"", "host: \"127.0.0.1\"")
            .replace("port: 5432", &format!("port: {}", postgres.port()))
            .replace(
                "db: \"food_delivery_db\"",
                &format!("db: \"{}\"", database.name()),
            )
            .replace("\"student\"", &format!("\"reader_{}\"", database.name()))
            .replace("\"student123\"", &format!("\"{PASSWORD}\""))
            .replace("/opt/spark-apps/datalake", &folder.display().to_string());
        let text = match kafka {
            Some(kafka) => text
                .replace("kafka:29092", &kafka.bootstrap())
                .replace("ROLL001_food_orders_raw", database.name()),
            None => {
                text.split("kafka:").next().unwrap_or_default().to_owned()
                    + "datalake:"
                    + text.split("datalake:").nth(1).unwrap_or_default()
            }
        };
        let mut configs = vec![folder.join("orders_stream.yml")];
        fs::write(&configs[0], text)?;
        if rules {
            configs.push(folder.join("orders_rules.yml"));
            fs::write(&configs[1], shipped("orders_rules.yml")?)?;
        }
        let orders = Self {
            folder,
            database,
            configs,
        };
        orders.grant().await?;
        Ok(orders)
    }

    /// Makes the role of the configuration by what `inlet grants` prints, and by nothing else.
    async fn grant(&self) -> Result<()> {
        let finished = Inlet::run(INLET, &self.arguments("grants"), &[]).await?;
        ensure!(finished.code == 0, "{}", finished.stderr);
        self.database.sql(&finished.stdout).await?;
        self.database
            .sql(&format!(
                "ALTER ROLE reader_{} PASSWORD '{PASSWORD}'",
                self.database.name()
            ))
            .await
    }

    /// Adds a file that overrides the ones before it.
    pub fn configure(&mut self, text: &str) -> Result<()> {
        let path = self
            .folder
            .join(format!("config{}.yml", self.configs.len()));
        fs::write(&path, text)?;
        self.configs.push(path);
        Ok(())
    }

    /// Starts a service or runs a verb with the scenario's configuration.
    pub fn arguments(&self, verb: &str) -> Vec<String> {
        let configs = self
            .configs
            .iter()
            .flat_map(|path| ["--config".to_owned(), path.display().to_string()]);
        std::iter::once(verb.to_owned()).chain(configs).collect()
    }

    pub fn start(&self, verb: &str) -> Result<Inlet> {
        Inlet::start(INLET, &self.arguments(verb), &[])
    }

    /// The lake's folder, as the configuration has it.
    pub fn lake(&self) -> PathBuf {
        self.folder.join("food/ROLL001/output/orders")
    }

    pub fn glob(&self) -> String {
        format!("{}/**/*.parquet", self.lake().display())
    }

    pub fn quarantine(&self) -> String {
        format!("{}/_quarantine/*.jsonl", self.lake().display())
    }

    /// `INSERT`s rows with these amounts.
    pub async fn insert(&self, amounts: &[&str]) -> Result<()> {
        let row = |amount: &&str| format!("('Asha', 'Blue Door', 'Dosa', {amount}, 'PLACED')");
        let rows: Vec<_> = amounts.iter().map(row).collect();
        let insert = "INSERT INTO ROLL001_orders (customer_name, restaurant_name, item, amount, \
            order_status) VALUES";
        self.database
            .sql(&format!("{insert} {}", rows.join(", ")))
            .await
    }

    pub async fn lake_rows(&self) -> Result<u64> {
        duckdb::count_glob(self.glob()).await
    }

    /// What DuckDB reads from the lake's files.
    async fn read(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        duckdb::read(&self.lake(), sql).await
    }

    pub async fn quarantined(&self) -> Result<u64> {
        let folder = self.lake().join("_quarantine");
        if !folder.is_dir() || fs::read_dir(folder)?.next().is_none() {
            return Ok(0);
        }
        Ok(duckdb::query(&format!(
            "SELECT count(*) FROM read_json('{}')",
            self.quarantine()
        ))
        .await?[0][0]
            .parse()?)
    }

    pub async fn await_lake_rows(&self, rows: u64) {
        eventually(
            PATIENCE,
            &format!("the lake holds {rows} rows"),
            async || Ok(self.lake_rows().await? >= rows),
        )
        .await;
        assert_eq!(self.lake_rows().await.unwrap(), rows);
    }

    /// Compares every value of PostgreSQL with the latest version of each key in the lake, and
    /// checks
    /// that the versions are distinct.
    pub async fn check_equal(&self) -> Result<()> {
        self.check_values("").await?;
        let duplicates = self.duplicates().await?;
        ensure!(
            duplicates == 0,
            "the lake has {duplicates} duplicate versions"
        );
        Ok(())
    }

    /// Compares every value of PostgreSQL, in these columns (`, c`) too, with the latest version of
    /// each key in the lake.
    pub async fn check_values(&self, more: &str) -> Result<()> {
        let source = self
            .database
            .rows(&format!(
                "SELECT {COLUMNS}{more} FROM ROLL001_orders ORDER BY order_id"
            ))
            .await?;
        let newest = format!(
            "SELECT {COLUMNS}{more} FROM read_parquet('{}', union_by_name = true)
             QUALIFY row_number() OVER (PARTITION BY order_id ORDER BY _offset DESC) = 1 AND \
                _op = 'u' ORDER BY order_id",
            self.glob()
        );
        let lake = self
            .read(&format!("SET TimeZone = 'UTC'; {newest}"))
            .await?;
        ensure!(
            source.len() == lake.len(),
            "PostgreSQL has {} rows, the lake {}",
            source.len(),
            lake.len()
        );
        for (theirs, ours) in source.iter().zip(&lake) {
            ensure!(
                theirs == ours,
                "PostgreSQL has {theirs:?}, the lake {ours:?}"
            );
        }
        Ok(())
    }

    /// Counts the deletes in the lake.
    pub async fn deletes(&self) -> Result<u64> {
        let glob = self.glob();
        let sql = format!(
            "SELECT count(*) FROM read_parquet('{glob}', union_by_name = true) WHERE _op = 'd'"
        );
        Ok(self.read(&sql).await?[0][0].parse()?)
    }

    /// Counts duplicate versions in the lake.
    pub async fn duplicates(&self) -> Result<u64> {
        let sql = format!(
            "SELECT count(*) - count(DISTINCT (order_id, _xid, _op)) FROM read_parquet('{}', \
                union_by_name = true)",
            self.glob()
        );
        Ok(self.read(&sql).await?[0][0].parse()?)
    }
}
