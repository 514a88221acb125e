//! An update that leaves the cursor unchanged arrives soon, with a sweep an hour away.

use std::fs;

use inlet_harness::{Inlet, shared_database};

use crate::tables::{Copy, WAYS};

const ORDERS: &str = "\
    CREATE TABLE orders (id integer PRIMARY KEY, state text, updated_at timestamptz DEFAULT now());
    CREATE INDEX ON orders (updated_at);
    CREATE TABLE visits (id serial PRIMARY KEY);
    INSERT INTO orders SELECT n, 'new', '2020-01-01' FROM generate_series(1, 10) n";

/// The orders in the lake, and the services that follow them.
async fn loaded(verbs: &[&str]) -> (Copy, Vec<Inlet>) {
    let database = shared_database().await;
    database.sql(ORDERS).await.unwrap();
    let copy = Copy::of(database, verbs, "tables: { orders: , visits: }\n").await;
    let services = copy.start(verbs);
    copy.await_rows("orders", 10).await;
    (copy, services)
}

#[tokio::test]
async fn updates_that_forget_the_cursor_arrive_and_the_log_names_the_trigger_once() {
    for verbs in WAYS {
        let (copy, services) = loaded(verbs).await;
        for versions in [20, 30] {
            copy.database
                .sql("UPDATE orders SET state = state || '!'")
                .await
                .unwrap();
            copy.await_rows("orders", versions).await;
        }
        let log = services[0].stderr().unwrap();
        assert_eq!(log.matches("CREATE TRIGGER").count(), 1, "{log}");
    }
}

#[tokio::test]
async fn another_cursor_in_the_configuration_is_followed_at_the_next_start() {
    for verbs in WAYS {
        let (copy, services) = loaded(verbs).await;
        drop(services);
        copy.database
            .sql(
                "ALTER TABLE orders ADD COLUMN moved_at timestamptz DEFAULT '2020-01-01'; CREATE \
                 INDEX ON orders (moved_at)",
            )
            .await
            .unwrap();
        let config = fs::read_to_string(&copy.config).unwrap();
        let config = config.replace("orders: ,", "orders: { cursor: moved_at },");
        fs::write(&copy.config, config).unwrap();
        let services = copy.start(verbs);
        // Each row comes once more with the new column, which PostgreSQL wrote to no row.
        copy.await_rows("orders", 20).await;
        copy.database
            .sql("UPDATE orders SET moved_at = now() WHERE id = 3")
            .await
            .unwrap();
        copy.await_rows("orders", 21).await;
        let log = services[0].stderr().unwrap();
        let polled = "cursor column table=public.orders column=moved_at";
        assert_eq!(log.matches(polled).count(), 1, "{log}");
    }
}
