//! What a user asks of a table of a running service.

use inlet_harness::{duckdb, shared_database};

use crate::tables::{Copy, WAYS};

const ORDERS: &str = "\
    CREATE TABLE orders (id integer PRIMARY KEY, state text, updated_at timestamptz DEFAULT now());
    CREATE TABLE visits (id serial PRIMARY KEY);
    CREATE TABLE log (line text);
    CREATE INDEX ON orders (updated_at);
    INSERT INTO orders SELECT n, CASE n % 2 WHEN 0 THEN 'paid' ELSE 'new' END
        FROM generate_series(1, 10) n;
    INSERT INTO log VALUES ('x')";

#[tokio::test]
async fn a_table_is_paused_resumed_and_loaded_again_without_a_restart() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(ORDERS).await.unwrap();
        let tables = "tables: { orders: , visits: , log: }\n";
        let copy = Copy::of(database, verbs, tables).await;
        let mut services = copy.start(verbs);
        copy.await_rows("orders", 10).await;
        copy.await_rows("log", 1).await;
        let ask = async |verb: &str, rest: &[&str], answer: &str| {
            let finished = copy.run_with(verb, rest).await;
            assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
            assert!(finished.stdout.contains(answer), "{}", finished.stdout);
        };
        ask("pause", &["orders"], "paused").await;
        copy.database
            .sql("INSERT INTO orders VALUES (11, 'new'); INSERT INTO visits DEFAULT VALUES")
            .await
            .unwrap();
        copy.await_rows("visits", 1).await;
        copy.await_rows("orders", 10).await;
        let shown = copy.run("status").await.stdout;
        assert!(shown.contains("public.orders: paused"), "{shown}");
        // A pause outlives the service.
        services[0].kill_9().unwrap();
        services[0] = copy.start(&verbs[..1]).remove(0);
        copy.database
            .sql("INSERT INTO visits DEFAULT VALUES")
            .await
            .unwrap();
        copy.await_rows("visits", 2).await;
        copy.await_rows("orders", 10).await;
        ask("resume", &["public.orders"], "resumed").await;
        copy.await_rows("orders", 11).await;

        ask("reload", &["orders"], "the load has started").await;
        copy.await_rows("orders", 22).await;
        ask(
            "reload",
            &["orders", "--where", "state = 'paid'"],
            "the load of these rows has started",
        )
        .await;
        copy.await_rows("orders", 27).await;
        // A load that was done is not repeated by a restart.
        services[0].kill_9().unwrap();
        services[0] = copy.start(&verbs[..1]).remove(0);
        copy.database
            .sql("INSERT INTO orders VALUES (12, 'new')")
            .await
            .unwrap();
        copy.await_rows("orders", 28).await;
        let paid = format!(
            "SELECT count(*), count(DISTINCT id) FROM {} WHERE state = 'paid'",
            copy.files("orders")
        );
        assert_eq!(duckdb::query(&paid).await.unwrap(), [["15", "5"]]);
        copy.verified().await;
    }
}

#[tokio::test]
async fn a_sweep_that_is_asked_for_brings_what_the_cursor_does_not_show() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(ORDERS).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { orders: , log: }\n").await;
        let _services = copy.start(verbs);
        copy.await_rows("orders", 10).await;
        // Sweeps and comparisons of keys are due after an hour, unless PostgreSQL counts changes.
        copy.database
            .sql(
                "SET track_counts = off; UPDATE orders SET state = 'sent' WHERE id = 3; \
                 DELETE FROM orders WHERE id = 4",
            )
            .await
            .unwrap();
        let finished = copy.run_with("sweep", &["orders"]).await;
        assert_eq!(finished.code, 0, "{}{}", finished.stdout, finished.stderr);
        assert!(finished.stdout.contains("the sweep has started"));
        // The update, and the delete; no other row comes again.
        copy.await_rows("orders", 12).await;
        let shown = copy.files("orders");
        let rows = format!(
            "SELECT id, state, _op FROM {shown} WHERE state = 'sent' OR _op = 'd' ORDER BY id"
        );
        assert_eq!(
            duckdb::query(&rows).await.unwrap(),
            [["3", "sent", "u"], ["4", "NULL", "d"]]
        );
    }
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused_in_words() {
    let database = shared_database().await;
    database.sql(ORDERS).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { orders: , log: }\n").await;
    for (arguments, words) in [
        (
            &["pause", "ordrs"][..],
            "tables with a similar name: `orders`",
        ),
        (&["resume", "visits"], "is not in the configuration"),
        (&["reload", "log"], "has no key"),
        (
            &["reload", "orders", "--where", "stat = 'x'"],
            "\"stat\" does not exist",
        ),
        (
            &["reload", "orders", "--where", "true) OR (true"],
            "syntax error",
        ),
        (
            &["reload", "orders", "--where", "true ORDER BY id"],
            "syntax error",
        ),
        (
            &["reload", "orders", "--where", "true; SELECT 1"],
            "condition",
        ),
        (&["reload", "orders", "--where", "id = $1"], "parameter"),
        (&["reload", "orders", "--where", "id"], "boolean"),
        (&["pause", "orders"], "was never loaded"),
    ] {
        let finished = copy.run_with(arguments[0], &arguments[1..]).await;
        assert_eq!(finished.code, 78, "{arguments:?}: {}", finished.stderr);
        assert!(
            finished.stderr.contains(words),
            "{arguments:?}: {}",
            finished.stderr
        );
    }
}
