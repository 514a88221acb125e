//! A row whose newest version breaks a rule: it is in quarantine, and not in the latest state as it
//! was before.

use inlet_harness::duckdb::{self, Version};
use inlet_harness::{eventually, shared_database};

use crate::orders::PATIENCE;
use crate::tables::{Copy, WAYS};

const LINES: &str = r#"
    CREATE TABLE lines ("Order/no" integer, "it's~" text, amount integer,
        updated_at timestamptz DEFAULT now(), PRIMARY KEY ("Order/no", "it's~"));
    CREATE INDEX ON lines (updated_at);
    INSERT INTO lines VALUES (-7, 'a''b', 1), (1, 'x', 1), (2, '"', 1)"#;
const STATE: &str = r#"SELECT "Order/no", "it's~", amount FROM lines ORDER BY 1"#;

/// What each reader shows as the latest state.
async fn states(copy: &Copy) -> Vec<Vec<Vec<String>>> {
    let views = copy.run_with("views", &[]).await.stdout;
    let printed = copy.run_with("query", &["--format", "csv", STATE]).await;
    assert_eq!(printed.code, 0, "{printed:?}");
    let rows = printed.stdout.lines().skip(1);
    let rows = rows.map(|line| {
        line.split(',')
            .map(|value| value.replace('"', ""))
            .collect()
    });
    let mut states = vec![rows.collect()];
    for version in [Version::V1, Version::V2] {
        let rows = duckdb::query_by(version, &format!("{views}\n{STATE}")).await;
        let rows = rows.unwrap().into_iter();
        let row = |row: Vec<String>| row.iter().map(|value| value.replace('"', "")).collect();
        states.push(rows.map(row).collect());
    }
    states
}

#[tokio::test]
async fn a_row_that_breaks_a_rule_now_is_not_shown_as_it_was() {
    for verbs in WAYS {
        let database = shared_database().await;
        database.sql(LINES).await.unwrap();
        let tables = "tables: { lines: { rules: [\"amount >= 0\"] } }\n";
        let copy = Copy::of(database, verbs, tables).await;
        let _services = copy.start(verbs);
        copy.await_rows("", 3).await;
        let update = "UPDATE lines SET updated_at = now(), amount = ";
        let change = async |amount: &str| {
            let sql = format!("{update} {amount} WHERE \"Order/no\" < 0");
            copy.database.sql(&sql).await.unwrap();
        };
        change("-5").await;
        let quarantine = copy.folder.join("lake/_quarantine");
        let rejected = format!("FROM read_json('{}/*.jsonl')", quarantine.display());
        eventually(PATIENCE, "a row is in quarantine", async || {
            Ok(duckdb::query(&rejected)
                .await
                .is_ok_and(|rows| rows.len() == 1))
        })
        .await;
        for state in states(&copy).await {
            assert_eq!(state, [["1", "x", "1"], ["2", "", "1"]]);
        }
        let verified = copy.run_with("verify", &[]).await;
        assert_eq!(verified.code, 0, "{verified:?}");
        change("9").await;
        copy.await_rows("", 4).await;
        for state in states(&copy).await {
            assert_eq!(state, [["-7", "a'b", "9"], ["1", "x", "1"], ["2", "", "1"]]);
        }
    }
}
