//! An update that leaves the cursor unchanged arrives soon, with a sweep an hour away.

use inlet_harness::shared_database;

use crate::tables::{Copy, WAYS};

const ORDERS: &str = "\
    CREATE TABLE orders (id integer PRIMARY KEY, state text, updated_at timestamptz DEFAULT now());
    CREATE INDEX ON orders (updated_at);
    CREATE TABLE visits (id serial PRIMARY KEY);
    INSERT INTO orders SELECT n, 'new', '2020-01-01' FROM generate_series(1, 10) n";

#[tokio::test]
async fn updates_that_forget_the_cursor_arrive_and_the_log_names_the_trigger_once() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(ORDERS).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { orders: , visits: }\n").await;
        let services = copy.start(verbs);
        copy.await_rows("orders", 10).await;
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
