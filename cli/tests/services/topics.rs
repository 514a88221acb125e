//! A table whose topic changes, and messages of other programs in a topic.

use std::fs;

use inlet_harness::{Inlet, shared_database};

use crate::orders::INLET;
use crate::tables::Copy;

const TABLE: &str = "
    CREATE TABLE orders (id integer PRIMARY KEY, updated_at timestamptz DEFAULT clock_timestamp());
    CREATE INDEX ON orders (updated_at); INSERT INTO orders VALUES (1), (2)";

#[tokio::test]
async fn another_topic_is_refused_with_both_ways_out() {
    const VERBS: [&str; 2] = ["producer", "consumer"];
    let database = shared_database().await;
    database.sql(TABLE).await.unwrap();
    // The pipeline is called `<database>_<number>`, which must stay what it is.
    let topics = ["first", "second"].map(|word| format!("{word}_{}", database.name()));
    let tables = format!("tables: {{ orders: {{ topic: {} }} }}\n", topics[0]);
    let copy = Copy::of(database, &VERBS, &tables).await;
    let services = copy.start(&VERBS);
    copy.await_rows("", 2).await;

    // The producer that runs is not disturbed.
    let former = fs::read_to_string(&copy.config).unwrap();
    let other = former.replace(&topics[0], &topics[1]);
    let mistaken = copy.folder.join("other.yml").display().to_string();
    fs::write(&mistaken, &other).unwrap();
    let refused = Inlet::run(INLET, &["producer", "--config", &mistaken], &[]).await;
    let refused = refused.unwrap();
    assert_eq!(refused.code, 78, "{}", refused.stderr);
    for words in [
        &*topics[0],
        &*topics[1],
        "later changes alone",
        "`pipeline`",
    ] {
        assert!(
            refused.stderr.contains(words),
            "{words}: {}",
            refused.stderr
        );
    }

    copy.database
        .sql("INSERT INTO orders VALUES (3)")
        .await
        .unwrap();
    copy.await_rows("", 3).await;
    copy.verified().await;
    drop(services);

    // The new topic under a new name, with a new lake: every row is published there.
    let lake = copy.folder.join("lake").display().to_string();
    let second = other
        .replace("pipeline: ", "pipeline: second_")
        .replace(&lake, &copy.folder.join("second").display().to_string());
    fs::write(&copy.config, second).unwrap();
    let _services = copy.start(&VERBS);
    copy.await_rows("../second", 3).await;
    copy.verified().await;
}
