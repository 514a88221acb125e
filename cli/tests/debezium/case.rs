//! The tables, their changes, and the settings of each connector.

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::Result;
use inlet_harness::{Database, Kafka};
use serde_json::json;

/// One connector with the consumer of its topic.
#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    pub table: &'static str,
    pub decimals: &'static str,
    pub times: &'static str,
    pub schemas: bool,
    /// True where the columns are in the consumer's configuration.
    pub declares: bool,
    pub partitions: i32,
}

pub const CASE: Case = Case {
    name: "",
    table: "orders",
    decimals: "precise",
    times: "adaptive",
    schemas: true,
    declares: true,
    partitions: 1,
};

pub const CASES: [Case; 7] = [
    Case {
        name: "precise_on",
        declares: false,
        partitions: 3,
        ..CASE
    },
    Case {
        name: "string_on",
        decimals: "string",
        ..CASE
    },
    Case {
        name: "double_on",
        decimals: "double",
        ..CASE
    },
    Case {
        name: "precise_off",
        schemas: false,
        ..CASE
    },
    Case {
        name: "string_off",
        decimals: "string",
        times: "adaptive_time_microseconds",
        schemas: false,
        partitions: 3,
        ..CASE
    },
    Case {
        name: "double_off",
        decimals: "double",
        schemas: false,
        ..CASE
    },
    // Debezium cuts microseconds in this mode, so its table has none.
    Case {
        name: "connect_off",
        table: "orders_ms",
        times: "connect",
        schemas: false,
        ..CASE
    },
];

/// The columns of the table whose messages are recorded.
fn columns() -> Vec<&'static str> {
    let text = include_str!("../../../dev/fixtures/debezium/columns.txt");
    text.lines().collect()
}

pub fn columns_yaml() -> String {
    let quoted: Vec<_> = columns()
        .iter()
        .map(|column| format!("\"{column}\""))
        .collect();
    format!("[{}]", quoted.join(", "))
}

pub fn create_tables() -> String {
    let columns = columns().join(", ");
    let table = |name: &str| format!("CREATE TABLE {name} ({columns}, PRIMARY KEY (id));");
    format!("{}\n{}", table("orders"), table("orders_ms"))
}

/// Rows with these ids, some of them with nulls, in both tables.
pub fn insert(ids: RangeInclusive<i64>) -> String {
    let mut sql = String::new();
    let (from, to) = (ids.start(), ids.end());
    for (table, micros) in [("orders", "microseconds"), ("orders_ms", "milliseconds")] {
        let _ = write!(
            sql,
            "INSERT INTO {table} SELECT i, 0, 'name \"' || i || '\" ä\\', 'c' || i,
             (i * 7 - 300)::numeric / 100 * CASE WHEN i % 2 = 0 THEN 1 ELSE -1 END,
             i % 1000, DATE '2026-01-01' + i::int, TIME '00:00:00' + i * INTERVAL '1.000001 s',
             TIME '00:00:00' + i * INTERVAL '1.001 s',
             date_trunc('{micros}', TIMESTAMP '1960-01-01' + i * INTERVAL '101 days 1.000001 s'),
             TIMESTAMP '2026-01-01' + i * INTERVAL '1.001 s',
             TIMESTAMPTZ '2026-01-01 00:00:00+02' + i * INTERVAL '1.000001 s',
             i % 2 = 0, i % 100, i / 3.0, i / 7.0, gen_random_uuid(),
             jsonb_build_object('a', i, 'b', ARRAY[i, NULL]), decode(to_hex(i + 4096), 'hex'),
             ARRAY['a' || i, NULL, 'x,\"y']
             FROM generate_series({from}, {to}) i;\n"
        );
        if table == "orders_ms" {
            let _ = write!(
                sql,
                "UPDATE {table} SET at_time = date_trunc('milliseconds', at_time::interval)::time
                 WHERE id BETWEEN {from} AND {to};\n"
            );
        }
        let _ = write!(
            sql,
            "UPDATE {table} SET name = NULL, amount = NULL, day = NULL, at_time = NULL, at = NULL,
             at_zone = NULL, flag = NULL, uid = NULL, doc = NULL, raw = NULL, tags = NULL,
             near = NULL, far = NULL, small = NULL
             WHERE id BETWEEN {from} AND {to} AND id % 10 = 0;\n"
        );
    }
    sql
}

/// Inserts, updates and deletes, among them a row that is deleted and comes back.
pub fn changes(round: i64) -> String {
    let mut sql = insert(1_000 * (round + 1)..=1_000 * (round + 1) + 50);
    for table in ["orders", "orders_ms"] {
        let _ = write!(
            sql,
            "UPDATE {table} SET version = version + 1, amount = amount + 1 WHERE id % 3 = {};
             DELETE FROM {table} WHERE id % 11 = {round};
             BEGIN;
             INSERT INTO {table} (id, version, name) VALUES (77777, {round}, 'back')
             ON CONFLICT (id) DO NOTHING;
             UPDATE {table} SET name = 'again' WHERE id = 77777;
             COMMIT;
             DELETE FROM {table} WHERE id = 77777;
             INSERT INTO {table} (id, version, name) VALUES (77777, {round}, 'back');
             UPDATE {table} SET id = id + 500000 WHERE id = 1005;\n",
            round % 3
        );
    }
    sql
}

/// Writes the messages of a few rows, and the rows themselves, as fixtures.
pub async fn record(to: &Path, kafka: &Kafka, database: &Database) -> Result<()> {
    for case in &CASES {
        let topic = format!("{}.public.{}", case.name, case.table);
        let records = kafka.read(&topic).await?;
        let mut lines = String::new();
        let is_wanted = |key: &str| {
            ["1", "9", "10", "14", "77777"]
                .iter()
                .any(|id| key.contains(&format!("\"id\":{id}}}")))
        };
        for record in records
            .iter()
            .filter(|record| is_wanted(&record.key_text()))
        {
            let line = json!({
                "key": record.key_text(),
                "value": record.value.as_ref().map(|_| record.value_text()),
            });
            let _ = writeln!(lines, "{line}");
        }
        std::fs::write(to.join(format!("{}.jsonl", case.name)), lines)?;
        let columns: Vec<_> = columns()
            .iter()
            .map(|column| column.split(' ').next().unwrap_or_default())
            .collect();
        let rows = database
            .rows(&format!(
                "SELECT {} FROM {} WHERE id IN (1, 9, 10, 14, 77777) ORDER BY id",
                columns.join(", "),
                case.table
            ))
            .await?;
        let text = serde_json::to_string_pretty(&rows)?;
        std::fs::write(to.join(format!("{}.rows.json", case.name)), text)?;
    }
    Ok(())
}
