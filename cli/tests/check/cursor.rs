use inlet_harness::eventually;

use crate::case::{Case, PATIENCE};

const CURSOR: &str = "orders.created_at";

async fn planted(sql: &str) -> Case {
    let case = Case::new().await;
    case.database.sql(sql).await.unwrap();
    case
}

#[tokio::test]
async fn no_column_to_find_new_rows_by() {
    let mut case = planted("ALTER TABLE orders DROP COLUMN created_at").await;
    case.fixed(
        "no timestamp column",
        "warning",
        "orders",
        "ADD COLUMN updated_at",
    )
    .await;
}

#[tokio::test]
async fn a_time_that_nothing_tells_to_be_the_cursor() {
    let mut case = planted(
        "ALTER TABLE orders RENAME COLUMN created_at TO at; DROP INDEX orders_created_at_idx",
    )
    .await;
    case.fixed(
        "a timestamp column `at` without an index",
        "warning",
        "orders",
        "CREATE INDEX CONCURRENTLY ON \"public\".\"orders\" (\"at\");",
    )
    .await;
}

#[tokio::test]
async fn a_typo_in_the_cursor() {
    let mut case = Case::new().await;
    case.add("tables:\n  orders:\n    cursor: updated_at\n");
    case.fixed(
        "`cursor: updated_at`, which is not there",
        "error",
        "orders",
        "tables.orders.cursor: created_at",
    )
    .await;
}

#[tokio::test]
async fn a_cursor_that_is_no_time() {
    let mut case = Case::new().await;
    case.add("tables:\n  orders:\n    cursor: order_id\n");
    case.fixed(
        "`cursor: order_id`",
        "error",
        "orders",
        "tables.orders.cursor: created_at",
    )
    .await;
}

#[tokio::test]
async fn a_cursor_without_an_index() {
    let mut case = planted("DROP INDEX orders_created_at_idx").await;
    let fix = "CREATE INDEX CONCURRENTLY ON \"public\".\"orders\" \
        (\"created_at\");";
    case.fixed("no index on the cursor column", "warning", CURSOR, fix)
        .await;
}

#[tokio::test]
async fn a_partitioned_table_without_an_index() {
    let sql = "CREATE TABLE events (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) \
        PARTITION BY RANGE (at);
               CREATE TABLE events_all PARTITION OF events DEFAULT";
    let mut case = planted(sql).await;
    case.replace("table: orders", "table: events")
        .add("tables:\n  events:\n    cursor: at\n");
    let fix = "CREATE INDEX ON \"public\".\"events\" (\"at\");";
    case.fixed(
        "a partitioned table without an index on the cursor",
        "warning",
        "events.at",
        fix,
    )
    .await;
}

#[tokio::test]
async fn an_index_over_some_rows() {
    let mut case = planted(
        "DROP INDEX orders_created_at_idx; CREATE INDEX paid ON orders (created_at) \
        WHERE amount > 0",
    )
    .await;
    case.fixed(
        "a partial index on the cursor",
        "warning",
        CURSOR,
        "CREATE INDEX CONCURRENTLY",
    )
    .await;
}

#[tokio::test]
async fn an_index_whose_creation_failed() {
    let mut case = planted("DROP INDEX orders_created_at_idx").await;
    // Both rows have the time of one transaction.
    case.database
        .sql("CREATE UNIQUE INDEX CONCURRENTLY at ON orders (created_at)")
        .await
        .unwrap_err();
    case.fixed(
        "an index whose CREATE INDEX CONCURRENTLY failed",
        "warning",
        CURSOR,
        "DROP INDEX CONCURRENTLY at;",
    )
    .await;
}

#[tokio::test]
async fn an_index_that_the_planner_does_not_use() {
    let sql = "INSERT INTO orders (customer, amount, created_at) SELECT repeat('x', 200), 1, now() - interval '1 day' FROM \
        generate_series(1, 60000); ANALYZE orders";
    let mut case = planted(sql).await;
    let name = case.database.name();
    let off = format!(
        "ALTER DATABASE {name} SET enable_indexscan = off; ALTER DATABASE {name} SET \
            enable_bitmapscan = off"
    );
    case.database.sql(&off).await.unwrap();
    case.fixed(
        "`enable_indexscan` and `enable_bitmapscan` off",
        "warning",
        CURSOR,
        "ALTER ROLE inlet_test SET enable_indexscan = on;",
    )
    .await;
}

#[tokio::test]
async fn a_cursor_of_days() {
    let mut case = planted("ALTER TABLE orders ALTER COLUMN created_at TYPE date").await;
    case.fixed(
        "a cursor of type date",
        "warning",
        CURSOR,
        "ADD COLUMN updated_at timestamptz",
    )
    .await;
}

#[tokio::test]
async fn a_cursor_of_seconds() {
    let case = planted("ALTER TABLE orders ALTER COLUMN created_at TYPE timestamptz(0)").await;
    case.check()
        .await
        .names("a cursor of type timestamptz(0)", "info", CURSOR, "");
}

#[tokio::test]
async fn a_cursor_without_zone() {
    let case = planted("ALTER TABLE orders ALTER COLUMN created_at TYPE timestamp").await;
    case.check()
        .await
        .names("a cursor of type timestamp", "info", CURSOR, "");
}

#[tokio::test]
async fn stamps_of_tomorrow() {
    let mut case =
        planted("INSERT INTO orders (amount, created_at) VALUES (3, '2999-01-01 00:00:00+00')")
            .await;
    case.fixed(
        "a stamp in the future",
        "warning",
        CURSOR,
        "ADD COLUMN updated_at",
    )
    .await;
}

#[tokio::test]
async fn rows_without_a_stamp() {
    let sql = "ALTER TABLE orders ALTER COLUMN created_at DROP NOT NULL, ALTER COLUMN created_at DROP DEFAULT; INSERT INTO orders \
        (amount, created_at) VALUES (3, NULL)";
    let mut case = planted(sql).await;
    case.fixed(
        "NULL in the cursor",
        "warning",
        CURSOR,
        "SET DEFAULT now();",
    )
    .await;
}

#[tokio::test]
async fn a_cursor_that_may_be_null() {
    let mut case = planted("ALTER TABLE orders ALTER COLUMN created_at DROP NOT NULL").await;
    case.fixed(
        "a nullable cursor without NULLs",
        "info",
        CURSOR,
        "SET NOT NULL;",
    )
    .await;
}

#[tokio::test]
async fn a_time_of_change_that_nothing_maintains() {
    let sql = "ALTER TABLE orders ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(); CREATE \
        INDEX ON orders (updated_at)";
    let mut case = planted(sql).await;
    let planted = "`updated_at` with DEFAULT now() and no trigger";
    case.fixed(
        planted,
        "warning",
        "orders.updated_at",
        "CREATE TRIGGER \"orders_touch\" BEFORE UPDATE ON \"public\".\"orders\"",
    )
    .await;
}

#[tokio::test]
async fn a_trigger_that_was_disabled() {
    let sql =
        "ALTER TABLE orders ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(); CREATE \
        INDEX ON orders (updated_at);
               CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at \
        := now(); RETURN NEW; END $$;
               CREATE TRIGGER touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
               ALTER TABLE orders DISABLE TRIGGER touch";
    let mut case = planted(sql).await;
    case.fixed(
        "`updated_at` with a disabled trigger",
        "warning",
        "orders.updated_at",
        "ENABLE TRIGGER \"touch\";",
    )
    .await;
}

#[tokio::test]
async fn updates_that_leave_the_cursor_where_it_is() {
    let mut case = planted("UPDATE orders SET amount = 7").await;
    let mut connection = case.database.connect().await.unwrap();
    let sql = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'orders'";
    eventually(PATIENCE, "the updates are counted", async || {
        Ok(sqlx::query_scalar::<_, i64>(sql)
            .fetch_one(&mut connection)
            .await?
            == 2)
    })
    .await;
    case.fixed(
        "updates, and `created_at` as the cursor",
        "warning",
        CURSOR,
        "`streaming.sweep_interval`",
    )
    .await;
}
