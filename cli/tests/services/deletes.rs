//! A deleted row leaves the latest state: with a broker and without, as every reader sees it.

use inlet_harness::{Inlet, Kafka, Postgres, eventually};

use crate::orders::{INLET, Orders, PATIENCE};

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
