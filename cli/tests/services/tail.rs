//! `inlet tail`: the changes of a table as they become readable in the lake.

use inlet_harness::{Inlet, duckdb, eventually, shared_database};
use serde_json::Value;

use crate::orders::{INLET, PATIENCE};
use crate::tables::{Copy, WAYS};

const TABLE: &str = "
    CREATE TABLE orders (id integer PRIMARY KEY, status text, amount numeric(10,2), tags text[],
        updated_at timestamptz DEFAULT clock_timestamp());
    CREATE INDEX ON orders (updated_at);
    INSERT INTO orders VALUES (1, 'new', 12.50, '{a,b}'), (2, 'new', 0, NULL), (3, NULL, 7, '{}')";

/// A running `inlet tail` of the table.
struct Tail(Inlet);

impl Tail {
    fn start(copy: &Copy, options: &[&str]) -> Self {
        let arguments = [&["tail", "--config", &copy.config, "orders"], options].concat();
        Self(Inlet::start(INLET, &arguments, &[]).unwrap())
    }

    /// Its lines, once there are this many.
    async fn lines(&self, count: usize) -> Vec<String> {
        let lines = || -> anyhow::Result<Vec<String>> {
            Ok(self.0.stdout()?.lines().map(str::to_owned).collect())
        };
        eventually(
            PATIENCE,
            &format!("{count} changes are shown"),
            async || Ok(lines()?.len() >= count),
        )
        .await;
        let lines = lines().unwrap();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    async fn changes(&self, count: usize) -> Vec<Value> {
        let lines = self.lines(count).await;
        let parse = |line: &String| serde_json::from_str(line).unwrap();
        lines.iter().map(parse).collect()
    }

    /// Ends it as Ctrl-C does.
    async fn end(mut self) {
        self.0.terminate().unwrap();
        let ended = self.0.wait_exit(PATIENCE).await.unwrap();
        assert_eq!(ended.code(), Some(0));
        assert_eq!(self.0.stderr().unwrap(), "", "it ends quietly");
    }
}

/// Key, operation and offset of each change.
fn places(changes: &[Value]) -> Vec<[String; 3]> {
    let place = |change: &Value| {
        [
            change["key"]["id"].to_string(),
            change["op"].as_str().unwrap().to_owned(),
            change["offset"].to_string(),
        ]
    };
    changes.iter().map(place).collect()
}

/// The same as DuckDB reads it from the files.
async fn stored(copy: &Copy) -> Vec<[String; 3]> {
    let sql = format!(
        "SELECT id, _op, _offset FROM {} ORDER BY _offset",
        copy.files("")
    );
    let rows = duckdb::read(&copy.folder.join("lake"), &sql).await.unwrap();
    let row = |row: Vec<String>| row.try_into().unwrap();
    rows.into_iter().map(row).collect()
}

#[tokio::test]
async fn every_change_is_shown_once_in_the_order_of_the_lake_also_after_a_merge() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(TABLE).await.unwrap();
        let copy = Copy::of(database, verbs, "tables: { orders: }\n").await;
        let mut services = copy.start(verbs);
        copy.await_rows("", 3).await;
        let tail = Tail::start(&copy, &["--from-start", "--json"]);
        let first = tail.changes(3).await;
        assert_eq!(first[0]["table"], "orders");
        assert_eq!(first[0]["row"]["amount"], "12.50", "exact: {}", first[0]);
        assert_eq!(first[0]["row"]["tags"], serde_json::json!(["a", "b"]));

        let update =
            "UPDATE orders SET status = 'paid', updated_at = clock_timestamp() WHERE id = 1";
        copy.database.sql(update).await.unwrap();
        let changes = tail.changes(4).await;
        assert_eq!(changes[3]["op"], "u");
        assert_eq!(
            changes[3]["changed"],
            serde_json::json!(["status", "updated_at"])
        );
        copy.database
            .sql("DELETE FROM orders WHERE id = 2")
            .await
            .unwrap();
        let changes = tail.changes(5).await;
        assert_eq!(changes[4]["op"], "d");
        assert_eq!(changes[4]["key"], serde_json::json!({ "id": 2 }));
        assert!(changes[4]["row"].is_null());

        // Each in a commit of its own, so that there are files to merge while it goes on.
        for id in 10..16 {
            let insert = format!("INSERT INTO orders (id) VALUES ({id})");
            copy.database.sql(&insert).await.unwrap();
            tail.changes(id - 4).await;
        }
        let before = places(&tail.changes(11).await);
        assert_eq!(before, stored(&copy).await);
        for service in &mut services {
            service.terminate().unwrap();
            assert!(service.wait_exit(PATIENCE).await.unwrap().success());
        }
        let files = || async {
            let sql = format!(
                "SELECT count(DISTINCT filename) FROM read_parquet('{}/**/*.parquet')",
                copy.folder.join("lake").display()
            );
            duckdb::read(&copy.folder.join("lake"), &sql)
                .await
                .unwrap()
                .concat()
        };
        let several = files().await;
        let merged = copy.run("compact").await;
        assert_eq!(merged.code, 0, "{}", merged.stderr);
        assert_ne!(files().await, several, "files were merged");
        let again = Tail::start(&copy, &["--from-start", "--json"]);
        assert_eq!(places(&again.changes(11).await), before);
        again.end().await;

        let _services = copy.start(verbs);
        copy.database
            .sql("INSERT INTO orders (id) VALUES (99)")
            .await
            .unwrap();
        assert_eq!(tail.changes(12).await[11]["key"]["id"], 99);
        tail.end().await;
    }
}

#[tokio::test]
async fn it_starts_with_the_last_changes_and_shows_one_row_alone() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { orders: }\n").await;
    // Without a lake it waits for the first commit.
    let early = Tail::start(&copy, &["--key", "3"]);
    early.0.logs("waiting for the first one", PATIENCE).await;
    let _services = copy.start(&["run"]);
    copy.await_rows("", 3).await;
    assert!(early.lines(1).await[0].contains("  u  id=3  "));
    for amount in [1, 2] {
        let update = format!(
            "UPDATE orders SET amount = {amount}, updated_at = clock_timestamp() WHERE id = 1"
        );
        copy.database.sql(&update).await.unwrap();
        copy.await_rows("", 3 + amount).await;
    }
    let last = Tail::start(&copy, &["-n", "2", "--json"]);
    let amounts: Vec<_> = (last.changes(2).await.iter())
        .map(|change| change["row"]["amount"].clone())
        .collect();
    assert_eq!(amounts, ["1.00", "2.00"]);
    last.end().await;
    let one = Tail::start(&copy, &["--key", "1"]);
    let lines = one.lines(3).await;
    assert!(lines[0].contains("amount=12.50"), "{}", lines[0]);
    assert!(lines[2].contains("amount: 1.00 -> 2.00"), "{}", lines[2]);
    assert!(!lines.concat().contains('\x1b'), "no colors in a file");
    one.end().await;
    let none = Tail::start(&copy, &["-n", "0"]);
    copy.database
        .sql("INSERT INTO orders (id) VALUES (8)")
        .await
        .unwrap();
    assert!(none.lines(1).await[0].contains("id=8"));
    none.end().await;
}

#[tokio::test]
async fn a_table_that_is_not_in_the_configuration_is_named() {
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    let copy = Copy::of(database, &["run"], "tables: { orders: }\n").await;
    let finished = copy.run_with("tail", &["ordes"]).await;
    assert_eq!(finished.code, 78, "{}", finished.stderr);
    assert!(
        finished.stderr.contains("it has orders"),
        "{}",
        finished.stderr
    );
}
