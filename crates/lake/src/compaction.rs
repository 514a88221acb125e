//! Small files of a table into few large ones, beside its writers.
//!
//! A commit every few seconds makes a small file for each date of its rows. [`Compactor`] merges
//! them: which ones is decided in `plan`, their rows are put together in `files/merge`, and
//! `commit/replace` puts the merged file in their place in one step. It waits for a moment without
//! readers before that (`readers`). One process at a time merges the files of a table.
//!
//! It runs in the service that writes the table, bounded in memory, in bytes a second, and in its
//! share of a core; or by hand, in a process of its own.

mod expire;
mod pace;
mod plan;
mod readers;
mod revived;

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, Utc};
use inlet_service::error::Explain;
use tokio::sync::Semaphore;

use self::expire::expire;
pub use self::expire::{Expired, Retention};
use self::pace::Throttle;
use self::plan::{Candidate, Wanted, plan};
use self::readers::Readers;
use crate::commit::{self, DataFile, Entry, Head, Listed, Log, Merged};
use crate::error::LakeError;
use crate::files::hidden::HiddenFolder;
use crate::files::names::{STAGING, is_data};
use crate::files::{MergedFile, Store, joined, merge_data, merge_rejected};
use crate::folder::Folder;
use crate::metrics;
use crate::options::LakeOptions;
use crate::writer::{Lake, blocking};

/// How often merged files wait for a moment without readers in one round.
const SHOW_ATTEMPTS_MAX: usize = 5;

/// How long another process may hold the lock of this table by chance.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often a service looks for rows that are older than their table keeps.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(3600);

/// How long a table without new entries is left alone.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// Tables of this process that are looked at, or wait for a moment without readers, at once: each
/// takes a thread.
static ROUNDS_AT_ONCE: Semaphore = Semaphore::const_new(16);
/// One merge at a time has rows in memory, however many tables this process writes.
static MERGE: Mutex<()> = Mutex::new(());

/// How often, and how fast, files are merged beside a table's writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionOptions {
    /// The pause between two looks for files to merge.
    pub interval: Duration,
    /// Bytes that are read a second, at most.
    pub rate: u64,
    /// The pause without readers that merged files wait for; where none comes, a shorter one.
    pub pause: Duration,
}

/// What was merged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Files that readers no longer see.
    pub replaced: u64,
    /// The files in their place.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Their size.
    pub bytes: u64,
}

/// Merges the files of one table.
#[derive(Debug, Clone)]
pub struct Compactor {
    lake: Arc<Lake>,
    pause: Duration,
}

/// A compactor that runs beside a writer, until it is dropped.
#[derive(Debug)]
pub(crate) struct Background {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Compactor {
    /// Opens a table's folder, which other processes may write; `None` without a log. Merged files
    /// wait for this pause without readers.
    pub async fn open(path: &Path, pause: Duration) -> Result<Option<Self>, LakeError> {
        let path = path.to_owned();
        blocking(move || {
            let Some(table) = commit::table_of(&Store::existing(&path)?)? else {
                return Ok(None);
            };
            // What decides how rows become files is not asked for: it only copies rows.
            let options = LakeOptions::of_table(table);
            let lake = Lake::open(&path, options, |_, _| Ok(()))?;
            Ok(Some(Self {
                lake: Arc::new(lake),
                pause,
            }))
        })
        .await
    }

    /// Starts to merge what is due beside a writer, again and again.
    pub(crate) fn in_background(lake: Arc<Lake>, options: CompactionOptions) -> Background {
        let pause = options.pause;
        Self { lake, pause }.run(options)
    }

    /// Merges all small files of each date_partition, as fast as it can, until `stop` is true.
    /// Fails with [`LakeError::Compacting`] while another process does.
    pub async fn merge_small(&self, stop: Arc<AtomicBool>) -> Result<Compacted, LakeError> {
        let (lake, pause) = (self.lake.clone(), self.pause);
        blocking(move || {
            refuse_bucket(&lake)?;
            let _lock = lock_alone(&lake)?;
            let mut all = Compacted::default();
            loop {
                let mut throttle = Throttle::unbounded(pause, stop.clone());
                let merged = round(&lake, Wanted::Small, &mut throttle)?;
                all.add(merged);
                // Each round leaves fewer files, so it ends.
                if merged.replaced == 0 || stop.load(Ordering::Relaxed) {
                    return Ok(all);
                }
            }
        })
        .await
    }

    /// Merges what is due once, as fast as it can: what the service does at each look.
    /// Fails with [`LakeError::Compacting`] while another process does.
    pub async fn merge_due(&self, stop: Arc<AtomicBool>) -> Result<Compacted, LakeError> {
        let (lake, pause) = (self.lake.clone(), self.pause);
        blocking(move || {
            refuse_bucket(&lake)?;
            let _lock = lock_alone(&lake)?;
            round(&lake, Wanted::Due, &mut Throttle::unbounded(pause, stop))
        })
        .await
    }

    /// Lets rows leave that are older than `retention` keeps at this time, until `stop` is true.
    /// Fails with [`LakeError::Compacting`] while another process merges files of the table, and
    /// with [`LakeError::Undated`] for a table whose rows have no date of their own.
    pub async fn expire(
        &self,
        retention: Retention,
        now: DateTime<Utc>,
        stop: Arc<AtomicBool>,
    ) -> Result<Expired, LakeError> {
        let (lake, pause) = (self.lake.clone(), self.pause);
        blocking(move || {
            let _lock = lock_alone(&lake)?;
            let mut throttle = Throttle::unbounded(pause, stop);
            expire(&lake, &retention, now, &mut throttle)
        })
        .await
    }

    fn run(self, options: CompactionOptions) -> Background {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut idle: Option<(u64, Instant)> = None;
            let mut expired_at: Option<Instant> = None;
            loop {
                tokio::time::sleep(options.interval).await;
                let seq = self.lake.head.borrow().seq;
                // Without new entries only the age of files can make a merge due.
                if idle.is_some_and(|(at, since)| at == seq && since.elapsed() < IDLE_MAX) {
                    continue;
                }
                let place = ROUNDS_AT_ONCE.acquire().await;
                let _place = place.expect("the semaphore is never closed");
                let (lake, stop) = (self.lake.clone(), stopped.clone());
                let is_due = expired_at.is_none_or(|at| at.elapsed() >= EXPIRE_INTERVAL);
                let run = move || {
                    // Another process merges files of the table.
                    let Some(_lock) = lock(&lake.folder.store)? else {
                        return Ok::<_, LakeError>(Default::default());
                    };
                    let mut throttle = Throttle::new(options, stop);
                    let retention = lake.folder.options.retention.as_ref();
                    let expired = match retention.filter(|_| is_due) {
                        Some(retention) => expire(&lake, retention, Utc::now(), &mut throttle)?,
                        None => Expired::default(),
                    };
                    if lake.folder.store.is_bucket() {
                        return Ok((Compacted::default(), expired));
                    }
                    Ok((round(&lake, Wanted::Due, &mut throttle)?, expired))
                };
                match joined(tokio::task::spawn_blocking(run).await) {
                    Ok((merged, expired)) => {
                        idle = (merged.replaced == 0).then(|| (seq, Instant::now()));
                        // To compare keys reads much, to find nothing that is too old does not.
                        if expired.is_complete() {
                            expired_at = Some(Instant::now());
                        }
                    }
                    Err(error) => {
                        let table = &self.lake.folder.options.table;
                        let reason = inlet_service::error::chain(&error);
                        let hint = error.hint().map(tracing::field::display);
                        // The lake is as it was, only in more files.
                        tracing::warn!(%table, reason, hint, "files were not merged");
                    }
                }
            }
        });
        Background { stop, task }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}

impl Compacted {
    /// Adds what else was merged.
    pub fn add(&mut self, other: Self) {
        self.replaced += other.replaced;
        self.files += other.files;
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// Merges the wanted files once; the caller holds the lock.
fn round(lake: &Lake, wanted: Wanted, throttle: &mut Throttle) -> Result<Compacted, LakeError> {
    let folder = &lake.folder;
    let mut all = Compacted::default();
    let head = lake.published_head()?;
    let files = mergeable(&folder.store, &head)?;
    let groups = plan(&candidates(&folder.store, &files), wanted);
    if groups.is_empty() {
        return Ok(all);
    }
    check_swap(folder)?;

    for group in groups {
        if throttle.is_stopped() {
            break;
        }
        let group: Vec<&Listed> = group.iter().map(|at| &files[*at]).collect();
        if let Some(merged) = merge(folder, &head, &group, throttle)? {
            all.add(show(lake, merged, throttle)?);
        }
    }
    Ok(all)
}

/// A pattern of readers cannot be kept right while files of a bucket are merged: no step takes some
/// names away and gives others at once.
fn refuse_bucket(lake: &Lake) -> Result<(), LakeError> {
    match lake.folder.store.is_bucket() {
        true => Err(LakeError::NoMergeInBucket {
            path: lake.folder.store.root().to_owned(),
        }),
        false => Ok(()),
    }
}

fn lock_alone(lake: &Lake) -> Result<Alone, LakeError> {
    lock(&lake.folder.store)?.ok_or_else(|| LakeError::Compacting {
        table: lake.folder.options.table.clone(),
    })
}

/// The lock of the one process that merges files of the table. A bucket has none: there the log
/// alone decides which files leave (`commit/expire`).
struct Alone {
    _lock: Option<File>,
}

fn lock(store: &Store) -> Result<Option<Alone>, LakeError> {
    if store.is_bucket() {
        return Ok(Some(Alone { _lock: None }));
    }
    let path = store.path(STAGING);
    let failed = |source| LakeError::io("locking", &path, source);
    let folder = File::open(&path).map_err(failed)?;
    // A process that is being started holds the files of its parent for a moment.
    match commit::lock_within(&folder, LOCK_WAIT_MAX) {
        Ok(()) => Ok(Some(Alone {
            _lock: Some(folder),
        })),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(source) => Err(failed(source)),
    }
}

/// Fails on a file system that cannot swap two folders in one step.
fn check_swap(folder: &Folder) -> Result<(), LakeError> {
    let top = folder.store.path(&folder.claim.staging_name("hidden"));
    HiddenFolder::probe(&top).map_err(|source| LakeError::NoSwap {
        path: folder.store.root().to_owned(),
        source,
    })
}

/// The visible files.
fn visible(store: &Store, head: &Head) -> Result<impl Iterator<Item = Listed>, LakeError> {
    let live = commit::live(store, head.seq, |entry, reason| {
        Err(LakeError::Corrupt { entry, reason })
    })?;
    Ok(live.into_files())
}

/// The visible files, each with the schema of its rows.
fn mergeable(store: &Store, head: &Head) -> Result<Vec<Listed>, LakeError> {
    let mut files = Vec::new();
    for mut listed in visible(store, head)? {
        if is_data(&listed.file.path) {
            listed.file.schema = commit::schema_of(store, head, &listed.file)?;
            if listed.file.schema.is_none() {
                continue;
            }
        }
        files.push(listed);
    }
    Ok(files)
}

fn candidates(store: &Store, files: &[Listed]) -> Vec<Candidate> {
    let now = SystemTime::now();
    let candidates = files.iter().map(|Listed { file, .. }| {
        let written = fs::metadata(store.path(&file.path)).and_then(|of| of.modified());
        // A clock that was set to an earlier time makes a file young, and it is merged later.
        let age = written.ok().and_then(|at| now.duration_since(at).ok());
        Candidate {
            folder: place_of(file),
            schema: file.schema,
            level: file.level,
            bytes: file.bytes,
            age: age.unwrap_or_default(),
        }
    });
    candidates.collect()
}

/// What the files of a merge have in common: the folder, and the day of rejected rows, which leave
/// by it.
fn place_of(file: &DataFile) -> String {
    let folder = commit::folder_of(&file.path);
    match file.date.as_ref().filter(|_| !is_data(&file.path)) {
        Some(day) => format!("{folder}/{day}"),
        None => folder.to_owned(),
    }
}

/// Stages the rows of a group of files in one.
fn merge(
    folder: &Folder,
    head: &Head,
    group: &[&Listed],
    throttle: &mut Throttle,
) -> Result<Option<Merged>, LakeError> {
    let _alone = MERGE.lock().unwrap_or_else(PoisonError::into_inner);
    let (store, staged) = (&folder.store, folder.claim.staging_name("staged"));
    let inputs: Vec<_> = group
        .iter()
        .map(|of| (of.file.path.as_str(), of.file.rows))
        .collect();
    let merged = match group[0]
        .file
        .schema
        .and_then(|schema| head.schemas.get(&schema))
    {
        Some(schema) => {
            let names = head.names_in_files(schema);
            merge_data(store, &staged, schema, &names, &inputs, throttle)?
        }
        None => merge_rejected(store, &staged, &inputs, throttle)?,
    };
    let Some(merged) = merged else {
        return Ok(None);
    };
    // The name of the merged file must be durable before an entry mentions it.
    store.sync(STAGING)?;
    let replaced: Vec<DataFile> = merged
        .inputs
        .iter()
        .map(|at| DataFile {
            columns: Default::default(),
            ..group[*at].file.clone()
        })
        .collect();
    let MergedFile {
        rows,
        bytes,
        parquet,
        path,
        ..
    } = merged;
    let first = replaced.iter().map(|file| &file.path).min();
    let level = replaced.iter().map(|file| file.level).max();
    let file = DataFile {
        // See `commit/replace`: a reader that lists the folder meanwhile still finds this name.
        path: first.expect("two files were merged").clone(),
        staged,
        rows,
        bytes,
        date: replaced[0].date.clone(),
        schema: replaced[0].schema,
        footer: parquet.as_ref().map(|of| of.footer),
        level: level.expect("two files were merged") + 1,
        columns: parquet.map(|of| of.columns).unwrap_or_default(),
    };
    Ok(Some(Merged {
        files: vec![(file, path)],
        replaced,
        names: head.names.clone(),
    }))
}

/// Commits a merged file and shows it, in a moment without readers. Without such a moment the
/// files stay until the next round.
fn show(lake: &Lake, merged: Merged, throttle: &Throttle) -> Result<Compacted, LakeError> {
    let replaced = merged.replaced.len() as u64;
    let visible = commit::folder_of(&merged.replaced[0].path).to_owned();
    let mut waiting = Some(merged);
    let entry = in_a_pause(lake, &visible, throttle, |log, readers| {
        let merged = waiting.take().expect("it came back from the last attempt");
        let is_quiet = || readers.is_quiet();
        let settle = || readers.settle();
        let entry = commit::replace(&lake.folder, log, merged, is_quiet, settle)?;
        Ok(entry.map_err(|not_yet| waiting = Some(not_yet)).ok())
    })?;
    Ok(entry.map_or_else(Compacted::default, |entry| report(&entry, replaced)))
}

/// Changes the files of a visible folder in a moment without readers; `None` without such a
/// moment, and where `act` finds that it has passed.
fn in_a_pause<T>(
    lake: &Lake,
    visible: &str,
    throttle: &Throttle,
    mut act: impl FnMut(&mut Log, &Readers) -> Result<Option<T>, LakeError>,
) -> Result<Option<T>, LakeError> {
    let store = &lake.folder.store;
    if store.is_bucket() {
        // Readers of a bucket are not known, and nothing keeps them away.
        let readers = Readers::unknown();
        let mut log = lake.log.blocking_lock();
        let done = act(&mut log, &readers);
        lake.head.send_replace(Arc::new(log.head.clone()));
        return done;
    }
    let readers = Readers::of(store.root(), &store.path(visible));
    for _ in 0..SHOW_ATTEMPTS_MAX {
        if !readers.wait_for_pause(throttle.pause(), throttle.stop()) {
            break;
        }
        let mut log = lake.log.blocking_lock();
        let Some(_lock) = commit::try_lock(store)? else {
            // A query of this program runs, and holds the files in their places.
            drop(log);
            throttle.rest();
            continue;
        };
        readers.opened();
        let done = act(&mut log, &readers);
        lake.head.send_replace(Arc::new(log.head.clone()));
        if let Some(done) = done? {
            return Ok(Some(done));
        }
    }
    Ok(None)
}

fn report(entry: &Entry, replaced: u64) -> Compacted {
    let files = entry.files.iter().chain(&entry.quarantine);
    let compacted = Compacted {
        replaced,
        files: files.clone().count() as u64,
        rows: files.clone().map(|file| file.rows).sum(),
        bytes: files.map(|file| file.bytes).sum(),
    };
    metrics::merged(&entry.table.to_string(), compacted.replaced);
    let (seq, rows) = (entry.seq, compacted.rows);
    tracing::debug!(table = %entry.table, seq, replaced, rows, "files merged");
    compacted
}
