//! An audited table as the example of a bank has it: who changed the amount, from what, to what and
//! when, beside a trigger of its own, in topics named by a template.

use std::fs;

use inlet_harness::{Database, eventually, judge, shared_database};
use serde_json::{Value, json};

use crate::capture::capture;
use crate::orders::{INLET, PATIENCE};
use crate::tables::{Copy, WAYS};

/// A key of text, a name in mixed case, a name that is a type, a number without a precision, and
/// the columns of a trigger that notes the last change in the row itself.
const TRANSACTIONS: &str = r#"
    CREATE TABLE transactions (transaction_id varchar(255) PRIMARY KEY, user_id varchar(255),
        timestamp timestamp, amount numeric, voucher_code varchar(255), "affiliateId" varchar(255),
        modified_by text, modified_at timestamptz, change_info jsonb);
    CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.modified_by := current_user;
        NEW.modified_at := clock_timestamp();
        IF OLD.amount IS DISTINCT FROM NEW.amount THEN
            NEW.change_info := jsonb_build_object('old', OLD.amount, 'new', NEW.amount);
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER note_change BEFORE UPDATE ON transactions FOR EACH ROW
        EXECUTE FUNCTION note_change();
    INSERT INTO transactions VALUES ('t-1', 'asha', '2026-11-20 10:00:00.123456', 100.50, '', 'a7')"#;

/// The answer of `inlet query`, as JSON.
async fn query(copy: &Copy, sql: &str) -> Value {
    let answer = copy.run_with("query", &["--format", "json", sql]).await;
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    serde_json::from_str(&answer.stdout).unwrap()
}

async fn changed(copy: &Copy, database: &Database, role: &str) {
    database
        .sql(&format!(
            "CREATE ROLE {role}; GRANT ALL ON transactions TO {role}; SET ROLE {role};
             SET application_name = 'till 7'; SET inlet.actor = 'asha@bank';
             BEGIN;
             UPDATE transactions SET amount = amount + 150;
             UPDATE transactions SET user_id = 'ravi';
             COMMIT;"
        ))
        .await
        .unwrap();
    copy.await_rows("inlet.transactions_changes", 2).await;
    judge::equal(INLET, &copy.config, database, "transactions").await;
    database
        .sql(&format!("SET ROLE {role}; DELETE FROM transactions"))
        .await
        .unwrap();
    copy.await_rows("inlet.transactions_changes", 3).await;
}

#[tokio::test]
async fn who_changed_an_amount_from_what_to_what_and_when_is_a_query() {
    for verbs in WAYS {
        let tables = "tables: { transactions: { capture: audit }, others: {} }\n";
        let copy = Copy::of(shared_database().await, verbs, tables).await;
        let config = fs::read_to_string(&copy.config).unwrap();
        let template = format!(
            "kafka: {{ topic_template: '{}.{{schema}}.{{table}}', ",
            copy.database.name()
        );
        fs::write(&copy.config, config.replace("kafka: { ", &template)).unwrap();
        let database = &copy.database;
        database.sql(TRANSACTIONS).await.unwrap();
        database
            .sql("CREATE TABLE others (id int PRIMARY KEY)")
            .await
            .unwrap();
        capture(&copy, &["install", "--yes"]).await;
        let _services = copy.start(verbs);
        copy.await_rows("transactions", 1).await;
        judge::equal(INLET, &copy.config, database, "transactions").await;
        let first = "SELECT voucher_code, amount, \"affiliateId\" FROM transactions";
        let expected = json!([{"voucher_code": "", "amount": "100.50", "affiliateId": "a7"}]);
        assert_eq!(query(&copy, first).await, expected);

        let role = format!("teller_{}", database.name());
        changed(&copy, database, &role).await;
        let changes = query(
            &copy,
            "SELECT op, role, application_name, actor, before->>'amount' AS was, \
             after->>'amount' AS is_now, before->>'user_id' AS whose, list_sort(changed) AS changed, \
             transaction_at <= changed_at AS in_order \
             FROM inlet.transactions_changes WHERE key->>'transaction_id' = 't-1' ORDER BY change_id",
        )
        .await;
        let of = |op: &str, was: &str, is_now: Option<&str>, whose: &str, changed: Value| {
            json!({"op": op, "role": role, "application_name": "till 7", "actor": "asha@bank",
                "was": was, "is_now": is_now, "whose": whose, "changed": changed, "in_order": true})
        };
        let both = json!(["amount", "change_info", "modified_at", "modified_by"]);
        let other = json!(["modified_at", "user_id"]);
        let mut deleted = of("delete", "250.50", None, "ravi", Value::Null);
        (deleted["application_name"], deleted["actor"]) = (json!(""), Value::Null);
        let expected = [
            of("update", "100.50", Some("250.50"), "asha", both),
            of("update", "250.50", Some("250.50"), "asha", other),
            deleted,
        ];
        assert_eq!(changes, json!(expected));
        eventually(PATIENCE, "the row has left the latest state", async || {
            let left = query(&copy, "SELECT count(*) AS rows FROM transactions").await;
            anyhow::Ok(left == json!([{"rows": 0}]))
        })
        .await;
    }
}
