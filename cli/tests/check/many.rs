//! A check of many tables, beside the services that carry them.

use inlet_harness::{Inlet, eventually, shared_kafka};

use crate::case::{Case, INLET, PATIENCE};

const TABLES: usize = 40;
/// About what fits on two screens.
const LINES_MAX: usize = 60;

/// Tables of a usual shape; the odd ones lack the index on their cursor.
async fn tables() -> Case {
    let mut case = Case::new().await;
    let one = |at: usize| {
        let index = match at % 2 {
            0 => format!("CREATE INDEX ON many.t{at} (created_at);"),
            _ => String::new(),
        };
        format!(
            "CREATE TABLE many.t{at} (id int PRIMARY KEY, note text, created_at timestamptz NOT \
                NULL DEFAULT now()); {index} INSERT INTO many.t{at} VALUES ({at}, 'n');"
        )
    };
    let sql: String = (0..TABLES).map(one).collect();
    let sql = format!("CREATE SCHEMA many; {sql}");
    case.database.sql(&sql).await.unwrap();
    case.replace("  table: orders\n", "")
        .add("tables:\n  many.*: {}\n");
    case
}

async fn report(case: &Case, more: &[&str]) -> (i32, String) {
    let config = case.config();
    let arguments = [&["check", "--config", config.as_str()], more].concat();
    let finished = Inlet::run(INLET, &arguments, &[]).await.unwrap();
    (finished.code, finished.stdout)
}

#[tokio::test]
async fn many_tables_beside_running_services_fit_on_a_screen() {
    let mut case = tables().await;
    let (kafka, topic) = (shared_kafka().await, case.database.name().to_owned());
    case.add(&format!(
        "pipeline: {topic}\nkafka:\n  brokers: {}\n  topic_template: '{topic}.{{table}}'\n",
        kafka.bootstrap()
    ));
    let start = |verb: &str| Inlet::start(INLET, &[verb, "--config", &case.config()], &[]).unwrap();
    let mut services = [start("producer"), start("consumer")];
    eventually(PATIENCE, "every table is in the lake", async || {
        let log = services[1].stderr()?;
        let of_table = |at: usize| log.contains(&format!("table=many.t{at} "));
        Ok((0..TABLES).all(of_table))
    })
    .await;

    let (code, text) = report(&case, &[]).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.lines().count() <= LINES_MAX, "{text}");
    // What half of the tables lack is named once; that services run is no complaint.
    let warnings = text.lines().filter(|line| line.starts_with("  warning"));
    let warnings: Vec<_> = warnings.collect();
    assert_eq!(warnings.len(), 1, "{text}");
    assert!(warnings[0].starts_with("  warning  20 tables  "), "{text}");
    assert!(text.contains("and likewise for the others"), "{text}");
    assert!(text.contains(" and 15 more\n"), "{text}");

    let (_, each) = report(&case, &["-v"]).await;
    assert_eq!(each.matches("  warning  ").count(), TABLES / 2, "{each}");
    let (code, quiet) = report(&case, &["-q", "--strict"]).await;
    assert_eq!(code, 1, "a warning counts: {quiet}");
    assert!(!quiet.contains("  ok  ") && !quiet.contains("  info  "));

    for service in &mut services {
        service.terminate().unwrap();
        let ended = service.wait_exit(PATIENCE).await.unwrap();
        assert!(ended.success(), "{}", service.stderr().unwrap());
    }
}
