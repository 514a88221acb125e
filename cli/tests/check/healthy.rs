use inlet_harness::{Inlet, shared_kafka};

use crate::case::{Case, INLET};

#[tokio::test]
async fn what_is_as_it_should_be_gives_no_complaint() {
    let case = Case::new().await;
    assert_eq!(case.check().await.complaints(), [""; 0]);
    case.load().await;
    let checked = case.check().await;
    assert_eq!(checked.complaints(), [""; 0]);
    let progress = checked
        .findings
        .iter()
        .find(|finding| finding["hop"] == "progress")
        .unwrap();
    assert!(
        progress["evidence"]
            .as_str()
            .unwrap()
            .contains("of this database"),
        "{progress}"
    );
}

#[tokio::test]
async fn with_a_broker_nothing_is_made_and_nothing_is_wrong() {
    let mut case = Case::new().await;
    let kafka = shared_kafka().await;
    let topic = case.database.name().to_owned();
    case.add(&format!(
        "kafka:\n  brokers: {}\n  topic: {topic}\n",
        kafka.bootstrap()
    ));
    assert_eq!(case.check().await.complaints(), [""; 0]);
    assert!(!case.folder.join("lake").exists());
    kafka.read(&topic).await.unwrap_err();
    case.load().await;
    assert_eq!(case.check().await.complaints(), [""; 0]);
}

#[tokio::test]
async fn a_trigger_that_keeps_the_cursor_is_enough() {
    let case = Case::new().await;
    let table = "ALTER TABLE orders ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(); \
        CREATE INDEX ON orders (updated_at);
                 CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
        NEW.updated_at := now(); RETURN NEW; END $$;
                 CREATE TRIGGER touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
                 UPDATE orders SET amount = 5";
    case.database.sql(table).await.unwrap();
    assert_eq!(case.check().await.complaints(), [""; 0]);
}

#[tokio::test]
async fn text_is_for_people() {
    let case = Case::new().await;
    case.database
        .sql("DROP INDEX orders_created_at_idx")
        .await
        .unwrap();
    let finished = Inlet::run(INLET, &["check", "--config", &case.config()], &[])
        .await
        .unwrap();
    assert_eq!(finished.code, 0, "{finished:?}");
    for line in [
        "PostgreSQL\n",
        "Tables\n  warning  orders.created_at",
        "fix:    CREATE INDEX CONCURRENTLY",
        "\n0 errors, 1 warning; ",
    ] {
        assert!(
            finished.stdout.contains(line),
            "`{line}` is missing in:\n{}",
            finished.stdout
        );
    }
}
