-- The orders in the lake, asked with DuckDB. Run it where the lake is `./datalake`:
--
--   duckdb < dev/scenarios/orders/queries.sql

-- Every version of every order that reached the lake
CREATE TEMP VIEW changes AS
SELECT * FROM read_parquet('datalake/**/*.parquet', hive_partitioning = true, union_by_name = true);

-- The orders as they are now
CREATE TEMP VIEW orders AS
SELECT * FROM changes
QUALIFY row_number() OVER (PARTITION BY order_id ORDER BY _offset DESC) = 1 AND _op = 'u';

-- Total
SELECT count(*) AS orders, sum(amount) AS amount FROM orders;

-- By date
SELECT date, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY date ORDER BY date;

-- Duplicates
SELECT order_id, count(*) AS times FROM changes GROUP BY order_id, _xid HAVING count(*) > 1;

-- Negative amounts
SELECT order_id, amount FROM orders WHERE amount < 0;
