use std::fs;

use inlet_harness::{Finished, Inlet, PASSWORD};

use crate::case::{Case, INLET};

async fn init(case: &Case, more: &[&str]) -> (Finished, String) {
    let output = case.folder.join("made.yml").display().to_string();
    let arguments = [
        &[
            "init",
            "--url",
            case.database.url(),
            "--output",
            output.as_str(),
        ],
        more,
    ]
    .concat();
    let finished = Inlet::run(INLET, &arguments, &[]).await.unwrap();
    (finished, output)
}

#[tokio::test]
async fn what_is_written_can_be_checked_and_run() {
    let case = Case::new().await;
    let sql = "CREATE TABLE \"Mixed Case\" (id int PRIMARY KEY, \"updatedAt\" timestamptz NOT \
        NULL, created date);
               CREATE SCHEMA sales; CREATE TABLE sales.notes (note text); CREATE VIEW recent AS \
        SELECT * FROM orders;
               CREATE TABLE reserved (id int PRIMARY KEY, _op text)";
    case.database.sql(sql).await.unwrap();
    let (finished, file) = init(&case, &[]).await;
    assert_eq!(finished.code, 0, "{finished:?}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&format!(":{PASSWORD}@")), "{text}");
    for line in [
        "\n  orders:   # key: order_id\n    cursor: created_at\n",
        "\n  '\"Mixed Case\"':",
        "# reserved: {}   # left out",
        "\n    # cursor: created\n",
    ] {
        assert!(text.contains(line), "`{line}` is missing in:\n{text}");
    }
    fs::write(
        &file,
        text.replace(
            "./datalake",
            &case.folder.join("lake").display().to_string(),
        ),
    )
    .unwrap();
    let password = [("PGPASSWORD", PASSWORD)];
    let checked = Inlet::run(INLET, &["check", "--config", &file], &password)
        .await
        .unwrap();
    assert!(
        checked.code == 0 && checked.stdout.contains("\n0 errors, "),
        "{checked:?}"
    );
    let mut inlet = Inlet::start(INLET, &["run", "--config", &file], &password).unwrap();
    let committed = async || Ok(inlet.stderr()?.contains("batch committed"));
    inlet_harness::eventually(crate::case::PATIENCE, "rows are committed", committed).await;
    inlet.terminate().unwrap();
    assert!(
        inlet
            .wait_exit(std::time::Duration::from_secs(20))
            .await
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn a_file_that_exists_stays_as_it_is() {
    let case = Case::new().await;
    fs::write(case.folder.join("made.yml"), "mine").unwrap();
    let (finished, file) = init(&case, &[]).await;
    assert_eq!(finished.code, 78, "{finished:?}");
    assert!(finished.stderr.contains("--output"), "{finished:?}");
    assert_eq!(fs::read_to_string(file).unwrap(), "mine");
}

#[tokio::test]
async fn a_table_that_is_not_there_is_named_and_nothing_written() {
    let case = Case::new().await;
    let (finished, file) = init(&case, &["ordres"]).await;
    assert_eq!(finished.code, 78, "{finished:?}");
    assert!(finished.stderr.contains("`orders`"), "{finished:?}");
    assert!(!fs::exists(file).unwrap());
}
