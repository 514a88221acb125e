//! Starts a PostgreSQL and a Kafka for experiments, prints their addresses, and ends them on
//! Ctrl-C.
//!
//! `servers [postgres:NAME=VALUE | kafka:NAME=VALUE]..` changes settings of the servers, as
//! `postgres:wal_level=logical`.
#![allow(clippy::print_stdout)] // A tool for experiments, not a service.

use anyhow::{Context, Result, bail};
use inlet_harness::{Kafka, Postgres};

const KAFKA_HEAP: &str = "512m";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut postgres_settings = Vec::new();
    let mut kafka_settings = Vec::new();
    for argument in &arguments {
        let (server, setting) = argument.split_once(':').unwrap_or_default();
        let setting = setting
            .split_once('=')
            .with_context(|| format!("`{argument}` is not SERVER:NAME=VALUE"))?;
        match server {
            "postgres" => postgres_settings.push(setting),
            "kafka" => kafka_settings.push(setting),
            _ => bail!("`{argument}` begins neither with `postgres:` nor with `kafka:`"),
        }
    }
    let postgres = Postgres::start_with(&postgres_settings).await?;
    println!("postgres {}", postgres.database().await?.url());
    let kafka = Kafka::start_with(KAFKA_HEAP, &kafka_settings).await?;
    println!("kafka {}", kafka.bootstrap());
    // A Ctrl-C, a closed terminal or a kill end this process, and with it the servers.
    std::future::pending().await
}
