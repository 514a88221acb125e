use sqlx::Executor;

use crate::case::Case;

async fn planted(sql: &str) -> Case {
    let case = Case::new().await;
    case.database.sql(sql).await.unwrap();
    case
}

#[tokio::test]
async fn a_typo_in_the_table() {
    let mut case = Case::new().await;
    case.replace("table: orders", "table: ordres");
    case.fixed(
        "`table: ordres`",
        "error",
        "ordres",
        "write `orders` instead of `ordres`",
    )
    .await;
}

#[tokio::test]
async fn a_role_that_may_not_read() {
    let mut case = Case::new().await;
    let role = case.as_role().await;
    case.database
        .sql(&format!("GRANT pg_read_all_stats TO {role}"))
        .await
        .unwrap();
    case.fixed(
        "a role without SELECT",
        "error",
        "orders",
        "GRANT SELECT ON \"public\".\"orders\" TO \"reader\";",
    )
    .await;
}

#[tokio::test]
async fn a_role_that_may_not_use_the_schema() {
    let mut case = planted(
        "CREATE SCHEMA sales; CREATE TABLE sales.orders (id int PRIMARY KEY, \
        created_at timestamptz)",
    )
    .await;
    let role = case.as_role().await;
    case.database
        .sql(&format!(
            "GRANT pg_read_all_stats TO {role}; GRANT SELECT ON sales.orders TO {role}"
        ))
        .await
        .unwrap();
    case.replace("table: orders", "table: sales.orders");
    case.fixed(
        "a role without USAGE on the schema",
        "error",
        "sales.orders",
        "GRANT USAGE ON SCHEMA \"sales\" TO \"reader\";",
    )
    .await;
}

#[tokio::test]
async fn a_view() {
    let mut case = planted("CREATE VIEW recent AS SELECT * FROM orders").await;
    case.replace("table: orders", "table: recent");
    case.fixed("a view", "error", "recent", "write `orders`")
        .await;
}

#[tokio::test]
async fn a_materialized_view() {
    let mut case = planted("CREATE MATERIALIZED VIEW daily AS SELECT * FROM orders").await;
    case.replace("table: orders", "table: daily");
    case.fixed("a materialized view", "error", "daily", "write `orders`")
        .await;
}

#[tokio::test]
async fn a_table_that_others_inherit_from() {
    let mut case = planted("CREATE TABLE web_orders (browser text) INHERITS (orders)").await;
    case.fixed_by(
        "`CREATE TABLE web_orders () INHERITS (orders)`",
        "warning",
        "orders",
        "tables.orders.key",
        |case| {
            case.set("tables.orders.key: [order_id]");
        },
    )
    .await;
}

#[tokio::test]
async fn a_foreign_table() {
    let sql = "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER far FOREIGN DATA WRAPPER nothing;
               CREATE FOREIGN TABLE far_orders (id int, created_at timestamptz) SERVER far";
    let mut case = planted(sql).await;
    case.add("tables:\n  far_orders: {}\n");
    case.fixed("a foreign table", "error", "far_orders", "skip: true")
        .await;
}

#[tokio::test]
async fn row_security_that_hides_rows() {
    let mut case = planted("ALTER TABLE orders ENABLE ROW LEVEL SECURITY").await;
    let role = case.as_role().await;
    case.database
        .sql(&format!(
            "GRANT pg_read_all_stats TO {role}; GRANT SELECT ON orders TO {role}"
        ))
        .await
        .unwrap();
    case.fixed(
        "row-level security",
        "error",
        "orders",
        "ALTER ROLE \"reader\" BYPASSRLS;",
    )
    .await;
}

#[tokio::test]
async fn a_table_without_a_key() {
    let mut case = planted("ALTER TABLE orders DROP CONSTRAINT orders_pkey").await;
    case.fixed(
        "no primary key",
        "warning",
        "orders",
        "ADD PRIMARY KEY (\"order_id\");",
    )
    .await;
}

#[tokio::test]
async fn a_key_that_is_not_unique() {
    let mut case = Case::new().await;
    case.add("tables:\n  orders:\n    key: [customer]\n");
    case.fixed(
        "`key: [customer]`, where customers repeat",
        "warning",
        "orders",
        "tables.orders.key: [order_id]",
    )
    .await;
}

#[tokio::test]
async fn a_typo_in_the_key() {
    let mut case = Case::new().await;
    case.add("tables:\n  orders:\n    key: [order_ID, custmer]\n");
    case.fixed(
        "a misspelt key column",
        "error",
        "orders",
        "tables.orders.key: [order_ID, customer]",
    )
    .await;
}

#[tokio::test]
async fn a_rule_on_a_column_that_is_not_there() {
    let mut case = Case::new().await;
    case.add("tables:\n  orders:\n    rules: [total >= 0]\n");
    case.fixed_by(
        "a rule on a column that the table has not",
        "error",
        "tables.orders.rules",
        "tables.<name>.rules",
        |case| {
            case.set("tables.orders.rules: [amount >= 0]");
        },
    )
    .await;
}

#[tokio::test]
async fn a_rule_that_compares_with_what_the_column_cannot_hold() {
    let mut case = Case::new().await;
    case.add("tables:\n  orders:\n    rules: [\"order_id >= 'a'\"]\n");
    case.fixed_by(
        "a rule `order_id >= 'a'`",
        "error",
        "tables.orders.rules",
        "write a value",
        |case| {
            case.set("tables.orders.rules: [order_id >= 0]");
        },
    )
    .await;
}

#[tokio::test]
async fn a_date_column_that_is_no_date() {
    let mut case = Case::new().await;
    case.add("tables:\n  orders:\n    date_column: customer\n");
    let fix = "tables.orders.date_column: created_at";
    case.fixed(
        "a `date_column` of text",
        "error",
        "tables.orders.date_column",
        fix,
    )
    .await;
}

#[tokio::test]
async fn a_table_that_a_crash_empties() {
    let mut case = planted("ALTER TABLE orders SET UNLOGGED").await;
    case.fixed(
        "an unlogged table",
        "warning",
        "orders",
        "ALTER TABLE \"public\".\"orders\" SET LOGGED;",
    )
    .await;
}

#[tokio::test]
async fn a_table_that_is_locked() {
    let mut case = Case::new().await;
    let mut holder = case.database.connect().await.unwrap();
    holder.execute("BEGIN; LOCK TABLE orders").await.unwrap();
    let masks = [
        ("session ", " holds", "4711"),
        ("terminate_backend(", ")", "4711"),
    ];
    case.fixed_with(
        "a table that a session has locked",
        "warning",
        "orders",
        "pg_terminate_backend(4711)",
        &masks,
    )
    .await;
}

#[tokio::test]
async fn types_that_come_as_text() {
    let case = planted("ALTER TABLE orders ADD COLUMN place point, ADD COLUMN price money").await;
    case.check()
        .await
        .names("columns of types point and money", "info", "orders", "");
}

#[tokio::test]
async fn columns_that_differ_in_case_only() {
    let mut case = Case::new().await;
    let sql = "CREATE TABLE pairs (id int PRIMARY KEY, \"Id\" text, at timestamptz)";
    case.database.sql(sql).await.unwrap();
    case.replace("  table: orders\n", "  table: pairs\n");
    case.check().await.names(
        "columns `id` and `\"Id\"`",
        "warning",
        "pairs",
        "rename the columns",
    );
}

#[tokio::test]
async fn a_table_without_a_key_whose_rows_repeat() {
    let sql = "ALTER TABLE orders DROP CONSTRAINT orders_pkey; UPDATE orders SET order_id = 1";
    let mut case = planted(sql).await;
    let fix = "ADD COLUMN row_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;";
    case.fixed(
        "no primary key, and no column is unique",
        "warning",
        "orders",
        fix,
    )
    .await;
}

#[tokio::test]
async fn a_key_without_a_unique_index() {
    let mut case = planted("UPDATE orders SET customer = order_id").await;
    case.add("tables:\n  orders:\n    key: [customer]\n");
    case.fixed(
        "`key: [customer]`, and no index keeps them unique",
        "warning",
        "orders",
        "CREATE UNIQUE INDEX CONCURRENTLY ON \"public\".\"orders\" (\"customer\");",
    )
    .await;
}

#[tokio::test]
async fn a_typo_in_the_schema() {
    let mut case = Case::new().await;
    case.replace("table: orders", "table: pubic.orders");
    let fix = "write `orders` instead of `pubic.orders`";
    case.fixed("`table: pubic.orders`", "error", "pubic.orders", fix)
        .await;
}

#[tokio::test]
async fn a_role_that_may_read_some_columns() {
    let mut case = Case::new().await;
    let role = case.as_role().await;
    let sql = format!(
        "GRANT pg_read_all_stats TO {role}; GRANT SELECT (order_id, created_at) ON orders TO {role}"
    );
    case.database.sql(&sql).await.unwrap();
    case.fixed(
        "SELECT on some of the columns",
        "error",
        "orders",
        "GRANT SELECT ON \"public\".\"orders\" TO \"reader\";",
    )
    .await;
}

#[tokio::test]
async fn a_partition_in_the_place_of_its_table() {
    let sql = "CREATE TABLE events (id int, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY \
        (id, at)) PARTITION BY RANGE (at); CREATE INDEX ON events (at); CREATE TABLE events_2026 \
        PARTITION OF events DEFAULT";
    let mut case = planted(sql).await;
    case.replace("table: orders", "table: events_2026");
    case.fixed(
        "a partition instead of its table",
        "warning",
        "events_2026",
        "write `events` instead of `events_2026`",
    )
    .await;
}

#[tokio::test]
async fn dates_that_are_birthdays() {
    let sql = "CREATE TABLE people (id int PRIMARY KEY, born date, seen timestamptz NOT NULL \
        DEFAULT now()); CREATE INDEX ON people (seen);
               INSERT INTO people SELECT i, date '1940-01-01' + i FROM generate_series(1, 20000) i;
               ANALYZE people";
    let mut case = planted(sql).await;
    case.replace("table: orders", "table: people");
    // A plain date is no column that is chosen where there is a timestamp.
    assert_eq!(case.check().await.complaints(), [""; 0]);
    case.add("tables:\n  people:\n    date_column: born\n");
    case.fixed(
        "`date_column: born` with 20,000 birthdays",
        "warning",
        "people.born",
        "tables.people.date_column: seen",
    )
    .await;
}
