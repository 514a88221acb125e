use std::fs;
use std::os::unix::fs::PermissionsExt;

use inlet_harness::PASSWORD;

use crate::case::Case;

#[tokio::test]
async fn a_key_that_is_misspelt_ends_before_any_server_is_asked() {
    let mut case = Case::new().await;
    case.add("  flush_rowz: 10\n");
    let finished = case.run(&[], &[]).await;
    assert_eq!(
        (finished.code, finished.stdout.as_str()),
        (78, ""),
        "{finished:?}"
    );
    assert!(finished.stderr.contains("flush_rows"), "{finished:?}");
}

#[tokio::test]
async fn a_rule_that_is_no_sentence() {
    let mut case = Case::new().await;
    case.add("tables:\n  orders:\n    rules: [amount is positive]\n");
    case.fixed_by(
        "a rule `amount is positive`",
        "error",
        "tables.orders.rules",
        "a rule is `<column> is not null`",
        |case| {
            case.set("tables.orders.rules: [amount > 0]");
        },
    )
    .await;
}

#[tokio::test]
async fn two_tables_in_one_folder() {
    let mut case = Case::new().await;
    case.database
        .sql("CREATE TABLE a (id int PRIMARY KEY, at timestamptz)")
        .await
        .unwrap();
    case.replace("  table: orders\n", "")
        .add("tables:\n  a: {}\n  public.a: {}\n");
    case.check().await.names(
        "tables `a` and `public.a`",
        "error",
        "/data/lake/a",
        "datalake.path",
    );
}

#[tokio::test]
async fn a_flush_that_is_rarer_than_the_sweep() {
    let mut case = Case::new().await;
    case.add("  sweep_interval: 50ms\n");
    case.fixed_by(
        "`sweep_interval: 50ms` with `flush_interval: 100ms`",
        "warning",
        "streaming.flush_interval",
        "exchange",
        |case| {
            case.replace_rest("sweep_interval: 50ms", "sweep_interval: 1s");
        },
    )
    .await;
}

#[tokio::test]
async fn a_password_in_a_file_that_everyone_may_read() {
    let mut case = Case::new().await;
    let secret = case.folder.join("password");
    fs::write(&secret, PASSWORD).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    case.replace(&format!(":{PASSWORD}@"), "@");
    case.replace(
        "  url:",
        &format!("  password_file: {}\n  url:", secret.display()),
    );
    case.fixed(
        "a `password_file` with mode 0644",
        "warning",
        "files",
        "chmod o-r /data/password",
    )
    .await;
}
