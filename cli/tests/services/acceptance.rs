//! The usual acceptance procedure, with the shipped keys unmodified.

use std::time::Duration;

use anyhow::Result;
use inlet_harness::{Inlet, eventually, shared_kafka, shared_postgres};

use crate::orders::{Orders, PATIENCE};

const TEN: [&str; 10] = [
    "220.00", "15.50", "0.00", "99.99", "1.01", "340.10", "12.00", "8.75", "64.00", "5.25",
];
const FIVE: [&str; 5] = ["10.00", "20.00", "30.00", "40.00", "50.00"];

async fn restart(orders: &Orders, services: Vec<Inlet>, verbs: &[&str]) -> Result<Vec<Inlet>> {
    for mut service in services {
        service.terminate()?;
        let status = service.wait_exit(PATIENCE).await?;
        anyhow::ensure!(
            status.success(),
            "a service left with {status}: {}",
            service.stderr()?
        );
    }
    verbs.iter().map(|verb| orders.start(verb)).collect()
}

/// Ten rows, five more, five more; ten of which five break a rule; restarts in between.
async fn procedure(orders: &Orders, verbs: &[&str]) -> Result<()> {
    orders.insert(&TEN).await?;
    let services = restart(orders, Vec::new(), verbs).await?;
    orders.await_lake_rows(10).await;
    orders.insert(&FIVE).await?;
    orders.await_lake_rows(15).await;
    let services = restart(orders, services, verbs).await?;
    orders.insert(&FIVE).await?;
    orders.await_lake_rows(20).await;
    orders
        .insert(&[
            "-1.00", "1.00", "-0.01", "2.00", "-3.00", "3.00", "-4.00", "4.00", "-5.00", "5.00",
        ])
        .await?;
    orders.await_lake_rows(25).await;
    eventually(PATIENCE, "five rows are in quarantine", async || {
        Ok(orders.quarantined().await? == 5)
    })
    .await;
    let services = restart(orders, services, verbs).await?;
    orders.insert(&["7.77"]).await?;
    orders.await_lake_rows(26).await;
    assert_eq!(orders.quarantined().await?, 5);
    assert_eq!(orders.duplicates().await?, 0);
    for mut service in services {
        service.terminate()?;
        assert!(
            service.wait_exit(Duration::from_secs(20)).await?.success(),
            "{}",
            service.stderr()?
        );
    }
    orders.await_lake_rows(26).await;
    Ok(())
}

#[tokio::test]
async fn the_acceptance_procedure_holds_through_kafka() {
    let orders = Orders::new(shared_postgres().await, Some(shared_kafka().await), true)
        .await
        .unwrap();
    procedure(&orders, &["producer", "consumer"]).await.unwrap();
    assert!(
        orders
            .folder
            .join("food/ROLL001/lastprocess/orders")
            .exists(),
        "a readable copy of the progress"
    );
}

#[tokio::test]
async fn the_acceptance_procedure_holds_without_a_broker() {
    let orders = Orders::new(shared_postgres().await, None, true)
        .await
        .unwrap();
    procedure(&orders, &["run"]).await.unwrap();
}

#[tokio::test]
async fn both_services_run_in_one_process_when_there_is_a_broker() {
    let orders = Orders::new(shared_postgres().await, Some(shared_kafka().await), true)
        .await
        .unwrap();
    procedure(&orders, &["run"]).await.unwrap();
}
