//! Hundreds of steps, and snapshots that leave the catalog of DuckLake.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt8Array,
    UInt64Array,
};
use inlet_harness::duckdb::{Version, query_by};
use inlet_harness::{Folder, delta as readers};
use inlet_lake::{Compactor, LakeOptions, Limits, Numbering, TableWriter};
use inlet_model::change::{ChangeBatch, Origin, UPSERT, positioned_schema};
use inlet_model::{Column, KafkaPartition, Offset, OffsetRange, Scalar, TableName, TableSchema};

use super::*;

const P0: KafkaPartition = KafkaPartition(0);
const COMMITS: i64 = 130;

fn schema() -> Arc<TableSchema> {
    let id = Column {
        name: "id".to_owned(),
        column_type: Scalar::Int64.into(),
        postgres_type: "bigint".to_owned(),
        as_text: false,
        not_null: true,
        generated: false,
        number: None,
    };
    let table = TableName::new("public", "t");
    Arc::new(TableSchema::new(table, vec![id], vec![0]))
}

async fn writer(path: &Path) -> TableWriter {
    let options = LakeOptions {
        table: schema().table.clone(),
        timezone: chrono_tz::Tz::UTC,
        date_column: None,
        numbering: Numbering::Topic,
        compaction: None,
        retention: None,
    };
    let limits = Limits {
        rows: u64::MAX,
        bytes: u64::MAX,
        age: Duration::MAX,
    };
    let mut writer = TableWriter::open(path, options, limits).await.unwrap();
    writer.take_over([P0]).await.unwrap();
    writer
}

/// Commits one row.
async fn commit(writer: &mut TableWriter, offset: i64) {
    let schema = schema();
    let detected_at = 1_795_132_800_000_000;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![offset])),
        Arc::new(UInt8Array::from(vec![UPSERT])),
        Arc::new(UInt64Array::from(vec![1000])),
        Arc::new(Int32Array::from(vec![P0.0])),
        Arc::new(Int64Array::from(vec![offset])),
        Arc::new(TimestampMicrosecondArray::from(vec![detected_at]).with_timezone("UTC")),
    ];
    let rows = RecordBatch::try_new(positioned_schema(&schema), columns).unwrap();
    let batch = ChangeBatch {
        schema,
        rows,
        detected_at,
        origin: Origin::Poll,
    };
    writer.append(batch).await.unwrap();
    let range = OffsetRange {
        from: Offset(offset),
        next: Offset(offset + 1),
    };
    writer
        .cover(P0, range, range.next.0.cast_unsigned())
        .unwrap();
    writer.commit(None).await.unwrap();
}

fn targets(path: &Path) -> Vec<Target> {
    let config = format!(
        "postgres: {{ url: 'postgresql://me@localhost/shop', table: t }}\ndatalake: {{ path: {}, \
         exports: [ducklake, delta] }}\n",
        path.display()
    );
    let config = Config::parse(&config).unwrap();
    Exporter::new(&config, &[]).unwrap().targets
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_steps_are_read_and_what_left_takes_nothing_along() {
    let folder = Folder::new("exports").unwrap();
    let lake = folder.join("lake");
    let mut writer = writer(&lake).await;
    let mut all = Vec::new();
    for offset in 0..COMMITS {
        commit(&mut writer, offset).await;
        if offset == 0 {
            all = targets(&lake);
        }
        if offset == 90 {
            let compactor = Compactor::open(&lake, Duration::from_millis(1)).await;
            let compactor = compactor.unwrap().unwrap();
            compactor.merge_small(Arc::default()).await.unwrap();
        }
        for target in &mut all {
            target.advance().unwrap();
        }
    }
    let expected = vec![vec![COMMITS.to_string(), COMMITS.to_string()]];
    let count = "SELECT count(*), count(DISTINCT id) FROM";
    let mut tables = vec![format!("delta_scan('{}')", lake.display())];
    for reader in readers::Reader::ALL {
        let answer = folder.join(format!("{reader:?}.parquet"));
        readers::copy(reader, &lake, &answer).await.unwrap();
        tables.push(format!("'{}'", answer.display()));
    }
    for table in tables {
        let found = query_by(Version::Extended, &format!("{count} {table}")).await;
        assert_eq!(found.unwrap(), expected, "{table}");
    }
    let log = lake.join("_delta_log");
    let glob = format!("{count} read_parquet('{}/**/*.parquet')", lake.display());
    assert_eq!(query_by(Version::V1, &glob).await.unwrap(), expected);

    let attached = format!(
        "ATTACH 'ducklake:sqlite:{}/_ducklake.sqlite' AS lake (READ_ONLY); {count} lake.",
        lake.display()
    );
    let connection = rusqlite::Connection::open(lake.join("_ducklake.sqlite")).unwrap();
    let files = |condition: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM ducklake_data_file {condition}");
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert!(files("WHERE end_snapshot IS NOT NULL") >= 90);
    let latest = "SELECT max(snapshot_id) FROM ducklake_snapshot";
    let latest: i64 = connection.query_row(latest, [], |row| row.get(0)).unwrap();
    for is_expired in [false, true] {
        if is_expired {
            ducklake::expire(&connection, "9999", latest).unwrap();
            assert_eq!(files("WHERE end_snapshot IS NOT NULL"), 0);
        }
        for table in ["t", "t_history"] {
            let found = query_by(Version::Extended, &format!("{attached}{table}")).await;
            assert_eq!(found.unwrap(), expected, "{table}, {is_expired}");
        }
    }
    drop(connection);
    // What left takes nothing from the next step.
    commit(&mut writer, COMMITS).await;
    for target in &mut all {
        target.advance().unwrap();
    }
    let found = query_by(Version::Extended, &format!("{attached}t"))
        .await
        .unwrap();
    assert_eq!(found.concat()[0], (COMMITS + 1).to_string());
    fs::remove_dir_all(&log).unwrap();
    for target in &mut targets(&lake) {
        target.advance().unwrap();
    }
    let versions = fs::read_dir(&log).unwrap().count();
    assert_eq!(versions, 1, "a log that was removed is one version");
}
