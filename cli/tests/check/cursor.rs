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
    let case = planted("ALTER TABLE orders DROP COLUMN created_at").await;
    case.check().await.names(
        "no timestamp column",
        "warning",
        "orders",
        "ADD COLUMN updated_at",
    );
}

#[tokio::test]
async fn a_time_that_nothing_tells_to_be_the_cursor() {
    let case = planted(
        "ALTER TABLE orders RENAME COLUMN created_at TO at; DROP INDEX orders_created_at_idx",
    )
    .await;
    let checked = case.check().await;
    checked.names(
        "a timestamp column `at` without an index",
        "warning",
        "orders",
        "CREATE INDEX CONCURRENTLY \"orders_at_idx\"",
    );
}

#[tokio::test]
async fn a_typo_in_the_cursor() {
    let mut case = Case::new().await;
    case.add("tables:\n  orders:\n    cursor: updated_at\n");
    case.check().await.names(
        "`cursor: updated_at`, which is not there",
        "error",
        "orders",
        "tables.orders.cursor: created_at",
    );
}

#[tokio::test]
async fn a_cursor_that_is_no_time() {
    let mut case = Case::new().await;
    case.add("tables:\n  orders:\n    cursor: order_id\n");
    case.check().await.names(
        "`cursor: order_id`",
        "error",
        "orders",
        "tables.orders.cursor: created_at",
    );
}

#[tokio::test]
async fn a_cursor_without_an_index() {
    let case = planted("DROP INDEX orders_created_at_idx").await;
    let fix = "CREATE INDEX CONCURRENTLY \"orders_created_at_idx\" ON \"public\".\"orders\" \
        (\"created_at\");";
    case.check()
        .await
        .names("no index on the cursor column", "warning", CURSOR, fix);
}

#[tokio::test]
async fn a_partitioned_table_without_an_index() {
    let sql = "CREATE TABLE events (id int, at timestamptz NOT NULL, PRIMARY KEY (id, at)) \
        PARTITION BY RANGE (at);
               CREATE TABLE events_all PARTITION OF events DEFAULT";
    let mut case = planted(sql).await;
    case.replace("table: orders", "table: events")
        .add("tables:\n  events:\n    cursor: at\n");
    let fix = "CREATE INDEX \"events_at_idx\" ON \"public\".\"events\" (\"at\");";
    case.check().await.names(
        "a partitioned table without an index on the cursor",
        "warning",
        "events.at",
        fix,
    );
}

#[tokio::test]
async fn an_index_over_some_rows() {
    let case = planted(
        "DROP INDEX orders_created_at_idx; CREATE INDEX paid ON orders (created_at) \
        WHERE amount > 0",
    )
    .await;
    case.check().await.names(
        "a partial index on the cursor",
        "warning",
        CURSOR,
        "CREATE INDEX CONCURRENTLY",
    );
}

#[tokio::test]
async fn an_index_whose_creation_failed() {
    let case = planted("DROP INDEX orders_created_at_idx").await;
    // Both rows have the time of one transaction.
    case.database
        .sql("CREATE UNIQUE INDEX CONCURRENTLY at ON orders (created_at)")
        .await
        .unwrap_err();
    case.check().await.names(
        "an index whose CREATE INDEX CONCURRENTLY failed",
        "warning",
        CURSOR,
        "REINDEX INDEX CONCURRENTLY at;",
    );
}

#[tokio::test]
async fn an_index_that_the_planner_does_not_use() {
    let sql = "INSERT INTO orders (customer, amount) SELECT repeat('x', 200), 1 FROM \
        generate_series(1, 60000); ANALYZE orders";
    let case = planted(sql).await;
    let name = case.database.name();
    let off = format!(
        "ALTER DATABASE {name} SET enable_indexscan = off; ALTER DATABASE {name} SET \
            enable_bitmapscan = off"
    );
    case.database.sql(&off).await.unwrap();
    case.check().await.names(
        "`enable_indexscan` and `enable_bitmapscan` off",
        "warning",
        CURSOR,
        "ALTER ROLE inlet_test SET enable_indexscan = on;",
    );
}

#[tokio::test]
async fn a_cursor_of_days() {
    let case = planted("ALTER TABLE orders ALTER COLUMN created_at TYPE date").await;
    case.check().await.names(
        "a cursor of type date",
        "warning",
        CURSOR,
        "ADD COLUMN updated_at timestamptz",
    );
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
    let case =
        planted("INSERT INTO orders (amount, created_at) VALUES (3, '2999-01-01 00:00:00+00')")
            .await;
    case.check().await.names(
        "a stamp in the future",
        "warning",
        CURSOR,
        "UPDATE \"public\".\"orders\" SET \"created_at\" = now()",
    );
}

#[tokio::test]
async fn rows_without_a_stamp() {
    let sql = "ALTER TABLE orders ALTER COLUMN created_at DROP NOT NULL; INSERT INTO orders \
        (amount, created_at) VALUES (3, NULL)";
    let case = planted(sql).await;
    case.check().await.names(
        "NULL in the cursor",
        "warning",
        CURSOR,
        "ALTER COLUMN \"created_at\" SET NOT NULL;",
    );
}

#[tokio::test]
async fn a_cursor_that_may_be_null() {
    let case = planted("ALTER TABLE orders ALTER COLUMN created_at DROP NOT NULL").await;
    case.check().await.names(
        "a nullable cursor without NULLs",
        "info",
        CURSOR,
        "SET NOT NULL;",
    );
}

#[tokio::test]
async fn a_time_of_change_that_nothing_maintains() {
    let sql = "ALTER TABLE orders ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(); CREATE \
        INDEX ON orders (updated_at)";
    let case = planted(sql).await;
    let planted = "`updated_at` with DEFAULT now() and no trigger";
    case.check().await.names(
        planted,
        "warning",
        "orders.updated_at",
        "CREATE TRIGGER \"orders_touch\" BEFORE UPDATE ON \"public\".\"orders\"",
    );
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
    let case = planted(sql).await;
    case.check().await.names(
        "`updated_at` with a disabled trigger",
        "warning",
        "orders.updated_at",
        "CREATE TRIGGER",
    );
}

#[tokio::test]
async fn updates_that_leave_the_cursor_where_it_is() {
    let case = planted("UPDATE orders SET amount = 7").await;
    let mut connection = case.database.connect().await.unwrap();
    let sql = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'orders'";
    eventually(PATIENCE, "the updates are counted", async || {
        Ok(sqlx::query_scalar::<_, i64>(sql)
            .fetch_one(&mut connection)
            .await?
            == 2)
    })
    .await;
    case.check().await.names(
        "updates, and `created_at` as the cursor",
        "warning",
        CURSOR,
        "`streaming.sweep_interval`",
    );
}
