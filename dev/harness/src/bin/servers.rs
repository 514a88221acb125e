//! Starts a PostgreSQL and a Kafka for experiments, prints their addresses, and ends them on
//! Ctrl-C.

use anyhow::Result;
use inlet_harness::{shared_database, shared_kafka};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    println!("postgres {}", shared_database().await.url());
    println!("kafka {}", shared_kafka().await.bootstrap());
    // A Ctrl-C, a closed terminal or a kill end this process, and with it the servers.
    std::future::pending().await
}
