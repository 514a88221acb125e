//! The lake keeps the contract of a sink, read back by DuckDB.

use std::path::Path;
use std::time::Duration;

use chrono_tz::Tz;
use inlet_harness::duckdb;
use inlet_lake::{LakeError, LakeOptions, LakeSink, LakeSinkTable, Limits, Numbering, Rules};
use inlet_service::error::Kind;
use inlet_service::sink::{Checkpointed, Sink};
use inlet_sink_contract::{TestPipeline, orders, poll, progress, rows, upserts};

use crate::fixture::files;

/// A lake with one table.
struct OnDisk {
    folder: tempfile::TempDir,
    limits: Limits,
    rules: Rules,
}

impl OnDisk {
    /// Every checkpoint waits for a flush.
    fn deferred() -> Self {
        Self::with(u64::MAX, &[])
    }

    /// Every checkpoint with a row is durable at once.
    fn immediate() -> Self {
        Self::with(1, &[])
    }

    fn with(rows: u64, rules: &[&str]) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            limits: Limits {
                rows,
                bytes: u64::MAX,
                age: Duration::from_secs(3600),
            },
            rules: Rules::parse(rules).unwrap(),
        }
    }
}

impl TestPipeline for OnDisk {
    type Sink = LakeSink;
    const FENCED: &str = "another process took over the lake of table `public.orders`";

    fn sink(&self) -> LakeSink {
        let table = LakeSinkTable {
            path: self.folder.path().to_owned(),
            options: LakeOptions {
                table: orders(),
                timezone: Tz::UTC,
                date_column: None,
                numbering: Numbering::Local,
                compaction: None,
                retention: None,
            },
            rules: self.rules.clone(),
        };
        LakeSink::new(vec![table], self.limits)
    }

    async fn visible(&self) -> Vec<(i64, Option<String>)> {
        visible(self.folder.path()).await
    }
}

/// Ids and notes in a folder, as a plain reader finds them.
pub async fn visible(folder: &Path) -> Vec<(i64, Option<String>)> {
    let glob = format!("{}/**/*.parquet", folder.display());
    if duckdb::count_glob(glob.clone()).await.unwrap() == 0 {
        return Vec::new();
    }
    let sql = format!("SELECT id, _op, note FROM read_parquet('{glob}', hive_partitioning = true)");
    let mut visible: Vec<_> = duckdb::query(&sql)
        .await
        .unwrap()
        .into_iter()
        .map(|row| {
            let note = (row[1] == "u").then(|| row[2].clone());
            (row[0].parse().unwrap(), note)
        })
        .collect();
    visible.sort();
    visible
}

mod deferred {
    use super::OnDisk;
    inlet_sink_contract::sink_contract!(OnDisk::deferred());
}

mod immediate {
    use super::OnDisk;
    inlet_sink_contract::sink_contract!(OnDisk::immediate());
}

#[tokio::test]
async fn a_checkpoint_is_pending_until_a_limit_is_reached_and_due_from_its_first_row() {
    let lake = OnDisk::with(5, &[]);
    let mut sink = lake.sink();
    sink.resume(&[orders()]).await.unwrap();
    assert_eq!(sink.due(), None);
    sink.write(upserts(0..3, "a")).await.unwrap();
    assert_eq!(
        sink.due(),
        None,
        "rows without their progress cannot be made durable"
    );
    assert_eq!(
        sink.checkpoint(poll("1")).await.unwrap(),
        Checkpointed::Pending
    );
    let due = sink.due();
    assert!(due.is_some());
    assert_eq!(lake.visible().await, []);
    sink.write(upserts(3..6, "a")).await.unwrap();
    assert_eq!(
        sink.checkpoint(poll("2")).await.unwrap(),
        Checkpointed::Pending,
        "its commit runs"
    );
    assert_eq!(
        sink.flush().await.unwrap(),
        Checkpointed::Durable { rows: 6 }
    );
    assert_eq!(sink.due(), None);
    assert_eq!(lake.visible().await, rows(0..6, "a"));
}

#[tokio::test]
async fn a_rejected_row_goes_to_quarantine_with_the_progress_that_covers_it() {
    let lake = OnDisk::with(1, &["id > 0"]);
    let mut sink = lake.sink();
    sink.resume(&[orders()]).await.unwrap();
    sink.write(upserts(0..3, "a")).await.unwrap();
    sink.checkpoint(poll("1")).await.unwrap();
    assert_eq!(
        sink.flush().await.unwrap(),
        Checkpointed::Durable { rows: 2 }
    );
    assert_eq!(lake.visible().await, rows(1..3, "a"));
    let quarantine = files(&lake.folder.path().join("_quarantine"), ".jsonl");
    let text = std::fs::read_to_string(&quarantine[0]).unwrap();
    assert!(
        text.contains("id > 0") && text.lines().count() == 1,
        "{text}"
    );
    // The next start continues after the rejected row.
    let mut next = lake.sink();
    assert_eq!(
        next.resume(&[orders()]).await.unwrap(),
        progress(&[("poll", "1")])
    );
    next.write(upserts(3..4, "a")).await.unwrap();
    next.checkpoint(poll("2")).await.unwrap();
    next.flush().await.unwrap();
    assert_eq!(lake.visible().await, rows(1..4, "a"));
}

#[tokio::test]
async fn a_sink_takes_its_own_table_back_after_an_error() {
    let lake = OnDisk::immediate();
    let mut sink = lake.sink();
    sink.resume(&[orders()]).await.unwrap();
    sink.write(upserts(0..3, "a")).await.unwrap();
    sink.checkpoint(poll("1")).await.unwrap();
    // The commit of the checkpoint may still run: rows go into the next batch meanwhile.
    sink.write(upserts(3..6, "lost")).await.unwrap();
    assert_eq!(
        sink.resume(&[orders()]).await.unwrap(),
        progress(&[("poll", "1")])
    );
    sink.write(upserts(3..6, "a")).await.unwrap();
    sink.checkpoint(poll("2")).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(lake.visible().await, rows(0..6, "a"));
}

#[tokio::test]
async fn a_sink_in_the_lake_of_a_consumer_is_refused_and_the_consumer_goes_on() {
    let lake = OnDisk::immediate();
    let mut writer = crate::fixture::open(lake.folder.path(), [crate::fixture::P0]).await;
    for offsets in [0..3, 3..6] {
        crate::fixture::commit(&mut writer, crate::fixture::P0, offsets)
            .await
            .unwrap();
        let refused = lake.sink().resume(&[orders()]).await.unwrap_err();
        assert_eq!(refused.kind, Kind::Config, "{refused:?}");
    }
}

#[tokio::test]
async fn a_lake_of_a_sink_is_not_continued_with_the_offsets_of_a_topic() {
    let lake = OnDisk::immediate();
    let mut sink = lake.sink();
    sink.resume(&[orders()]).await.unwrap();
    let topic = crate::fixture::try_open(lake.folder.path(), crate::fixture::options(Tz::UTC));
    let refused = topic.await.unwrap_err();
    assert!(
        matches!(refused, LakeError::WrittenWithoutBroker { .. }),
        "also before the first row: {refused}"
    );
    sink.write(upserts(0..3, "a")).await.unwrap();
    sink.checkpoint(poll("1")).await.unwrap();
}

/// Two processes open an empty lake, each to number its rows in another way: the log decides.
#[tokio::test]
async fn of_two_numberings_at_once_the_first_to_take_over_stays() {
    let lake = OnDisk::immediate();
    let options = crate::fixture::options(Tz::UTC);
    let mut topic = crate::fixture::try_open(lake.folder.path(), options)
        .await
        .unwrap();
    let mut sink = lake.sink();
    sink.resume(&[orders()]).await.unwrap();
    let refused = topic.take_over([crate::fixture::P0]).await.unwrap_err();
    assert!(
        matches!(refused, LakeError::WrittenWithoutBroker { .. }),
        "{refused}"
    );
    sink.write(upserts(0..3, "a")).await.unwrap();
    sink.checkpoint(poll("1")).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(lake.visible().await, rows(0..3, "a"));
}
