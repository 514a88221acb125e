//! A lake that grows for years in minutes: a commit of five rows for every five seconds, one of
//! them a new version of an older row, and each minute the merging that a service does.
//!
//! `years FOLDER COMMITS..`: after each of these numbers of commits it prints a line of JSON, and
//! goes on after a line on its standard input. `make growth PARTS=years` runs it.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

#[allow(dead_code)]
#[path = "../tests/lake/fixture.rs"]
mod fixture;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray};
use inlet_lake::{Compactor, TableWriter};
use inlet_model::change::ChangeBatch;
use serde_json::json;

use fixture::{HOUR, P0, batch, open, orders, range};

const ROWS: i64 = 5;
const COMMITS_A_MINUTE: i64 = 12;
const COMMITS_AN_HOUR: i64 = 60 * COMMITS_A_MINUTE;
const COMMITS_A_DAY: i64 = 24 * COMMITS_AN_HOUR;
const SECONDS_OF_A_COMMIT: i64 = 5;
/// 2024-01-01T00:00:00Z.
const BEGIN: i64 = 1_704_067_200_000_000;
/// A file without additions for longer is of a date that is over.
const OLD: Duration = Duration::from_secs(2 * 3600);
const TIMED_COMMITS: usize = 1000;
/// A service waits for two seconds without readers.
const PAUSE: Duration = Duration::from_millis(5);

/// The key of the row at an offset: every fifth row is a new version of one of an hour before.
fn key(offset: i64) -> i64 {
    let older = offset - ROWS * COMMITS_AN_HOUR - 1;
    if offset % ROWS == 0 && older > 0 {
        older
    } else {
        offset
    }
}

fn created(key: i64) -> i64 {
    BEGIN + key / ROWS * SECONDS_OF_A_COMMIT * 1_000_000
}

fn rows(commit: i64) -> ChangeBatch {
    let offsets: Vec<i64> = (commit * ROWS..(commit + 1) * ROWS).collect();
    let keys: Vec<i64> = offsets.iter().map(|offset| key(*offset)).collect();
    let amounts = offsets.iter().map(|offset| i128::from(offset % 10_000));
    let amounts = Decimal128Array::from_iter_values(amounts);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(keys.clone())),
        Arc::new(StringArray::from_iter_values(
            keys.iter().map(|key| format!("city {}", key % 97)),
        )),
        Arc::new(amounts.with_precision_and_scale(10, 2).unwrap()),
        Arc::new(
            TimestampMicrosecondArray::from_iter_values(keys.iter().map(|key| created(*key)))
                .with_timezone("UTC"),
        ),
    ];
    batch(&orders(), columns, P0, &offsets)
}

struct Year {
    folder: PathBuf,
    writer: TableWriter,
    compactor: Option<Compactor>,
    took: Vec<Duration>,
    merging: Duration,
    /// Files and bytes at the end of each hour of the first day.
    hours: Vec<(usize, u64)>,
    /// The most files that a date had.
    files_max: usize,
}

impl Year {
    async fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            writer: open(folder, [P0]).await,
            compactor: None,
            took: Vec::new(),
            merging: Duration::ZERO,
            hours: Vec::new(),
            files_max: 0,
        }
    }

    async fn commit(&mut self, commit: i64) {
        let offsets = commit * ROWS..(commit + 1) * ROWS;
        self.writer.append(rows(commit)).await.unwrap();
        self.writer
            .cover(P0, range(offsets.clone()), offsets.end as u64)
            .unwrap();
        let began = Instant::now();
        self.writer.commit(None).await.unwrap();
        self.took.push(began.elapsed());
        let done = commit + 1;
        if done % COMMITS_A_MINUTE == 0 {
            self.merge(commit).await;
        }
        if done % COMMITS_AN_HOUR == 0 && done <= COMMITS_A_DAY {
            self.hours.push(size(&data_files(&self.folder)));
        }
        if done % COMMITS_A_DAY == 0 {
            self.age(done / COMMITS_A_DAY);
        }
    }

    async fn merge(&mut self, commit: i64) {
        if self.compactor.is_none() {
            self.compactor = Compactor::open(&self.folder, PAUSE).await.unwrap();
        }
        self.files_max = self
            .files_max
            .max(files_in(&self.date(commit / COMMITS_A_DAY)).len());
        let began = Instant::now();
        let stop = Arc::new(AtomicBool::new(false));
        let compactor = self.compactor.as_ref().unwrap();
        compactor.merge_due(stop).await.unwrap();
        self.merging += began.elapsed();
    }

    fn date(&self, day: i64) -> PathBuf {
        let date = chrono::DateTime::from_timestamp_micros(BEGIN + day * 24 * HOUR).unwrap();
        self.folder
            .join(format!("date={}", date.format("%Y-%m-%d")))
    }

    /// The days before this one are over: their files are as old as they would be.
    fn age(&self, day: i64) {
        let before = SystemTime::now() - OLD;
        for day in (day - 2).max(0)..day {
            for path in files_in(&self.date(day)) {
                let file = File::options().write(true).open(path).unwrap();
                file.set_modified(before).unwrap();
            }
        }
    }

    async fn report(&mut self, commits: i64) {
        let mut took = self
            .took
            .split_off(self.took.len().saturating_sub(TIMED_COMMITS));
        took.sort_unstable();
        self.took.clear();
        let began = Instant::now();
        let opened = fixture::try_open(&self.folder, fixture::options(chrono_tz::Tz::UTC)).await;
        let open = began.elapsed();
        drop(opened.unwrap());
        let (files, bytes) = size(&data_files(&self.folder));
        let (log_files, log_bytes) = size(&all_files(&self.folder.join("_log")));
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let line = json!({
            "commits": commits, "rows": commits * ROWS,
            "files": files, "bytes": bytes, "log_files": log_files, "log_bytes": log_bytes,
            "dates": commits / COMMITS_A_DAY + 1, "files_max": self.files_max,
            "open_ms": ms(open), "commit_ms": ms(took[took.len() / 2]),
            "commit_ms_p99": ms(took[took.len() * 99 / 100]),
            "merging_s": self.merging.as_secs_f64(), "hours": self.hours,
        });
        println!("{line}");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).unwrap();
    }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    fixture::files(folder, ".parquet")
}

fn data_files(lake: &Path) -> Vec<PathBuf> {
    let dates = fs::read_dir(lake).unwrap().map(|entry| entry.unwrap());
    let dates = dates.filter(|entry| entry.file_name().to_string_lossy().starts_with("date="));
    dates.flat_map(|entry| files_in(&entry.path())).collect()
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(all_files(&path)),
            false => files.push(path),
        }
    }
    files
}

/// How many there are, and the room that they take on the disk.
fn size(files: &[PathBuf]) -> (usize, u64) {
    use std::os::unix::fs::MetadataExt;
    let bytes = |path: &PathBuf| fs::metadata(path).map_or(0, |about| about.blocks() * 512);
    (files.len(), files.iter().map(bytes).sum())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder");
    let marks: Vec<i64> = arguments.map(|mark| mark.parse().unwrap()).collect();
    let mut year = Year::new(Path::new(&folder)).await;
    let mut done = 0;
    for mark in marks {
        for commit in done..mark {
            year.commit(commit).await;
        }
        done = mark;
        year.report(mark).await;
    }
}
