//! Changes other than of one column's type: names, keys, labels, attributes, defaults.

use std::fmt::Write as _;

use crate::lake::{Captured, Way};

/// A table that is altered in one or more steps; rows are inserted before and after each.
struct Script {
    table: &'static str,
    /// The types that its columns need.
    before: &'static str,
    /// The columns after `id`, and the constraints.
    columns: &'static str,
    /// Values of two rows: what follows the key.
    rows: [&'static str; 2],
    /// Each step is one transaction: statements, `$` is the table.
    steps: &'static [&'static str],
}

const fn script(
    table: &'static str,
    columns: &'static str,
    rows: [&'static str; 2],
    steps: &'static [&'static str],
) -> Script {
    Script {
        table,
        before: "",
        columns,
        rows,
        steps,
    }
}

const SCRIPTS: &[Script] = &[
    script(
        "renamed",
        "note text",
        ["'a'", "NULL"],
        &[
            "ALTER TABLE $ RENAME note TO remark",
            "UPDATE $ SET remark = 'b' WHERE id = 2",
        ],
    ),
    script(
        "dropped",
        "note text, other int",
        ["'a', 1", "'b', 2"],
        &["ALTER TABLE $ DROP note"],
    ),
    script(
        "added_again",
        "note text",
        ["'a'", "'b'"],
        &[
            "ALTER TABLE $ DROP note; ALTER TABLE $ ADD note text",
            "UPDATE $ SET note = 'c' WHERE id = 1",
        ],
    ),
    script(
        "added_again_as_another",
        "note text",
        ["'a'", "'b'"],
        &["ALTER TABLE $ DROP note; ALTER TABLE $ ADD note int DEFAULT 7"],
    ),
    script(
        "swapped",
        "a text, b text",
        ["'a', 'b'", "'c', NULL"],
        &[
            "ALTER TABLE $ RENAME a TO x; ALTER TABLE $ RENAME b TO a; ALTER TABLE $ RENAME x TO b",
            "UPDATE $ SET a = 'new' WHERE id = 1",
        ],
    ),
    script(
        "swapped_types",
        "a text, b int",
        ["'a', 1", "'c', NULL"],
        &["ALTER TABLE $ RENAME a TO x; ALTER TABLE $ RENAME b TO a; ALTER TABLE $ RENAME x TO b"],
    ),
    script(
        "back_and_forth",
        "n text",
        ["'1'", "'2'"],
        &[
            "ALTER TABLE $ ALTER n TYPE int USING n::int",
            "ALTER TABLE $ ALTER n TYPE text",
            "ALTER TABLE $ ALTER n TYPE uuid USING NULL",
            "ALTER TABLE $ ALTER n TYPE text",
        ],
    ),
    script(
        "rewritten",
        "note text",
        ["'a'", "'b'"],
        &["ALTER TABLE $ ALTER note TYPE text USING upper(note) || '!'"],
    ),
    script(
        "narrowed",
        "n bigint",
        ["1", "-5"],
        &[
            "ALTER TABLE $ ALTER n TYPE smallint",
            "ALTER TABLE $ ALTER n TYPE bigint",
        ],
    ),
    script(
        "defaulted",
        "n int",
        ["1", "NULL"],
        &[
            "ALTER TABLE $ ADD more int NOT NULL DEFAULT 5",
            "ALTER TABLE $ ALTER n SET DEFAULT 9; UPDATE $ SET n = DEFAULT WHERE id = 1",
        ],
    ),
    script(
        "with_zone",
        "at timestamp",
        ["'2026-01-02 03:04:05'", "NULL"],
        &["SET LOCAL TimeZone = 'UTC'; ALTER TABLE $ ALTER at TYPE timestamptz"],
    ),
    script(
        "without_zone",
        "at timestamptz",
        ["'2026-01-02 03:04:05+00'", "NULL"],
        &["SET LOCAL TimeZone = 'UTC'; ALTER TABLE $ ALTER at TYPE timestamp"],
    ),
    script(
        "with_other_zone",
        "at timestamp",
        ["'2026-01-02 03:04:05'", "NULL"],
        &["SET LOCAL TimeZone = 'Asia/Kolkata'; ALTER TABLE $ ALTER at TYPE timestamptz"],
    ),
    Script {
        before: "CREATE TYPE state AS ENUM ('in_prgs', 'done')",
        ..script(
            "relabelled",
            "s state, all_of state[]",
            ["'in_prgs', '{in_prgs}'", "'done', NULL"],
            &["ALTER TYPE state RENAME VALUE 'in_prgs' TO 'in_progress'"],
        )
    },
    Script {
        before: "CREATE TYPE place AS (city text, zip int); CREATE DOMAIN home AS place",
        ..script(
            "composed",
            "p place, h home, all_of place[]",
            [
                "'(Oslo,1)', '(Bergen,2)', '{\"(Rom,3)\"}'",
                "NULL, NULL, NULL",
            ],
            &["ALTER TYPE place ADD ATTRIBUTE country text"],
        )
    },
    script(
        "key_as_text",
        "note text",
        ["'a'", "'b'"],
        &[
            "ALTER TABLE $ ALTER id TYPE text",
            "UPDATE $ SET note = 'c' WHERE id = '1'",
        ],
    ),
    script(
        "key_as_bigint",
        "note text",
        ["'a'", "'b'"],
        &[
            "ALTER TABLE $ ALTER id TYPE bigint",
            "UPDATE $ SET note = 'c' WHERE id = 1",
        ],
    ),
    script(
        "key_as_numeric",
        "note text",
        ["'a'", "'b'"],
        &[
            "ALTER TABLE $ ALTER id TYPE numeric(10,2)",
            "UPDATE $ SET note = 'c' WHERE id = 1",
            "ALTER TABLE $ ALTER id TYPE numeric(12,4)",
            "UPDATE $ SET note = 'd' WHERE id = 1",
        ],
    ),
    script(
        "key_renamed",
        "note text",
        ["'a'", "'b'"],
        &[
            "ALTER TABLE $ RENAME id TO number; ALTER TABLE $ ADD id int; UPDATE $ SET id = 10 - number",
            "UPDATE $ SET note = 'c' WHERE number = 1",
        ],
    ),
    script(
        "key_moved",
        "other int NOT NULL UNIQUE, note text",
        ["7, 'a'", "8, 'b'"],
        &[
            "ALTER TABLE $ DROP CONSTRAINT $_pkey; ALTER TABLE $ ADD PRIMARY KEY (other)",
            "UPDATE $ SET note = 'c' WHERE other = 8",
        ],
    ),
    script(
        "case_twins",
        "\"Note\" text",
        ["'a'", "'b'"],
        &[
            "ALTER TABLE $ ADD note text; UPDATE $ SET note = 'x' WHERE id = 1",
            "ALTER TABLE $ DROP \"Note\"",
        ],
    ),
    script(
        "dated",
        "happened_at timestamptz NOT NULL",
        ["'2026-01-02 03:04:05+00'", "'2026-01-03 00:00+00'"],
        &[
            "ALTER TABLE $ ALTER happened_at TYPE timestamp USING happened_at AT TIME ZONE 'UTC'",
            "ALTER TABLE $ RENAME happened_at TO seen_at",
        ],
    ),
];

fn setup() -> String {
    let mut sql = String::new();
    for script in SCRIPTS {
        let Script {
            table,
            before,
            columns,
            rows,
            ..
        } = script;
        writeln!(
            sql,
            "{before};\nCREATE TABLE {table} (id int PRIMARY KEY, {columns});"
        )
        .unwrap();
        for (at, row) in rows.iter().enumerate() {
            writeln!(sql, "INSERT INTO {table} VALUES ({}, {row});", at + 1).unwrap();
        }
    }
    sql
}

async fn every_script(way: Way, with_kills: bool) {
    let mut captured = Captured::start(way, &setup()).await;
    let tables: Vec<_> = SCRIPTS.iter().map(|script| script.table).collect();
    captured.equal(&tables).await;
    let steps = SCRIPTS
        .iter()
        .map(|script| script.steps.len())
        .max()
        .unwrap();
    for step in 0..steps {
        let mut altered = Vec::new();
        for script in SCRIPTS {
            if let Some(statements) = script.steps.get(step) {
                let statements = statements.replace('$', script.table);
                captured.database.sql(&statements).await.unwrap();
                altered.push(script.table);
            }
        }
        if with_kills {
            captured.kill();
        }
        captured.equal(&altered).await;
        for table in altered {
            captured.readable(table).await;
        }
    }
    captured.equal(&tables).await;
}

#[tokio::test]
async fn readers_see_the_rows_of_altered_tables() {
    every_script(Way::Direct, false).await;
}

#[tokio::test]
async fn readers_see_the_rows_of_altered_tables_through_kafka() {
    every_script(Way::Json, false).await;
}

#[tokio::test]
async fn readers_see_the_rows_of_altered_tables_through_batches() {
    every_script(Way::Arrow, false).await;
}

#[tokio::test]
async fn readers_see_the_rows_of_altered_tables_after_kills() {
    for way in Way::ALL {
        every_script(way, true).await;
    }
}
