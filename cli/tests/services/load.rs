//! Writers that do what makes pollers lose rows: late commits, savepoints, updates, aborts,
//! asynchronous commits, deletes of rows, some of which come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::{AssertSqlSafe, Connection, PgConnection, raw_sql};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Between two transactions of a writer: without it a test that runs longer would have more to
/// compare, and so would run longer still.
const PACE: Duration = Duration::from_millis(15);

/// Writers that run until they are stopped; a server that goes away is connected to again.
pub struct Load {
    stop: Arc<AtomicBool>,
    committed: Arc<AtomicU64>,
    writers: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(url: &str, writers: u64, seed: u64) -> Self {
        let (stop, committed) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let writer = |number| {
            tokio::spawn(write(
                url.to_owned(),
                StdRng::seed_from_u64(seed + number),
                stop.clone(),
                committed.clone(),
            ))
        };
        let writers = (0..writers).map(writer).collect();
        Self {
            stop,
            committed,
            writers,
        }
    }

    /// Transactions committed so far.
    pub fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await.unwrap();
        }
    }
}

async fn write(url: String, mut random: StdRng, stop: Arc<AtomicBool>, committed: Arc<AtomicU64>) {
    let mut clock = interval(PACE);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut connection) = PgConnection::connect(&url).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            clock.tick().await;
            if raw_sql(AssertSqlSafe(transaction(&mut random)))
                .execute(&mut connection)
                .await
                .is_err()
            {
                break;
            }
            committed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One message; whatever it does is a transaction of the server's own choosing.
fn transaction(random: &mut StdRng) -> String {
    let insert = |item: &str, amount: u32| {
        format!(
            "INSERT INTO ROLL001_orders (customer_name, restaurant_name, item, amount, order_status)
             VALUES ('Mira', 'Corner Café', '{item}', {}.{:02}, 'PLACED');",
            amount / 100,
            amount % 100
        )
    };
    let amount = random.random_range(0..1_000_000);
    let pause = random.random_range(1..40);
    let update = format!(
        "UPDATE ROLL001_orders SET order_status = 'READY', amount = amount + 1, updated_at = now()
         WHERE order_id = (SELECT max(order_id) - {} FROM ROLL001_orders);",
        random.random_range(0..200)
    );
    let victim = format!(
        "(SELECT max(order_id) - {} FROM ROLL001_orders)",
        random.random_range(0..300)
    );
    match random.random_range(0..12) {
        0..3 => insert("Thali", amount),
        3 => format!(
            "SET synchronous_commit = off; {} SET synchronous_commit = on;",
            insert("Momo", amount)
        ),
        4 => update,
        5 => format!(
            "BEGIN; {} SELECT pg_sleep(0.{pause:03}); COMMIT;",
            insert("Late", amount)
        ),
        6 => format!(
            "BEGIN; SELECT now(), pg_sleep(0.{pause:03}); {} SAVEPOINT s; {} RELEASE s; COMMIT;",
            insert("Outer", amount),
            insert("Inner", amount)
        ),
        7 => format!(
            "BEGIN; {} SAVEPOINT s; {} ROLLBACK TO s; {update} COMMIT;",
            insert("Kept", amount),
            insert("Undone", amount)
        ),
        8 => format!("BEGIN; {} ROLLBACK;", insert("Aborted", amount)),
        9 => format!("DELETE FROM ROLL001_orders WHERE order_id = {victim};"),
        // The row comes back under its key, in the same transaction or in another one.
        10 => format!(
            "BEGIN; CREATE TEMP TABLE gone ON COMMIT DROP AS SELECT * FROM ROLL001_orders WHERE \
             order_id = {victim} FOR UPDATE; DELETE FROM ROLL001_orders o USING gone WHERE \
             o.order_id = gone.order_id; INSERT INTO ROLL001_orders (order_id, item, amount) \
             SELECT order_id, 'Back', amount FROM gone; COMMIT;"
        ),
        _ => format!(
            "INSERT INTO ROLL001_orders (customer_name, item, amount) SELECT 'Many', 'Bulk ' || i, \
                i FROM generate_series(1, {}) i;",
            random.random_range(1..200)
        ),
    }
}
