//! `inlet tail TABLE`: the changes of a table as they become readable in the lake.
//!
//! It reads the log and the data files, in the order of the commits, and asks no server: neither
//! PostgreSQL nor Kafka needs to answer. It waits for the next entry of the log, whose name is
//! known. Files that are merged meanwhile change nothing, since rows are found by their offsets
//! ([`inlet_lake::Commit`]). Read in this order: [`changes`], [`show`].

mod changes;
mod show;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use inlet_lake::{Commit, Head, LakeError, TableReader};
use inlet_service::config::Config;
use inlet_service::output;
use tokio_util::sync::CancellationToken;

use self::changes::{Change, Changes};
use self::show::Show;
use crate::args::TailArguments;
use crate::failure::{Failure, Outcome};
use crate::tables;

/// How often the next entry is looked for: no table commits much more often.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// The same in a bucket, where each look is a request that costs money.
const BUCKET_INTERVAL: Duration = Duration::from_secs(1);
/// How long the files of a commit may take to appear, and a merge to end.
const FILES_TIME_MAX: Duration = Duration::from_secs(10);
const FILES_INTERVAL: Duration = Duration::from_millis(50);
/// Rows that are read and put in order at once, unless a single commit has more.
const ROWS_AT_ONCE: u64 = 50_000;

/// Shows the changes of a table until stopped.
pub async fn run(arguments: TailArguments, config: Config, stop: CancellationToken) -> Outcome {
    let datalake = config.require_datalake()?;
    let asked = tables::asked(std::slice::from_ref(&arguments.table), &config.tables)?;
    let table = &config.tables[asked[0]];
    let reader = TableReader::new(tables::folder(&config, datalake, table));
    let show = Show::new(
        table.written(),
        arguments.json,
        output::has_colors(output::is_stdout_terminal()),
    );
    let follow = Follow::new(reader, arguments, show);
    match stop.run_until_cancelled(follow.run()).await {
        // Ctrl-C is the usual end.
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => Err(failure),
    }
}

struct Follow {
    reader: TableReader,
    arguments: TailArguments,
    show: Show,
    /// The first entry that is not shown.
    next: u64,
}

impl Follow {
    fn new(reader: TableReader, arguments: TailArguments, show: Show) -> Self {
        Self {
            reader,
            arguments,
            show,
            next: 1,
        }
    }

    /// Ends with an error only.
    async fn run(mut self) -> Failure {
        match self.follow().await {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, Failure> {
        let head = self.first_head().await?;
        match self.arguments.last() {
            None => self.show_until(&head).await?,
            Some(last) => self.show_last(&head, last).await?,
        }
        loop {
            let head = self.next_head().await?;
            self.show_until(&head).await?;
        }
    }

    /// The head of the log, which may still be without a commit.
    async fn first_head(&self) -> Result<Head, Failure> {
        if let Some(head) = self.reader.head().await? {
            return Ok(head);
        }
        output::stderr("the lake has no commit of the table yet: waiting for the first one\n");
        self.next_head().await
    }

    /// Waits for the next entry of the log, and returns the head with it.
    async fn next_head(&self) -> Result<Head, Failure> {
        let interval = match self.reader.is_in_bucket() {
            true => BUCKET_INTERVAL,
            false => LOOK_INTERVAL,
        };
        loop {
            let is_there = tokio::task::block_in_place(|| self.reader.has_entry(self.next));
            if is_there? && let Some(head) = self.reader.head().await? {
                // An entry that a power cut tore is in no head.
                if head.seq >= self.next {
                    return Ok(head);
                }
            }
            // Without this, a reader that has ended would be noticed only at the next change.
            output::check_stdout()?;
            tokio::time::sleep(interval).await;
        }
    }

    /// Shows all changes up to a head.
    async fn show_until(&mut self, head: &Head) -> Result<(), Failure> {
        while self.next <= head.seq {
            let commits = self.commits(head)?;
            let changes = self.read(&commits).await?;
            let key = &self.arguments.key;
            let is_shown = |change: &Change| change.is_of(key);
            changes.each(|change| match is_shown(&change) {
                true => output::stdout(self.show.line(&change)),
                false => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Shows the last changes up to a head.
    async fn show_last(&mut self, head: &Head, count: usize) -> Result<(), Failure> {
        // Without a key the number of rows tells where to start; with one, its changes may be
        // anywhere.
        self.next = match self.arguments.key.is_empty() {
            true => {
                let start = || self.reader.start_of_last(head, count as u64);
                tokio::task::block_in_place(start)?
            }
            false => 1,
        };
        let mut last = VecDeque::with_capacity(count.min(1_000));
        while self.next <= head.seq {
            let commits = self.commits(head)?;
            let changes = self.read(&commits).await?;
            let changes = match self.arguments.key.is_empty() {
                true => changes.last(count),
                false => changes,
            };
            let key = &self.arguments.key;
            changes.each(|change| {
                if count > 0 && change.is_of(key) {
                    if last.len() == count {
                        last.pop_front();
                    }
                    last.push_back(change);
                }
                Ok(())
            })?;
        }
        for change in last {
            output::stdout(self.show.line(&change))?;
        }
        Ok(())
    }

    /// The next commits, as many as are read at once.
    fn commits(&mut self, head: &Head) -> Result<Vec<Commit>, LakeError> {
        let entries = self.next..=head.seq;
        let read = || self.reader.commits(entries, ROWS_AT_ONCE);
        let (commits, next) = tokio::task::block_in_place(read)?;
        self.next = next;
        Ok(commits)
    }

    /// The rows of commits, in their order. A file may appear after its entry, or be merged while
    /// it is read, and is then looked for again.
    async fn read(&self, commits: &[Commit]) -> Result<Changes, Failure> {
        let deadline = Instant::now() + FILES_TIME_MAX;
        loop {
            let Some(head) = self.reader.head().await? else {
                return Ok(Changes::default());
            };
            let mut changes = Changes::new(commits.to_vec());
            let read = || {
                self.reader
                    .rows_of(&head, commits, |rows| changes.add(rows))
            };
            match tokio::task::block_in_place(read) {
                Ok(()) => {
                    changes.sort();
                    return Ok(changes);
                }
                Err(error) if Instant::now() >= deadline => return Err(error.into()),
                Err(_) => tokio::time::sleep(FILES_INTERVAL).await,
            }
        }
    }
}
