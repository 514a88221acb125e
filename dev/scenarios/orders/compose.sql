-- What docker-compose.yml loads: the scenario's table under the name that configs/orders_stream.yml captures.
\i /scenario/schema.sql
ALTER TABLE orders RENAME TO roll001_orders;
