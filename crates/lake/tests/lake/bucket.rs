//! A lake in a bucket of a real S3 server, with faults between it and the writer, read back by
//! DuckDB from the files that the server keeps.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use inlet_harness::{Fault, Faults, S3};
use inlet_lake::{
    Compactor, LakeError, LakeOptions, LakeSink, LakeSinkTable, Limits, Numbering, Retention,
    Rules, TableReader, use_client,
};
use inlet_service::error::{Explain, Kind};
use inlet_sink_contract::{TestPipeline, orders};
use object_store::aws::AmazonS3Builder;
use object_store::{BackoffConfig, RetryConfig};

use crate::fixture::{
    P0, commit, expect_whole, head, open, options, positions, stage, texts, try_open,
};

/// A lake with one table, in a bucket.
struct InBucket {
    s3: S3,
    faults: Faults,
    limits: Limits,
}

impl InBucket {
    async fn start() -> Self {
        Self::with(u64::MAX).await
    }

    async fn with(rows: u64) -> Self {
        let s3 = S3::start().await.unwrap();
        let faults = Faults::before(&s3).unwrap();
        let [(_, key), (_, secret), _] = S3::environment();
        let address = s3.url("");
        let bucket = address.trim_start_matches("s3://").trim_end_matches('/');
        let _ = rustls::crypto::ring::default_provider().install_default();
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(1),
                max_backoff: Duration::from_millis(10),
                base: 2.,
            },
            max_retries: 2,
            retry_timeout: Duration::from_secs(30),
        };
        let client = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_endpoint(faults.endpoint())
            .with_allow_http(true)
            .with_access_key_id(key)
            .with_secret_access_key(secret)
            .with_disable_bulk_delete(true)
            .with_retry(retry)
            .build();
        use_client(Path::new(&address), Arc::new(client.unwrap()));
        Self {
            s3,
            faults,
            limits: Limits {
                rows,
                bytes: u64::MAX,
                age: Duration::from_secs(3600),
            },
        }
    }

    fn address(&self) -> PathBuf {
        self.s3.url("shop/orders").into()
    }

    /// What the server keeps.
    fn files(&self) -> PathBuf {
        self.s3.files("shop/orders")
    }
}

impl TestPipeline for InBucket {
    type Sink = LakeSink;
    const FENCED: &str = "another process took over the lake of table `public.orders`";

    fn sink(&self) -> LakeSink {
        let table = LakeSinkTable {
            path: self.address(),
            options: LakeOptions {
                table: orders(),
                timezone: Tz::UTC,
                date_column: None,
                numbering: Numbering::Local,
                compaction: None,
                retention: None,
            },
            rules: Rules::parse(&[] as &[&str]).unwrap(),
        };
        LakeSink::new(vec![table], self.limits)
    }

    async fn visible(&self) -> Vec<(i64, Option<String>)> {
        crate::sink::visible(&self.files()).await
    }
}

mod deferred {
    use super::InBucket;
    inlet_sink_contract::sink_contract!(InBucket::start().await);
}

mod immediate {
    use super::InBucket;
    inlet_sink_contract::sink_contract!(InBucket::with(1).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_in_a_bucket_is_read_as_one_on_a_disk() {
    let lake = InBucket::start().await;
    let address = lake.address();
    let mut table = open(&address, [P0]).await;
    // More entries than a checkpoint and a part of the list of files have.
    for at in 0..70 {
        commit(&mut table, P0, at * 10..at * 10 + 10).await.unwrap();
    }
    let expected = texts([["0", "700", "700", "0", "699"]]);
    assert_eq!(positions(&lake.files()).await, expected);
    assert!(crate::fixture::files(&lake.files().join("_staging"), ".staged").is_empty());
    let reader = TableReader::new(&address);
    let found = head(&address).await;
    assert_eq!((found.rows, found.seq), (700, 71));
    let files = reader.files(&found).unwrap();
    assert_eq!(files.len(), 140);
    let prefix = format!("{}/date=2026-11-2", address.display());
    assert!(
        files
            .iter()
            .all(|of| of.path.display().to_string().starts_with(&prefix))
    );
    let mut rows = 0;
    for file in reader.data_files().unwrap() {
        TableReader::rows(&file, |batch| rows += batch.num_rows()).unwrap();
    }
    assert_eq!(rows, 700);
    assert!(reader.inspect().await.unwrap().is_clean());
    expect_whole(&address).await;
    assert_eq!(
        inlet_lake::tables_of(Path::new(&lake.s3.url("shop"))),
        [found.table]
    );
}

/// The requests of a commit, which are what an object store costs.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_one_file_costs_four_requests() {
    let lake = InBucket::start().await;
    let mut table = open(&lake.address(), [P0]).await;
    lake.faults.take();
    for at in 0..10 {
        let rows = crate::fixture::orders_at(P0, at..at + 1, |_| Some(crate::fixture::NOV_20));
        table.append(rows).await.unwrap();
        table
            .cover(P0, crate::fixture::range(at..at + 1), at as u64 + 1)
            .unwrap();
        table.commit(None).await.unwrap();
    }
    let seen = lake.faults.take();
    let count = |method: &str| seen.iter().filter(|of| of.method == method).count();
    // The rows, the entry, and the copy of the rows to their place; then the staged rows leave.
    assert_eq!((count("PUT"), count("DELETE")), (30, 10), "{seen:?}");
    assert_eq!(seen.len(), 40, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_answer_an_entry_gets_its_rows_are_committed_once() {
    let lake = InBucket::start().await;
    let mut table = open(&lake.address(), [P0]).await;
    let faults = [
        (Fault::StatusAfter(500), 1),
        // Also the repetitions of the request, which find what the first one has stored.
        (Fault::StatusAfter(500), 2),
        (Fault::StatusAfter(503), 3),
        (Fault::CutAfter, 1),
        (Fault::CutAfter, 3),
        (Fault::CutBefore, 1),
        (Fault::Refuse(503, "SlowDown"), 2),
        (Fault::Refuse(409, "ConditionalRequestConflict"), 2),
        (Fault::Refuse(412, "PreconditionFailed"), 1),
        (Fault::Refuse(400, "ExpiredToken"), 1),
        (Fault::Refuse(400, "RequestTimeout"), 1),
    ];
    for (at, (fault, times)) in faults.into_iter().enumerate() {
        let hit = lake.faults.hit();
        lake.faults.next("PUT", "/_log/0", fault, times);
        let first = at as i64 * 10;
        commit(&mut table, P0, first..first + 10).await.unwrap();
        assert_eq!(lake.faults.hit(), hit + times, "{fault:?}");
    }
    let rows = (faults.len() * 10).to_string();
    let last = (faults.len() * 10 - 1).to_string();
    let expected = texts([["0", &rows, &rows, "0", &last]]);
    assert_eq!(positions(&lake.files()).await, expected);
    assert_eq!(head(&lake.address()).await.seq, faults.len() as u64 + 1);
    expect_whole(&lake.address()).await;
}

/// The server stays away for longer than the writer asks, and the entry may or may not exist.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_in_doubt_is_settled_when_the_lake_is_opened_again() {
    for fault in [Fault::CutAfter, Fault::CutBefore] {
        let lake = InBucket::start().await;
        let mut table = open(&lake.address(), [P0]).await;
        commit(&mut table, P0, 0..10).await.unwrap();
        let staged = stage(&mut table, P0, 10..20).await.unwrap();
        lake.faults.next("PUT", "/_log/0", fault, 1000);
        lake.faults
            .next("GET", "/_log/0", Fault::Refuse(503, "SlowDown"), 1000);
        let error = staged.commit(None).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
        let refused = commit(&mut table, P0, 10..20).await.unwrap_err();
        assert!(matches!(refused, LakeError::Doubtful { .. }), "{refused:?}");
        drop(table);
        lake.faults.heal();
        let mut table = open(&lake.address(), [P0]).await;
        let next = table.head().partition(P0).next.unwrap().0;
        assert_eq!(next, if fault == Fault::CutAfter { 20 } else { 10 });
        commit(&mut table, P0, next..30).await.unwrap();
        let expected = texts([["0", "30", "30", "0", "29"]]);
        assert_eq!(positions(&lake.files()).await, expected);
        expect_whole(&lake.address()).await;
    }
}

/// Each request of a commit, and of the opening after it, fails in each way: rows are committed
/// once.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_a_commit_may_fail() {
    let lake = InBucket::start().await;
    let mut table = open(&lake.address(), [P0]).await;
    let faults = [
        Fault::StatusAfter(500),
        Fault::CutAfter,
        Fault::CutBefore,
        Fault::Refuse(503, "SlowDown"),
        Fault::Refuse(403, "AccessDenied"),
    ];
    let mut next = 0;
    for (method, part) in [
        ("PUT", "_staging"),
        ("PUT", "/date"),
        ("DELETE", "_staging"),
    ] {
        for fault in faults {
            // More often than one request is repeated.
            let hit = lake.faults.hit();
            lake.faults.next(method, part, fault, 3);
            while commit(&mut table, P0, next..next + 10).await.is_err() {
                drop(table);
                lake.faults.heal();
                table = open(&lake.address(), [P0]).await;
                next = table.head().partition(P0).next.map_or(0, |next| next.0);
            }
            lake.faults.heal();
            assert!(lake.faults.hit() > hit, "{method} {part}");
            next += 10;
        }
    }
    let (rows, last) = (next.to_string(), (next - 1).to_string());
    let expected = texts([["0", &rows, &rows, "0", &last]]);
    assert_eq!(positions(&lake.files()).await, expected);
    expect_whole(&lake.address()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_of_a_bucket_fence_each_other_by_the_log() {
    let lake = InBucket::start().await;
    let mut first = open(&lake.address(), [P0]).await;
    commit(&mut first, P0, 0..10).await.unwrap();
    let staged = stage(&mut first, P0, 10..20).await.unwrap();
    let mut second = open(&lake.address(), [P0]).await;
    let fenced = staged.commit(None).await.unwrap_err();
    assert!(matches!(fenced, LakeError::Fenced { .. }), "{fenced:?}");
    commit(&mut second, P0, 10..30).await.unwrap();
    let expected = texts([["0", "30", "30", "0", "29"]]);
    assert_eq!(positions(&lake.files()).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ignores_conditions_is_refused() {
    let lake = InBucket::start().await;
    // A server that replaces an object although it was to be created, as older ones do.
    lake.faults.ignore_conditions();
    let refused = try_open(&lake.address(), options(Tz::UTC))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, LakeError::Unsupported { .. }),
        "{refused:?}"
    );
    assert_eq!(refused.kind(), Kind::Config);
}

#[tokio::test(flavor = "multi_thread")]
async fn dates_leave_a_bucket_by_the_log_and_files_are_not_merged() {
    let lake = InBucket::start().await;
    let mut table = open(&lake.address(), [P0]).await;
    commit(&mut table, P0, 0..10).await.unwrap();
    commit(&mut table, P0, 10..20).await.unwrap();
    let compactor = Compactor::open(&lake.address(), Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    let refused = compactor.merge_small(Arc::default()).await.unwrap_err();
    assert!(
        matches!(refused, LakeError::NoMergeInBucket { .. }),
        "{refused:?}"
    );
    let retention = Retention {
        history: Some(1),
        quarantine: None,
        timezone: Tz::UTC,
        date_column: Some("created_at".into()),
    };
    let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
    // The server fails while the files leave: the next opening goes on.
    lake.faults
        .next("DELETE", "/date", Fault::Refuse(403, "AccessDenied"), 1);
    let stopped = Arc::default();
    let failed = compactor.expire(retention.clone(), now, stopped).await;
    assert!(failed.is_err(), "{failed:?}");
    drop(compactor);
    let mut table = {
        drop(table);
        open(&lake.address(), [P0]).await
    };
    assert_eq!(
        crate::fixture::select(&lake.files(), "date, count(*) OVER ()")
            .await
            .first(),
        Some(&vec!["2026-11-21".to_owned(), "10".to_owned()])
    );
    commit(&mut table, P0, 20..30).await.unwrap();
    expect_whole(&lake.address()).await;
    let found = TableReader::new(lake.address())
        .files(&head(&lake.address()).await)
        .unwrap();
    assert_eq!(found.iter().map(|of| of.rows).sum::<u64>(), 20);
}

/// A column changes its type: older files get another name for it, which is in their footers.
#[tokio::test(flavor = "multi_thread")]
async fn columns_get_other_names_in_a_bucket() {
    let lake = InBucket::start().await;
    crate::retired::a_column_that_changes_its_type(&lake.address(), &lake.files()).await;
}
