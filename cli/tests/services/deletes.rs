//! A deleted row leaves the latest state: with a broker and without, as every reader sees it.

use inlet_harness::{Inlet, Kafka, Postgres, eventually, shared_database};
use serde_json::Value;

use crate::orders::{INLET, Orders, PATIENCE};
use crate::tables::Copy;

async fn ask(orders: &Orders, verb: &str, more: &[&str]) -> (i32, String) {
    let mut arguments = orders.arguments(verb);
    arguments.extend(more.iter().map(ToString::to_string));
    let finished = Inlet::run(INLET, &arguments, &[]).await.unwrap();
    (finished.code, finished.stdout + &finished.stderr)
}

#[tokio::test]
async fn a_deleted_row_leaves_the_latest_state_and_stays_in_the_history() {
    let postgres = Postgres::start().await.unwrap();
    for with_broker in [false, true] {
        let kafka = match with_broker {
            true => Some(Kafka::start().await.unwrap()),
            false => None,
        };
        let orders = Orders::new(&postgres, kafka.as_ref(), false).await.unwrap();
        let _service = orders.start("run").unwrap();
        orders.insert(&["1.00", "2.00", "3.00"]).await.unwrap();
        orders.await_lake_rows(3).await;
        let now =
            "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')";
        let before = orders.database.rows(now).await.unwrap().concat().concat();
        orders
            .database
            .sql("DELETE FROM ROLL001_orders WHERE order_id <> 2")
            .await
            .unwrap();
        eventually(PATIENCE, "the deletes are in the lake", async || {
            Ok(orders.deletes().await? == 2)
        })
        .await;
        orders.check_equal().await.unwrap();
        let count = "SELECT 'latest ' || (SELECT count(*) FROM roll001_orders) || ', history ' || \
                     (SELECT count(*) FROM roll001_orders_history)";
        let (code, answer) = ask(&orders, "query", &[count]).await;
        assert!(answer.contains("latest 1, history 5"), "{code} {answer}");
        let (code, answer) = ask(&orders, "query", &["--as-of", &before, count]).await;
        assert!(answer.contains("latest 3, history 3"), "{code} {answer}");
        let (code, answer) = ask(&orders, "query", &["--as-of", "1999-12-31", count]).await;
        assert!(answer.contains("latest 0, history 0"), "{code} {answer}");
        let (code, report) = ask(&orders, "verify", &[]).await;
        assert_eq!(code, 0, "{report}");
        eventually(PATIENCE, "status shows the deletes", async || {
            let (_, status) = ask(&orders, "status", &[]).await;
            anyhow::Ok(status.contains("2 deletes, all until"))
        })
        .await;
    }
}

#[tokio::test]
async fn one_pass_finds_every_row_that_a_large_statement_has_deleted() {
    const ROWS: u64 = 100_000;
    const GONE: u64 = 90_000;
    let copy = Copy::of(shared_database().await, &["run"], "tables: { t: {} }\n").await;
    let database = &copy.database;
    database
        .sql(&format!(
            "CREATE TABLE t (id bigint PRIMARY KEY, v text);
             INSERT INTO t SELECT id, 'v' FROM generate_series(1, {ROWS}) AS id"
        ))
        .await
        .unwrap();
    let _service = copy.start(&["run"]);
    copy.await_rows("", ROWS).await;
    let deletes = async || {
        let status = copy.run_with("status", &["--json"]).await.stdout;
        let status: Value = serde_json::from_str(&status)?;
        anyhow::Ok(status["tables"][0]["deletes"].clone())
    };
    // The first pass comes after the load, and would divide what is found between two.
    let at_rest = async || {
        let found = deletes().await?;
        anyhow::Ok(found["seen_until"].is_number() && found["comparing"].is_null())
    };
    eventually(PATIENCE, "the first pass has ended", at_rest).await;
    database
        .sql(&format!("DELETE FROM t WHERE id > {}", ROWS - GONE))
        .await
        .unwrap();
    let found = eventually(PATIENCE, "every delete is published", async || {
        let found = deletes().await?;
        let is_over = found["published"] == GONE && found["comparing"].is_null();
        anyhow::Ok(is_over.then_some(found))
    })
    .await;
    assert_eq!(
        found["keys"], ROWS,
        "the last pass compared every key: {found}"
    );
    copy.await_rows("", ROWS + GONE).await;
    copy.verified().await;
}
