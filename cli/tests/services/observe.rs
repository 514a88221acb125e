//! What a running service shows over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result};
use inlet_harness::{Inlet, Kafka, Port, Postgres, eventually};

use crate::orders::{INLET, Orders, PATIENCE};

/// Status and body of a GET.
pub fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("an answer has a head and a body")?;
    Ok((
        head.split(' ')
            .nth(1)
            .context("a head has a status")?
            .parse()?,
        body.to_owned(),
    ))
}

/// The value of a sample, as `inlet_lake_rows_total{table="public.orders"}`.
fn sample(port: u16, name: &str) -> Result<Option<f64>> {
    let (_, body) = get(port, "/metrics")?;
    let found = body
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(found.map(str::parse).transpose()?)
}

fn start(orders: &Orders, verb: &str, http: &Port) -> Inlet {
    let mut arguments = orders.arguments(verb);
    arguments.extend(["--http".to_owned(), format!("127.0.0.1:{}", http.number())]);
    Inlet::start(INLET, &arguments, &[]).unwrap()
}

const DURABLE: &str = "inlet_producer_durable_timestamp_seconds";
const ROWS: &str = "inlet_lake_rows_total{table=\"public.roll001_orders\"}";

#[tokio::test]
async fn a_run_is_ready_while_it_polls_and_counts_what_is_committed() {
    let mut postgres = Postgres::start().await.unwrap();
    let orders = Orders::new(&postgres, None, false).await.unwrap();
    let http = Port::claim().unwrap();
    let _inlet = start(&orders, "run", &http);
    let is_ready = async || Ok(get(http.number(), "/readyz")?.0 == 200);
    eventually(PATIENCE, "it is ready", is_ready).await;
    assert_eq!(
        get(http.number(), "/livez").unwrap(),
        (200, "alive\n".to_owned())
    );
    assert_eq!(get(http.number(), "/nothing").unwrap().0, 404);
    orders.insert(&["1.00", "2.00"]).await.unwrap();
    eventually(PATIENCE, "two rows are counted", async || {
        Ok(sample(http.number(), ROWS)? == Some(2.0))
    })
    .await;
    assert_eq!(
        orders.lake_rows().await.unwrap(),
        2,
        "what is counted is in the lake"
    );
    eventually(PATIENCE, "the producer counts them, too", async || {
        Ok(sample(http.number(), "inlet_producer_rows_total")? == Some(2.0))
    })
    .await;
    let durable = || sample(http.number(), DURABLE);
    let before = durable().unwrap();
    eventually(PATIENCE, "an idle service is up to date", async || {
        Ok(durable()? > before)
    })
    .await;
    postgres.stop().await.unwrap();
    eventually(PATIENCE, "it is not ready without PostgreSQL", async || {
        Ok(get(http.number(), "/readyz")?.0 == 503)
    })
    .await;
    let stopped = durable().unwrap();
    assert_eq!(
        get(http.number(), "/livez").unwrap().0,
        200,
        "it is alive all the same"
    );
    assert_eq!(durable().unwrap(), stopped, "its age grows meanwhile");
    postgres.restart().await.unwrap();
    eventually(PATIENCE, "it is ready again", is_ready).await;
    eventually(PATIENCE, "it is up to date again", async || {
        Ok(durable()? > stopped)
    })
    .await;
}

#[tokio::test]
async fn producer_and_consumer_each_show_their_own() {
    let (postgres, kafka) = (
        Postgres::start().await.unwrap(),
        Kafka::start().await.unwrap(),
    );
    let orders = Orders::new(&postgres, Some(&kafka), false).await.unwrap();
    let (first, second) = (Port::claim().unwrap(), Port::claim().unwrap());
    let _services = [
        start(&orders, "producer", &first),
        start(&orders, "consumer", &second),
    ];
    orders.insert(&["1.00", "2.00", "3.00"]).await.unwrap();
    eventually(
        PATIENCE,
        "three rows are counted in the topic",
        async || Ok(sample(first.number(), "inlet_producer_rows_total")? == Some(3.0)),
    )
    .await;
    eventually(PATIENCE, "three rows are counted in the lake", async || {
        Ok(sample(second.number(), ROWS)? == Some(3.0))
    })
    .await;
    for port in [&first, &second] {
        assert_eq!(get(port.number(), "/readyz").unwrap().0, 200);
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let postgres = Postgres::start().await.unwrap();
    let orders = Orders::new(&postgres, None, false).await.unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut arguments = orders.arguments("run");
    arguments.extend(["--http".to_owned(), address.clone()]);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let finished = Inlet::run(INLET, &arguments, &[]).await.unwrap();
    assert_eq!(finished.code, 78, "{}", finished.stderr);
    assert!(
        finished.stderr.contains(&address) && finished.stderr.contains("--http"),
        "{}",
        finished.stderr
    );
}
