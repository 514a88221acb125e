//! The lake as DuckLake and as Delta: what their readers find is what the views of the lake show,
//! through changes of the table, deletes, merged files, dates that leave and kills.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use inlet_harness::duckdb::{Version, query_by};
use inlet_harness::{Folder, Inlet, delta, eventually, shared_database};

use crate::orders::{INLET, PATIENCE};
use crate::tables::{Copy, WAYS};

/// Types that every format has.
const TABLE: &str = "CREATE TABLE t (
    id bigint PRIMARY KEY, small smallint, n integer, amount numeric(10,2), long numeric(45,3),
    ratio real, share float8, note text, body jsonb, raw bytea, born date, local timestamp,
    tags text[], numbers integer[], is_new boolean, created_at timestamptz,
    updated_at timestamptz DEFAULT clock_timestamp());
    CREATE INDEX ON t (updated_at);";
const INSERT: &str = "INSERT INTO t SELECT i, i % 100, i, i * 1.25, i * 1.125, i / 3.0, i / 7.0,
    CASE WHEN i % 5 > 0 THEN repeat('n', (i % 90)::int) || i END, jsonb_build_object('i', i),
    decode(lpad(to_hex(i), 8, '0'), 'hex'), date '2026-11-20' + (i % 9)::int,
    timestamp '2026-11-20 10:00' + i * interval '1 s', ARRAY['a' || i, NULL], ARRAY[i, NULL],
    i % 2 = 0, CASE WHEN i % 7 > 0 THEN timestamptz '2026-11-20 10:00Z' + (i % 3) * interval '1 day' END
    FROM generate_series(";
/// A type that Delta has no place for.
const ODD: &str = "CREATE TABLE odd (id uuid PRIMARY KEY, at time, \"Note\" text, \"note\" text,
    created_at timestamptz DEFAULT clock_timestamp()); CREATE INDEX ON odd (created_at);
    INSERT INTO odd SELECT gen_random_uuid(), time '10:00' + i * interval '1 s', 'N' || i, 'n' || i
    FROM generate_series(1, 50) i";
const CONFIG: &str = "tables:\n  t: { exports: [ducklake, delta], date_column: created_at }\n  odd: \
    { exports: ducklake }\n";

async fn insert(copy: &Copy, first: u64, last: u64) {
    let sql = format!("{INSERT}{first}, {last}) i");
    copy.database.sql(&sql).await.unwrap();
}

fn lake(copy: &Copy) -> PathBuf {
    copy.folder.join("lake")
}

fn catalog(copy: &Copy) -> String {
    let lake = lake(copy);
    format!(
        "ATTACH 'ducklake:sqlite:{}/_ducklake.sqlite' AS lake (READ_ONLY);",
        lake.display()
    )
}

/// Two tables, and the columns in which they must have the same rows.
struct Pair<'a> {
    columns: &'a str,
    one: String,
    other: String,
}

/// Fails unless the tables of each pair have the same rows: every column as text, each row as
/// often.
async fn same(setup: &str, pairs: &[Pair<'_>]) -> Result<()> {
    let counts = pairs.iter().map(|pair| {
        let Pair {
            columns,
            one,
            other,
        } = pair;
        let texts = format!("SELECT CAST(COLUMNS(*) AS VARCHAR) FROM (SELECT {columns} FROM");
        format!(
            "SELECT (SELECT count(*) FROM ({texts} {one}) EXCEPT ALL {texts} {other}))), (SELECT \
             count(*) FROM ({texts} {other}) EXCEPT ALL {texts} {one}))), (SELECT count(*) FROM \
             {one})"
        )
    });
    let sql = format!("{setup}\n{}", counts.collect::<Vec<_>>().join(";\n"));
    let found = query_by(Version::Extended, &sql).await?;
    ensure!(found.len() == pairs.len(), "{found:?}");
    for (pair, row) in pairs.iter().zip(&found) {
        let Pair { one, other, .. } = pair;
        ensure!(
            row[..2] == ["0", "0"],
            "{one} against {other}: {}",
            row.join(" ")
        );
    }
    Ok(())
}

/// The views of a table and their columns, each beside what the catalog of DuckLake has.
fn in_ducklake(table: &str) -> Vec<Pair<'static>> {
    let names = [table.to_owned(), format!("{table}_history")];
    let pairs = names.map(|name| {
        let pair = |columns, [one, other]: [String; 2]| Pair {
            columns,
            one,
            other,
        };
        let tables = ["memory", "lake"].map(|database| format!("{database}.{name}"));
        let described = tables.clone().map(|table| format!("(DESCRIBE {table})"));
        [
            pair("*", tables),
            pair("column_name, column_type", described),
        ]
    });
    pairs.into_iter().flatten().collect()
}

/// The history of a table beside its Delta table, as each reader has it.
async fn in_delta(copy: &Copy, table: &str, answers: &Path) -> Result<Vec<Pair<'static>>> {
    let folder = lake(copy).join(table);
    // Polars has no reader of JSON in Parquet: it is asked about another table.
    let answer = answers.join("answer.parquet");
    delta::copy(delta::Reader::Deltalake, &folder, &answer).await?;
    let readings = [
        format!("delta_scan('{}')", folder.display()),
        format!("'{}'", answer.display()),
    ];
    let pairs = readings.map(|other| Pair {
        columns: COLUMNS,
        one: format!("memory.{table}_history"),
        other,
    });
    Ok(pairs.into())
}

/// The columns of the table that all steps have, and those of a version.
const COLUMNS: &str = "id, small, n, amount, long, ratio, share, note, body, raw, born, tags, numbers, \
    is_new, created_at, updated_at, _op, _xid, _offset, _detected_at, date";

async fn both_agree(copy: &Copy, what: &str) {
    let agree = async || {
        // Beside a service Delta is a minute late.
        let once = copy.run("export").await;
        ensure!(once.code == 0, "{once:?}");
        let setup = format!("{}\n{}", copy.run("views").await.stdout, catalog(copy));
        let answers = Folder::new("answers")?;
        let mut pairs = in_ducklake("t");
        pairs.extend(in_ducklake("odd"));
        pairs.extend(in_delta(copy, "t", &answers).await?);
        same(&setup, &pairs).await?;
        anyhow::Ok(true)
    };
    eventually(PATIENCE, what, agree).await;
}

async fn count(copy: &Copy, table: &str) -> Result<u64> {
    let sql = format!("{}\nSELECT count(*) FROM lake.{table}", catalog(copy));
    let found = query_by(Version::Extended, &sql).await?;
    Ok(found.concat().concat().parse()?)
}

async fn exported(copy: &Copy, table: &str, rows: u64) {
    let what = format!("{rows} rows of {table} are in the catalog");
    eventually(PATIENCE, &what, async || {
        Ok(count(copy, table).await? == rows)
    })
    .await;
}

#[tokio::test]
async fn readers_of_ducklake_and_delta_find_what_the_views_show_through_every_change() {
    for way in WAYS {
        let database = shared_database().await;
        database.sql(&format!("{TABLE}{ODD}")).await.unwrap();
        let copy = Copy::of(database, way, CONFIG).await.over_five_partitions();
        insert(&copy, 1, 300).await;
        let services = copy.start(way);
        exported(&copy, "t", 300).await;
        exported(&copy, "odd", 50).await;
        both_agree(&copy, "the load is the same for every reader").await;

        copy.database
            .sql(
                "UPDATE t SET amount = amount + 1, updated_at = clock_timestamp() WHERE id % 3 = 0;
                 DELETE FROM t WHERE id % 10 = 1",
            )
            .await
            .unwrap();
        exported(&copy, "t", 270).await;
        both_agree(&copy, "changes and deletes are the same").await;

        // A wider type, another generation, a rename, a new and a dropped column.
        copy.database
            .sql(
                "ALTER TABLE t ALTER small TYPE integer, ALTER local TYPE text,
                     ADD COLUMN added numeric(12,4), DROP COLUMN is_new;
                 ALTER TABLE t ADD COLUMN is_new text;
                 ALTER TABLE odd RENAME at TO at_time;
                 INSERT INTO odd (id, at_time, \"Note\", \"note\") SELECT gen_random_uuid(), '12:00', 'x', 'y';",
            )
            .await
            .unwrap();
        let more = "INSERT INTO t (id, small, local, is_new, added, created_at) SELECT i, 70000, 'now \
            text', 'new', 0.5, '2026-11-21 10:00Z' FROM generate_series(1001, 1010) i";
        copy.database.sql(more).await.unwrap();
        exported(&copy, "t", 280).await;
        exported(&copy, "odd", 51).await;
        both_agree(&copy, "other columns are the same").await;

        for service in services {
            drop(service);
        }
        let compacted = copy.run("compact").await;
        assert_eq!(compacted.code, 0, "{compacted:?}");
        let once = copy.run("export").await;
        assert!(once.code == 0 && once.stdout.contains("Delta"), "{once:?}");
        both_agree(&copy, "merged files are the same").await;
        copy.verified().await;
    }
}

#[tokio::test]
async fn kills_at_any_moment_leave_no_file_out_and_none_twice() {
    let database = shared_database().await;
    database.sql(&format!("{TABLE}{ODD}")).await.unwrap();
    let copy = Copy::of(database, WAYS[0], CONFIG).await;
    let mut rows = 0;
    for round in 0..5_u64 {
        let mut services = copy.start(WAYS[0]);
        for part in 0..3 {
            insert(&copy, rows + 1, rows + 20).await;
            rows += 20;
            // At another point of a commit or an export each time.
            tokio::time::sleep(Duration::from_millis(70 + 47 * (round + part))).await;
        }
        for service in &mut services {
            service.kill_9().unwrap();
        }
    }
    let services = copy.start(WAYS[0]);
    exported(&copy, "t", rows).await;
    both_agree(&copy, "every reader finds each row once").await;
    drop(services);
    versions_have_each_file_once(&lake(&copy).join("t"));
}

/// Reads the log of a Delta table: a file is added while it is missing, and leaves while the table
/// has it.
fn versions_have_each_file_once(table: &Path) {
    let mut files = std::collections::BTreeSet::new();
    let mut seq = 0;
    for version in 0.. {
        let path = table.join(format!("_delta_log/{version:020}.json"));
        let Ok(text) = std::fs::read_to_string(path) else {
            assert!(version > 0);
            return;
        };
        for line in text.lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            let path = |of: &str| action[of]["path"].as_str().map(str::to_owned);
            if let Some(path) = path("remove") {
                assert!(files.remove(&path), "version {version} removes {path}");
            }
            if let Some(path) = path("add") {
                assert!(files.insert(path.clone()), "version {version} adds {path}");
            }
            if let Some(next) = action["txn"]["version"].as_u64() {
                assert!(next > seq, "version {version} has entry {next} after {seq}");
                seq = next;
            }
        }
    }
}

#[tokio::test]
async fn a_lake_that_is_exported_later_and_dates_that_leave() {
    let database = shared_database().await;
    database.sql(&format!("{TABLE}{ODD}")).await.unwrap();
    let copy = Copy::of(
        database,
        WAYS[0],
        "tables: { t: { date_column: created_at }, odd: }\n",
    )
    .await;
    insert(&copy, 1, 200).await;
    let services = copy.start(WAYS[0]);
    copy.await_rows("t", 200).await;
    copy.await_rows("odd", 50).await;
    drop(services);
    let refused = copy.run("export").await;
    assert!(
        refused.code == 78 && refused.stderr.contains("exports"),
        "{refused:?}"
    );
    let config = std::fs::read_to_string(&copy.config).unwrap();
    let tables = config.find("tables:").unwrap();
    let config = format!("{}{CONFIG}", &config[..tables]);
    std::fs::write(&copy.config, &config).unwrap();
    let exported = copy.run("export").await;
    assert_eq!(exported.code, 0, "{exported:?}");
    both_agree(&copy, "a lake of before is the same").await;
    let arguments = ["lake", "show", "--config", &copy.config];
    let shown = Inlet::run(INLET, &arguments, &[]).await.unwrap().stdout;
    for export in ["DuckLake: up to entry", "Delta: up to entry"] {
        assert!(shown.contains(export), "{shown}");
    }
    // Every date of `created_at` is older than a day.
    let config = config.replace(
        "date_column: created_at",
        "date_column: created_at, keep: 1d",
    );
    std::fs::write(&copy.config, config).unwrap();
    for verb in ["compact", "export", "export"] {
        let finished = copy.run(verb).await;
        assert_eq!(finished.code, 0, "{finished:?}");
    }
    both_agree(&copy, "dates that left are missing everywhere").await;
    assert!(count(&copy, "t_history").await.unwrap() < 200);
}

#[tokio::test]
async fn a_type_that_delta_lacks_stops_the_start() {
    let database = shared_database().await;
    database.sql(ODD).await.unwrap();
    let copy = Copy::of(database, WAYS[0], "tables: { odd: { exports: delta } }\n").await;
    let refused = copy.run("run").await;
    let words = "`id` is a uuid, `at` is a time";
    assert!(
        refused.code == 78 && refused.stderr.contains(words),
        "{refused:?}"
    );
}
