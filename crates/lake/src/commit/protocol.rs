//! The commit of a batch, step by step.
//!
//! 1. *Stage* (`files/stage`): rows are written to files below `_staging`, without the ending of a
//!    data file, by which readers find them, and synced. Each file starts with the name of its
//!    writer.
//! 2. *Publish what is pending*: files that an earlier commit of this writer could not rename. So a
//!    writer's latest entry is the only one of it whose files may still be staged.
//! 3. *Decide* ([`entry_of`]): the batch must start at the offset where the log ends, under the
//!    latest epoch of each kafka_partition.
//! 4. *Append*: `_log/<seq + 1>.json` is created if absent. **This is the only commit point.** If
//!    another writer created that name first, its entry is read and step 3 runs again on the new
//!    head. If the answer is lost, the entry is read back and its commit id tells whose it is.
//!    Whatever fails in between leaves the outcome in doubt: the log then refuses every later
//!    commit until the folder is opened again, and the staged files stay for whoever finds the
//!    entry.
//! 5. *Rename columns*, where the entry's schema needs a name that older columns have in files
//!    (`commit/naming`): the footers of the older files are written again (`commit/retire`), so
//!    that readers never see two meanings under one name.
//! 6. *Publish*: the staged files are renamed to their places, and the folders are synced. From
//!    here on readers see the rows.
//! 7. *Checkpoint*, every 64 entries: the head is stored, so that opening reads a short tail.
//!
//! In a bucket the staged files are objects, and the rename of step 6 is a copy on the server and
//! the removal of the staged one: until then no pattern of a reader matches them. Steps 3 to 7 are
//! the same.
//!
//! A crash before step 4 leaves staged files that the next writer removes; a crash after it leaves
//! files that the next writer publishes (`commit/recover`).

use inlet_model::{KafkaPartition, ProgressDelta};

use super::claim::STAGED_AGE_MAX;
use super::entry::{DataFile, Entry, LatestSchema};
use super::head::Head;
use super::log::{AppendError, Log};
use super::naming::{self, ColumnNames};
use super::publish::publish_pending;
use super::{packs, segments};
use crate::error::LakeError;
use crate::files::names::FileName;
use crate::files::{CHANGE_COLUMNS, Staged, StagedFile};
use crate::folder::Folder;

/// A commit with at least this many files is warned of where they are small.
const MANY_FILES: u64 = 500;
/// Files are small with fewer rows than this in each, on average.
const FEW_ROWS: u64 = 20;

/// Commits a staged batch with the progress that it brings; returns the entry, or `None` when the
/// batch covers nothing and brings no progress.
pub(crate) fn commit(
    folder: &Folder,
    log: &mut Log,
    staged: Staged,
    progress: Option<&ProgressDelta>,
) -> Result<Option<Entry>, LakeError> {
    let is_ours = |writer: &str| writer == folder.claim.writer();
    publish_pending(log, &folder.claim, is_ours)?;
    if staged.covered.is_empty() && progress.is_none_or(|delta| delta.0.is_empty()) {
        return Ok(None);
    }
    // A log in doubt refuses here, before the entry is made from a head that may be old.
    log.check_trusted()?;
    let make = |head: &Head| entry_of(folder, head, &staged, progress);
    let appended = log.append(&folder.claim, make);
    // Files that no entry names are removed when the folder is opened again.
    if !matches!(appended, Err(AppendError::Refused(_))) {
        staged.keep_files();
    }
    let entry = appended?;
    publish_pending(log, &folder.claim, is_ours)?;
    warn_of_many_files(folder, &entry);
    if log.is_checkpoint_due() {
        write_checkpoint(folder, log);
    }
    Ok(Some(entry))
}

/// The entry that commits `staged` after `head`, if it may be committed there.
fn entry_of(
    folder: &Folder,
    head: &Head,
    staged: &Staged,
    progress: Option<&ProgressDelta>,
) -> Result<Entry, LakeError> {
    let table = &folder.options.table;
    // Another writer may have removed what was staged in a bucket so long ago (`commit/claim`).
    if folder.store.is_bucket() && staged.began.age() >= STAGED_AGE_MAX {
        return Err(LakeError::Io {
            act: "commit of rows that were staged hours ago",
            path: folder.store.root().to_owned(),
            source: std::io::Error::from(std::io::ErrorKind::TimedOut),
        });
    }
    for (partition, covered) in &staged.covered {
        head.admit(*partition, covered)?;
    }
    if progress.is_some() {
        // Progress has no offset that shows a late writer, so only the owner may store it.
        for (partition, epoch) in &staged.owned {
            head.admit_epoch(*partition, *epoch)?;
        }
    }
    let encoded = &staged.encoded;
    if let (Some(known), Some(ours)) = (&head.date_key, &encoded.date_key)
        && known != ours
    {
        let reason = format!("changes the key of the folders by date from `{known}` to `{ours}`");
        return Err(LakeError::Column {
            table: table.clone(),
            column: known.clone(),
            reason,
        });
    }
    let mut entry = Entry::new(table, folder.claim.writer(), &staged.commit_id);
    for schema in &encoded.schemas {
        // An entry carries only the schemas that the log lacks, so that the log stays small.
        if !head.knows(schema.fingerprint()) {
            let fingerprint = schema.fingerprint();
            entry.schemas.insert(fingerprint, (**schema).clone());
        }
    }
    entry.latest = encoded.latest;
    entry.names = names_of(head, &entry, encoded.date_key.as_deref());
    // The key is stored with the first data file only.
    entry.date_key = encoded.date_key.clone().filter(|_| head.date_key.is_none());
    let date_key = encoded.date_key.as_deref().unwrap_or_default();
    let data = |file: &StagedFile| {
        let path = name_of(staged, file).data(date_key, file.date.as_deref());
        data_file(file, path)
    };
    entry.files = encoded.files.iter().map(data).collect();
    // Rejected rows have the date of their commit: they leave by it, and are merged by it.
    let today = entry.committed_at.format("%Y-%m-%d").to_string();
    let rejected = |file: &StagedFile| DataFile {
        date: Some(today.clone()),
        ..data_file(file, name_of(staged, file).quarantine())
    };
    entry.quarantine = encoded.quarantine.iter().map(rejected).collect();
    entry.offsets.clone_from(&staged.covered);
    entry.repaired.clone_from(&staged.repaired);
    entry.progress = progress.cloned().unwrap_or_default();
    (entry.rows, entry.quarantined) = (staged.rows, staged.rejected);
    assert_eq!(
        entry.files.iter().map(|file| file.rows).sum::<u64>(),
        entry.rows,
        "the files of a commit hold its rows"
    );
    Ok(entry)
}

/// The names of columns in files that the entry's schemas change.
pub(super) fn names_of(head: &Head, entry: &Entry, date_key: Option<&str>) -> ColumnNames {
    let latest = LatestSchema::later(head.latest, entry.latest);
    let fingerprint = |latest: Option<LatestSchema>| latest.map(|latest| latest.fingerprint);
    // Most commits have rows of the schema that the lake has already.
    let is_as_before = entry.schemas.is_empty() && fingerprint(latest) == fingerprint(head.latest);
    let schema = latest.and_then(|latest| {
        let fingerprint = &latest.fingerprint;
        entry
            .schemas
            .get(fingerprint)
            .or_else(|| head.schemas.get(fingerprint))
    });
    match schema {
        Some(latest) if !is_as_before => {
            let change = CHANGE_COLUMNS.map(|(name, _)| name);
            let date_key = head.date_key.as_deref().or(date_key);
            let reserved: Vec<&str> = change.into_iter().chain(date_key).collect();
            naming::assign(
                &head.schemas,
                &head.names,
                &entry.schemas,
                latest,
                &reserved,
            )
        }
        _ => ColumnNames::default(),
    }
}

fn name_of(staged: &Staged, file: &StagedFile) -> FileName {
    let (partition, first) = file.first;
    let epoch = |partition: KafkaPartition| {
        staged
            .covered
            .get(&partition)
            .map_or(0, |covered| covered.epoch)
    };
    FileName {
        partition,
        first,
        epoch: epoch(partition),
    }
}

pub(super) fn data_file(file: &StagedFile, path: String) -> DataFile {
    DataFile {
        path,
        staged: file.staged.clone(),
        rows: file.rows,
        bytes: file.bytes,
        date: file.date.clone(),
        schema: file.parquet.as_ref().map(|of| of.schema),
        footer: file.parquet.as_ref().map(|of| of.footer),
        level: 0,
        columns: file
            .parquet
            .as_ref()
            .map(|of| of.columns.clone())
            .unwrap_or_default(),
    }
}

fn warn_of_many_files(folder: &Folder, entry: &Entry) {
    let files = entry.files.len() as u64;
    if files >= MANY_FILES && entry.rows < files * FEW_ROWS {
        tracing::warn!(
            table = %folder.options.table, rows = entry.rows, files,
            "a commit of few rows made many files, one for each date, and every query opens them \
             all: name a column with fewer dates in `tables.<name>.date_column`, and a new \
             `datalake.path`"
        );
    }
}

fn write_checkpoint(folder: &Folder, log: &mut Log) {
    // A checkpoint stands for every entry before it, so the files of all writers are published
    // first.
    let claim = &folder.claim;
    let written = publish_pending(log, claim, |_| true).and_then(|_| log.write_checkpoint(claim));
    if let Err(error) = written {
        // The checkpoint only makes opening fast; the next commit tries again.
        let table = &folder.options.table;
        tracing::warn!(%table, %error, "the log's checkpoint was not written");
        return;
    }
    if let Err(error) = segments::write_missing(&log.store, claim, log.head.seq) {
        let table = &folder.options.table;
        tracing::warn!(%table, %error, "the list of files was not written");
    }
    if let Err(error) = packs::write_due(&log.store, claim, log.head.seq) {
        let table = &folder.options.table;
        tracing::warn!(%table, %error, "old entries of the log were not packed");
    }
}
